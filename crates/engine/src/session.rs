//! The query engine's part: reading plans, receipts and runs as tables, and running the steps of a plan.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use object_store::prefix::PrefixStore;
use planner::plan::{PlanFile, ROW_SCHEMA};
use planner::{Error, MetadataStore, Result};
use url::Url;

use crate::destination::Destination;
use crate::receipt::{CHANGES_SCHEMA, Receipt};

/// Where the files of a session are mounted. The name is only seen by the query engine.
const MOUNT: &str = "millrace://files";

/// A session whose files lie at `files`. One partition: order and concurrency belong to the operators of the plan.
///
/// # Errors
/// Never in practice; a mount that the query engine refuses.
pub fn session(files: &MetadataStore) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(1).with_collect_statistics(false).with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    mount(&context, files)?;
    Ok(context)
}

/// Makes `files` the files of `context`.
///
/// # Errors
/// As [`session`].
pub fn mount(context: &SessionContext, files: &MetadataStore) -> Result<()> {
    let url = Url::parse(MOUNT).map_err(|e| Error::bug(format!("{MOUNT}: {e}")))?;
    let store = PrefixStore::new(Arc::clone(&files.store), files.prefix.clone());
    context.register_object_store(&url, Arc::new(store));
    Ok(())
}

/// The mounted Parquet files `names` as one table of `schema`.
///
/// # Errors
/// Names that the query engine refuses.
pub fn files_table<'a>(names: impl IntoIterator<Item = &'a str>, schema: &SchemaRef) -> Result<Arc<ListingTable>> {
    let urls: Result<Vec<_>> =
        names.into_iter().map(|name| ListingTableUrl::parse(format!("{MOUNT}/{name}")).map_err(Error::from)).collect();
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new_with_multi_paths(urls?).with_listing_options(options).with_schema(Arc::clone(schema));
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// The paths in the lake of all rows of `plan`, whose shards lie at `files`.
///
/// # Errors
/// Shards that cannot be read.
pub async fn plan_paths(files: &MetadataStore, plan: &PlanFile) -> Result<Vec<String>> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let context = session(files)?;
    let shards = plan.shards().map(|(_, _, shard)| shard.file.as_str());
    context.register_table("plan", files_table(shards, &ROW_SCHEMA)?)?;
    texts(&context, "SELECT DISTINCT path FROM plan").await
}

/// The keys that a chain of receipts says are present.
///
/// # Errors
/// Receipts that cannot be read.
pub async fn present_keys(destination: &Destination, chain: &[(String, Receipt)]) -> Result<Vec<String>> {
    if chain.iter().all(|(_, r)| r.changes == 0) {
        return Ok(Vec::new());
    }
    let context = session(&destination.metadata("")?)?;
    register_changes(&context, chain).await?;
    texts(&context, &format!("SELECT key FROM ({STATE}) WHERE present")).await
}

/// The last state of every key of a chain of receipts; a marker's two rows in one receipt count as present.
pub const STATE: &str = "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY seq DESC, present DESC) AS newest \
     FROM changes) WHERE newest = 1";

/// Registers `changes`: the rows of all receipts of a chain, with the number of each.
///
/// # Errors
/// Names that the query engine refuses.
pub async fn register_changes(context: &SessionContext, chain: &[(String, Receipt)]) -> Result<()> {
    let mut parts = Vec::new();
    for (folder, receipt) in chain.iter().filter(|(_, r)| r.changes > 0) {
        let name = format!("changes_{}", receipt.seq);
        let file = format!("{folder}/changes.parquet");
        context.register_table(name.as_str(), files_table([file.as_str()], &CHANGES_SCHEMA)?)?;
        parts.push(format!("SELECT {} AS seq, '{}' AS commit, * FROM {name}", receipt.seq, receipt.commit));
    }
    let query = if parts.is_empty() {
        context.register_batch("no_changes", datafusion::arrow::array::RecordBatch::new_empty(Arc::clone(&CHANGES_SCHEMA)))?;
        "SELECT 0 AS seq, '' AS commit, * FROM no_changes".to_owned()
    } else {
        parts.join(" UNION ALL ")
    };
    let plan = context.sql(&query).await?;
    context.register_table("changes", plan.into_view())?;
    Ok(())
}

async fn texts(context: &SessionContext, query: &str) -> Result<Vec<String>> {
    let mut stream = context.sql(query).await?.execute_stream().await?;
    let mut all = Vec::new();
    while let Some(batch) = stream.next().await {
        all.extend(batch?.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(all)
}
