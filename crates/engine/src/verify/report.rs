//! What verifying found: the JSON object of `--output json`.

use planner::Location;
use serde::{Deserialize, Serialize};

use super::Keys;
use crate::report::{ErrorReport, RequestCounts, RunReport};

/// Differences that a report names.
pub const MAX_DIFFERENCES: usize = 100;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyState {
    /// Nothing differs.
    Equal,
    /// Something does.
    Different,
    /// Something did, and was mended.
    Repaired,
    /// It could not be found out, or not be mended.
    Failed,
}

/// In which way a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It should be there, and is not.
    Missing,
    /// It is there with another size, another etag, other bytes, or as another version than the commit's.
    Changed,
    /// It was removed, and is there.
    LeftOver,
    /// The receipts list it, the commit does not.
    Extra,
    /// Its bytes cannot be read.
    Unreadable,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key at the destination.
    pub key: String,
    /// In which way.
    pub kind: Kind,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// A comparison in numbers. Field names and order are a contract with scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The destination's URL.
    pub destination: String,
    /// How it ended.
    pub state: VerifyState,
    /// The commit that the destination holds by its receipt.
    pub commit: Option<String>,
    /// The receipt.
    pub receipt: Option<String>,
    /// The commit that it was compared with as well.
    pub against: Option<String>,
    /// The root of the receipts, where it was said by `--from`.
    pub claimed: Option<String>,
    /// The bytes were read.
    pub deep: bool,
    /// Objects that should be there.
    pub objects: u64,
    /// Keys that differ.
    pub differences: u64,
    /// Of which [`Kind::Missing`].
    pub missing: u64,
    /// Of which [`Kind::Changed`].
    pub changed: u64,
    /// Of which [`Kind::LeftOver`].
    pub left_over: u64,
    /// Of which [`Kind::Extra`].
    pub extra: u64,
    /// Of which [`Kind::Unreadable`].
    pub unreadable: u64,
    /// Objects that no receipt ever named: somebody else's. No difference.
    pub foreign: u64,
    /// Millrace's own objects.
    pub own: u64,
    /// Objects that are as the receipts say, which were not as the commit says when they were copied (`--on-drift take`). No
    /// difference.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drifted: u64,
    /// Objects that were read and for which no checksum is known: only their size is proved.
    pub unproved: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The first 100.
    pub found: Vec<Difference>,
    /// Runs that did not finish.
    pub unfinished: Vec<String>,
    /// Requests.
    pub requests: RequestCounts,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// The run that mended what differed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RunReport>,
    /// Things a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it ended, when it could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// All keys that differ, where they were asked for.
    #[serde(skip)]
    pub keys: Keys,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl VerifyReport {
    /// The report of a comparison that has found nothing yet.
    #[must_use]
    pub fn new(destination: &Location, deep: bool) -> Self {
        Self {
            destination: destination.to_string(),
            state: VerifyState::Equal,
            commit: None,
            receipt: None,
            against: None,
            claimed: None,
            deep,
            objects: 0,
            differences: 0,
            missing: 0,
            changed: 0,
            left_over: 0,
            extra: 0,
            unreadable: 0,
            foreign: 0,
            own: 0,
            drifted: 0,
            unproved: 0,
            bytes: 0,
            found: Vec::new(),
            unfinished: Vec::new(),
            requests: RequestCounts::default(),
            elapsed_ms: 0,
            repair: None,
            notes: Vec::new(),
            error: None,
            keys: Keys::new(),
        }
    }

    /// It ended by `error`.
    pub fn fail(&mut self, error: &planner::Error) {
        self.state = VerifyState::Failed;
        self.error = Some(error.into());
    }

    /// Counts a difference; the first are kept.
    pub(super) fn count(&mut self, difference: Difference) {
        self.differences += 1;
        *match difference.kind {
            Kind::Missing => &mut self.missing,
            Kind::Changed => &mut self.changed,
            Kind::LeftOver => &mut self.left_over,
            Kind::Extra => &mut self.extra,
            Kind::Unreadable => &mut self.unreadable,
        } += 1;
        if self.found.len() < MAX_DIFFERENCES {
            self.found.push(difference);
        }
    }
}
