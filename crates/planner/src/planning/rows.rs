//! From rows of a diff to rows of a plan.

mod deletes;
mod done;
mod keys;
mod last;
mod markers;
mod obstacles;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{Array, BooleanArray};

use super::copies::Copies;
use super::{Doubt, Hindrance, PlanRequest};
use crate::blocking::{Fate, Found as Relation, Paths};
use crate::directories::{Closed, Directories, MarkerRow, RowFacts};
use crate::entry::{EntryBatch, EntryRow};
use crate::error::Result;
use crate::folding::Names;
use crate::guard::{Refusals, SelfDestruction};
use crate::overview::{Gathering, PlanOverview};
use crate::part::Part;
use crate::plan::{Action, PlanWriter, Round, StepKey};
use crate::round::{Done, RoundOrder, Rounds, is_marker};
use crate::select::Selection;
use crate::stores::{KeyRules, Looks};
use crate::table::{DiffBatch, Lookup};
use deletes::Deletion;
use last::{OpenLog, OwnRow};
use markers::Noticed;
use obstacles::Obstacles;

const NAMED_TWICE: &str = "is the key of two objects: the one that the prefix names, and one below the folder of its name";

/// A plan in the making.
pub(super) struct Assembly<'a> {
    part: &'a Part,
    rounds: Rounds,
    selections: (Selection, Selection),
    rules: KeyRules,
    prefix_bytes: usize,
    full: bool,
    known: &'a BTreeMap<String, Option<Vec<u8>>>,
    doubts: &'a BTreeMap<String, Option<Doubt>>,
    untouched: &'a BTreeSet<String>,
    same_etags_below: u64,
    force: bool,
    names: Names,
    listed: &'a BTreeMap<String, u64>,
    looks: Option<&'a dyn Looks>,
    noticed: Noticed,
    in_the_way: &'a BTreeSet<String>,
    /// Of a destination in a folder that is there.
    obstacles: Option<Obstacles>,
    destination: &'a crate::location::Location,
    /// The status path's folder among the keys, where it lies below the destination.
    status: Option<String>,
    /// Another preset under a filter: which markers were held back by the old one is not known.
    doubts_markers: bool,
    /// The object that the part names exactly, which one below the folder of its name may collide with.
    exact: Option<Exact>,
    writer: PlanWriter,
    directories: Directories,
    closed: Vec<Closed>,
    paths: Paths,
    relations: Vec<Relation>,
    waiting: Vec<Deletion>,
    /// Paths of files that the base does not have: whether unchanged ones need them to be folders is still to be seen.
    fresh: Vec<String>,
    refusals: Refusals,
    destruction: SelfDestruction<'a>,
    rows: u64,
    objects: u64,
    /// Entries of the target less those of the base, among the rows that were seen.
    grown: i64,
    /// Logs whose folders the stream is in, from the outermost inwards; and those it has left.
    open_logs: Vec<OpenLog>,
    /// The base's done files, those of runs that did not finish, and how many are written.
    old_done: Option<Done>,
    left_done: Vec<Done>,
    /// Done files of those runs that go already.
    left_gone: BTreeSet<String>,
    done_files: u64,
    closed_logs: Vec<OpenLog>,
    overview: Gathering,
}

/// The object that the part names exactly.
struct Exact {
    key: String,
    target: bool,
    delete: Option<Deletion>,
}

/// A batch with what was decided of its rows.
struct Judged<'b> {
    batch: &'b DiffBatch,
    base: BooleanArray,
    target: BooleanArray,
    copy_rounds: Vec<i32>,
    delete_rounds: Vec<i32>,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(
        request: &'a PlanRequest<'_>,
        part: &'a Part,
        rounds: Rounds,
        selections: (Selection, Selection),
        writer: PlanWriter,
        (old_done, left_done): (Option<Done>, Vec<Done>),
    ) -> Self {
        let directories = Directories::new(request.full);
        let same_done = request.base.view.as_ref().is_none_or(|old| old.rounds.done == request.view.rounds.done);
        Self {
            doubts_markers: !(selections.0.is_all() && selections.1.is_all())
                && request.base.view.as_ref().is_some_and(|old| old.rounds.preset != request.view.rounds.preset),
            exact: None,
            grown: 0,
            rules: request.stores.key_rules(request.destination),
            prefix_bytes: request.destination.prefix().len(),
            destruction: SelfDestruction::new(request.stores, request.lake.storage(), request.destination),
            directories: if same_done { directories } else { directories.all() },
            old_done: old_done.filter(|_| request.base.view.is_some()),
            left_done,
            left_gone: BTreeSet::new(),
            done_files: 0,
            full: request.full,
            known: &request.base.known,
            doubts: &request.base.doubts,
            untouched: &request.base.untouched,
            same_etags_below: request.base.same_etags_below,
            force: request.force,
            names: Names::new(request.stores.key_rules(request.destination).folding),
            listed: &request.base.listed,
            looks: request.looks,
            noticed: Noticed::default(),
            in_the_way: &request.base.in_the_way,
            obstacles: request
                .destination
                .file_path()
                .filter(|_| request.hindrance == Hindrance::Refuses)
                .and_then(Obstacles::new),
            destination: request.destination,
            status: request.status.as_ref().and_then(|status| request.destination.way_to(status)),
            part,
            rounds,
            selections,
            writer,
            closed: Vec::new(),
            paths: Paths::default(),
            relations: Vec::new(),
            waiting: Vec::new(),
            fresh: Vec::new(),
            refusals: Refusals::default(),
            rows: 0,
            objects: 0,
            open_logs: Vec::new(),
            closed_logs: Vec::new(),
            overview: Gathering::default(),
        }
    }

    /// Rows planned so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Objects of the target's view that were seen.
    pub(super) fn counted(&self) -> u64 {
        self.objects
    }

    /// By how much the target has more objects than the base.
    pub(super) fn grown(&self) -> i64 {
        self.grown
    }

    /// Takes a batch of the diff.
    pub(super) async fn batch(&mut self, batch: &DiffBatch) -> Result<()> {
        let judged = Judged {
            base: self.selections.0.matches(&batch.paths, &batch.left, &batch.has_left)?,
            target: self.selections.1.matches(&batch.paths, &batch.right, &batch.has_right)?,
            copy_rounds: self.rounds.assign(&batch.paths, &batch.right)?,
            delete_rounds: self.rounds.assign(&batch.paths, &batch.left)?,
            batch,
        };
        let mut copies = Copies::default();
        for i in 0..batch.len() {
            let path = batch.paths.value(i);
            let Some(key) = self.part.re_root(path) else { continue };
            self.grown += i64::from(judged.target.value(i)) - i64::from(judged.base.value(i));
            if self.rounds.has_markers() && is_marker(key) {
                self.marker_row(&judged, i, key);
            } else {
                self.data_row(&judged, i, key, path, &mut copies)?;
            }
        }
        self.rows += copies.len();
        for (round, rows) in copies.into_batches(batch, self.part)? {
            self.writer.append_batch(StepKey::new(round, 1, Action::Copy), rows);
        }
        self.writer.flush().await
    }

    fn marker_row(&mut self, judged: &Judged<'_>, i: usize, key: &str) {
        let unknown = self.is_unknown(judged, i, key);
        self.one_name(judged, i, key);
        let entry = |side: &EntryBatch, chosen: bool| chosen.then(|| judged.entry(side, i));
        if judged.target.value(i) {
            self.fate(key, Fate::Stays);
            self.makes_way(key);
            self.fresh(judged.batch.paths.value(i), judged.base.value(i) && !unknown);
        }
        let row = MarkerRow {
            base: entry(&judged.batch.left, judged.base.value(i) && !unknown),
            target: entry(&judged.batch.right, judged.target.value(i)),
            unknown,
            facts: judged.facts(i, false),
        };
        self.directories.marker(key, row, &mut self.closed);
    }

    fn data_row(&mut self, judged: &Judged<'_>, i: usize, key: &str, path: &str, copies: &mut Copies) -> Result<()> {
        let batch = judged.batch;
        let known = if judged.batch.touched.value(i) { self.known.get(path) } else { None };
        let unknown = known.is_none() && self.is_unknown(judged, i, key);
        let target = judged.target.value(i);
        let (base, same) = match known {
            Some(state) => (state.is_some(), target && state.as_deref() == Some(batch.right.identity().value(i))),
            None => (judged.base.value(i) && !unknown, batch.same.value(i)),
        };
        if self.is_settled(path, key, target) {
            return Ok(());
        }
        if self.done_row(judged, i, key, target)? {
            return Ok(());
        }
        self.one_name(judged, i, key);
        self.objects += u64::from(target);
        let changed = unknown || base != target || (base && target && !same) || (self.full && target);
        if self.rounds.has_markers() || self.has_done_files() || self.rules.file_system {
            self.directories.row(key, judged.facts(i, changed), &mut self.closed);
        }
        let reason = match (unknown, base, target) {
            (true, _, _) => "unknown state",
            (_, true, false) => "removed",
            (_, false, _) => "added",
            _ if same => "full",
            _ => "changed",
        };
        if changed {
            self.check(judged, i, key, (base, target));
        }
        let own = self.rounds.own(key);
        if let Some((round, order)) = own.filter(|own| own.1 != RoundOrder::Any || self.is_pointer(key)) {
            return self.own_row(judged, i, &OwnRow { key, path, round, order, unknown, base, target, changed, same, reason });
        }
        let own = own.map(|own| own.0);
        match (changed, target) {
            (false, false) => Ok(()),
            (false, true) => {
                self.fate(key, Fate::Stays);
                self.settle_deletes()
            }
            (true, true) => {
                self.fate(key, Fate::Copied);
                self.fresh(path, base);
                let round = own.unwrap_or(judged.copy_rounds[i]);
                copies.add(round, i, reason);
                let size = Some(batch.right.size().value(i));
                self.overview.row(round, Action::Copy, key, size, reason);
                self.settle_deletes()
            }
            (true, false) => {
                let (size, etag) = self.left(judged, i);
                let (key, path) = (key.to_owned(), path.to_owned());
                self.delete(Deletion { key, path, size, etag, round: own.unwrap_or(judged.delete_rounds[i]), reason })
            }
        }
    }

    /// Refuses a key that means the same file as another one, of either side: a delete of one would take the other.
    fn one_name(&mut self, judged: &Judged<'_>, i: usize, key: &str) {
        if (judged.base.value(i) || judged.target.value(i) || judged.batch.touched.value(i))
            && let Some(name) = self.names.collides(key)
        {
            let what = if name == key { "it".to_owned() } else { format!("its folder `{}`", name.escape_debug()) };
            self.refusals.add(key, &format!("cannot be told from another key there: {what} differs in case or spelling only"));
        }
    }

    /// What the destination holds under this key is not known.
    fn is_unknown(&self, judged: &Judged<'_>, i: usize, key: &str) -> bool {
        let doubted = self.doubts_markers && is_marker(key) && (judged.base.value(i) || judged.target.value(i));
        doubted || judged.batch.touched.value(i)
    }

    /// Whether nothing is to be done with a row: it only deletes what is Millrace's own, or what another path writes.
    fn is_settled(&mut self, path: &str, key: &str, target: bool) -> bool {
        if self.part.names(path) {
            self.exact = Some(Exact { key: key.to_owned(), target, delete: None });
        } else if let Some(exact) = self.exact.as_mut().filter(|e| e.key == key) {
            if target && exact.target {
                self.refusals.add(key, NAMED_TWICE);
            }
            exact.delete = None;
            return exact.target && !target;
        }
        !target && self.is_reserved(key)
    }

    fn fate(&mut self, key: &str, fate: Fate) {
        if self.rules.file_system {
            self.paths.row(key, fate, &mut self.relations);
        }
    }

    fn fresh(&mut self, path: &str, in_base: bool) {
        if self.rules.file_system && !in_base {
            self.fresh.push(path.to_owned());
        }
    }

    /// Refuses new files where unchanged ones, which the stream does not see, need a folder.
    async fn files_over_folders(&mut self, lookup: Option<&Lookup>) -> Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(lookup) = lookup else { return Ok(()) };
        for path in fresh {
            if lookup.has_unseen_below(&path).await? {
                self.refusals.add(self.part.re_root(&path).unwrap_or(&path), "is a file in the same commit as objects below it");
            }
        }
        Ok(())
    }

    /// The stream is at its end.
    pub(super) async fn finish(&mut self, lookup: Option<&Lookup>) -> Result<()> {
        self.directories.finish(&mut self.closed);
        self.markers(lookup).await?;
        self.named_twice(lookup).await?;
        self.leave_logs("", true);
        self.logs(lookup).await?;
        if let Some(delete) = self.exact.take().and_then(|exact| exact.delete) {
            self.delete_now(delete)?;
        }
        self.settle_deletes()?;
        let rest = std::mem::take(&mut self.waiting);
        rest.iter().try_for_each(|d| self.write_delete(d, 2))?;
        self.in_the_way_for_good();
        Ok(())
    }

    /// Refuses the object that the part names exactly beside one below the folder of its name, where a small change shows one
    /// of them only.
    async fn named_twice(&mut self, lookup: Option<&Lookup>) -> Result<()> {
        let exact = self.part.as_str();
        let (Some(lookup), Some(key)) = (lookup, self.part.re_root(exact).filter(|_| self.part.names(exact))) else {
            return Ok(());
        };
        let mut there = 0;
        for path in self.part.paths_of(key) {
            there += usize::from(lookup.get(&path).await?.is_some());
        }
        if there > 1 {
            self.refusals.add(key, NAMED_TWICE);
        }
        Ok(())
    }

    /// The plan in brief.
    pub(super) fn overview(&mut self) -> PlanOverview {
        std::mem::take(&mut self.overview).finish()
    }

    /// What a person should know.
    pub(super) fn notes(&self) -> Vec<String> {
        self.own_notes().into_iter().chain(self.noticed.notes()).collect()
    }

    /// Closes the files; refuses what must be refused.
    pub(super) async fn into_rounds(self) -> Result<Vec<Round>> {
        if let Some(error) = self.refusals.into_error(self.destination) {
            return Err(error);
        }
        let mut names = self.rounds.names();
        // Done files of the base go, where the target has none and nothing else retracts.
        if (self.old_done.is_some() || !self.left_done.is_empty()) && names.iter().all(|(round, _)| *round != Rounds::RETRACT) {
            names.insert(0, (Rounds::RETRACT, "retract".to_owned()));
        }
        self.writer.finish(&names).await
    }
}

impl Judged<'_> {
    /// Size and etag of the base's entry.
    fn left(&self, i: usize) -> (Option<i64>, Option<String>) {
        let left = &self.batch.left;
        let size = left.size().is_valid(i).then(|| left.size().value(i));
        (size, left.etag().is_valid(i).then(|| left.etag().value(i).to_owned()))
    }

    /// A side's entry, with its path.
    fn entry(&self, side: &EntryBatch, i: usize) -> EntryRow {
        let mut row = side.row(i);
        self.batch.paths.value(i).clone_into(&mut row.path);
        row
    }

    /// What the row says to the directories above it.
    fn facts(&self, i: usize, changed: bool) -> RowFacts {
        RowFacts {
            changed,
            present: (self.base.value(i), self.target.value(i)),
            written: changed && self.target.value(i),
            unselected: (
                self.batch.has_left.value(i) && !self.base.value(i),
                self.batch.has_right.value(i) && !self.target.value(i),
            ),
        }
    }
}
