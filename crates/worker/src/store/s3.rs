//! S3 through `aws-sdk-s3`: raw keys, copies across buckets with new metadata, conditional puts, uploads in parts.
//!
//! # Retries
//! The SDK's own are off; every request goes through `S3Store::send`, which has the time limit, the endpoint's window and
//! the one retry loop.
//!
//! # Consistency
//! A put carries its MD5 and its CRC64NVME, so the store refuses other bytes. An answer without an etag counts as no answer.
//! What the store says of an upload is compared with what was sent; something else is deleted by its etag.

mod body;
mod classify;
mod client;
mod clock;
mod copy;
mod credentials;
mod headers;
mod last_look;
mod parts;
mod proxy;
mod put;
mod read;
mod send;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use planner::Location;

pub(crate) use classify::{chain_of, classify};
pub(crate) use client::{ClientKey, Connection, S3Access, SdkConfigs};

use super::digest::crc64_of;
use super::meter::Meter;
use super::settings::StoreSettings;
use super::{
    Access, Body, Bounds, Capabilities, CopyOptions, Deletion, FailureKind, Get, GetOptions, Head, Listed, Put, PutOptions,
    SourceObject, Store, StoreError, StoreResult, Sums, UploadOptions, md5_of,
};
use crate::limit::window::{Place, Window};

const MOST_PARTS: u64 = 10_000;

/// The endpoint of Amazon's own S3, in [`Access`].
const AMAZON: &str = "s3|aws";

/// What one store writes, beside the objects themselves.
#[derive(Debug, Clone)]
pub(crate) struct S3Options {
    pub(crate) keep_headers: bool,
    pub(crate) keep_tags: bool,
    pub(crate) acl: Option<ObjectCannedAcl>,
    /// Etags are no MD5s, whatever they look like.
    pub(crate) opaque_etags: bool,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) sse: Option<ServerSideEncryption>,
    pub(crate) sse_kms_key_id: Option<String>,
}

impl S3Options {
    pub(crate) fn new(settings: Option<&StoreSettings>) -> Self {
        Self {
            keep_headers: settings.is_some_and(|one| one.keep_headers),
            keep_tags: settings.is_some_and(|one| one.keep_tags),
            acl: settings.and_then(|one| one.acl.as_deref()).map(ObjectCannedAcl::from),
            opaque_etags: settings.is_some_and(|one| one.opaque_etags),
            storage_class: settings.and_then(|one| one.storage_class.as_deref()).map(StorageClass::from),
            sse: settings.and_then(|one| one.sse.as_deref()).map(ServerSideEncryption::from),
            sse_kms_key_id: settings.and_then(|one| one.sse_kms_key_id.clone()),
        }
    }
}

/// One location in an S3 bucket.
pub struct S3Store {
    connection: Connection,
    location: Location,
    prefix: String,
    access: Access,
    options: S3Options,
    bounds: Bounds,
    window: Option<Arc<Window>>,
    meter: Meter,
    /// An answer said that its etag is no MD5: checksums are asked for from then on.
    sees_opaque_etags: AtomicBool,
    /// The store refused to be asked for checksums.
    has_no_checksums: AtomicBool,
    /// The store said of a part that its CRC64NVME is the one that was sent.
    confirms_checksums: AtomicBool,
    /// The store refused to be told what becomes of tags.
    has_no_tags: AtomicBool,
    /// The store refused a batch of deletes.
    has_no_batches: AtomicBool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("location", &self.location).field("access", &self.access).finish_non_exhaustive()
    }
}

impl S3Store {
    pub(crate) fn new(
        connection: Connection,
        location: &Location,
        (access, options): (Access, S3Options),
        (bounds, window): (Bounds, Option<Arc<Window>>),
        meter: Meter,
    ) -> Self {
        Self {
            connection,
            prefix: location.prefix(),
            location: location.clone(),
            access,
            options,
            bounds,
            window,
            meter,
            sees_opaque_etags: AtomicBool::new(false),
            has_no_checksums: AtomicBool::new(false),
            confirms_checksums: AtomicBool::new(false),
            has_no_tags: AtomicBool::new(false),
            has_no_batches: AtomicBool::new(false),
        }
    }

    fn client(&self) -> &Client {
        &self.connection.client
    }

    fn bucket(&self) -> &str {
        self.location.bucket()
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// A place among the requests that the endpoint takes at once.
    async fn enter(&self) -> Place {
        match &self.window {
            Some(window) => window.enter().await,
            None => Place::unbounded(),
        }
    }

    fn asks_checksums(&self) -> bool {
        !self.has_no_checksums.load(Ordering::Relaxed)
    }

    fn knows_no_checksums(&self, error: &StoreError) {
        if !self.has_no_checksums.swap(true, Ordering::Relaxed) {
            tracing::debug!("{}: the store knows no CRC64NVME, and is not asked for it again: {error}", self.location);
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self) -> &Location {
        &self.location
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            server_copy: true,
            conditional_put: true,
            conditions_vary: self.access.endpoint != AMAZON,
            user_metadata: true,
            content_type: true,
            etag_is_md5: !self.options.opaque_etags,
            pins_by_entry_etag: true,
            keep_headers: self.options.keep_headers,
            keep_tags: self.options.keep_tags,
            buffers_uploads: true,
            read_only: false,
        }
    }

    fn access(&self) -> &Access {
        &self.access
    }

    async fn get(&self, key: &str, options: &GetOptions) -> StoreResult<Get> {
        self.get_object(key, options).await
    }

    async fn head(&self, key: &str) -> StoreResult<Option<Head>> {
        self.head_of(self.bucket(), &self.full(key)).await
    }

    async fn part_size(&self, key: &str, etag: &str) -> StoreResult<Option<u64>> {
        self.first_part(key, etag).await
    }

    async fn tags(&self, key: &str) -> StoreResult<Option<String>> {
        self.tags_of(self.bucket(), &self.full(key)).await
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> StoreResult<Put> {
        let md5 = options.content_md5.unwrap_or_else(|| md5_of(&body));
        let sums = Sums { md5: Some(md5), crc64: Some(crc64_of(&body)), parts: None };
        self.put_whole(key, body, &sums, &options.condition, &options.attributes).await
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        self.delete_one(key).await
    }

    async fn delete_if(&self, key: &str, etag: &str) -> StoreResult<()> {
        self.delete_matching(key, etag).await
    }

    async fn abort_uploads(&self, key: &str) -> StoreResult<u64> {
        self.abort_all(&self.full(key)).await
    }

    async fn delete_many(&self, deletions: &[Deletion]) -> Vec<StoreResult<()>> {
        self.delete_all(deletions).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<Listed>> {
        let prefix = prefix.to_owned();
        // `Some(token)` is a page to ask for, `None` the end.
        stream::unfold(Some(None), move |next: Option<Option<String>>| {
            let prefix = prefix.clone();
            async move {
                let token = next?;
                Some(match self.list_page(&prefix, token).await {
                    Ok((page, more)) => (stream::iter(page), more.map(Some)),
                    Err(error) => (stream::iter(vec![Err(error)]), None),
                })
            }
        })
        .flatten()
        .boxed()
    }

    async fn copy_from(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        if source.size > self.bounds.copy_in_parts_above {
            return self.copy_in_parts(source, key, options).await;
        }
        self.copy_whole(source, key, options).await
    }

    async fn upload(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        if size < options.multipart_threshold {
            return self.upload_whole(key, body, size, options).await;
        }
        self.upload_in_parts(key, body, size, options).await
    }
}

fn no_etag() -> StoreError {
    StoreError::new(FailureKind::Unavailable, "the store's answer is empty: it shows no etag")
}

fn unquoted(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

fn quoted(etag: &str) -> String {
    if etag == "*" { etag.to_owned() } else { format!("\"{}\"", unquoted(etag)) }
}

/// With KMS or customer keys the etag is no MD5.
fn is_encrypted(sse: Option<&ServerSideEncryption>, customer: Option<&String>) -> bool {
    customer.is_some() || sse.is_some_and(|sse| !matches!(sse, ServerSideEncryption::Aes256))
}
