//! Going on with a run that did not finish: its plan, its journal, the uploads that it left open.

use std::path::Path;
use std::sync::Arc;

use planner::plan::{PlanFile, fetch_plan};
use planner::{Error, ErrorKind, Result, View};
use worker::journal::Outcomes;

use crate::base::{run_folder, stored_plan};
use crate::destination::Destination;
use crate::head::HeadFile;
use crate::request::ExportRequest;

/// The unfinished run that the request would do again, when its plan still fits: the same commit, the same view, nothing
/// since.
///
/// # Errors
/// The stored plan cannot be read.
pub(crate) async fn find(
    destination: &Destination,
    head: &HeadFile,
    request: &ExportRequest,
    view: &View,
) -> Result<Option<PlanFile>> {
    let Some(last) = head.unfinished.last().filter(|_| !request.run.no_resume) else { return Ok(None) };
    let plan = stored_plan(destination, last).await?;
    Ok((is_here(&plan, destination) && is_same(&plan, head, request, view)).then_some(plan))
}

/// The plan is for `destination`: one that was moved or copied holds a plan for where it was.
pub(crate) fn is_here(plan: &PlanFile, destination: &Destination) -> bool {
    plan.destination == *destination.location() && plan.status.as_ref().unwrap_or(&plan.destination) == destination.status()
}

fn is_same(plan: &PlanFile, head: &HeadFile, request: &ExportRequest, view: &View) -> bool {
    let mut now = head.expects();
    now.unfinished.pop();
    let commit = &request.source.commit;
    let claim = plan.base.as_ref().filter(|base| base.claimed).map(|base| base.commit.as_str());
    let from = request.from.as_ref().map(|from| from.id.as_str());
    // The moment that `now()` means is the plan's.
    let same_view = View {
        selection: planner::SelectionSpec { now: plan.view.selection.now.clone(), ..view.selection.clone() },
        ..view.clone()
    };
    request.unknown.is_empty()
        && plan.expects == now
        && plan.commit == commit.name()
        && plan.metarange == commit.metarange
        && plan.view == same_view
        && plan.full == request.full
        && from.is_none_or(|from| Some(from) == claim || plan.base.as_ref().is_some_and(|base| base.commit == from))
}

/// Fetches the shards of a stored plan into the local `folder`.
///
/// # Errors
/// `Corrupt` for shards that are gone or were changed.
pub(crate) async fn fetch(destination: &Destination, plan: &PlanFile, folder: &Path) -> Result<()> {
    let at = format!("{}/plan", run_folder(&plan.run));
    fetch_plan(&destination.metadata(&at)?, plan, folder).await.map_err(|e| {
        if e.kind() == ErrorKind::Usage {
            Error::corrupt(format!("the plan of the unfinished run {} cannot be used: {e}", plan.run))
                .with_help(format!("restore {}{at}, or go on with --no-resume", destination.status()))
        } else {
            e
        }
    })
}

/// The folder of a run's journal.
pub(crate) fn journal_folder(run: &str) -> String {
    format!("{}/journal/", run_folder(run))
}

/// What the journal of a run tells, kept in the local `folder`.
///
/// # Errors
/// The store's; `Corrupt` for a segment that was changed.
pub(crate) async fn journal(destination: &Destination, run: &str, folder: &Path) -> Result<Arc<Outcomes>> {
    let at = destination.status().join(&journal_folder(run));
    let store = destination.registry().open(&at, worker::RequestClass::Control)?;
    Outcomes::fetch(&store, folder).await.map(Arc::new)
}

/// Ends what unfinished runs left open: uploads in parts that nobody will complete.
///
/// # Errors
/// The store's.
pub(crate) async fn abort_uploads(destination: &Destination, journals: &[Arc<Outcomes>]) -> Result<u64> {
    let mut aborted = destination.abort_own_uploads().await?;
    for journal in journals {
        for upload in journal.uploads()? {
            aborted += destination.abort_uploads(&upload.key).await?;
        }
    }
    Ok(aborted)
}
