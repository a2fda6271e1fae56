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
    /// Those of them, outside of round 0, that come back in a later round.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retracted: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were not tried because something before them failed.
    pub skipped: u64,
    /// Payload bytes of the objects written.
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
    /// Bytes of the lake's metadata that were read.
    #[serde(default)]
    pub bytes: u64,
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

/// How bytes go from the lake's storage to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyPath {
    /// The store copies by itself; no byte passes through this machine.
    ServerSide,
    /// Bytes pass through this machine: large objects in parts.
    Streamed,
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
    /// How the bytes of the lake's own objects will go, of a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<CopyPath>,
    /// The receipt's path at the destination.
    pub receipt: Option<String>,
    /// The marker's name.
    pub marker: Option<String>,
    /// Who runs it, where: `user@host (process N)`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Deleted objects that somebody else had written since the last export.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub overwritten: u64,
    /// Things a person should know: held-back markers, a changed selection, an old dump.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Why it ended, when it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

impl RunReport {
    /// Failed rows that a report names.
    pub const MAX_FAILURES: usize = 100;

    /// The report of a run that has done nothing yet.
    #[must_use]
    pub fn new(run: String, source: String, destination: &planner::Location) -> Self {
        Self {
            run,
            state: State::Running,
            by: crate::lease::Holder::this().to_string(),
            update_time: crate::clock::now(),
            source,
            destination: destination.to_string(),
            commit: None,
            base: None,
            rounds: Vec::new(),
            copied: 0,
            deleted: 0,
            retracted: 0,
            unchanged: None,
            failed: 0,
            skipped: 0,
            bytes: 0,
            failures: Vec::new(),
            ranges: RangeCounts::default(),
            requests: RequestCounts::default(),
            elapsed_ms: 0,
            plan_ms: 0,
            plan: None,
            copies: None,
            receipt: None,
            marker: None,
            overwritten: 0,
            notes: Vec::new(),
            error: None,
        }
    }

    /// It ended by `error`.
    pub fn fail(&mut self, error: &planner::Error) {
        use planner::ErrorKind as K;
        self.state = match error.kind() {
            K::Usage | K::Guard => State::Refused,
            K::Interrupted | K::TimedOut => State::Cancelled,
            _ => State::Failed,
        };
        self.error = Some(error.into());
    }

    /// What a plan is for: its commits, ranges and notes.
    pub(crate) fn describe(&mut self, plan: &planner::plan::PlanFile) {
        let summary = &plan.summary;
        self.commit = Some(plan.commit.clone());
        self.base = plan.base.as_ref().map(|b| b.commit.clone());
        self.unchanged = summary.unchanged;
        self.ranges = RangeCounts {
            total: summary.ranges_total,
            opened: summary.ranges_opened,
            looked_up: summary.looked_up,
            bytes: summary.metadata_bytes,
        };
        self.notes.clone_from(&plan.notes);
    }

    /// What a plan says, with what would be done as counts.
    pub(crate) fn planned(&mut self, plan: &planner::plan::PlanFile) {
        self.describe(plan);
        let round = |r: &planner::plan::Round| RoundReport {
            round: r.round,
            name: r.name.clone(),
            copied: r.copied,
            deleted: r.deleted,
            retracted: r.retracted,
            bytes: r.bytes,
            ..RoundReport::default()
        };
        self.rounds = plan.rounds.iter().map(round).collect();
        self.total();
    }

    /// The totals of the rounds; those of round 0 are apart.
    pub(crate) fn total(&mut self) {
        let sum = |f: fn(&RoundReport) -> u64| self.rounds.iter().filter(|r| r.round != 0).map(f).sum::<u64>();
        (self.copied, self.deleted, self.bytes) = (sum(|r| r.copied), sum(|r| r.deleted - r.retracted), sum(|r| r.bytes));
        self.retracted = self.rounds.iter().map(|r| if r.round == 0 { r.deleted } else { r.retracted }).sum();
        self.failed = self.rounds.iter().map(|r| r.failed).sum();
        self.skipped = self.rounds.iter().map(|r| r.skipped).sum();
    }
}
