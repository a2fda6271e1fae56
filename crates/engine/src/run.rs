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
use crate::receipt::{self, ChangesWriter, RECEIPT_FORMAT, Receipt};
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
    /// Executes the plan. How it ended is in `report`.
    ///
    /// # Errors
    /// What is not one object's failure.
    pub(crate) async fn execute(&self, head: &mut Head, report: &mut RunReport, progress: &dyn Progress) -> Result<()> {
        let names = MarkerNames::new(self.markers, &self.plan.commit)?;
        let runs = run_folder(&self.plan.run);
        let files = self.destination.metadata(&format!("{runs}/plan"))?;
        upload_plan(self.folder, self.plan, &files).await.map_err(|e| e.context(self.destination.location()))?;
        self.record(report).await?;
        head.change(self.destination, |h| {
            if !h.unfinished.contains(&self.plan.run) {
                h.unfinished.push(self.plan.run.clone());
            }
            h.marker = None;
        })
        .await?;
        marker::success_off(self.destination, &names, self.markers.keep_success).await?;
        let mut executed = Executed::default();
        let worked = self.work(&mut executed, progress).await;
        tell(report, &executed);
        match worked {
            Ok(changes) if executed.complete => {
                self.commit(head, changes, &names, report).await?;
                return self.record(report).await;
            }
            Ok(_) if self.stop.is_cancelled() => report.state = State::Cancelled,
            Ok(_) => {
                if let Some(error) = executed.out_of_reach(self.destination.location()) {
                    report.fail(&error);
                }
                self.fail(&names, report, &executed.failures).await;
            }
            Err(error) => {
                report.fail(&error);
                self.fail(&names, report, &executed.failures).await;
            }
        }
        // The record is for the history only: that it cannot be written hides no failure.
        if let Err(error) = self.record(report).await {
            tracing::warn!("the run's record cannot be written: {error}");
        }
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
        names: &MarkerNames,
        report: &mut RunReport,
    ) -> Result<()> {
        let (_folder, path, rows) = changes;
        let synced = self.destination.control().sync().await;
        synced.map_err(|e| self.destination.failed(e, "what was written cannot be made durable"))?;
        let previous = head.file.current.as_ref().filter(|c| c.view.same_root(&self.plan.view));
        let receipt = Receipt {
            format: RECEIPT_FORMAT,
            seq: head.file.seq + 1,
            run: self.plan.run.clone(),
            commit: self.plan.commit.clone(),
            metarange: self.plan.metarange.clone(),
            view: self.plan.view.clone(),
            view_digest: self.plan.view_digest.clone(),
            base: self.plan.base.clone(),
            previous: previous.map(|c| c.receipt.clone()),
            claim: self.plan.claim.clone(),
            supersedes: head.file.unfinished.iter().filter(|r| **r != self.plan.run).cloned().collect(),
            objects: self.plan.summary.objects,
            changes: rows,
            time: crate::clock::now(),
        };
        let folder = receipt::folder(receipt.seq, &receipt.commit, &receipt.run);
        if rows > 0 {
            planner::plan::upload_file(&path, &self.destination.metadata(&folder)?, "changes.parquet").await?;
        }
        self.destination.put_json(&format!("{folder}/receipt.json"), &receipt).await?;
        let finished = std::mem::take(&mut head.file.unfinished.clone());
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
        report.marker = Some(names.success.clone());
        for run in finished {
            self.destination.delete_all(&format!("{}/plan/", run_folder(&run))).await?;
        }
        Ok(())
    }

    /// Leaves a FAILURE marker, where that is possible at all.
    async fn fail(&self, names: &MarkerNames, report: &mut RunReport, failures: &[Failure]) {
        report.state = State::Failed;
        let text = marker::failure_text(report, failures);
        match marker::fail(self.destination, names, text, self.markers.keep_success).await {
            Ok(()) => report.marker = Some(names.failure.clone()),
            Err(error) => {
                tracing::warn!("{}: {error}", names.failure);
                if report.error.is_none() && report.copied + report.deleted == 0 {
                    report.fail(&Error::new(
                        ErrorKind::Unreachable,
                        format!("neither objects nor markers can be written: {error}"),
                    ));
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
    let names = MarkerNames { success: current.success.clone(), failure: String::new() };
    let text = marker::success_text(&current.run, &current.commit, current.objects, &current.view.selection);
    let written = head.file.marker == Some(MarkerState::Written);
    marker::finish(destination, &names, &text, keep_success, written).await?;
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
