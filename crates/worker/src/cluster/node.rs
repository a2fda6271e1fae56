//! The copy as the scheduler plans it, and the operator that a task of it runs.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, ToDFSchema};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use planner::Error;

use super::site::Site;
use super::task::Sealed;

/// The rows of `input`, done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CopyNode {
    pub(super) input: LogicalPlan,
    pub(super) task: Sealed,
    schema: DFSchemaRef,
}

impl CopyNode {
    pub(super) fn new(input: LogicalPlan, task: Sealed) -> Result<Self> {
        let schema = task.schema().to_dfschema_ref()?;
        Ok(Self { input, task, schema })
    }

    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

impl PartialOrd for CopyNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.task.id().partial_cmp(other.task.id())
    }
}

impl UserDefinedLogicalNodeCore for CopyNode {
    fn name(&self) -> &'static str {
        "Copy"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copy: {}", self.task.destination())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) if inputs.is_empty() => Self::new(input, self.task.clone()),
            _ => Err(Error::bug("a copy has one input").into()),
        }
    }

    /// All columns: the operator finds them by name.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Plans queries that may hold a [`CopyNode`].
#[derive(Debug)]
pub(super) struct Planner;

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(copy) = node.as_any().downcast_ref::<CopyNode>() else { return Ok(None) };
        let [input] = inputs else { return Err(Error::bug("a copy has one input").into()) };
        Ok(Some(Arc::new(TaskExec::new(Arc::clone(input), copy.task.clone(), None))))
    }
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)]).create_physical_plan(plan, session).await
    }
}

/// Runs a task's rows through the executor's [`crate::CopyExec`] of the same run.
#[derive(Debug)]
pub(super) struct TaskExec {
    pub(super) input: Arc<dyn ExecutionPlan>,
    pub(super) task: Sealed,
    /// `None` where plans are made and not run.
    site: Option<Arc<Site>>,
    properties: Arc<PlanProperties>,
}

impl TaskExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, task: Sealed, site: Option<Arc<Site>>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(task.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, task, site, properties: Arc::new(properties) }
    }
}

impl DisplayAs for TaskExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskExec: run={} → {}", self.task.id(), self.task.destination())
    }
}

impl ExecutionPlan for TaskExec {
    fn name(&self) -> &'static str {
        "TaskExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// A shard is a task: its rows are not spread any further.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self::new(input, self.task.clone(), self.site.clone()))),
            _ => Err(Error::bug("TaskExec has one child").into()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(site) = &self.site else { return Err(Error::bug("a plan was run where plans are only made").into()) };
        Ok(site.run(&self.task, Arc::clone(&self.input), partition, context))
    }
}
