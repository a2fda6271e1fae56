//! Reading: objects, what is known of them, listings.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumMode, EncodingType};

use super::body::watched;
use super::headers::{crc64_of, decode_listed, tags_header};
use super::{S3Store, is_encrypted, no_etag, quoted, unquoted};
use crate::store::{Attributes, FailureKind, Get, GetOptions, Head, Headers, Listed, StoreResult, etag_md5};

impl S3Store {
    pub(super) async fn get_object(&self, key: &str, options: &GetOptions) -> StoreResult<Get> {
        let full = self.full(key);
        let range = options.range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let asks = range.is_none() && (options.checksum || self.sees_opaque_etags.load(Ordering::Relaxed));
        let checksum = asks.then_some(ChecksumMode::Enabled);
        let request = || async {
            let sent = self
                .client()
                .get_object()
                .bucket(self.bucket())
                .key(&full)
                .set_if_match(options.if_match.as_deref().map(quoted))
                .set_range(range.clone())
                .set_checksum_mode(checksum.clone())
                .send()
                .await;
            let answer = sent.map_err(|error| self.failed(&error))?;
            // Every S3 answers with one; without it this is somebody else's answer, or half of one.
            if answer.e_tag.as_deref().is_none_or(str::is_empty) { Err(no_etag()) } else { Ok(answer) }
        };
        let answer = self.send(self.asking(), request).await?;
        Ok(self.got(answer))
    }

    fn got(&self, answer: GetObjectOutput) -> Get {
        let etag = answer.e_tag.as_deref().map(unquoted);
        let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
        let length = u64::try_from(answer.content_length.unwrap_or_default()).unwrap_or_default();
        let whole = answer.content_range.as_deref().and_then(|range| range.rsplit('/').next()?.parse().ok());
        let crc64 = answer.checksum_crc64_nvme.as_deref().filter(|_| whole.is_none()).and_then(crc64_of);
        if encrypted {
            self.sees_opaque_etags.store(true, Ordering::Relaxed);
        }
        Get {
            etag_is_md5: self.is_md5(etag.as_deref(), encrypted),
            etag_is_opaque: encrypted || self.options.opaque_etags,
            etag,
            crc64,
            size: whole.unwrap_or(length),
            attributes: Attributes {
                content_type: answer.content_type,
                metadata: sorted(answer.metadata),
                tags: None,
                headers: Headers {
                    cache_control: answer.cache_control,
                    content_disposition: answer.content_disposition,
                    content_encoding: answer.content_encoding,
                    content_language: answer.content_language,
                },
            },
            body: watched(answer.body, self.bounds.stall, self.meter.clone()),
        }
    }

    pub(super) async fn head_of(&self, bucket: &str, key: &str) -> StoreResult<Option<Head>> {
        let request = || async {
            let sent = self.client().head_object().bucket(bucket).key(key).send().await;
            let answer = sent.map_err(|error| self.failed(&error))?;
            if answer.e_tag.as_deref().is_none_or(str::is_empty) { Err(no_etag()) } else { Ok(answer) }
        };
        match self.send(self.asking(), request).await {
            Ok(answer) => Ok(Some(self.headed(answer))),
            Err(error) if error.kind == FailureKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tags of an object as the header of an upload holds them.
    pub(super) async fn tags_of(&self, bucket: &str, key: &str) -> StoreResult<Option<String>> {
        let request = || async {
            let sent = self.client().get_object_tagging().bucket(bucket).key(key).send().await;
            sent.map_err(|error| self.failed(&error))
        };
        match self.send(self.small(), request).await {
            Ok(answer) => Ok(tags_header(answer.tag_set().iter().map(|tag| (tag.key(), tag.value())))),
            // A store without tags has none to keep.
            Err(error) if error.kind == FailureKind::Unsupported => Ok(None),
            Err(error) => Err(error.context("reading its tags (keep_tags)")),
        }
    }

    /// The size of the first part. A store that knows no part numbers answers for the whole, and says no number of parts.
    pub(super) async fn first_part(&self, key: &str, etag: &str) -> StoreResult<Option<u64>> {
        let full = self.full(key);
        let request = || async {
            let asked = self.client().head_object().bucket(self.bucket()).key(&full).part_number(1);
            asked.if_match(quoted(etag)).send().await.map_err(|error| self.failed(&error))
        };
        let answer = self.send(self.asking(), request).await?;
        let length = answer.content_length.and_then(|length| u64::try_from(length).ok());
        Ok(length.filter(|length| *length > 0 && answer.parts_count.is_some()))
    }

    fn headed(&self, answer: HeadObjectOutput) -> Head {
        let etag = answer.e_tag.as_deref().map(unquoted);
        let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
        Head {
            etag_is_md5: self.is_md5(etag.as_deref(), encrypted),
            etag,
            size: u64::try_from(answer.content_length.unwrap_or_default()).unwrap_or_default(),
            attributes: Attributes {
                content_type: answer.content_type,
                metadata: sorted(answer.metadata),
                tags: None,
                headers: Headers {
                    cache_control: answer.cache_control,
                    content_disposition: answer.content_disposition,
                    content_encoding: answer.content_encoding,
                    content_language: answer.content_language,
                },
            },
        }
    }

    /// An etag says what the MD5 is: it looks like one, and nothing says that it is none.
    pub(super) fn is_md5(&self, etag: Option<&str>, encrypted: bool) -> bool {
        !encrypted && !self.options.opaque_etags && etag.is_some_and(|etag| etag_md5(etag).is_some())
    }

    pub(super) async fn list_page(
        &self,
        prefix: &str,
        token: Option<String>,
    ) -> StoreResult<(Vec<StoreResult<Listed>>, Option<String>)> {
        let full = self.full(prefix);
        let request = || async {
            let sent = self
                .client()
                .list_objects_v2()
                .bucket(self.bucket())
                .prefix(&full)
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token.clone())
                .send()
                .await;
            sent.map_err(|error| self.failed(&error))
        };
        let page = self.send(self.asking(), request).await?;
        let encoded = page.encoding_type == Some(EncodingType::Url);
        let listed = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let key = object.key?;
            let key = if encoded { decode_listed(&key) } else { key };
            let key = key.strip_prefix(&self.prefix)?.to_owned();
            let size = u64::try_from(object.size.unwrap_or_default()).unwrap_or_default();
            let modified = object.last_modified.and_then(|time| SystemTime::try_from(time).ok());
            Some(Ok(Listed { key, size, etag: object.e_tag.as_deref().map(unquoted), modified }))
        });
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        Ok((listed.collect(), next))
    }
}

fn sorted(metadata: Option<HashMap<String, String>>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = metadata.unwrap_or_default().into_iter().collect();
    pairs.sort();
    pairs
}
