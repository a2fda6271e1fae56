//! The operator below both tables: clusters in, batches out, only the columns asked for.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DFResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::TryStreamExt;
use graveler::Namespace;

use super::bounds::PathBounds;
use super::cluster::Clusters;
use super::merge::{DiffBatch, MergeSpec};
use super::stream::merge_clusters;
use crate::error::{Error, Result};

/// Makes the columns of a table, all of them, from a batch of the merge; columns that were not asked for may be null.
pub(crate) type ToColumns = fn(&DiffBatch) -> Result<Vec<ArrayRef>>;

/// What a scan reads and shows.
#[derive(Debug, Clone)]
pub(crate) struct ScanSpec {
    pub name: &'static str,
    /// What is scanned, for `EXPLAIN`.
    pub what: String,
    pub namespace: Namespace,
    pub clusters: Clusters,
    pub merge: MergeSpec,
    pub bounds: PathBounds,
    pub columns: ToColumns,
    /// Positions of the table's columns that are wanted.
    pub projection: Vec<usize>,
    /// The table's columns after the projection.
    pub schema: SchemaRef,
    /// Rows, where they are known without reading.
    pub rows: Option<usize>,
}

/// A leaf with one partition: batches come in key order, clusters are read ahead in parallel.
#[derive(Debug)]
pub(crate) struct ScanExec {
    spec: ScanSpec,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    pub(crate) fn new(spec: ScanSpec) -> Self {
        let equivalence = EquivalenceProperties::new(Arc::clone(&spec.schema));
        let partitioning = Partitioning::UnknownPartitioning(1);
        let properties = PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Self { spec, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = &self.spec;
        let columns: Vec<_> = spec.schema.fields().iter().map(|c| c.name().as_str()).collect();
        write!(f, "{}: {}, projection=[{}]", spec.name, spec.what, columns.join(", "))?;
        if !spec.merge.part.is_all() {
            write!(f, ", prefix={:?}", spec.merge.part.as_str())?;
        }
        if !spec.bounds.is_all() {
            write!(f, ", pushed=[{}]", spec.bounds)?;
        }
        write!(f, ", ranges={}/{}", spec.clusters.ranges_to_open(), spec.clusters.ranges_total)
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        self.spec.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DFResult<TreeNodeRecursion>,
    ) -> DFResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DFResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DFResult<SendableRecordBatchStream> {
        let spec = self.spec.clone();
        let schema = Arc::clone(&spec.schema);
        let batches =
            merge_clusters((spec.namespace.clone(), spec.namespace.clone()), spec.clusters.clusters.clone(), spec.merge.clone());
        let rows = batches.and_then(move |batch| std::future::ready(project(&spec, &batch))).map_err(Into::into);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn partition_statistics(&self, _: Option<usize>) -> DFResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.spec.schema);
        statistics.num_rows = self.spec.rows.map_or(Precision::Absent, Precision::Exact);
        Ok(Arc::new(statistics))
    }
}

fn project(spec: &ScanSpec, batch: &DiffBatch) -> Result<RecordBatch> {
    let all = (spec.columns)(batch)?;
    let columns = spec.projection.iter().map(|i| Arc::clone(&all[*i])).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
    RecordBatch::try_new_with_options(Arc::clone(&spec.schema), columns, &options)
        .map_err(|e| Error::bug(format!("{}: {e}", spec.name)))
}
