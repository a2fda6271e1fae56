//! Going on with a run that did not finish: its plan, its journal, the uploads that it left open.

use std::path::Path;
use std::sync::Arc;

use planner::plan::{PlanFile, fetch_plan};
use planner::{Error, ErrorKind, Result, View};
use worker::journal::Outcomes;
use worker::{RequestClass, Store};

use crate::base::{run_folder, stored_plan};
use crate::destination::Destination;
use crate::head::HeadFile;
use crate::prepare::temporary;
use crate::request::ExportRequest;
use crate::session::{large_keys, local_files};

/// The unfinished run that the request would do again, when its plan still fits: the same commit, the same view, nothing
/// since. Its shards are fetched into the local `folder`.
///
/// # Errors
/// The stored plan cannot be read. A request that copies everything again does not need it.
pub(crate) async fn find(
    destination: &Destination,
    head: &HeadFile,
    request: &ExportRequest,
    view: &View,
    folder: &Path,
) -> Result<Option<PlanFile>> {
    let Some(last) = head.unfinished.last().filter(|_| !request.run.no_resume) else { return Ok(None) };
    let found = async {
        let plan = stored_plan(destination, last).await?;
        let fits = is_here(&plan, destination) && is_same(&plan, head, request, view);
        if fits {
            fetch(destination, &plan, folder).await?;
        }
        Ok::<_, Error>(fits.then_some(plan))
    };
    match found.await {
        Err(error) if request.full && error.kind() == ErrorKind::Corrupt => Ok(None),
        end => end,
    }
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
                .with_help(format!("restore {}{at}, or export with --full", destination.status()))
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
    Outcomes::fetch(&journal_store(destination, run)?, folder).await.map(Arc::new)
}

fn journal_store(destination: &Destination, run: &str) -> Result<Arc<dyn Store>> {
    destination.registry().open(&destination.status().join(&journal_folder(run)), RequestClass::Control)
}

/// The uploads in parts that an unfinished run may have left open, by its journal. Where segments of that cannot be read, every
/// object of its plan of at least `large` bytes may have one.
///
/// # Errors
/// The stores'.
pub(crate) async fn open_uploads(destination: &Destination, run: &str, large: u64) -> Result<OpenUploads> {
    let folder = temporary()?;
    let (outcomes, unreadable) = Outcomes::fetch_readable(&journal_store(destination, run)?, folder.path()).await?;
    let mut keys: Vec<String> = outcomes.uploads()?.into_iter().map(|upload| upload.key).collect();
    let mut notes: Vec<String> = unreadable.iter().map(|error| format!("a part of a journal is passed over: {error}")).collect();
    if !unreadable.is_empty() {
        match large_keys_of(destination, run, large).await {
            Ok(more) => keys.extend(more),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                notes.push(format!("which uploads in parts run {run} left open is not known: {error}"));
            }
            Err(error) => return Err(error),
        }
        keys.sort_unstable();
        keys.dedup();
    }
    Ok(OpenUploads { keys, notes })
}

/// See [`open_uploads`].
#[derive(Debug)]
pub(crate) struct OpenUploads {
    /// Of the destination.
    pub keys: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

async fn large_keys_of(destination: &Destination, run: &str, large: u64) -> Result<Vec<String>> {
    let (plan, folder) = (stored_plan(destination, run).await?, temporary()?);
    fetch(destination, &plan, folder.path()).await?;
    large_keys(&local_files(folder.path())?, &plan, large).await
}

/// Ends what unfinished runs left open: uploads in parts that nobody will complete.
///
/// # Errors
/// The store's.
pub(crate) async fn abort_uploads(destination: &Destination, keys: &[String]) -> Result<u64> {
    let mut aborted = destination.abort_own_uploads().await?;
    for key in keys {
        aborted += destination.abort_uploads(key).await?;
    }
    Ok(aborted)
}
