//! A destination and Millrace's own objects there.
//!
//! ```text
//! EXPORT_<commit>_SUCCESS | _FAILURE        status markers
//! _millrace/HEAD.json                       the current receipt and the unfinished runs
//! _millrace/receipts/<seq>-<commit>-<run>/  receipt.json, changes.parquet
//! _millrace/runs/<run>/                     run.json, plan/
//! ```

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use planner::{Error, Location, MetadataStore, Result, Stores};
use serde::Serialize;
use serde::de::DeserializeOwned;
use worker::store::{Attributes, Condition, Listed, PutOptions};
use worker::{FailureKind, Registry, RequestClass, Store, StoreError};

/// The folder of everything of Millrace's but the status markers.
pub const OWN_FOLDER: &str = "_millrace";

/// A destination.
#[derive(Debug, Clone)]
pub struct Destination {
    location: Location,
    registry: Arc<Registry>,
    control: Arc<dyn Store>,
}

impl Destination {
    /// Opens the destination at `location`; asks no server.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn open(registry: &Arc<Registry>, location: &Location) -> Result<Self> {
        let location = location.as_folder();
        let control = registry.open(&location, RequestClass::Control)?;
        if control.capabilities().read_only {
            let message = format!("{location} is no destination: nothing can be written to a web server");
            return Err(Error::usage(message).with_help("name a bucket or a folder"));
        }
        Ok(Self { location, registry: Arc::clone(registry), control })
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

    /// The metadata files below `folder` of this destination.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn metadata(&self, folder: &str) -> Result<MetadataStore> {
        self.registry.metadata(&self.location.join(folder))
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
        let put = self.control.put(key, body.into(), &options).await?;
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

    /// Deletes an object of Millrace's own.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.control.delete(key).await.map_err(|e| self.failed(e, format!("{key} cannot be deleted")))
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

    /// Deletes everything that begins with `prefix`.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_all(&self, prefix: &str) -> Result<()> {
        for one in self.list(prefix).await? {
            self.delete(&one.key).await?;
        }
        Ok(())
    }

    /// The error of the command for a failed request.
    #[must_use]
    pub fn failed(&self, error: StoreError, what: impl std::fmt::Display) -> Error {
        error.into_error(&self.location, format!("{}: {what}", self.location))
    }

    fn mangled(&self, key: &str, error: &dyn std::fmt::Display) -> Error {
        Error::corrupt(format!("{}{key} cannot be understood: {error}", self.location))
            .with_help("somebody changed it, or another program wrote it: restore it from a backup, or move `_millrace/` aside and export with --full")
    }
}
