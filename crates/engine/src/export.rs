//! The verbs: export, plan, apply.
//!
//! An export is a plan and its run. Each verb answers with a [`RunReport`]; errors are in it, so that every end is told in
//! one form.

use std::sync::Arc;

use planner::overview::PlanOverview;
use planner::plan::{PlanFile, fetch_plan, move_plan, takes_a_plan, takes_a_plan_at, upload_plan};
use planner::{Error, ErrorKind, Location, Result, Stores, View, guard};
use tokio_util::sync::CancellationToken;
use worker::Registry;
use worker::copy::route::{Facts, Route};

use crate::destination::Destination;
use crate::guards::check_deletes;
use crate::head::{Head, HeadFile, MarkerState};
use crate::lease::{Lease, held, watch};
use crate::limits::{Clock, cancelled};
use crate::marker::MarkerNames;
use crate::prepare::{Prepared, prepare, temporary, up_to_date, view, without_name};
use crate::progress::Progress;
use crate::receipt::{self, collect};
use crate::report::{CopyPath, RunReport, State};
use crate::request::{ApplyRequest, ExportRequest, MarkerOptions, RunOptions};
use crate::resume;
use crate::run::{Run, finish_marker, is_finished};
use crate::settle::{self, Moving};
use crate::there::{has_one_head, markers_since};

/// Plans and executes.
pub async fn export(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    progress: &dyn Progress,
    stop: &CancellationToken,
) -> RunReport {
    let mut report = RunReport::new(ulid::Ulid::new().to_string(), request.source.text.clone(), &request.destination);
    report.commit = Some(request.source.commit.name().to_owned());
    let clock = Clock::start(registry, stop, request.run.timeout);
    let done = clock.bounded(Box::pin(export_into(registry, request, progress, &mut report, &clock))).await;
    clock.end(&mut report, done);
    report
}

async fn export_into(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    progress: &dyn Progress,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<()> {
    let stop = clock.stop();
    MarkerNames::new(&request.markers, request.source.commit.name())?;
    let destination = Destination::open_at(registry, &request.destination, request.status.as_ref())?;
    clock.unless_stopped(has_one_head(&destination)).await?;
    let view = view(request)?;
    for _ in 0..RACES {
        let head = clock.unless_stopped(watch(&destination, stop, progress)).await?;
        // A lease that nobody holds any more is cleared away, so that the next run need not wait for it.
        let free = head.file.lease.is_none();
        if free && up_to_date(&head.file, request, &view) && is_finished(&destination, &head.file, &request.markers).await? {
            nothing_to_do(&head.file, request, report);
            return Ok(());
        }
        // What a commit point left to be done needs no plan; everything else is planned before anything is written.
        let planned = if head.file.marker == Some(MarkerState::Pending) || up_to_date(&head.file, request, &view) {
            None
        } else {
            let planning = Planned::make(&destination, &head.file, request, &view, report, progress);
            let planned = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    report.state = State::Cancelled;
                    return Ok(());
                }
                planned = planning => planned,
            };
            match planned {
                // Somebody who was quicker may have put away what was read.
                Err(error) if may_pass(&error) && moved_on(&destination, &head).await => continue,
                planned => Some(planned?),
            }
        };
        let run = planned.as_ref().map_or(&report.run, |planned| &planned.plan.run);
        let Some(lease) = Lease::take(&destination, &head, run, request.run.lease(), stop).await? else { continue };
        let destination = destination.behind(lease.fence());
        let under = Under { registry, destination: &destination, lease: &lease, progress, clock };
        let done = Box::pin(under.export(request, &view, planned, report)).await;
        return under.let_go(done, report).await;
    }
    Err(lost_races(&destination).await)
}

/// Others that were quicker before a run gives up.
const RACES: u32 = 5;

/// What was read may have been on its way out.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unreachable)
}

/// HEAD is another than it was.
async fn moved_on(destination: &Destination, head: &Head) -> bool {
    Head::read(destination).await.is_ok_and(|now| !now.is_version_of(head))
}

async fn lost_races(destination: &Destination) -> Error {
    let head = Head::read(destination).await;
    held(destination, head.ok().and_then(|head| head.file.lease).as_ref())
}

/// A plan that is ready to be executed, with its shards in a local folder.
struct Planned {
    plan: PlanFile,
    folder: tempfile::TempDir,
    /// What must come before it; then it is made again.
    moving: Option<Moving>,
}

impl Planned {
    /// The plan of the run that did not finish, where the request is to do the same again; else a new one. Writes nothing.
    async fn make(
        destination: &Destination,
        head: &HeadFile,
        request: &ExportRequest,
        view: &View,
        report: &RunReport,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let mut folder = temporary()?;
        let mut found = resume::find(destination, head, request, view, folder.path()).await?;
        if let Some(plan) = &found {
            let came = markers_since(destination, plan, request.order.as_ref(), folder.path()).await?;
            if came.count() > 0 {
                progress.note(&format!("run {} is not gone on with: {} came since its plan was made", plan.run, came.keys()));
                // Its shards stay behind.
                (found, folder) = (None, temporary()?);
            }
        }
        let (plan, moving) = if let Some(plan) = found {
            progress.note(&format!("going on with run {}, which did not finish", plan.run));
            // A receipt that cannot be gone on from is told before anything changes.
            let previous = head.current.as_ref().filter(|c| c.view.same_root(&plan.view));
            if let Some(previous) = previous.filter(|_| !plan.full && plan.base.is_some()) {
                receipt::read(destination, &previous.receipt).await?;
            }
            (plan, None)
        } else {
            let prepared = prepare(destination, head, request, view, &report.run, folder.path(), progress).await?;
            (prepared.plan, prepared.moving)
        };
        check_deletes(&plan, &request.guards)?;
        Ok(Self { plan, folder, moving })
    }
}

/// What a verb works with while it holds the lease.
pub(crate) struct Under<'a> {
    registry: &'a Arc<Registry>,
    pub destination: &'a Destination,
    pub lease: &'a Arc<Lease>,
    pub progress: &'a dyn Progress,
    clock: &'a Clock<'a>,
}

impl Under<'_> {
    async fn export(&self, request: &ExportRequest, view: &View, planned: Option<Planned>, report: &mut RunReport) -> Result<()> {
        let planned = if let Some(planned) = planned {
            Box::pin(self.after_moves(request, view, planned, report)).await?
        } else {
            self.progress.note("what the last run left to be finished is finished first");
            self.finish(&request.markers).await?;
            let head = self.lease.head().await;
            if let Err(error) = collect::collect(self.destination, &head, 0, request.run.keep_receipts).await {
                tracing::warn!("what earlier runs left cannot be removed: {error}");
            }
            if up_to_date(&head, request, view) {
                nothing_to_do(&head, request, report);
                return Ok(());
            }
            Planned::make(self.destination, &head, request, view, report, self.progress).await?
        };
        let Planned { plan, folder, .. } = planned;
        report.run.clone_from(&plan.run);
        self.progress.started(&report.run);
        self.clock.planned(report);
        report.describe(&plan);
        self.warn(report).await;
        self.progress.planned(&plan.summary);
        self.run(&plan, folder.path(), &request.markers, &request.run).execute(report, self.progress).await;
        Ok(())
    }

    /// The plan that is executed: this one, or one that is made when the logs are whole that another run left on the way.
    async fn after_moves(&self, request: &ExportRequest, view: &View, planned: Planned, report: &RunReport) -> Result<Planned> {
        let Some(moving) = &planned.moving else { return Ok(planned) };
        Box::pin(settle::settle(self, request, moving)).await?;
        if self.lease.stop().is_cancelled() {
            // It ends before it begins.
            return Ok(planned);
        }
        Planned::make(self.destination, &self.lease.head().await, request, view, report, self.progress).await
    }

    /// Says once a run where nothing but care keeps two exports apart.
    async fn warn(&self, report: &mut RunReport) {
        if let Some(weakness) = self.lease.weakness().await {
            self.progress.note(&weakness);
            report.notes.push(weakness);
        }
    }

    async fn apply(
        &self,
        request: &ApplyRequest,
        plan: &PlanFile,
        folder: &std::path::Path,
        report: &mut RunReport,
    ) -> Result<()> {
        let head = self.lease.head().await;
        if applied(&head, plan) {
            nothing_left(&head, report);
            return self.finish(&request.markers).await;
        }
        if head.marker == Some(MarkerState::Pending) {
            self.finish(&request.markers).await?;
        }
        self.progress.started(&report.run);
        self.warn(report).await;
        self.progress.planned(&plan.summary);
        self.run(plan, folder, &request.markers, &request.run).execute(report, self.progress).await;
        Ok(())
    }

    pub(crate) fn run<'r>(
        &'r self,
        plan: &'r PlanFile,
        folder: &'r std::path::Path,
        markers: &'r MarkerOptions,
        options: &'r RunOptions,
    ) -> Run<'r> {
        Run {
            registry: self.registry,
            destination: self.destination,
            lease: self.lease,
            plan,
            folder,
            markers,
            options,
            clock: self.clock,
        }
    }

    async fn finish(&self, markers: &MarkerOptions) -> Result<()> {
        finish_marker(self.destination, self.lease, markers.keep_success).await
    }

    /// Releases the lease, whatever became of the verb.
    async fn let_go(&self, done: Result<()>, report: &mut RunReport) -> Result<()> {
        if let Some(cancel) = self.lease.cancelled().filter(|_| report.state == State::Cancelled) {
            report.fail(&cancelled(&cancel));
        }
        if self.lease.check().is_ok() {
            self.destination.sweep().await;
        }
        if let Err(error) = self.lease.release().await {
            tracing::warn!("the lease cannot be released; the next run waits for it to end: {error}");
        }
        done
    }
}

/// The destination is up to date.
fn nothing_to_do(head: &HeadFile, request: &ExportRequest, report: &mut RunReport) {
    report.state = State::Succeeded;
    report.commit = Some(request.source.commit.name().to_owned());
    if let Some(current) = &head.current {
        // The run that did it: who asks for it finds it.
        report.run.clone_from(&current.run);
        report.base = Some(current.commit.clone());
        report.unchanged = current.view.selection.is_all().then_some(current.objects);
        report.receipt = Some(current.receipt.clone());
        report.marker = Some(current.success.clone());
    }
}

/// Plans into the folder `into` and touches nothing else.
pub async fn plan(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    into: &Location,
    progress: &dyn Progress,
) -> (RunReport, Option<PlanOverview>) {
    let mut report = RunReport::new(ulid::Ulid::new().to_string(), request.source.text.clone(), &request.destination);
    report.commit = Some(request.source.commit.name().to_owned());
    let clock = Clock::start(registry, &CancellationToken::new(), None);
    let planned = Box::pin(plan_into(registry, request, into, progress, &mut report, &clock)).await;
    let (done, overview) = match planned {
        Ok(overview) => (Ok(()), Some(overview)),
        Err(error) => (Err(error), None),
    };
    clock.end(&mut report, done);
    (report, overview)
}

/// How bytes go from the lake's own storage; nothing where one of the stores cannot be opened from here.
fn copy_path(registry: &Arc<Registry>, lake: &Location, destination: &Location) -> Option<CopyPath> {
    let open = |at: &Location| registry.open(at, worker::RequestClass::Control).ok();
    let (source, destination) = (open(lake)?, open(destination)?);
    let facts = Facts {
        source: source.access(),
        destination: destination.access(),
        can: destination.capabilities(),
        size: 0,
        multipart_threshold: u64::MAX,
    };
    Some(if facts.route() == Route::ServerSide { CopyPath::ServerSide } else { CopyPath::Streamed })
}

async fn plan_into(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    into: &Location,
    progress: &dyn Progress,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<PlanOverview> {
    MarkerNames::new(&request.markers, request.source.commit.name())?;
    let destination = Destination::open_at(registry, &request.destination, request.status.as_ref())?;
    let files = registry.metadata(into)?;
    is_apart(registry, request, into)?;
    if into.file_path().is_none() {
        takes_a_plan_at(&files, &into.to_string()).await?;
    }
    has_one_head(&destination).await?;
    let view = view(request)?;
    let mut races = RACES;
    let (folder, Prepared { plan, overview, moving }) = loop {
        let (head, folder) = (Head::read(&destination).await?, beside(into)?);
        match prepare(&destination, &head.file, request, &view, &report.run, folder.path(), progress).await {
            Err(error) if races > 0 && may_pass(&error) && moved_on(&destination, &head).await => races -= 1,
            prepared => break (folder, prepared?),
        }
    };
    clock.planned(report);
    let placed = match into.file_path() {
        Some(path) => move_plan(folder.path(), &plan, &path),
        None => upload_plan(folder.path(), &plan, &files).await,
    };
    placed.map_err(|e| e.context(into))?;
    report.planned(&plan);
    report.state = State::Planned;
    report.plan = Some(into.to_string());
    report.copies = copy_path(registry, request.source.lake.storage(), &request.destination);
    report.notes.extend(moving.as_ref().map(Moving::note));
    if let Err(refusal) = check_deletes(&plan, &request.guards) {
        report.notes.push(format!("`apply` will refuse this plan: {refusal}"));
    }
    Ok(overview)
}

/// A plan is kept neither in the lake nor among what it is for.
fn is_apart(registry: &Arc<Registry>, request: &ExportRequest, into: &Location) -> Result<()> {
    let help = "give a folder of its own with -o";
    if let Some(why) = guard::overlaps_lake(registry.as_ref(), request.source.lake.storage(), into) {
        return Err(Error::guard(format!("{into} {why} ({}): a plan is not written there", request.source.lake.storage()))
            .with_help(help));
    }
    let place = registry.identity(&into.as_folder());
    for taken in [Some(&request.destination), request.status.as_ref()].into_iter().flatten() {
        if place.starts_with(&registry.identity(&taken.as_folder())) {
            return Err(Error::guard(format!(
                "{into} lies in {taken}, which the plan is for: it would be left there as an object"
            ))
            .with_help(help));
        }
    }
    Ok(())
}

/// Where a plan is written before it is placed at `into`: on the same file system, where that is one.
fn beside(into: &Location) -> Result<tempfile::TempDir> {
    let Some(parent) = into.file_path().and_then(|path| path.parent().map(std::path::Path::to_owned)) else { return temporary() };
    into.file_path().map_or(Ok(()), |path| takes_a_plan(&path))?;
    let made = std::fs::create_dir_all(&parent).and_then(|()| tempfile::Builder::new().prefix(".plan-").tempdir_in(&parent));
    made.map_err(|e| {
        Error::unreachable(format!("{into}: {}", without_name(&e))).with_help("give a folder that can be written with -o")
    })
}

/// Executes a plan that was made before, exactly.
pub async fn apply(
    registry: &Arc<Registry>,
    request: &ApplyRequest,
    progress: &dyn Progress,
    stop: &CancellationToken,
) -> RunReport {
    let mut report = RunReport::new(ulid::Ulid::new().to_string(), String::new(), &request.plan);
    report.destination.clear();
    let clock = Clock::start(registry, stop, request.run.timeout);
    let done = clock.bounded(Box::pin(apply_into(registry, request, progress, &mut report, &clock))).await;
    clock.end(&mut report, done);
    report
}

async fn apply_into(
    registry: &Arc<Registry>,
    request: &ApplyRequest,
    progress: &dyn Progress,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<()> {
    let stop = clock.stop();
    let files = registry.metadata(&request.plan)?;
    let plan = clock.unless_stopped(planner::plan::read_plan(&files, &request.plan.to_string())).await?;
    report.run.clone_from(&plan.run);
    report.source.clone_from(&plan.source);
    report.destination = plan.destination.to_string();
    report.describe(&plan);
    MarkerNames::new(&request.markers, &plan.commit)?;
    let destination = Destination::open_at(registry, &plan.destination, plan.status.as_ref())?;
    clock.unless_stopped(has_one_head(&destination)).await?;
    for _ in 0..RACES {
        let head = clock.unless_stopped(watch(&destination, stop, progress)).await?;
        let applied = applied(&head.file, &plan);
        if applied && is_finished(&destination, &head.file, &request.markers).await? {
            nothing_left(&head.file, report);
            return Ok(());
        }
        let folder = temporary()?;
        if !applied {
            still_fits(&head.file, &plan)?;
            check_deletes(&plan, &request.guards)?;
            settle::is_settled(&destination, &head.file, &plan).await?;
            clock.unless_stopped(fetch_plan(&files, &plan, folder.path())).await?;
            let came = clock.unless_stopped(markers_since(&destination, &plan, None, folder.path())).await?;
            if came.count() > 0 {
                let message = format!("{} came at {} since the plan was made", came.keys(), plan.destination);
                return Err(Error::guard(format!("{message}: what stands there would speak for folders that change"))
                    .with_help("make the plan again, which shows and retracts what came; or delete it"));
            }
        }
        let Some(lease) = Lease::take(&destination, &head, &plan.run, request.run.lease(), stop).await? else { continue };
        let destination = destination.behind(lease.fence());
        let under = Under { registry, destination: &destination, lease: &lease, progress, clock };
        let done = under.apply(request, &plan, folder.path(), report).await;
        return under.let_go(done, report).await;
    }
    Err(lost_races(&destination).await)
}

/// The plan was applied before.
fn nothing_left(head: &HeadFile, report: &mut RunReport) {
    report.state = State::Succeeded;
    report.receipt = head.current.as_ref().map(|c| c.receipt.clone());
    report.marker = head.current.as_ref().map(|c| c.success.clone());
}

/// The plan's own run is what the destination holds.
fn applied(head: &HeadFile, plan: &PlanFile) -> bool {
    let done = head.current.as_ref().is_some_and(|c| c.run == plan.run);
    let nothing = plan.is_empty()
        && head.unfinished.is_empty()
        && head.current.as_ref().is_some_and(|c| c.commit == plan.commit && c.view == plan.view);
    head.unfinished.is_empty() && (done || nothing)
}

/// A plan fits only the state of the destination that it was made for. A plan that was begun and did not end fits too.
fn still_fits(head: &HeadFile, plan: &PlanFile) -> Result<()> {
    let mut now = head.expects();
    if now.unfinished.last() == Some(&plan.run) {
        now.unfinished.pop();
    }
    if now == plan.expects {
        return Ok(());
    }
    let shown = |receipt: &Option<String>| receipt.clone().unwrap_or_else(|| "nothing".to_owned());
    let unfinished = if now.unfinished == plan.expects.unfinished {
        String::new()
    } else {
        format!(", with unfinished runs {:?}", now.unfinished)
    };
    Err(Error::guard(format!(
        "{} has moved on since the plan was made: it was made for {}, and there is {}{unfinished}",
        plan.destination,
        shown(&plan.expects.receipt),
        shown(&now.receipt)
    ))
    .with_help("make the plan again"))
}
