//! A run, from HEAD to the marker.
//!
//! ```text
//! HEAD names the run ─▶ SUCCESS markers off ─▶ rounds ─▶ receipt ─▶ HEAD (commit point) ─▶ SUCCESS ─▶ HEAD: written
//!                                                 └ failed ─▶ FAILURE
//! ```
//! # Crash consistency
//! Before the first change HEAD names the run and its stored plan; whatever happens then, the next run plans its keys again.
//! After the commit point nothing is undone: the next start finishes a marker that is still pending.

use std::path::Path;
use std::sync::Arc;

use planner::plan::{PlanFile, upload_plan};
use planner::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;
use worker::copy::{Concurrency, CopySpec, OnDrift};

use crate::base::run_folder;
use crate::destination::Destination;
use crate::export::Clock;
use crate::head::{Current, Head, MarkerState};
use crate::marker::{self, MarkerNames};
use crate::prepare::temporary;
use crate::progress::Progress;
use crate::receipt::{self, ChangesWriter, RECEIPT_FORMAT, Receipt, collect, fold};
use crate::report::{Failure, RunReport, State};
use crate::request::{MarkerOptions, RunOptions};
use crate::rounds::{Executed, Execution};
use crate::session::local_files;

/// One run of one plan.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub registry: &'a Arc<Registry>,
    pub destination: &'a Destination,
    pub plan: &'a PlanFile,
    /// The plan's shards on this machine.
    pub folder: &'a Path,
    pub markers: &'a MarkerOptions,
    pub options: &'a RunOptions,
    pub stop: &'a CancellationToken,
    pub clock: &'a Clock<'a>,
}

impl Run<'_> {
    /// Executes the plan. How it ended, errors included, is in `report` and in the run's record at the destination.
    pub(crate) async fn execute(&self, head: &mut Head, report: &mut RunReport, progress: &dyn Progress) {
        let mut executed = Executed::default();
        let mut begun = false;
        if let Err(error) = self.attempt(head, report, &mut executed, &mut begun, progress).await {
            if report.state == State::Succeeded {
                // After the commit point the export stands, whatever came after it.
                report.error = Some((&error).into());
            } else {
                report.fail(&error);
                // Where somebody else took the destination over, the markers are theirs.
                if begun && error.kind() != ErrorKind::Guard {
                    self.fail(report, &executed.failures).await;
                }
            }
        }
        if !begun {
            self.clean(std::slice::from_ref(&self.plan.run)).await;
        }
        if let Err(error) = self.record(report).await {
            tracing::warn!("the run's record cannot be written: {error}");
        }
    }

    /// One go from HEAD to the marker. `begun`: HEAD names the run, so that something may have changed.
    async fn attempt(
        &self,
        head: &mut Head,
        report: &mut RunReport,
        executed: &mut Executed,
        begun: &mut bool,
        progress: &dyn Progress,
    ) -> Result<()> {
        let names = MarkerNames::new(self.markers, &self.plan.commit)?;
        // A receipt that cannot be gone on from is told before anything changes.
        if let Some(previous) = self.previous(head).filter(|_| !self.is_complete()) {
            receipt::read(self.destination, &previous).await?;
        }
        let files = self.destination.metadata(&format!("{}/plan", run_folder(&self.plan.run)))?;
        upload_plan(self.folder, self.plan, &files).await.map_err(|e| e.context(self.destination.location()))?;
        self.record(report).await?;
        if self.stop.is_cancelled() {
            report.state = State::Cancelled;
            return Ok(());
        }
        head.change(self.destination, |h| {
            if !h.unfinished.contains(&self.plan.run) {
                h.unfinished.push(self.plan.run.clone());
            }
            h.marker = None;
        })
        .await?;
        *begun = true;
        marker::success_off(self.destination, &self.plan.commit, self.markers.keep_success).await?;
        let worked = self.work(executed, progress).await;
        tell(report, executed);
        let changes = worked?;
        if executed.complete {
            return self.commit(head, changes, names, report).await;
        }
        if self.stop.is_cancelled() {
            report.state = State::Cancelled;
            return Ok(());
        }
        if let Some(error) = executed.out_of_reach(self.destination.location()) {
            report.fail(&error);
        }
        self.fail(report, &executed.failures).await;
        Ok(())
    }

    async fn work(
        &self,
        executed: &mut Executed,
        progress: &dyn Progress,
    ) -> Result<(tempfile::TempDir, std::path::PathBuf, u64)> {
        let folder = temporary()?;
        let mut changes = ChangesWriter::create(folder.path())?;
        // The stored copy is for whoever comes after; this process reads its own.
        let files = local_files(self.folder)?;
        let execution = Execution { plan: self.plan, files, spec: self.spec(), registry: self.registry, stop: self.stop };
        execution.run(&mut changes, executed, progress).await?;
        let (path, rows) = changes.finish()?;
        Ok((folder, path, rows))
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
    async fn commit(
        &self,
        head: &mut Head,
        changes: (tempfile::TempDir, std::path::PathBuf, u64),
        names: MarkerNames,
        report: &mut RunReport,
    ) -> Result<()> {
        let (_folder, path, rows) = changes;
        let synced = self.destination.control().sync().await;
        synced.map_err(|e| self.destination.failed(e, "what was written cannot be made durable"))?;
        let receipt = Receipt {
            format: RECEIPT_FORMAT,
            seq: head.file.seq + 1,
            run: self.plan.run.clone(),
            commit: self.plan.commit.clone(),
            metarange: self.plan.metarange.clone(),
            view: self.plan.view.clone(),
            view_digest: self.plan.view_digest.clone(),
            base: self.plan.base.clone(),
            previous: self.previous(head),
            claim: self.plan.claim.clone(),
            supersedes: head.file.unfinished.iter().filter(|r| **r != self.plan.run).cloned().collect(),
            objects: self.plan.summary.objects,
            changes: rows,
            source: Some(self.plan.source.clone()),
            whole: None,
            chain: None,
            time: crate::clock::now(),
        };
        let complete = self.is_complete();
        let keep = self.options.keep_receipts;
        let (folder, receipt) = fold::write(self.destination, receipt, &path, fold::WriteOptions { complete, keep }).await?;
        let settled = head.file.unfinished.clone();
        head.change(self.destination, |h| {
            h.seq = receipt.seq;
            h.unfinished.clear();
            h.marker = Some(MarkerState::Pending);
            h.current = Some(Current {
                receipt: folder.clone(),
                commit: receipt.commit.clone(),
                metarange: receipt.metarange.clone(),
                view: receipt.view.clone(),
                objects: receipt.objects,
                run: receipt.run.clone(),
                success: names.success.clone(),
            });
        })
        .await?;
        report.receipt = Some(folder);
        report.state = State::Succeeded;
        finish_marker(self.destination, head, self.markers.keep_success).await?;
        report.marker = Some(names.success);
        self.clean(&settled).await;
        let first = receipt.chain.map_or(0, |chain| chain.first);
        if let Err(error) = collect::collect(self.destination, &head.file, first, keep).await {
            tracing::warn!("old receipts and runs cannot be removed: {error}");
        }
        Ok(())
    }

    /// The receipt that this run's one goes on from.
    fn previous(&self, head: &Head) -> Option<String> {
        let current = head.file.current.as_ref().filter(|c| c.view.same_root(&self.plan.view));
        current.map(|c| c.receipt.clone())
    }

    /// The run writes every object, so that its receipt needs none before it.
    fn is_complete(&self) -> bool {
        self.plan.full || self.plan.base.is_none()
    }

    /// Removes plans that nobody needs any more. One that stays is no harm.
    async fn clean(&self, runs: &[String]) {
        for run in runs {
            if let Err(error) = self.destination.delete_all(&format!("{}/plan/", run_folder(run))).await {
                tracing::warn!("the plan of run {run} cannot be removed: {error}");
            }
        }
    }

    /// Leaves a FAILURE marker, where that is possible at all.
    async fn fail(&self, report: &mut RunReport, failures: &[Failure]) {
        report.state = State::Failed;
        let Ok(names) = MarkerNames::new(self.markers, &self.plan.commit) else { return };
        let text = marker::failure_text(report, failures);
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

    /// Keeps the run's record at the destination.
    async fn record(&self, report: &mut RunReport) -> Result<()> {
        self.clock.stamp(report);
        self.destination.put_json(&format!("{}/run.json", run_folder(&self.plan.run)), report).await
    }
}

/// Finishes what follows a commit point: every other status marker goes, SUCCESS comes, HEAD says so. Idempotent.
///
/// # Errors
/// The store's.
pub(crate) async fn finish_marker(destination: &Destination, head: &mut Head, keep_success: bool) -> Result<()> {
    let Some(current) = head.file.current.clone() else { return Ok(()) };
    let text = marker::success_text(&current.run, &current.commit, current.objects, &current.view.selection);
    let written = head.file.marker == Some(MarkerState::Written);
    marker::finish(destination, &current, text, keep_success, written).await?;
    if !written {
        head.change(destination, |h| h.marker = Some(MarkerState::Written)).await?;
    }
    Ok(())
}

/// Puts the counts of what was executed into the report.
fn tell(report: &mut RunReport, executed: &Executed) {
    report.rounds.clone_from(&executed.rounds);
    report.failures = executed.failures.iter().take(RunReport::MAX_FAILURES).cloned().collect();
    report.total();
}
