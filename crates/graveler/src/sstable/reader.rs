//! A table over ranged reads: opening it costs one read of its end, a look-up one block more.
//!
//! ```text
//! open:  ······················[ index │ properties │ metaindex │ footer ]   one read
//! seek:  ········[ block ]················································   one more
//! ```
//!
//! Index partitions that look-ups went through are kept with the table; scans load theirs one by
//! one and let them go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::block::{Block, Keys};
use super::footer::Handle;
use super::index::{Step, Walk};
use super::layout::{Layout, Parsed, Tail};
use super::properties::Properties;
use super::source::ReadAt;
use crate::error::{Error, Result};

/// How much of a file's end is read at first: the whole index of a default range, mostly.
const TAIL_LEN: u64 = 64 << 10;

/// An open table. Clones share what they have loaded.
#[derive(Clone, Debug)]
pub struct Table(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<dyn ReadAt>,
    layout: Layout,
    tail: Tail,
    partitions: Mutex<BTreeMap<u64, Block>>,
}

/// A record as it lies in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, without its trailer.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

impl Table {
    /// Reads footer, properties and index. Fails for files that are damaged or of another kind.
    pub async fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        let (size, bytes) = source.read_tail(TAIL_LEN).await?;
        let file: Arc<str> = Arc::from(source.name());
        let start = size.saturating_sub(bytes.len() as u64);
        let mut tail = Tail { start, bytes };
        // Each turn starts strictly earlier in the file.
        loop {
            match Layout::parse(&file, size, &tail)? {
                Parsed::Whole(layout) => {
                    return Ok(Self(Arc::new(Inner { source, layout, tail, partitions: Mutex::default() })));
                }
                Parsed::Widen(start) => {
                    let bytes = source.read_at(start..size).await?;
                    if bytes.len() as u64 != size - start {
                        let found = bytes.len();
                        let message = format!("expected {} bytes, read {found}", size - start);
                        return Err(Error::corrupt(&*file, message).at(start));
                    }
                    tail = Tail { start, bytes };
                }
            }
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.layout.file
    }

    /// The file's properties.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.0.layout.properties
    }

    /// The first record with a key of at least `key`: the index, and one block (two when `key` lies
    /// in the gap between them).
    pub async fn seek(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        let mut scan = self.scan(Some(key));
        scan.keep_partitions = true;
        let Some(block) = scan.next_block().await? else {
            return Ok(None);
        };
        let mut cursor = block.cursor();
        let found = cursor.advance()?;
        Ok(found.then(|| KeyValue { key: Bytes::copy_from_slice(cursor.key()), value: cursor.value_bytes() }))
    }

    /// The value of the record with exactly this key: the index, and one block at most.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut walk = Walk::new(&self.0.layout, Some(key));
        let Some(handle) = self.step(&mut walk, true).await? else {
            return Ok(None);
        };
        let mut cursor = self.block(handle).await?.cursor();
        let found = cursor.seek(key)? && cursor.key() == key;
        Ok(found.then(|| cursor.value_bytes()))
    }

    /// The blocks that hold keys from `from` on, in order.
    #[must_use]
    pub fn scan(&self, from: Option<&[u8]>) -> Scan {
        Scan {
            table: self.clone(),
            walk: Walk::new(&self.0.layout, from),
            from: from.map(<[u8]>::to_vec),
            keep_partitions: false,
        }
    }

    /// The next data block of a walk, partitions loaded on the way.
    async fn step(&self, walk: &mut Walk, keep: bool) -> Result<Option<Handle>> {
        loop {
            match walk.next()? {
                Step::End => return Ok(None),
                Step::Data(handle) => return Ok(Some(handle)),
                Step::Partition(handle) => walk.enter(&self.partition(handle, keep).await?)?,
            }
        }
    }

    async fn partition(&self, handle: Handle, keep: bool) -> Result<Block> {
        let known = self.partitions().get(&handle.offset).cloned();
        if let Some(partition) = known {
            return Ok(partition);
        }
        let partition = self.block(handle).await?;
        if keep {
            self.partitions().insert(handle.offset, partition.clone());
        }
        Ok(partition)
    }

    fn partitions(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Block>> {
        let partitions = &self.0.partitions;
        partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn block(&self, handle: Handle) -> Result<Block> {
        let inner = &*self.0;
        let stored = match inner.tail.part(handle) {
            Some(stored) => stored,
            None => inner.source.read_at(handle.offset..handle.end()).await?,
        };
        Block::open(&stored, Keys::Internal, inner.layout.place(handle))
    }
}

/// The blocks of a table, one after the other.
#[derive(Debug)]
pub struct Scan {
    table: Table,
    walk: Walk,
    from: Option<Vec<u8>>,
    keep_partitions: bool,
}

impl Scan {
    /// The next block; the first one's cursors start at the key that the scan was asked for.
    pub async fn next_block(&mut self) -> Result<Option<Block>> {
        while let Some(handle) = self.table.step(&mut self.walk, self.keep_partitions).await? {
            let block = self.table.block(handle).await?;
            let Some(from) = &self.from else {
                return Ok(Some(block));
            };
            if let Some(block) = block.starting_at(from)? {
                self.from = None;
                return Ok(Some(block));
            }
        }
        Ok(None)
    }
}
