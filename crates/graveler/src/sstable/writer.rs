//! Writing SSTables: the bytes that today's lakeFS writes for the same records.
//!
//! Records come in key order; what is kept of them is the current block, the index so far and the
//! finished part of the file. The file is a pure function of its records and properties: it holds
//! no date and no randomness. Its id is hashed on the way.
//!
//! The format is `RocksDB`'s version 2 with Snappy, blocks of 4 KiB before compression, 16 records
//! between restarts, a CRC-32C after each block, an index of two levels when one block does not hold
//! it, and no filter. Whether a block is full, and how large a file "is", follow lakeFS's library to
//! the byte, because ids of metaranges depend on it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::block::{Keys, masked_crc};
use super::compression::{NONE, SNAPPY};
use super::footer::{Footer, Handle};
use super::properties::NOT_IN_ID;
use super::{BLOCK_TRAILER_LEN, KEY_TRAILER_LEN};
use crate::content_id::ContentHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::value;

mod block_builder;
mod index_builder;
mod index_keys;
mod table_properties;
#[cfg(test)]
mod tests;

use block_builder::{BlockBuilder, NO_SHARING};
use index_builder::{Index, IndexBuilder, TopBuilder};
use index_keys::{IndexKey, SET};
use table_properties::Totals;

/// The longest key that is written, in bytes: lakeFS accepts no longer paths.
pub const MAX_KEY_LEN: usize = 1024;

const DATA_RESTART_INTERVAL: usize = 16;
/// A file's memory doubles until here, then grows by this much: a large file would waste as much again.
const GROW: usize = 4 << 20;

/// The properties of a file by which it is identified: `type`, and in refs dumps those of the schema.
pub type TableProperties = BTreeMap<String, String>;

/// A file that is complete, and what its writer knows of it.
#[derive(Clone, Debug)]
pub struct FinishedTable {
    /// The id: what the file is to be called.
    pub id: String,
    /// The first key; empty without records.
    pub min_key: Bytes,
    /// The last key; empty without records.
    pub max_key: Bytes,
    /// The number of records.
    pub count: u64,
    /// What lakeFS's writer takes for the file's size, in bytes. It is stored in metaranges.
    pub estimated_size: u64,
    /// The file.
    pub bytes: Bytes,
}

/// Writes one SSTable into memory.
#[derive(Debug)]
pub struct TableWriter {
    properties: TableProperties,
    out: Vec<u8>,
    data: BlockBuilder,
    index: IndexBuilder,
    hasher: ContentHasher,
    totals: Totals,
    min_key: Vec<u8>,
    encoder: snap::raw::Encoder,
    compressed: Vec<u8>,
    framed: Vec<u8>,
}

impl TableWriter {
    /// A file with no records yet.
    #[must_use]
    pub fn new(properties: TableProperties) -> Self {
        Self::in_buffer(properties, Vec::new())
    }

    /// The same in memory that is at hand and empty.
    pub(crate) fn in_buffer(properties: TableProperties, buffer: Vec<u8>) -> Self {
        debug_assert!(buffer.is_empty());
        Self {
            properties,
            out: buffer,
            data: BlockBuilder::new(DATA_RESTART_INTERVAL, Keys::Internal),
            index: IndexBuilder::new(),
            hasher: ContentHasher::new(),
            totals: Totals::default(),
            min_key: Vec::new(),
            encoder: snap::raw::Encoder::new(),
            compressed: Vec::new(),
            framed: Vec::new(),
        }
    }

    /// Adds a record. Fails with [`ErrorKind::InvalidInput`], and the file is as before, unless the
    /// key is greater than the one before and has 1 to [`MAX_KEY_LEN`] bytes, and identity and data
    /// are no longer than [`value::MAX_COMPONENT_LEN`].
    pub fn add(&mut self, key: &[u8], identity: &[u8], data: &[u8]) -> Result<()> {
        check_value(key, identity, data)?;
        let mut framed = std::mem::take(&mut self.framed);
        framed.clear();
        value::frame(identity, data, &mut framed);
        let added = self.add_framed(key, &framed);
        self.framed = framed;
        added
    }

    /// Adds a record whose value is framed already (see [`value::frame`]). The key is checked as
    /// [`TableWriter::add`] does, the value is taken as it is.
    #[inline]
    pub fn add_framed(&mut self, key: &[u8], framed: &[u8]) -> Result<()> {
        let last = (self.totals.entries > 0).then(|| self.data.last_key());
        check_key(key, last)?;
        if self.data.is_full_for(key.len() + KEY_TRAILER_LEN, framed.len()) {
            let index_key = IndexKey::between(self.data.last_key(), key);
            self.close_block(&index_key);
        }
        if self.totals.entries == 0 {
            self.min_key = key.to_vec();
        }
        self.data.add(key, &SET, framed);
        self.hasher.record(key, framed);
        self.totals.entries += 1;
        self.totals.raw_key_size += (key.len() + KEY_TRAILER_LEN) as u64;
        self.totals.raw_value_size += framed.len() as u64;
        Ok(())
    }

    /// The number of records so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.totals.entries
    }

    /// What lakeFS's writer would take for the file's size at this point, in bytes: closed blocks as
    /// they are stored, the current one before compression, and the current index block. Closed
    /// index partitions are not in it.
    #[inline]
    #[must_use]
    pub fn estimated_size(&self) -> u64 {
        self.totals.data_size + (self.data.estimated_size() + self.index.estimated_size()) as u64
    }

    /// Completes the file. Without records it is a valid file too: the tree of a commit that deleted
    /// everything.
    #[must_use]
    pub fn finish(mut self) -> FinishedTable {
        let estimated_size = self.estimated_size();
        let max_key = if self.totals.entries == 0 { Vec::new() } else { self.data.last_key().to_vec() };
        if self.totals.entries == 0 {
            self.close_block(&IndexKey::of_nothing());
        } else {
            self.close_block(&IndexKey::after(&max_key));
        }
        debug_assert!(!self.index.is_empty());
        let index = self.write_index();
        let properties = self.user_properties(&max_key, estimated_size);
        let properties = self.write_block(&table_properties::encode(&self.totals, properties), false);
        let mut metaindex = BlockBuilder::new(NO_SHARING, Keys::Plain);
        metaindex.add(b"rocksdb.properties", b"", &properties.encode());
        let metaindex = self.write_block(metaindex.finish(), false);
        self.out.extend_from_slice(&Footer { metaindex, index }.encode());
        FinishedTable {
            id: self.hasher.finish(&self.properties),
            min_key: Bytes::from(self.min_key),
            max_key: Bytes::from(max_key),
            count: self.totals.entries,
            estimated_size,
            bytes: Bytes::from(self.out),
        }
    }

    fn close_block(&mut self, key: &IndexKey) {
        let mut data = std::mem::replace(&mut self.data, BlockBuilder::new(DATA_RESTART_INTERVAL, Keys::Internal));
        let handle = self.write_block(data.finish(), true);
        data.clear();
        self.data = data;
        self.totals.data_size += handle.length + BLOCK_TRAILER_LEN as u64;
        self.totals.data_blocks += 1;
        self.index.add(key, handle);
    }

    fn write_index(&mut self) -> Handle {
        match std::mem::replace(&mut self.index, IndexBuilder::new()).finish() {
            Index::Single(contents) => {
                self.totals.index_size = (contents.len() + BLOCK_TRAILER_LEN) as u64;
                self.write_block(&contents, true)
            }
            Index::TwoLevel(partitions) => {
                let mut top = TopBuilder::new();
                for partition in &partitions {
                    let handle = self.write_block(&partition.contents, true);
                    self.totals.index_size += partition.contents.len() as u64;
                    top.add(partition, handle);
                }
                let top = top.finish();
                self.totals.index_size += (top.len() + BLOCK_TRAILER_LEN) as u64;
                self.totals.two_level = Some((partitions.len() as u64, top.len() as u64));
                self.write_block(top, true)
            }
        }
    }

    /// Appends a block with its trailer. It stays as it is when compression saves less than an
    /// eighth of it.
    fn write_block(&mut self, contents: &[u8], compress: bool) -> Handle {
        let offset = self.out.len();
        let compressed = if compress { self.compress(contents) } else { None };
        let (payload, kind) = match compressed {
            Some(len) => (&self.compressed[..len], SNAPPY),
            None => (contents, NONE),
        };
        let missing = (payload.len() + BLOCK_TRAILER_LEN).saturating_sub(self.out.capacity() - offset);
        if missing > 0 {
            self.out.reserve_exact(payload.len() + BLOCK_TRAILER_LEN + offset.min(GROW));
        }
        self.out.extend_from_slice(payload);
        self.out.push(kind);
        let crc = masked_crc(&self.out[offset..]);
        self.out.extend_from_slice(&crc.to_le_bytes());
        Handle { offset: offset as u64, length: payload_len(offset, self.out.len()) }
    }

    /// The length of the compressed contents, if that is worth it.
    fn compress(&mut self, contents: &[u8]) -> Option<usize> {
        let most = snap::raw::max_compress_len(contents.len());
        if self.compressed.len() < most {
            self.compressed.resize(most, 0);
        }
        let len = self.encoder.compress(contents, &mut self.compressed).ok()?;
        (len < contents.len() - contents.len() / 8).then_some(len)
    }

    fn user_properties(&self, max_key: &[u8], estimated_size: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let [min_name, max_name, count_name, size_name] = NOT_IN_ID.map(|name| name.as_bytes().to_vec());
        let own = self.properties.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()));
        let added = [
            (min_name, self.min_key.clone()),
            (max_name, max_key.to_vec()),
            (count_name, self.totals.entries.to_string().into_bytes()),
            (size_name, estimated_size.to_string().into_bytes()),
        ];
        own.chain(added).collect()
    }
}

fn payload_len(start: usize, end: usize) -> u64 {
    (end - start - BLOCK_TRAILER_LEN) as u64
}

/// Fails unless `key` may be written after `last`.
#[inline]
pub(crate) fn check_key(key: &[u8], last: Option<&[u8]>) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY_LEN || last.is_some_and(|last| key <= last) {
        return Err(bad_key(key, last));
    }
    Ok(())
}

/// Fails unless identity and data fit a framed value.
#[inline]
pub(crate) fn check_value(key: &[u8], identity: &[u8], data: &[u8]) -> Result<()> {
    for (what, part) in [("identity", identity), ("data", data)] {
        if part.len() > value::MAX_COMPONENT_LEN {
            return Err(invalid(format!(
                "expected at most {} bytes of {what} for key `{}`, found {}",
                value::MAX_COMPONENT_LEN,
                key.escape_ascii(),
                part.len()
            )));
        }
    }
    Ok(())
}

#[cold]
fn bad_key(key: &[u8], last: Option<&[u8]>) -> Error {
    let shown = key[..key.len().min(MAX_KEY_LEN)].escape_ascii();
    invalid(match last {
        _ if key.is_empty() => "expected a key of 1 byte or more, found an empty one".to_owned(),
        _ if key.len() > MAX_KEY_LEN => {
            format!("expected a key of at most {MAX_KEY_LEN} bytes, found {} bytes: `{shown}`…", key.len())
        }
        Some(last) if key == last => format!("expected each key once, found `{shown}` twice"),
        last => format!("expected sorted keys, found `{shown}` after `{}`", last.unwrap_or_default().escape_ascii()),
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "(being written)", message)
}
