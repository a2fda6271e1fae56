//! `CopyExec`: plan rows in, outcome rows out.
//!
//! # Overview
//! One driver a partition ([`super::driver`]) looks ahead in its rows, runs each as a task of its own while permits last, and
//! gathers the outcomes into batches. A slow reader of the outcomes stops the taking of rows.
//!
//! # Cancellation
//! A cancelled token stops the taking of rows; those under way end, those not taken have no outcome. A dropped stream stops
//! at once: requests that were sent may still be applied.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use planner::Scheme;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::CopySpec;
use super::driver::{Counts, Driver, Gathered};
use super::feed::Feed;
use super::object::Copier;
use crate::journal::{Journal, Outcomes};
use crate::retry::Allowance;
use crate::{Fence, OUTCOME_SCHEMA, Registry};

/// The operator that does the rows of a plan. As many partitions out as in.
#[derive(Debug)]
pub struct CopyExec {
    input: Arc<dyn ExecutionPlan>,
    spec: CopySpec,
    registry: Arc<Registry>,
    cancel: CancellationToken,
    shared: Arc<Shared>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What a run keeps of its rows, and whether it may go on.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Where outcomes are written down.
    pub journal: Option<Arc<Journal>>,
    /// What earlier attempts did: those rows are not done again, their outcomes are told again.
    pub known: Option<Arc<Outcomes>>,
    /// Asked before every request that changes something.
    pub fence: Option<Arc<Fence>>,
}

/// What all partitions have together.
#[derive(Debug)]
pub(super) struct Shared {
    /// Rows under way.
    permits: Arc<Semaphore>,
    /// How many there may be.
    objects: usize,
    /// The retries of all rows.
    pub(super) retries: Arc<Allowance>,
    pub(super) ledger: Ledger,
    /// The destination refused conditional deletes.
    pub(super) takes_no_conditions: Arc<AtomicBool>,
}

impl Shared {
    fn new(spec: &CopySpec, ledger: Ledger) -> Self {
        let adapts = spec.destination.scheme() == Scheme::S3;
        let objects = spec.concurrency.objects(adapts).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(objects)),
            objects,
            retries: Arc::new(Allowance::new(spec.run_retries)),
            ledger,
            takes_no_conditions: Arc::default(),
        }
    }
}

impl CopyExec {
    /// Does the rows of `input` (columns of [`planner::plan::ROW_SCHEMA`], by name) as `spec` says.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: CopySpec, registry: Arc<Registry>, cancel: CancellationToken) -> Self {
        let shared = Arc::new(Shared::new(&spec, Ledger::default()));
        Self::sharing(input, spec, registry, cancel, shared)
    }

    /// The same with a journal, the outcomes of earlier attempts, and a fence.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        let shared = Arc::new(Shared::new(&self.spec, ledger));
        Self { shared, ..self }
    }

    fn sharing(
        input: Arc<dyn ExecutionPlan>,
        spec: CopySpec,
        registry: Arc<Registry>,
        cancel: CancellationToken,
        shared: Arc<Shared>,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&OUTCOME_SCHEMA)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, spec, registry, cancel, shared, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The same operator over other rows, with a stop and a ledger of its own: permits and retries are shared.
    #[must_use]
    pub fn for_task(&self, input: Arc<dyn ExecutionPlan>, cancel: CancellationToken, ledger: Ledger) -> Self {
        let Shared { permits, objects, retries, takes_no_conditions, .. } = self.shared.as_ref();
        let shared = Shared {
            permits: Arc::clone(permits),
            objects: *objects,
            retries: Arc::clone(retries),
            ledger,
            takes_no_conditions: Arc::clone(takes_no_conditions),
        };
        Self::sharing(input, self.spec.clone(), Arc::clone(&self.registry), cancel, Arc::new(shared))
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
        Ok(Arc::new(Self::sharing(input, spec, registry, cancel, Arc::clone(&self.shared))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let ledger = self.shared.ledger.clone();
        let copier = Copier::new(Arc::clone(&self.registry), self.spec.clone(), &self.shared)?;
        let input = self.input.execute(partition, context)?;
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&OUTCOME_SCHEMA), 2);
        let driver = Driver {
            copier: Arc::new(copier),
            feed: Feed::new(input, ledger.known, self.spec.ordered),
            journal: ledger.journal,
            permits: Arc::clone(&self.shared.permits),
            most_large: (self.shared.objects / 4).max(1),
            cancel: self.cancel.clone(),
            running: JoinSet::new(),
            large: 0,
            outcomes: Gathered::default(),
            counts: Counts::new(&self.metrics, partition),
            broken: None,
        };
        let send = stream.tx();
        stream.spawn(async move { Box::pin(driver.run(send)).await });
        Ok(stream.build())
    }
}

#[cfg(test)]
#[path = "exec_tests.rs"]
pub(in crate::copy) mod tests;
