//! Rows that are added one by one, gathered into batches.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Int32Array, Int64Builder, MapArray, MapBuilder, MapFieldNames, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondBuilder,
};

use super::row::{Metadata, Row, UNPLACED_SCHEMA};
use super::write::StepKey;
use crate::entry::metadata_pairs;
use crate::error::{Error, Result};

/// Header prefix that lakeFS's S3 gateway keeps in metadata keys; the store adds its own.
const GATEWAY_PREFIX: &str = "x-amz-meta-";

/// A metadata key as a store takes it.
fn bare(key: &str) -> &str {
    match key.get(..GATEWAY_PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(GATEWAY_PREFIX) => &key[GATEWAY_PREFIX.len()..],
        _ => key,
    }
}

/// A metadata column whose keys a store takes; the same one where they all are already.
pub(crate) fn bare_metadata(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(map) = column.as_any().downcast_ref::<MapArray>() else { return Err(Error::bug("metadata is no map")) };
    let keys = map.keys().as_any().downcast_ref::<StringArray>();
    if keys.is_none_or(|keys| keys.iter().flatten().all(|k| bare(k).len() == k.len())) {
        return Ok(Arc::clone(column));
    }
    let mut builder = metadata_builder();
    for i in 0..column.len() {
        append_pairs(&mut builder, metadata_pairs(map, i))?;
    }
    Ok(Arc::new(builder.finish()))
}

fn metadata_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// One row: null where there is no pair.
fn append_pairs<'a>(
    builder: &mut MapBuilder<StringBuilder, StringBuilder>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    let mut any = false;
    for (key, value) in pairs {
        builder.keys().append_value(bare(key));
        builder.values().append_value(value);
        any = true;
    }
    builder.append(any).map_err(|e| Error::bug(format!("metadata column: {e}")))
}

/// Builders of [`UNPLACED_SCHEMA`].
#[derive(Debug)]
pub(super) struct Rows {
    key: StringBuilder,
    path: StringBuilder,
    source: StringBuilder,
    size: Int64Builder,
    etag: StringBuilder,
    content_type: StringBuilder,
    metadata: MapBuilder<StringBuilder, StringBuilder>,
    mtime: TimestampMicrosecondBuilder,
    identity: BinaryBuilder,
    reason: StringBuilder,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self {
            key: StringBuilder::new(),
            path: StringBuilder::new(),
            source: StringBuilder::new(),
            size: Int64Builder::new(),
            etag: StringBuilder::new(),
            content_type: StringBuilder::new(),
            metadata: metadata_builder(),
            mtime: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            identity: BinaryBuilder::new(),
            reason: StringBuilder::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.key.len()
    }

    pub(super) fn append(&mut self, row: &Row<'_>) -> Result<()> {
        self.key.append_value(row.key);
        self.path.append_value(row.path);
        self.source.append_option(row.source);
        self.size.append_option(row.size);
        self.etag.append_option(row.etag);
        self.content_type.append_option(row.content_type);
        self.mtime.append_option(row.mtime);
        self.identity.append_option(row.identity);
        self.reason.append_value(row.reason);
        match row.metadata {
            Metadata::None => append_pairs(&mut self.metadata, std::iter::empty()),
            Metadata::Pairs(pairs) => append_pairs(&mut self.metadata, pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        }
    }

    pub(super) fn finish(&mut self, step: StepKey) -> Result<RecordBatch> {
        let rows = self.len();
        RecordBatch::try_new(
            Arc::clone(&UNPLACED_SCHEMA),
            vec![
                Arc::new(Int32Array::from(vec![step.round; rows])),
                Arc::new(StringArray::from(vec![step.action.as_str(); rows])),
                Arc::new(self.key.finish()),
                Arc::new(self.path.finish()),
                Arc::new(self.source.finish()),
                Arc::new(self.size.finish()),
                Arc::new(self.etag.finish()),
                Arc::new(self.content_type.finish()),
                Arc::new(self.metadata.finish()),
                Arc::new(self.mtime.finish()),
                Arc::new(self.identity.finish()),
                Arc::new(self.reason.finish()),
            ],
        )
        .map_err(|e| Error::bug(format!("plan rows: {e}")))
    }
}
