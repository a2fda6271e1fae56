//! Entries in columns: what a commit says of its objects, decoded into Arrow without an allocation per entry.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, MapArray, MapBuilder, MapFieldNames, RecordBatch,
    RecordBatchOptions, StringArray, StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use graveler::EntryRef;

use crate::address;
use crate::error::{Error, Result};
use crate::plan::{metadata_type, mtime_type};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Builds a batch of [`ENTRY_SCHEMA`].
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    columns: Columns,
    storage: Arc<str>,
    path: StringBuilder,
    size: Int64Builder,
    etag: StringBuilder,
    mtime: TimestampMicrosecondBuilder,
    content_type: StringBuilder,
    metadata: MapBuilder<StringBuilder, StringBuilder>,
    address: StringBuilder,
    identity: BinaryBuilder,
    url: String,
}

impl EntryBuilder {
    /// A builder for up to `capacity` entries of a lake whose relative addresses lie below `storage`.
    pub(crate) fn new(columns: Columns, storage: Arc<str>, capacity: usize) -> Self {
        let text = |on: bool, width: usize| {
            if on { StringBuilder::with_capacity(capacity, capacity * width) } else { StringBuilder::with_capacity(capacity, 0) }
        };
        let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
        Self {
            columns,
            storage,
            path: text(true, 64),
            size: Int64Builder::with_capacity(capacity),
            etag: text(columns.has(2), 32),
            mtime: TimestampMicrosecondBuilder::with_capacity(capacity).with_timezone("UTC"),
            content_type: text(columns.has(4), 16),
            metadata: MapBuilder::with_capacity(Some(names), StringBuilder::new(), StringBuilder::new(), capacity),
            address: text(columns.has(6), 64),
            identity: BinaryBuilder::with_capacity(capacity, if columns.has(7) { capacity * 32 } else { 0 }),
            url: String::new(),
        }
    }

    /// Entries so far.
    pub(crate) fn len(&self) -> usize {
        use datafusion::arrow::array::ArrayBuilder;
        self.path.len()
    }

    /// Adds a record: its path, the stored identity and the entry's message.
    pub(crate) fn append(&mut self, path: &str, identity: &[u8], message: &[u8]) -> Result<()> {
        let entry = if self.columns.needs_entry() { Some(EntryRef::decode(message).map_err(Error::from)?) } else { None };
        self.path.append_value(path);
        let wanted = |position: usize| entry.as_ref().filter(|_| self.columns.has(position));
        self.size.append_option(wanted(1).map(|e| e.size));
        self.mtime.append_option(wanted(3).map(micros));
        append_text(&mut self.etag, wanted(2).map(|e| e.etag));
        append_text(&mut self.content_type, wanted(4).map(|e| e.content_type));
        match wanted(6) {
            Some(e) => {
                let kind = e
                    .kind()
                    .ok_or_else(|| Error::corrupt(format!("`{path}` has an address of an unknown kind, {}", e.address_type)))?;
                address::resolve_into(&mut self.url, e.address, kind, &self.storage);
                self.address.append_value(&self.url);
            }
            None => self.address.append_null(),
        }
        if self.columns.has(7) {
            self.identity.append_value(identity);
        } else {
            self.identity.append_null();
        }
        let pairs = wanted(5).map(EntryRef::metadata);
        self.append_metadata(pairs)
    }

    fn append_metadata<'a>(&mut self, pairs: Option<impl Iterator<Item = (&'a str, &'a str)>>) -> Result<()> {
        let mut any = false;
        for (key, value) in pairs.into_iter().flatten() {
            self.metadata.keys().append_value(key);
            self.metadata.values().append_value(value);
            any = true;
        }
        self.metadata.append(any).map_err(|e| Error::bug(format!("metadata column: {e}")))
    }

    /// Adds a row for a side that has no entry; everything but the path is null.
    pub(crate) fn append_absent(&mut self) -> Result<()> {
        self.path.append_value("");
        self.size.append_null();
        self.etag.append_null();
        self.mtime.append_null();
        self.content_type.append_null();
        self.address.append_null();
        self.identity.append_null();
        self.metadata.append(false).map_err(|e| Error::bug(format!("metadata column: {e}")))
    }

    /// The batch; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<EntryBatch> {
        let rows = self.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.path.finish()),
            Arc::new(self.size.finish()),
            Arc::new(self.etag.finish()),
            Arc::new(self.mtime.finish()),
            Arc::new(self.content_type.finish()),
            Arc::new(self.metadata.finish()),
            Arc::new(self.address.finish()),
            Arc::new(self.identity.finish()),
        ];
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&ENTRY_SCHEMA), columns, &options)
            .map(EntryBatch)
            .map_err(|e| Error::bug(format!("entry batch: {e}")))
    }
}

fn append_text(builder: &mut StringBuilder, text: Option<&str>) {
    builder.append_option(text.filter(|t| !t.is_empty()));
}

fn micros(entry: &EntryRef<'_>) -> i64 {
    entry.mtime_secs.saturating_mul(1_000_000).saturating_add(i64::from(entry.mtime_nanos) / 1_000)
}

/// A batch of [`ENTRY_SCHEMA`] with typed access to its columns.
#[derive(Debug, Clone)]
pub struct EntryBatch(RecordBatch);

impl EntryBatch {
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
