//! Running tasks: none but ours, and cancelling one until it reaches the operator.
//!
//! Ballista drops a cancelled task's outer future, while the streams inside go on in tasks of their own. So the outer future
//! holds a guard here, and the operator asks [`Site`] for the token that the guard cancels.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::{RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport};
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use planner::Error;

use super::node::TaskExec;
use super::site::Site;
use super::told::told_to_engine;

/// Ballista's engine, with tasks that can be cancelled.
pub(super) struct Engine {
    ballista: DefaultExecutionEngine,
    site: Arc<Site>,
}

impl Engine {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self { ballista: DefaultExecutionEngine::new(), site }
    }
}

impl ExecutionEngine for Engine {
    fn create_query_stage_exec(
        &self,
        job: JobId,
        stage: usize,
        task: usize,
        partitions: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        folder: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        if !is_ours(&plan) {
            let error =
                Error::usage(format!("a plan that is none of Millrace's was refused: {}", displayable(plan.as_ref()).one_line()));
            return Err(told_to_engine(&error));
        }
        let stage = self.ballista.create_query_stage_exec(job, stage, task, partitions, plan, folder, config)?;
        Ok(Arc::new(Stage { stage, site: Arc::clone(&self.site) }))
    }
}

/// Ballista's writer of results, our operator, a scan: nothing else is run.
fn is_ours(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.downcast_ref::<TaskExec>() {
        Some(task) => task.input.downcast_ref::<DataSourceExec>().is_some(),
        None => plan.name().contains("ShuffleWriter") && matches!(plan.children()[..], [child] if is_ours(child)),
    }
}

#[derive(Debug)]
struct Stage {
    stage: Arc<dyn QueryStageExecutor>,
    site: Arc<Site>,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stage.fmt(f)
    }
}

#[async_trait]
impl QueryStageExecutor for Stage {
    async fn execute_query_stage(&self, task: usize, context: Arc<TaskContext>) -> Result<Vec<ShuffleWritePartition>> {
        let _guard = self.site.begin(context.task_id().unwrap_or_default());
        self.stage.execute_query_stage(task, context).await
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.stage.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.stage.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.stage.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.stage.collect_column_stats()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_plan::empty::EmptyExec;
    use planner::Location;

    use super::*;
    use crate::cluster::task::Sealed;
    use crate::cluster::{CopyTask, ReadTask, Task, Token};

    #[test]
    fn only_our_operator_over_a_scan_is_run() {
        let at = Location::parse("s3://out/x/").unwrap();
        let read = ReadTask {
            millrace: CopyTask::VERSION.to_owned(),
            id: "R".to_owned(),
            destination: at.clone(),
            results: at,
            at_once: 1,
        };
        let schema = Task::from(&read).schema();
        let task = |input| -> Arc<dyn ExecutionPlan> {
            let sealed = Sealed::new(Task::from(&read), &Token::default()).unwrap();
            Arc::new(TaskExec::new(input, sealed, None))
        };
        let scan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&[vec![]], Arc::clone(&schema), None).unwrap();
        assert!(is_ours(&task(Arc::clone(&scan))));
        assert!(!is_ours(&scan), "a scan alone would hand out what it reads");
        let empty: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema));
        assert!(!is_ours(&empty) && !is_ours(&task(empty)));
    }
}
