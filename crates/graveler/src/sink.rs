//! Where metadata files go: the trait, and the one sink that needs no server.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::content_id;
use crate::error::{Error, Result};
use crate::files::{REFS_MANIFEST, StoreFiles};
use crate::refs::RefsManifest;
use crate::sstable::{FinishedTable, LoadedTable};

/// What became of a file that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// It was written.
    Written,
    /// It was there already and was left as it is.
    Existed,
}

/// Where ranges and metaranges go: `_lakefs/<id>` of a namespace.
///
/// A file is named by its content, so it may be stored twice, by several writers at once, and at any
/// time again. When [`MetadataSink::put`] returns, the file is complete and readable under its name;
/// before, it is not there or complete: never a part of it. Cancelling a call leaves either.
#[async_trait]
pub trait MetadataSink: Send + Sync + Debug {
    /// Stores a range or metarange, unless it is there.
    async fn put(&self, table: &FinishedTable) -> Result<Stored>;

    /// Replaces `_lakefs/refs_manifest.json`, as the server does when it dumps its refs. What the
    /// manifest names must be stored before.
    async fn put_refs_manifest(&self, manifest: &RefsManifest) -> Result<()>;
}

/// A namespace in an object store, for writing.
///
/// The store's puts must be atomic, as those of object stores are; of a local file system they are,
/// by a rename: a process that is killed leaves a file `<name>#1` that nobody reads. Such a file
/// system may still lose a file's bytes, but not its name, when the machine stops: so a file that is
/// there with another length than expected is read, and replaced if it is not what its id says.
#[derive(Clone, Debug)]
pub struct StoreSink(StoreFiles);

impl StoreSink {
    /// The files of the namespace at `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self(StoreFiles::new(store, prefix))
    }

    /// Whether the file is there and good.
    async fn has(&self, table: &FinishedTable) -> Result<bool> {
        let (store, path) = (&self.0.store, self.0.path(&table.id));
        let failed = |error| Error::from_store(&self.0.shown(&table.id), error);
        let found = match store.head(&path).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        if found == table.bytes.len() as u64 {
            return Ok(true);
        }
        // A server of another version lays out the same records otherwise: that is good as well.
        let bytes = store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let parsed = LoadedTable::parse(&self.0.shown(&table.id), bytes);
        let checked = parsed.and_then(|found| content_id::verify(&found, &table.id));
        if let Err(error) = &checked {
            tracing::warn!(%error, "replaces a damaged metadata file");
        }
        Ok(checked.is_ok())
    }

    async fn write(&self, name: &str, bytes: Bytes) -> Result<()> {
        let put = self.0.store.put(&self.0.path(name), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| Error::from_put(&self.0.shown(name), error))
    }
}

#[async_trait]
impl MetadataSink for StoreSink {
    async fn put(&self, table: &FinishedTable) -> Result<Stored> {
        if self.has(table).await? {
            return Ok(Stored::Existed);
        }
        // If another writer was faster, its file has the same content.
        self.write(&table.id, Bytes::clone(&table.bytes)).await?;
        Ok(Stored::Written)
    }

    async fn put_refs_manifest(&self, manifest: &RefsManifest) -> Result<()> {
        self.write(REFS_MANIFEST, Bytes::from(manifest.to_json())).await
    }
}

/// The same place that is read, called by the same name in errors.
impl From<StoreFiles> for StoreSink {
    fn from(files: StoreFiles) -> Self {
        Self(files)
    }
}
