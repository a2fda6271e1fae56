//! Logs that tell readers what a table is: which of their entries come, go, or stay, and in which order, so that after every
//! single operation the newest entry that is there can be read.
//!
//! ```text
//! take back   1 entries that come back below what goes   (copies, newest first)
//!             2 the pointer                              (retract)
//!             3 what the target has not                  (deletes, newest first)
//!             4 what the target has otherwise            (retract, newest first)
//! log         5 what is new                              (copies, oldest first)
//! pointers    6 the pointer
//! deletes     7 what the log has outlived                (deletes, oldest first)
//! ```
//! Of [`LogKind::Chain`]. A rollback is 1–4, a commit 5 and 6, a branch that was reset all of them: back to the last entry
//! that both agree on, then forward. The oldest entry that differs is not taken back but overwritten: at that moment it is
//! the newest, and the table moves from one state to the other at once. (Where the base has lost the entries before it, it
//! goes as well, a checkpoint last.) Entries that come back do so without a gap to what is there: of a log without
//! checkpoints readers take what lies before its first entry for done. All data has been copied by then and none deleted.
//!
//! Of [`LogKind::Snapshots`] every entry is a state of its own: all copies come first (newest first), then the pointer and
//! what is newer than the target go.

use std::collections::BTreeSet;

use crate::entry::EntryRow;
use crate::round::{LogKind, LogPlace};

/// How an entry of a log differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// In the target, not in the base; or it may be there already, as the target has it.
    Added,
    /// In both, not the same; or what is there may be anything.
    Changed,
    /// In both, the same, and written again.
    Rewritten,
    /// Not in the target.
    Removed,
}

/// An entry of a log that is written or deleted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogRow {
    pub key: String,
    pub path: String,
    pub place: LogPlace,
    pub change: Change,
    /// The target's, unless it is removed.
    pub entry: Option<EntryRow>,
    /// Of the base's, where it is removed.
    pub size: Option<i64>,
    pub etag: Option<String>,
    pub reason: &'static str,
}

/// The pointer into a log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pointer {
    /// It may be at the destination.
    pub there: bool,
    /// The target's.
    pub entry: Option<EntryRow>,
    /// It has rows of its own, with this reason.
    pub changed: Option<&'static str>,
}

/// What was seen of a log's folder.
#[derive(Debug)]
pub(crate) struct Log {
    /// With a slash at its end, or empty.
    pub folder: String,
    /// The round that writes its entries.
    pub round: i32,
    pub kind: LogKind,
    pub rows: Vec<LogRow>,
    /// The oldest version that the target has, as far as it was seen.
    pub oldest: Option<String>,
    /// The oldest that both have, as far as it was seen.
    pub shared: Option<String>,
}

/// What becomes of a log's entries, each list in its order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Moves {
    /// Copies before anything is taken back.
    pub restored: Vec<LogRow>,
    /// Deletes of what the target has not, and what is newer than all it has.
    pub taken_back: Vec<LogRow>,
    /// Deletes of what comes otherwise, and of what stands among it.
    pub retracted: Vec<LogRow>,
    /// Copies.
    pub written: Vec<LogRow>,
    /// Deletes after everything else.
    pub expired: Vec<LogRow>,
}

impl Moves {
    /// Something goes that a pointer may name.
    pub(crate) fn go_back(&self) -> bool {
        !self.taken_back.is_empty() || !self.retracted.is_empty()
    }
}

impl Log {
    pub(crate) fn new(folder: &str, round: i32, kind: LogKind) -> Self {
        Self { folder: folder.to_owned(), round, kind, rows: Vec::new(), oldest: None, shared: None }
    }

    /// The target has an entry of that version, and the base has it too, or may not.
    pub(crate) fn has(&mut self, version: &str, shared: bool) {
        let lower = |oldest: &mut Option<String>| {
            if oldest.as_deref().is_none_or(|oldest| version < oldest) {
                *oldest = Some(version.to_owned());
            }
        };
        lower(&mut self.oldest);
        if shared {
            lower(&mut self.shared);
        }
    }

    /// Whether it matters which entries the target has beside those that were seen.
    pub(crate) fn must_know_oldest(&self) -> bool {
        let matters = |row: &LogRow| match row.change {
            Change::Removed | Change::Changed => true,
            Change::Added => row.place.whole,
            Change::Rewritten => false,
        };
        self.kind == LogKind::Chain && self.rows.iter().any(matters)
    }

    /// Decides over every row.
    pub(crate) fn decide(self) -> Moves {
        match self.kind {
            LogKind::Chain => self.chain(),
            LogKind::Snapshots => self.snapshots(),
        }
    }

    fn chain(self) -> Moves {
        let Self { rows, oldest, shared, .. } = self;
        let changed = || rows.iter().filter(|row| row.change == Change::Changed).map(|row| &row.place.version);
        let (differs, last_changed) = (changed().min().cloned(), changed().max().cloned());
        let expires = |row: &LogRow| oldest.as_ref().is_some_and(|oldest| row.place.version < *oldest);
        let goes = rows.iter().filter(|row| row.change == Change::Removed && !expires(row)).map(|row| &row.place.version);
        let lowest = goes.chain(&differs).min().cloned();
        // What the base's log has outlived comes back; what comes after an entry that both have comes in its turn.
        let is_before =
            |row: &LogRow, version: &Option<String>| version.as_ref().is_none_or(|version| row.place.version < *version);
        let returns =
            |row: &LogRow| row.change == Change::Added && lowest.is_some() && is_before(row, &lowest) && is_before(row, &shared);
        // Then only a checkpoint of the base says what older entries said, and it must go as the last of them.
        let gap = lowest.clone().filter(|_| oldest.is_none() || rows.iter().any(returns));
        let mut moves = Moves::default();
        for row in &rows {
            let version = Some(&row.place.version);
            let to = match row.change {
                Change::Removed if expires(row) => &mut moves.expired,
                Change::Removed if version <= last_changed.as_ref() => &mut moves.retracted,
                Change::Removed => &mut moves.taken_back,
                Change::Added if returns(row) => &mut moves.restored,
                Change::Added | Change::Changed | Change::Rewritten => &mut moves.written,
            };
            to.push(row.clone());
            if row.change == Change::Changed && (version > differs.as_ref() || gap.is_some()) {
                moves.retracted.push(row.clone());
            }
        }
        descending(&mut moves.restored, None);
        descending(&mut moves.taken_back, gap.as_deref());
        descending(&mut moves.retracted, gap.as_deref());
        // Of entries before the target's oldest nothing but its checkpoint says what they said.
        let first = lowest_of(&moves.written).filter(|from| oldest.as_ref() == Some(from));
        ascending(&mut moves.written, differs.as_deref(), first.as_deref());
        ascending(&mut moves.expired, None, None);
        moves
    }

    fn snapshots(self) -> Moves {
        let newest = self.rows.iter().filter(|row| row.change != Change::Removed).map(|row| row.place.version.clone()).max();
        let mut moves = Moves::default();
        for row in self.rows {
            match row.change {
                Change::Removed if newest.as_ref().is_some_and(|newest| row.place.version < *newest) => moves.expired.push(row),
                Change::Removed => moves.taken_back.push(row),
                _ => moves.written.push(row),
            }
        }
        moves.written.sort_by(|a, b| (&b.place.version, &b.key).cmp(&(&a.place.version, &a.key)));
        if !moves.taken_back.is_empty() {
            moves.restored = std::mem::take(&mut moves.written);
        }
        ascending(&mut moves.taken_back, None, None);
        ascending(&mut moves.expired, None, None);
        moves
    }
}

fn lowest_of(rows: &[LogRow]) -> Option<String> {
    rows.iter().map(|row| &row.place.version).min().cloned()
}

/// Oldest first. At version `first` checkpoints that were there are overwritten before anything else: they are what readers
/// go by. At version `gap` any checkpoint comes first: entries before it are not there.
fn ascending(rows: &mut [LogRow], first: Option<&str>, gap: Option<&str>) {
    rows.sort_by_cached_key(|row| {
        let place = &row.place;
        let at = |version: Option<&str>| version == Some(place.version.as_str());
        let leads = place.whole && (at(gap) || (at(first) && row.change == Change::Changed));
        (place.version.clone(), !leads, place.rank, row.key.clone())
    });
}

/// Newest first. At version `gap` checkpoints go last: entries before it are not there until then.
fn descending(rows: &mut [LogRow], gap: Option<&str>) {
    ascending(rows, None, gap);
    rows.reverse();
}

/// First letters of the names in a log, for looking up which entries the target has.
pub(crate) fn first_letters(log: &Log) -> BTreeSet<char> {
    let names = log.rows.iter().filter_map(|row| row.key[log.folder.len()..].chars().next());
    names.chain(['0']).collect()
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
