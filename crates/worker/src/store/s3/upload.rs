//! Uploads in parts: the upload itself, from its creation to its end.
//!
//! # Crash consistency
//! Nothing of an upload in parts is visible before it is completed, and it is completed only when size and sums are right.
//! One that fails is aborted; one whose future is dropped is aborted in the background; one whose creation got no answer is
//! looked for by its key. What a killed process leaves is found by key.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::copy::is_refusal;
use super::headers::{base64_of_crc64, checked, metadata_headers, stored_checksum};
use super::send::Call;
use super::{S3Store, classify, is_encrypted, no_etag, unquoted};
use crate::retry::Repeat;
use crate::store::digest::md5_of_parts;
use crate::store::{Attributes, Confirmation, FailureKind, Md5Sum, Put, StoreError, StoreResult, Sums};

/// A part that the store has.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) etag: String,
    /// The part's MD5, where its etag is it.
    pub(super) md5: Option<Md5Sum>,
    /// Its CRC64NVME in base64, where the store was asked to keep it.
    pub(super) crc64: Option<String>,
}

/// An upload in parts that is under way. Dropped without an end, it is aborted in the background.
pub(super) struct Upload<'a> {
    store: &'a S3Store,
    /// Relative to the store.
    key: String,
    full: String,
    id: String,
    /// The store was asked to keep a checksum of the whole.
    pub(super) checksums: bool,
    open: bool,
}

/// What the store says of a completed upload.
struct Completed {
    etag: String,
    encrypted: bool,
    checksum: Option<String>,
}

impl<'a> Upload<'a> {
    pub(super) async fn create(store: &'a S3Store, key: &str, said: &Attributes) -> StoreResult<Self> {
        let full = store.full(key);
        let asks = store.asks_checksums();
        let (id, checksums) = match Self::created(store, &full, said, asks).await {
            Err(error) if asks && is_refusal(error.kind) => {
                let id = Self::created(store, &full, said, false).await?;
                store.knows_no_checksums(&error);
                (id, false)
            }
            end => (end?, asks),
        };
        Ok(Self { store, key: key.to_owned(), full, id, checksums, open: true })
    }

    async fn created(store: &S3Store, full: &str, said: &Attributes, asks: bool) -> StoreResult<String> {
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let request = || async {
            let sent = store
                .client()
                .create_multipart_upload()
                .bucket(store.bucket())
                .key(full)
                .set_checksum_algorithm(asks.then_some(ChecksumAlgorithm::Crc64Nvme))
                .set_checksum_type(asks.then_some(ChecksumType::FullObject))
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_tagging(said.tags.clone())
                .set_acl(store.options.acl.clone())
                .set_storage_class(store.options.storage_class.clone())
                .set_server_side_encryption(store.options.sse.clone())
                .set_ssekms_key_id(store.options.sse_kms_key_id.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| store.failed(&error))?;
            let no_id = || StoreError::new(FailureKind::Unavailable, "the store's answer shows no upload id");
            answer.upload_id.filter(|id| !id.is_empty()).ok_or_else(no_id)
        };
        // Not repeated here when the answer was lost: the first upload may exist, and is looked for.
        let end = store.send(Call { repeat: Repeat::IfNotApplied, ..store.small() }, request).await;
        if let Err(error) = &end
            && matches!(error.kind, FailureKind::Unavailable | FailureKind::TimedOut)
        {
            store.abort_strays(full).await;
        }
        end
    }

    #[expect(clippy::misnamed_getters, reason = "the key in the bucket is the full one")]
    pub(super) fn key(&self) -> &str {
        &self.full
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Completes the upload, or aborts it when a part failed. `crc64` is the sum of the whole, where it is known.
    pub(super) async fn end(mut self, parts: StoreResult<Vec<Part>>, size: u64, crc64: Option<u64>) -> StoreResult<Put> {
        let end = match parts {
            Ok(parts) => self.complete(parts, size, crc64).await,
            Err(error) => Err(error),
        };
        self.open = false;
        if end.is_err() {
            self.store.abort(&self.full, &self.id).await;
        }
        end
    }

    async fn complete(&self, mut parts: Vec<Part>, size: u64, crc64: Option<u64>) -> StoreResult<Put> {
        parts.sort_by_key(|part| part.number);
        // The etag of the whole follows from those of the parts when they are MD5s.
        let sums: Option<Vec<Md5Sum>> = parts.iter().map(|part| part.md5).collect();
        let sum = sums.map(md5_of_parts);
        let composite = sum.map(|sum| format!("{}-{}", hex::encode(sum), parts.len()));
        let done = match self.completed(parts, crc64).await {
            Ok(done) => done,
            // The answer of an earlier attempt was lost, and the upload is complete: then its etag is there.
            Err(error) if error.kind == FailureKind::NoUpload => self.completed_before(composite.as_deref(), error).await?,
            Err(error) => return Err(error),
        };
        let is_md5 = !done.encrypted && !self.store.options.opaque_etags;
        if let Some(composite) = composite.as_ref().filter(|composite| is_md5 && **composite != done.etag) {
            let why = format!("the store says etag {} of an object whose parts' is {composite}", done.etag);
            return Err(self.store.discard(&self.key, &done.etag, &why).await);
        }
        let confirmed = composite.filter(|composite| *composite == done.etag).map(|_| Confirmation::PartsMd5);
        let sums = Sums { parts: sum.filter(|_| confirmed.is_some()), crc64, md5: None };
        Ok(Put { etag: Some(done.etag), etag_is_md5: false, sums, checksum: done.checksum, confirmed, bytes: size })
    }

    async fn completed(&self, parts: Vec<Part>, crc64: Option<u64>) -> StoreResult<Completed> {
        let asked = |crc64: Option<String>| crc64.filter(|_| self.checksums);
        let parts = parts.into_iter().map(|part| {
            let named = CompletedPart::builder().part_number(part.number).e_tag(part.etag);
            named.set_checksum_crc64_nvme(asked(part.crc64)).build()
        });
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let whole = asked(crc64.map(base64_of_crc64));
        let request = || async {
            let sent = self
                .store
                .client()
                .complete_multipart_upload()
                .bucket(self.store.bucket())
                .key(&self.full)
                .upload_id(&self.id)
                .set_checksum_type(whole.as_ref().map(|_| ChecksumType::FullObject))
                .set_checksum_crc64_nvme(whole.clone())
                .multipart_upload(all.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| self.store.failed(&error))?;
            Ok(Completed {
                encrypted: is_encrypted(answer.server_side_encryption(), None),
                checksum: stored_checksum(&[("crc64nvme", answer.checksum_crc64_nvme())]),
                etag: unquoted(&answer.e_tag.filter(|etag| !etag.is_empty()).ok_or_else(no_etag)?),
            })
        };
        let limit = self.store.bounds.complete;
        self.store.send(Call { limit, ..self.store.small() }, request).await
    }

    async fn completed_before(&self, composite: Option<&str>, error: StoreError) -> StoreResult<Completed> {
        let head = self.store.head_of(self.store.bucket(), &self.full).await?;
        match head.and_then(|head| head.etag) {
            Some(etag) if Some(etag.as_str()) == composite => Ok(Completed { etag, encrypted: false, checksum: None }),
            // It may be there, but nothing proves it: the object is sent again.
            _ => Err(error),
        }
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.open, tokio::runtime::Handle::try_current()) {
            let (client, bucket) = (self.store.client().clone(), self.store.bucket().to_owned());
            runtime.spawn(abort_once(client, bucket, std::mem::take(&mut self.full), std::mem::take(&mut self.id)));
        }
    }
}

impl S3Store {
    /// Gives the parts of an upload back. A failure is told, not returned: the upload itself has failed already.
    async fn abort(&self, full: &str, id: &str) {
        let request = || async {
            let sent = self.client().abort_multipart_upload().bucket(self.bucket()).key(full).upload_id(id).send().await;
            sent.map(drop).map_err(|error| self.failed(&error))
        };
        stays_behind(self.bucket(), full, self.send(self.small(), request).await);
    }

    /// Aborts every upload of a key: those whose creation got no answer are known by nobody else.
    async fn abort_strays(&self, full: &str) {
        stays_behind(self.bucket(), full, self.abort_all(full).await.map(drop));
    }

    /// Aborts the uploads of the key `full`, or of all below it when it ends in a slash.
    pub(super) async fn abort_all(&self, full: &str) -> StoreResult<u64> {
        let (mut after, mut aborted): (Option<(String, String)>, u64) = (None, 0);
        loop {
            let request = || async {
                let asked = self.client().list_multipart_uploads().bucket(self.bucket()).prefix(full);
                let (key, id) = after.clone().unzip();
                let sent = asked.set_key_marker(key).set_upload_id_marker(id).send().await;
                sent.map_err(|error| self.failed(&error))
            };
            let page = self.send(self.asking(), request).await?;
            for upload in page.uploads() {
                let key = upload.key().unwrap_or_default();
                if key == full || full.ends_with('/') {
                    self.abort(key, upload.upload_id().unwrap_or_default()).await;
                    aborted += 1;
                }
            }
            let next = page.next_key_marker.zip(page.next_upload_id_marker);
            match next.filter(|_| page.is_truncated == Some(true)) {
                Some(next) => after = Some(next),
                None => return Ok(aborted),
            }
        }
    }
}

async fn abort_once(client: Client, bucket: String, full: String, id: String) {
    let request = client.abort_multipart_upload().bucket(&bucket).key(&full).upload_id(id).send();
    let end = match tokio::time::timeout(Duration::from_secs(30), Box::pin(request)).await {
        Ok(end) => end.map(drop).map_err(|error| classify(&error)),
        Err(_) => Err(StoreError::new(FailureKind::TimedOut, "aborting it got no answer")),
    };
    stays_behind(&bucket, &full, end);
}

fn stays_behind(bucket: &str, key: &str, end: StoreResult<()>) {
    match end {
        Err(error) if !matches!(error.kind, FailureKind::NotFound | FailureKind::NoUpload | FailureKind::NoBucket) => {
            tracing::warn!(bucket, key, "an upload in parts stays behind: {error}");
        }
        _ => {}
    }
}
