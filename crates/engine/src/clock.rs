//! The time of day, in the one form that documents and reports use.

use chrono::{DateTime, SecondsFormat, Utc};

/// Now, RFC 3339, UTC, to the millisecond.
#[must_use]
pub fn now() -> String {
    text(Utc::now())
}

/// A moment as documents show it.
#[must_use]
pub fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
