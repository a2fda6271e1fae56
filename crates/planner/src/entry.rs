//! Entries in columns: what a commit says of its objects, decoded into Arrow without an allocation per entry.

mod builder;

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, Int64Array, MapArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use serde::{Deserialize, Serialize};

use crate::plan::{metadata_type, mtime_type};
pub(crate) use builder::EntryBuilder;

/// Columns of an entry: `path`, `size` (bytes), `etag`, `mtime` (µs), `content_type`, `metadata`, `address` (URL, path raw),
/// `identity` (as stored).
pub static ENTRY_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::Int64, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new("mtime", mtime_type(), true),
        Field::new("content_type", DataType::Utf8, true),
        Field::new("metadata", metadata_type(), true),
        Field::new("address", DataType::Utf8, true),
        Field::new("identity", DataType::Binary, true),
    ]))
});

/// Which columns are decoded; the others are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Columns(u8);

impl Columns {
    /// Only `path`.
    pub const KEYS: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(0xff);
    /// `path` and `size`.
    pub const SIZES: Self = Self(1 << 1);

    /// Those of [`ENTRY_SCHEMA`] with these positions.
    #[must_use]
    pub fn of(positions: impl IntoIterator<Item = usize>) -> Self {
        Self(positions.into_iter().fold(0, |set, i| set | (1 << i)))
    }

    /// Both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }

    /// Whether the entry's message must be decoded at all.
    fn needs_entry(self) -> bool {
        self.0 & 0b0111_1110 != 0
    }
}

/// A batch of [`ENTRY_SCHEMA`] with typed access to its columns.
#[derive(Debug, Clone)]
pub struct EntryBatch(RecordBatch);

impl EntryBatch {
    /// `batch` is of [`ENTRY_SCHEMA`].
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Self(batch)
    }

    /// The batch.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    fn column<T: Array + 'static>(&self, position: usize) -> &T {
        let column = self.0.column(position).as_any().downcast_ref();
        column.unwrap_or_else(|| unreachable!("ENTRY_SCHEMA fixes the type of column {position}"))
    }

    /// `path`.
    #[must_use]
    pub fn path(&self) -> &StringArray {
        self.column(0)
    }
    /// `size`.
    #[must_use]
    pub fn size(&self) -> &Int64Array {
        self.column(1)
    }
    /// `etag`.
    #[must_use]
    pub fn etag(&self) -> &StringArray {
        self.column(2)
    }
    /// `mtime`.
    #[must_use]
    pub fn mtime(&self) -> &TimestampMicrosecondArray {
        self.column(3)
    }
    /// `content_type`.
    #[must_use]
    pub fn content_type(&self) -> &StringArray {
        self.column(4)
    }
    /// `metadata`.
    #[must_use]
    pub fn metadata(&self) -> &MapArray {
        self.column(5)
    }
    /// `address`.
    #[must_use]
    pub fn address(&self) -> &StringArray {
        self.column(6)
    }
    /// `identity`.
    #[must_use]
    pub fn identity(&self) -> &BinaryArray {
        self.column(7)
    }

    /// The metadata pairs of row `i`.
    pub fn metadata_pairs(&self, i: usize) -> impl Iterator<Item = (&str, &str)> {
        metadata_pairs(self.metadata(), i)
    }

    /// One row as a value.
    #[must_use]
    pub fn row(&self, i: usize) -> EntryRow {
        let text = |a: &StringArray| a.is_valid(i).then(|| a.value(i).to_owned());
        EntryRow {
            path: self.path().value(i).to_owned(),
            size: self.size().value(i),
            etag: text(self.etag()),
            mtime: self.mtime().is_valid(i).then(|| self.mtime().value(i)),
            content_type: text(self.content_type()),
            metadata: self.metadata_pairs(i).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            address: text(self.address()).unwrap_or_default(),
            identity: if self.identity().is_valid(i) { self.identity().value(i).to_vec() } else { Vec::new() },
        }
    }
}

/// The pairs of a metadata column's row `i`; none where it is null.
pub fn metadata_pairs(map: &MapArray, i: usize) -> impl Iterator<Item = (&str, &str)> {
    let text = |a: &ArrayRef| a.as_any().downcast_ref::<StringArray>().cloned();
    let range = if map.is_valid(i) { map.value_offsets()[i]..map.value_offsets()[i + 1] } else { 0..0 };
    let (keys, values) = (map.keys(), map.values());
    debug_assert!(text(keys).is_some() && text(values).is_some());
    let keys = keys.as_any().downcast_ref::<StringArray>();
    let values = values.as_any().downcast_ref::<StringArray>();
    range.filter_map(move |at| {
        let at = usize::try_from(at).ok()?;
        Some((keys?.value(at), values?.value(at)))
    })
}

/// An entry as a value: for look-ups, where there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryRow {
    /// Path in the lake.
    pub path: String,
    /// Bytes.
    pub size: i64,
    /// Without quotes.
    pub etag: Option<String>,
    /// Microseconds since 1970.
    pub mtime: Option<i64>,
    /// Content type, where the entry has one.
    pub content_type: Option<String>,
    /// User metadata, keys as stored.
    pub metadata: Vec<(String, String)>,
    /// Where the bytes lie: a URL whose path is raw.
    pub address: String,
    /// As stored.
    pub identity: Vec<u8>,
}
