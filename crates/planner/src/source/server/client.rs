//! Requests to the lakeFS API: how an URL is made, what an answer means, and when it is asked again.
//!
//! # Retries
//! 429, 5xx and a connection that fails or breaks off are tried again, [`ClientOptions::tries`] times in all, with a growing
//! and jittered pause. What the server says about the request (4xx, a "validation error") is final. Redirects are not
//! followed: the credentials would not go along, and the refusal that follows would mislead.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::credentials::LakefsSettings;
use crate::error::{Error, Result};
use crate::trouble;

/// All but unreserved characters are escaped: expressions hold `^ @`, names whatever people like.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const API: &str = "/api/v1";

/// Longest JSON answer; a page of 1,000 commits is below 2 MiB.
const MAX_JSON: usize = 64 << 20;

/// Limits of the client.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Requests for one answer, the first one included.
    pub tries: usize,
    /// The first pause between two of them; it doubles.
    pub pause: Duration,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest silence within an answer.
    pub read_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            tries: 4,
            pause: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// lakeFS says no.
    Answer { status: u16, message: String },
    /// Something answers that is no lakeFS.
    Foreign(String),
    /// Nobody answers, or not to the end.
    Silent(String),
}

impl Failure {
    /// The server says that the request itself makes no sense. A bad `^n` is answered with 500.
    pub(super) fn is_invalid(&self) -> bool {
        match self {
            Self::Answer { status: 500, message } => message.contains("validation error") || message.contains("invalid value"),
            Self::Answer { status, .. } => matches!(status, 400 | 414 | 422),
            _ => false,
        }
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Answer { status, .. } => (*status == 429 || *status >= 500) && *status != 501 && !self.is_invalid(),
            Self::Foreign(_) => false,
            Self::Silent(_) => true,
        }
    }
}

/// A client of one server. `Debug` hides the secret.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    settings: LakefsSettings,
    backoff: ExponentialBuilder,
}

impl Client {
    pub(super) fn new(settings: LakefsSettings, options: ClientOptions) -> Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::unreachable(format!("no HTTP client can be made: {}", chain(&e))))?;
        let endpoint = settings.endpoint.trim_end_matches('/');
        let base = if endpoint.ends_with(API) { endpoint.to_owned() } else { format!("{endpoint}{API}") };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(options.pause)
            .with_max_delay(options.pause.saturating_mul(16))
            .with_max_times(options.tries.saturating_sub(1))
            .with_jitter();
        Ok(Self { http, base, settings, backoff })
    }

    /// The server's URL, for messages.
    pub(super) fn endpoint(&self) -> &str {
        self.base.strip_suffix(API).unwrap_or(&self.base)
    }

    /// A JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Failure> {
        let body = self.get_bytes(path, query, MAX_JSON).await?;
        serde_json::from_slice(&body).map_err(|e| Failure::Foreign(format!("the answer is not what lakeFS answers ({e})")))
    }

    /// An answer of at most `limit` bytes.
    pub(super) async fn get_bytes(&self, path: &[&str], query: &[(&str, &str)], limit: usize) -> Result<Bytes, Failure> {
        // The URL parser would fold such a segment into its parent, escaped or not.
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Failure::Answer { status: 404, message: "not found".to_owned() });
        }
        let url = url(&self.base, path, query);
        let attempt = || self.once(&url, limit);
        attempt
            .retry(self.backoff)
            .when(Failure::may_pass)
            .notify(|failure, pause| tracing::debug!(url, ?failure, ?pause, "asking the lakeFS server again"))
            .await
    }

    async fn once(&self, url: &str, limit: usize) -> Result<Bytes, Failure> {
        let request = self.http.get(url).basic_auth(&self.settings.access_key_id, Some(self.settings.secret.expose_secret()));
        let response = request.send().await.map_err(|e| silent(&e))?;
        let status = response.status();
        let content_type = header(&response, &CONTENT_TYPE);
        let location = header(&response, &LOCATION);
        let body = read(response, limit).await?;
        if status == StatusCode::OK && !content_type.starts_with("text/html") {
            return Ok(body);
        }
        Err(classify(status.as_u16(), &content_type, &location, &body))
    }

    /// The error for a failure that the caller has no better word for; `what` was asked for.
    pub(super) fn error(&self, failure: Failure, what: &str) -> Error {
        let endpoint = self.endpoint();
        let LakefsSettings { origin, .. } = &self.settings;
        match failure {
            Failure::Answer { status: 401, .. } => {
                Error::unreachable(format!("lakeFS at {endpoint} refuses the credentials (access key id from {origin})"))
                    .with_help("check the access key id and the secret access key, and that they belong to this server")
            }
            Failure::Answer { status: 403, message } => Error::unreachable(format!(
                "lakeFS at {endpoint} does not allow these credentials to read {what}: {message}"
            ))
            .with_help(
                "ask for fs:ReadRepository, fs:ReadCommit, fs:ReadBranch, fs:ReadTag, fs:ListBranches and fs:ListTags there",
            ),
            Failure::Answer { status, message } => {
                Error::unreachable(format!("lakeFS at {endpoint} answers {status} for {what}: {message}"))
                    .with_help("look into the server's log; the same command may succeed later")
            }
            Failure::Foreign(why) => Error::unreachable(format!("what answers at {endpoint} is no lakeFS server: {why}"))
                .with_help("give the server's own URL as the endpoint, such as https://lakefs.example.com"),
            Failure::Silent(why) => {
                let usual = "check that the server runs, and that the endpoint's name, port and http/https are right";
                Error::unreachable(format!("the lakeFS server at {endpoint} does not answer: {why}"))
                    .with_help(trouble::of_connection(&why).unwrap_or_else(|| usual.to_owned()))
            }
        }
    }
}

fn url(base: &str, path: &[&str], query: &[(&str, &str)]) -> String {
    let mut url = base.to_owned();
    for segment in path {
        url.push('/');
        url.extend(utf8_percent_encode(segment, SEGMENT));
    }
    for (sign, (name, value)) in std::iter::once('?').chain(std::iter::repeat('&')).zip(query) {
        url.push(sign);
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, SEGMENT));
    }
    url
}

fn header(response: &Response, name: &reqwest::header::HeaderName) -> String {
    response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| silent(&e))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::Foreign(format!("the answer is longer than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// What an answer other than a success means. lakeFS explains its errors in JSON, apart from a few with an empty body.
fn classify(status: u16, content_type: &str, location: &str, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Explained {
        message: String,
    }
    if (300..400).contains(&status) {
        let to = location.split('?').next().unwrap_or_default();
        return Failure::Foreign(format!("it answers {status} and points to `{to}`"));
    }
    if let Ok(Explained { message }) = serde_json::from_slice(body) {
        return Failure::Answer { status, message };
    }
    let unexplained = status == 429 || status >= 500 || matches!(status, 401 | 403 | 410);
    if unexplained && !(content_type.starts_with("text/html") && status < 429) {
        return Failure::Answer { status, message: "no explanation is given".to_owned() };
    }
    let kind = if content_type.is_empty() { "no content type" } else { content_type };
    Failure::Foreign(format!("it answers {status} with {kind}"))
}

fn silent(error: &reqwest::Error) -> Failure {
    Failure::Silent(chain(error))
}

/// The message with its causes, without the URL: the endpoint is named by whoever shows this.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = vec![];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if error.is_timeout() {
        causes.push("it took too long".to_owned());
    }
    causes.dedup();
    if causes.is_empty() { "the connection failed".to_owned() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_segment_is_escaped_on_its_own() {
        let built =
            url("http://h/api/v1", &["repositories", "a/b", "commits", "main~1^2@ é%"], &[("after", "x&y"), ("amount", "2")]);
        assert_eq!(built, "http://h/api/v1/repositories/a%2Fb/commits/main~1%5E2%40%20%C3%A9%25?after=x%26y&amount=2");
    }

    #[test]
    fn the_endpoint_is_taken_with_and_without_the_api_path() {
        for endpoint in ["http://h:8000", "http://h:8000/", "http://h:8000/api/v1", "http://h:8000/api/v1/"] {
            let settings = LakefsSettings {
                endpoint: endpoint.to_owned(),
                access_key_id: "k".to_owned(),
                secret: "hush".into(),
                origin: "a test".to_owned(),
            };
            let client = Client::new(settings, ClientOptions::default()).unwrap();
            assert_eq!((client.base.as_str(), client.endpoint()), ("http://h:8000/api/v1", "http://h:8000"), "{endpoint}");
            assert!(!format!("{client:?}").contains("hush"));
        }
    }

    #[test]
    fn an_answer_is_lakefss_own_or_of_something_else() {
        let said = |status, message: &str| Failure::Answer { status, message: message.to_owned() };
        assert_eq!(classify(404, "application/json", "", br#"{"message":"commit not found"}"#), said(404, "commit not found"));
        assert_eq!(classify(503, "text/html", "", b"<html>"), said(503, "no explanation is given"));
        assert_eq!(classify(401, "", "", b""), said(401, "no explanation is given"));
        for (status, content_type) in [(404, "text/html"), (404, ""), (200, "text/html"), (405, "text/plain"), (403, "text/html")]
        {
            assert!(matches!(classify(status, content_type, "", b"<html>"), Failure::Foreign(_)), "{status} {content_type}");
        }
        let Failure::Foreign(why) = classify(302, "", "https://x/login?token=hush", b"") else { panic!("a redirect is foreign") };
        assert!(why.contains("https://x/login") && !why.contains("hush"), "{why}");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let said = |status, message: &str| Failure::Answer { status, message: message.to_owned() };
        for passing in [said(429, ""), said(500, "locked, try again later"), said(503, ""), Failure::Silent(String::new())] {
            assert!(passing.may_pass(), "{passing:?}");
        }
        let invalid = said(500, "ref: invalid value: validation error");
        for lasting in [
            said(400, ""),
            said(401, ""),
            said(404, ""),
            said(410, ""),
            said(501, ""),
            invalid.clone(),
            Failure::Foreign(String::new()),
        ] {
            assert!(!lasting.may_pass(), "{lasting:?}");
        }
        assert!(invalid.is_invalid());
    }
}
