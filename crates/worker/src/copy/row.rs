//! Plan rows as the copier reads them, and outcomes as it writes them: columns are shared, not copied.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Array, Int64Array, Int64Builder, MapArray, RecordBatch, StringArray,
    StringBuilder,
};
use datafusion::arrow::compute::{cast, interleave_record_batch};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::error::{DataFusionError, Result};
use planner::plan::{Action, ROW_SCHEMA};

use crate::OUTCOME_SCHEMA;
use crate::journal::{Entry, State};
use crate::store::{Attributes, StoreError, UserMetadata};

/// A batch of plan rows with its columns at hand.
#[derive(Debug)]
pub(crate) struct Rows {
    batch: RecordBatch,
    action: StringArray,
    key: StringArray,
    source: StringArray,
    size: Int64Array,
    etag: StringArray,
    content_type: StringArray,
    metadata: MapArray,
    shard: Int32Array,
    row: Int32Array,
}

impl Rows {
    /// Takes columns by name; other string types than the plan's own (views, dictionaries) are cast.
    pub(crate) fn try_new(batch: &RecordBatch) -> Result<Arc<Self>> {
        let columns = ROW_SCHEMA.fields().iter().map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                DataFusionError::from(planner::Error::usage(format!("the plan has no column `{}`", field.name())))
            })?;
            Ok(if column.data_type() == field.data_type() { Arc::clone(column) } else { cast(column, field.data_type())? })
        });
        let batch = RecordBatch::try_new(Arc::clone(&ROW_SCHEMA), columns.collect::<Result<Vec<ArrayRef>>>()?)?;
        let text = |name: &str| -> StringArray { named(&batch, name).as_string::<i32>().clone() };
        Ok(Arc::new(Self {
            action: text("action"),
            key: text("key"),
            source: text("source"),
            size: named(&batch, "size").as_primitive::<Int64Type>().clone(),
            etag: text("etag"),
            content_type: text("content_type"),
            metadata: named(&batch, "metadata").as_map().clone(),
            shard: named(&batch, "shard").as_primitive::<Int32Type>().clone(),
            row: named(&batch, "row").as_primitive::<Int32Type>().clone(),
            batch,
        }))
    }

    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }
}

fn named<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    // The schema was just set.
    batch.column(ROW_SCHEMA.index_of(name).unwrap_or_default())
}

/// One row of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    rows: Arc<Rows>,
    index: usize,
}

impl Row {
    pub(crate) fn new(rows: Arc<Rows>, index: usize) -> Self {
        Self { rows, index }
    }

    /// Its shard, and its number there.
    pub(crate) fn place(&self) -> (i32, i32) {
        (self.rows.shard.value(self.index), self.rows.row.value(self.index))
    }

    /// `None` for a word that is no action.
    pub(crate) fn action(&self) -> Option<Action> {
        Action::parse(self.rows.action.value(self.index))
    }

    pub(crate) fn key(&self) -> &str {
        self.rows.key.value(self.index)
    }

    pub(crate) fn source(&self) -> Option<&str> {
        self.text(&self.rows.source)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        let size = &self.rows.size;
        size.is_valid(self.index).then(|| u64::try_from(size.value(self.index)).ok()).flatten()
    }

    /// Without quotes; an empty one is none.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.text(&self.rows.etag).map(|etag| etag.trim_matches('"')).filter(|etag| !etag.is_empty())
    }

    /// What the entry says of the object; `None` when it says nothing, and what the source carries is kept.
    pub(crate) fn attributes(&self) -> Option<Attributes> {
        let content_type = self.text(&self.rows.content_type).filter(|text| !text.is_empty()).map(str::to_owned);
        let said = Attributes { content_type, metadata: self.metadata(), ..Attributes::default() };
        (!said.is_empty()).then_some(said)
    }

    fn metadata(&self) -> UserMetadata {
        if !self.rows.metadata.is_valid(self.index) {
            return UserMetadata::new();
        }
        let entries = self.rows.metadata.value(self.index);
        let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
        (0..entries.len())
            .map(|at| (keys.value(at).to_owned(), if values.is_valid(at) { values.value(at).to_owned() } else { String::new() }))
            .collect()
    }

    fn text<'a>(&self, column: &'a StringArray) -> Option<&'a str> {
        column.is_valid(self.index).then(|| column.value(self.index))
    }
}

/// What a row that was done left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) etag: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) proof: Option<Cow<'static, str>>,
}

/// What happened to one row.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) end: std::result::Result<Done, StoreError>,
    /// It was done before, and is only told again.
    pub(crate) replayed: bool,
}

impl Outcome {
    /// As the journal keeps it.
    pub(crate) fn entry(&self) -> Entry {
        let (shard, row) = self.row.place();
        match &self.end {
            Ok(done) => Entry {
                shard,
                row,
                state: State::Done,
                bytes: i64::try_from(done.bytes).unwrap_or(i64::MAX),
                texts: [done.etag.clone(), done.checksum.clone(), done.proof.as_deref().map(str::to_owned), None, None, None],
            },
            Err(error) => {
                let (kind, message) = (error.kind.as_str().to_owned(), error.message.clone());
                Entry { shard, row, state: State::Failed, bytes: 0, texts: [None, None, None, Some(kind), Some(message), None] }
            }
        }
    }
}

/// Outcomes as rows of [`OUTCOME_SCHEMA`].
pub(crate) fn outcome_batch(outcomes: &[Outcome]) -> Result<RecordBatch> {
    let mut batches: Vec<&Arc<Rows>> = Vec::new();
    let mut indices = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        let rows = &outcome.row.rows;
        // Outcomes are of a few batches, the newest last.
        let at = batches.iter().rposition(|known| Arc::ptr_eq(known, rows)).unwrap_or_else(|| {
            batches.push(rows);
            batches.len() - 1
        });
        indices.push((at, outcome.row.index));
    }
    let batches: Vec<&RecordBatch> = batches.into_iter().map(|rows| &rows.batch).collect();
    let rows = if batches.is_empty() {
        RecordBatch::new_empty(Arc::clone(&ROW_SCHEMA))
    } else {
        interleave_record_batch(&batches, &indices)?
    };
    let (mut ok, mut bytes) = (BooleanBuilder::new(), Int64Builder::new());
    let mut texts: [StringBuilder; 5] = std::array::from_fn(|_| StringBuilder::new());
    for outcome in outcomes {
        ok.append_value(outcome.end.is_ok());
        let [etag, checksum, proof, kind, error] = match &outcome.end {
            Ok(done) => [done.etag.as_deref(), done.checksum.as_deref(), done.proof.as_deref(), None, None],
            Err(error) => [None, None, None, Some(error.kind.as_str()), Some(error.message.as_str())],
        };
        bytes.append_value(outcome.end.as_ref().map_or(0, |done| i64::try_from(done.bytes).unwrap_or(i64::MAX)));
        texts.iter_mut().zip([etag, checksum, proof, kind, error]).for_each(|(column, text)| column.append_option(text));
    }
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(ok.finish()));
    columns.push(Arc::new(bytes.finish()));
    columns.extend(texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    Ok(RecordBatch::try_new(Arc::clone(&OUTCOME_SCHEMA), columns)?)
}
