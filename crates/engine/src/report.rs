//! The report of a run: the JSON object of `--output json`, and what `run.json` keeps at the destination.

use serde::{Deserialize, Serialize};

/// How a run stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A plan was made; nothing was executed.
    Planned,
    /// Under way, or killed.
    Running,
    /// Everything is there.
    Succeeded,
    /// Some objects failed, or the destination was out of reach.
    Failed,
    /// Stopped from outside or by the time limit.
    Cancelled,
    /// A guard or the arguments refused; nothing was written.
    Refused,
}

/// Counts of one round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundReport {
    /// Its number.
    pub round: i32,
    /// Its name.
    pub name: String,
    /// Objects written.
    pub copied: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were not tried because something before them failed.
    pub skipped: u64,
    /// Payload bytes of the objects written.
    pub bytes: u64,
}

/// One failed row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The key at the destination.
    pub key: String,
    /// `retract`, `copy` or `delete`.
    pub action: String,
    /// The physical address of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What went wrong.
    pub error: String,
}

/// Range files of both commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeCounts {
    /// In the two metaranges together, each id counted once.
    pub total: u64,
    /// Read.
    pub opened: u64,
    /// Markers looked up by index and one block.
    pub looked_up: u64,
}

/// Requests sent to the destination and the source's data store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// For objects' bytes: copies, puts, gets, deletes.
    pub data: u64,
    /// For everything else.
    pub control: u64,
}

/// An error in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// [`planner::ErrorKind::name`].
    pub kind: String,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<&planner::Error> for ErrorReport {
    fn from(error: &planner::Error) -> Self {
        Self { kind: error.kind().name().to_owned(), message: error.message().to_owned(), help: error.help().map(str::to_owned) }
    }
}

/// A run, or a plan, in numbers. Field names and order are a contract with scripts. Totals leave out round 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run's id; of a plan, the id its run will have by default.
    pub run: String,
    /// How it stands.
    pub state: State,
    /// RFC 3339.
    pub update_time: String,
    /// The source as it was given.
    pub source: String,
    /// The destination's URL.
    pub destination: String,
    /// 64 hex digits.
    pub commit: Option<String>,
    /// The commit that the destination held, where there was one.
    pub base: Option<String>,
    /// One entry a round.
    pub rounds: Vec<RoundReport>,
    /// Objects written, or planned to be.
    pub copied: u64,
    /// Objects deleted.
    pub deleted: u64,
    /// Markers retracted.
    pub retracted: u64,
    /// What the view has and was not touched; null under a filter.
    pub unchanged: Option<u64>,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were not tried.
    pub skipped: u64,
    /// Payload bytes of the objects written.
    pub bytes: u64,
    /// The first 100.
    pub failures: Vec<Failure>,
    /// Range files.
    pub ranges: RangeCounts,
    /// Requests.
    pub requests: RequestCounts,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// Of which planning.
    pub plan_ms: u64,
    /// Where the plan is, for a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The receipt's path at the destination.
    pub receipt: Option<String>,
    /// The marker's name.
    pub marker: Option<String>,
    /// Things a person should know: held-back markers, a changed selection, an old dump.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it ended, when it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}
