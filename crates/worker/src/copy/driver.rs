//! What drives one partition: rows are started while permits last, outcomes are gathered into batches of at most 1,024 rows
//! or 200 ms.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use planner::plan::Action;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::{Feed, Work};
use super::object::Copier;
use super::row::{Outcome, outcome_batch};
use crate::journal::Journal;
use crate::stop;

const BATCH_ROWS: usize = 1024;
const BATCH_WAIT: Duration = Duration::from_millis(200);

/// What a task ends with: the outcomes of its rows, and whether it was a large object.
pub(super) enum Ended {
    One(Outcome, bool),
    Many(Vec<Outcome>),
}

/// Counters that `EXPLAIN ANALYZE` shows.
#[derive(Debug)]
pub(super) struct Counts {
    output_rows: Count,
    copied: Count,
    deleted: Count,
    failed: Count,
    bytes: Count,
}

impl Counts {
    pub(super) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            output_rows: MetricBuilder::new(metrics).output_rows(partition),
            copied: counter("objects_copied"),
            deleted: counter("objects_deleted"),
            failed: counter("objects_failed"),
            bytes: counter("bytes_copied"),
        }
    }

    fn add(&self, outcome: &Outcome) {
        match (&outcome.end, outcome.row.action()) {
            (Err(_), _) => self.failed.add(1),
            (Ok(done), Some(Action::Copy)) => {
                self.copied.add(1);
                self.bytes.add(usize::try_from(done.bytes).unwrap_or_default());
            }
            (Ok(_), _) => self.deleted.add(1),
        }
    }
}

/// Outcomes that wait for company.
#[derive(Default)]
pub(super) struct Gathered {
    outcomes: Vec<Outcome>,
    since: Option<Instant>,
}

impl Gathered {
    fn push(&mut self, outcome: Outcome) {
        self.since.get_or_insert_with(Instant::now);
        self.outcomes.push(outcome);
    }

    fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + BATCH_WAIT)
    }

    fn is_due(&self) -> bool {
        self.outcomes.len() >= BATCH_ROWS || self.due_at().is_some_and(|at| at <= Instant::now())
    }

    fn take(&mut self) -> Vec<Outcome> {
        self.since = None;
        std::mem::take(&mut self.outcomes)
    }
}

/// What drives one partition.
pub(super) struct Driver {
    pub(super) copier: Arc<Copier>,
    pub(super) feed: Feed,
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) permits: Arc<Semaphore>,
    /// Large objects that may be under way at once.
    pub(super) most_large: usize,
    pub(super) cancel: CancellationToken,
    pub(super) running: JoinSet<Ended>,
    /// Large objects that are.
    pub(super) large: usize,
    pub(super) outcomes: Gathered,
    pub(super) counts: Counts,
    /// Why the input ended early. Rows under way still end, and their outcomes go out first.
    pub(super) broken: Option<DataFusionError>,
}

impl Driver {
    pub(super) async fn run(mut self, send: Sender<Result<RecordBatch>>) -> Result<()> {
        loop {
            let taking = !self.feed.is_done() && !self.cancel.is_cancelled();
            if !taking && self.running.is_empty() {
                break;
            }
            let due = self.outcomes.due_at();
            tokio::select! {
                biased;
                () = self.cancel.cancelled(), if taking => self.feed.stop(),
                Some(end) = self.running.join_next(), if !self.running.is_empty() => self.gather(end)?,
                permit = Arc::clone(&self.permits).acquire_owned(), if taking && self.feed.has_work() => self.start(permit.ok()),
                read = self.feed.read(), if taking && self.feed.wants_more() => match read {
                    Ok(done) => done.into_iter().for_each(|outcome| self.keep(outcome)),
                    Err(error) => self.break_off(error),
                },
                () = until(due), if due.is_some() => {}
            }
            if self.outcomes.is_due() {
                self.keep_up().await;
                if !self.emit(&send).await? {
                    return Ok(());
                }
            }
        }
        if let Some(journal) = self.journal.take()
            && let Err(error) = journal.flush().await
        {
            self.broken.get_or_insert_with(|| not_journaled(&error));
        }
        self.emit(&send).await?;
        self.broken.map_or(Ok(()), Err)
    }

    /// No row is started any more; those under way end.
    fn break_off(&mut self, error: DataFusionError) {
        self.feed.stop();
        self.broken.get_or_insert(error);
    }

    /// Waits where outcomes come faster than the journal is written, and stops where it cannot be written.
    async fn keep_up(&mut self) {
        let Some(journal) = self.journal.clone() else { return };
        if journal.is_full() {
            // A failure is kept: it counts when it comes again and again.
            let _ = journal.flush().await;
        }
        if let Some(error) = journal.broken() {
            self.break_off(not_journaled(&error));
        }
    }

    /// Starts what is next. The semaphore is never closed: there is a permit.
    fn start(&mut self, permit: Option<OwnedSemaphorePermit>) {
        let copier = Arc::clone(&self.copier);
        match self.feed.next(self.large < self.most_large) {
            Some(Work::One(row, large)) => {
                self.large += usize::from(large);
                let run = stop::scope(self.cancel.clone(), async move {
                    let end = copier.fenced(copier.run(&row)).await;
                    drop(permit);
                    Ended::One(Outcome { row, end, replayed: false }, large)
                });
                self.running.spawn(run);
            }
            Some(Work::Deletes(rows)) => {
                let run = stop::scope(self.cancel.clone(), async move {
                    let ends = copier.fenced(copier.delete_many(&rows)).await;
                    drop(permit);
                    Ended::Many(rows.into_iter().zip(ends).map(|(row, end)| Outcome { row, end, replayed: false }).collect())
                });
                self.running.spawn(run);
            }
            Some(Work::NotTried(row, error)) => self.keep(Outcome { row, end: Err(error), replayed: false }),
            None => {}
        }
    }

    fn gather(&mut self, end: std::result::Result<Ended, JoinError>) -> Result<()> {
        let ended =
            end.map_err(|error| DataFusionError::from(planner::Error::bug(format!("a row's task ended early: {error}"))))?;
        match ended {
            Ended::One(outcome, large) => {
                self.large -= usize::from(large);
                self.keep(outcome);
            }
            Ended::Many(outcomes) => outcomes.into_iter().for_each(|outcome| self.keep(outcome)),
        }
        Ok(())
    }

    fn keep(&mut self, outcome: Outcome) {
        // What a stop held back has no outcome: it is done by whoever goes on.
        if self.cancel.is_cancelled() && outcome.end.as_ref().is_err_and(|error| stop::is_left(error.kind)) {
            return;
        }
        self.feed.ended(&outcome);
        self.counts.add(&outcome);
        if let Some(journal) = self.journal.as_ref().filter(|_| !outcome.replayed) {
            journal.record(outcome.entry());
        }
        self.outcomes.push(outcome);
    }

    /// Sends what is gathered; false when nobody listens any more.
    async fn emit(&mut self, send: &Sender<Result<RecordBatch>>) -> Result<bool> {
        let outcomes = self.outcomes.take();
        if outcomes.is_empty() {
            return Ok(true);
        }
        let batch = outcome_batch(&outcomes)?;
        self.counts.output_rows.add(batch.num_rows());
        Ok(send.send(Ok(batch)).await.is_ok())
    }
}

fn not_journaled(error: &crate::StoreError) -> DataFusionError {
    let error = match error.kind {
        crate::FailureKind::Fenced => planner::Error::guard(error.message.clone()),
        _ => planner::Error::unreachable(format!("the run's journal cannot be written: {error}"))
            .with_help("run the same command again when the destination can be written: what was done is not done again"),
    };
    error.into()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
