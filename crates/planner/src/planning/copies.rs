//! The copies of a batch, column by column: rows that are copied and lie side by side become rows of a plan without being
//! touched.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::take;

use crate::error::{Error, Result};
use crate::part::Part;
use crate::plan::{Action, UNPLACED_SCHEMA, bare_metadata};
use crate::table::DiffBatch;

/// Rows side by side, on average, from which on they are not gathered: in a full plan only markers lie between them.
const LONG_RUN: usize = 128;

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

    /// Rows of a plan, each batch for one round, from the right side of `batch`.
    pub(super) fn into_batches(self, batch: &DiffBatch, part: &Part) -> Result<Vec<(i32, RecordBatch)>> {
        let mut batches = Vec::new();
        for (round, (rows, reasons)) in self.0 {
            let runs = runs(&rows);
            if runs.len() * LONG_RUN > rows.len() && runs.len() > 1 {
                let chosen = UInt32Array::from(rows);
                let gather = |column: &ArrayRef| take(column, &chosen, None).map_err(|e| broken(&e));
                batches.push((round, rows_of(batch, part, round, &reasons, gather)?));
                continue;
            }
            let mut reasons = reasons.as_slice();
            for run in runs {
                let (these, rest) = reasons.split_at(run.len());
                reasons = rest;
                batches.push((round, rows_of(batch, part, round, these, |column| Ok(column.slice(run.start, run.len())))?));
            }
        }
        Ok(batches)
    }
}

/// The ascending `rows` as runs without gaps.
fn runs(rows: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for row in rows.iter().map(|row| *row as usize) {
        match runs.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

fn broken(error: &datafusion::arrow::error::ArrowError) -> Error {
    Error::bug(format!("plan rows: {error}"))
}

/// Rows of a plan: of each column what `pick` makes of it, for rows with these `reasons`.
fn rows_of(
    batch: &DiffBatch,
    part: &Part,
    round: i32,
    reasons: &[&'static str],
    pick: impl Fn(&ArrayRef) -> Result<ArrayRef>,
) -> Result<RecordBatch> {
    let count = reasons.len();
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
            Arc::new(StringArray::from(reasons.to_vec())),
        ],
    )
    .map_err(|e| broken(&e))
}

/// The keys of `paths` at the destination.
fn keys(paths: &ArrayRef, part: &Part) -> Result<ArrayRef> {
    if part.is_all() {
        return Ok(Arc::clone(paths));
    }
    let Some(texts) = paths.as_any().downcast_ref::<StringArray>() else { return Err(Error::bug("paths are no texts")) };
    Ok(Arc::new(texts.iter().map(|path| part.re_root(path.unwrap_or_default())).collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_side_by_side_are_one_run() {
        assert!(runs(&[]).is_empty());
        assert_eq!(runs(&[1, 2]).first(), Some(&(1..3)));
        assert_eq!(runs(&[0, 1, 3, 5, 6]), [0..2, 3..4, 5..7]);
    }
}
