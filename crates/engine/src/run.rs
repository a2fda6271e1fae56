//! A run, from HEAD to the marker.
//!
//! ```text
//! HEAD names the run ─▶ SUCCESS markers off ─▶ rounds ─▶ receipt ─▶ HEAD (commit point) ─▶ SUCCESS ─▶ HEAD: written
//!                                                 └ failed ─▶ FAILURE
//! ```
//! # Crash consistency
//! Before the first change HEAD names the run and its stored plan; whatever happens then, the next run plans its keys again.
//! After the commit point nothing is undone: the next start finishes a marker that is still pending.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use planner::plan::{PLAN_FILE, PlanFile};
use planner::{Error, ErrorKind, Result};
use worker::Registry;
use worker::copy::{Concurrency, CopySpec, Ledger, OnDrift};
use worker::journal::{Journal, Outcomes};

use crate::base::{run_folder, stored_plan};
#[cfg(feature = "cluster")]
use crate::cluster::{ClusterSession, Job};
use crate::destination::Destination;
use crate::failures::FAILURES_FILE;
use crate::head::{Current, HeadFile, MarkerState};
use crate::lease::Lease;
use crate::limits::{Clock, cancelled};
use crate::marker::{self, MarkerNames};
use crate::prepare::temporary;
use crate::progress::Progress;
use crate::receipt::{self, ChangesFile, ChangesWriter, RECEIPT_FORMAT, Receipt, collect, fold};
use crate::report::{RunReport, State};
use crate::request::{MarkerOptions, RunOptions};
use crate::resume;
use crate::rounds::{Elsewhere, Executed, Execution};
use crate::session::local_files;
use crate::unfinished::{self, Unfinished};

/// How often the run's record is written anew while it goes on.
const RECORDED_EVERY: Duration = Duration::from_secs(5);

/// One run of one plan.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub registry: &'a Arc<Registry>,
    /// Behind the lease's fence.
    pub destination: &'a Destination,
    pub lease: &'a Arc<Lease>,
    pub plan: &'a PlanFile,
    /// The plan's shards on this machine.
    pub folder: &'a Path,
    pub markers: &'a MarkerOptions,
    pub options: &'a RunOptions,
    pub clock: &'a Clock<'a>,
}

/// What a run has in its hands between its first change and its end.
struct Work {
    executed: Executed,
    /// This attempt kept the plan at the destination, and HEAD was not asked to name it yet.
    stored: bool,
    /// HEAD names the run and SUCCESS is gone: something may have changed.
    begun: bool,
}

impl Run<'_> {
    /// Executes the plan. How it ended, errors included, is in `report` and in the run's record at the destination.
    pub(crate) async fn execute(&self, report: &mut RunReport, progress: &dyn Progress) {
        let mut work = Work { executed: Executed::default(), stored: false, begun: false };
        if let Err(error) = self.attempt(report, &mut work, progress).await {
            // What broke because the lease was lost broke for that reason.
            let error = self.lease.check().err().unwrap_or(error);
            if report.state == State::Succeeded {
                // After the commit point the export stands, whatever came after it.
                report.error = Some((&error).into());
            } else {
                report.fail(&error);
                // Where somebody else took the destination over, the markers are theirs.
                if work.begun && error.kind() != ErrorKind::Guard {
                    self.fail(report, &mut work.executed).await;
                }
            }
        }
        if work.stored {
            self.clean(std::slice::from_ref(&self.plan.run)).await;
        }
        if let Some(cancel) = self.lease.cancelled().filter(|_| report.state == State::Cancelled) {
            report.fail(&cancelled(&cancel));
        }
        if report.state == State::Cancelled && report.error.is_none() {
            report.fail(&self.lease.check().err().unwrap_or_else(|| self.clock.stopped()));
        }
        if let Err(error) = self.record(report).await {
            tracing::warn!("the run's record cannot be written: {error}");
        }
    }

    /// One go from HEAD to the marker.
    async fn attempt(&self, report: &mut RunReport, work: &mut Work, progress: &dyn Progress) -> Result<()> {
        let names = MarkerNames::new(self.markers, &self.plan.commit)?;
        let head = self.lease.head().await;
        // A receipt that cannot be gone on from is told before anything changes.
        if let Some(previous) = self.previous(&head).filter(|_| !self.is_complete()) {
            receipt::read(self.destination, &previous).await?;
        }
        let unfinished = head.unfinished;
        let resumes = unfinished.last() == Some(&self.plan.run);
        if !resumes {
            work.stored = true;
            self.store_plan().await?;
        }
        self.record(report).await?;
        let elsewhere = self.elsewhere(progress).await?;
        if self.lease.stop().is_cancelled() {
            report.state = State::Cancelled;
            return Ok(());
        }
        if !self.wait(progress).await {
            report.state = State::Cancelled;
            return Ok(());
        }
        // From here on HEAD may name the run, whatever the answer is.
        work.stored = false;
        self.begin(true).await?;
        self.destination.sweep().await;
        let known = self.take_up(&unfinished, resumes, progress).await?;
        marker::success_off(self.destination, &self.plan.commit, self.markers.keep_success).await?;
        // From here on FAILURE may speak for the destination: SUCCESS does not.
        work.begun = true;
        let (mut recorded, mut said) = (Instant::now(), report.clone());
        let told = async |executed: &Executed| {
            if recorded.elapsed() >= RECORDED_EVERY {
                recorded = Instant::now();
                tell(&mut said, executed);
                // The next one is as good.
                let _ = self.record(&mut said).await;
            }
        };
        let worked = self.work((known, elsewhere), 0..usize::MAX, &mut work.executed, progress, told).await;
        tell(report, &work.executed);
        report.notes.extend(work.executed.note().inspect(|note| progress.note(note)));
        // Where nothing could be reached, that is the reason, whatever broke first.
        let reason = |error| work.executed.out_of_reach(self.destination.location()).unwrap_or(error);
        let changes = worked.map_err(reason)?;
        self.lease.check()?;
        if work.executed.complete && self.lease.settled(|text| progress.note(text)).await {
            return self.commit(changes, names, report).await;
        }
        if self.lease.stop().is_cancelled() {
            report.state = State::Cancelled;
            return Ok(());
        }
        if let Some(error) = work.executed.out_of_reach(self.destination.location()) {
            report.fail(&error);
        }
        self.fail(report, &mut work.executed).await;
        Ok(())
    }

    /// Does the rows of these steps and no others, whether they are this run's or what another left: no receipt, no marker, no
    /// record. Whether all of them are done.
    ///
    /// # Errors
    /// As of a whole run; failed rows are none.
    pub(crate) async fn part(&self, steps: Range<usize>, progress: &dyn Progress) -> Result<bool> {
        let unfinished = self.lease.head().await.unfinished;
        // Runs that came after it have changed nothing of what these steps change.
        let resumes = unfinished.contains(&self.plan.run);
        if !resumes {
            self.store_plan().await?;
        }
        if !self.wait(progress).await {
            return Ok(false);
        }
        self.begin(false).await?;
        let known = self.take_up(&unfinished, resumes, progress).await?;
        marker::success_off(self.destination, &self.plan.commit, self.markers.keep_success).await?;
        let mut executed = Executed::default();
        self.work((known, Elsewhere::default()), steps, &mut executed, progress, async |_: &Executed| {}).await?;
        self.lease.check()?;
        Ok(executed.complete)
    }

    /// Waits until nothing that was sent before can change the destination any more; false when the run is to stop before.
    async fn wait(&self, progress: &dyn Progress) -> bool {
        self.lease.allow(self.spec().longest_request(self.plan.largest()));
        self.lease.settled(|text| progress.note(text)).await
    }

    /// HEAD names the run: from here on it may change the destination. `leads`: it is whose the lease is.
    async fn begin(&self, leads: bool) -> Result<()> {
        let run = &self.plan.run;
        let begin = self.lease.change(|head| {
            if let Some(lease) = head.lease.as_mut().filter(|_| leads) {
                lease.run.clone_from(run);
            }
            head.doubt = None;
            if !head.unfinished.contains(run) {
                head.unfinished.push(run.clone());
            }
            if head.current.is_none() {
                head.unfinished_view.get_or_insert_with(|| self.plan.view.clone());
            }
            head.marker = None;
        });
        begin.await
    }

    /// Keeps the plan at the destination, for whoever comes after: shards first, `plan.json` last.
    async fn store_plan(&self) -> Result<()> {
        let at = format!("{}/plan", run_folder(&self.plan.run));
        for (_, _, shard) in self.plan.shards() {
            self.destination.upload_file(&self.folder.join(&shard.file), &format!("{at}/{}", shard.file)).await?;
        }
        self.destination.put_json(&format!("{at}/{PLAN_FILE}"), self.plan).await
    }

    /// Ends what unfinished runs left open, and learns what this run did already.
    async fn take_up(&self, unfinished: &[String], resumes: bool, progress: &dyn Progress) -> Result<Known> {
        let folder = temporary()?;
        let goes_on = resumes && !self.options.no_resume;
        let outcomes = if goes_on { Some(resume::journal(self.destination, &self.plan.run, folder.path()).await?) } else { None };
        let mut open = Vec::new();
        if let Some(outcomes) = &outcomes {
            open.extend(outcomes.uploads()?.into_iter().map(|upload| upload.key));
        }
        for run in unfinished.iter().filter(|run| !goes_on || **run != self.plan.run) {
            let left = resume::open_uploads(self.destination, run, self.spec().multipart_threshold).await?;
            left.notes.iter().for_each(|note| progress.note(note));
            open.extend(left.keys);
        }
        if !unfinished.is_empty() {
            let aborted = resume::abort_uploads(self.destination, &open).await?;
            if aborted > 0 {
                progress.note(&format!("{aborted} unfinished uploads were aborted"));
            }
        }
        Ok(Known { outcomes, _folder: folder })
    }

    async fn work(
        &self,
        (known, elsewhere): (Known, Elsewhere<'_>),
        steps: Range<usize>,
        executed: &mut Executed,
        progress: &dyn Progress,
        told: impl AsyncFnMut(&Executed),
    ) -> Result<Changes> {
        let folder = temporary()?;
        let mut changes = ChangesWriter::create(folder.path())?;
        let at = self.destination.status().join(&resume::journal_folder(&self.plan.run));
        let store = self.registry.open(&at, worker::RequestClass::Control)?;
        let data = self.registry.open(&self.plan.destination, worker::RequestClass::Data)?;
        let ledger = Ledger {
            journal: Some(Journal::start(store, data, self.lease.generation(), Some(Arc::clone(self.lease.fence())))),
            known: known.outcomes.clone(),
            fence: Some(Arc::clone(self.lease.fence())),
        };
        // The stored copy is for whoever comes after; this process reads its own.
        let files = local_files(self.folder)?;
        let execution = Execution {
            plan: self.plan,
            steps,
            files,
            spec: self.spec(),
            registry: self.registry,
            lease: self.lease,
            ledger,
            elsewhere,
        };
        execution.run(&mut changes, executed, progress, told).await?;
        Ok(Changes { file: changes.finish()?, folder })
    }

    #[cfg(not(feature = "cluster"))]
    async fn elsewhere(&self, _: &dyn Progress) -> Result<Elsewhere<'_>> {
        Ok(Elsewhere::default())
    }

    /// The cluster that does the work, where one was asked for.
    #[cfg(feature = "cluster")]
    async fn elsewhere(&self, progress: &dyn Progress) -> Result<Elsewhere<'_>> {
        let Some(options) = &self.options.cluster else { return Ok(None) };
        let job = Job {
            registry: self.registry,
            lease: self.lease,
            plan: self.plan,
            copy: self.spec(),
            control: self.destination.status().clone(),
            ttl: self.options.lease().ttl,
        };
        let session = ClusterSession::connect(options, job, progress).await?;
        // The lease was renewed just now.
        crate::verify::sweep::sweep(self.destination, crate::head::HEAD_KEY).await;
        Ok(Some(session))
    }

    fn spec(&self) -> CopySpec {
        let mut spec = CopySpec::new(self.plan.destination.clone());
        spec.lake_data = Some(self.plan.storage.join("data").as_folder());
        spec.on_drift = if self.options.take_drifted { OnDrift::Take } else { OnDrift::Fail };
        if let Some(concurrency) = self.options.concurrency {
            spec.concurrency = Concurrency::Fixed(concurrency);
        }
        if let Some(timeout) = self.options.request_timeout {
            spec.request_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        }
        spec
    }

    /// The receipt, the commit point, the marker.
    async fn commit(&self, changes: Changes, names: MarkerNames, report: &mut RunReport) -> Result<()> {
        self.destination.sync().await?;
        let head = self.lease.head().await;
        let changes = self.with_inherited(changes, &head.unfinished).await?;
        let receipt = Receipt {
            format: RECEIPT_FORMAT,
            seq: head.seq + 1,
            run: self.plan.run.clone(),
            generation: self.lease.generation(),
            commit: self.plan.commit.clone(),
            metarange: self.plan.metarange.clone(),
            view: self.plan.view.clone(),
            view_digest: self.plan.view_digest.clone(),
            base: self.plan.base.clone(),
            previous: self.previous(&head),
            claim: self.plan.claim.clone(),
            supersedes: head.unfinished.iter().filter(|r| **r != self.plan.run).cloned().collect(),
            objects: self.plan.summary.objects,
            changes: changes.file.rows,
            source: Some(self.plan.source.clone()),
            whole: None,
            chain: None,
            etags: Some(changes.file.etags),
            files: std::collections::BTreeMap::new(),
            time: crate::clock::now(),
        };
        let complete = self.is_complete();
        let keep = self.options.keep_receipts;
        let options = fold::WriteOptions { complete, keep };
        let (folder, receipt) = fold::write(self.destination, receipt, &changes.file.path, options).await?;
        // HEAD must not name what a power failure takes away.
        self.destination.sync().await?;
        let current = Current {
            receipt: folder.clone(),
            commit: receipt.commit.clone(),
            metarange: receipt.metarange.clone(),
            view: receipt.view.clone(),
            objects: receipt.objects,
            run: receipt.run.clone(),
            success: names.success.clone(),
        };
        let point = self.lease.change(|head| {
            head.seq = receipt.seq;
            head.unfinished.clear();
            head.unfinished_view = None;
            head.marker = Some(MarkerState::Pending);
            head.current = Some(current.clone());
        });
        point.await?;
        report.receipt = Some(folder);
        report.state = State::Succeeded;
        finish_marker(self.destination, self.lease, self.markers.keep_success).await?;
        report.marker = Some(names.success);
        let first = receipt.chain.map_or(0, |chain| chain.first);
        if let Err(error) = collect::collect(self.destination, &self.lease.head().await, first, keep).await {
            tracing::warn!("what earlier runs left cannot be removed: {error}");
        }
        Ok(())
    }

    /// The receipt that this run's one goes on from.
    fn previous(&self, head: &HeadFile) -> Option<String> {
        let current = head.current.as_ref().filter(|c| c.view.same_root(&self.plan.view));
        current.map(|c| c.receipt.clone())
    }

    /// The run writes every object, so that its receipt needs none before it.
    fn is_complete(&self) -> bool {
        self.plan.full || self.plan.base.is_none()
    }

    /// A receipt takes over what superseded runs did and this one did not do again.
    async fn with_inherited(&self, changes: Changes, unfinished: &[String]) -> Result<Changes> {
        let mut superseded = Vec::new();
        for run in unfinished.iter().filter(|run| **run != self.plan.run) {
            match self.superseded(run).await {
                Ok(run) => superseded.extend(run),
                // A receipt that holds the whole state needs none of it.
                Err(error) if self.is_complete() && error.kind() == ErrorKind::Corrupt => tracing::debug!("{error}"),
                Err(error) => return Err(error),
            }
        }
        if superseded.is_empty() {
            return Ok(changes);
        }
        let file = unfinished::inherit(&superseded, &changes.file.path, changes.folder.path()).await?;
        Ok(Changes { file, ..changes })
    }

    /// A run that this one supersedes, where it was of the same lake and prefix.
    async fn superseded(&self, run: &str) -> Result<Option<Unfinished>> {
        let plan = stored_plan(self.destination, run).await?;
        if !plan.view.same_root(&self.plan.view) {
            return Ok(None);
        }
        Unfinished::load(self.destination, plan, !self.options.no_resume).await.map(Some)
    }

    /// Removes plans and journals that nobody needs any more. What stays is no harm.
    async fn clean(&self, runs: &[String]) {
        for run in runs {
            let record = format!("{}/run.json", run_folder(run));
            if let Err(error) = self.destination.delete_all_but(&format!("{}/", run_folder(run)), &record).await {
                tracing::warn!("plan and journal of run {run} cannot be removed: {error}");
            }
        }
    }

    /// Leaves a FAILURE marker, where that is possible at all.
    async fn fail(&self, report: &mut RunReport, executed: &mut Executed) {
        report.state = State::Failed;
        if let Err(error) = self.list_failures(executed).await {
            tracing::warn!("the list of failures cannot be kept: {error}");
        }
        let Ok(names) = MarkerNames::new(self.markers, &self.plan.commit) else { return };
        let text = marker::failure_text(report, &executed.failures);
        match marker::fail(self.destination, &names.failure, &self.plan.commit, text, self.markers.keep_success).await {
            Ok(()) => report.marker = Some(names.failure),
            Err(error) => {
                tracing::warn!("{}: {error}", names.failure);
                if report.error.is_none() && report.copied + report.deleted == 0 {
                    let message = format!("neither objects nor markers can be written: {error}");
                    report.fail(&Error::new(ErrorKind::Unreachable, message));
                }
            }
        }
    }

    /// Keeps the whole list of what failed beside the run's record.
    async fn list_failures(&self, executed: &mut Executed) -> Result<()> {
        let Some(list) = &mut executed.list else { return Ok(()) };
        let key = format!("{}/{FAILURES_FILE}", run_folder(&self.plan.run));
        self.destination.upload_file(list.close()?, &key).await
    }

    /// Keeps the run's record at the destination.
    async fn record(&self, report: &mut RunReport) -> Result<()> {
        self.clock.stamp(report);
        self.destination.put_json(&format!("{}/run.json", run_folder(&self.plan.run)), report).await
    }
}

/// What a run that goes on did already.
struct Known {
    outcomes: Option<Arc<Outcomes>>,
    _folder: tempfile::TempDir,
}

/// The rows of a receipt, in a temporary folder.
struct Changes {
    file: ChangesFile,
    folder: tempfile::TempDir,
}

/// Whether nothing is left to be done after a commit point: SUCCESS is there, and no other status marker is.
///
/// # Errors
/// The store's.
pub(crate) async fn is_finished(destination: &Destination, head: &HeadFile, markers: &MarkerOptions) -> Result<bool> {
    let Some(current) = head.current.as_ref().filter(|_| head.marker == Some(MarkerState::Written)) else { return Ok(false) };
    marker::is_finished(destination, current, &success_text(current), markers.keep_success).await
}

/// What SUCCESS says of what is there.
pub(crate) fn success_text(current: &Current) -> String {
    marker::success_text(&current.run, &current.commit, current.objects, &current.view.selection)
}

/// Finishes what follows a commit point: every other status marker goes, SUCCESS comes, HEAD says so. Idempotent.
///
/// # Errors
/// The store's.
pub(crate) async fn finish_marker(destination: &Destination, lease: &Lease, keep_success: bool) -> Result<()> {
    let head = lease.head().await;
    let Some(current) = head.current else { return Ok(()) };
    let text = success_text(&current);
    let written = head.marker == Some(MarkerState::Written);
    marker::finish(destination, &current, text, keep_success, written).await?;
    if !written {
        lease.change(|h| h.marker = Some(MarkerState::Written)).await?;
    }
    Ok(())
}

/// Puts the counts of what was executed into the report.
fn tell(report: &mut RunReport, executed: &Executed) {
    report.rounds.clone_from(&executed.rounds);
    report.overwritten = executed.overwritten.count();
    report.failures = executed.failures.iter().take(RunReport::MAX_FAILURES).cloned().collect();
    report.total();
}
