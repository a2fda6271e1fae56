//! Copies inside S3: one `CopyObject`, or `UploadPartCopy` above its limit.

use aws_sdk_s3::types::{CompletedPart, MetadataDirective};
use futures::{StreamExt, TryStreamExt, stream};

use super::headers::{checked, copy_source, metadata_headers};
use super::upload::Upload;
use super::{S3Store, classify, no_etag, quoted, unquoted};
use crate::retry::Repeat;
use crate::store::{Attributes, CopyOptions, FailureKind, Put, SourceObject, StoreError, StoreResult};

/// Parts of a copy: large, because no byte passes through here, and small enough to be silent for a short time only.
const COPY_PART: u64 = 256 * 1024 * 1024;
const COPY_PARTS_IN_FLIGHT: usize = 8;
const MOST_PARTS: u64 = 10_000;

impl S3Store {
    pub(super) async fn copy_whole(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        let full = self.full(key);
        let from = copy_source(source.location.bucket(), source.location.path());
        let none = Attributes::default();
        let said = options.replace.as_ref().unwrap_or(&none);
        let directive = if options.replace.is_some() { MetadataDirective::Replace } else { MetadataDirective::Copy };
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let request = || async {
            let sent = self
                .client
                .copy_object()
                .bucket(self.bucket())
                .key(&full)
                .copy_source(&from)
                .set_copy_source_if_match(source.if_match.as_deref().map(quoted))
                .metadata_directive(directive.clone())
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_storage_class(self.options.storage_class.clone())
                .set_server_side_encryption(self.options.sse.clone())
                .set_ssekms_key_id(self.options.sse_kms_key_id.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| classify(&error))?;
            answer.copy_object_result.and_then(|result| result.e_tag).filter(|etag| !etag.is_empty()).ok_or_else(no_etag)
        };
        let etag = self.send(Repeat::Safe, self.silent_limit(source.size), request).await?;
        Ok(Put { etag: Some(unquoted(&etag)), md5: None, confirmed: None, bytes: source.size })
    }

    pub(super) async fn copy_in_parts(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        // An upload in parts has no directive: what the source carries is read and said again.
        let said = match &options.replace {
            Some(said) => said.clone(),
            None => match self.head_of(source.location.bucket(), source.location.path()).await? {
                Some(head) => head.attributes,
                None => return Err(StoreError::new(FailureKind::NotFound, "the source is not there")),
            },
        };
        let upload = Upload::create(self, key, &said).await?;
        let parts = self.copy_parts(source, &upload).await;
        upload.end(parts, source.size).await
    }

    async fn copy_parts(&self, source: &SourceObject, upload: &Upload<'_>) -> StoreResult<Vec<CompletedPart>> {
        let part = COPY_PART.max(source.size.div_ceil(MOST_PARTS));
        let mut parts: Vec<CompletedPart> = stream::iter(0..source.size.div_ceil(part))
            .map(|number| self.copy_part(source, upload, number, (number * part)..((number + 1) * part).min(source.size)))
            .buffer_unordered(COPY_PARTS_IN_FLIGHT)
            .try_collect()
            .await?;
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    async fn copy_part(
        &self,
        source: &SourceObject,
        upload: &Upload<'_>,
        index: u64,
        bytes: std::ops::Range<u64>,
    ) -> StoreResult<CompletedPart> {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let request = || async {
            let sent = self
                .client
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
            let answer = sent.map_err(|error| classify(&error))?;
            answer.copy_part_result.and_then(|result| result.e_tag).filter(|etag| !etag.is_empty()).ok_or_else(no_etag)
        };
        let etag = self.send(Repeat::Safe, self.silent_limit(bytes.end - bytes.start), request).await?;
        Ok(CompletedPart::builder().part_number(number).e_tag(etag).build())
    }
}
