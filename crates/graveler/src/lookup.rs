//! Opened tables that are kept for the next look-up, the least recently used let go first.
//!
//! With its table here, a look-up costs one block. At most [`CAPACITY`] tables are kept, with the
//! end and the index partitions of each.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::counters::Counters;
use crate::error::Result;
use crate::sstable::{ReadAt, Table};

/// How many tables are kept.
const CAPACITY: usize = 64;

/// A table that is open, or that the first look-up in it opens while others wait.
pub(crate) type Slot = Arc<OnceCell<Table>>;

/// Open tables by the id of their range.
#[derive(Debug, Default)]
pub(crate) struct OpenTables(Mutex<VecDeque<(String, Slot)>>);

impl OpenTables {
    /// The place of a range's table.
    pub(crate) fn slot(&self, id: &str) -> Slot {
        let mut tables = self.lock();
        let known = tables.iter().position(|(known, _)| known == id).and_then(|at| tables.remove(at));
        if tables.len() == CAPACITY {
            tables.pop_front();
        }
        let (id, slot) = known.unwrap_or_else(|| (id.to_owned(), Slot::default()));
        tables.push_back((id, Arc::clone(&slot)));
        slot
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Slot)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file whose reads are counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) file: Arc<dyn ReadAt>,
    pub(crate) counters: Arc<Counters>,
}

#[async_trait]
impl ReadAt for Counted {
    fn name(&self) -> &str {
        self.file.name()
    }

    async fn size(&self) -> Result<u64> {
        self.file.size().await
    }

    async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.file.read_at(range).await?;
        self.counters.read(bytes.len());
        Ok(bytes)
    }

    async fn read_tail(&self, len: u64) -> Result<(u64, Bytes)> {
        let (size, bytes) = self.file.read_tail(len).await?;
        self.counters.read(bytes.len());
        Ok((size, bytes))
    }
}
