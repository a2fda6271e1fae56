//! Opened tables that are kept for the next look-up, the least recently used let go first.
//!
//! With its table here, a look-up costs one block. At most [`CAPACITY`] tables are kept, with the
//! end and the index partitions of each.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::counters::Counters;
use crate::error::Result;
use crate::sstable::{ReadAt, Table};

/// How many tables are kept.
const CAPACITY: usize = 64;

/// Open tables by the id of their range.
#[derive(Debug, Default)]
pub(crate) struct OpenTables(Mutex<VecDeque<(String, Table)>>);

impl OpenTables {
    pub(crate) fn get(&self, id: &str) -> Option<Table> {
        let mut tables = self.lock();
        let at = tables.iter().position(|(known, _)| known == id)?;
        let found = tables.remove(at)?;
        let table = found.1.clone();
        tables.push_back(found);
        Some(table)
    }

    pub(crate) fn put(&self, id: &str, table: Table) {
        let mut tables = self.lock();
        tables.retain(|(known, _)| known != id);
        if tables.len() == CAPACITY {
            tables.pop_front();
        }
        tables.push_back((id.to_owned(), table));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Table)>> {
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
