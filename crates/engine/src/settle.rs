//! Logs of tables that a run was moving when it ended: before another commit comes they are moved to where that run was going,
//! or back to where it came from.
//!
//! ```text
//! base ──▶ run's commit, killed midway ──▶ the rest of its moves ──▶ plan ──▶ another commit
//!                                      └── cannot be done: ──▶ back ──▶ plan ──┘
//! ```
//! Entries of a log come and go one after another, so that readers find a table after each. A plan for another commit knows
//! only that some of them may have come or gone, and cannot be in order from all of these states at once. So the steps that
//! move logs are ended first, exactly as the run's own command would end them: all data was there before they began, and none
//! is deleted by them. Entries that a log has outlived go as well: below one that comes later they would be read again.
//!
//! # Crash consistency
//! The run stays an unfinished one of HEAD, with its journal, and no run that moves logs comes after it: killed here, the next
//! command goes on here. Moves back are an unfinished run of their own.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use planner::plan::PlanFile;
use planner::round::{PublishOrder, Rounds};
use planner::{Error, ErrorKind, Result, View};

use crate::base::stored_plan;
use crate::destination::Destination;
use crate::export::Under;
use crate::guards::check_deletes;
use crate::head::HeadFile;
use crate::prepare::{self, Prepared, prepare, temporary};
use crate::progress::Silent;
use crate::request::{ExportRequest, RunOptions, Source};
use crate::resume;
use crate::unfinished::{Reached, Unfinished};

/// A run that was moving logs when it ended.
#[derive(Debug)]
pub(crate) struct Moving {
    plan: PlanFile,
    /// Its steps that move logs, counted through all rounds.
    steps: Range<usize>,
}

/// What is to come to a destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next<'a> {
    pub commit: &'a str,
    pub view: &'a View,
    pub order: Option<&'a Arc<dyn PublishOrder>>,
    /// What cannot be read of the run is not asked for.
    pub without: bool,
}

/// The unfinished run that was the last to move logs, where it has not done so to the end and `next` cannot be planned before
/// they are whole.
///
/// # Errors
/// The store's; `Corrupt` for a stored plan or a journal that was changed.
pub(crate) async fn moving(destination: &Destination, head: &HeadFile, next: Next<'_>) -> Result<Option<Moving>> {
    for run in head.unfinished.iter().rev() {
        let left = match left_by(destination, head, run, next).await {
            Err(error) if next.without && error.kind() == ErrorKind::Corrupt => Left::Whole,
            left => left?,
        };
        match left {
            Left::AsTheyWere => {}
            Left::Whole => break,
            Left::Moving(moving) => return Ok(Some(*moving)),
        }
    }
    Ok(None)
}

/// How an unfinished run left the logs.
enum Left {
    /// It did not touch them: the run before it tells. A run is planned without settling the moves of the one before it when it
    /// takes them back, or when they could go neither on nor back; ended before its own moves, it has changed nothing of them.
    AsTheyWere,
    /// There is nothing to bring to an end.
    Whole,
    Moving(Box<Moving>),
}

async fn left_by(destination: &Destination, head: &HeadFile, run: &str, next: Next<'_>) -> Result<Left> {
    let plan = stored_plan(destination, run).await?;
    // An order that nobody keeps is none that could be broken.
    let in_order = plan.view.rounds.preset == next.view.rounds.preset && plan.view.same_root(next.view);
    if !in_order || undoes(head, &plan, next) || !resume::is_here(&plan, destination) {
        return Ok(Left::Whole);
    }
    let Some(steps) = log_steps(&plan, next.order)? else { return Ok(Left::AsTheyWere) };
    let run = Unfinished::load(destination, plan, true).await?;
    Ok(match run.reached(&steps).await? {
        Reached::Before => Left::AsTheyWere,
        Reached::Within => Left::Moving(Box::new(Moving { plan: run.plan, steps })),
        Reached::After => Left::Whole,
    })
}

/// The steps of a plan that move logs: from the taking back to the pointers, and the deletes of what logs have outlived. `None`
/// where it moves none.
fn log_steps(plan: &PlanFile, order: Option<&Arc<dyn PublishOrder>>) -> Result<Option<Range<usize>>> {
    let Some(chains) = Rounds::compile(&plan.view.rounds, order)?.chains() else { return Ok(None) };
    let steps = || plan.rounds.iter().flat_map(|round| round.steps.iter().map(|step| (round.round, step.ordered)));
    let first = steps().take_while(|(round, _)| *round < chains.start).count();
    // Deletes of log entries come before those of data.
    let last = steps().enumerate().filter(|(_, (round, ordered))| *round < chains.end || *ordered).map(|(at, _)| at + 1).last();
    Ok(last.map(|last| first..last).filter(|steps| !steps.is_empty()))
}

/// `next` is what the run came from: each of its moves can be taken back from wherever it is.
fn undoes(head: &HeadFile, plan: &PlanFile, next: Next<'_>) -> bool {
    let is_base = |current: &crate::head::Current| current.commit == next.commit && current.view == *next.view;
    plan.expects.unfinished.is_empty() && head.current.as_ref().is_some_and(is_base)
}

/// Refuses a plan that was made before the logs are whole.
///
/// # Errors
/// `Guard`, and as of [`moving`].
pub(crate) async fn is_settled(destination: &Destination, head: &HeadFile, plan: &PlanFile) -> Result<()> {
    let resumes = head.unfinished.last() == Some(&plan.run);
    // An order of somebody's own is not at hand here.
    if resumes || matches!(plan.view.rounds.preset, planner::view::Preset::Own(_)) {
        return Ok(());
    }
    match moving(destination, head, Next { commit: &plan.commit, view: &plan.view, order: None, without: plan.full }).await? {
        None => Ok(()),
        Some(moving) => Err(Error::guard(format!("run {} was moving the log of a table when it ended", moving.plan.run))
            .with_help("use `millrace export`, which brings that to its end first; or apply that run's own plan")),
    }
}

impl Moving {
    /// For whoever made a plan.
    pub(crate) fn note(&self) -> String {
        let run = &self.plan.run;
        format!(
            "`apply` will refuse this plan: run {run} was moving the log of a table when it ended, and only `export` brings that to its end first"
        )
    }
}

/// Makes the logs whole that `moving` left on the way, as far as that can be done. A run that is told to stop leaves them.
///
/// # Errors
/// Of the lease and the stores; an object that cannot be copied is none.
pub(crate) async fn settle(under: &Under<'_>, request: &ExportRequest, moving: &Moving) -> Result<()> {
    let (run, progress) = (&moving.plan.run, under.progress);
    progress.note(&format!("run {run} was moving the log of a table when it ended: that is brought to its end first"));
    let folder = temporary()?;
    resume::fetch(under.destination, &moving.plan, folder.path()).await?;
    let options = RunOptions { no_resume: false, ..request.run.clone() };
    let run_of = |plan, folder| under.run(plan, folder, &request.markers, &options);
    if run_of(&moving.plan, folder.path()).part(moving.steps.clone(), progress).await? || under.lease.stop().is_cancelled() {
        return Ok(());
    }
    progress.note(&format!("the log cannot go where run {run} was going: it goes back"));
    match back(under, request, moving).await {
        Ok(Some((plan, folder))) => {
            let steps = log_steps(&plan, request.order.as_ref())?.map_or(0, |steps| steps.end);
            if run_of(&plan, folder.path()).part(0..steps, progress).await? || under.lease.stop().is_cancelled() {
                return Ok(());
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!("{error}"),
    }
    progress.note("the log cannot go back either: until this export is done its readers may be told a mixture");
    Ok(())
}

/// A plan for what the destination held before `moving`; `None` where it held nothing, or the lake has it no more.
async fn back(under: &Under<'_>, request: &ExportRequest, moving: &Moving) -> Result<Option<(PlanFile, tempfile::TempDir)>> {
    let head = under.lease.head().await;
    let Some(current) = head.current.as_ref().filter(|c| c.view.same_root(&moving.plan.view)) else { return Ok(None) };
    let Some(commit) = request.source.lake.find(&current.commit).await? else { return Ok(None) };
    let request = ExportRequest {
        source: Source { commit, branch: false, ..request.source.clone() },
        selection: current.view.selection.clone(),
        rounds: moving.plan.view.rounds.clone(),
        from: None,
        full: false,
        unknown: BTreeSet::new(),
        ..request.clone()
    };
    let view = prepare::view(&request)?;
    let (folder, run) = (temporary()?, ulid::Ulid::new().to_string());
    let Prepared { plan, .. } = prepare(under.destination, &head, &request, &view, &run, folder.path(), &Silent).await?;
    check_deletes(&plan, &request.guards)?;
    Ok(Some((plan, folder)))
}
