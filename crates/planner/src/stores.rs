//! What planning must know of stores, without knowing how bytes move: where metadata files are read, which keys a
//! destination can hold, and when two URLs mean one place.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::io::AsyncWriteExt;

use crate::digest::{Digesting, FileDigest};
use crate::error::{Error, Result, explain};
use crate::folding::Folding;
use crate::location::Location;
use crate::trouble;

/// Metadata files of a location: an `object_store` and the prefix of the location in it.
#[derive(Debug, Clone)]
pub struct MetadataStore {
    /// The store; its names are Millrace's or lakeFS's own, never users' keys.
    pub store: Arc<dyn ObjectStore>,
    /// The location's prefix in the store.
    pub prefix: Path,
}

impl MetadataStore {
    /// The path of the file `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }
}

/// Copies the file `name` of a store to the local file `to`, whose folder is made: what it is, or `None` where it is not there.
///
/// # Errors
/// `Unreachable` where it cannot be read or kept.
pub async fn fetch_file(from: &MetadataStore, name: &str, to: &std::path::Path) -> Result<Option<FileDigest>> {
    let found = match from.store.get(&from.path(name)).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(unreadable(name, &error)),
    };
    save(found, to).await.map(Some).map_err(|error| {
        Error::unreachable(format!("{name} cannot be fetched: {}", explain(&error)))
            .with_help("check the store, and that TMPDIR has room; the same command may succeed later")
    })
}

async fn save(found: object_store::GetResult, to: &std::path::Path) -> std::io::Result<FileDigest> {
    if let Some(parent) = to.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let (mut file, mut digest) = (tokio::fs::File::create(to).await?, Digesting::default());
    let mut stream = found.into_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(std::io::Error::other)?;
        digest.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(digest.finish())
}

/// Which keys a destination can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// Keys are paths of a file system: no empty, `.` or `..` segments, no leading or trailing slash, no NUL, segments up
    /// to 255 bytes, and never `a` beside `a/b`.
    pub file_system: bool,
    /// Keys are paths of `object_store`: no empty, `.` or `..` segments, no slash at either end, no control characters.
    pub plain_paths: bool,
    /// A key of white space alone is none to the store's client, where there is no prefix before it.
    pub no_blank_root: bool,
    /// Which names mean one file.
    pub folding: Folding,
    /// Longest key with the destination's prefix, in bytes; 0 is no limit.
    pub max_key_bytes: usize,
}

/// The stores that a command can reach, with the settings and credentials of each.
pub trait Stores: Send + Sync + Debug {
    /// Where the metadata files of `location` (a namespace, a plan, `_millrace/`) are read and written.
    ///
    /// # Errors
    /// Settings that name no usable store.
    fn metadata(&self, location: &Location) -> Result<MetadataStore>;

    /// A text that is equal, or a prefix, for two locations exactly when one store holds both at the same place or one below
    /// the other: after endpoints, `local://` paths and symbolic links are resolved. It ends in the raw path.
    fn identity(&self, location: &Location) -> String;

    /// Which keys fit at `location`.
    fn key_rules(&self, location: &Location) -> KeyRules;
}

/// Looks at the destination of a plan, for what no receipt tells of.
#[async_trait]
pub trait Looks: Send + Sync + Debug {
    /// Bytes of the object under `key` at the destination; `None` where there is none, where that cannot be seen, and
    /// where so many were looked at already that no more are.
    ///
    /// # Errors
    /// The store is out of reach.
    async fn size(&self, key: &str) -> Result<Option<u64>>;
}

/// What it means that `what` could not be read from a store.
#[must_use]
pub fn unreadable(what: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    let (why, help) = match error {
        error if is_absent(error) => ("is not there", "check the name, the bucket, the endpoint and the region"),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            ("may not be read", "check the store's credentials, and that they may read (and list) this place")
        }
        error => trouble::of_file(error).unwrap_or((
            "cannot be read",
            "check the store's endpoint, region and credentials; the same command may succeed later",
        )),
    };
    let words = explain(error);
    let help = trouble::of_connection(&words).unwrap_or_else(|| help.to_owned());
    Error::unreachable(format!("{what} {why}: {words}")).with_help(help)
}

/// Whether an object, or the bucket that it would be in, is not there. A listing of a bucket that is not there fails without
/// a kind of its own.
fn is_absent(error: &object_store::Error) -> bool {
    match error {
        object_store::Error::NotFound { .. } => true,
        object_store::Error::Generic { .. } => explain(error).contains("404 Not Found"),
        _ => false,
    }
}

/// What it means that `what` could not be written to a store.
#[must_use]
pub fn unwritable(what: &str, error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    let (why, help) = match error {
        error if is_absent(error) => ("has no place", "check that the bucket or folder is there, the endpoint and the region"),
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            ("may not be written", "check the store's credentials, and that they may write there")
        }
        error => trouble::of_file(error)
            .unwrap_or(("cannot be written", "check that the place is there, has room, and may be written")),
    };
    let words = explain(error);
    let help = trouble::of_connection(&words).unwrap_or_else(|| help.to_owned());
    Error::unreachable(format!("{what} {why}: {words}")).with_help(help)
}
