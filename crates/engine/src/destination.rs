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
use planner::digest::{is_whole, sealed};
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

    /// Refuses a folder of this machine that has something else where Millrace keeps its own files.
    ///
    /// # Errors
    /// `Guard`, naming what is in the way.
    pub(crate) fn own_places(&self) -> Result<()> {
        const FILES: [&str; 2] = ["HEAD.json", "lock"];
        const FOLDERS: [&str; 3] = ["receipts", "runs", "tmp"];
        let Some(own) = self.status.file_path().map(|path| path.join(OWN_FOLDER)) else { return Ok(()) };
        let is = |name: &str| std::fs::symlink_metadata(own.join(name)).ok().map(|found| found.is_dir());
        let wrong = |names: &[&'static str], folder: bool| names.iter().copied().find(|name| is(name) == Some(folder));
        let (name, there, wanted) = match (wrong(&FILES, true), wrong(&FOLDERS, false)) {
            (Some(name), _) => (name, "folder", "file"),
            (None, Some(name)) => (name, "file", "folder"),
            (None, None) => return Ok(()),
        };
        Err(Error::guard(format!("{}{OWN_FOLDER}/{name} is a {there}, and Millrace's own {wanted} must be there", self.status))
            .with_help("move it away, or choose another destination"))
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

    /// Reads a JSON document, of whatever version.
    ///
    /// # Errors
    /// As [`Destination::get`], and `Corrupt` for one that is no JSON.
    pub async fn get_document(&self, key: &str) -> Result<Option<Document>> {
        let Some((bytes, etag)) = self.get(key).await? else { return Ok(None) };
        let at = format!("{}{key}", self.status);
        let value = serde_json::from_slice(&bytes).map_err(|e| mangled(&at, &e).with_help(RESTORE))?;
        Ok(Some(Document { at, value, whole: is_whole(&bytes), etag }))
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// As [`Destination::get`], and `Corrupt` for one that was changed or cannot be understood.
    pub async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, String)>> {
        let Some(document) = self.get_document(key).await? else { return Ok(None) };
        let etag = document.etag.clone();
        Ok(Some((document.read(RESTORE)?, etag)))
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

    /// Writes a JSON document, with its digest.
    ///
    /// # Errors
    /// The store's.
    pub async fn put_json<T: Serialize + Sync>(&self, key: &str, value: &T) -> Result<()> {
        let body = sealed(value).map_err(|e| Error::bug(format!("{key}: {e}")))?;
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

    /// Removes what processes that are gone left unfinished in folders: files without names, and empty folders of runs. What cannot
    /// be removed stays, and is no harm.
    pub async fn sweep(&self) {
        let data = self.served().and_then(|_| self.data().ok());
        let places =
            [(Some(&self.control), "_millrace/runs"), (Some(&self.control), "_millrace/tmp"), (data.as_ref(), "_millrace/tmp")];
        for (store, folder) in places.into_iter().filter_map(|(store, folder)| Some((store?, folder))) {
            match self.fenced(store.sweep(folder)).await {
                Ok(0) => {}
                Ok(files) => tracing::debug!("{files} files that were never finished are removed from {folder}"),
                Err(error) => tracing::warn!("{}{folder} cannot be swept: {error}", self.location),
            }
        }
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
}

/// What to do about a document that somebody changed, where nothing better is known.
const RESTORE: &str = "somebody changed it, or another program wrote it: restore it from a backup, or move `_millrace/` aside and export with --full";

/// A JSON document as it was read.
#[derive(Debug)]
pub struct Document {
    at: String,
    value: serde_json::Value,
    whole: bool,
    /// Its version.
    pub etag: String,
}

impl Document {
    /// Its format version; `None` where it says none.
    #[must_use]
    pub fn format(&self) -> Option<u64> {
        self.value.get("format").and_then(serde_json::Value::as_u64)
    }

    /// What it says. `help`: what to do about one that was changed.
    ///
    /// # Errors
    /// `Corrupt` for one that was changed or cannot be understood.
    pub fn read<T: DeserializeOwned>(self, help: &str) -> Result<T> {
        if !self.whole {
            return Err(Error::corrupt(format!("{} is not what was written: it has another digest than it says", self.at))
                .with_help(format!("{help}; if you changed it on purpose, take its field `digest` out")));
        }
        serde_json::from_value(self.value).map_err(|e| mangled(&self.at, &e).with_help(help))
    }
}

fn mangled(at: &str, error: &dyn std::fmt::Display) -> Error {
    Error::corrupt(format!("{at} cannot be understood: {error}"))
}
