//! The verbs: export, plan, apply.
//!
//! An export is a plan and its run. Each verb answers with a [`RunReport`]; errors are in it, so that every end is told in
//! one form.

use std::sync::Arc;
use std::time::Instant;

use planner::overview::PlanOverview;
use planner::plan::{PlanFile, fetch_plan, move_plan, upload_plan};
use planner::{Error, ErrorKind, Location, Result, Stores};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use crate::base;
use crate::destination::Destination;
use crate::guards::check_deletes;
use crate::head::{Head, MarkerState};
use crate::marker::MarkerNames;
use crate::prepare::{Prepared, prepare, temporary, up_to_date, view};
use crate::progress::Progress;
use crate::report::{RequestCounts, RunReport, State};
use crate::request::{ApplyRequest, ExportRequest, RunOptions};
use crate::run::{Run, finish_marker};

/// Plans and executes.
pub async fn export(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    progress: &dyn Progress,
    stop: &CancellationToken,
) -> RunReport {
    let mut report = RunReport::new(ulid::Ulid::new().to_string(), request.source.text.clone(), &request.destination);
    report.commit = Some(request.source.commit.name().to_owned());
    let clock = Clock::start(registry);
    let limited = Limited::start(stop, &request.run);
    let done = export_into(registry, request, progress, &limited.stop, &mut report, &clock).await;
    clock.end(&mut report, done, &limited, stop);
    report
}

async fn export_into(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    progress: &dyn Progress,
    stop: &CancellationToken,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<()> {
    MarkerNames::new(&request.markers, request.source.commit.name())?;
    let destination = Destination::open(registry, &request.destination)?;
    let mut head = Head::read(&destination).await?;
    if head.file.marker == Some(MarkerState::Pending) {
        progress.note("the last run's SUCCESS marker is finished first");
        finish_marker(&destination, &mut head, request.markers.keep_success).await?;
    }
    let view = view(request)?;
    if up_to_date(&head, request, &view) {
        nothing_to_do(&head, request, report);
        return finish_marker(&destination, &mut head, request.markers.keep_success).await;
    }
    let folder = temporary()?;
    let planning = prepare(&destination, &head, request, &view, &report.run, folder.path(), progress);
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => {
            report.state = State::Cancelled;
            return Ok(());
        }
        prepared = planning => prepared?,
    };
    clock.planned(report);
    report.describe(&prepared.plan);
    check_deletes(&prepared.plan, &request.guards)?;
    progress.planned(&prepared.plan.summary);
    let run = Run {
        registry,
        destination: &destination,
        plan: &prepared.plan,
        folder: folder.path(),
        markers: &request.markers,
        options: &request.run,
        stop,
        clock,
    };
    run.execute(&mut head, report, progress).await;
    Ok(())
}

/// The destination is up to date.
fn nothing_to_do(head: &Head, request: &ExportRequest, report: &mut RunReport) {
    report.state = State::Succeeded;
    report.commit = Some(request.source.commit.name().to_owned());
    if let Some(current) = &head.file.current {
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
    let clock = Clock::start(registry);
    let planned = plan_into(registry, request, into, progress, &mut report, &clock).await;
    let (done, overview) = match planned {
        Ok(overview) => (Ok(()), Some(overview)),
        Err(error) => (Err(error), None),
    };
    let never = CancellationToken::new();
    clock.end(&mut report, done, &Limited::start(&never, &RunOptions::default()), &never);
    (report, overview)
}

async fn plan_into(
    registry: &Arc<Registry>,
    request: &ExportRequest,
    into: &Location,
    progress: &dyn Progress,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<PlanOverview> {
    let destination = Destination::open(registry, &request.destination)?;
    let head = Head::read(&destination).await?;
    let view = view(request)?;
    let folder = beside(into)?;
    let prepared = prepare(&destination, &head, request, &view, &report.run, folder.path(), progress).await?;
    let Prepared { plan, overview } = prepared;
    clock.planned(report);
    let placed = match into.file_path() {
        Some(path) => move_plan(folder.path(), &plan, &path),
        None => upload_plan(folder.path(), &plan, &registry.metadata(into)?).await,
    };
    placed.map_err(|e| e.context(into))?;
    report.planned(&plan);
    report.state = State::Planned;
    report.plan = Some(into.to_string());
    if let Err(refusal) = check_deletes(&plan, &request.guards) {
        report.notes.push(format!("`apply` will refuse this plan: {refusal}"));
    }
    Ok(overview)
}

/// Where a plan is written before it is placed at `into`: on the same file system, where that is one.
fn beside(into: &Location) -> Result<tempfile::TempDir> {
    let Some(parent) = into.file_path().and_then(|path| path.parent().map(std::path::Path::to_owned)) else { return temporary() };
    let made = std::fs::create_dir_all(&parent).and_then(|()| tempfile::Builder::new().prefix(".plan-").tempdir_in(&parent));
    made.map_err(|e| Error::unreachable(format!("{into}: {e}")).with_help("give a folder that can be written with -o"))
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
    let clock = Clock::start(registry);
    let limited = Limited::start(stop, &request.run);
    let done = apply_into(registry, request, progress, &limited.stop, &mut report, &clock).await;
    clock.end(&mut report, done, &limited, stop);
    report
}

async fn apply_into(
    registry: &Arc<Registry>,
    request: &ApplyRequest,
    progress: &dyn Progress,
    stop: &CancellationToken,
    report: &mut RunReport,
    clock: &Clock<'_>,
) -> Result<()> {
    let files = registry.metadata(&request.plan)?;
    let plan = planner::plan::read_plan(&files, &request.plan.to_string()).await?;
    report.run.clone_from(&plan.run);
    report.source.clone_from(&plan.source);
    report.destination = plan.destination.to_string();
    report.describe(&plan);
    MarkerNames::new(&request.markers, &plan.commit)?;
    let destination = Destination::open(registry, &plan.destination)?;
    let mut head = Head::read(&destination).await?;
    if applied(&head, &plan) {
        report.state = State::Succeeded;
        report.receipt = head.file.current.as_ref().map(|c| c.receipt.clone());
        report.marker = head.file.current.as_ref().map(|c| c.success.clone());
        return finish_marker(&destination, &mut head, request.markers.keep_success).await;
    }
    if head.file.marker == Some(MarkerState::Pending) {
        finish_marker(&destination, &mut head, request.markers.keep_success).await?;
    }
    still_fits(&head, &plan)?;
    check_deletes(&plan, &request.guards)?;
    let folder = temporary()?;
    fetch_plan(&files, &plan, folder.path()).await?;
    progress.planned(&plan.summary);
    let run = Run {
        registry,
        destination: &destination,
        plan: &plan,
        folder: folder.path(),
        markers: &request.markers,
        options: &request.run,
        stop,
        clock,
    };
    run.execute(&mut head, report, progress).await;
    Ok(())
}

/// The plan's own run is what the destination holds.
fn applied(head: &Head, plan: &PlanFile) -> bool {
    let done = head.file.current.as_ref().is_some_and(|c| c.run == plan.run);
    let nothing = plan.is_empty()
        && head.file.unfinished.is_empty()
        && head.file.current.as_ref().is_some_and(|c| c.commit == plan.commit && c.view == plan.view);
    head.file.unfinished.is_empty() && (done || nothing)
}

/// A plan fits only the state of the destination that it was made for. A plan that was begun and did not end fits too.
fn still_fits(head: &Head, plan: &PlanFile) -> Result<()> {
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

/// The records of all runs at `destination`, the newest first.
///
/// # Errors
/// The store's.
pub async fn history(registry: &Arc<Registry>, destination: &Location) -> Result<Vec<RunReport>> {
    let destination = Destination::open(registry, destination)?;
    let mut runs = Vec::new();
    for one in destination.list(&format!("{}/", base::run_folder("").trim_end_matches('/'))).await? {
        if one.key.ends_with("/run.json")
            && let Some((report, _)) = destination.get_json::<RunReport>(&one.key).await?
        {
            runs.push(report);
        }
    }
    runs.sort_by(|a, b| b.run.cmp(&a.run));
    Ok(runs)
}

/// Times and requests of one verb.
#[derive(Debug)]
pub(crate) struct Clock<'a> {
    started: Instant,
    registry: &'a Arc<Registry>,
    requests: (u64, u64),
}

impl<'a> Clock<'a> {
    fn start(registry: &'a Arc<Registry>) -> Self {
        Self { started: Instant::now(), registry, requests: registry.requests() }
    }

    fn planned(&self, report: &mut RunReport) {
        report.plan_ms = millis(self.started);
    }

    /// Closes a report: what it ended by, how long it took, what it cost.
    fn end(&self, report: &mut RunReport, done: Result<()>, limited: &Limited, asked: &CancellationToken) {
        match done {
            // After the commit point the export stands, whatever came after it.
            Err(error) if report.state == State::Succeeded => report.error = Some((&error).into()),
            Err(error) => report.fail(&error),
            Ok(()) => {}
        }
        if report.state == State::Cancelled && report.error.is_none() {
            report.fail(&if asked.is_cancelled() { interrupted() } else { limited.timed_out() });
        }
        self.stamp(report);
    }

    /// How long it took so far, and what it cost.
    pub(crate) fn stamp(&self, report: &mut RunReport) {
        report.elapsed_ms = millis(self.started);
        let (data, control) = self.registry.requests();
        report.requests = RequestCounts { data: data - self.requests.0, control: control - self.requests.1 };
        report.update_time = crate::clock::now();
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the run was stopped").with_help("run the same command again: what is left will be done")
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A token that is also cancelled when the allowed time is over.
struct Limited {
    stop: CancellationToken,
    timeout: Option<std::time::Duration>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

impl Limited {
    fn start(stop: &CancellationToken, options: &RunOptions) -> Self {
        let stop = stop.child_token();
        let timer = options.timeout.map(|limit| {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                stop.cancel();
            })
        });
        Self { stop, timeout: options.timeout, timer }
    }

    fn timed_out(&self) -> Error {
        let limit = self.timeout.unwrap_or_default();
        Error::new(ErrorKind::TimedOut, format!("the {limit:?} that --timeout allows are over"))
            .with_help("run the same command again: what is left will be done")
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}
