//! What a person wants to see of a plan: counts by directory, and the first rows.

use std::path::Path;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use futures::StreamExt;
use planner::plan::{Action, PlanFile, ROW_SCHEMA};
use planner::{Error, Result};

use crate::session::{Files, local_files, session};

/// Directories that are shown.
const DIRECTORIES: usize = 200;

/// Rows that are shown.
const SAMPLE: usize = 50;

/// Counts of one directory of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryCounts {
    /// Its key with a slash at the end; empty for the root.
    pub directory: String,
    /// The round.
    pub round: i32,
    /// Objects to write.
    pub copied: u64,
    /// Objects to delete.
    pub deleted: u64,
    /// Markers to retract.
    pub retracted: u64,
    /// Payload bytes to write.
    pub bytes: u64,
}

/// One row of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRow {
    /// What is done.
    pub action: Action,
    /// With which key.
    pub key: String,
    /// Bytes, where they are known.
    pub size: Option<i64>,
    /// Why.
    pub reason: String,
}

/// A plan in brief.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOverview {
    /// By directory, then round; the first 200.
    pub directories: Vec<DirectoryCounts>,
    /// Directories that are left out.
    pub more_directories: u64,
    /// The first rows, in the order in which they are executed.
    pub sample: Vec<PlannedRow>,
    /// Rows that are left out.
    pub more: u64,
}

/// Looks into the plan whose shards lie in the local `folder`.
///
/// # Errors
/// Shards that cannot be read.
pub(crate) async fn overview(folder: &Path, plan: &PlanFile) -> Result<PlanOverview> {
    if plan.is_empty() {
        return Ok(PlanOverview::default());
    }
    let context = session();
    let files = Files::mount(&context, 0, &local_files(folder)?)?;
    let shards = plan.shards().map(|(_, _, s)| s.file.as_str());
    context.register_table("plan", files.table(shards, &ROW_SCHEMA)?)?;
    let mut seen = PlanOverview::default();
    let query = "SELECT regexp_replace(key, '[^/]*$', '') AS directory, round, \
         sum(CASE WHEN action = 'copy' THEN 1 ELSE 0 END) AS copied, sum(CASE WHEN action = 'delete' THEN 1 ELSE 0 END) AS deleted, \
         sum(CASE WHEN action = 'retract' THEN 1 ELSE 0 END) AS retracted, \
         sum(CASE WHEN action = 'copy' THEN coalesce(size, 0) ELSE 0 END) AS bytes FROM plan GROUP BY 1, 2 ORDER BY 1, 2";
    let mut stream = context.sql(query).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row).unsigned_abs();
        for row in 0..batch.num_rows() {
            if seen.directories.len() == DIRECTORIES {
                seen.more_directories += 1;
                continue;
            }
            seen.directories.push(DirectoryCounts {
                directory: batch.column(0).as_string::<i32>().value(row).to_owned(),
                round: batch.column(1).as_primitive::<Int32Type>().value(row),
                copied: number(2, row),
                deleted: number(3, row),
                retracted: number(4, row),
                bytes: number(5, row),
            });
        }
    }
    seen.sample = sample(&context).await?;
    let rows: u64 = plan.rounds.iter().map(planner::plan::Round::rows).sum();
    seen.more = rows - seen.sample.len() as u64;
    Ok(seen)
}

async fn sample(context: &datafusion::prelude::SessionContext) -> Result<Vec<PlannedRow>> {
    let query = format!("SELECT action, key, size, reason FROM plan ORDER BY round, key LIMIT {SAMPLE}");
    let mut rows = Vec::new();
    for batch in context.sql(&query).await?.collect().await? {
        let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        let size = batch.column(2).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let action = Action::parse(&text(0, row)).ok_or_else(|| Error::bug("a plan row without a known action"))?;
            let size = size.is_valid(row).then(|| size.value(row));
            rows.push(PlannedRow { action, key: text(1, row), size, reason: text(3, row) });
        }
    }
    Ok(rows)
}
