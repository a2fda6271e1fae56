//! Copies inside S3: one `CopyObject`, or `UploadPartCopy` above its limit.

use std::ops::Range;
use std::sync::atomic::Ordering;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ChecksumAlgorithm, MetadataDirective, TaggingDirective};
use futures::{StreamExt, TryStreamExt, stream};

use super::headers::{checked, copy_source, metadata_headers, stored_checksum};
use super::send::Call;
use super::upload::{Part, Upload};
use super::{S3Store, is_encrypted, no_etag, quoted, unquoted};
use crate::store::{Attributes, CopyOptions, FailureKind, Put, SourceObject, StoreError, StoreResult, etag_md5};

const COPY_PARTS_IN_FLIGHT: usize = 8;
/// The largest part there is: 5 GiB.
const LARGEST_PART: u64 = 5 * 1024 * 1024 * 1024;

/// What not every store can be asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Asks {
    checksum: bool,
    /// The source's tags are left behind.
    no_tags: bool,
}

impl Asks {
    /// This, then less of it, one thing at a time, so that the other is not given up for nothing.
    fn and_less(self) -> impl Iterator<Item = Self> {
        let Self { checksum, no_tags } = self;
        let all = [(checksum, no_tags), (false, no_tags), (checksum, false), (false, false)];
        let less = (0..all.len()).filter(move |at| !all[..*at].contains(&all[*at]));
        less.map(move |at| Self { checksum: all[at].0, no_tags: all[at].1 })
    }
}

impl S3Store {
    /// Asks for a checksum where that is wanted or etags say nothing, and for no tags where they are not; a store that refuses
    /// is not asked again.
    pub(super) async fn copy_whole(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        let checksum = self.asks_checksums() && (options.checksum || self.sees_opaque_etags.load(Ordering::Relaxed));
        let no_tags = !options.tags && !self.has_no_tags.load(Ordering::Relaxed);
        let all = Asks { checksum, no_tags };
        let mut refusal: Option<StoreError> = None;
        for asks in all.and_less() {
            // Tags are what a store knows or does not; other refusals are not about them.
            if all.no_tags && !asks.no_tags && refusal.as_ref().is_some_and(|error| error.kind != FailureKind::Unsupported) {
                break;
            }
            match self.copy_object(source, key, options, asks).await {
                Ok(put) => {
                    if all.no_tags && !asks.no_tags {
                        self.has_no_tags.store(true, Ordering::Relaxed);
                    }
                    if let Some(error) = refusal.filter(|_| all.checksum && !asks.checksum) {
                        self.knows_no_checksums(&error);
                    }
                    return Ok(put);
                }
                Err(error) if is_refusal(error.kind) => {
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(no_etag))
    }

    async fn copy_object(&self, source: &SourceObject, key: &str, options: &CopyOptions, asks: Asks) -> StoreResult<Put> {
        let full = self.full(key);
        let from = copy_source(source.location.bucket(), source.location.path());
        let if_match = source.if_match.as_deref().map(quoted);
        let none = Attributes::default();
        let said = options.replace.as_ref().unwrap_or(&none);
        let directive = if options.replace.is_some() { MetadataDirective::Replace } else { MetadataDirective::Copy };
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let request = || async {
            let sent = self
                .client()
                .copy_object()
                .bucket(self.bucket())
                .key(&full)
                .copy_source(&from)
                .set_copy_source_if_match(if_match.clone())
                .metadata_directive(directive.clone())
                .set_checksum_algorithm(asks.checksum.then_some(ChecksumAlgorithm::Crc64Nvme))
                .set_tagging_directive(asks.no_tags.then_some(TaggingDirective::Replace))
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_acl(self.options.acl.clone())
                .set_storage_class(self.options.storage_class.clone())
                .set_server_side_encryption(self.options.sse.clone())
                .set_ssekms_key_id(self.options.sse_kms_key_id.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| self.failed(&error))?;
            let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
            match answer.copy_object_result {
                Some(result) if result.e_tag.as_deref().is_some_and(|etag| !etag.is_empty()) => Ok((result, encrypted)),
                _ => Err(no_etag()),
            }
        };
        let (result, encrypted) = self.send(self.silent(source.size), request).await?;
        if encrypted {
            self.sees_opaque_etags.store(true, Ordering::Relaxed);
        }
        let etag = result.e_tag.as_deref().map(unquoted);
        let checksum = stored_checksum(&[
            ("crc64nvme", result.checksum_crc64_nvme()),
            ("sha256", result.checksum_sha256()),
            ("sha1", result.checksum_sha1()),
            ("crc32c", result.checksum_crc32_c()),
            ("crc32", result.checksum_crc32()),
        ]);
        let etag_is_md5 = self.is_md5(etag.as_deref(), encrypted);
        Ok(Put { etag, etag_is_md5, checksum, bytes: source.size, ..Put::default() })
    }

    pub(super) async fn copy_in_parts(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        // An upload in parts has no directive: what the source carries is read and said again.
        let mut said = match &options.replace {
            Some(said) => said.clone(),
            None => match self.head_of(source.location.bucket(), source.location.path()).await? {
                Some(head) => head.attributes,
                None => return Err(StoreError::new(FailureKind::NotFound, "the source is not there")),
            },
        };
        if options.tags {
            said.tags = self.tags_of(source.location.bucket(), source.location.path()).await?;
        }
        let upload = Upload::create(self, key, &said).await?;
        let part = self.copy_part_size(source.size, options);
        let parts = self.copy_parts(source, &upload, part).await;
        let mut put = upload.end(parts, source.size, None).await?;
        // The sum of parts of another size than the source's says nothing.
        if options.parts.as_ref().is_none_or(|parts| parts.part_size != part) {
            put.sums.parts = None;
        }
        Ok(put)
    }

    /// The size of the source's own parts, where that does not make many small requests: the etags can be compared then.
    fn copy_part_size(&self, size: u64, options: &CopyOptions) -> u64 {
        let usual = self.bounds.copy_part_size;
        let own = options.parts.as_ref().map(|parts| parts.part_size);
        let own = own.filter(|part| (usual / 4..=LARGEST_PART).contains(part));
        own.unwrap_or(usual).max(size.div_ceil(super::MOST_PARTS)).max(1)
    }

    async fn copy_parts(&self, source: &SourceObject, upload: &Upload<'_>, part: u64) -> StoreResult<Vec<Part>> {
        stream::iter(0..source.size.div_ceil(part))
            .map(|number| self.copy_part(source, upload, number, (number * part)..((number + 1) * part).min(source.size)))
            .buffer_unordered(COPY_PARTS_IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn copy_part(&self, source: &SourceObject, upload: &Upload<'_>, index: u64, bytes: Range<u64>) -> StoreResult<Part> {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let request = || async {
            let sent = self
                .client()
                .upload_part_copy()
                .bucket(self.bucket())
                .key(upload.key())
                .upload_id(upload.id())
                .part_number(number)
                .copy_source(copy_source(source.location.bucket(), source.location.path()))
                .copy_source_range(format!("bytes={}-{}", bytes.start, bytes.end - 1))
                .set_copy_source_if_match(source.if_match.as_deref().map(quoted))
                .send()
                .await;
            let answer = sent.map_err(|error| beyond_the_end(&error, self.failed(&error)))?;
            let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
            match answer.copy_part_result {
                Some(result) if result.e_tag.as_deref().is_some_and(|etag| !etag.is_empty()) => Ok((result, encrypted)),
                _ => Err(no_etag()),
            }
        };
        let (result, encrypted) = self.send(Call { writes: false, ..self.silent(bytes.end - bytes.start) }, request).await?;
        let etag = unquoted(result.e_tag.as_deref().unwrap_or_default());
        let md5 = etag_md5(&etag).filter(|_| self.is_md5(Some(&etag), encrypted));
        Ok(Part { number, etag, md5, crc64: result.checksum_crc64_nvme })
    }
}

/// Some stores look at the range before the pin: bytes that are not there say that the object is a shorter one.
fn beyond_the_end<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, failure: StoreError) -> StoreError {
    let code = error.as_service_error().and_then(|error| error.meta().code()).unwrap_or_default();
    match code {
        "InvalidRange" | "InvalidArgument" => StoreError { kind: FailureKind::Precondition, ..failure },
        _ => failure,
    }
}

/// The store does not take what was asked for, rather than the object.
pub(super) fn is_refusal(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Unsupported | FailureKind::Invalid | FailureKind::Other)
}
