//! `CopyExec`: plan rows in, outcome rows out.
//!
//! # Overview
//! One driver a partition takes rows while permits last, runs each as a task of its own, and gathers the outcomes into
//! batches of at most 1,024 rows or 200 ms. A slow reader of the outcomes stops the taking of rows.
//!
//! # Cancellation
//! A cancelled token stops the taking of rows; those under way end, those not taken have no outcome. A dropped stream stops
//! at once: requests that were sent may still be applied.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use planner::plan::Action;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CopySpec;
use super::object::Copier;
use super::row::{Outcome, Row, Rows, outcome_batch};
use crate::{OUTCOME_SCHEMA, Registry};

const BATCH_ROWS: usize = 1024;
const BATCH_WAIT: Duration = Duration::from_millis(200);

/// The operator that does the rows of a plan. As many partitions out as in.
#[derive(Debug)]
pub struct CopyExec {
    input: Arc<dyn ExecutionPlan>,
    spec: CopySpec,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    /// Rows under way, of all partitions together.
    permits: Arc<Semaphore>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CopyExec {
    /// Does the rows of `input` (columns of [`planner::plan::ROW_SCHEMA`], by name) as `spec` says.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: CopySpec, registry: Arc<Registry>, cancel: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(spec.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Self::with_permits(input, spec, registry, cancel, permits)
    }

    fn with_permits(
        input: Arc<dyn ExecutionPlan>,
        spec: CopySpec,
        registry: Arc<Registry>,
        cancel: CancellationToken,
        permits: Arc<Semaphore>,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&OUTCOME_SCHEMA)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, spec, registry, cancel, permits, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// What it was made with.
    #[must_use]
    pub fn spec(&self) -> &CopySpec {
        &self.spec
    }

    /// Where its rows come from.
    #[must_use]
    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for CopyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyExec: ")?;
        match &self.spec.lake_data {
            Some(data) => write!(f, "{data}")?,
            None => write!(f, "sources")?,
        }
        write!(f, " → {}, concurrency={}", self.spec.destination, self.spec.concurrency)
    }
}

impl ExecutionPlan for CopyExec {
    fn name(&self) -> &'static str {
        "CopyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Rows are not spread any further: a partition is a task with its own shard.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<datafusion::common::tree_node::TreeNodeRecursion>,
    ) -> Result<datafusion::common::tree_node::TreeNodeRecursion> {
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return Err(planner::Error::bug("CopyExec has one child").into());
        };
        let (spec, registry, cancel) = (self.spec.clone(), Arc::clone(&self.registry), self.cancel.clone());
        Ok(Arc::new(Self::with_permits(input, spec, registry, cancel, Arc::clone(&self.permits))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let copier = Copier::new(Arc::clone(&self.registry), self.spec.clone())?;
        let input = self.input.execute(partition, context)?;
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&OUTCOME_SCHEMA), 2);
        let driver = Driver {
            copier: Arc::new(copier),
            feed: Feed { input, rows: None, ended: false },
            permits: Arc::clone(&self.permits),
            cancel: self.cancel.clone(),
            running: JoinSet::new(),
            outcomes: Gathered::default(),
            counts: Counts::new(&self.metrics, partition),
            broken: None,
        };
        let send = stream.tx();
        stream.spawn(async move { Box::pin(driver.run(send)).await });
        Ok(stream.build())
    }
}

/// Counters that `EXPLAIN ANALYZE` shows.
#[derive(Debug)]
struct Counts {
    output_rows: Count,
    copied: Count,
    deleted: Count,
    failed: Count,
    bytes: Count,
}

impl Counts {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
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

/// Rows one by one from batches.
struct Feed {
    input: SendableRecordBatchStream,
    rows: Option<(Arc<Rows>, usize)>,
    ended: bool,
}

impl Feed {
    /// A permit, then a row for it. Dropped while it waits, it has taken no row.
    async fn next(&mut self, permits: &Arc<Semaphore>) -> Result<Option<(Row, OwnedSemaphorePermit)>> {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return Ok(None) };
        loop {
            if let Some((rows, at)) = &mut self.rows
                && *at < rows.len()
            {
                let row = Row::new(Arc::clone(rows), *at);
                *at += 1;
                return Ok(Some((row, permit)));
            }
            self.rows = None;
            let Some(batch) = self.input.next().await else { return Ok(None) };
            self.rows = Some((Rows::try_new(&batch?)?, 0));
        }
    }
}

/// Outcomes that wait for company.
#[derive(Default)]
struct Gathered {
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
struct Driver {
    copier: Arc<Copier>,
    feed: Feed,
    permits: Arc<Semaphore>,
    cancel: CancellationToken,
    running: JoinSet<Outcome>,
    outcomes: Gathered,
    counts: Counts,
    /// Why the input ended early. Rows under way still end, and their outcomes go out first.
    broken: Option<DataFusionError>,
}

impl Driver {
    async fn run(mut self, send: Sender<Result<RecordBatch>>) -> Result<()> {
        loop {
            let taking = !self.feed.ended && !self.cancel.is_cancelled();
            if !taking && self.running.is_empty() {
                break;
            }
            let due = self.outcomes.due_at();
            tokio::select! {
                () = self.cancel.cancelled(), if taking => {}
                next = self.feed.next(&self.permits), if taking => match next {
                    Ok(Some((row, permit))) => self.start(row, permit),
                    end => {
                        self.feed.ended = true;
                        self.broken = end.err();
                    }
                },
                Some(end) = self.running.join_next(), if !self.running.is_empty() => self.gather(end)?,
                () = until(due), if due.is_some() => {}
            }
            if self.outcomes.is_due() && !self.emit(&send).await? {
                return Ok(());
            }
        }
        self.emit(&send).await?;
        self.broken.map_or(Ok(()), Err)
    }

    fn start(&mut self, row: Row, permit: OwnedSemaphorePermit) {
        let copier = Arc::clone(&self.copier);
        self.running.spawn(async move {
            let end = Box::pin(copier.run(&row)).await;
            drop(permit);
            Outcome { row, end }
        });
    }

    fn gather(&mut self, end: std::result::Result<Outcome, JoinError>) -> Result<()> {
        let outcome =
            end.map_err(|error| DataFusionError::from(planner::Error::bug(format!("a row's task ended early: {error}"))))?;
        self.counts.add(&outcome);
        self.outcomes.push(outcome);
        Ok(())
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

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
