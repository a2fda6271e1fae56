//! Before a run: what is there, what is wanted, and the plan between the two. Nothing is written to the destination but what
//! an earlier run left to be finished.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use planner::overview::PlanOverview;
use planner::plan::PlanFile;
use planner::planning::{self, Hindrance, PlanRequest};
use planner::round::Rounds;
use planner::select::Selection;
use planner::source::CommitSource;
use planner::{Error, Location, Looks, Result, Stores, View, guard, select};
use tempfile::TempDir;

use crate::base::{self, Believed};
use crate::destination::Destination;
use crate::head::HeadFile;
use crate::progress::Progress;
use crate::receipt::health;
use crate::request::ExportRequest;
use crate::settle::{self, Moving, Next};
use crate::there::Glances;

/// A plan whose shards are in a local folder.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its table of contents.
    pub plan: PlanFile,
    /// The plan in brief.
    pub overview: PlanOverview,
    /// What must come before it.
    pub moving: Option<Moving>,
}

/// What the destination will be an export of.
///
/// # Errors
/// A selection or rounds that cannot be read, whether or not there is anything to do.
pub(crate) fn view(request: &ExportRequest) -> Result<View> {
    Rounds::compile(&request.rounds, request.order.as_ref())?;
    let mut selection = request.selection.clone();
    if selection.now.is_none() && select::uses_now(&selection)? {
        selection.now = Some(crate::clock::now());
    }
    Selection::compile(&selection)?;
    Ok(View {
        lake: lake_id(request.source.lake.storage()),
        prefix: request.source.prefix.clone(),
        selection,
        rounds: request.rounds.clone(),
    })
}

/// What tells a lake from others: where it is stored. Endpoints and credentials may change, a link may lead there.
pub(crate) fn lake_id(storage: &Location) -> String {
    let real = storage.file_path().and_then(|path| path.canonicalize().ok());
    let real = real.and_then(|path| Location::parse(path.to_str()?).ok());
    real.as_ref().unwrap_or(storage).as_folder().to_string()
}

/// Whether the destination is up to date: nothing has to be planned.
#[must_use]
pub(crate) fn up_to_date(head: &HeadFile, request: &ExportRequest, view: &View) -> bool {
    let claimed = request
        .from
        .as_ref()
        .is_some_and(|f| head.current.as_ref().is_none_or(|c| c.commit != f.id && c.commit != request.source.commit.id));
    !request.full && !claimed && request.unknown.is_empty() && base::is_current(head, &request.source.commit, view)
}

/// Plans the export into the local `folder`.
///
/// # Errors
/// Refusals of guards, and whatever cannot be read.
pub(crate) async fn prepare(
    destination: &Destination,
    head: &HeadFile,
    request: &ExportRequest,
    view: &View,
    run: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let registry = destination.registry();
    lake_is_safe(registry.as_ref(), request)?;
    let Believed { base, claim, distrust, notes, kept, seen } = base::believed(destination, head, request, view).await?;
    let glances = Glances::at(destination)?;
    let planning = PlanRequest {
        lake: Arc::clone(&request.source.lake),
        commit: &request.source.commit,
        view,
        base,
        destination: destination.location(),
        stores: registry.as_ref(),
        full: request.full || distrust,
        force: request.guards.force,
        run: run.to_owned(),
        source: request.source.text.clone(),
        branch: request.source.branch,
        expects: head.expects(),
        claim,
        created: crate::clock::now(),
        order: request.order.clone(),
        status: request.status.as_ref().map(Location::as_folder),
        elsewhere: elsewhere(request),
        looks: (!seen).then_some(&glances as &dyn Looks),
        hindrance: if request.unknown.is_empty() { Hindrance::Refuses } else { Hindrance::FailsItsRow },
    };
    // What the next receipt goes on from is looked at meanwhile.
    let goes_on = head.current.as_ref().filter(|current| !planning.full && current.view.same_root(view));
    let told = |rows| progress.planning(rows);
    let (planned, health) = tokio::join!(planning::plan(planning, folder, &told), async {
        match goes_on {
            Some(current) => health::check(destination, &current.receipt).await,
            None => Ok(None),
        }
    });
    let ((mut plan, overview), health) = (planned?, health?);
    drop(kept);
    names_something(request, &plan)?;
    // The lake knows how it was read only after it was.
    let lake = request.source.lake.as_ref();
    let first: Vec<String> = lake.notes().into_iter().chain(age(lake)).chain(notes).chain(glances.note()).chain(health).collect();
    for note in &first {
        progress.note(note);
    }
    plan.notes.splice(0..0, first);
    let without = request.full || request.run.no_resume;
    let next = Next { commit: &plan.commit, view, order: request.order.as_ref(), without };
    let moving = settle::moving(destination, head, next).await?;
    Ok(Prepared { plan, overview, moving })
}

/// The cluster that merges ranges, where one was asked for.
#[cfg(feature = "cluster")]
fn elsewhere(request: &ExportRequest) -> Option<planner::table::Elsewhere> {
    let options = request.run.cluster.as_ref()?;
    Some(planner::table::Elsewhere { merges: Arc::new(crate::merges::OnCluster::new(options)), always: request.run.plan_there })
}

#[cfg(not(feature = "cluster"))]
fn elsewhere(_: &ExportRequest) -> Option<planner::table::Elsewhere> {
    None
}

/// A folder of this machine that lives as long as the value.
///
/// # Errors
/// `Unreachable` where none can be made.
pub fn temporary() -> Result<TempDir> {
    tempfile::tempdir().map_err(|error| {
        let (place, why) = (std::env::temp_dir(), without_name(&error));
        Error::unreachable(format!("no temporary folder can be made in {}: {why}", place.display()))
            .with_help("set TMPDIR to a folder with room and permission")
    })
}

/// Why a temporary folder cannot be made; the name that it would have had says nothing.
pub(crate) fn without_name(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" at path").unwrap_or(text.len()));
    text
}

/// A prefix that the commit has nothing below of is a slip of the pen, not a wish for an empty destination.
fn names_something(request: &ExportRequest, plan: &PlanFile) -> Result<()> {
    let prefix = &request.source.prefix;
    if prefix.is_empty() || plan.summary.objects > 0 || !request.selection.is_all() || plan.summary.deleted > 0 {
        return Ok(());
    }
    Err(Error::usage(format!("commit {} has nothing at `{prefix}`", request.source.commit.shown()))
        .with_help("prefixes match whole segments; see what there is with `millrace ls`"))
}

fn lake_is_safe(stores: &dyn Stores, request: &ExportRequest) -> Result<()> {
    for place in [Some(&request.destination), request.status.as_ref()].into_iter().flatten() {
        if let Some(why) = guard::overlaps_lake(stores, request.source.lake.storage(), place) {
            return Err(Error::guard(format!("{place} {why} ({})", request.source.lake.storage()))
                .with_help("an export there would damage the lake: choose another destination"));
        }
    }
    Ok(())
}

/// How old a refs dump is, where that matters.
fn age(lake: &dyn CommitSource) -> Option<String> {
    const OLD: i64 = 3600;
    let seconds = Utc::now().timestamp() - lake.refs_age()?;
    (seconds > OLD).then(|| format!("the refs dump is {} old", shown_age(seconds)))
}

fn shown_age(seconds: i64) -> String {
    let (count, unit) = if seconds >= 2 * 86_400 { (seconds / 86_400, "day") } else { (seconds / 3600, "hour") };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
