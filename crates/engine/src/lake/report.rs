//! What a command on a lake came to: the JSON objects of `--output json`.

use serde::Serialize;

use crate::report::{ErrorReport, Failure};

/// How a commit or a merge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LakeState {
    /// There is a new commit.
    Committed,
    /// Nothing differs: no commit was made.
    Unchanged,
    /// Both sides of a merge changed the same keys: nothing was written.
    Conflict,
    /// Some files could not be read, or changed meanwhile: no commit was made.
    Failed,
}

/// A lake that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitReport {
    /// The lake.
    pub lake: String,
    /// Its branch.
    pub branch: String,
    /// Its first commit.
    pub commit: String,
}

/// A branch or tag that was made or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefReport {
    /// The lake.
    pub lake: String,
    /// `branch` or `tag`.
    pub r#type: &'static str,
    /// The name.
    pub id: String,
    /// The commit that it names, or named.
    pub commit_id: String,
    /// It is gone.
    pub deleted: bool,
}

/// A commit of a folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommitReport {
    /// How it ended.
    pub state: LakeState,
    /// The lake.
    pub lake: String,
    /// The branch.
    pub branch: String,
    /// The branch's head now, 64 hex digits.
    pub commit: String,
    /// The head before; null when there is no new one.
    pub parent: Option<String>,
    /// Files that the branch did not have.
    pub added: u64,
    /// Files that it had otherwise.
    pub changed: u64,
    /// Objects below the prefix that the folder does not have.
    pub removed: u64,
    /// Files that it had, byte for byte.
    pub unchanged: u64,
    /// Files that failed.
    pub failed: u64,
    /// Bytes that were copied into the lake.
    pub bytes: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// Why there is no commit, when that is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// A merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergeReport {
    /// How it ended.
    pub state: LakeState,
    /// The lake.
    pub lake: String,
    /// The reference that was merged, as it was given.
    pub source: String,
    /// Its commit.
    pub source_commit: String,
    /// The branch that it was merged into.
    pub branch: String,
    /// The branch's head now, 64 hex digits.
    pub commit: String,
    /// The commit that both descend from.
    pub base: String,
    /// Objects that the branch did not have.
    pub added: u64,
    /// Objects that it had otherwise.
    pub changed: u64,
    /// Objects that it has no more.
    pub removed: u64,
    /// Conflicts that the strategy decided.
    pub resolved: u64,
    /// The first keys that both sides changed.
    pub conflicts: Vec<String>,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// Why there is no commit, when that is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

pub(super) fn millis(since: std::time::Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
