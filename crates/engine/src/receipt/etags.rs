//! Whether objects have the same etag at the destination as in the commit: then a delete can insist on it without reading
//! the receipts' rows.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use planner::{Error, Result};
use serde::{Deserialize, Serialize};
use worker::store::etag_md5;

/// How the destination's etags relate to the MD5s that entries have as theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Etags {
    /// Bytes of the smallest object with another etag; `None` where all have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differ_from: Option<u64>,
}

impl Etags {
    /// Objects of fewer bytes have the same etag.
    #[must_use]
    pub fn same_below(self) -> u64 {
        self.differ_from.unwrap_or(u64::MAX)
    }

    /// What holds for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { differ_from: self.differ_from.into_iter().chain(other.differ_from).min() }
    }

    /// Takes rows of [`super::CHANGES_SCHEMA`] into account.
    ///
    /// # Errors
    /// Columns that are missing.
    pub(super) fn see(&mut self, changes: &RecordBatch) -> Result<()> {
        let column =
            |name: &str| changes.column_by_name(name).ok_or_else(|| Error::bug(format!("changes have no column `{name}`")));
        let (etag, stored) = (column("etag")?.as_string::<i32>(), column("stored_etag")?.as_string::<i32>());
        let (present, size) = (column("present")?.as_boolean(), column("size")?.as_primitive::<Int64Type>());
        for i in (0..changes.num_rows()).filter(|i| present.value(*i) && etag.is_valid(*i)) {
            let Some(md5) = etag_md5(etag.value(i).trim_matches('"')) else { continue };
            if stored.is_null(i) || etag_md5(stored.value(i)) != Some(md5) {
                let size = if size.is_valid(i) { size.value(i).unsigned_abs() } else { 0 };
                self.differ_from = Some(self.differ_from.map_or(size, |from| from.min(size)));
            }
        }
        Ok(())
    }
}
