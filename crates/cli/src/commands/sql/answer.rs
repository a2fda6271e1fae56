//! What a query answers, as it streams: tables of text, or an object a line.

use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt as _;

use crate::failure::Failure;

/// Rows of one table of text: the widths of its columns need all of them, and memory must not grow with the answer.
const ROWS_OF_A_TABLE: usize = 1_000;

/// Tables for people; a long answer is several, each with its header.
pub(super) async fn table(out: &mut impl Write, mut rows: SendableRecordBatchStream) -> Result<(), Failure> {
    let schema = rows.schema();
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut waiting = 0;
    let mut printed = false;
    while let Some(batch) = rows.try_next().await? {
        waiting += batch.num_rows();
        batches.push(batch);
        if waiting >= ROWS_OF_A_TABLE {
            let table = pretty_format_batches_with_schema(Arc::clone(&schema), &batches).map_err(DataFusionError::from)?;
            writeln!(out, "{table}")?;
            (waiting, printed) = (0, true);
            batches.clear();
        }
    }
    if waiting > 0 || !printed {
        let table = pretty_format_batches_with_schema(schema, &batches).map_err(DataFusionError::from)?;
        writeln!(out, "{table}")?;
    }
    Ok(())
}

/// Objects for scripts, nulls included.
pub(super) async fn lines(out: &mut impl Write, mut rows: SendableRecordBatchStream) -> Result<(), Failure> {
    while let Some(batch) = rows.try_next().await? {
        // Into memory first: a failed write is an error of stdout, not of the query.
        let mut text = Vec::new();
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
        writer.write(&batch).and_then(|()| writer.finish()).map_err(DataFusionError::from)?;
        drop(writer);
        out.write_all(&text)?;
    }
    Ok(())
}
