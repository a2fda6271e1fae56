//! Puts of whole objects, and deletes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::body::{sending, while_it_moves};
use super::classify::of_code;
use super::headers::{base64_of_crc64, checked, fits_xml, metadata_headers};
use super::send::Call;
use super::{S3Store, is_encrypted, no_etag, quoted, unquoted};
use crate::retry::Repeat;
use crate::store::{
    Attributes, Body, Condition, Confirmation, Deletion, Expected, FailureKind, Put, SINGLE_DELETES, StoreError, StoreResult,
    Sums, UploadOptions, etag_md5,
};

/// Keys of one `DeleteObjects`.
const MOST_DELETES: usize = 1000;

impl S3Store {
    /// Writes a stream in one put, and looks at what the store says of it.
    pub(super) async fn upload_whole(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        let expect = Expected { wants_md5: true, ..options.expect.clone() };
        let (bytes, sums) = crate::store::read_summed(body, size, &expect).await?;
        let put = self.put_whole(key, bytes, &sums, &Condition::None, &options.attributes).await?;
        match &put.etag {
            Some(etag) if put.etag_is_md5 && etag_md5(etag) != sums.md5 => {
                let sent = sums.md5.map(hex::encode).unwrap_or_default();
                Err(self.discard(key, etag, &format!("the store says etag {etag} of an object whose MD5 is {sent}")).await)
            }
            _ => Ok(put),
        }
    }

    pub(super) async fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        sums: &Sums,
        condition: &Condition,
        said: &Attributes,
    ) -> StoreResult<Put> {
        let full = self.full(key);
        let size = body.len() as u64;
        let (metadata, content_type) = (metadata_headers(&said.metadata)?, checked("content type", said.content_type.as_ref())?);
        let (absent, matching) = match condition {
            Condition::None => (None, None),
            Condition::Absent => (Some("*".to_owned()), None),
            Condition::Match(etag) => (None, Some(quoted(etag))),
        };
        let (md5, crc64) = (sums.md5.map(aws_smithy_types::base64::encode), sums.crc64.map(base64_of_crc64));
        let request = || async {
            let (body, progress) = sending(body.clone());
            let sent = self
                .client()
                .put_object()
                .bucket(self.bucket())
                .key(&full)
                .content_length(i64::try_from(size).unwrap_or(i64::MAX))
                .set_content_md5(md5.clone())
                .set_checksum_crc64_nvme(crc64.clone().filter(|_| self.asks_checksums()))
                .set_content_type(content_type.clone())
                .set_metadata(metadata.clone())
                .set_cache_control(said.headers.cache_control.clone())
                .set_content_disposition(said.headers.content_disposition.clone())
                .set_content_encoding(said.headers.content_encoding.clone())
                .set_content_language(said.headers.content_language.clone())
                .set_tagging(said.tags.clone())
                .set_acl(self.options.acl.clone())
                .set_storage_class(self.options.storage_class.clone())
                .set_server_side_encryption(self.options.sse.clone())
                .set_ssekms_key_id(self.options.sse_kms_key_id.clone())
                .set_if_none_match(absent.clone())
                .set_if_match(matching.clone())
                .body(body)
                .send();
            let answer = async { sent.await.map_err(|error| self.failed(&error)) };
            let answer =
                Box::pin(while_it_moves(answer, &progress, size, (self.bounds.stall, self.bounds.silence(size)))).await?;
            self.meter.payload(size);
            let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
            Ok((unquoted(&answer.e_tag.filter(|etag| !etag.is_empty()).ok_or_else(no_etag)?), encrypted))
        };
        let repeat = if *condition == Condition::None { Repeat::Safe } else { Repeat::IfNotApplied };
        let end = self.send(Call { repeat, ..self.sending(size) }, request).await;
        let (etag, encrypted) = end.map_err(|error| match (error.kind, condition) {
            // `If-Match` on what is not there: the condition failed, nothing is missing.
            (FailureKind::NotFound, Condition::Match(_)) => StoreError::new(FailureKind::Precondition, error.message),
            _ => error,
        })?;
        let etag_is_md5 = self.is_md5(Some(&etag), encrypted);
        let confirmed = Some(Confirmation::Md5);
        Ok(Put { etag: Some(etag), etag_is_md5, sums: *sums, confirmed, bytes: size, ..Put::default() })
    }

    /// What was written is not what should have been: it is deleted if it is still there. The failure to report.
    pub(super) async fn discard(&self, key: &str, etag: &str, why: &str) -> StoreError {
        let message = match self.delete_matching(key, etag).await {
            Ok(()) => why.to_owned(),
            // What is there now has another etag: the answer was wrong, or it was overwritten since.
            Err(error) if error.kind == FailureKind::Precondition => why.to_owned(),
            Err(error) => format!("{why}; it may still be there: {error}"),
        };
        StoreError::new(FailureKind::Mismatch, message)
    }

    pub(super) async fn delete_one(&self, key: &str) -> StoreResult<()> {
        let full = self.full(key);
        let request = || async {
            let sent = self.client().delete_object().bucket(self.bucket()).key(&full).send().await;
            sent.map(drop).map_err(|error| self.failed(&error))
        };
        gone(self.send(self.small(), request).await)
    }

    pub(super) async fn delete_matching(&self, key: &str, etag: &str) -> StoreResult<()> {
        let full = self.full(key);
        let request = || async {
            let sent = self.client().delete_object().bucket(self.bucket()).key(&full).if_match(quoted(etag)).send().await;
            sent.map(drop).map_err(|error| self.failed(&error))
        };
        gone(self.send(self.small(), request).await)
    }

    /// Deletes in batches; keys that XML cannot carry, and everything where the store has no batches, one by one.
    pub(super) async fn delete_all(&self, deletions: &[Deletion]) -> Vec<StoreResult<()>> {
        let mut ends: Vec<Option<StoreResult<()>>> = vec![None; deletions.len()];
        let mut left: Vec<usize> = (0..deletions.len()).filter(|at| self.fits_batch(&deletions[*at].key)).collect();
        for batch in left.chunks(MOST_DELETES).filter(|batch| batch.len() > 1) {
            if self.has_no_batches.load(Ordering::Relaxed) {
                break;
            }
            for (at, end) in batch.iter().zip(self.delete_batch(deletions, batch).await) {
                ends[*at] = end;
            }
        }
        left = (0..deletions.len()).filter(|at| ends[*at].is_none()).collect();
        let one = |at: usize| async move { (at, self.delete_given(&deletions[at]).await) };
        let singles: Vec<_> = stream::iter(left).map(one).buffer_unordered(SINGLE_DELETES).collect().await;
        for (at, end) in singles {
            ends[at] = Some(end);
        }
        ends.into_iter().map(|end| end.unwrap_or_else(|| Err(untold()))).collect()
    }

    async fn delete_given(&self, one: &Deletion) -> StoreResult<()> {
        match &one.if_match {
            None => self.delete_one(&one.key).await,
            Some(etag) => self.delete_matching(&one.key, etag).await,
        }
    }

    fn fits_batch(&self, key: &str) -> bool {
        fits_xml(&self.full(key))
    }

    /// One batch, its failed keys tried again; `None` for keys that must go one by one.
    async fn delete_batch(&self, deletions: &[Deletion], batch: &[usize]) -> Vec<Option<StoreResult<()>>> {
        let ends = std::sync::Mutex::new(BTreeMap::<usize, StoreResult<()>>::new());
        let known = |ends: &std::sync::Mutex<BTreeMap<usize, StoreResult<()>>>| {
            ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
        };
        let request = || async {
            let done = known(&ends);
            let open: Vec<usize> = batch.iter().copied().filter(|at| !done.get(at).is_some_and(is_final)).collect();
            let answer = self.delete_objects(deletions, &open).await?;
            let told = told(&answer, |key| open.iter().copied().find(|at| self.full(&deletions[*at].key) == key));
            let passing = told.values().find_map(|end| end.as_ref().err().filter(|error| error.kind.is_retryable()).cloned());
            let mut all = ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            all.extend(open.iter().map(|at| (*at, told.get(at).cloned().unwrap_or(Ok(())))));
            passing.map_or(Ok(()), Err)
        };
        let end = self.send(self.small(), request).await;
        let ends = known(&ends);
        match end {
            Err(error) if error.kind == FailureKind::Unsupported && ends.is_empty() => {
                // It may be the conditions that the store does not know: one alone tells.
                if let Some(at) = batch.iter().find(|at| deletions[**at].if_match.is_some())
                    && self.delete_given(&deletions[*at]).await.is_err_and(|error| error.kind == FailureKind::Unsupported)
                {
                    return vec![Some(Err(error)); batch.len()];
                }
                self.has_no_batches.store(true, Ordering::Relaxed);
                vec![None; batch.len()]
            }
            Err(error) => batch.iter().map(|at| Some(ends.get(at).cloned().unwrap_or_else(|| Err(error.clone())))).collect(),
            Ok(()) => batch.iter().map(|at| ends.get(at).cloned()).collect(),
        }
    }

    async fn delete_objects(&self, deletions: &[Deletion], batch: &[usize]) -> StoreResult<DeleteObjectsOutput> {
        let objects: Result<Vec<_>, _> = batch
            .iter()
            .map(|at| {
                let Deletion { key, if_match } = &deletions[*at];
                ObjectIdentifier::builder().key(self.full(key)).set_e_tag(if_match.as_deref().map(quoted)).build()
            })
            .collect();
        let broken =
            |error: aws_smithy_types::error::operation::BuildError| StoreError::new(FailureKind::Other, error.to_string());
        let delete = Delete::builder().set_objects(Some(objects.map_err(broken)?)).quiet(true).build().map_err(broken)?;
        let sent = self.client().delete_objects().bucket(self.bucket()).delete(delete).send().await;
        sent.map_err(|error| self.failed(&error))
    }
}

fn is_final(end: &StoreResult<()>) -> bool {
    end.as_ref().err().is_none_or(|error| !error.kind.is_retryable())
}

/// The ends that an answer tells: the failures. What it does not name is gone.
fn told(answer: &DeleteObjectsOutput, at: impl Fn(&str) -> Option<usize>) -> BTreeMap<usize, StoreResult<()>> {
    let failed = answer.errors().iter().filter_map(|error| {
        let at = at(error.key()?)?;
        Some((at, gone(Err(of_code(error.code(), error.message())))))
    });
    failed.collect()
}

/// One that is not there is removed.
fn gone(end: StoreResult<()>) -> StoreResult<()> {
    match end {
        Err(error) if error.kind == FailureKind::NotFound => Ok(()),
        end => end,
    }
}

fn untold() -> StoreError {
    StoreError::new(FailureKind::Unavailable, "the store did not say what became of it")
}
