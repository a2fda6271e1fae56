//! Conditional requests.

use hyper::HeaderMap;
use s3s::{S3Result, dto::ETagCondition, s3_error};

use super::object::Object;

/// What the server does with the etag that a delete insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteConditions {
    /// It compares.
    Obeyed,
    /// It takes no notice.
    Ignored,
    /// It refuses each such key with that error.
    RefusesKeys(&'static str),
    /// It refuses a request that holds one with that error.
    RefusesRequests(&'static str),
    /// It says of every object that it is another one.
    Mistaken,
}

impl DeleteConditions {
    /// Looks at an object that is to be deleted; the code of the error. One that is not there is deleted.
    pub(crate) fn check(self, wanted: Option<&str>, current: Option<&Object>) -> Result<(), &'static str> {
        let Some(wanted) = wanted else { return Ok(()) };
        match (self, current) {
            (Self::Obeyed, Some(current)) if wanted != current.etag => Err("PreconditionFailed"),
            (Self::Mistaken, Some(_)) => Err("PreconditionFailed"),
            (Self::RefusesKeys(code) | Self::RefusesRequests(code), _) => Err(code),
            _ => Ok(()),
        }
    }
}

fn holds(condition: &ETagCondition, etag: &str) -> bool {
    condition.as_etag().is_none_or(|wanted| wanted.value() == etag)
}

/// What the server makes of conditions on uploads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conditions {
    /// It obeys them, as Amazon's does.
    #[default]
    Obeyed,
    /// It writes, whatever they say.
    Ignored,
    /// It answers 501, `NotImplemented`.
    Refused,
}

/// The conditions of a write, looked at under the lock under which it is applied.
pub(crate) fn check_write(
    conditions: Conditions,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    current: Option<&Object>,
) -> S3Result<()> {
    match conditions {
        Conditions::Obeyed => {}
        Conditions::Refused if if_match.or(if_none_match).is_some() => return Err(s3_error!(NotImplemented)),
        Conditions::Ignored | Conditions::Refused => return Ok(()),
    }
    match (if_match, current) {
        (Some(_), None) => return Err(s3_error!(NoSuchKey)),
        (Some(condition), Some(object)) if !holds(condition, &object.etag) => return Err(s3_error!(PreconditionFailed)),
        _ => {}
    }
    match (if_none_match, current) {
        (Some(condition), Some(object)) if holds(condition, &object.etag) => Err(s3_error!(PreconditionFailed)),
        _ => Ok(()),
    }
}

/// The conditions of a read.
pub(crate) fn check_read(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    object: &Object,
) -> S3Result<()> {
    if if_match.is_some_and(|condition| !holds(condition, &object.etag)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(|condition| holds(condition, &object.etag)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

/// The conditions on the source of a copy: here the answer is 412 for both.
pub(crate) fn check_source(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    source: &Object,
) -> S3Result<()> {
    check_read(if_match, if_none_match, source).map_err(|_| s3_error!(PreconditionFailed))
}

/// A condition in a header that `s3s` does not read for this operation.
pub(crate) fn of_header(headers: &HeaderMap, name: &str) -> Option<ETagCondition> {
    ETagCondition::parse_http_header(headers.get(name)?.as_bytes()).ok()
}
