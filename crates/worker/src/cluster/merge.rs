//! Merging ranges of a lake's metadata on a cluster: parts of a difference in, their rows out.
//!
//! Nothing is changed, so nothing is fenced: a part that is merged twice gives the same rows twice, and whoever asked takes one
//! of them. The rows wait at the executor until they are fetched.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use planner::table::{MERGED_SCHEMA, MergePart, merge_part};
use planner::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::attempt::stopped;
use super::site::Site;
use super::task::MergeJob;
use super::told::told_to_engine;

/// Parts as a table, a partition each: their text is in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartsTable(Vec<String>);

impl PartsTable {
    pub(super) fn new(parts: &[MergePart]) -> Result<Self> {
        let texts: serde_json::Result<Vec<_>> = parts.iter().map(serde_json::to_string).collect();
        texts.map(Self).map_err(|e| Error::bug(format!("a part of a merge cannot be sent: {e}")))
    }
}

#[async_trait]
impl TableProvider for PartsTable {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("part", DataType::Utf8, false)]))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let one = |text: &String| {
            let batch = RecordBatch::try_new(self.schema(), vec![Arc::new(StringArray::from(vec![text.as_str()]))]);
            batch.map(|batch| vec![batch])
        };
        let partitions: std::result::Result<Vec<_>, _> = self.0.iter().map(one).collect();
        Ok(MemorySourceConfig::try_new_exec(&partitions?, self.schema(), projection.cloned())?)
    }
}

/// The rows of the parts in `input`'s partition.
pub(super) fn merging(
    site: &Arc<Site>,
    job: MergeJob,
    begin: CancellationToken,
    (input, partition): (Arc<dyn ExecutionPlan>, usize),
    context: Arc<TaskContext>,
) -> SendableRecordBatchStream {
    let registry = Arc::clone(site.registry());
    let work = async move {
        let mut parts: Vec<BoxStream<'static, Result<RecordBatch>>> = Vec::new();
        let mut rows = input.execute(partition, context)?;
        while let Some(batch) = rows.try_next().await? {
            for text in batch.column(0).as_string::<i32>().iter().flatten() {
                let part: MergePart =
                    serde_json::from_str(text).map_err(|e| Error::usage(format!("the executor cannot read a task: {e}")))?;
                parts.push(merge_part(registry.as_ref(), &job.merge, &part)?);
            }
        }
        Ok::<_, Error>(stream::iter(parts).flatten())
    };
    let rows = stream::once(work).try_flatten();
    let rows = rows.and_then(move |batch| std::future::ready(if begin.is_cancelled() { Err(stopped()) } else { Ok(batch) }));
    let rows = rows.map_err(|error| told_to_engine(&error));
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&MERGED_SCHEMA), rows))
}
