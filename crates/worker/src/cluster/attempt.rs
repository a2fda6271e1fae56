//! One attempt of one task: a shard's rows, journalled, between two marks that tell the driver that it began and how it ended.
//!
//! ```text
//! lease holds ─▶ mark: begun ─▶ what earlier attempts did ─▶ rows, journal ─▶ mark: ended
//! ```
//! The driver passes its barriers when every attempt has reported; for one that did not it waits until no request of it can be
//! applied any more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{StreamExt, TryStreamExt};
use planner::{Error, ErrorKind, Result};
use rand::Rng;

use super::CopyTask;
use super::marks::Mark;
use super::site::{Site, Stops};
use crate::copy::Ledger;
use crate::journal::{Journal, Outcomes};
use crate::{FailureKind, RequestClass};

/// What an attempt works on.
pub(super) struct Attempt {
    pub(super) site: Arc<Site>,
    pub(super) task: CopyTask,
    pub(super) stops: Stops,
    pub(super) context: Arc<TaskContext>,
}

impl Attempt {
    /// Does the rows of `input`'s partition.
    pub(super) async fn run(self, input: Arc<dyn ExecutionPlan>, partition: usize) -> Result<()> {
        let watch = self.site.watch(&self.task)?;
        watch.holds(&self.task).await?;
        let mut rows = input.execute(partition, Arc::clone(&self.context))?;
        let Some(first) = rows.try_next().await? else { return Ok(()) };
        let shard = shard_of(&first)?;
        let id = format!("{:016x}", rand::rng().random::<u64>());
        let registry = self.site.registry();
        let mark = Mark::begin(registry, &self.task, shard, &id, &watch.fence).await?;
        let store = registry.open(&self.task.journal().join(&format!("{shard}/")), RequestClass::Control)?;
        let data = registry.open(&self.task.copy.destination, RequestClass::Data)?;
        let spool = tempfile::tempdir().map_err(|e| {
            Error::unreachable(format!("no temporary folder can be made: {e}"))
                .with_help("set the executor's TMPDIR to a folder with room and permission")
        })?;
        let known = Outcomes::so_far(&store, spool.path()).await?;
        let fence = Arc::clone(&watch.fence);
        let ledger = Ledger {
            journal: Some(Journal::start(store, data, self.task.lease.generation, Some(Arc::clone(&fence)))),
            known: Some(Arc::new(known)).filter(|known| !known.is_empty()),
            fence: Some(Arc::clone(&fence)),
        };
        let input = replayed(first, rows)?;
        let copy = self.site.operator(&self.task, &input).for_task(input, self.stops.begin.clone(), ledger);
        let outcomes = copy.execute(0, Arc::clone(&self.context))?;
        let over = async {
            watch.over.cancelled().await;
            self.stops.cancel();
            self.stops.overdue().await;
        };
        let fenced = tokio::select! {
            fenced = drain(outcomes) => fenced?,
            () = self.stops.overdue() => return Err(stopped()),
            () = over => return Err(stopped()),
        };
        mark.end(fence.doubt_left()).await?;
        if self.stops.begin.is_cancelled() {
            return Err(stopped());
        }
        if fenced {
            return Err(Error::guard("the executor lost sight of the lease"));
        }
        Ok(())
    }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the task was stopped: it was cancelled, its run is over, or its executor leaves")
}

/// Reads outcomes, which the journal has, to their end. Whether rows were held up by the fence.
async fn drain(mut outcomes: SendableRecordBatchStream) -> Result<bool> {
    let mut fenced = false;
    while let Some(batch) = outcomes.next().await {
        let batch = batch?;
        let kinds = batch.column_by_name("error_kind").map(|column| column.as_string::<i32>().clone());
        fenced |= kinds.is_some_and(|kinds| kinds.iter().flatten().any(|kind| kind == FailureKind::Fenced.as_str()));
    }
    Ok(fenced)
}

/// The shard that the rows of `batch` are in.
pub(super) fn shard_of(batch: &RecordBatch) -> Result<i32> {
    let column = batch.column_by_name("shard").and_then(|column| column.as_primitive_opt::<Int32Type>());
    column.filter(|_| batch.num_rows() > 0).map(|column| column.value(0)).ok_or_else(|| Error::bug("rows without a shard"))
}

/// Rows of which the first were read already.
struct Rows {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| {
            let twice = DataFusionError::from(Error::bug("the rows of a task were read twice"));
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), futures::stream::iter([Err(twice)])))
        })
    }
}

fn replayed(first: RecordBatch, rest: SendableRecordBatchStream) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = rest.schema();
    let all = futures::stream::iter([Ok(first)]).chain(rest);
    let all: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), all));
    let rows = Rows { schema: Arc::clone(&schema), rows: Mutex::new(Some(all)) };
    Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, vec![], false, None)?))
}
