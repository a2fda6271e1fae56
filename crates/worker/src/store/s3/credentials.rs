//! Credentials that are kept until shortly before they expire, and renewed when a store says that they have.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use super::client::load_config;

/// Credentials are fetched again this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
/// What was fetched so shortly ago is not what an answer complains of that comes in now.
const JUST_FETCHED: Duration = Duration::from_secs(2);

/// Whose chain credentials come from: a profile's, or the environment's.
pub(crate) type Chain = Option<String>;

/// The credentials of one client. Clones share them.
#[derive(Clone)]
pub(crate) struct KeptCredentials(Arc<Inner>);

struct Inner {
    provider: SharedCredentialsProvider,
    /// The profile to read again; `None` for credentials that never change.
    source: Option<Chain>,
    kept: Mutex<Kept>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    credentials: Option<Credentials>,
    fetched: Option<SystemTime>,
    /// A store said that they have expired.
    refused: bool,
    /// They were fetched again, and are the same.
    final_ones: bool,
}

impl fmt::Debug for KeptCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptCredentials").finish_non_exhaustive()
    }
}

impl KeptCredentials {
    /// Keeps what `provider` gives. `source` is the profile whose chain is read again after a refusal.
    pub(crate) fn new(provider: SharedCredentialsProvider, source: Option<Chain>) -> Self {
        let (kept, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { provider, source, kept, fetching }))
    }

    /// A store says that the credentials have expired. False where there are no others to be had.
    pub(crate) fn refused(&self) -> bool {
        let mut kept = self.0.kept();
        if kept.final_ones || self.0.source.is_none() {
            return false;
        }
        let just = kept.fetched.is_some_and(|at| at.elapsed().is_ok_and(|since| since < JUST_FETCHED));
        if !just {
            kept.refused = true;
        }
        true
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Credentials> {
        let kept = self.kept();
        let credentials = kept.credentials.as_ref().filter(|_| !kept.refused)?;
        let lives = |at: SystemTime| at > SystemTime::now() + RENEW_BEFORE;
        credentials.expiry().is_none_or(lives).then(|| credentials.clone())
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let _alone = self.fetching.lock().await;
        if let Some(credentials) = self.fresh() {
            return Ok(credentials);
        }
        let refused = self.kept().refused;
        let got = match (&self.source, refused) {
            // The SDK reads shared files once: another chain reads them again.
            (Some(profile), true) => match load_config(profile.clone()).await.credentials_provider() {
                Some(again) => again.provide_credentials().await?,
                None => self.provider.provide_credentials().await?,
            },
            _ => self.provider.provide_credentials().await?,
        };
        let mut kept = self.kept();
        let secrets = |one: &Credentials| {
            (one.access_key_id().to_owned(), one.secret_access_key().to_owned(), one.session_token().map(str::to_owned))
        };
        let same = kept.credentials.as_ref().is_some_and(|old| secrets(old) == secrets(&got));
        if refused && !same {
            tracing::info!("the credentials had expired and were renewed");
        }
        *kept = Kept {
            credentials: Some(got.clone()),
            fetched: Some(SystemTime::now()),
            refused: false,
            final_ones: refused && same,
        };
        Ok(got)
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.0.fresh() {
            Some(credentials) => future::ProvideCredentials::ready(Ok(credentials)),
            None => future::ProvideCredentials::new(self.0.fetch()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str, source: Option<Chain>) -> KeptCredentials {
        KeptCredentials::new(SharedCredentialsProvider::new(Credentials::new(id, "secret", None, None, "test")), source)
    }

    #[tokio::test]
    async fn credentials_of_variables_are_not_renewed() {
        let kept = named("id", None);
        assert_eq!(kept.provide_credentials().await.unwrap().access_key_id(), "id");
        assert!(!kept.refused());
        assert!(!format!("{kept:?}").contains("secret"));
    }

    #[tokio::test]
    async fn many_answers_to_old_credentials_lead_to_one_renewal() {
        let kept = named("id", Some(None));
        kept.provide_credentials().await.unwrap();
        // Fetched just now: the answer was to what was there before.
        assert!(kept.refused() && !kept.0.kept().refused);
        kept.0.kept().fetched = Some(SystemTime::now() - Duration::from_mins(1));
        assert!(kept.refused() && kept.0.kept().refused);
    }
}
