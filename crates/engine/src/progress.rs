//! What a run tells while it works. The engine never prints; whoever shows progress implements [`Progress`].

use planner::plan::{PlanSummary, Round};

/// A moment's counts of a running round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundProgress {
    /// Rows with a successful outcome.
    pub done: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Payload bytes of the finished rows.
    pub bytes: u64,
}

/// Told about a run's steps. Calls are cheap and must not block.
pub trait Progress: Send + Sync {
    /// Something worth a line: what is waited for, which base was chosen, what is held back.
    fn note(&self, _text: &str) {}
    /// Files of a folder that is being committed: how many of how many were dealt with, and the bytes that were copied.
    fn copying(&self, _done: u64, _total: u64, _bytes: u64) {}
    /// The run has this id.
    fn started(&self, _run: &str) {}
    /// Planning read on: rows planned so far.
    fn planning(&self, _rows: u64) {}
    /// The plan is made and is about to be executed.
    fn planned(&self, _summary: &PlanSummary) {}
    /// A round starts.
    fn round_started(&self, _round: &Round) {}
    /// A round goes on; called a few times a second at most.
    fn round_progress(&self, _round: &Round, _now: RoundProgress) {}
    /// A round ended.
    fn round_ended(&self, _round: &Round, _end: RoundProgress) {}
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
