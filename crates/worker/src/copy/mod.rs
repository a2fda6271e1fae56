//! Doing a plan's rows.
//!
//! ```text
//!  plan rows ──▶ exec: takes rows while permits last ──▶ object: one row ──▶ exec: gathers ──▶ outcome rows
//!                                                          │ route    how the bytes go (pure)
//!                                                          │ check    whether they are the right ones (pure)
//! ```
//! Every row is idempotent: done twice is done once. A failed row never stops its neighbours.

pub mod check;
mod exec;
mod object;
pub mod route;
mod row;

use std::time::Duration;

use planner::Location;
use serde::{Deserialize, Serialize};

pub use exec::CopyExec;

use crate::store::s3::{COMPLETE_LIMIT, COPY_RATE, UPLOAD_RATE};

/// Objects from this size on go up in parts, in bytes: 64 MiB.
pub const DEFAULT_MULTIPART_THRESHOLD: u64 = 64 * 1024 * 1024;
/// The size of a part, in bytes: 16 MiB.
pub const DEFAULT_PART_SIZE: u64 = 16 * 1024 * 1024;
/// Parts of one object under way at once.
pub const DEFAULT_PARTS_IN_FLIGHT: usize = 4;
/// Objects under way at once.
pub const DEFAULT_CONCURRENCY: usize = 64;

/// What to do with a source that was overwritten since the commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrift {
    /// The row fails and names it.
    #[default]
    Fail,
    /// What is there now is copied.
    Take,
}

/// How rows are done: everything an executor must know, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopySpec {
    /// Where keys lie.
    pub destination: Location,
    /// The lake's own `data/`, where objects are never overwritten; `None` when it is not known.
    #[serde(default)]
    pub lake_data: Option<Location>,
    /// What to do with overwritten sources.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Objects under way at once, in all partitions of the operator together.
    pub concurrency: usize,
    /// How long a request may go without an answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// Objects from this size on go up in parts, in bytes.
    pub multipart_threshold: u64,
    /// The size of a part, in bytes.
    pub part_size: u64,
}

impl CopySpec {
    /// The defaults for a destination.
    #[must_use]
    pub fn new(destination: Location) -> Self {
        Self {
            destination,
            lake_data: None,
            on_drift: OnDrift::default(),
            concurrency: DEFAULT_CONCURRENCY,
            request_timeout_ms: 30_000,
            multipart_threshold: DEFAULT_MULTIPART_THRESHOLD,
            part_size: DEFAULT_PART_SIZE,
        }
    }

    /// The longest that a request of a plan may go without an answer, when no object of it has more than `largest` bytes.
    /// Whatever is in doubt is settled by then.
    #[must_use]
    pub fn longest_request(&self, largest: u64) -> Duration {
        let base = Duration::from_millis(self.request_timeout_ms);
        let copied = base + Duration::from_secs(largest / COPY_RATE);
        let sent = base + Duration::from_secs(largest.min(self.multipart_threshold) / UPLOAD_RATE);
        let completed = if largest >= self.multipart_threshold { COMPLETE_LIMIT } else { base };
        copied.max(sent).max(completed)
    }

    /// The object lies below the lake's own `data/`.
    pub(crate) fn is_own_data(&self, source: &Location) -> bool {
        self.lake_data.as_ref().is_some_and(|data| {
            data.scheme() == source.scheme() && data.bucket() == source.bucket() && source.path().starts_with(&data.prefix())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_travels_as_json_and_holds_no_secret() {
        let spec = CopySpec {
            lake_data: Some(Location::new(planner::Scheme::S3, "lake", "ns/data")),
            ..CopySpec::new(Location::new(planner::Scheme::S3, "out", "x"))
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<CopySpec>(&text).unwrap(), spec);
        assert!(text.contains("\"destination\":\"s3://out/x\""), "{text}");
    }

    #[test]
    fn own_data_is_what_lies_below_it() {
        let spec = CopySpec {
            lake_data: Some(Location::parse("s3://lake/ns/data/").unwrap()),
            ..CopySpec::new(Location::parse("s3://out").unwrap())
        };
        for (source, own) in [
            ("s3://lake/ns/data/a/b", true),
            ("s3://lake/ns/database", false),
            ("s3://other/ns/data/a", false),
            ("gs://lake/ns/data/a", false),
        ] {
            assert_eq!(spec.is_own_data(&Location::parse(source).unwrap()), own, "{source}");
        }
    }

    #[test]
    fn the_longest_request_grows_with_the_largest_object() {
        let spec = CopySpec::new(Location::parse("s3://out").unwrap());
        let seconds = |largest: u64| spec.longest_request(largest).as_secs();
        assert_eq!((seconds(0), seconds(10_000_000), seconds(64 << 20), seconds(20_000_000_000)), (30, 40, 300, 1030));
    }
}
