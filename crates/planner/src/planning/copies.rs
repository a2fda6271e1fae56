//! The copies of a batch, column by column: a batch of which every row is copied becomes rows of a plan without being touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::take;

use crate::error::{Error, Result};
use crate::part::Part;
use crate::plan::{Action, UNPLACED_SCHEMA, bare_metadata};
use crate::table::DiffBatch;

/// Rows of a batch that are copied, by round, each with its reason.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<i32, (Vec<u32>, Vec<&'static str>)>);

impl Copies {
    pub(super) fn add(&mut self, round: i32, row: usize, reason: &'static str) {
        let (rows, reasons) = self.0.entry(round).or_default();
        // A batch has a few thousand rows.
        rows.push(u32::try_from(row).unwrap_or(u32::MAX));
        reasons.push(reason);
    }

    pub(super) fn len(&self) -> u64 {
        self.0.values().map(|(rows, _)| rows.len() as u64).sum()
    }

    /// Rows of a plan, a batch a round, from the right side of `batch`.
    pub(super) fn into_batches(self, batch: &DiffBatch, part: &Part) -> Result<Vec<(i32, RecordBatch)>> {
        self.0.into_iter().map(|(round, (rows, reasons))| Ok((round, rows_of(batch, part, round, rows, reasons)?))).collect()
    }
}

fn rows_of(batch: &DiffBatch, part: &Part, round: i32, rows: Vec<u32>, reasons: Vec<&'static str>) -> Result<RecordBatch> {
    let broken = |e: datafusion::arrow::error::ArrowError| Error::bug(format!("plan rows: {e}"));
    let count = rows.len();
    let chosen = (count < batch.len()).then(|| UInt32Array::from(rows));
    let pick = |column: &ArrayRef| match &chosen {
        Some(indices) => take(column, indices, None).map_err(broken),
        None => Ok(Arc::clone(column)),
    };
    let right = batch.right.batch().columns();
    let paths = pick(&(Arc::new(batch.paths.clone()) as ArrayRef))?;
    RecordBatch::try_new(
        Arc::clone(&UNPLACED_SCHEMA),
        vec![
            Arc::new(Int32Array::from(vec![round; count])),
            Arc::new(StringArray::from(vec![Action::Copy.as_str(); count])),
            keys(&paths, part)?,
            paths,
            pick(&right[6])?,
            pick(&right[1])?,
            pick(&right[2])?,
            pick(&right[4])?,
            bare_metadata(&pick(&right[5])?)?,
            pick(&right[3])?,
            pick(&right[7])?,
            Arc::new(StringArray::from(reasons)),
        ],
    )
    .map_err(broken)
}

/// The keys of `paths` at the destination.
fn keys(paths: &ArrayRef, part: &Part) -> Result<ArrayRef> {
    if part.is_all() {
        return Ok(Arc::clone(paths));
    }
    let Some(texts) = paths.as_any().downcast_ref::<StringArray>() else { return Err(Error::bug("paths are no texts")) };
    Ok(Arc::new(texts.iter().map(|path| part.re_root(path.unwrap_or_default())).collect::<StringArray>()))
}
