//! A destination and Millrace's own objects there.
//!
//! ```text
//! EXPORT_<commit>_SUCCESS | _FAILURE        status markers
//! _millrace/HEAD.json                       the current receipt and the unfinished runs
//! _millrace/receipts/<seq>-<commit>-<run>/  receipt.json, changes.parquet
//! _millrace/runs/<run>/                     run.json, plan/
//! ```
//! They lie beside the data, or at a *status path* of their own (`--status-path`). HEAD at a status path says which
//! destination it serves, and serves no other one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use planner::{Error, Location, MetadataStore, Result, Stores};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::io::ReaderStream;
use worker::store::{Attributes, Condition, Deletion, Listed, PutOptions, UploadOptions};
use worker::{FailureKind, Fence, Registry, RequestClass, Store, StoreError};

/// The folder of everything of Millrace's but the status markers.
pub const OWN_FOLDER: &str = "_millrace";

/// Objects that are deleted in a request.
const DELETES: usize = 1000;

/// A destination.
#[derive(Debug, Clone)]
pub struct Destination {
    location: Location,
    /// Where Millrace's own objects are.
    status: Location,
    registry: Arc<Registry>,
    control: Arc<dyn Store>,
    fence: Option<Arc<Fence>>,
}

impl Destination {
    /// Opens the destination at `location`; asks no server.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn open(registry: &Arc<Registry>, location: &Location) -> Result<Self> {
        Self::open_at(registry, location, None)
    }

    /// Opens the destination at `location` whose status markers and `_millrace/` are at `status`; asks no server.
    ///
    /// # Errors
    /// Settings that name no usable store; `Usage` for a status path that is the destination.
    pub fn open_at(registry: &Arc<Registry>, location: &Location, status: Option<&Location>) -> Result<Self> {
        let location = location.as_folder();
        let status = status.map_or_else(|| location.clone(), Location::as_folder);
        let control = registry.open(&status, RequestClass::Control)?;
        for (place, store) in [(&status, &control), (&location, &registry.open(&location, RequestClass::Control)?)] {
            if store.capabilities().read_only {
                let message = format!("{place} is no destination: nothing can be written to a web server");
                return Err(Error::usage(message).with_help("name a bucket or a folder"));
            }
        }
        Ok(Self { location, status, registry: Arc::clone(registry), control, fence: None })
    }

    /// The same destination, whose writes ask `fence` first.
    #[must_use]
    pub fn behind(&self, fence: &Arc<Fence>) -> Self {
        Self { fence: Some(Arc::clone(fence)), ..self.clone() }
    }

    async fn fenced<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.fence {
            Some(fence) => Arc::clone(fence).scope(work).await,
            None => work.await,
        }
    }

    /// The destination that HEAD at a status path must name; `None` where the markers are beside the data.
    #[must_use]
    pub fn served(&self) -> Option<String> {
        (self.status != self.location).then(|| self.location.to_string())
    }

    /// The store of the data, for requests that are not for objects' bytes.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn data(&self) -> Result<Arc<dyn Store>> {
        self.registry.open(&self.location, RequestClass::Control)
    }

    /// Where Millrace's own objects are among the data: the status path from the destination on, where it lies below it.
    #[must_use]
    pub fn status_below(&self) -> Option<String> {
        self.location.way_to(&self.status)
    }

    /// What was written is durable.
    ///
    /// # Errors
    /// The store's.
    pub async fn sync(&self) -> Result<()> {
        let failed = |e| self.failed(e, "what was written cannot be made durable");
        if self.served().is_some() {
            self.data()?.sync().await.map_err(failed)?;
        }
        self.control.sync().await.map_err(failed)
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The stores at hand.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The store, for requests that are not for objects' bytes.
    #[must_use]
    pub fn control(&self) -> &Arc<dyn Store> {
        &self.control
    }

    /// Where its status markers and `_millrace/` are.
    #[must_use]
    pub fn status(&self) -> &Location {
        &self.status
    }

    /// The metadata files below `folder` of Millrace's own.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn metadata(&self, folder: &str) -> Result<MetadataStore> {
        self.registry.metadata(&self.status.join(folder))
    }

    /// Reads a small object with its etag.
    ///
    /// # Errors
    /// Anything but that it is not there.
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, String)>> {
        match self.control.get_small(key).await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.failed(error, format!("{key} cannot be read"))),
        }
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// As [`Destination::get`], and `Corrupt` for one that cannot be understood.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, String)>> {
        let Some((bytes, etag)) = self.get(key).await? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes).map_err(|e| self.mangled(key, &e))?;
        Ok(Some((value, etag)))
    }

    /// Writes a small object.
    ///
    /// # Errors
    /// The store's; [`FailureKind::Precondition`] when `condition` does not hold.
    pub async fn put(&self, key: &str, body: Vec<u8>, content_type: &str, condition: Condition) -> Result<String, StoreError> {
        let options = PutOptions { condition, attributes: Attributes::content_type(content_type), ..PutOptions::default() };
        let put = self.fenced(self.control.put(key, body.into(), &options)).await?;
        Ok(put.etag.unwrap_or_default())
    }

    /// Writes a JSON document.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_json<T: Serialize + Sync>(&self, key: &str, value: &T) -> Result<()> {
        let body = serde_json::to_vec_pretty(value).map_err(|e| Error::bug(format!("{key}: {e}")))?;
        self.put(key, body, "application/json", Condition::None)
            .await
            .map(|_| ())
            .map_err(|e| self.failed(e, format!("{key} cannot be written")))
    }

    /// Copies the local file `from` to `key`: whole, or not at all.
    ///
    /// # Errors
    /// `Unreachable` where it cannot be read or written.
    pub async fn upload_file(&self, from: &Path, key: &str) -> Result<()> {
        let unreadable = |e: std::io::Error| {
            Error::unreachable(format!("{}: {e}", from.display()))
                .with_help("the temporary folder (TMPDIR) needs room and permission")
        };
        let file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let body = ReaderStream::with_capacity(file, 1 << 20)
            .map_err(|e| StoreError::new(FailureKind::Other, format!("the local file cannot be read: {e}")))
            .boxed();
        let upload = self.fenced(self.control.upload(key, body, size, &UploadOptions::default())).await;
        upload.map(drop).map_err(|e| self.failed(e, format!("{key} cannot be written")))
    }

    /// Deletes an object of Millrace's own.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.fenced(self.control.delete(key)).await.map_err(|e| self.failed(e, format!("{key} cannot be deleted")))
    }

    /// Keys that begin with `prefix`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        match self.control.list(prefix).try_collect().await {
            Ok(found) => Ok(found),
            Err(error) if error.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(error, format!("{prefix}* cannot be listed"))),
        }
    }

    /// Aborts uploads in parts of Millrace's own objects.
    ///
    /// # Errors
    /// The store's.
    pub async fn abort_own_uploads(&self) -> Result<u64> {
        let own = format!("{OWN_FOLDER}/");
        let aborted = self.fenced(self.control.abort_uploads(&own)).await;
        aborted.map_err(|e| self.failed(e, format!("uploads of {own} cannot be aborted")))
    }

    /// Aborts uploads in parts of the object `key`.
    ///
    /// # Errors
    /// The store's.
    pub async fn abort_uploads(&self, key: &str) -> Result<u64> {
        let data = self.data()?;
        let aborted = self.fenced(data.abort_uploads(key)).await;
        let at = &self.location;
        aborted.map_err(|e| e.into_error(at, format!("{at}: uploads of {key} cannot be aborted")))
    }

    /// Deletes everything that begins with `prefix` but the object `kept`.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_all_but(&self, prefix: &str, kept: &str) -> Result<()> {
        let found = self.list(prefix).await?.into_iter().filter(|one| one.key != kept);
        let deletions: Vec<Deletion> = found.map(|one| Deletion::of(one.key)).collect();
        for batch in deletions.chunks(DELETES) {
            let ends = self.fenced(self.control.delete_many(batch)).await;
            let failed = ends.into_iter().zip(batch).find_map(|(end, one)| Some((end.err()?, &one.key)));
            if let Some((error, key)) = failed {
                return Err(self.failed(error, format!("{key} cannot be deleted")));
            }
        }
        Ok(())
    }

    /// The error of the command for a failed request.
    #[must_use]
    pub fn failed(&self, error: StoreError, what: impl std::fmt::Display) -> Error {
        error.into_error(&self.status, format!("{}: {what}", self.status))
    }

    fn mangled(&self, key: &str, error: &dyn std::fmt::Display) -> Error {
        Error::corrupt(format!("{}{key} cannot be understood: {error}", self.status))
            .with_help("somebody changed it, or another program wrote it: restore it from a backup, or move `_millrace/` aside and export with --full")
    }
}
