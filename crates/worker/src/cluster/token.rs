//! The optional shared token of a cluster: who does not say it is refused by the scheduler.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use planner::{Error, Result};
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Drivers say it here.
const HEADER: &str = "x-millrace-token";
/// Executors say it here: of their requests Ballista lets only the user agent be chosen.
const AGENT: &str = "millrace-token/";

/// A secret that all parts of a cluster share; none by default.
#[derive(Clone, Default)]
pub struct Token(Option<Arc<str>>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Token(set)" } else { "Token(none)" })
    }
}

impl Token {
    /// From a text; an empty one is none.
    ///
    /// # Errors
    /// `Usage` for a text that no header can hold.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::usage("the cluster's token holds characters that no header can hold")
                .with_help("use letters and digits, such as `openssl rand -hex 32` prints"));
        }
        Ok(Self(Some(text).filter(|t| !t.is_empty()).map(Arc::from)))
    }

    /// How an executor's requests say it.
    pub(super) fn agent(&self) -> Option<String> {
        Some(format!("{AGENT}{}", self.0.as_ref()?))
    }

    /// What proves that who made `text` knows it; none without a token.
    pub(super) fn seal(&self, text: &[u8]) -> Option<String> {
        Some(hex::encode(self.mac()?.chain_update(text).finalize().into_bytes()))
    }

    /// Whether `seal` is the one of `text`. Without a token none is asked for.
    pub(super) fn is_seal(&self, text: &[u8], seal: Option<&str>) -> bool {
        let Some(mac) = self.mac() else { return true };
        let seal = seal.and_then(|seal| hex::decode(seal).ok()).unwrap_or_default();
        mac.chain_update(text).verify_slice(&seal).is_ok()
    }

    fn mac(&self) -> Option<Hmac<Sha256>> {
        Hmac::new_from_slice(self.0.as_ref()?.as_bytes()).ok()
    }

    /// Whether a request says it.
    fn is_said<T>(&self, request: &Request<T>) -> bool {
        let Some(token) = &self.0 else { return true };
        let metadata = request.metadata();
        let header = metadata.get(HEADER).and_then(|v| v.to_str().ok());
        // The transport puts its own name behind it.
        let agent = metadata.get("user-agent").and_then(|v| v.to_str().ok());
        let agent = agent.and_then(|v| v.strip_prefix(AGENT)).map(|v| v.split(' ').next().unwrap_or_default());
        // Digests are compared, so that how long it takes tells nothing of the token.
        let digest = |text: &str| Sha256::digest(text.as_bytes());
        let wanted = digest(token);
        [header, agent].into_iter().flatten().any(|text| digest(text) == wanted)
    }
}

/// Says a token.
#[derive(Debug, Clone)]
pub(super) struct Say(pub(super) Token);

impl Interceptor for Say {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if let Some(token) = &self.0.0 {
            let mut value: MetadataValue<_> =
                token.parse().map_err(|_| Status::invalid_argument("the cluster's token fits in no header"))?;
            value.set_sensitive(true);
            request.metadata_mut().insert(HEADER, value);
        }
        Ok(request)
    }
}

/// Refuses who does not say it.
#[derive(Debug, Clone)]
pub(super) struct Ask(pub(super) Token);

impl Interceptor for Ask {
    fn call(&mut self, request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if self.0.is_said(&request) {
            return Ok(request);
        }
        Err(Status::unauthenticated("this cluster wants a token (MILLRACE_CLUSTER_TOKEN), and none or another was given"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_the_token_passes() {
        let token = Token::parse("abc123\n").unwrap();
        let says = |token: &Token| Say(token.clone()).call(Request::new(())).unwrap();
        let mut ask = Ask(token.clone());
        assert!(ask.call(says(&token)).is_ok());
        assert!(ask.call(says(&Token::default())).is_err());
        assert!(ask.call(says(&Token::parse("abc124").unwrap())).is_err());
        let agent = |text: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("user-agent", text.parse().unwrap());
            request
        };
        assert!(ask.call(agent("millrace-token/abc123 tonic/0.14")).is_ok());
        assert!(ask.call(agent("millrace-token/abc tonic/0.14")).is_err());
        assert!(Ask(Token::default()).call(Request::new(())).is_ok());
        let seal = token.seal(b"a task");
        assert!(token.is_seal(b"a task", seal.as_deref()) && !token.is_seal(b"another", seal.as_deref()));
        assert!(!token.is_seal(b"a task", None) && !token.is_seal(b"a task", Some("00")));
        let other = Token::parse("abc124").unwrap();
        assert!(!other.is_seal(b"a task", seal.as_deref()) && Token::default().is_seal(b"a task", None));
        assert!(!format!("{token:?}").contains("abc"));
        assert!(Token::parse("a b").is_err());
    }
}
