//! Which completion markers must go before anything changes, and which come (back) when all is done.
//!
//! Rows arrive in byte order of their keys, so everything below a directory is contiguous: a stack of open directories is
//! enough, whatever the size of the lake. A directory is decided when the stream has left it.
//!
//! A marker belongs to the view only if everything below its directory is selected; else it is **held back**. A marker goes
//! when it changed, or when anything below its directory did; it comes when the target's view has it and it went or changed.

use crate::entry::EntryRow;
use crate::round::MARKER;

/// What one row says of its key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowFacts {
    /// The key will be written or deleted.
    pub changed: bool,
    /// The key will be written.
    pub written: bool,
    /// An entry is left out by the selection, in the base and in the target.
    pub unselected: (bool, bool),
    /// An entry is selected, in the base and in the target.
    pub present: (bool, bool),
}

/// A marker that was in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MarkerRow {
    /// The base's entry, where it is selected.
    pub base: Option<EntryRow>,
    /// The target's entry, where it is selected.
    pub target: Option<EntryRow>,
    /// What the destination holds under this key is not known.
    pub unknown: bool,
    /// Left out by a selection, on either side.
    pub facts: RowFacts,
}

/// A directory that the stream has left and in which something may have to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The marker's key.
    pub key: String,
    /// Something below (other than the marker itself) changes.
    pub covers_changes: bool,
    /// Something below is written, so that the directory will be there.
    pub covers_writes: bool,
    /// The marker's row; `None` when the stream had none, so that both commits agree on it.
    pub marker: Option<MarkerRow>,
    /// An entry below is left out, in the base and in the target.
    pub unselected: (bool, bool),
    /// An entry below, as far as the stream has them, is selected, in the base and in the target.
    pub present: (bool, bool),
    /// Something below changes, the marker included.
    pub changed: bool,
}

/// What becomes of one marker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of one marker, each for itself")]
pub(crate) struct Decision {
    pub key: String,
    pub retract: bool,
    pub publish: Option<EntryRow>,
    /// In the target, but not in its view: something below is not selected.
    pub held: bool,
    /// In the target's view.
    pub in_view: bool,
    /// It goes, and neither commit has it: somebody else wrote it.
    pub foreign: bool,
    pub reason: &'static str,
}

#[derive(Debug, Default)]
struct Frame {
    prefix: String,
    changed: bool,
    written: bool,
    unselected: (bool, bool),
    present: (bool, bool),
    marker: Option<MarkerRow>,
}

/// The open directories, from the root inwards.
#[derive(Debug)]
pub(crate) struct Directories {
    stack: Vec<Frame>,
    full: bool,
    all: bool,
}

impl Directories {
    /// `full`: everything of the target is written again.
    pub(crate) fn new(full: bool) -> Self {
        Self { stack: vec![Frame::default()], full, all: false }
    }

    /// Every directory is reported, also where nothing changes.
    pub(crate) fn all(self) -> Self {
        Self { all: true, ..self }
    }

    /// A row of data: where markers have a round of their own, no marker. Directories that the stream has left are appended
    /// to `closed`.
    pub(crate) fn row(&mut self, key: &str, facts: RowFacts, closed: &mut Vec<Closed>) {
        let frame = self.enter(key, closed);
        frame.changed |= facts.changed;
        frame.written |= facts.written;
        frame.unselected.0 |= facts.unselected.0;
        frame.unselected.1 |= facts.unselected.1;
        frame.present.0 |= facts.present.0;
        frame.present.1 |= facts.present.1;
    }

    /// The row of a marker.
    pub(crate) fn marker(&mut self, key: &str, row: MarkerRow, closed: &mut Vec<Closed>) {
        let frame = self.enter(key, closed);
        frame.written |= row.target.is_some();
        frame.present.0 |= row.base.is_some();
        frame.present.1 |= row.target.is_some();
        frame.marker = Some(row);
    }

    /// The stream is at its end: everything is closed, the root last.
    pub(crate) fn finish(&mut self, closed: &mut Vec<Closed>) {
        while self.stack.len() > 1 {
            self.close_top(closed);
        }
        let (full, all) = (self.full, self.all);
        if let Some(root) = self.stack.first_mut() {
            let root = std::mem::take(root);
            root.close(full, all, closed);
        }
    }

    /// The frame of the directory that holds `key`.
    fn enter(&mut self, key: &str, closed: &mut Vec<Closed>) -> &mut Frame {
        while self.stack.len() > 1 && !self.stack.last().is_some_and(|f| key.starts_with(&f.prefix)) {
            self.close_top(closed);
        }
        let mut from = self.stack.last().map_or(0, |f| f.prefix.len());
        while let Some(slash) = key[from..].find('/') {
            from += slash + 1;
            self.stack.push(Frame { prefix: key[..from].to_owned(), ..Frame::default() });
        }
        let top = self.stack.len() - 1;
        &mut self.stack[top]
    }

    fn close_top(&mut self, closed: &mut Vec<Closed>) {
        let Some(frame) = self.stack.pop() else { return };
        let marker = frame.marker.as_ref().map(|m| m.facts).unwrap_or_default();
        let (base, target) = (frame.unselected.0 || marker.unselected.0, frame.unselected.1 || marker.unselected.1);
        let (written, present) = (frame.written, frame.present);
        let changed = frame.close(self.full, self.all, closed);
        if let Some(parent) = self.stack.last_mut() {
            parent.changed |= changed;
            parent.written |= written;
            parent.present.0 |= present.0;
            parent.present.1 |= present.1;
            parent.unselected.0 |= base;
            parent.unselected.1 |= target;
        }
    }
}

impl Frame {
    /// Reports this directory where something may be to do; says whether it counts as a change for its parent.
    fn close(self, full: bool, all: bool, closed: &mut Vec<Closed>) -> bool {
        let mut one = Closed {
            key: format!("{}{MARKER}", self.prefix),
            covers_changes: self.changed,
            covers_writes: self.written,
            marker: self.marker,
            unselected: self.unselected,
            present: self.present,
            changed: false,
        };
        let changed = one.covers_changes || one.marker.as_ref().is_some_and(|m| one.marker_changed(m, full));
        one.changed = changed;
        if all || one.covers_changes || one.marker.is_some() {
            closed.push(one);
        }
        changed
    }
}

impl Closed {
    /// The marker in the base's view and in the target's: selected, and nothing below left out.
    fn in_views<'a>(&self, row: &'a MarkerRow) -> (Option<&'a EntryRow>, Option<&'a EntryRow>) {
        (row.base.as_ref().filter(|_| !self.unselected.0 && !row.unknown), row.target.as_ref().filter(|_| !self.unselected.1))
    }

    fn marker_changed(&self, row: &MarkerRow, full: bool) -> bool {
        let (base, target) = self.in_views(row);
        row.unknown
            || (full && target.is_some())
            || match (base, target) {
                (Some(b), Some(t)) => b.identity != t.identity,
                (None, None) => false,
                _ => true,
            }
    }

    /// Something below changes, and nothing says that a marker is there: one that is would be somebody else's.
    pub(crate) fn may_hide_one(&self) -> bool {
        let unsaid = |row: &MarkerRow| !row.unknown && self.in_views(row) == (None, None);
        self.covers_changes && self.marker.as_ref().is_none_or(unsaid)
    }

    /// Decides over this directory's marker. `listed`: the marker was seen at the destination.
    pub(crate) fn decide(self, full: bool, listed: bool, keep: bool) -> Decision {
        let row = self.marker.clone().unwrap_or_default();
        let changed = self.marker_changed(&row, full);
        let (base, target) = self.in_views(&row);
        let there = base.is_some() || target.is_some() || row.unknown || listed;
        let retract = there && if keep { changed && target.is_none() } else { changed || self.covers_changes };
        let publish = target.filter(|_| changed || retract).cloned();
        let held = row.target.is_some() && target.is_none();
        let foreign = retract && !row.unknown && row.base.is_none() && row.target.is_none();
        let reason = match (changed, row.unknown) {
            (_, true) => "unknown state",
            _ if foreign => "of no commit",
            (true, _) if held => "held back",
            (true, _) if base.is_none() => "added",
            (true, _) if target.is_none() => "removed",
            (true, _) => "changed",
            (false, _) => "covers changes",
        };
        let in_view = target.is_some();
        Decision { key: self.key, retract, publish, held, in_view, foreign, reason }
    }
}

#[cfg(test)]
#[path = "directories_tests.rs"]
mod tests;
