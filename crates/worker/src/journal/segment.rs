//! One file of a journal: its name, its columns, its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::store::{FailureKind, StoreError, StoreResult};

/// Shards that a name lists; a segment with more of them is named `many`.
const MOST_NAMED: usize = 16;

/// Columns of a segment:
///
/// | column | type | is |
/// |---|---|---|
/// | `shard`, `row` | `Int32` | which row of the plan |
/// | `state` | `Utf8` | `done`, `failed`, `uploading` |
/// | `bytes` | `Int64` | payload written |
/// | `stored_etag`, `checksum`, `proof` | `Utf8?` | as in the outcome |
/// | `error_kind`, `error` | `Utf8?` | as in the outcome |
/// | `key` | `Utf8?` | of `uploading`: the key below the destination |
/// | `generation` | `Int64` | of the lease that it was written under |
pub static JOURNAL_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        Field::new("shard", DataType::Int32, false),
        Field::new("row", DataType::Int32, false),
        text("state", false),
        Field::new("bytes", DataType::Int64, false),
        text("stored_etag", true),
        text("checksum", true),
        text("proof", true),
        text("error_kind", true),
        text("error", true),
        text("key", true),
        Field::new("generation", DataType::Int64, false),
    ]))
});

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Done as planned.
    Done,
    /// It failed; it is tried again when the run goes on.
    Failed,
    /// An upload in parts is about to be created for it.
    Uploading,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Uploading => "uploading",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Done, Self::Failed, Self::Uploading].into_iter().find(|state| state.as_str() == text)
    }
}

/// One row of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The row's shard.
    pub shard: i32,
    /// Its number there.
    pub row: i32,
    /// How it stands.
    pub state: State,
    /// Payload written, in bytes.
    pub bytes: i64,
    /// `stored_etag`, `checksum`, `proof`, `error_kind`, `error` and `key`, as in [`JOURNAL_SCHEMA`].
    pub texts: [Option<String>; 6],
}

impl Entry {
    /// An upload in parts of `key` is about to be created.
    #[must_use]
    pub fn upload(shard: i32, row: i32, key: &str) -> Self {
        let texts = [None, None, None, None, None, Some(key.to_owned())];
        Self { shard, row, state: State::Uploading, bytes: 0, texts }
    }
}

/// The name of a segment: its shards, the attempt, its number, the checksum of its bytes.
pub(super) fn name(entries: &[Entry], attempt: &str, number: u32, body: &[u8]) -> String {
    let shards: BTreeSet<i32> = entries.iter().map(|entry| entry.shard).collect();
    let shards = if shards.len() > MOST_NAMED {
        "many".to_owned()
    } else {
        shards.iter().map(i32::to_string).collect::<Vec<_>>().join(".")
    };
    format!("{shards}-{attempt}-{number:05}-{:016x}.parquet", checksum(body))
}

fn checksum(body: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body)
}

/// Whether a segment has the bytes that its name was made of. Names of earlier versions do not say.
pub(super) fn is_whole(name: &str, body: &[u8]) -> bool {
    let stem = name.rsplit('/').next().and_then(|name| name.strip_suffix(".parquet")).unwrap_or_default();
    let said = stem.split('-').nth(3);
    said.is_none_or(|said| *said == format!("{:016x}", checksum(body)))
}

/// A segment that was removed: one with a higher number of the same attempt is there. Names of earlier versions do not tell.
pub(super) fn removed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut attempts: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
    for path in names {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parts: Vec<&str> = name.strip_suffix(".parquet").unwrap_or_default().split('-').collect();
        if let [_, attempt, number, _] = parts[..]
            && let Ok(number) = number.parse()
        {
            attempts.entry((folder, attempt)).or_default().insert(number);
        }
    }
    attempts.into_iter().find_map(|((folder, attempt), numbers)| {
        let number = (0..*numbers.last()?).find(|number| !numbers.contains(number))?;
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Some(format!("{folder}*-{attempt}-{number:05}-*.parquet"))
    })
}

/// The shards that a segment of this name may have rows of: `None` for any. Not a segment: `Err`.
pub(super) fn shards_of(name: &str) -> Result<Option<Vec<i32>>, ()> {
    // Tasks of a cluster have folders of their own.
    let name = name.rsplit('/').next().unwrap_or(name);
    let shards = name.strip_suffix(".parquet").and_then(|name| name.split('-').next()).ok_or(())?;
    if shards == "many" {
        return Ok(None);
    }
    shards.split('.').map(|shard| shard.parse().map_err(|_| ())).collect::<Result<_, ()>>().map(Some)
}

/// The bytes of a segment.
pub(super) fn encode(entries: &[Entry], generation: u64) -> StoreResult<Bytes> {
    let broken = |e: &dyn std::fmt::Display| StoreError::new(FailureKind::Other, format!("a journal segment: {e}"));
    let mut texts: [StringBuilder; 6] = std::array::from_fn(|_| StringBuilder::new());
    for entry in entries {
        texts.iter_mut().zip(&entry.texts).for_each(|(column, text)| column.append_option(text.as_deref()));
    }
    let generation = i64::try_from(generation).unwrap_or(i64::MAX);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(entries.iter().map(|e| e.shard).collect::<Int32Array>()),
        Arc::new(entries.iter().map(|e| e.row).collect::<Int32Array>()),
        Arc::new(entries.iter().map(|e| Some(e.state.as_str())).collect::<StringArray>()),
        Arc::new(entries.iter().map(|e| e.bytes).collect::<Int64Array>()),
    ];
    columns.extend(texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    columns.push(Arc::new(Int64Array::from(vec![generation; entries.len()])));
    let batch = RecordBatch::try_new(Arc::clone(&JOURNAL_SCHEMA), columns).map_err(|e| broken(&e))?;
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&JOURNAL_SCHEMA), None).map_err(|e| broken(&e))?;
    writer.write(&batch).map_err(|e| broken(&e))?;
    writer.into_inner().map(Bytes::from).map_err(|e| broken(&e))
}

/// The rows of a segment.
pub(super) fn decode(bytes: Bytes) -> Result<Vec<Entry>, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
    if reader.schema().fields() != JOURNAL_SCHEMA.fields() {
        return Err("its columns are not those of a journal".to_owned());
    }
    let mut entries = Vec::new();
    for batch in reader.build().map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        let (shard, row) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int32Type>());
        let (state, bytes) = (batch.column(2).as_string::<i32>(), batch.column(3).as_primitive::<Int64Type>());
        for i in 0..batch.num_rows() {
            let texts = std::array::from_fn(|at| {
                let column = batch.column(4 + at).as_string::<i32>();
                column.is_valid(i).then(|| column.value(i).to_owned())
            });
            let state = State::parse(state.value(i)).ok_or_else(|| format!("`{}` is no state of a row", state.value(i)))?;
            entries.push(Entry { shard: shard.value(i), row: row.value(i), state, bytes: bytes.value(i), texts });
        }
    }
    Ok(entries)
}
