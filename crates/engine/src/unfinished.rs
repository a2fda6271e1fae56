//! Runs that did not finish, as the next one sees them: which of their keys are known, and which may hold anything.
//!
//! A key is known when every row that the run had for it was done; its state is then the row's. Every other key of the run is
//! unknown. Completion markers are always unknown: they are cheap to write again, and wrong ones are dear.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::prelude::ParquetReadOptions;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use planner::plan::{Action, PlanFile, ROW_SCHEMA, Step};
use planner::planning::Doubt;
use planner::round::is_marker;
use planner::{Base, Error, Part, Result};
use tempfile::TempDir;
use worker::journal::{Outcomes, replay};

use crate::destination::Destination;
use crate::prepare::temporary;
use crate::receipt::{self, ChangesFile, ChangesWriter};
use crate::resume;
use crate::session::{Files, local_files, session, sorting_session};

/// How far a run came with some of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It has not begun with them.
    Before,
    /// It may have begun with them, and has not done all of their rows.
    Within,
    /// It has done all of them.
    After,
}

/// A run that did not finish: its plan, and what its journal tells.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Its plan, as it is stored at the destination.
    pub plan: PlanFile,
    outcomes: Arc<Outcomes>,
    /// Its journal counts.
    believed: bool,
    /// The plan's shards, and segments of the journal.
    folder: TempDir,
}

impl Unfinished {
    /// Reads what is known of the run of `plan`. Without `believe` its journal counts for nothing.
    ///
    /// # Errors
    /// The store's; `Corrupt` for a plan or a journal that was changed.
    pub(crate) async fn load(destination: &Destination, plan: PlanFile, believe: bool) -> Result<Self> {
        let folder = temporary()?;
        resume::fetch(destination, &plan, folder.path()).await?;
        let outcomes = if believe { resume::journal(destination, &plan.run, folder.path()).await? } else { Arc::default() };
        Ok(Self { plan, outcomes, believed: believe, folder })
    }

    /// The rows of a step with their outcomes.
    async fn step(&self, step: &Step) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let context = session();
        let files = local_files(self.folder.path())?;
        let table = Files::mount(&context, 0, &files)?.table(step.shards.iter().map(|shard| shard.file.as_str()), &ROW_SCHEMA)?;
        let rows = context.read_table(table)?.execute_stream().await?;
        Ok(Box::pin(replay(rows, Arc::clone(&self.outcomes)).map_err(Error::from)))
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.plan.rounds.iter().flat_map(|round| &round.steps).filter(|step| step.rows() > 0)
    }

    /// How far the run came with these steps, counted through all rounds.
    ///
    /// # Errors
    /// The store's; `Corrupt` for a stored plan that was changed.
    pub(crate) async fn reached(&self, steps: &Range<usize>) -> Result<Reached> {
        let all = self.plan.rounds.iter().flat_map(|round| &round.steps);
        for (at, step) in all.enumerate().take(steps.end).filter(|(_, step)| step.rows() > 0) {
            let (mut rows, mut done) = (self.step(step).await?, 0);
            while let Some(batch) = rows.try_next().await? {
                done += column(&batch, "ok")?.as_boolean().true_count() as u64;
            }
            // A step begins when all rows of those before it are done, and told.
            if done < step.rows() {
                return Ok(if steps.contains(&at) { Reached::Within } else { Reached::Before });
            }
        }
        Ok(Reached::After)
    }

    /// Lays its keys over `base`. How many of them are known.
    ///
    /// # Errors
    /// `Corrupt` for a stored plan that has lost rows.
    pub(crate) async fn lay_over(&self, part: &Part, base: &mut Base) -> Result<u64> {
        let (mut seen, mut known) = (0, 0);
        // A step begins when all rows of those before it are done, and told.
        let mut begun = true;
        for step in self.steps() {
            let (mut rows, mut done) = (self.step(step).await?, 0);
            while let Some(batch) = rows.try_next().await? {
                let laid = lay_batch(&batch, part, base, begun || !self.believed)?;
                seen += batch.num_rows() as u64;
                done += laid.done;
                known += laid.known;
            }
            begun &= done == step.rows();
        }
        let planned: u64 = self.plan.rounds.iter().map(planner::plan::Round::rows).sum();
        if seen != planned {
            return Err(Error::corrupt(format!("the plan of run {} has {seen} rows instead of {planned}", self.plan.run))
                .with_help("restore its files, or export with --full"));
        }
        Ok(known)
    }
}

/// The state of a key that one row tells.
enum Told {
    Unknown,
    Known(Option<Vec<u8>>),
}

/// Rows that were laid over a base.
#[derive(Debug, Default)]
struct Laid {
    /// Of which it is known what they left.
    known: u64,
    /// Which were done.
    done: u64,
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::bug(format!("outcomes have no column `{name}`")))
}

/// `begun`: the rows' step may have begun.
fn lay_batch(batch: &RecordBatch, part: &Part, base: &mut Base, begun: bool) -> Result<Laid> {
    let text = |name: &str| column(batch, name).map(AsArray::as_string::<i32>);
    let (keys, paths, actions) = (text("key")?, text("path")?, text("action")?);
    let (ok, identity) = (column(batch, "ok")?.as_boolean(), column(batch, "identity")?.as_binary::<i32>());
    let mut laid = Laid::default();
    for i in 0..batch.num_rows() {
        laid.done += u64::from(ok.value(i));
        let (key, path) = (keys.value(i), paths.value(i));
        let ways = part.paths_of(key);
        let told = if !ok.value(i) || is_marker(key) || ways.len() != 1 || ways[0] != path {
            Told::Unknown
        } else if Action::parse(actions.value(i)) == Some(Action::Copy) {
            if identity.is_valid(i) { Told::Known(Some(identity.value(i).to_vec())) } else { Told::Unknown }
        } else {
            Told::Known(None)
        };
        match told {
            Told::Unknown => {
                let one = ways.len() == 1 && ways[0] == path;
                let is_copy = Action::parse(actions.value(i)) == Some(Action::Copy);
                let written = identity.is_valid(i).then(|| identity.value(i).to_vec());
                let certain = one && (!begun || written.is_some() == is_copy);
                let written = written.filter(|_| begun);
                for way in ways {
                    doubt(base, way, certain.then(|| written.iter().cloned().collect()), begun);
                }
            }
            Told::Known(state) => {
                base.unknown.remove(path);
                base.doubts.remove(path);
                base.untouched.remove(path);
                base.known.insert(path.to_owned(), state);
                laid.known += 1;
            }
        }
    }
    Ok(laid)
}

/// What is under `path` is unknown from now on: what it was before, or what a run may have written; `None`: anything.
fn doubt(base: &mut Base, path: String, written: Option<BTreeSet<Vec<u8>>>, begun: bool) {
    if begun {
        base.untouched.remove(&path);
    } else if !base.unknown.contains(&path) && !base.known.contains_key(&path) {
        base.untouched.insert(path.clone());
    }
    let before = base.known.remove(&path);
    // What was known to be there is what the base's was replaced by.
    let new = Doubt { base: before.is_none(), ..Doubt::default() };
    let doubt = base.doubts.entry(path.clone()).or_insert(Some(new));
    match (doubt.as_mut(), written) {
        (Some(doubt), Some(written)) => doubt.written.extend(before.flatten().into_iter().chain(written)),
        _ => *doubt = None,
    }
    base.unknown.insert(path);
}

/// Puts what superseded runs did before what this one did: `changes` becomes one row a key, the newest, in another file of
/// `folder`.
///
/// # Errors
/// The stores'.
pub(crate) async fn inherit(superseded: &[Unfinished], changes: &Path, folder: &Path) -> Result<ChangesFile> {
    let context = sorting_session()?;
    let mut parts = Vec::new();
    for (rank, run) in superseded.iter().enumerate().filter(|(_, run)| !run.plan.is_empty()) {
        let at = folder.join(format!("inherited-{rank}"));
        std::fs::create_dir_all(&at).map_err(|e| receipt::local(&at, &e))?;
        let mut writer = ChangesWriter::create(&at)?;
        for step in run.steps() {
            let mut rows = run.step(step).await?;
            while let Some(batch) = rows.try_next().await? {
                writer.append(&batch)?;
            }
        }
        parts.push((rank, writer.finish()?.path));
    }
    parts.push((superseded.len(), changes.to_owned()));
    let mut union = Vec::new();
    for (rank, path) in &parts {
        let name = format!("part_{rank}");
        let file = path.to_str().ok_or_else(|| Error::bug("a temporary path is no text"))?;
        context.register_parquet(&name, file, ParquetReadOptions::default()).await?;
        union.push(format!("SELECT {rank} AS rank, * FROM {name}"));
    }
    let query = format!(
        "SELECT * EXCEPT (rank, newest) FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY rank DESC, present DESC) AS newest \
         FROM ({})) WHERE newest = 1",
        union.join(" UNION ALL ")
    );
    let merged = folder.join("merged");
    std::fs::create_dir_all(&merged).map_err(|e| receipt::local(&merged, &e))?;
    let mut writer = ChangesWriter::create(&merged)?;
    let mut rows = context.sql(&query).await?.execute_stream().await?;
    while let Some(batch) = rows.try_next().await? {
        writer.append_changes(&batch)?;
    }
    writer.finish()
}

/// How many keys a base holds that unfinished runs left unknown.
pub(crate) fn shown(run: &str, rows: u64, known: u64) -> String {
    format!("run {run} did not finish: {known} of its {rows} rows are done, the rest is planned again")
}
