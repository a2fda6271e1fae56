//! The list of a run's failed rows, whole: a Parquet file beside the run's record, for runs with more failures than a FAILURE
//! marker can list.
//!
//! Rows are `action`, `key`, `source`, `error_kind`, `error`, in the order in which they failed. The file is written locally as
//! they come, so that a million failures take no memory.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, not};
use datafusion::parquet::arrow::ArrowWriter;
use planner::{Error, Result};
use tempfile::TempDir;

use crate::prepare::temporary;

/// The file's name, in the run's folder.
pub(crate) const FAILURES_FILE: &str = "failures.parquet";

const COLUMNS: [&str; 5] = ["action", "key", "source", "error_kind", "error"];

/// Failed rows on their way to the destination: a local file.
pub(crate) struct FailureList {
    _folder: TempDir,
    path: PathBuf,
    /// Behind a lock only because a writer cannot be shared; nobody waits for it.
    writer: Mutex<Option<ArrowWriter<BufWriter<File>>>>,
}

impl std::fmt::Debug for FailureList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailureList").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FailureList {
    /// Adds the failed rows of a batch of outcomes to `list`, which begins with the first of them.
    ///
    /// # Errors
    /// `Unreachable` where the local file cannot be written.
    pub(crate) fn add(list: &mut Option<Self>, outcomes: &RecordBatch) -> Result<()> {
        let broken = |e: &dyn std::fmt::Display| Error::bug(format!("outcomes: {e}"));
        let ok = outcomes.column_by_name("ok").ok_or_else(|| broken(&"no column `ok`"))?.as_boolean();
        if ok.false_count() == 0 {
            return Ok(());
        }
        let columns = COLUMNS.iter().map(|name| outcomes.schema().index_of(name)).collect::<Result<Vec<_>, _>>();
        let batch = columns.and_then(|columns| outcomes.project(&columns)).and_then(|all| filter_record_batch(&all, &not(ok)?));
        let batch = batch.map_err(|e| broken(&e))?;
        let list = match list {
            Some(list) => list,
            None => list.insert(Self::create(&batch)?),
        };
        match list.writer.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Some(writer) => writer.write(&batch).map_err(|e| local(&list.path, &e)),
            None => Err(broken(&"a list that was closed")),
        }
    }

    fn create(first: &RecordBatch) -> Result<Self> {
        let folder = temporary()?;
        let path = folder.path().join(FAILURES_FILE);
        let file = File::create(&path).map_err(|e| local(&path, &e))?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), first.schema(), None).map_err(|e| local(&path, &e))?;
        Ok(Self { _folder: folder, path, writer: Mutex::new(Some(writer)) })
    }

    /// Closes the file: its path.
    ///
    /// # Errors
    /// `Unreachable` where the local file cannot be written.
    pub(crate) fn close(&mut self) -> Result<&PathBuf> {
        if let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            writer.close().map_err(|e| local(&self.path, &e))?;
        }
        Ok(&self.path)
    }
}

fn local(path: &std::path::Path, error: &dyn std::fmt::Display) -> Error {
    Error::unreachable(format!("{}: {error}", path.display()))
        .with_help("the temporary folder (TMPDIR) needs room and permission")
}
