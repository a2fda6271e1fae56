//! Ranges: the sorted runs of entries that a commit is made of.
//!
//! A [`RangeReader`] holds a range's whole file and lends its records one by one without waiting
//! and without allocating. It promises that keys strictly increase, lie between the range's first
//! and last key, and are as many as the metarange says, or it fails.

use std::fmt;

use bytes::Bytes;

use crate::entry_ref::EntryRef;
use crate::error::Result;
use crate::sstable::{LoadedTable, Records};
use crate::value;

/// A range as its metarange describes it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RangeInfo {
    /// The id: equal ids mean equal records.
    pub id: String,
    /// The first key.
    pub min_key: Bytes,
    /// The last key.
    pub max_key: Bytes,
    /// The number of records.
    pub count: u64,
    /// The writer's estimate of the file's size; writers differ in it.
    pub estimated_size: u64,
}

impl RangeInfo {
    /// Whether `key` lies between the first and the last key.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        *self.min_key <= *key && *key <= *self.max_key
    }
}

impl fmt::Debug for RangeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeInfo")
            .field("id", &self.id)
            .field("min_key", &self.min_key)
            .field("max_key", &self.max_key)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A record with its own memory (shared with the block it came from).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key: the path of an object.
    pub key: Bytes,
    /// What the record is compared by.
    pub identity: Bytes,
    /// The encoded entry.
    pub data: Bytes,
}

impl Record {
    /// Takes a framed value apart. The error names no file.
    pub(crate) fn split(key: Bytes, framed: &Bytes) -> Result<Self> {
        let (identity, data) = value::bounds(framed)?;
        Ok(Self { key, identity: framed.slice(identity.0..identity.1), data: framed.slice(data.0..data.1) })
    }

    /// The object that the record describes. The error names no file.
    pub fn entry(&self) -> Result<EntryRef<'_>> {
        EntryRef::decode(&self.data)
    }
}

/// A lending cursor over the records of a range: `while reader.advance()? { … reader.key() … }`.
#[derive(Clone, Debug)]
pub struct RangeReader {
    info: RangeInfo,
    records: Records,
    identity: (usize, usize),
    data: (usize, usize),
    /// Records seen; `None` once a seek has made counting pointless.
    seen: Option<u64>,
}

impl RangeReader {
    /// Reads `table` as the range that `info` describes.
    #[must_use]
    pub fn new(info: RangeInfo, table: &LoadedTable) -> Self {
        Self { info, records: table.records(), identity: (0, 0), data: (0, 0), seen: Some(0) }
    }

    /// The range that is read.
    #[must_use]
    pub fn info(&self) -> &RangeInfo {
        &self.info
    }

    /// Moves to the next record; `false` after the last.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        if !self.records.advance()? {
            self.check_end()?;
            return Ok(false);
        }
        if let Some(seen) = &mut self.seen {
            *seen += 1;
            if *seen == 1 {
                self.check_start()?;
            }
        }
        self.split()?;
        Ok(true)
    }

    /// Moves to the first record with a key of at least `key`, forwards or backwards; `false` when
    /// there is none. The number of records is not checked any more.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.seen = None;
        (self.identity, self.data) = ((0, 0), (0, 0));
        let found = self.records.seek(key)?;
        if found {
            self.split()?;
        }
        Ok(found)
    }

    /// The key of the current record.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.records.key()
    }

    /// What the current record is compared by.
    #[inline]
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.records.value()[self.identity.0..self.identity.1]
    }

    /// The data of the current record: an encoded entry.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.records.value()[self.data.0..self.data.1]
    }

    /// The current record, decoded in place.
    #[inline]
    pub fn entry(&self) -> Result<EntryRef<'_>> {
        EntryRef::decode(self.data()).map_err(|error| error.in_file(self.file()))
    }

    /// The current record with its own memory.
    #[must_use]
    pub fn record(&self) -> Record {
        let framed = self.records.value_bytes();
        Record {
            key: Bytes::copy_from_slice(self.key()),
            identity: framed.slice(self.identity.0..self.identity.1),
            data: framed.slice(self.data.0..self.data.1),
        }
    }

    fn file(&self) -> &str {
        self.records.table().name()
    }

    #[inline]
    fn split(&mut self) -> Result<()> {
        match value::bounds(self.records.value()) {
            Ok((identity, data)) => {
                (self.identity, self.data) = (identity, data);
                Ok(())
            }
            Err(error) => {
                (self.identity, self.data) = ((0, 0), (0, 0));
                Err(self.records.corrupt(error.message()))
            }
        }
    }

    fn check_start(&self) -> Result<()> {
        if self.key() == &*self.info.min_key {
            return Ok(());
        }
        Err(self.records.corrupt(format!(
            "expected the range's first key `{}`, found `{}`",
            self.info.min_key.escape_ascii(),
            self.key().escape_ascii()
        )))
    }

    /// A range that says other than its metarange would make merges skip or repeat keys.
    fn check_end(&self) -> Result<()> {
        let Some(seen) = self.seen else {
            return Ok(());
        };
        if seen != self.info.count {
            return Err(self.records.corrupt(format!("expected a range of {} records, found {seen}", self.info.count)));
        }
        if seen > 0 && self.key() != &*self.info.max_key {
            return Err(self.records.corrupt(format!(
                "expected the range's last key `{}`, found `{}`",
                self.info.max_key.escape_ascii(),
                self.key().escape_ascii()
            )));
        }
        Ok(())
    }
}
