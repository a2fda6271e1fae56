//! Rounds: the steps of a plan, one after the other, each a barrier.
//!
//! A step is a query: scan of its shards, then the copy operator. The next step starts when every row of this one has an
//! outcome and all are successes; in a failing step the rows go on to their end, so that as much as possible is done.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use planner::plan::{Action, PlanFile, ROW_SCHEMA, Round, Step};
use planner::round::Rounds;
use planner::{Error, Location, Named, Result};
use tokio_util::sync::CancellationToken;
use worker::copy::{CopyExec, CopySpec, Ledger};
use worker::outcome::OVERWRITTEN;
use worker::{FailureKind, Registry};

use crate::failures::FailureList;
use crate::lease::Lease;
use crate::progress::{Progress, RoundProgress};
use crate::receipt::ChangesWriter;
use crate::report::{Failure, RoundReport};
use crate::session::{Files, session};

/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_millis(200);

/// How long a run that was stopped waits for what is in flight. The journal, the record and the lease come after it.
const GRACE: Duration = Duration::from_secs(5);

/// What executing a plan needs.
#[derive(Debug)]
pub(crate) struct Execution<'a> {
    /// The plan.
    pub plan: &'a PlanFile,
    /// Which of its steps are run, counted from 0 through all rounds.
    pub steps: Range<usize>,
    /// Its shards.
    pub files: planner::MetadataStore,
    /// What the operator is told.
    pub spec: CopySpec,
    /// The stores at hand.
    pub registry: &'a Arc<Registry>,
    /// Its token stops the taking of rows; what is in flight is waited for before markers are published.
    pub lease: &'a Arc<Lease>,
    /// Journal, earlier outcomes, fence.
    pub ledger: Ledger,
    /// Where the steps run, when not here.
    pub elsewhere: Elsewhere<'a>,
}

/// A cluster, where steps run there.
#[cfg(feature = "cluster")]
pub(crate) type Elsewhere<'a> = Option<crate::cluster::ClusterSession<'a>>;
/// Nowhere: there are no clusters.
#[cfg(not(feature = "cluster"))]
pub(crate) type Elsewhere<'a> = std::marker::PhantomData<&'a ()>;

/// How the rounds ended.
#[derive(Debug, Default)]
pub(crate) struct Executed {
    /// One entry a round.
    pub rounds: Vec<RoundReport>,
    /// The first failed rows, at most as many as a FAILURE marker lists.
    pub failures: Vec<Failure>,
    /// All of them.
    pub list: Option<FailureList>,
    /// Failed rows whose failure is not theirs: any other row would have met it at that store as well.
    pub of_the_store: u64,
    /// Failed rows whose bucket is not there: whatever was done before, nothing more can be.
    pub of_the_bucket: u64,
    /// Deleted objects that somebody else had written since the last export.
    pub overwritten: Named,
    /// All rows are done.
    pub complete: bool,
}

impl Executed {
    /// What a person should know of deletes.
    pub(crate) fn note(&self) -> Option<String> {
        self.overwritten.note("object(s) were deleted that somebody else had written under keys of the last export")
    }

    /// Why nothing could be done in the round that failed, where that is so: no single object is to blame then.
    pub(crate) fn out_of_reach(&self, destination: &Location) -> Option<Error> {
        let round = self.rounds.iter().find(|round| round.failed > 0)?;
        let is_bucket_gone = round.failed == self.of_the_bucket;
        if !is_bucket_gone && (round.copied + round.deleted > 0 || round.failed > self.of_the_store) {
            return None;
        }
        let first = self.failures.first()?;
        let source = first.source.as_deref().and_then(|address| Location::parse(address).ok());
        let source = source.map(|at| format!(" and {}", Location::new(at.scheme(), at.bucket(), ""))).unwrap_or_default();
        let done = if is_bucket_gone { "nothing more" } else { "nothing" };
        let error = Error::unreachable(format!("{done} could be done in the round `{}`: {}", round.name, first.error));
        if is_bucket_gone {
            return Some(error.with_help(format!("a bucket is not there any more: look for those of {destination}{source}")));
        }
        Some(error.with_help(format!("check the credentials and the settings for {destination}{source}")))
    }
}

impl Execution<'_> {
    /// Runs the steps, round by round. Changes go to `changes`; failed rows are in the answer.
    ///
    /// # Errors
    /// What is not one row's: shards that cannot be read, counts that do not agree.
    pub(crate) async fn run(
        &self,
        changes: &mut ChangesWriter,
        executed: &mut Executed,
        progress: &dyn Progress,
        mut told: impl AsyncFnMut(&Executed),
    ) -> Result<()> {
        let context = session();
        let files = Files::mount(&context, 0, &self.files)?;
        executed.complete = true;
        let mut at = 0;
        for round in &self.plan.rounds {
            let steps = round.steps.iter().zip(at..).filter(|(_, at)| self.steps.contains(at)).map(|(step, _)| step);
            let steps: Vec<&Step> = steps.collect();
            at += round.steps.len();
            executed.rounds.push(RoundReport { round: round.round, name: round.name.clone(), ..RoundReport::default() });
            let rows = steps.iter().map(|step| step.rows()).sum();
            if !executed.complete || rows == 0 {
                skip(executed, rows);
                continue;
            }
            // Nothing that was sent before may still change what a marker speaks for.
            if round.round > Rounds::DATA && !self.lease.settled(|text| progress.note(text)).await {
                executed.complete = false;
                skip(executed, rows);
                continue;
            }
            progress.round_started(round);
            let mut now = RoundProgress::default();
            for step in steps {
                if executed.complete {
                    self.step((&context, &files), (round, step), &mut now, changes, executed, (progress, &mut told)).await?;
                } else {
                    skip(executed, step.rows());
                }
            }
            progress.round_ended(round, now);
        }
        Ok(())
    }

    async fn step(
        &self,
        (context, files): (&SessionContext, &Files),
        (round, step): (&Round, &Step),
        now: &mut RoundProgress,
        changes: &mut ChangesWriter,
        executed: &mut Executed,
        (progress, told_to): (&dyn Progress, &mut impl AsyncFnMut(&Executed)),
    ) -> Result<()> {
        let mut outcomes = self.outcomes((context, files), (round, step), *now, progress).await?;
        let before = (now.done, now.failed);
        let mut told = Instant::now();
        let mut given_up = std::pin::pin!(given_up(self.lease.stop()));
        let ended = loop {
            let batch = tokio::select! {
                biased;
                batch = outcomes.next() => batch,
                () = &mut given_up => {
                    self.abandon();
                    None
                }
            };
            let Some(batch) = batch else { break Ok(()) };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => break Err(Error::from(error)),
            };
            count(&batch, now, executed)?;
            FailureList::add(&mut executed.list, &batch)?;
            changes.append(&batch)?;
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                progress.round_progress(round, *now);
                told_to(executed).await;
            }
        };
        drop(outcomes);
        if let Some(journal) = &self.ledger.journal {
            let flushed = journal.flush().await;
            flushed.map_err(|e| e.into_error(&self.plan.destination, "the run's journal cannot be written"))?;
        }
        ended?;
        let (done, failed) = (now.done - before.0, now.failed - before.1);
        executed.complete &= failed == 0 && done == step.rows();
        if done + failed > step.rows() || (done + failed < step.rows() && !self.lease.stop().is_cancelled()) {
            return Err(Error::bug(format!(
                "round {} ({}): {} rows were planned, {} have outcomes",
                round.round,
                step.action.as_str(),
                step.rows(),
                done + failed
            )));
        }
        skip(executed, step.rows() - done - failed);
        Ok(())
    }
}

impl Execution<'_> {
    /// The outcomes of a step's rows, as they come. Ordered rows run here, one executor or many: their order is what counts.
    #[cfg_attr(not(feature = "cluster"), expect(unused_variables, reason = "a cluster tells of its progress itself"))]
    async fn outcomes(
        &self,
        (context, files): (&SessionContext, &Files),
        (round, step): (&Round, &Step),
        now: RoundProgress,
        progress: &dyn Progress,
    ) -> Result<SendableRecordBatchStream> {
        let table = files.table(step.shards.iter().map(|s| s.file.as_str()), &ROW_SCHEMA)?;
        let scan = context.read_table(table)?.create_physical_plan().await?;
        #[cfg(feature = "cluster")]
        if let Some(cluster) = self.elsewhere.as_ref().filter(|_| !step.ordered) {
            let rows = execute_stream(scan, context.task_ctx())?;
            return Box::pin(cluster.step((round, step), rows, now, progress)).await;
        }
        let spec = CopySpec { ordered: step.ordered, ..self.spec.clone() };
        let copy =
            CopyExec::new(scan, spec, Arc::clone(self.registry), self.lease.stop().clone()).with_ledger(self.ledger.clone());
        Ok(execute_stream(Arc::new(copy), context.task_ctx())?)
    }

    /// What is in flight is not waited for any longer: it is in doubt for as long as a request may take.
    fn abandon(&self) {
        self.lease.fence().doubt(self.spec.longest_request(self.plan.largest()));
    }
}

/// Returns when a stopped run has waited long enough for what is in flight.
async fn given_up(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn skip(executed: &mut Executed, rows: u64) {
    if let Some(round) = executed.rounds.last_mut() {
        round.skipped += rows;
    }
}

/// Counts a batch of outcomes and keeps its failures.
fn count(batch: &RecordBatch, now: &mut RoundProgress, executed: &mut Executed) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::bug(format!("outcomes have no column `{name}`")));
    let (ok, bytes) = (column("ok")?.as_boolean(), column("bytes")?.as_primitive::<Int64Type>());
    let text = |name: &str| column(name).map(AsArray::as_string::<i32>);
    let (action, key, source, error) = (text("action")?, text("key")?, text("source")?, text("error")?);
    let (kind, proof) = (text("error_kind")?, text("proof")?);
    let Some(report) = executed.rounds.last_mut() else { return Err(Error::bug("outcomes outside a round")) };
    for i in 0..batch.num_rows() {
        if ok.value(i) {
            let payload = bytes.value(i).unsigned_abs();
            now.done += 1;
            now.bytes += payload;
            report.bytes += payload;
            match Action::parse(action.value(i)) {
                Some(Action::Copy) => report.copied += 1,
                Some(Action::Retract) if report.round != Rounds::RETRACT => {
                    report.deleted += 1;
                    report.retracted += 1;
                }
                _ => report.deleted += 1,
            }
            if proof.is_valid(i) && proof.value(i) == OVERWRITTEN {
                executed.overwritten.add(key.value(i).to_owned());
            }
            continue;
        }
        now.failed += 1;
        report.failed += 1;
        let kind = kind.is_valid(i).then(|| FailureKind::parse(kind.value(i))).flatten();
        executed.of_the_store += u64::from(kind.is_some_and(FailureKind::is_of_the_store));
        executed.of_the_bucket += u64::from(kind == Some(FailureKind::NoBucket));
        if executed.failures.len() < crate::marker::MAX_LOGGED_FAILURES {
            executed.failures.push(Failure {
                key: key.value(i).to_owned(),
                action: action.value(i).to_owned(),
                source: source.is_valid(i).then(|| source.value(i).to_owned()),
                error: if error.is_valid(i) { error.value(i).to_owned() } else { "failed without a reason".to_owned() },
            });
        }
    }
    Ok(())
}
