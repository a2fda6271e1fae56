//! The query engine's part: reading plans, receipts and runs as tables, and running the steps of a plan.

mod kept;

pub use kept::Kept;

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use planner::plan::{Action, PlanFile, ROW_SCHEMA, Round, Shard, Step};
use planner::{Error, ErrorKind, MetadataStore, Result};
use tempfile::TempDir;
use url::Url;

use crate::destination::Destination;
use crate::receipt::{self, CHANGES_SCHEMA, Receipt, files};

/// A session for the steps of a plan and for small queries. One partition: order and concurrency belong to the operators of
/// the plan.
#[must_use]
pub fn session() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(1).with_collect_statistics(false).with_information_schema(true);
    SessionContext::new_with_config(config)
}

/// Memory that the sorts of one session may take, in bytes; what does not fit is sorted on disk, in the temporary folder.
const SORT_BYTES: usize = 96 << 20;

/// What is set aside for merging what was sorted on disk, in bytes.
const MERGE_BYTES: usize = 8 << 20;

/// A session for sorts of any size in bounded memory.
///
/// # Errors
/// `Unreachable` where the temporary folder cannot be used.
pub fn sorting_session() -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_collect_statistics(false)
        .with_batch_size(4096)
        // One sort has all the memory; a sort for each of many files would have too little.
        .with_repartition_sorts(false)
        .with_sort_spill_reservation_bytes(MERGE_BYTES)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(SORT_BYTES))).build_arc()?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

/// A folder whose Parquet files a session can read.
#[derive(Debug, Clone)]
pub struct Files(String);

impl Files {
    /// Makes the folder `at` readable in `context`. `number` tells several folders of one session apart.
    ///
    /// The store is mounted whole and the folder's path is part of each file's URL: a store that hides the prefix answers
    /// `head` with the full path, and the query engine then takes the file for another one and skips it without a word.
    ///
    /// # Errors
    /// Never in practice; a URL that cannot be made.
    pub fn mount(context: &SessionContext, number: usize, at: &MetadataStore) -> Result<Self> {
        Self::mount_in(&context.runtime_env(), &format!("millrace-{number}"), at)
    }

    /// The same by any name that is a scheme of a URL.
    fn mount_in(runtime: &RuntimeEnv, name: &str, at: &MetadataStore) -> Result<Self> {
        let url = Url::parse(&format!("{name}://files")).map_err(|e| Error::bug(format!("a mount's URL: {e}")))?;
        runtime.register_object_store(&url, Arc::clone(&at.store));
        Ok(Self(format!("{url}/{}", utf8_percent_encode(at.prefix.as_ref(), URL_PATH)).trim_end_matches('/').to_owned()))
    }

    /// The files `names` as one table of `schema`.
    ///
    /// # Errors
    /// Names that the query engine refuses.
    pub fn table<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>, schema: &SchemaRef) -> Result<Arc<ListingTable>> {
        let url = |name: S| ListingTableUrl::parse(format!("{}/{}", self.0, name.as_ref())).map_err(Error::from);
        let urls: Result<Vec<_>> = names.into_iter().map(url).collect();
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let config =
            ListingTableConfig::new_with_multi_paths(urls?).with_listing_options(options).with_schema(Arc::clone(schema));
        Ok(Arc::new(ListingTable::try_new(config)?))
    }
}

/// The files of a folder of this machine.
///
/// # Errors
/// `Unreachable` where the folder cannot be opened.
pub fn local_files(folder: &Path) -> Result<MetadataStore> {
    let store = LocalFileSystem::new_with_prefix(folder);
    let store = store.map_err(|e| receipt::local(folder, &e))?;
    Ok(MetadataStore { store: Arc::new(store), prefix: object_store::path::Path::default() })
}

/// What stays as it is in the path of a URL.
const URL_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The keys of all rows of `plan`, whose shards lie at `files`: sorted, each once.
///
/// # Errors
/// Shards that cannot be read.
pub async fn plan_keys(files: &MetadataStore, plan: &PlanFile) -> Result<Vec<String>> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let context = session();
    let shards = plan.shards().map(|(_, _, shard)| shard.file.as_str());
    context.register_table("plan", Files::mount(&context, 0, files)?.table(shards, &ROW_SCHEMA)?)?;
    let mut keys = texts(&context, "SELECT key FROM plan").await?;
    let rows: u64 = plan.rounds.iter().map(Round::rows).sum();
    if keys.len() as u64 != rows {
        return Err(Error::corrupt(format!("the plan of run {} has {} rows instead of {rows}", plan.run, keys.len()))
            .with_help("restore its files, or export with --full"));
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The keys that `plan`, whose shards lie at `files`, copies and whose objects have at least `bytes` bytes.
///
/// # Errors
/// Shards that cannot be read.
pub(crate) async fn large_keys(files: &MetadataStore, plan: &PlanFile, bytes: u64) -> Result<Vec<String>> {
    let large = |(_, step, shard): &(&Round, &Step, &Shard)| step.action == Action::Copy && shard.largest >= bytes;
    let shards: Vec<&str> = plan.shards().filter(large).map(|(_, _, shard)| shard.file.as_str()).collect();
    if shards.is_empty() {
        return Ok(Vec::new());
    }
    let context = session();
    context.register_table("plan", Files::mount(&context, 0, files)?.table(shards, &ROW_SCHEMA)?)?;
    texts(&context, &format!("SELECT key FROM plan WHERE size >= {bytes}")).await
}

/// The keys that a chain of receipts says are present.
///
/// # Errors
/// Receipts that cannot be read.
pub async fn present_keys(destination: &Destination, chain: &[(String, Receipt)]) -> Result<Vec<String>> {
    if chain.iter().all(|(_, r)| r.changes == 0) {
        return Ok(Vec::new());
    }
    let context = session();
    let _fetched = register_changes(&context, destination, chain).await?;
    texts(&context, &format!("SELECT key FROM ({STATE}) WHERE present")).await
}

/// The last state of every key of a chain of receipts; a marker's two rows in one receipt count as present.
pub const STATE: &str = "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY seq DESC, present DESC) AS newest \
     FROM changes) WHERE newest = 1";

/// Registers `changes`: the rows of all receipts of a chain that make up the state, with the number of each. They lie in the
/// folder of the answer.
///
/// # Errors
/// `Corrupt` for files that are not what their receipts say.
pub async fn register_changes(
    context: &SessionContext,
    destination: &Destination,
    chain: &[(String, Receipt)],
) -> Result<TempDir> {
    let fetched = files::fetch(destination, chain).await?;
    let files = Files::mount(context, 0, &local_files(fetched.path())?)?;
    let mut tables: Vec<ChangesTable> = Vec::new();
    for (folder, receipt) in chain {
        if let Some(file) = receipt.file() {
            let name = format!("{folder}/{file}");
            let table = files.table([name.as_str()], &CHANGES_SCHEMA)?;
            has_rows(context, &table, receipt.rows(), &name).await?;
            tables.push(ChangesTable { seq: receipt.seq, commit: receipt.commit.clone(), table, present_only: false });
        }
    }
    union_changes(context, tables).await?;
    Ok(fetched)
}

/// A file of changes that lost rows would make objects unknown.
///
/// # Errors
/// `Corrupt` where it has other than the `expected` rows.
pub(crate) async fn has_rows(context: &SessionContext, table: &Arc<ListingTable>, expected: u64, name: &str) -> Result<()> {
    let rows = context.read_table(Arc::clone(table) as _)?.count().await.map_err(unreadable)? as u64;
    if rows == expected {
        return Ok(());
    }
    Err(Error::corrupt(format!("{name} has {rows} rows instead of {expected}, or is missing"))
        .with_help("somebody changed it: restore it, or export with --full, which needs no earlier receipt"))
}

/// A file of changes.
#[derive(Debug)]
pub(crate) struct ChangesTable {
    pub(crate) seq: u64,
    pub(crate) commit: String,
    pub(crate) table: Arc<ListingTable>,
    /// Rows of what was removed are left out.
    pub(crate) present_only: bool,
}

/// Registers `changes`: the rows of all tables with the number and commit of each.
pub(crate) async fn union_changes(context: &SessionContext, tables: Vec<ChangesTable>) -> Result<()> {
    let mut parts = Vec::new();
    for (i, one) in tables.into_iter().enumerate() {
        let name = format!("changes_{i}");
        context.register_table(name.as_str(), one.table)?;
        let only = if one.present_only { " WHERE present" } else { "" };
        parts.push(format!("SELECT CAST({} AS BIGINT) AS seq, '{}' AS commit, * FROM {name}{only}", one.seq, one.commit));
    }
    let query = if parts.is_empty() {
        context.register_batch("no_changes", RecordBatch::new_empty(Arc::clone(&CHANGES_SCHEMA)))?;
        "SELECT CAST(0 AS BIGINT) AS seq, '' AS commit, * FROM no_changes".to_owned()
    } else {
        parts.join(" UNION ALL ")
    };
    let plan = context.sql(&query).await?;
    context.register_table("changes", plan.into_view())?;
    Ok(())
}

/// The error of the command when sorting receipts failed.
pub(crate) fn unreadable(error: DataFusionError) -> Error {
    let is_room = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_));
    let error = Error::from(error);
    match error.kind() {
        _ if is_room => Error::unreachable(format!("receipts cannot be sorted: {error}"))
            .with_help("the temporary folder (TMPDIR) needs room and permission"),
        ErrorKind::Bug | ErrorKind::Usage => Error::corrupt(format!("a file of the receipts cannot be read: {error}"))
            .with_help("restore the files below `_millrace/receipts/`, or export with --full"),
        _ => error,
    }
}

async fn texts(context: &SessionContext, query: &str) -> Result<Vec<String>> {
    let mut stream = context.sql(query).await?.execute_stream().await?;
    let mut all = Vec::new();
    while let Some(batch) = stream.next().await {
        all.extend(batch?.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(all)
}
