//! Uploads: one put of a buffered body, or parts.
//!
//! # Crash consistency
//! Nothing of an upload in parts is visible before it is completed, and it is completed only when size and MD5 are right.
//! One that fails is aborted; one whose future is dropped is aborted in the background. What a killed process leaves is
//! found by key.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};

use super::headers::{checked, metadata_headers};
use super::{COMPLETE_LIMIT, S3Store, classify, no_etag, unquoted};
use crate::retry::Repeat;
use crate::store::{
    Attributes, Body, Condition, Confirmation, FailureKind, Md5Sum, Put, StoreError, StoreResult, UploadOptions, md5_of,
    short_body,
};

const MOST_PARTS: u64 = 10_000;

impl S3Store {
    pub(super) async fn upload_whole(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        let bytes = crate::store::read_exactly(body, size).await?;
        let md5 = md5_of(&bytes);
        expect(md5, options.expect_md5)?;
        self.put_whole(key, bytes, md5, &Condition::None, &options.attributes).await
    }

    pub(super) async fn upload_in_parts(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        let upload = Upload::create(self, key, &options.attributes).await?;
        let part_size = options.part_size.max(size.div_ceil(MOST_PARTS)).max(1);
        let sent = self.send_parts(&upload, body, size, part_size, options).await;
        let (parts, md5) = match sent {
            Ok((parts, md5)) => (Ok(parts), Some(md5)),
            Err(error) => (Err(error), None),
        };
        let put = upload.end(parts, size).await?;
        Ok(Put { md5, ..put })
    }

    /// Sends all parts and checks the whole: the parts in their order, and the MD5 of all bytes.
    async fn send_parts(
        &self,
        upload: &Upload<'_>,
        body: Body,
        size: u64,
        part_size: u64,
        options: &UploadOptions,
    ) -> StoreResult<(Vec<CompletedPart>, Md5Sum)> {
        let whole = Arc::new(Mutex::new((Md5::new(), 0_u64)));
        let mut parts: Vec<(CompletedPart, Md5Sum)> = parts_of(body, part_size, Arc::clone(&whole))
            .enumerate()
            .map(|(index, part)| part.map(|part| (index, part)))
            .map_ok(|(index, part)| self.send_part(upload, index, part))
            .try_buffer_unordered(options.parts_in_flight.max(1))
            .try_collect()
            .await?;
        let (md5, got) = {
            let whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            (whole.0.clone().finalize().into(), whole.1)
        };
        if got != size {
            return Err(short_body(got, size));
        }
        expect(md5, options.expect_md5)?;
        parts.sort_by_key(|(part, _)| part.part_number());
        upload.expect_composite(parts.iter().map(|(_, sum)| *sum));
        Ok((parts.into_iter().map(|(part, _)| part).collect(), md5))
    }

    async fn send_part(&self, upload: &Upload<'_>, index: usize, bytes: Bytes) -> StoreResult<(CompletedPart, Md5Sum)> {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let (size, md5) = (bytes.len() as u64, md5_of(&bytes));
        let request = || async {
            let sent = self
                .client
                .upload_part()
                .bucket(self.bucket())
                .key(upload.key())
                .upload_id(upload.id())
                .part_number(number)
                .content_length(i64::try_from(size).unwrap_or(i64::MAX))
                .content_md5(aws_smithy_types::base64::encode(md5))
                .body(ByteStream::new(SdkBody::from(bytes.clone())))
                .send()
                .await;
            let answer = sent.map_err(|error| classify(&error))?;
            self.meter.payload(size);
            answer.e_tag.ok_or_else(no_etag)
        };
        let etag = self.send(Repeat::Safe, self.upload_limit(size), request).await?;
        Ok((CompletedPart::builder().part_number(number).e_tag(etag).build(), md5))
    }
}

fn expect(got: Md5Sum, expected: Option<Md5Sum>) -> StoreResult<()> {
    match expected {
        Some(expected) if expected != got => {
            let message =
                format!("the source's MD5 is {}, that of the bytes that came {}", hex::encode(expected), hex::encode(got));
            Err(StoreError::new(FailureKind::Mismatch, message))
        }
        _ => Ok(()),
    }
}

/// Cuts a body into parts of `part_size` bytes, hashing and counting on the way. An empty body is one empty part.
fn parts_of(body: Body, part_size: u64, whole: Arc<Mutex<(Md5, u64)>>) -> BoxStream<'static, StoreResult<Bytes>> {
    let part_size = usize::try_from(part_size).unwrap_or(usize::MAX);
    stream::try_unfold((Some(body), BytesMut::new(), true), move |(mut body, mut held, first)| {
        let whole = Arc::clone(&whole);
        async move {
            // What is left over from the last chunk is small: one allocation a part.
            held.reserve(part_size.saturating_sub(held.len()));
            while held.len() < part_size {
                let Some(open) = body.as_mut() else { break };
                match open.try_next().await? {
                    Some(chunk) => {
                        let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
                        whole.0.update(&chunk);
                        whole.1 += chunk.len() as u64;
                        held.extend_from_slice(&chunk);
                    }
                    None => body = None,
                }
            }
            if held.is_empty() && !first {
                return Ok(None);
            }
            let part = held.split_to(held.len().min(part_size)).freeze();
            Ok(Some((part, (body, held, false))))
        }
    })
    .boxed()
}

/// An upload in parts that is under way. Dropped without an end, it is aborted in the background.
pub(super) struct Upload<'a> {
    store: &'a S3Store,
    key: String,
    id: String,
    /// The etag that the whole must get when every part is what was sent.
    composite: Mutex<Option<String>>,
    open: bool,
}

impl<'a> Upload<'a> {
    pub(super) async fn create(store: &'a S3Store, key: &str, said: &Attributes) -> StoreResult<Self> {
        let full = store.full(key);
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let request = || async {
            let sent = store
                .client
                .create_multipart_upload()
                .bucket(store.bucket())
                .key(&full)
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_storage_class(store.options.storage_class.clone())
                .set_server_side_encryption(store.options.sse.clone())
                .set_ssekms_key_id(store.options.sse_kms_key_id.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| classify(&error))?;
            answer.upload_id.ok_or_else(|| StoreError::new(FailureKind::Unavailable, "the store's answer shows no upload id"))
        };
        // Not repeated when the answer was lost: the first upload may exist, and nobody would know its id.
        let id = store.send(Repeat::IfNotApplied, store.limit(), request).await?;
        Ok(Self { store, key: full, id, composite: Mutex::default(), open: true })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn expect_composite(&self, parts: impl ExactSizeIterator<Item = Md5Sum>) {
        let count = parts.len();
        let mut all = Md5::new();
        parts.for_each(|sum| all.update(sum));
        let etag = format!("{}-{count}", hex::encode(all.finalize()));
        *self.composite.lock().unwrap_or_else(PoisonError::into_inner) = Some(etag);
    }

    /// Completes the upload, or aborts it when a part failed.
    pub(super) async fn end(mut self, parts: StoreResult<Vec<CompletedPart>>, size: u64) -> StoreResult<Put> {
        let end = match parts {
            Ok(parts) => self.complete(parts, size).await,
            Err(error) => Err(error),
        };
        self.open = false;
        if end.is_err() {
            abort(self.store.client.clone(), self.store.bucket().to_owned(), self.key.clone(), self.id.clone()).await;
        }
        end
    }

    async fn complete(&self, parts: Vec<CompletedPart>, size: u64) -> StoreResult<Put> {
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = || async {
            let sent = self
                .store
                .client
                .complete_multipart_upload()
                .bucket(self.store.bucket())
                .key(&self.key)
                .upload_id(&self.id)
                .multipart_upload(all.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| classify(&error))?;
            answer.e_tag.ok_or_else(no_etag)
        };
        let composite = self.composite.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let etag = match self.store.send(Repeat::Safe, COMPLETE_LIMIT, request).await {
            Ok(etag) => unquoted(&etag),
            // The answer of an earlier attempt was lost, and the upload is complete: then its etag is there.
            Err(error) if error.kind == FailureKind::NotFound => {
                self.completed_before(composite.as_deref()).await?.ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        let confirmed = composite.filter(|composite| *composite == etag).map(|_| Confirmation::PartsMd5);
        Ok(Put { etag: Some(etag), md5: None, confirmed, bytes: size })
    }

    async fn completed_before(&self, composite: Option<&str>) -> StoreResult<Option<String>> {
        let head = self.store.head_of(self.store.bucket(), &self.key).await?;
        Ok(head.and_then(|head| head.etag).filter(|etag| Some(etag.as_str()) == composite))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.open, tokio::runtime::Handle::try_current()) {
            let (client, bucket) = (self.store.client.clone(), self.store.bucket().to_owned());
            runtime.spawn(abort(client, bucket, std::mem::take(&mut self.key), std::mem::take(&mut self.id)));
        }
    }
}

/// Gives the parts back. A failure is told, not returned: the upload itself has failed already.
async fn abort(client: aws_sdk_s3::Client, bucket: String, key: String, id: String) {
    let request = client.abort_multipart_upload().bucket(&bucket).key(&key).upload_id(id).send();
    match tokio::time::timeout(Duration::from_secs(30), Box::pin(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => match classify(&error) {
            gone if gone.kind == FailureKind::NotFound => {}
            error => tracing::warn!(bucket, key, "an upload in parts stays behind: {error}"),
        },
        Err(_) => tracing::warn!(bucket, key, "an upload in parts stays behind: aborting it got no answer"),
    }
}
