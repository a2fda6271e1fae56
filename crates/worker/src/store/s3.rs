//! S3 through `aws-sdk-s3`: raw keys, copies across buckets with new metadata, conditional puts, uploads in parts.
//!
//! # Retries
//! The SDK's own are off; every request goes through [`S3Store::send`], which has the time limit and the one retry loop.
//!
//! # Consistency
//! A put carries its MD5, so the store refuses other bytes. A copy's answer without an etag counts as no answer.

mod classify;
mod client;
mod copy;
mod headers;
mod upload;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{EncodingType, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use planner::Location;

pub(crate) use classify::{chain_of, classify};
pub(crate) use client::{ClientKey, S3Access, STALL, SdkConfigs};

use super::meter::Meter;
use super::settings::StoreSettings;
use super::{
    Access, Attributes, Body, Capabilities, Condition, Confirmation, CopyOptions, FailureKind, Get, GetOptions, Head, Headers,
    Listed, Md5Sum, Put, PutOptions, SourceObject, Store, StoreError, StoreResult, UploadOptions, etag_md5, md5_of,
};
use crate::retry::{Repeat, Retry};
use headers::{checked, decode_listed, metadata_headers};

/// What a silent store is granted beside the request timeout, in bytes a second.
pub(crate) const COPY_RATE: u64 = 20_000_000;
/// The slowest upload that is waited for, in bytes a second. Stalls are noticed long before.
pub(crate) const UPLOAD_RATE: u64 = 1_000_000;
/// Completing an upload in parts may take the store long, and it is silent meanwhile.
pub(crate) const COMPLETE_LIMIT: Duration = Duration::from_mins(5);

/// How one store sends and what it writes, beside the client.
#[derive(Debug, Clone)]
pub(crate) struct S3Options {
    pub(crate) request_timeout: Duration,
    pub(crate) keep_headers: bool,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) sse: Option<ServerSideEncryption>,
    pub(crate) sse_kms_key_id: Option<String>,
    /// Larger objects are copied in parts: `CopyObject` ends at 5 GiB.
    pub(crate) copy_in_parts_above: u64,
}

impl S3Options {
    pub(crate) fn new(settings: Option<&StoreSettings>, request_timeout: Duration) -> Self {
        Self {
            request_timeout,
            keep_headers: settings.is_some_and(|one| one.keep_headers),
            storage_class: settings.and_then(|one| one.storage_class.as_deref()).map(StorageClass::from),
            sse: settings.and_then(|one| one.sse.as_deref()).map(ServerSideEncryption::from),
            sse_kms_key_id: settings.and_then(|one| one.sse_kms_key_id.clone()),
            copy_in_parts_above: 5 * 1024 * 1024 * 1024,
        }
    }
}

/// One location in an S3 bucket.
pub struct S3Store {
    client: Client,
    location: Location,
    prefix: String,
    access: Access,
    options: S3Options,
    retry: Retry,
    meter: Meter,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("location", &self.location).field("access", &self.access).finish_non_exhaustive()
    }
}

impl S3Store {
    pub(crate) fn new(client: Client, location: &Location, access: Access, options: S3Options, meter: Meter) -> Self {
        Self { client, prefix: location.prefix(), location: location.clone(), access, options, retry: Retry::default(), meter }
    }

    fn bucket(&self) -> &str {
        self.location.bucket()
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Sends one request: counted, with a time limit, and again where that may help.
    async fn send<T, F, Fut>(&self, repeat: Repeat, limit: Duration, request: F) -> StoreResult<T>
    where
        T: Send,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let attempt = || async {
            self.meter.request();
            // The SDK's futures are large: they live on the heap.
            match tokio::time::timeout(limit, Box::pin(request())).await {
                Ok(end) => end,
                Err(_) => Err(StoreError::new(FailureKind::TimedOut, format!("no answer in {} s", limit.as_secs_f64().round()))),
            }
        };
        self.retry.run(repeat, attempt).await
    }

    /// The limit of a request that moves nothing.
    fn limit(&self) -> Duration {
        self.options.request_timeout
    }

    /// The limit of a request during which the store moves `size` bytes and is silent.
    fn silent_limit(&self, size: u64) -> Duration {
        self.options.request_timeout + Duration::from_secs(size / COPY_RATE)
    }

    /// The limit of a request that sends `size` bytes.
    fn upload_limit(&self, size: u64) -> Duration {
        self.options.request_timeout + Duration::from_secs(size / UPLOAD_RATE)
    }

    async fn head_of(&self, bucket: &str, key: &str) -> StoreResult<Option<Head>> {
        let request = || async {
            let sent = self.client.head_object().bucket(bucket).key(key).send().await;
            sent.map_err(|error| classify(&error))
        };
        let answer = match self.send(Repeat::Safe, self.limit(), request).await {
            Ok(answer) => answer,
            Err(error) if error.kind == FailureKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let etag = answer.e_tag.as_deref().map(unquoted);
        let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
        Ok(Some(Head {
            etag_is_md5: !encrypted && etag.as_deref().is_some_and(|etag| etag_md5(etag).is_some()),
            etag,
            size: u64::try_from(answer.content_length.unwrap_or_default()).unwrap_or_default(),
            attributes: Attributes {
                content_type: answer.content_type,
                metadata: sorted(answer.metadata),
                headers: Headers {
                    cache_control: answer.cache_control,
                    content_disposition: answer.content_disposition,
                    content_encoding: answer.content_encoding,
                    content_language: answer.content_language,
                },
            },
        }))
    }

    async fn put_whole(&self, key: &str, body: Bytes, md5: Md5Sum, condition: &Condition, said: &Attributes) -> StoreResult<Put> {
        let full = self.full(key);
        let size = body.len() as u64;
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let (absent, matching) = match condition {
            Condition::None => (None, None),
            Condition::Absent => (Some("*".to_owned()), None),
            Condition::Match(etag) => (None, Some(quoted(etag))),
        };
        let request = || async {
            let sent = self
                .client
                .put_object()
                .bucket(self.bucket())
                .key(&full)
                .content_length(i64::try_from(size).unwrap_or(i64::MAX))
                .content_md5(aws_smithy_types::base64::encode(md5))
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_storage_class(self.options.storage_class.clone())
                .set_server_side_encryption(self.options.sse.clone())
                .set_ssekms_key_id(self.options.sse_kms_key_id.clone())
                .set_if_none_match(absent.clone())
                .set_if_match(matching.clone())
                .body(ByteStream::new(SdkBody::from(body.clone())))
                .send()
                .await;
            let answer = sent.map_err(|error| classify(&error))?;
            self.meter.payload(size);
            answer.e_tag.ok_or_else(no_etag)
        };
        let repeat = if *condition == Condition::None { Repeat::Safe } else { Repeat::IfNotApplied };
        let end = self.send(repeat, self.upload_limit(size), request).await;
        let etag = end.map_err(|error| match (error.kind, condition) {
            // `If-Match` on what is not there: the condition failed, nothing is missing.
            (FailureKind::NotFound, Condition::Match(_)) => StoreError::new(FailureKind::Precondition, error.message),
            _ => error,
        })?;
        Ok(Put { etag: Some(unquoted(&etag)), md5: Some(md5), confirmed: Some(Confirmation::Md5), bytes: size })
    }

    async fn list_page(&self, prefix: &str, token: Option<String>) -> StoreResult<(Vec<StoreResult<Listed>>, Option<String>)> {
        let full = self.full(prefix);
        let request = || async {
            let sent = self
                .client
                .list_objects_v2()
                .bucket(self.bucket())
                .prefix(&full)
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token.clone())
                .send()
                .await;
            sent.map_err(|error| classify(&error))
        };
        let page = self.send(Repeat::Safe, self.limit(), request).await?;
        let encoded = page.encoding_type == Some(EncodingType::Url);
        let listed = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let key = object.key?;
            let key = if encoded { decode_listed(&key) } else { key };
            let key = key.strip_prefix(&self.prefix)?.to_owned();
            let size = u64::try_from(object.size.unwrap_or_default()).unwrap_or_default();
            let modified = object.last_modified.and_then(|at| at.try_into().ok());
            Some(Ok(Listed { key, size, etag: object.e_tag.as_deref().map(unquoted), modified }))
        });
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        Ok((listed.collect(), next))
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
            user_metadata: true,
            content_type: true,
            etag_is_md5: true,
            pins_by_entry_etag: true,
            keep_headers: self.options.keep_headers,
            buffers_uploads: true,
            read_only: false,
        }
    }

    fn access(&self) -> &Access {
        &self.access
    }

    async fn get(&self, key: &str, options: &GetOptions) -> StoreResult<Get> {
        let full = self.full(key);
        let range = options.range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = || async {
            let sent = self
                .client
                .get_object()
                .bucket(self.bucket())
                .key(&full)
                .set_if_match(options.if_match.as_deref().map(quoted))
                .set_range(range.clone())
                .send()
                .await;
            sent.map_err(|error| classify(&error))
        };
        let answer = self.send(Repeat::Safe, self.limit(), request).await?;
        let etag = answer.e_tag.as_deref().map(unquoted);
        let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
        let length = u64::try_from(answer.content_length.unwrap_or_default()).unwrap_or_default();
        let whole = answer.content_range.as_deref().and_then(|range| range.rsplit('/').next()?.parse().ok());
        Ok(Get {
            etag_is_md5: !encrypted && etag.as_deref().is_some_and(|etag| etag_md5(etag).is_some()),
            etag,
            size: whole.unwrap_or(length),
            attributes: Attributes {
                content_type: answer.content_type,
                metadata: sorted(answer.metadata),
                headers: Headers {
                    cache_control: answer.cache_control,
                    content_disposition: answer.content_disposition,
                    content_encoding: answer.content_encoding,
                    content_language: answer.content_language,
                },
            },
            body: watched(answer.body, self.meter.clone()),
        })
    }

    async fn head(&self, key: &str) -> StoreResult<Option<Head>> {
        self.head_of(self.bucket(), &self.full(key)).await
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> StoreResult<Put> {
        let md5 = options.content_md5.unwrap_or_else(|| md5_of(&body));
        self.put_whole(key, body, md5, &options.condition, &options.attributes).await
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        let full = self.full(key);
        let request = || async {
            let sent = self.client.delete_object().bucket(self.bucket()).key(&full).send().await;
            sent.map(drop).map_err(|error| classify(&error))
        };
        match self.send(Repeat::Safe, self.limit(), request).await {
            Err(error) if error.kind == FailureKind::NotFound => Ok(()),
            end => end,
        }
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
        if source.size > self.options.copy_in_parts_above {
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

/// The bytes of an answer: counted, and failed when none came for [`STALL`].
fn watched(body: ByteStream, meter: Meter) -> Body {
    stream::unfold(Some(body), move |body| {
        let meter = meter.clone();
        async move {
            let mut body = body?;
            match tokio::time::timeout(STALL, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(bytes))) => {
                    meter.payload(bytes.len() as u64);
                    Some((Ok(bytes), Some(body)))
                }
                Ok(Some(Err(error))) => {
                    let message = format!("the transfer broke off: {}", chain_of(&error));
                    Some((Err(StoreError::new(FailureKind::Unavailable, message)), None))
                }
                Err(_) => {
                    let message = format!("the transfer stalled: no byte in {} s", STALL.as_secs());
                    Some((Err(StoreError::new(FailureKind::TimedOut, message)), None))
                }
            }
        }
    })
    .boxed()
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

fn sorted(metadata: Option<std::collections::HashMap<String, String>>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = metadata.unwrap_or_default().into_iter().collect();
    pairs.sort();
    pairs
}
