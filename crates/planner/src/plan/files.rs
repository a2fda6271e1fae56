//! The shards' files: written by a thread of their own, so that encoding and hashing go on beside planning.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Encoding;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use datafusion::parquet::schema::types::ColumnPath;
use tokio::sync::mpsc;

use super::contents::{Shard, Step};
use super::row::{Action, ROW_SCHEMA};
use super::shard::shard_limit;
use super::write::StepKey;
use crate::digest::FileDigest;
use crate::error::{Error, Result};

/// Columns whose values are nearly all different: a dictionary of them would be built and thrown away.
const UNIQUE: [&str; 6] = ["key", "path", "source", "etag", "identity", "row"];

/// Rows that a writer holds before they go to its file: a shard grows with its plan, memory does not.
const GROUP_ROWS: usize = 16 << 10;

const ROOM: &str =
    "plans are first written to a temporary folder (TMPDIR), or beside the folder of -o: it needs room and permission";

/// Writes batches to the files of their steps until the sender is gone; the steps with their shards.
pub(super) fn write_all(root: &Path, mut batches: mpsc::Receiver<(StepKey, RecordBatch)>) -> Result<BTreeMap<StepKey, Step>> {
    let mut steps: BTreeMap<StepKey, StepFiles> = BTreeMap::new();
    let mut numbers = 0;
    while let Some((key, batch)) = batches.blocking_recv() {
        let step = match steps.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(StepFiles::new(root, key)?),
        };
        step.append(&batch, &mut numbers)?;
    }
    steps
        .into_iter()
        .map(|(key, step)| Ok((key, Step { action: key.action, ordered: key.ordered, shards: step.finish()? })))
        .collect()
}

/// A shard that is being written.
struct Open {
    number: i32,
    name: String,
    writer: ArrowWriter<BufWriter<File>>,
    /// Rows so far.
    rows: i32,
}

/// The files of one step.
struct StepFiles {
    root: PathBuf,
    key: StepKey,
    open: Option<Open>,
    /// Rows and payload bytes of the open shard, and of the step.
    shard: (u64, u64),
    /// Payload bytes of the open shard's largest row.
    largest: u64,
    step: (u64, u64),
    shards: Vec<Shard>,
}

impl StepFiles {
    fn new(root: &Path, key: StepKey) -> Result<Self> {
        let folder = root.join(format!("round-{}", key.round));
        std::fs::create_dir_all(&folder).map_err(|e| io_error(&folder, &e))?;
        Ok(Self { root: root.to_owned(), key, open: None, shard: (0, 0), largest: 0, step: (0, 0), shards: vec![] })
    }

    /// Writes a batch, cut where a shard is full.
    fn append(&mut self, batch: &RecordBatch, numbers: &mut i32) -> Result<()> {
        let sizes = batch.column_by_name("size").map(AsArray::as_primitive::<Int64Type>);
        let payload = |i: usize| match sizes {
            Some(sizes) if self.key.action == Action::Copy && sizes.is_valid(i) => sizes.value(i).unsigned_abs(),
            _ => 0,
        };
        let payloads: Vec<u64> = (0..batch.num_rows()).map(payload).collect();
        let mut from = 0;
        for (i, bytes) in payloads.iter().enumerate() {
            self.shard = (self.shard.0 + 1, self.shard.1 + bytes);
            self.largest = self.largest.max(*bytes);
            self.step = (self.step.0 + 1, self.step.1 + bytes);
            // Rows of one shard are read in their order; of several shards no order holds.
            if !self.key.ordered && shard_limit(self.shard.0, self.shard.1, self.step.0, self.step.1) {
                self.write(&batch.slice(from, i + 1 - from), numbers)?;
                self.close()?;
                from = i + 1;
            }
        }
        self.write(&batch.slice(from, batch.num_rows() - from), numbers)
    }

    fn write(&mut self, rows: &RecordBatch, numbers: &mut i32) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(self.create(numbers)?),
        };
        let placed = open.place(rows)?;
        open.writer.write(&placed).map_err(|e| unwritten(&open.name, &e))
    }

    fn create(&self, numbers: &mut i32) -> Result<Open> {
        let name = format!("round-{}/{}-{:05}.parquet", self.key.round, self.key.label(), self.shards.len());
        let path = self.root.join(&name);
        let file = File::create(&path).map_err(|e| io_error(&path, &e))?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&ROW_SCHEMA), Some(properties()));
        let number = *numbers;
        *numbers += 1;
        Ok(Open { number, name, writer: writer.map_err(|e| Error::bug(format!("plan shard: {e}")))?, rows: 0 })
    }

    fn close(&mut self) -> Result<()> {
        let Some(Open { number, name: file, writer, .. }) = self.open.take() else { return Ok(()) };
        let path = self.root.join(&file);
        let failed = |e: &dyn std::fmt::Display| unwritten(&file, e);
        let inner = writer.into_inner().map_err(|e| failed(&e))?;
        inner.into_inner().map_err(|e| failed(&e))?;
        let FileDigest { bytes: file_bytes, sha256 } = FileDigest::of(&path).map_err(|e| io_error(&path, &e))?;
        let (rows, bytes) = std::mem::take(&mut self.shard);
        let largest = std::mem::take(&mut self.largest);
        self.shards.push(Shard { number, file, rows, bytes, largest, file_bytes, sha256 });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Shard>> {
        self.close()?;
        Ok(self.shards)
    }
}

impl Open {
    /// The rows with their places in this shard.
    fn place(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = i32::try_from(rows.num_rows()).map_err(|e| Error::bug(format!("plan rows: {e}")))?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int32Array::from(vec![self.number; rows.num_rows()])));
        columns.push(Arc::new(Int32Array::from_iter_values(self.rows..self.rows + count)));
        self.rows += count;
        RecordBatch::try_new(Arc::clone(&ROW_SCHEMA), columns).map_err(|e| Error::bug(format!("plan rows: {e}")))
    }
}

fn properties() -> WriterProperties {
    let plain = |builder: WriterPropertiesBuilder, name: &&str| {
        let column = ColumnPath::from(*name);
        let encoding = if *name == "row" { Encoding::DELTA_BINARY_PACKED } else { Encoding::PLAIN };
        builder.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, encoding)
    };
    let builder = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    let builder = builder.set_max_row_group_row_count(Some(GROUP_ROWS));
    UNIQUE.iter().fold(builder, plain).build()
}

fn unwritten(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::unreachable(format!("the plan's {name} cannot be written: {error}")).with_help(ROOM)
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    Error::unreachable(format!("{}: {error}", path.display())).with_help(ROOM)
}
