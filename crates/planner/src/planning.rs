//! Planning: from two views to a plan folder.
//!
//! ```text
//! diff of the commits ──▶ selection, ──▶ rows of data ──▶ shards of their steps
//!  (or both in full)       old and new
//!                              └──▶ directories ──▶ markers to retract and to publish
//! ```
//! Everything streams in key order. What a destination cannot hold, and what would destroy a source, is refused when the
//! whole plan has been seen, so that ten offenders can be named; nothing has been written to the destination by then.

mod copies;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use graveler::{Counts, Metarange, Namespace};

use crate::entry::Columns;
use crate::error::Result;
use crate::location::Location;
use crate::overview::PlanOverview;
use crate::part::Part;
use crate::plan::{Expects, PLAN_FORMAT, PlanBase, PlanFile, PlanSummary, PlanWriter, Round};
use crate::round::{Done, PublishOrder, Rounds};
use crate::select::Selection;
use crate::source::{Commit, CommitSource};
use crate::stores::{Looks, Stores};
use crate::table::{DiffOptions, Elsewhere, Lookup, Mode, diff_stream};
use crate::view::{DoneSpec, SelectionSpec, View};

use rows::Assembly;

/// A tree of the base that is not among the lake's.
#[derive(Debug, Clone)]
pub struct BaseTree {
    /// Where its ranges are.
    pub namespace: Namespace,
    /// The tree.
    pub metarange: Metarange,
}

/// What runs that did not finish may have left under a path, beside nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doubt {
    /// What the base has.
    pub base: bool,
    /// Identities of what the runs may have written.
    pub written: BTreeSet<Vec<u8>>,
}

/// What the destination is believed to hold.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// The commit and its metarange; `None` when nothing is known to be there.
    pub commit: Option<PlanBase>,
    /// What the destination is an export of; with another selection or other rounds than the target's, both views are
    /// evaluated in full. `None`: like the target's.
    pub view: Option<View>,
    /// Paths in the lake whose state at the destination is unknown: of runs that did not finish.
    pub unknown: BTreeSet<String>,
    /// What may be there of unknown paths, beside nothing. `None`, and a path that is missing here: anything.
    pub doubts: BTreeMap<String, Option<Doubt>>,
    /// Unknown paths that no unfinished run has come to, so that what the base has is there all the same.
    pub untouched: BTreeSet<String>,
    /// Paths whose state at the destination is known otherwise than from the commit: the identity of what is there, or
    /// `None` where nothing is. None of them is unknown as well.
    pub known: BTreeMap<String, Option<Vec<u8>>>,
    /// Markers, and files with names of done files, that a listing of the destination found, with their bytes.
    pub listed: BTreeMap<String, u64>,
    /// Foreign keys that a listing found in a file system: none may be where a folder must be, or a folder where a file must.
    pub in_the_way: BTreeSet<String>,
    /// The done files of runs that did not finish, where they may be other ones than the view's.
    pub done: Vec<DoneSpec>,
    /// What is there by the receipts, where the commit's own metadata is gone: all of it was selected.
    pub tree: Option<BaseTree>,
    /// How many objects of the base's view are there, where that is known.
    pub objects: Option<u64>,
    /// Objects of fewer bytes, whose entry's etag is an MD5, have that etag at the destination as well, by the receipts.
    pub same_etags_below: u64,
}

/// What becomes of a plan when something stands in the way of an object, at a destination in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hindrance {
    /// It is refused.
    #[default]
    Refuses,
    /// The object's row will fail: a repair puts right what it can.
    FailsItsRow,
}

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest<'a> {
    /// Who knows the lake.
    pub lake: Arc<dyn CommitSource>,
    /// The target.
    pub commit: &'a Commit,
    /// What the destination will be an export of.
    pub view: &'a View,
    /// What it is believed to hold.
    pub base: Base,
    /// Where to.
    pub destination: &'a Location,
    /// The stores at hand.
    pub stores: &'a dyn Stores,
    /// Everything of the target is written again.
    pub full: bool,
    /// Guards that can be overridden do not refuse.
    pub force: bool,
    /// The id that the run will have.
    pub run: String,
    /// The source as it was given.
    pub source: String,
    /// The commit was given by a branch's name.
    pub branch: bool,
    /// For which state of the destination.
    pub expects: Expects,
    /// The claimed root of a chain without a receipt.
    pub claim: Option<PlanBase>,
    /// RFC 3339.
    pub created: String,
    /// The order that the view's preset names, where it is none of the built-in ones.
    pub order: Option<Arc<dyn PublishOrder>>,
    /// Where status markers and `_millrace/` are, if not beside the data.
    pub status: Option<Location>,
    /// Who merges ranges, if not this process.
    pub elsewhere: Option<Elsewhere>,
    /// Who looks at the destination for markers that neither commit has. `None`: there are none but those of
    /// [`Base::listed`].
    pub looks: Option<&'a dyn Looks>,
    /// What a thing in the way of one object does to the plan.
    pub hindrance: Hindrance,
}

/// Plans into the local `folder`; the table of contents, which is not written, and an overview are the answer.
///
/// # Errors
/// `Guard` for what must not be done, `Usage` for a selection that cannot be read, `Corrupt`
/// and `Unreachable` for the lake's metadata.
pub async fn plan(request: PlanRequest<'_>, folder: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<(PlanFile, PlanOverview)> {
    let part = Part::new(&request.view.prefix);
    let rounds = Rounds::compile(&request.view.rounds, request.order.as_ref())?;
    let old = request.base.view.as_ref().unwrap_or(request.view);
    let tree = request.base.tree.as_ref();
    let everything = SelectionSpec::default();
    let left = if tree.is_some() { &everything } else { &old.selection };
    let selections = (Selection::compile(left)?, Selection::compile(&request.view.selection)?);
    let namespace = request.lake.namespace();
    let before = namespace.counters().snapshot();
    let target = Arc::new(namespace.metarange(&request.commit.metarange).await?);
    let base = match &request.base.commit {
        Some(base) => match tree {
            Some(tree) => tree.metarange.clone(),
            None if base.metarange == request.commit.metarange => target.as_ref().clone(),
            None => namespace.metarange(&base.metarange).await?,
        },
        None => Metarange::empty(),
    };
    let mode = mode(&request, old, &selections);
    let (clusters, mut stream) = diff_stream(
        namespace,
        request.lake.storage(),
        &base,
        &target,
        DiffOptions {
            mode,
            part: part.clone(),
            left: columns_of_base(&rounds, &selections.0),
            right: Columns::ALL,
            touched: touched(&request.base).into(),
            left_namespace: tree.map(|tree| tree.namespace.clone()),
            elsewhere: request.elsewhere.clone(),
        },
    );
    let lookup = (mode != Mode::All).then(|| Lookup::new(request.lake.as_ref(), Arc::clone(&target)).beside(clusters.opened()));
    let writer = PlanWriter::create(folder);
    let old_done = old.rounds.done.as_ref().map(Done::compile).transpose()?;
    let left_done = request.base.done.iter().map(Done::compile).collect::<Result<_>>()?;
    let mut assembly = Assembly::new(&request, &part, rounds, selections, writer, (old_done, left_done));
    while let Some(batch) = stream.next().await {
        assembly.batch(&batch?).await?;
        assembly.markers(lookup.as_ref()).await?;
        assembly.logs(lookup.as_ref()).await?;
        progress(assembly.rows());
    }
    assembly.finish(lookup.as_ref()).await?;
    let (counted, grown, overview) = (assembly.counted(), assembly.grown(), assembly.overview());
    let own = assembly.done_files();
    let mut notes = assembly.notes();
    if let Some(other) = request.base.view.as_ref().filter(|v| v.selection != request.view.selection) {
        notes.insert(0, selection_changed(other, request.view));
    }
    let rounds = assembly.into_rounds().await?;
    let mut opened = clusters.opened();
    let objects = match mode {
        Mode::All => counted,
        Mode::Changes if !request.view.selection.is_all() => request.base.objects.unwrap_or_default(),
        Mode::Changes | Mode::Opened => count(&request, &target, &part, &mut opened).await?,
    };
    let read = Read { total: clusters.ranges_total, opened: opened.len() as u64, before, after: namespace.counters().snapshot() };
    let base_objects = objects.saturating_add_signed(-grown);
    if objects == 0 && target.count() > 0 && !request.view.selection.is_all() {
        notes.push("nothing of the commit is selected".to_owned());
    }
    let summary = PlanSummary { base_objects, ..summarise(&rounds, (objects, own), &request, &read) };
    Ok((contents(request, rounds, summary, notes), overview))
}

/// Every path of which the commits alone do not tell the state, sorted.
fn touched(base: &Base) -> Vec<String> {
    let mut touched: Vec<String> = base.unknown.iter().chain(base.known.keys()).cloned().collect();
    touched.sort_unstable();
    touched
}

/// Both sides in full, or only what differs? Holds and selections can only be decided when a directory is seen whole.
fn mode(request: &PlanRequest<'_>, old: &View, selections: &(Selection, Selection)) -> Mode {
    let same_view = old.selection == request.view.selection && old.rounds == request.view.rounds;
    let all = selections.0.is_all() && selections.1.is_all();
    let rules = request.stores.key_rules(request.destination);
    // Names that mean one file may lie anywhere.
    if same_view && is_same(request) {
        return Mode::Changes;
    }
    if request.full || !same_view || !all || request.base.commit.is_none() || rules.folding.any() {
        return Mode::All;
    }
    // Where `a` cannot be beside `a/b`, what did not change must be seen beside what did.
    if rules.file_system { Mode::Opened } else { Mode::Changes }
}

/// The base has just what the target has, whatever is selected of it.
fn is_same(request: &PlanRequest<'_>) -> bool {
    let base = &request.base;
    let known = base.unknown.is_empty() && base.known.is_empty() && base.tree.is_none() && base.objects.is_some();
    known && !request.full && base.commit.as_ref().is_some_and(|c| c.metarange == request.commit.metarange)
}

/// What must be known of a base's entry: its size and etag for the rows, its address for the guard.
fn columns_of_base(rounds: &Rounds, selection: &Selection) -> Columns {
    Columns::of([1, 2, 6, 7]).and(rounds.columns()).and(selection.columns())
}

/// Objects of the part in the target, from the metarange where whole ranges lie in the part.
async fn count(request: &PlanRequest<'_>, target: &Metarange, part: &Part, opened: &mut HashSet<String>) -> Result<u64> {
    if part.is_all() {
        return Ok(target.count());
    }
    let mut total = 0;
    for range in target.ranges().iter().filter(|r| part.overlaps(&r.min_key, &r.max_key)) {
        if part.covers(&range.min_key, &range.max_key) {
            total += range.count;
            continue;
        }
        opened.insert(range.id.clone());
        let mut reader = request.lake.namespace().range(range).await?;
        let mut found = reader.seek(part.start())?;
        while found && !part.is_past(reader.key()) {
            total += u64::from(part.contains(reader.key()));
            found = reader.advance()?;
        }
    }
    Ok(total)
}

/// What was read of the lake's metadata. Ranges count once, also where both sides were read.
struct Read {
    total: u64,
    opened: u64,
    before: Counts,
    after: Counts,
}

fn summarise(rounds: &[Round], (objects, own): (u64, u64), request: &PlanRequest<'_>, read: &Read) -> PlanSummary {
    let data = || rounds.iter().filter(|r| r.round != Rounds::RETRACT);
    let copied: u64 = data().map(|r| r.copied).sum();
    PlanSummary {
        copied,
        deleted: data().map(|r| r.deleted - r.retracted).sum(),
        retracted: rounds.iter().map(|r| if r.round == Rounds::RETRACT { r.deleted } else { r.retracted }).sum(),
        unchanged: request.view.selection.is_all().then(|| objects.saturating_sub(copied - own)),
        bytes: data().map(|r| r.bytes).sum(),
        objects,
        base_objects: 0,
        ranges_total: read.total,
        ranges_opened: read.opened,
        looked_up: read.after.looked_up - read.before.looked_up,
        metadata_bytes: read.after.bytes_read - read.before.bytes_read,
    }
}

fn selection_changed(old: &View, new: &View) -> String {
    let text = |v: &View| if v.selection.is_all() { "everything".to_owned() } else { v.selection.to_string() };
    format!("the selection changed from {} to {}: both commits were read in full", text(old), text(new))
}

fn contents(request: PlanRequest<'_>, rounds: Vec<Round>, summary: PlanSummary, notes: Vec<String>) -> PlanFile {
    PlanFile {
        format: PLAN_FORMAT,
        millrace: env!("CARGO_PKG_VERSION").to_owned(),
        run: request.run,
        created: request.created,
        source: request.source,
        storage: request.lake.storage().clone(),
        commit: request.commit.name().to_owned(),
        metarange: request.commit.metarange.clone(),
        base: request.base.commit,
        branch: request.branch,
        view: request.view.clone(),
        view_digest: request.view.digest(),
        destination: request.destination.clone(),
        status: request.status,
        expects: request.expects,
        claim: request.claim,
        full: request.full,
        rounds,
        summary,
        notes,
    }
}
