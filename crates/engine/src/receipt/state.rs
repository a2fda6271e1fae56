//! The state that a chain of receipts gives: the newest row of every key, in key order, in flat memory.
//!
//! ```text
//! changes.parquet of each receipt ─▶ sort by key, newest first (spills to disk) ─▶ first row of every key
//! ```

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use planner::{Error, Result};

use super::CHANGES_SCHEMA;
use crate::session::unreadable;

/// In which order rows of one key come: the newest first; of a marker's two rows in one receipt the one that is present.
pub(crate) const NEWEST_FIRST: &str = "seq DESC, present DESC";

/// The newest row of every key of the table `changes`, those of removed objects included. Columns of
/// [`CHANGES_SCHEMA`], ordered by `by`, which is `key` or `path`.
///
/// # Errors
/// Receipts that cannot be read.
pub async fn newest(context: &SessionContext, by: &str) -> Result<Newest> {
    let columns: Vec<&str> = CHANGES_SCHEMA.fields().iter().map(|f| f.name().as_str()).collect();
    let query = format!("SELECT {} FROM changes ORDER BY {by}, key, {NEWEST_FIRST}", columns.join(", "));
    let stream = context.sql(&query).await?.execute_stream().await?;
    Ok(Newest { stream, firsts: Firsts::default() })
}

/// A stream of states.
pub struct Newest {
    stream: SendableRecordBatchStream,
    firsts: Firsts,
}

impl std::fmt::Debug for Newest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Newest").field("firsts", &self.firsts).finish_non_exhaustive()
    }
}

impl Newest {
    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// Receipts that cannot be read.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.stream.next().await {
            let batch = batch.map_err(unreadable)?;
            let first = self.firsts.mask(batch.column(0).as_string::<i32>());
            let newest = filter_record_batch(&batch, &first).map_err(|e| Error::bug(format!("a state: {e}")))?;
            if newest.num_rows() > 0 {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }
}

/// Finds the first row of every run of equal keys, over the bounds of batches.
#[derive(Debug, Default)]
struct Firsts {
    last: Option<String>,
}

impl Firsts {
    fn mask(&mut self, keys: &StringArray) -> BooleanArray {
        let is_first = |i: usize| match i.checked_sub(1) {
            Some(before) => keys.value(before) != keys.value(i),
            None => self.last.as_deref() != Some(keys.value(i)),
        };
        let mask = (0..keys.len()).map(is_first).collect::<Vec<bool>>().into();
        if let Some(at) = keys.len().checked_sub(1) {
            self.last = Some(keys.value(at).to_owned());
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_keys_is_taken_over_the_bounds_of_batches() {
        let mut firsts = Firsts::default();
        let mut mask =
            |keys: &[&str]| -> Vec<bool> { firsts.mask(&StringArray::from(keys.to_vec())).iter().map(Option::unwrap).collect() };
        assert_eq!(mask(&["", "", "a"]), [true, false, true]);
        assert_eq!(mask(&[]), Vec::<bool>::new());
        assert_eq!(mask(&["a", "b", "b", "c"]), [false, true, false, true]);
        assert_eq!(mask(&["c"]), [false]);
    }
}
