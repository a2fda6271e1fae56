//! Reading a plan, and moving one to where its run will find it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use object_store::{ObjectStoreExt, WriteMultipart};

use super::contents::{PLAN_FORMAT, PlanFile};
use super::row::ROW_SCHEMA;
use crate::error::{Error, Result};
use crate::stores::MetadataStore;

/// The table of contents.
pub const PLAN_FILE: &str = "plan.json";

/// Reads the table of contents of the plan at `at`.
///
/// # Errors
/// `Usage` where there is no plan, or one of another format.
pub async fn read_plan(at: &MetadataStore, shown: &str) -> Result<PlanFile> {
    let path = at.prefix.clone().join(PLAN_FILE);
    let bytes = match at.store.get(&path).await {
        Ok(found) => found.bytes().await,
        Err(object_store::Error::NotFound { .. }) => {
            return Err(Error::usage(format!("{shown} is no plan: it has no {PLAN_FILE}"))
                .with_help("give the folder that `millrace plan -o` wrote"));
        }
        Err(e) => Err(e),
    };
    let bytes = bytes.map_err(|e| Error::unreachable(format!("the plan {shown} cannot be read: {e}")))?;
    check_format(&bytes, shown)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::usage(format!("{shown}/{PLAN_FILE} is damaged: {e}")).with_help("make the plan again"))
}

/// Refuses a table of contents that another version wrote in another format.
///
/// # Errors
/// `Usage`, naming both versions.
pub fn check_format(bytes: &[u8], shown: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u32,
        #[serde(default)]
        millrace: String,
    }
    let head: Head = serde_json::from_slice(bytes)
        .map_err(|e| Error::usage(format!("{shown}/{PLAN_FILE} is no plan: {e}")).with_help("make the plan again"))?;
    if head.format == PLAN_FORMAT {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the plan {shown} has format {} (written by millrace {}); this is millrace {}, which reads format {PLAN_FORMAT}",
        head.format,
        head.millrace,
        env!("CARGO_PKG_VERSION")
    ))
    .with_help("make the plan again with this version, or apply it with the version that made it"))
}

/// Copies a plan from the local `folder` to `to`: shards first, `plan.json` last.
///
/// # Errors
/// `Unreachable` where it cannot be written.
pub async fn upload_plan(folder: &Path, plan: &PlanFile, to: &MetadataStore) -> Result<()> {
    for (_, _, shard) in plan.shards() {
        upload_file(&folder.join(&shard.file), to, &shard.file).await?;
    }
    let text = serde_json::to_vec_pretty(plan).map_err(|e| Error::bug(format!("{PLAN_FILE}: {e}")))?;
    let path = to.prefix.clone().join(PLAN_FILE);
    to.store.put(&path, Bytes::from(text).into()).await.map(|_| ()).map_err(|e| unwritable(PLAN_FILE, &e))
}

async fn upload_file(from: &Path, to: &MetadataStore, name: &str) -> Result<()> {
    use tokio::io::AsyncReadExt;
    const WHOLE: u64 = 8 << 20;
    let unreadable = |e: std::io::Error| Error::unreachable(format!("{}: {e}", from.display()));
    let path = object_store::path::Path::from_iter(to.prefix.parts().chain(object_store::path::Path::from(name).parts()));
    let mut file = tokio::fs::File::open(from).await.map_err(unreadable)?;
    if file.metadata().await.map_err(unreadable)?.len() <= WHOLE {
        let mut all = Vec::new();
        file.read_to_end(&mut all).await.map_err(unreadable)?;
        return to.store.put(&path, Bytes::from(all).into()).await.map(|_| ()).map_err(|e| unwritable(name, &e));
    }
    let upload = to.store.put_multipart(&path).await.map_err(|e| unwritable(name, &e))?;
    let mut upload = WriteMultipart::new(upload);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).await.map_err(unreadable)?;
        if n == 0 {
            return upload.finish().await.map(|_| ()).map_err(|e| unwritable(name, &e));
        }
        upload.wait_for_capacity(4).await.map_err(|e| unwritable(name, &e))?;
        upload.write(&buffer[..n]);
    }
}

fn unwritable(name: &str, error: &object_store::Error) -> Error {
    Error::unreachable(format!("the plan's {name} cannot be written: {error}"))
}

/// The rows of all of `plan`'s shards as a table. `base` is the URL of the plan's folder in the session's object stores.
///
/// # Errors
/// A URL that the query engine cannot read.
pub fn plan_table(plan: &PlanFile, base: &str) -> Result<Arc<ListingTable>> {
    let urls: Result<Vec<_>> =
        plan.shards().map(|(_, _, s)| ListingTableUrl::parse(format!("{}/{}", base.trim_end_matches('/'), s.file)).map_err(Error::from)).collect();
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new_with_multi_paths(urls?).with_listing_options(options).with_schema(Arc::clone(&ROW_SCHEMA));
    Ok(Arc::new(ListingTable::try_new(config)?))
}
