//! Reading a plan, and moving one to where its run will find it.

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt;

use super::contents::{PLAN_FORMAT, PlanFile};
use crate::digest::{is_whole, sealed};
use crate::error::{Error, Result};
use crate::stores::{MetadataStore, fetch_file, unreadable, unwritable};

/// The table of contents.
pub const PLAN_FILE: &str = "plan.json";

/// Reads the table of contents of the plan at `at`.
///
/// # Errors
/// `Usage` where there is no plan, or one of another format.
pub async fn read_plan(at: &MetadataStore, shown: &str) -> Result<PlanFile> {
    let path = at.prefix.clone().join(PLAN_FILE);
    let failed = |e| unreadable(&format!("the plan {shown}"), &e);
    let bytes = match at.store.get(&path).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => {
            // A bucket that is not there answers a look-up like a missing file, and says so only to a listing.
            at.store.list(Some(&at.prefix)).try_next().await.map_err(failed)?;
            return Err(Error::usage(format!("{shown} is no plan: it has no {PLAN_FILE}"))
                .with_help("give the folder that `millrace plan -o` wrote"));
        }
        Err(e) => return Err(failed(e)),
    };
    check_format(&bytes, shown)?;
    if !is_whole(&bytes) {
        return Err(Error::usage(format!("{shown}/{PLAN_FILE} is damaged: it has another digest than it says"))
            .with_help("a plan is applied exactly as it was made: make it again"));
    }
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
    let text = contents_text(plan)?;
    let path = to.prefix.clone().join(PLAN_FILE);
    to.store.put(&path, Bytes::from(text).into()).await.map(|_| ()).map_err(|e| unwritable(path.as_ref(), &e))
}

/// Whether a plan may be written to the local folder `to`: it is not there, empty, or holds an older plan.
///
/// # Errors
/// `Usage` for a folder of other files, `Unreachable` for one that cannot be read.
pub fn takes_a_plan(to: &Path) -> Result<()> {
    let unreadable = |e: std::io::Error| {
        Error::unreachable(format!("{}: {e}", to.display())).with_help("give a folder that can be written with -o")
    };
    let is_empty = match std::fs::read_dir(to) {
        Ok(mut there) => there.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(unreadable(e)),
    };
    let holds_a_plan = || {
        let text = std::fs::read(to.join(PLAN_FILE)).ok();
        text.is_some_and(|text| serde_json::from_slice::<PlanFile>(&text).is_ok())
    };
    if is_empty || holds_a_plan() {
        return Ok(());
    }
    Err(no_plan(&to.display()))
}

fn no_plan(at: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("{at} holds files and no plan: they might be overwritten"))
        .with_help("give another folder with -o, an empty one or that of an older plan")
}

/// The same of a place in any store, which is shown as `shown`.
///
/// # Errors
/// `Usage` for a place with other files, `Unreachable` for one that cannot be read.
pub async fn takes_a_plan_at(to: &MetadataStore, shown: &str) -> Result<()> {
    let failed = |e| unreadable(shown, &e);
    let there = match to.store.get(&to.path(PLAN_FILE)).await {
        Ok(found) => Some(found.bytes().await.map_err(failed)?),
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => return Err(failed(error)),
    };
    let fits = match there {
        Some(text) => serde_json::from_slice::<PlanFile>(&text).is_ok(),
        None => to.store.list(Some(&to.prefix)).try_next().await.map_err(failed)?.is_none(),
    };
    if fits { Ok(()) } else { Err(no_plan(&shown)) }
}

/// Moves a plan from the local `folder` to another one of the same file system: shards first, `plan.json` last.
///
/// # Errors
/// `Unreachable` where it cannot be written.
pub fn move_plan(folder: &Path, plan: &PlanFile, to: &Path) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::unreachable(format!("the plan cannot be written: {e}")).with_help("give a folder that can be written with -o")
    };
    std::fs::create_dir_all(to).map_err(failed)?;
    for (_, _, shard) in plan.shards() {
        let target = to.join(&shard.file);
        target.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::rename(folder.join(&shard.file), target).map_err(failed)?;
    }
    std::fs::write(to.join(PLAN_FILE), contents_text(plan)?).map_err(failed)
}

fn contents_text(plan: &PlanFile) -> Result<Vec<u8>> {
    sealed(plan).map_err(|e| Error::bug(format!("{PLAN_FILE}: {e}")))
}

/// Copies the shards of the plan at `from` into the local `folder`, and makes sure that they are those of its digests.
///
/// # Errors
/// `Usage` for a shard that is missing or is another one, `Unreachable` for one that cannot be read.
pub async fn fetch_plan(from: &MetadataStore, plan: &PlanFile, folder: &Path) -> Result<()> {
    for (_, _, shard) in plan.shards() {
        let changed = |why: String| {
            Error::usage(format!("the plan's {} {why}", shard.file))
                .with_help("a plan is applied exactly as it was made: make it again")
        };
        if !is_shard_name(&shard.file) {
            return Err(changed("has a name that no plan gives".to_owned()));
        }
        let found = fetch_file(from, &shard.file, &folder.join(&shard.file)).await.map_err(|e| e.context("the plan"))?;
        let found = found.ok_or_else(|| changed("is missing".to_owned()))?;
        if (found.bytes, &found.sha256) != (shard.file_bytes, &shard.sha256) {
            return Err(changed("was changed since the plan was made".to_owned()));
        }
    }
    Ok(())
}

/// `round-N/NAME.parquet`: nothing that leads out of the folder.
fn is_shard_name(name: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    matches!(name.strip_suffix(".parquet").and_then(|n| n.split_once('/')), Some((folder, file)) if plain(folder) && plain(file))
}

/// Copies the local file `from` to `name` below `to`.
///
/// # Errors
/// `Unreachable` where it cannot be read or written.
pub async fn upload_file(from: &Path, to: &MetadataStore, name: &str) -> Result<()> {
    const WHOLE: u64 = 8 << 20;
    let failed = |e: std::io::Error| {
        Error::unreachable(format!("{} cannot be read: {e}", from.display())).with_help("TMPDIR must keep what a run puts there")
    };
    let path = to.path(name);
    let mut file = tokio::fs::File::open(from).await.map_err(failed)?;
    if file.metadata().await.map_err(failed)?.len() <= WHOLE {
        let mut all = Vec::new();
        file.read_to_end(&mut all).await.map_err(failed)?;
        return to.store.put(&path, Bytes::from(all).into()).await.map(|_| ()).map_err(|e| unwritable(path.as_ref(), &e));
    }
    let upload = to.store.put_multipart(&path).await.map_err(|e| unwritable(path.as_ref(), &e))?;
    let mut upload = WriteMultipart::new(upload);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).await.map_err(failed)?;
        if n == 0 {
            return upload.finish().await.map(|_| ()).map_err(|e| unwritable(path.as_ref(), &e));
        }
        upload.wait_for_capacity(4).await.map_err(|e| unwritable(path.as_ref(), &e))?;
        upload.write(&buffer[..n]);
    }
}
