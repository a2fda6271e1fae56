//! Rows of an order's last rounds: pages and pointers as they come, logs when the stream has left their folders.

use super::{Assembly, Deletion, Fate, Judged};
use crate::entry::EntryRow;
use crate::error::Result;
use crate::logs::{self, Change, Log, LogRow, Moves, Pointer};
use crate::plan::{Action, Row, StepKey};
use crate::round::RoundOrder;
use crate::table::Lookup;

/// More than any key is deep.
const DEPTHS: i32 = 100_000;

/// Entries that are looked at for one that stands in a log.
const LOOKED_AT: usize = 16;

/// Steps of the round that takes back, in their order.
const RESTORE: i32 = 1;
const POINTER: i32 = 2;
const TAKE_BACK: i32 = 3;
const RETRACT: i32 = 4;

/// The step of a delete in the deletes' round `round`, of a key of the round `of`: later rounds go first, folders before
/// what lies deeper.
pub(super) fn delete_step(round: i32, of: i32, order: Option<RoundOrder>, key: &str) -> StepKey {
    let last = -of * DEPTHS;
    match order {
        Some(RoundOrder::InnermostFirst) => {
            let depth = depth(key);
            StepKey { of: Some(of), ..StepKey::new(round, last + depth, Action::Delete).at_depth(depth) }
        }
        order => {
            let ordered = matches!(order, Some(RoundOrder::Log(_)));
            StepKey { of: Some(of), ordered, ..StepKey::new(round, last, Action::Delete) }
        }
    }
}

fn depth(key: &str) -> i32 {
    i32::try_from(key.matches('/').count()).unwrap_or(i32::MAX).min(DEPTHS - 1)
}

fn folder_of(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |at| at + 1)]
}

/// A row of a last round.
#[expect(clippy::struct_excessive_bools, reason = "facts of one row, each for itself")]
pub(super) struct OwnRow<'a> {
    pub key: &'a str,
    pub path: &'a str,
    pub round: i32,
    pub order: RoundOrder,
    pub unknown: bool,
    pub base: bool,
    pub target: bool,
    pub changed: bool,
    /// What is there is what the target has.
    pub same: bool,
    pub reason: &'static str,
}

/// A folder with a log or a pointer into one.
pub(super) struct OpenLog {
    folder: String,
    log: Option<Log>,
    pointer: Option<(i32, Pointer)>,
}

impl Assembly<'_> {
    /// Takes a row of a last round.
    pub(super) fn own_row(&mut self, judged: &Judged<'_>, i: usize, row: &OwnRow<'_>) -> Result<()> {
        let fate = match (row.changed, row.target) {
            (true, true) => {
                self.fresh(row.path, row.base);
                Some(Fate::Copied)
            }
            (true, false) => Some(Fate::Deleted),
            (false, true) => Some(Fate::Stays),
            (false, false) => None,
        };
        let is_pointer = self.is_pointer(row.key);
        if is_pointer || matches!(row.order, RoundOrder::Log(_)) {
            if let Some(fate) = fate {
                self.fate(row.key, fate);
            }
            self.settle_deletes()?;
            self.log_row(judged, i, row, is_pointer);
            return Ok(());
        }
        match fate {
            Some(Fate::Copied) => {
                self.fate(row.key, Fate::Copied);
                self.write_own(row.round, Some(row.order), row.key, &judged.entry(&judged.batch.right, i), row.reason)?;
                self.settle_deletes()
            }
            Some(Fate::Deleted) => {
                let (size, etag) = self.left(judged, i);
                let (key, path) = (row.key.to_owned(), row.path.to_owned());
                self.delete(Deletion { key, path, size, etag, round: row.round, reason: row.reason })
            }
            _ => {
                if let Some(fate) = fate {
                    self.fate(row.key, fate);
                }
                self.settle_deletes()
            }
        }
    }

    /// The key points into the log of its folder.
    pub(super) fn is_pointer(&self, key: &str) -> bool {
        self.rounds.order().pointer_of(folder_of(key)).as_deref() == Some(key)
    }

    /// What is under an unknown path is what the target has, or nothing.
    fn is_target_or_nothing(&self, judged: &Judged<'_>, i: usize, path: &str) -> bool {
        let Some(Some(doubt)) = self.doubts.get(path) else { return false };
        let wanted = judged.batch.right.identity().value(i);
        let of_base = !doubt.base || !judged.base.value(i) || judged.batch.same.value(i);
        of_base && doubt.written.iter().all(|identity| identity == wanted)
    }

    fn log_row(&mut self, judged: &Judged<'_>, i: usize, row: &OwnRow<'_>, is_pointer: bool) {
        let place = match row.order {
            RoundOrder::Log(_) if !is_pointer => Some(self.rounds.order().log_place(row.key).unwrap_or_default()),
            _ => None,
        };
        let untouched = row.unknown && self.untouched.contains(row.path);
        let absent = untouched && !judged.base.value(i) && !row.target;
        let as_wanted = row.target && row.unknown && self.is_target_or_nothing(judged, i, row.path);
        let (size, etag) = self.left(judged, i);
        let open = self.open_log(folder_of(row.key));
        let entry = row.target.then(|| judged.entry(&judged.batch.right, i));
        let (Some(place), RoundOrder::Log(kind)) = (place, row.order) else {
            let changed = row.changed.then_some(row.reason);
            open.pointer = Some((row.round, Pointer { there: row.base || row.unknown, entry, changed }));
            return;
        };
        let folder = open.folder.clone();
        let log = open.log.get_or_insert_with(|| Log::new(&folder, row.round, kind));
        if row.target {
            log.has(&place.version, row.base);
        }
        if !row.changed || absent {
            return;
        }
        let change = match (row.target, row.unknown, row.base) {
            (false, ..) => Change::Removed,
            (true, true, _) if as_wanted => Change::Added,
            (true, false, false) => Change::Added,
            (true, false, true) if row.same => Change::Rewritten,
            _ => Change::Changed,
        };
        let (key, path) = (row.key.to_owned(), row.path.to_owned());
        log.rows.push(LogRow { key, path, place, change, entry, size, etag, reason: row.reason });
    }

    /// The log in `folder`, now open.
    fn open_log(&mut self, folder: &str) -> &mut OpenLog {
        self.leave_logs(folder, false);
        if self.open_logs.last().is_none_or(|open| open.folder != folder) {
            self.open_logs.push(OpenLog { folder: folder.to_owned(), log: None, pointer: None });
        }
        let last = self.open_logs.len() - 1;
        &mut self.open_logs[last]
    }

    /// The stream is at `key`: folders that do not hold it are closed; at the end all are.
    pub(super) fn leave_logs(&mut self, key: &str, all: bool) {
        while self.open_logs.last().is_some_and(|open| all || !key.starts_with(&open.folder)) {
            self.closed_logs.extend(self.open_logs.pop());
        }
    }

    /// Decides over the logs that the stream has left.
    pub(in crate::planning) async fn logs(&mut self, lookup: Option<&Lookup>) -> Result<()> {
        for mut open in std::mem::take(&mut self.closed_logs) {
            let mut moves = Moves::default();
            if let Some(mut log) = open.log.take() {
                if let Some(lookup) = lookup.filter(|_| log.must_know_oldest()) {
                    self.find_oldest(&mut log, lookup).await?;
                }
                let round = log.round;
                moves = log.decide();
                if moves.go_back() && open.pointer.is_none() {
                    open.pointer = self.unseen_pointer(&open.folder, lookup).await?;
                }
                self.write_moves(round, &moves)?;
            }
            if let Some((round, pointer)) = open.pointer {
                self.write_pointer(&open.folder, round, &pointer, moves.go_back())?;
            }
        }
        Ok(())
    }

    /// Looks up the oldest entries of the target that the stream may not have seen.
    async fn find_oldest(&self, log: &mut Log, lookup: &Lookup) -> Result<()> {
        let folder = log.folder.clone();
        for letter in logs::first_letters(log) {
            let first = lookup.first(&self.part.path_of(&format!("{}{letter}", log.folder)), LOOKED_AT).await?;
            let keys = first.iter().filter_map(|path| self.part.re_root(path)).filter(|key| folder_of(key) == folder);
            for (key, place) in keys.filter_map(|key| Some((key, self.rounds.order().log_place(key)?))) {
                // The stream shows whatever differs.
                let shared = log.rows.iter().all(|row| row.key != key);
                log.has(&place.version, shared);
            }
        }
        Ok(())
    }

    /// A pointer that is the same in both commits.
    async fn unseen_pointer(&self, folder: &str, lookup: Option<&Lookup>) -> Result<Option<(i32, Pointer)>> {
        let key = self.rounds.order().pointer_of(folder);
        let (Some(lookup), Some(key)) = (lookup, key) else { return Ok(None) };
        let Some((round, _)) = self.rounds.own(&key) else { return Ok(None) };
        let entry = lookup.get(&self.part.path_of(&key)).await?;
        Ok(entry.map(|entry| (round, Pointer { there: true, entry: Some(entry), changed: None })))
    }

    fn write_moves(&mut self, round: i32, moves: &Moves) -> Result<()> {
        let ordered = |round, order, action, name| StepKey { ordered: true, name, ..StepKey::new(round, order, action) };
        let back = self.rounds.take_back();
        self.write_logs(ordered(back, RESTORE, Action::Copy, "restore"), &moves.restored)?;
        // A later round's log goes back before an earlier one's.
        let later = |order| order * DEPTHS - round;
        self.write_logs(StepKey { of: Some(round), ..ordered(back, later(TAKE_BACK), Action::Delete, "") }, &moves.taken_back)?;
        self.write_logs(StepKey { of: Some(round), ..ordered(back, later(RETRACT), Action::Retract, "") }, &moves.retracted)?;
        self.write_logs(ordered(round, 1, Action::Copy, ""), &moves.written)?;
        let deletes = self.rounds.deletes().unwrap_or(round);
        for row in &moves.expired {
            let order = self.rounds.own(&row.key).map(|own| own.1);
            self.write_logs(delete_step(deletes, round, order, &row.key), std::slice::from_ref(row))?;
        }
        Ok(())
    }

    fn write_logs(&mut self, step: StepKey, rows: &[LogRow]) -> Result<()> {
        for row in rows {
            self.rows += 1;
            let comes = step.action == Action::Retract && row.change == Change::Changed;
            let reason = if comes { "comes otherwise" } else { row.reason };
            if let Some(entry) = row.entry.as_ref().filter(|_| step.action == Action::Copy) {
                self.overview.row(step.round, step.action, &row.key, Some(entry.size), reason);
                self.writer.append(step, &Row::of_entry(&row.key, entry, reason))?;
                continue;
            }
            self.overview.row(step.round, step.action, &row.key, row.size, reason);
            let row = Row { size: row.size, etag: row.etag.as_deref(), ..Row::of_key(&row.key, &row.path, reason) };
            self.writer.append(step, &row)?;
        }
        Ok(())
    }

    fn write_pointer(&mut self, folder: &str, round: i32, pointer: &Pointer, goes: bool) -> Result<()> {
        let Some(key) = self.rounds.order().pointer_of(folder) else { return Ok(()) };
        let reason = pointer.changed.unwrap_or("points into a log that goes back");
        let path = pointer.entry.as_ref().map_or_else(|| self.part.path_of(&key), |entry| entry.path.clone());
        let goes = goes && pointer.there;
        if goes {
            let action = if pointer.entry.is_some() { Action::Retract } else { Action::Delete };
            self.rows += 1;
            let step = StepKey { name: "pointer", ..StepKey::new(self.rounds.take_back(), POINTER * DEPTHS, action) };
            self.overview.row(step.round, action, &key, None, reason);
            self.writer.append(step, &Row::of_key(&key, &path, reason))?;
        }
        match &pointer.entry {
            Some(entry) if goes || pointer.changed.is_some() => {
                if pointer.changed.is_none() && self.destruction.hits(&entry.address) {
                    self.refusals.add_destruction(&key, &entry.address);
                }
                self.write_own(round, None, &key, entry, reason)
            }
            None if !goes && pointer.changed.is_some() => {
                self.rows += 1;
                let step = delete_step(self.rounds.deletes().unwrap_or(round), round, None, &key);
                self.overview.row(step.round, Action::Delete, &key, None, reason);
                self.writer.append(step, &Row::of_key(&key, &path, reason))
            }
            _ => Ok(()),
        }
    }

    /// Writes the copy of a key in a last round that is no log.
    fn write_own(&mut self, round: i32, order: Option<RoundOrder>, key: &str, entry: &EntryRow, reason: &str) -> Result<()> {
        self.rows += 1;
        self.overview.row(round, Action::Copy, key, Some(entry.size), reason);
        let step = match order {
            Some(RoundOrder::InnermostFirst) => StepKey::new(round, -depth(key), Action::Copy).at_depth(depth(key)),
            _ => StepKey::new(round, 1, Action::Copy),
        };
        self.writer.append(step, &Row::of_entry(key, entry, reason))
    }

    /// What a person should know of the order.
    pub(super) fn own_notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.rounds.order().note().into_iter().collect();
        if self.rounds.has_logs() && !self.selections.1.is_all() {
            notes.push("the selection may leave out files that a table's log names: its readers would fail on them".to_owned());
        }
        notes
    }
}
