//! Cutting a run of records into ranges, where lakeFS would cut it.
//!
//! A range ends after a record whose key says so, by its hash, or when the file has grown large. So
//! the same records give the same ranges wherever they stand, and a change of one key leaves the
//! cuts of all others where they were.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::Result;
use crate::files::FileKind;
use crate::range::RangeInfo;
use crate::sstable::properties::TYPE;
use crate::sstable::{FinishedTable, TableProperties, TableWriter};

/// When a range ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeBreaker {
    /// A range estimated at fewer bytes goes on, whatever its last key.
    pub min_size: u64,
    /// A range estimated at so many bytes ends.
    pub max_size: u64,
    /// One key in so many ends its range: the mean number of records of a range. 0: sizes alone
    /// decide.
    pub raggedness: u64,
}

impl Default for RangeBreaker {
    /// What lakeFS does unless it is configured otherwise.
    fn default() -> Self {
        Self { min_size: 0, max_size: 20 << 20, raggedness: 50_000 }
    }
}

impl RangeBreaker {
    /// Whether a range ends after the record with this key, which has made it `estimated_size` bytes
    /// (see [`TableWriter::estimated_size`]).
    #[must_use]
    pub fn breaks_after(&self, key: &[u8], estimated_size: u64) -> bool {
        self.breaks(estimated_size, || self.picks(key))
    }

    /// Whether the key's hash ends its range, if its size allows.
    #[inline]
    pub(crate) fn picks(&self, key: &[u8]) -> bool {
        self.raggedness != 0 && fnv1a64(key).is_multiple_of(self.raggedness)
    }

    #[inline]
    fn breaks(&self, estimated_size: u64, picked: impl FnOnce() -> bool) -> bool {
        estimated_size >= self.min_size && (estimated_size >= self.max_size || picked())
    }
}

/// The FNV-1a hash of 64 bits.
#[inline]
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The properties of a file of this kind, with those of a refs dump if it belongs to one.
pub(crate) fn properties_of(kind: FileKind, dump: &TableProperties) -> TableProperties {
    let mut properties = dump.clone();
    properties.insert(TYPE.to_owned(), kind.property().to_owned());
    properties
}

/// The memory of files that are stored, for the next ones. Files are large and made on many threads:
/// an allocator that keeps what each thread freed would hold several times what is in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// More are never in use at a time; the rest goes back to the allocator.
    const MOST: usize = 16;

    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps the memory of a file, if nobody else holds it.
    pub(crate) fn give(&self, file: Bytes) {
        let Ok(memory) = file.try_into_mut() else {
            return;
        };
        let mut memory = Vec::from(memory);
        memory.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < Self::MOST {
            kept.push(memory);
        }
    }
}

/// Writes records to ranges, each complete as soon as it ends. It holds one range's file in memory,
/// [`RangeBreaker::max_size`] bytes and a block at most.
#[derive(Debug)]
pub struct RangeWriter {
    breaker: RangeBreaker,
    properties: TableProperties,
    current: Option<TableWriter>,
    buffers: Buffers,
}

impl RangeWriter {
    /// A writer of ranges of objects.
    #[must_use]
    pub fn new(breaker: RangeBreaker) -> Self {
        Self::with_properties(breaker, &TableProperties::new())
    }

    /// A writer of ranges with further properties: those of a refs dump.
    #[must_use]
    pub fn with_properties(breaker: RangeBreaker, dump: &TableProperties) -> Self {
        Self::with_buffers(breaker, dump, Buffers::default())
    }

    pub(crate) fn with_buffers(breaker: RangeBreaker, dump: &TableProperties, buffers: Buffers) -> Self {
        Self { breaker, properties: properties_of(FileKind::Range, dump), current: None, buffers }
    }

    /// Adds a record; gives the range that ends with it, if one does. Fails as [`TableWriter::add`]
    /// does. That keys increase from one range to the next is for the caller to see to.
    pub fn add(&mut self, key: &[u8], identity: &[u8], data: &[u8]) -> Result<Option<FinishedTable>> {
        let table = self.current.get_or_insert_with(|| TableWriter::in_buffer(self.properties.clone(), self.buffers.take()));
        table.add(key, identity, data)?;
        let size = table.estimated_size();
        Ok(self.end_if(self.breaker.breaks_after(key, size)))
    }

    /// The same for a framed value; `picked` says what [`RangeBreaker::picks`] said of the key.
    #[inline]
    pub(crate) fn add_framed(&mut self, key: &[u8], framed: &[u8], picked: bool) -> Result<Option<FinishedTable>> {
        let table = self.current.get_or_insert_with(|| TableWriter::in_buffer(self.properties.clone(), self.buffers.take()));
        table.add_framed(key, framed)?;
        let size = table.estimated_size();
        Ok(self.end_if(self.breaker.breaks(size, || picked)))
    }

    /// Ends the current range, if it holds a record.
    pub fn finish(&mut self) -> Option<FinishedTable> {
        self.current.take().map(TableWriter::finish)
    }

    #[inline]
    fn end_if(&mut self, ends: bool) -> Option<FinishedTable> {
        if ends { self.finish() } else { None }
    }
}

impl FinishedTable {
    /// A finished range as its metarange will describe it.
    #[must_use]
    pub fn range_info(&self) -> RangeInfo {
        RangeInfo {
            id: self.id.clone(),
            min_key: self.min_key.clone(),
            max_key: self.max_key.clone(),
            count: self.count,
            estimated_size: self.estimated_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn sizes_come_before_keys() {
        let breaker = RangeBreaker { min_size: 100, max_size: 200, raggedness: 1 };
        assert!(!breaker.breaks_after(b"k", 99), "too small, though the key ends it");
        assert!(breaker.breaks_after(b"k", 100));
        let by_size = RangeBreaker { raggedness: 0, ..breaker };
        assert!(!by_size.breaks_after(b"k", 199));
        assert!(by_size.breaks_after(b"k", 200));
        assert_eq!(RangeBreaker::default(), RangeBreaker { min_size: 0, max_size: 20_971_520, raggedness: 50_000 });
    }

    #[test]
    fn each_range_has_the_records_from_the_last_cut_to_its_own() {
        let mut writer = RangeWriter::new(RangeBreaker { raggedness: 7, ..RangeBreaker::default() });
        let mut ranges = Vec::new();
        for i in 0..100 {
            let key = format!("key/{i:03}");
            let ended = writer.add(key.as_bytes(), b"identity", b"data").unwrap();
            assert_eq!(ended.is_some(), fnv1a64(key.as_bytes()).is_multiple_of(7));
            ranges.extend(ended.map(|table| table.range_info()));
        }
        ranges.extend(writer.finish().map(|table| table.range_info()));
        assert!(writer.finish().is_none(), "no range without records");
        assert_eq!(ranges.iter().map(|range| range.count).sum::<u64>(), 100);
        assert!(ranges.len() > 5);
        assert!(ranges.is_sorted_by(|a, b| a.max_key < b.min_key));
    }
}
