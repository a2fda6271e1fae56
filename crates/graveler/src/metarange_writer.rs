//! Writing a tree: records and whole ranges in key order become ranges and their metarange.
//!
//! ```text
//!  add(key, …) ─▶ batches ─▶ segment 1: ranges ─▶ sink ┐
//!                 of 512 KiB segment 2: ranges ─▶ sink ├─▶ metarange ─▶ sink
//!  add_range ────────────────────────────────────────── ┘
//! ```
//!
//! A segment is what lies between two keys that end their range whatever its size; segments share
//! nothing, so they are built and stored side by side, and what is written does not depend on which
//! is first. With a smallest size for ranges (not lakeFS's default) no key is certain to end a range,
//! and all records between two copied ranges are one segment.
//!
//! Memory: [`WriteOptions::buffer`] bytes of records that wait, and for each of the
//! [`WriteOptions::parallel`] segments one range's file (20 MiB at most, some 4 MiB as a rule).
//!
//! Crash consistency: ranges are stored before the metarange, and nothing names the metarange before
//! [`MetarangeWriter::finish`] returns. Stopped halfway, files remain that nothing names.
//!
//! Cancellation: dropping the writer stops it; see above for what remains.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use crate::files::FileKind;
use crate::metarange::{Metarange, is_id};
use crate::proto::RangeData;
use crate::range::RangeInfo;
use crate::range_writer::{Buffers, RangeBreaker, RangeWriter, properties_of};
use crate::refs::Entity;
use crate::sink::{MetadataSink, Stored};
use crate::sstable::writer::{check_key, check_value};
use crate::sstable::{FinishedTable, TableProperties, TableWriter};
use segment::{Batch, BatchSender, Segment, Spares};

mod segment;

/// How a tree is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Where ranges end. Writers of one lake should agree, or they share fewer ranges.
    pub breaker: RangeBreaker,
    /// How many segments are built and stored at a time; at least 1.
    pub parallel: usize,
    /// How many bytes of records may wait to be built. A caller who is faster waits.
    pub buffer: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { breaker: RangeBreaker::default(), parallel: 4, buffer: 24 << 20 }
    }
}

/// What writing a tree has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Ranges that were stored.
    pub ranges_written: u64,
    /// Ranges that were built and then found to be there.
    pub ranges_existed: u64,
    /// Ranges that were taken over whole.
    pub ranges_reused: u64,
    /// Bytes of the files that were stored, the metarange's included.
    pub bytes_written: u64,
}

impl AddAssign for WriteCounts {
    fn add_assign(&mut self, other: Self) {
        self.ranges_written += other.ranges_written;
        self.ranges_existed += other.ranges_existed;
        self.ranges_reused += other.ranges_reused;
        self.bytes_written += other.bytes_written;
    }
}

/// A tree that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenTree {
    /// The tree.
    pub metarange: Metarange,
    /// What it has cost.
    pub counts: WriteCounts,
}

/// Writes one tree. Needs a tokio runtime.
#[derive(Debug)]
pub struct MetarangeWriter {
    sink: Arc<dyn MetadataSink>,
    options: WriteOptions,
    entity: Option<Entity>,
    dump: TableProperties,
    last_key: Vec<u8>,
    batch: Batch,
    spares: Arc<Spares>,
    buffers: Buffers,
    /// The segment that takes the next batch.
    open: Option<BatchSender>,
    tasks: JoinSet<Result<Piece>>,
    slots: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    /// Segments and copied ranges so far; their places in the tree.
    pieces: usize,
    done: BTreeMap<usize, Vec<RangeInfo>>,
    counts: WriteCounts,
}

/// What a segment came to.
#[derive(Debug)]
struct Piece {
    at: usize,
    ranges: Vec<RangeInfo>,
    counts: WriteCounts,
}

/// The unit in which waiting bytes are counted.
const BUDGET_UNIT: usize = 1024;

impl MetarangeWriter {
    /// A writer of a tree of objects.
    #[must_use]
    pub fn new(sink: Arc<dyn MetadataSink>, options: WriteOptions) -> Self {
        Self::of(sink, options, None)
    }

    /// A writer of a list of a refs dump.
    pub(crate) fn of(sink: Arc<dyn MetadataSink>, options: WriteOptions, entity: Option<Entity>) -> Self {
        Self {
            sink,
            options,
            entity,
            dump: entity.map(Entity::properties).unwrap_or_default(),
            last_key: Vec::new(),
            batch: Batch::default(),
            spares: Arc::default(),
            buffers: Buffers::default(),
            open: None,
            tasks: JoinSet::new(),
            slots: Arc::new(Semaphore::new(options.parallel.max(1))),
            budget: Arc::new(Semaphore::new(budget_units(options.buffer))),
            pieces: 0,
            done: BTreeMap::new(),
            counts: WriteCounts::default(),
        }
    }

    /// Adds a record. Fails with [`ErrorKind::InvalidInput`] as [`TableWriter::add`] does, and with
    /// what storing earlier ranges failed with. After an error the writer is of no use.
    #[inline]
    pub async fn add(&mut self, key: &[u8], identity: &[u8], data: &[u8]) -> Result<()> {
        check_key(key, self.last_key())?;
        check_value(key, identity, data)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        let picked = self.options.breaker.picks(key);
        self.batch.push(key, identity, data, picked);
        if picked && self.options.breaker.min_size == 0 {
            return self.close_segment().await;
        }
        if self.batch.is_full() {
            return self.send_batch().await;
        }
        Ok(())
    }

    /// Takes a range over whole; it must be stored in the namespace. What was added before ends its
    /// range. Fails unless it starts after all that was added, and as [`MetarangeWriter::add`].
    pub async fn add_range(&mut self, range: RangeInfo) -> Result<()> {
        check_range(&range, self.last_key())?;
        self.close_segment().await?;
        self.last_key.clear();
        self.last_key.extend_from_slice(&range.max_key);
        self.counts.ranges_reused += 1;
        self.done.insert(self.pieces, vec![range]);
        self.pieces += 1;
        Ok(())
    }

    /// Waits for all ranges to be stored, then stores the metarange. A tree of nothing is a metarange
    /// too, with an id and a file.
    pub async fn finish(mut self) -> Result<WrittenTree> {
        self.close_segment().await?;
        while self.join_one().await? {}
        let ranges: Vec<_> = std::mem::take(&mut self.done).into_values().flatten().collect();
        let table = metarange_table(&ranges, &self.dump)?;
        if self.sink.put(&table).await? == Stored::Written {
            self.counts.bytes_written += table.bytes.len() as u64;
        }
        let mut metarange = Metarange::new(table.id, ranges)?;
        metarange.entity = self.entity;
        Ok(WrittenTree { metarange, counts: self.counts })
    }

    fn last_key(&self) -> Option<&[u8]> {
        (!self.last_key.is_empty()).then_some(&*self.last_key)
    }

    /// Ends the current segment, if there is one: the next record starts a range.
    async fn close_segment(&mut self) -> Result<()> {
        self.send_batch().await?;
        self.open = None;
        Ok(())
    }

    async fn send_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, self.spares.take());
        let units = budget_units(batch.len()).min(budget_units(self.options.buffer));
        let permit = acquire(&self.budget, units).await;
        if self.open.is_none() {
            self.open = Some(self.open_segment().await?);
        }
        if let Some(open) = &self.open
            && open.send((batch, permit)).await.is_err()
        {
            // The segment has given up: its error is among the results.
            while self.join_one().await? {}
        }
        Ok(())
    }

    async fn open_segment(&mut self) -> Result<BatchSender> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.keep(ended)?;
        }
        let slot = acquire(&self.slots, 1).await;
        // The budget bounds what waits; the channel never does.
        let (sender, batches) = mpsc::channel(budget_units(self.options.buffer));
        let segment = Segment {
            at: self.pieces,
            sink: Arc::clone(&self.sink),
            writer: RangeWriter::with_buffers(self.options.breaker, &self.dump, self.buffers.clone()),
            spares: Arc::clone(&self.spares),
            buffers: self.buffers.clone(),
        };
        self.pieces += 1;
        self.tasks.spawn(async move {
            let piece = segment.run(batches).await;
            drop(slot);
            piece
        });
        Ok(sender)
    }

    async fn join_one(&mut self) -> Result<bool> {
        match self.tasks.join_next().await {
            Some(ended) => self.keep(ended).map(|()| true),
            None => Ok(false),
        }
    }

    fn keep(&mut self, ended: std::result::Result<Result<Piece>, tokio::task::JoinError>) -> Result<()> {
        let piece = segment::joined(ended)??;
        self.counts += piece.counts;
        self.done.insert(piece.at, piece.ranges);
        Ok(())
    }
}

fn budget_units(bytes: usize) -> usize {
    bytes.div_ceil(BUDGET_UNIT).clamp(1, u32::MAX as usize >> 4)
}

async fn acquire(semaphore: &Arc<Semaphore>, units: usize) -> Option<OwnedSemaphorePermit> {
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    // These semaphores are never closed, so there always is a permit.
    Arc::clone(semaphore).acquire_many_owned(units).await.ok()
}

fn check_range(range: &RangeInfo, last: Option<&[u8]>) -> Result<()> {
    if !is_id(&range.id) {
        return Err(Error::new(ErrorKind::InvalidId, &*range.id, "expected the id of a range, found another text"));
    }
    check_key(&range.min_key, last)?;
    if range.max_key < range.min_key {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            &*range.id,
            format!(
                "expected a range with a last key not below its first, found `{}` to `{}`",
                range.min_key.escape_ascii(),
                range.max_key.escape_ascii()
            ),
        ));
    }
    Ok(())
}

/// The metarange of ranges that are in order; `dump` holds the further properties of a refs dump.
pub(crate) fn metarange_table(ranges: &[RangeInfo], dump: &TableProperties) -> Result<FinishedTable> {
    let mut table = TableWriter::new(properties_of(FileKind::Metarange, dump));
    for range in ranges {
        let data = RangeData {
            min_key: Bytes::clone(&range.min_key),
            max_key: Bytes::clone(&range.max_key),
            estimated_size: range.estimated_size,
            count: i64::try_from(range.count).unwrap_or(i64::MAX),
        };
        table.add(&range.max_key, range.id.as_bytes(), &data.encode_to_vec())?;
    }
    Ok(table.finish())
}
