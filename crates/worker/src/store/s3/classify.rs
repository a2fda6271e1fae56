//! What an S3 failure means. The code decides before the status, because S3 also fails in answers with status 200.

use std::error::Error as _;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use planner::trouble::IN_REGION;

use crate::store::{FailureKind, StoreError};

/// The failure behind an SDK error.
pub(crate) fn classify<E>(error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(fenced) = own_failure(error) {
        return fenced;
    }
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let meta = answer.err().meta();
            // Every S3 names an error that has a text; answers to HEAD have none.
            let has_text = answer.raw().body().bytes().is_some_and(|text| !text.is_empty());
            if meta.code().is_none() && has_text && (400..500).contains(&status) && status != 429 {
                let message = format!("what answers there is no S3 (status {status}, and no S3 error)");
                return StoreError::new(FailureKind::Unreachable, message);
            }
            let kind = service_kind(meta.code(), status);
            let region = answer.raw().headers().get("x-amz-bucket-region").filter(|_| kind == FailureKind::Unreachable);
            let region = region.map(|region| format!(" {IN_REGION}{region})")).unwrap_or_default();
            let retry_after = answer.raw().headers().get("retry-after").and_then(|text| text.trim().parse().ok());
            StoreError {
                retry_after: retry_after.map(Duration::from_secs),
                ..StoreError::new(kind, describe(kind, meta.code(), meta.message(), status, &ids(meta)) + &region)
            }
        }
        SdkError::TimeoutError(_) => StoreError::new(FailureKind::TimedOut, "no answer in the time allowed").without_answer(),
        SdkError::ResponseError(_) => {
            StoreError::new(FailureKind::Unavailable, format!("the answer is broken: {}", chain_of(error))).without_answer()
        }
        SdkError::DispatchFailure(failure) if !has_credentials_error(error) => {
            // The connector's own words are its cause's; what it puts before them is a kind that is told otherwise.
            let cause = failure.as_connector_error().and_then(std::error::Error::source);
            let text = cause.map_or_else(|| chain_of(error), chain_of);
            let never_connected =
                failure.is_timeout() || ["(Connect)", "dns error", "certificate"].iter().any(|word| text.contains(word));
            let kind = if never_connected {
                FailureKind::Unreachable
            } else if failure.is_user() {
                FailureKind::Other
            } else {
                FailureKind::Unavailable
            };
            let failure = StoreError::new(kind, text);
            if kind == FailureKind::Unavailable { failure.without_answer() } else { failure }
        }
        _ if has_credentials_error(error) => {
            StoreError::new(FailureKind::Denied, format!("no credentials were found: {}", chain_of(error)))
        }
        _ => StoreError::new(FailureKind::Other, chain_of(error)),
    }
}

/// What kept a request from being sent here.
fn own_failure<E>(error: &SdkError<E, HttpResponse>) -> Option<StoreError>
where
    E: std::error::Error + 'static,
{
    let mut at = error.source();
    while let Some(cause) = at {
        if let Some(failure) = cause.downcast_ref::<StoreError>() {
            return Some(failure.clone());
        }
        at = cause.source();
    }
    None
}

fn has_credentials_error<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: std::error::Error + 'static,
{
    let mut at = error.source();
    while let Some(cause) = at {
        // The SDK wraps the provider's error in text when it caches identities, so the words count as well.
        if cause.is::<CredentialsError>() || cause.to_string().contains("loading credentials") {
            return true;
        }
        at = cause.source();
    }
    false
}

/// The failure of one key of a batch.
pub(crate) fn of_code(code: Option<&str>, message: Option<&str>) -> StoreError {
    let kind = service_kind(code, 200);
    let what = [code, message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    StoreError::new(kind, what)
}

/// A refusal that may pass when something is put right here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy<'a> {
    /// Other credentials.
    Credentials,
    /// The server's clock, by its `Date` header.
    Clock(Option<&'a str>),
}

/// What can be put right after a refusal.
pub(crate) fn remedy<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Remedy<'_>> {
    let SdkError::ServiceError(answer) = error else { return None };
    match answer.err().meta().code()? {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Some(Remedy::Credentials),
        "RequestTimeTooSkewed" => Some(Remedy::Clock(answer.raw().headers().get("date"))),
        _ => None,
    }
}

/// The kind of a service's failure.
fn service_kind(code: Option<&str>, status: u16) -> FailureKind {
    match code.unwrap_or_default() {
        "NoSuchBucket" | "InvalidBucketName" => FailureKind::NoBucket,
        "NoSuchKey" | "NotFound" | "NoSuchVersion" => FailureKind::NotFound,
        "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" => FailureKind::NoUpload,
        "PreconditionFailed" => FailureKind::Precondition,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => FailureKind::Throttled,
        "ConditionalRequestConflict" | "OperationAborted" => FailureKind::Transient,
        "InternalError" | "ServiceUnavailable" | "RequestTimeout" | "IncompleteBody" => FailureKind::Unavailable,
        "BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" => FailureKind::Mismatch,
        // The last three are what gateways to file systems say.
        "KeyTooLongError"
        | "InvalidObjectName"
        | "ExistingObjectIsDirectory"
        | "ObjectParentIsFile"
        | "DirectoryObjectContainsData" => FailureKind::BadKey,
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => FailureKind::Full,
        // Of a key of a batch as well, whose answer is a 200.
        "InvalidArgument" | "InvalidRequest" | "MalformedXML" => FailureKind::Invalid,
        "EntityTooLarge" | "MetadataTooLarge" | "NotImplemented" | "MethodNotAllowed" => FailureKind::Unsupported,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            FailureKind::Unreachable
        }
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "ExpiredTokenException"
        | "RequestTimeTooSkewed"
        | "InvalidToken"
        | "AccountProblem" => FailureKind::Denied,
        _ => status_kind(status),
    }
}

fn status_kind(status: u16) -> FailureKind {
    match status {
        301 | 302 | 307 | 308 => FailureKind::Unreachable,
        401 | 403 => FailureKind::Denied,
        404 => FailureKind::NotFound,
        409 => FailureKind::Transient,
        412 => FailureKind::Precondition,
        429 => FailureKind::Throttled,
        501 => FailureKind::Unsupported,
        507 => FailureKind::Full,
        // A failure inside a 200, and every other trouble of the server.
        200..=299 | 500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Other,
    }
}

fn ids<M: RequestId + RequestIdExt>(meta: &M) -> String {
    meta.request_id().map(|id| format!(", request {id}")).unwrap_or_default()
}

fn describe(kind: FailureKind, code: Option<&str>, message: Option<&str>, status: u16, ids: &str) -> String {
    let what = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => kind.as_str().replace('_', " "),
    };
    format!("{what} (status {status}{ids})")
}

/// An error with its causes in one line, each said once.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        at = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_goes_before_the_status() {
        assert_eq!(service_kind(Some("SlowDown"), 503), FailureKind::Throttled);
        assert_eq!(service_kind(Some("InternalError"), 200), FailureKind::Unavailable);
        assert_eq!(service_kind(Some("NoSuchBucket"), 404), FailureKind::NoBucket);
        assert_eq!(service_kind(None, 404), FailureKind::NotFound);
        assert_eq!(service_kind(None, 503), FailureKind::Unavailable);
        assert_eq!(service_kind(Some("SomethingNew"), 403), FailureKind::Denied);
        assert_eq!(service_kind(Some("RequestTimeout"), 400), FailureKind::Unavailable);
        assert_eq!(service_kind(Some("ServiceUnavailable"), 503), FailureKind::Unavailable);
        assert_eq!(service_kind(Some("ConditionalRequestConflict"), 409), FailureKind::Transient);
        assert_eq!(service_kind(Some("NoSuchUpload"), 404), FailureKind::NoUpload);
        assert_eq!(service_kind(Some("InvalidArgument"), 400), FailureKind::Invalid);
        assert_eq!(service_kind(Some("MalformedXML"), 200), FailureKind::Invalid);
        assert_eq!(service_kind(Some("SomethingNew"), 400), FailureKind::Other);
    }
}
