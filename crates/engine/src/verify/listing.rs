//! The listing of a destination as a table, for the sort that brings it together with the receipts.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Result as DFResult;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, stream};
use planner::{Error, Result};
use tokio::sync::mpsc;
use worker::store::Listed;
use worker::{FailureKind, Store};

use crate::destination::Destination;

/// Objects in one batch: as many as a page of a listing has.
const BATCH: usize = 1000;

/// Batches that a listing may be ahead.
const AHEAD: usize = 4;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("etag", DataType::Utf8, true),
    ]))
});

/// Everything at the destination: `key`, `size`, `etag`. Can be read once.
pub(super) fn table(destination: &Destination) -> Result<StreamingTable> {
    let (send, receive) = mpsc::channel(AHEAD);
    let (store, place) = (destination.data()?, destination.clone());
    let partition = Listing { receive: Mutex::new(Some(receive)), start: Mutex::new(Some((send, store, place))) };
    Ok(StreamingTable::try_new(Arc::clone(&SCHEMA), vec![Arc::new(partition)])?)
}

type Batches = mpsc::Receiver<DFResult<RecordBatch>>;
type Start = (mpsc::Sender<DFResult<RecordBatch>>, Arc<dyn Store>, Destination);

#[derive(Debug)]
struct Listing {
    receive: Mutex<Option<Batches>>,
    start: Mutex<Option<Start>>,
}

impl PartitionStream for Listing {
    fn schema(&self) -> &SchemaRef {
        &SCHEMA
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let take = |slot: &Mutex<Option<Start>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(start) = take(&self.start) {
            tokio::spawn(list(start));
        }
        let batches = match self.receive.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(receive) => stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) }).boxed(),
            None => stream::iter([Err(Error::bug("a listing was read twice").into())]).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCHEMA), batches))
    }
}

/// Sends the listing until nobody reads it any more.
async fn list((send, store, place): Start) {
    let mut listing = store.list("").chunks(BATCH);
    while let Some(chunk) = listing.next().await {
        let mut found = Vec::with_capacity(chunk.len());
        let mut failed = None;
        for one in chunk {
            match one {
                Ok(one) => found.push(one),
                Err(error) if error.kind == FailureKind::NotFound => {}
                Err(error) => {
                    failed.get_or_insert_with(|| {
                        let at = place.location();
                        error.into_error(at, format!("{at}: it cannot be listed"))
                    });
                }
            }
        }
        let next = match failed {
            Some(error) => Err(error.into()),
            None => batch(&found),
        };
        let over = next.is_err();
        if send.send(next).await.is_err() || over {
            return;
        }
    }
}

fn batch(found: &[Listed]) -> DFResult<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(found.iter().map(|l| &l.key))),
        Arc::new(Int64Array::from_iter_values(found.iter().map(|l| i64::try_from(l.size).unwrap_or(i64::MAX)))),
        Arc::new(found.iter().map(|l| l.etag.as_deref()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).map_err(DataFusionError::from)
}
