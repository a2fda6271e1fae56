//! The rows of a plan: what a shard's Parquet file holds, and the columns that an entry brings along.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// What is to be done with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A completion marker is deleted before anything below its directory changes.
    Retract,
    /// The object is written.
    Copy,
    /// The object is deleted.
    Delete,
}

impl Action {
    /// As it stands in the `action` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retract => "retract",
            Self::Copy => "copy",
            Self::Delete => "delete",
        }
    }

    /// Reads the `action` column.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Retract, Self::Copy, Self::Delete].into_iter().find(|a| a.as_str() == text)
    }
}

/// The type of `metadata`: a map of text to text, null where an entry has none.
#[must_use]
pub fn metadata_type() -> DataType {
    let entry = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// The type of `mtime`: microseconds, UTC.
#[must_use]
pub fn mtime_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Columns of a plan row, in this order:
///
/// | column | type | is |
/// |---|---|---|
/// | `round` | `Int32` | the round's number |
/// | `action` | `Utf8` | `retract`, `copy` or `delete` |
/// | `key` | `Utf8` | below the destination, raw |
/// | `path` | `Utf8` | the key in the lake |
/// | `source` | `Utf8?` | the physical address of what is copied, a URL whose path is raw |
/// | `size` | `Int64?` | bytes; of a delete, of what is believed to be there |
/// | `etag` | `Utf8?` | the entry's; of a delete, that of the object which is believed to be there, null where it is not known |
/// | `content_type` | `Utf8?` | null where the entry has none |
/// | `metadata` | map? | user metadata, keys without `X-Amz-Meta-` |
/// | `mtime` | `Timestamp(µs)?` | the entry's |
/// | `identity` | `Binary?` | the entry's stored identity |
/// | `reason` | `Utf8` | why: `added`, `changed`, `removed`, `covers changes`, `unknown state`, … |
/// | `shard` | `Int32` | the number of the row's shard in the plan |
/// | `row` | `Int32` | the row's number in its shard: with `shard`, the name that the journal has for the row |
pub static ROW_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let placed = [Field::new("shard", DataType::Int32, false), Field::new("row", DataType::Int32, false)];
    let fields = UNPLACED_SCHEMA.fields().iter().map(|f| f.as_ref().clone());
    Arc::new(Schema::new(fields.chain(placed).collect::<Vec<_>>()))
});

/// A row before it has a place in a shard: [`ROW_SCHEMA`] without `shard` and `row`.
pub(crate) static UNPLACED_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("round", DataType::Int32, false),
        Field::new("action", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("source", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
        Field::new("etag", DataType::Utf8, true),
        Field::new("content_type", DataType::Utf8, true),
        Field::new("metadata", metadata_type(), true),
        Field::new("mtime", mtime_type(), true),
        Field::new("identity", DataType::Binary, true),
        Field::new("reason", DataType::Utf8, false),
    ]))
});

/// User metadata of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Metadata<'a> {
    None,
    Pairs(&'a [(String, String)]),
}

/// One row on its way into a shard. Columns as of [`ROW_SCHEMA`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub key: &'a str,
    pub path: &'a str,
    pub source: Option<&'a str>,
    pub size: Option<i64>,
    pub etag: Option<&'a str>,
    pub content_type: Option<&'a str>,
    pub metadata: Metadata<'a>,
    pub mtime: Option<i64>,
    pub identity: Option<&'a [u8]>,
    pub reason: &'a str,
}

impl<'a> Row<'a> {
    /// A row that only names a key.
    pub(crate) fn of_key(key: &'a str, path: &'a str, reason: &'a str) -> Self {
        Self {
            key,
            path,
            source: None,
            size: None,
            etag: None,
            content_type: None,
            metadata: Metadata::None,
            mtime: None,
            identity: None,
            reason,
        }
    }

    /// A row that copies `entry`.
    pub(crate) fn of_entry(key: &'a str, entry: &'a crate::entry::EntryRow, reason: &'a str) -> Self {
        Self {
            source: Some(&entry.address),
            size: Some(entry.size),
            etag: entry.etag.as_deref(),
            content_type: entry.content_type.as_deref(),
            metadata: Metadata::Pairs(&entry.metadata),
            mtime: entry.mtime,
            identity: Some(&entry.identity),
            ..Self::of_key(key, &entry.path, reason)
        }
    }
}
