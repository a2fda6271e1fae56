//! Merges that run elsewhere: clusters of ranges go out in parts, their rows come back as batches, in key order.
//!
//! ```text
//! clusters ─▶ parts ─▶ [`Merges`]: [`merge_part`] where the part is ─▶ batches, and what was read ─▶ rows of the diff
//! ```
//! What comes back is what a merge here would have given, batch by batch.

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use graveler::{Counters, RangeInfo};
use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, Mode};
use super::merge::{DiffBatch, MergeSpec};
use super::stream::merge_clusters;
use crate::entry::{Columns, ENTRY_SCHEMA, EntryBatch};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::part::Part;
use crate::source::namespace_at;
use crate::stores::Stores;

/// Ranges of a part, about.
const PART_RANGES: usize = 4;

/// Differences that open fewer ranges are merged here faster than jobs are made of them.
const MANY_RANGES: usize = 256;

/// Columns of an entry but its path.
const COLUMNS: usize = 7;

/// What comes back: the path, both sides' entries, the flags of [`DiffBatch`]. The last row of a part is none of its rows: it
/// has the part's number for a path, and the bytes of metadata that were read for it in `read`.
pub static MERGED_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let side = |side: &'static str| {
        let columns = ENTRY_SCHEMA.fields().iter().skip(1);
        columns.map(move |column| Field::new(format!("{side}_{}", column.name()), column.data_type().clone(), true))
    };
    let flags = ["has_left", "has_right", "same", "touched"].map(|flag| Field::new(flag, DataType::Boolean, false));
    let columns = std::iter::once(Field::new("path", DataType::Utf8, false)).chain(side("left")).chain(side("right"));
    let read = Field::new("read", DataType::Int64, true);
    Arc::new(Schema::new(columns.chain(flags).chain([read]).collect::<Vec<_>>()))
});

/// Who merges elsewhere.
pub trait Merges: Debug + Send + Sync {
    /// The batches of all `parts`, of [`MERGED_SCHEMA`], in their order.
    fn merge(&self, task: MergeTask, parts: Vec<MergePart>) -> BoxStream<'static, Result<RecordBatch>>;
}

/// Who merges, and when.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    /// Who.
    pub merges: Arc<dyn Merges>,
    /// Whatever it is; else only large differences, of which few rows come back.
    pub always: bool,
}

impl Elsewhere {
    pub(super) fn takes(&self, mode: Mode, ranges: usize) -> bool {
        self.always || (mode != Mode::All && ranges >= MANY_RANGES)
    }
}

/// What all parts of a merge have in common; no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeTask {
    /// Where the lake is stored.
    pub storage: Location,
    mode: Mode,
    part: String,
    left: Columns,
    right: Columns,
    addresses: String,
}

/// Clusters side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergePart {
    /// Its place among the parts.
    pub number: u32,
    /// Bytes of its ranges, by their estimates.
    pub bytes: u64,
    clusters: Vec<Sent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    left: Vec<SentRange>,
    right: Vec<SentRange>,
    touched: Vec<String>,
}

/// A range; its keys in hex: they need not be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SentRange(String, String, String, u64, u64);

impl SentRange {
    fn of(range: &RangeInfo) -> Self {
        Self(range.id.clone(), hex::encode(&range.min_key), hex::encode(&range.max_key), range.count, range.estimated_size)
    }

    fn range(&self) -> Result<RangeInfo> {
        let key = |text: &str| hex::decode(text).map_err(|e| Error::bug(format!("a range's key: {e}")));
        Ok(RangeInfo {
            id: self.0.clone(),
            min_key: key(&self.1)?.into(),
            max_key: key(&self.2)?.into(),
            count: self.3,
            estimated_size: self.4,
        })
    }
}

/// A merge as it is sent.
pub(super) fn sent(storage: &Location, clusters: &[Cluster], spec: &MergeSpec) -> (MergeTask, Vec<MergePart>) {
    let task = MergeTask {
        storage: storage.clone(),
        mode: spec.mode,
        part: spec.part.as_str().to_owned(),
        left: spec.left,
        right: spec.right,
        addresses: spec.storage.to_string(),
    };
    let mut parts: Vec<MergePart> = Vec::new();
    let mut ranges = PART_RANGES;
    for cluster in clusters {
        if ranges >= PART_RANGES {
            let number = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            parts.push(MergePart { number, bytes: 0, clusters: Vec::new() });
            ranges = 0;
        }
        ranges += cluster.left.len() + cluster.right.len();
        let side = |side: &[RangeInfo]| side.iter().map(SentRange::of).collect();
        let touched = spec.touched[cluster.touched.0..cluster.touched.1].to_vec();
        if let Some(part) = parts.last_mut() {
            part.bytes += cluster.left.iter().chain(&cluster.right).map(|range| range.estimated_size).sum::<u64>();
            part.clusters.push(Sent { left: side(&cluster.left), right: side(&cluster.right), touched });
        }
    }
    (task, parts)
}

/// Merges a part where it is: its batches, and the row that ends it.
///
/// # Errors
/// Settings that name no usable store; what cannot be read is an error of the stream.
pub fn merge_part(stores: &dyn Stores, task: &MergeTask, part: &MergePart) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let namespace = namespace_at(&task.storage, stores)?;
    let (mut clusters, mut touched) = (Vec::new(), Vec::new());
    for one in &part.clusters {
        let side = |side: &[SentRange]| side.iter().map(SentRange::range).collect::<Result<Vec<_>>>();
        let from = touched.len();
        touched.extend(one.touched.iter().cloned());
        clusters.push(Cluster { left: side(&one.left)?, right: side(&one.right)?, touched: (from, touched.len()) });
    }
    let spec = MergeSpec {
        mode: task.mode,
        part: Part::new(&task.part),
        left: task.left,
        right: task.right,
        storage: task.addresses.as_str().into(),
        touched: touched.into(),
    };
    let counters = Arc::clone(namespace.counters());
    let rows = merge_clusters((namespace.clone(), namespace), clusters, spec);
    let rows = rows.and_then(|batch| std::future::ready(packed(&batch)));
    let number = part.number;
    Ok(rows.chain(stream::once(async move { end_of(number, counters.snapshot().bytes_read) })).boxed())
}

/// The part that `batches` are all of.
///
/// # Errors
/// `Unreachable` where they have no end.
pub fn part_of(batches: &[RecordBatch]) -> Result<u32> {
    let last = batches.last().filter(|batch| is_end(batch));
    let number = last.and_then(|batch| batch.column(0).as_string::<i32>().value(0).parse().ok());
    number.ok_or_else(|| Error::unreachable("rows of a merge came back without their end"))
}

/// Rows of a diff from what came back; what was read for them is counted as read here.
pub(super) fn received(counters: &Counters, batch: &RecordBatch) -> Result<Option<DiffBatch>> {
    if is_end(batch) {
        counters.read(usize::try_from(batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>().value(0)).unwrap_or(0));
        return Ok(None);
    }
    let flag = |position: usize| batch.column(1 + 2 * COLUMNS + position).as_boolean().clone();
    let side = |side: usize| {
        let columns = batch.columns().iter().skip(1 + side * COLUMNS).take(COLUMNS);
        let columns = std::iter::once(batch.column(0)).chain(columns).cloned().collect();
        let entries = RecordBatch::try_new(Arc::clone(&ENTRY_SCHEMA), columns);
        entries.map(EntryBatch::new).map_err(|e| Error::bug(format!("rows of a merge: {e}")))
    };
    Ok(Some(DiffBatch {
        paths: batch.column(0).as_string::<i32>().clone(),
        left: side(0)?,
        right: side(1)?,
        has_left: flag(0),
        has_right: flag(1),
        same: flag(2),
        touched: flag(3),
    }))
}

fn is_end(batch: &RecordBatch) -> bool {
    batch.num_rows() == 1
        && batch.num_columns() == MERGED_SCHEMA.fields().len()
        && batch.column(batch.num_columns() - 1).is_valid(0)
}

fn packed(batch: &DiffBatch) -> Result<RecordBatch> {
    let flags = [&batch.has_left, &batch.has_right, &batch.same, &batch.touched];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(batch.paths.clone())];
    for side in [&batch.left, &batch.right] {
        columns.extend(side.batch().columns()[1..].iter().cloned());
    }
    columns.extend(flags.map(|flag| Arc::new(flag.clone()) as ArrayRef));
    columns.push(new_null_array(&DataType::Int64, batch.len()));
    merged(columns)
}

fn end_of(number: u32, read: u64) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = MERGED_SCHEMA.fields().iter().map(|column| new_null_array(column.data_type(), 1)).collect();
    columns[0] = Arc::new(StringArray::from(vec![number.to_string()]));
    for flag in columns.iter_mut().skip(1 + 2 * COLUMNS).take(4) {
        *flag = Arc::new(BooleanArray::from(vec![false]));
    }
    if let Some(last) = columns.last_mut() {
        *last = Arc::new(Int64Array::from(vec![i64::try_from(read).unwrap_or(i64::MAX)]));
    }
    merged(columns)
}

fn merged(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(&MERGED_SCHEMA), columns).map_err(|e| Error::bug(format!("rows of a merge: {e}")))
}
