//! What goes wrong at a store: a kind that decides retry, report and exit code, and a message without secrets.

use std::fmt;
use std::time::Duration;

use planner::{Error, Location, Scheme, trouble};

/// The system's words for what may not be written because nothing may.
const READ_ONLY: &str = "Read-only file system";

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The object is not there.
    NotFound,
    /// The credentials are missing, wrong, expired, or do not allow this.
    Denied,
    /// A conditional write lost: the object is there already, or is another one than expected.
    Precondition,
    /// The source was overwritten since the commit.
    Changed,
    /// The bucket, container or root is not there.
    NoBucket,
    /// No connection: name, address, TLS, wrong region.
    Unreachable,
    /// The store works but failed this request: a 5xx, a reset, a broken answer.
    Unavailable,
    /// The store asks for fewer requests; the request was surely not applied.
    Throttled,
    /// Refused for a reason that passes (another write at the same key, a clock or credentials that were renewed since);
    /// surely not applied.
    Transient,
    /// The store does not know the upload in parts, or not these parts: the object must be sent again from its start.
    NoUpload,
    /// No answer, or no payload byte, in the time allowed. Whether the request was applied is not known.
    TimedOut,
    /// The store cannot hold this key, or something else is in its way.
    BadKey,
    /// The disk or the quota is full.
    Full,
    /// The bytes are not those that were announced: size or checksum.
    Mismatch,
    /// The store cannot do this: too large, metadata it cannot hold, read only.
    Unsupported,
    /// The store finds the request itself wrong: it does not know a header or an element of it.
    Invalid,
    /// The request was not sent: this process may not change the destination any more ([`crate::Fence`]).
    Fenced,
    /// The row has no outcome: it was not done, or what told of it is lost.
    Undone,
    /// Anything else; the message says it.
    Other,
}

impl FailureKind {
    /// The name in the outcome's `error_kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Precondition => "precondition",
            Self::Changed => "changed",
            Self::NoBucket => "no_bucket",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::NoUpload => "no_upload",
            Self::TimedOut => "timed_out",
            Self::BadKey => "bad_key",
            Self::Full => "full",
            Self::Mismatch => "mismatch",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Fenced => "fenced",
            Self::Undone => "undone",
            Self::Other => "other",
        }
    }

    /// Reads what [`FailureKind::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const ALL: [FailureKind; 19] = [
            FailureKind::NotFound,
            FailureKind::Denied,
            FailureKind::Precondition,
            FailureKind::Changed,
            FailureKind::NoBucket,
            FailureKind::Unreachable,
            FailureKind::Unavailable,
            FailureKind::Throttled,
            FailureKind::Transient,
            FailureKind::NoUpload,
            FailureKind::TimedOut,
            FailureKind::BadKey,
            FailureKind::Full,
            FailureKind::Mismatch,
            FailureKind::Unsupported,
            FailureKind::Invalid,
            FailureKind::Fenced,
            FailureKind::Undone,
            FailureKind::Other,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The same request may succeed when it is sent again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Unavailable | Self::Throttled | Self::Transient | Self::TimedOut | Self::Mismatch
        )
    }

    /// The store did not look at the request: sent again, it is not done twice.
    #[must_use]
    pub fn is_surely_not_applied(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient)
    }

    /// The failure is not the object's: every other object of this store will meet it as well.
    #[must_use]
    pub fn is_of_the_store(self) -> bool {
        matches!(self, Self::Denied | Self::NoBucket | Self::Unreachable | Self::Full)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed request. The text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// Why.
    pub kind: FailureKind,
    /// What happened, for people.
    pub message: String,
    /// How long the store asks to be left alone.
    pub retry_after: Option<Duration>,
    /// There was no answer, or only part of one: the request may still be applied.
    pub unanswered: bool,
}

impl StoreError {
    /// A failure of `kind` that says `message`.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, unanswered: false }
    }

    /// The same failure of a request without an answer.
    #[must_use]
    pub(crate) fn without_answer(self) -> Self {
        Self { unanswered: true, ..self }
    }

    /// Says what was being done: `context: message`.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// The error of the whole command: `context: message`, with what to look at for the store of `location`.
    #[must_use]
    pub fn into_error(self, location: &Location, context: impl fmt::Display) -> Error {
        let message = format!("{context}: {}", self.message);
        let error = match self.kind {
            FailureKind::Precondition | FailureKind::Fenced => Error::guard(message),
            FailureKind::BadKey | FailureKind::Unsupported => Error::usage(message),
            FailureKind::Mismatch => Error::corrupt(message),
            _ => Error::unreachable(message),
        };
        let is_file = matches!(location.scheme(), Scheme::File | Scheme::Local);
        let help = match (self.kind, is_file) {
            (FailureKind::Denied, true) if self.message.contains(READ_ONLY) => {
                Some("the file system is mounted read-only: choose another place, or mount it for writing".to_owned())
            }
            (_, false) => on_the_way(&self.message, location).or_else(|| remedy(self.kind, location)),
            _ => remedy(self.kind, location),
        };
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}

/// What helps on the way to a store, with the settings that say where it is.
fn on_the_way(words: &str, location: &Location) -> Option<String> {
    let help = trouble::of_connection(words)?;
    if location.scheme() != Scheme::S3 || !help.contains("endpoint") {
        return Some(help);
    }
    let bucket = location.bucket();
    Some(format!("{help} (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or endpoint of the [[store]] table of s3://{bucket})"))
}

/// Which setting or variable to look at.
fn remedy(kind: FailureKind, location: &Location) -> Option<String> {
    let bucket = location.bucket();
    let scheme = location.scheme();
    Some(match (kind, scheme) {
        (FailureKind::Denied, Scheme::S3) => format!(
            "check the credentials for s3://{bucket}: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a [[store]] \
             table with prefix = \"s3://{bucket}\""
        ),
        (FailureKind::Denied, Scheme::Gs) => "check GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
        (FailureKind::Denied, Scheme::Az) => "check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY".to_owned(),
        (FailureKind::Denied, Scheme::File | Scheme::Local) => {
            format!(
                "check the permissions of {0} and of the folders above it: this user must be able to enter, read and write there",
                location.file_path().unwrap_or_default().display()
            )
        }
        (FailureKind::NoBucket, Scheme::File | Scheme::Local) => "check the path".to_owned(),
        (FailureKind::NoBucket, scheme) => format!("check the spelling of {}://{bucket}, or create it", scheme.as_str()),
        (FailureKind::Unreachable | FailureKind::TimedOut, Scheme::S3) => format!(
            "check AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL and AWS_REGION, or endpoint and region of the [[store]] table of s3://{bucket}"
        ),
        (FailureKind::Unavailable | FailureKind::Throttled | FailureKind::Transient, Scheme::S3) => format!(
            "run the same command again when the store works; if it never does, check that the endpoint of s3://{bucket} is that of an S3 server"
        ),
        (FailureKind::Unreachable | FailureKind::TimedOut, _) => format!("check that {location} can be reached from here"),
        (FailureKind::Fenced, _) => format!(
            "this run stood still, or could not reach the store, for longer than --lease-ttl: see by `millrace status {location}` who is at \
             work there now, wait for it, then run the same command again: it does what is left"
        ),
        (FailureKind::Full, _) => format!("make room at {location}, then run the same command again"),
        _ => return None,
    })
}
