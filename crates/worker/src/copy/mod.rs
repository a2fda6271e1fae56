//! Doing a plan's rows.
//!
//! ```text
//!  plan rows ──▶ feed: looks ahead, large ones early ──▶ driver: while permits last ──▶ object: one row ──▶ outcome rows
//!                                                                                        │ route    how the bytes go (pure)
//!                                                                                        │ check    are they the right ones (pure)
//!                                                                                        │ inside   the store copies
//!                                                                                        │ stream   they pass through here
//!                                                                                        │ deletes  of what is believed there
//! ```
//! Every row is idempotent: done twice is done once. A failed row never stops its neighbours.

pub mod check;
mod deletes;
mod driver;
mod exec;
mod feed;
mod inside;
mod lanes;
mod object;
pub mod route;
mod row;
mod stream;

use std::time::Duration;

use planner::Location;
use serde::{Deserialize, Serialize};

pub use exec::{CopyExec, Ledger};
pub(crate) use row::{Done, Outcome, Row, Rows, outcome_batch};

use crate::retry::Retry;
use crate::store::Bounds;

/// Objects from this size on go up in parts, in bytes: 64 MiB.
pub const DEFAULT_MULTIPART_THRESHOLD: u64 = 64 * 1024 * 1024;
/// The size of a part, in bytes: 16 MiB.
pub const DEFAULT_PART_SIZE: u64 = 16 * 1024 * 1024;
/// Parts of one object under way at once.
pub const DEFAULT_PARTS_IN_FLIGHT: usize = 4;
/// The most requests under way at one endpoint, where their number adapts.
pub const DEFAULT_CEILING: usize = 256;
/// Objects under way at once where the store's answers cannot tell how many it takes.
const UNTOLD_CONCURRENCY: usize = 64;
/// Retries of all objects of an operator together; what succeeds gives back.
const DEFAULT_RUN_RETRIES: u32 = 1000;

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

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// As many requests at each endpoint as it takes, up to `max`.
    Auto {
        /// The ceiling.
        max: usize,
    },
    /// So many objects.
    Fixed(usize),
}

impl Default for Concurrency {
    fn default() -> Self {
        Self::Auto { max: DEFAULT_CEILING }
    }
}

impl Concurrency {
    /// Objects under way at once. Of an adaptive number some wait for their place, or for another try.
    pub(crate) fn objects(self, adapts: bool) -> usize {
        match self {
            Self::Auto { max } if adapts => max.saturating_mul(2),
            Self::Auto { max } => max.min(UNTOLD_CONCURRENCY),
            Self::Fixed(objects) => objects,
        }
    }

    fn window(self) -> Option<usize> {
        match self {
            Self::Auto { max } => Some(max.max(1)),
            Self::Fixed(_) => None,
        }
    }
}

impl std::fmt::Display for Concurrency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto { max } => write!(f, "auto up to {max}"),
            Self::Fixed(objects) => write!(f, "{objects}"),
        }
    }
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
    /// How much is done at once, in all partitions of the operator together.
    pub concurrency: Concurrency,
    /// The rows of a folder are done one after another, as they come; when one fails, those after it are not tried.
    #[serde(default)]
    pub ordered: bool,
    /// How long a request may go without an answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// A transfer without a payload byte for this long has stalled, in milliseconds.
    pub stall_ms: u64,
    /// How long completing an upload in parts may take, in milliseconds.
    pub complete_ms: u64,
    /// Objects from this size on go up in parts, in bytes.
    pub multipart_threshold: u64,
    /// The size of a part, in bytes; grown where 10,000 parts would not suffice.
    pub part_size: u64,
    /// Larger objects are copied inside a store in parts, in bytes.
    pub copy_in_parts_above: u64,
    /// The size of such a part, in bytes.
    pub copy_part_size: u64,
    /// Tries of one object.
    pub retry: Retry,
    /// Retries of all objects together; every request that succeeds gives one back.
    pub run_retries: u32,
}

impl CopySpec {
    /// The defaults for a destination.
    #[must_use]
    pub fn new(destination: Location) -> Self {
        let bounds = Bounds::default();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            destination,
            lake_data: None,
            on_drift: OnDrift::default(),
            concurrency: Concurrency::default(),
            ordered: false,
            request_timeout_ms: milliseconds(bounds.request_timeout),
            stall_ms: milliseconds(bounds.stall),
            complete_ms: milliseconds(bounds.complete),
            multipart_threshold: DEFAULT_MULTIPART_THRESHOLD,
            part_size: DEFAULT_PART_SIZE,
            copy_in_parts_above: bounds.copy_in_parts_above,
            copy_part_size: bounds.copy_part_size,
            retry: Retry::of_objects(),
            run_retries: DEFAULT_RUN_RETRIES,
        }
    }

    /// The longest that a request of a plan may go without an answer, when no object of it has more than `largest` bytes.
    /// Whatever is in doubt is settled by then.
    #[must_use]
    pub fn longest_request(&self, largest: u64) -> Duration {
        self.bounds().longest_request(largest, self.multipart_threshold)
    }

    /// How the requests of both stores are judged.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            stall: Duration::from_millis(self.stall_ms),
            complete: Duration::from_millis(self.complete_ms),
            copy_in_parts_above: self.copy_in_parts_above,
            copy_part_size: self.copy_part_size,
            retry: self.retry,
            window: self.concurrency.window(),
        }
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
