//! In which order keys are published: what a preset says, and what rounds of one's own implement.
//!
//! ```text
//! retract ─▶ data ─▶ --round … ─▶ take back ─▶ the order's last rounds ─▶ deletes
//!  markers                          logs                                   Deletes::Last
//! ```
//! An order only *names* things: which of its rounds takes a key, where a key stands in its log, when deletes go. What has
//! to be done for it, forward and back, is decided by planning.

use std::fmt;

/// In which order keys are published. The built-in presets implement it; give one of your own by `ExportRequest::order`
/// of the engine, or by [`crate::PlanRequest::order`].
///
/// Keys are those at the destination. Everything must depend on the key alone, and must not change as long as the name
/// stays the same: the name is part of the view that a destination is an export of.
///
/// ```
/// use planner::round::{Deletes, LastRound, PublishOrder, RoundOrder};
///
/// /// Whatever is called `CURRENT` comes last; deletes come after it.
/// #[derive(Debug)]
/// struct Current;
///
/// impl PublishOrder for Current {
///     fn name(&self) -> &str {
///         "current"
///     }
///
///     fn last_rounds(&self) -> Vec<LastRound> {
///         vec![LastRound::new("current", RoundOrder::Any)]
///     }
///
///     fn round_of(&self, key: &str) -> Option<usize> {
///         (key == "CURRENT" || key.ends_with("/CURRENT")).then_some(0)
///     }
///
///     fn deletes(&self) -> Deletes {
///         Deletes::Last
///     }
/// }
/// ```
pub trait PublishOrder: fmt::Debug + Send + Sync {
    /// What it is called in plans, receipts and HEAD.
    fn name(&self) -> &str;

    /// Its rounds in their order. They come after the data and after every `--round`.
    fn last_rounds(&self) -> Vec<LastRound>;

    /// Which of [`PublishOrder::last_rounds`] takes `key`, by its position; `None`: it is data.
    fn round_of(&self, key: &str) -> Option<usize>;

    /// Where deletes go.
    fn deletes(&self) -> Deletes;

    /// Where `key` stands in its log. Only asked of keys whose round is a [`RoundOrder::Log`]; `None` stands before all.
    fn log_place(&self, key: &str) -> Option<LogPlace> {
        let _ = key;
        None
    }

    /// The key that points into the log in `folder` (with a slash at its end, or empty). It is deleted before anything is
    /// taken out of the log, and written again in its round.
    fn pointer_of(&self, folder: &str) -> Option<String> {
        let _ = folder;
        None
    }

    /// `_SUCCESS` markers are retracted before anything below their folder changes and written in the first of the last
    /// rounds, from the innermost folder outwards.
    fn markers(&self) -> bool {
        false
    }

    /// What a person should know of a plan in this order.
    fn note(&self) -> Option<String> {
        None
    }
}

/// A round of a [`PublishOrder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRound {
    /// For people.
    pub name: String,
    /// In which order its keys are written.
    pub order: RoundOrder,
}

impl LastRound {
    /// A round of that name.
    #[must_use]
    pub fn new(name: &str, order: RoundOrder) -> Self {
        Self { name: name.to_owned(), order }
    }
}

/// In which order a round writes its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundOrder {
    /// In any.
    Any,
    /// From the innermost folder outwards, each depth a barrier.
    InnermostFirst,
    /// Each folder is a log: its keys one after another by their [`LogPlace`], folders beside one another.
    Log(LogKind),
}

/// What the entries of a log are to its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// The state is what *all* entries say: they come in their order, and go in the reverse one. Where an entry differs
    /// between two commits, everything after it goes before it is written.
    Chain,
    /// Each entry is a state of its own, and the newest counts: the newest comes first, so that none in between is ever
    /// the newest.
    Snapshots,
}

/// Where a key stands in its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// Compared byte by byte: give numbers leading zeros.
    pub version: String,
    /// Within a version the smallest comes first, and goes last.
    pub rank: u8,
    /// It says all that the entries up to its version say, as a checkpoint does.
    pub whole: bool,
}

/// Where deletes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// After the copies of the round of the deleted key.
    InTheirRound,
    /// In a round of their own after all others: keys of the last rounds first, data last.
    Last,
}
