//! Building a batch of entries: buffers of the size that the last batch needed, and nothing for columns and sides that are
//! not there.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use graveler::EntryRef;

use super::{Columns, ENTRY_SCHEMA, EntryBatch};
use crate::address;
use crate::error::{Error, Result};

/// Rows of the shared columns of nulls.
const NULLS: usize = 4096;

/// A column of nulls for each of [`ENTRY_SCHEMA`], which batches take their unwanted columns from.
static NULL_COLUMNS: LazyLock<Vec<ArrayRef>> =
    LazyLock::new(|| ENTRY_SCHEMA.fields().iter().map(|f| new_null_array(f.data_type(), NULLS)).collect());

fn nulls(position: usize, rows: usize) -> ArrayRef {
    if rows <= NULLS {
        NULL_COLUMNS[position].slice(0, rows)
    } else {
        new_null_array(ENTRY_SCHEMA.field(position).data_type(), rows)
    }
}

/// Builds a batch of [`ENTRY_SCHEMA`].
#[derive(Debug)]
pub(crate) struct EntryBuilder {
    columns: Columns,
    storage: Arc<str>,
    capacity: usize,
    rows: usize,
    /// Rows at the end without an entry, which no column has been told of: a side without any entry costs nothing.
    absent: usize,
    size: Option<Int64Builder>,
    etag: Option<StringBuilder>,
    mtime: Option<TimestampMicrosecondBuilder>,
    content_type: Option<StringBuilder>,
    metadata: Metadata,
    address: Option<StringBuilder>,
    identity: Option<BinaryBuilder>,
    url: String,
}

/// The text of a batch, and room for another like it: a little more than it took, since growing doubles and copies.
fn finish_text(builder: &mut StringBuilder, capacity: usize) -> ArrayRef {
    let fresh = StringBuilder::with_capacity(capacity, builder.values_slice().len() / 8 * 9);
    Arc::new(std::mem::replace(builder, fresh).finish())
}

/// User metadata, which most batches have none of.
#[derive(Debug)]
struct Metadata {
    builder: Option<MapBuilder<StringBuilder, StringBuilder>>,
    /// Rows since the last one with pairs.
    bare: usize,
}

impl Metadata {
    fn append<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let mut any = false;
        for (key, value) in pairs {
            let builder = self.settled()?;
            builder.keys().append_value(key);
            builder.values().append_value(value);
            any = true;
        }
        match &mut self.builder {
            Some(builder) if any => builder.append(true).map_err(|e| bug(&e)),
            _ => {
                self.bare += 1;
                Ok(())
            }
        }
    }

    /// The builder, with a row for everything before.
    fn settled(&mut self) -> Result<&mut MapBuilder<StringBuilder, StringBuilder>> {
        let builder = self.builder.get_or_insert_with(|| {
            let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
            MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        });
        for _ in 0..std::mem::take(&mut self.bare) {
            builder.append(false).map_err(|e| bug(&e))?;
        }
        Ok(builder)
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef> {
        if self.builder.is_none() {
            self.bare = 0;
            return Ok(nulls(5, rows));
        }
        let column = self.settled()?.finish();
        self.builder = None;
        Ok(Arc::new(column))
    }
}

fn bug(error: &dyn std::fmt::Display) -> Error {
    Error::bug(format!("metadata column: {error}"))
}

impl EntryBuilder {
    /// A builder for batches of about `capacity` entries of a lake whose relative addresses lie below `storage`.
    pub(crate) fn new(columns: Columns, storage: Arc<str>, capacity: usize) -> Self {
        let text = |position, width| columns.has(position).then(|| StringBuilder::with_capacity(capacity, capacity * width));
        Self {
            columns,
            storage,
            capacity,
            rows: 0,
            absent: 0,
            size: columns.has(1).then(|| Int64Builder::with_capacity(capacity)),
            etag: text(2, 32),
            mtime: columns.has(3).then(|| mtimes(capacity)),
            content_type: text(4, 16),
            metadata: Metadata { builder: None, bare: 0 },
            address: text(6, 72),
            identity: columns.has(7).then(|| BinaryBuilder::with_capacity(capacity, capacity * 32)),
            url: String::new(),
        }
    }

    /// Entries and absent ones so far.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds a record of the object at `path`: the stored identity and the entry's message.
    pub(crate) fn append(&mut self, path: &str, identity: &[u8], message: &[u8]) -> Result<()> {
        if self.absent > 0 {
            self.append_nulls();
        }
        self.rows += 1;
        if let Some(column) = &mut self.identity {
            column.append_value(identity);
        }
        if !self.columns.needs_entry() {
            return Ok(());
        }
        let entry = EntryRef::decode(message).map_err(Error::from)?;
        if let Some(column) = &mut self.size {
            column.append_value(entry.size);
        }
        if let Some(column) = &mut self.mtime {
            column.append_value(micros(&entry));
        }
        append_text(&mut self.etag, entry.etag);
        append_text(&mut self.content_type, entry.content_type);
        if let Some(column) = &mut self.address {
            let unknown = || Error::corrupt(format!("`{path}` has an address of an unknown kind, {}", entry.address_type));
            address::resolve_into(&mut self.url, entry.address, entry.kind().ok_or_else(unknown)?, &self.storage);
            column.append_value(&self.url);
        }
        if self.columns.has(5) { self.metadata.append(entry.metadata()) } else { Ok(()) }
    }

    /// Adds a row for a side that has no entry: null in all columns but the path.
    pub(crate) fn append_absent(&mut self) {
        self.rows += 1;
        self.absent += 1;
    }

    fn append_nulls(&mut self) {
        let rows = std::mem::take(&mut self.absent);
        if let Some(column) = &mut self.size {
            column.append_nulls(rows);
        }
        if let Some(column) = &mut self.mtime {
            column.append_nulls(rows);
        }
        for text in [&mut self.etag, &mut self.content_type, &mut self.address].into_iter().flatten() {
            text.append_nulls(rows);
        }
        if let Some(column) = &mut self.identity {
            column.append_nulls(rows);
        }
        if self.columns.has(5) {
            self.metadata.bare += rows;
        }
    }

    /// The batch, its rows under `paths`; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, paths: &StringArray) -> Result<EntryBatch> {
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<ArrayRef> = (0..ENTRY_SCHEMA.fields().len()).map(|i| nulls(i, rows)).collect();
        columns[0] = Arc::new(paths.clone());
        if self.absent == rows {
            self.absent = 0;
        } else {
            self.append_nulls();
            self.finish_columns(&mut columns, rows)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&ENTRY_SCHEMA), columns, &options)
            .map(EntryBatch)
            .map_err(|e| Error::bug(format!("entry batch: {e}")))
    }

    /// Puts the wanted columns in place. Arrow's builders start from nothing after a batch, so each gets a new one.
    fn finish_columns(&mut self, columns: &mut [ArrayRef], rows: usize) -> Result<()> {
        let capacity = self.capacity;
        if let Some(column) = &mut self.size {
            columns[1] = Arc::new(std::mem::replace(column, Int64Builder::with_capacity(capacity)).finish());
        }
        if let Some(column) = &mut self.mtime {
            columns[3] = Arc::new(std::mem::replace(column, mtimes(capacity)).finish());
        }
        for (position, text) in [(2, &mut self.etag), (4, &mut self.content_type), (6, &mut self.address)] {
            if let Some(text) = text {
                columns[position] = finish_text(text, capacity);
            }
        }
        if self.columns.has(5) {
            columns[5] = self.metadata.finish(rows)?;
        }
        if let Some(column) = &mut self.identity {
            let fresh = BinaryBuilder::with_capacity(capacity, column.values_slice().len());
            columns[7] = Arc::new(std::mem::replace(column, fresh).finish());
        }
        Ok(())
    }
}

fn mtimes(capacity: usize) -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::with_capacity(capacity).with_timezone("UTC")
}

fn append_text(column: &mut Option<StringBuilder>, text: &str) {
    match column {
        Some(column) if text.is_empty() => column.append_null(),
        Some(column) => column.append_value(text),
        None => {}
    }
}

fn micros(entry: &EntryRef<'_>) -> i64 {
    entry.mtime_secs.saturating_mul(1_000_000).saturating_add(i64::from(entry.mtime_nanos) / 1_000)
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
