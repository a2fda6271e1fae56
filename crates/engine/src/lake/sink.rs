//! Where a lake's ranges and metaranges go: through the stores that move objects, which make what they write durable.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use graveler::sstable::{FinishedTable, LoadedTable};
use graveler::{Error, ErrorKind, METADATA_FOLDER, MetadataSink, RefsManifest, Result, Stored, content_id};
use worker::store::PutOptions;
use worker::{FailureKind, Store, StoreError};

/// The metadata files of a lake.
#[derive(Debug, Clone)]
pub(super) struct LakeSink(pub(super) Arc<dyn Store>);

impl LakeSink {
    /// Whether the file is there and good.
    async fn has(&self, key: &str, table: &FinishedTable) -> std::result::Result<bool, StoreError> {
        let Some(head) = self.0.head(key).await? else { return Ok(false) };
        if head.size == table.bytes.len() as u64 {
            return Ok(true);
        }
        let Some((bytes, _)) = self.0.get_small(key).await? else { return Ok(false) };
        // Another version may have laid out the same records otherwise: that is as good.
        let found = LoadedTable::parse(key, bytes).and_then(|found| content_id::content_id(&found));
        let good = found.is_ok_and(|(id, _)| id == table.id);
        if !good {
            tracing::warn!(key, "replaces a damaged metadata file");
        }
        Ok(good)
    }
}

#[async_trait]
impl MetadataSink for LakeSink {
    async fn put(&self, table: &FinishedTable) -> Result<Stored> {
        let key = format!("{METADATA_FOLDER}/{}", table.id);
        if self.has(&key, table).await.map_err(|error| failed(&key, error))? {
            return Ok(Stored::Existed);
        }
        let put = self.0.put(&key, Bytes::clone(&table.bytes), &PutOptions::default()).await;
        put.map(|_| Stored::Written).map_err(|error| failed(&key, error))
    }

    /// Never: the manifest of an embedded lake changes by conditional put alone.
    async fn put_refs_manifest(&self, _manifest: &RefsManifest) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, METADATA_FOLDER, "expected a conditional put of the manifest, found another one"))
    }
}

fn failed(key: &str, error: StoreError) -> Error {
    let kind = match error.kind {
        FailureKind::Denied => ErrorKind::Denied,
        FailureKind::Full => ErrorKind::Full,
        FailureKind::NoBucket | FailureKind::NotFound => ErrorKind::NotFound,
        FailureKind::BadKey | FailureKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unreachable,
    };
    Error::new(kind, key, "expected the store to keep it").caused_by(error)
}
