//! A run of records that becomes ranges apart from all others.
//!
//! The work of the processor (blocks, compression, hashes) is done on blocking tasks, a batch at a
//! time, so that it neither holds up the runtime nor outlives a dropped writer by more than a batch.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinError, spawn_blocking};

use super::{Piece, WriteCounts};
use crate::error::{Error, ErrorKind, Result};
use crate::range_writer::{Buffers, RangeWriter};
use crate::sink::{MetadataSink, Stored};
use crate::sstable::FinishedTable;
use crate::value;

/// How many bytes a batch gathers: enough to be worth a task.
const BATCH_LEN: usize = 512 << 10;

/// Batches, each with its share of the budget.
pub(super) type BatchSender = mpsc::Sender<Ticket>;
type Ticket = (Batch, Option<OwnedSemaphorePermit>);

/// Records that wait to be built.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Lengths>,
}

#[derive(Clone, Copy, Debug)]
struct Lengths {
    key: u32,
    framed: u32,
    /// Whether the key's hash ends its range.
    picked: bool,
}

impl Batch {
    /// Makes it ready for other records, with the memory it has.
    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, key: &[u8], identity: &[u8], data: &[u8], picked: bool) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(BATCH_LEN + BATCH_LEN / 8);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        value::frame(identity, data, &mut self.bytes);
        let framed = self.bytes.len() - start - key.len();
        self.records.push(Lengths { key: length(key.len()), framed: length(framed), picked });
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_LEN
    }

    /// Writes the records; gives the ranges that ended with one of them.
    fn write_to(&self, writer: &mut RangeWriter) -> Result<Vec<FinishedTable>> {
        let mut ended = Vec::new();
        let mut rest = &*self.bytes;
        for record in &self.records {
            let (key, after) = rest.split_at(record.key as usize);
            let (framed, after) = after.split_at(record.framed as usize);
            ended.extend(writer.add_framed(key, framed, record.picked)?);
            rest = after;
        }
        Ok(ended)
    }
}

/// Batches to be used again, so that a writer asks for no more memory than its buffer however long it
/// runs.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Batch>>);

impl Spares {
    pub(super) fn take(&self) -> Batch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, mut batch: Batch) {
        // One huge record must not hold its memory for good.
        if batch.bytes.capacity() <= 2 * BATCH_LEN {
            batch.clear();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        }
    }
}

/// Lengths were checked before: a record has some 80 MiB at most.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// One segment: where it lies in the tree, and what builds it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) at: usize,
    pub(super) sink: Arc<dyn MetadataSink>,
    pub(super) writer: RangeWriter,
    pub(super) spares: Arc<Spares>,
    pub(super) buffers: Buffers,
}

impl Segment {
    /// Builds and stores ranges until no more batches come.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<Ticket>) -> Result<Piece> {
        let Self { at, sink, mut writer, spares, buffers } = self;
        let mut piece = Piece { at, ranges: Vec::new(), counts: WriteCounts::default() };
        while let Some((batch, permit)) = batches.recv().await {
            let spares = Arc::clone(&spares);
            let built = spawn_blocking(move || {
                let ended = batch.write_to(&mut writer);
                spares.give(batch);
                drop(permit);
                (writer, ended)
            });
            let (back, ended) = joined(built.await)?;
            writer = back;
            for table in ended? {
                piece.store(&*sink, &table).await?;
                buffers.give(table.bytes);
            }
        }
        let last = joined(spawn_blocking(move || writer.finish()).await)?;
        if let Some(table) = last {
            piece.store(&*sink, &table).await?;
            buffers.give(table.bytes);
        }
        Ok(piece)
    }
}

impl Piece {
    async fn store(&mut self, sink: &dyn MetadataSink, table: &FinishedTable) -> Result<()> {
        match sink.put(table).await? {
            Stored::Written => {
                self.counts.ranges_written += 1;
                self.counts.bytes_written += table.bytes.len() as u64;
            }
            Stored::Existed => self.counts.ranges_existed += 1,
        }
        self.ranges.push(table.range_info());
        Ok(())
    }
}

/// The result of a task. A panic goes on; a runtime that shuts down is an error.
pub(super) fn joined<T>(ended: std::result::Result<T, JoinError>) -> Result<T> {
    ended.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => Error::new(ErrorKind::Unreachable, "(being written)", "expected the writer to run on, the program stops")
            .caused_by(error),
    })
}
