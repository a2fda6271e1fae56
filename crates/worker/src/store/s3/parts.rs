//! Streams in parts: cut, summed, sent.
//!
//! # Consistency
//! The store checks every part by a sum that is sent with it. A CRC64NVME costs next to nothing and an MD5 most of the time
//! that an upload takes, here and at the store. So the MD5 of a part is sent until the store has confirmed a CRC64NVME, and
//! computed where the source's own etag is to be compared with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::body::{sending, while_it_moves};
use super::headers::base64_of_crc64;
use super::send::Call;
use super::upload::{Part, Upload};
use super::{MOST_PARTS, S3Store, is_encrypted, no_etag, unquoted};
use crate::store::digest::{Summing, crc64_of, md5_of_parts};
use crate::store::{Body, FailureKind, Md5Sum, Put, StoreError, StoreResult, Sums, UploadOptions, etag_md5, md5_of};

/// Larger parts are summed on a thread where that may take long, several at once.
const SUMMED_ASIDE: usize = 1024 * 1024;

type Whole = Arc<Mutex<Option<Summing>>>;

impl S3Store {
    pub(super) async fn upload_in_parts(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        let upload = Upload::create(self, key, &options.attributes).await?;
        let (parts, sums) = match self.send_parts(&upload, body, size, options).await {
            Ok((parts, sums)) => (Ok(parts), sums),
            Err(error) => (Err(error), Sums::default()),
        };
        let put = upload.end(parts, size, sums.crc64).await?;
        Ok(Put { sums, ..put })
    }

    /// Sends all parts and checks the whole before anything becomes visible.
    async fn send_parts(
        &self,
        upload: &Upload<'_>,
        body: Body,
        size: u64,
        options: &UploadOptions,
    ) -> StoreResult<(Vec<Part>, Sums)> {
        let part_size = options.part_size.max(size.div_ceil(MOST_PARTS)).max(1);
        // Parts as the source had them are summed anyway.
        let own_parts = options.expect.parts.as_ref().is_some_and(|parts| parts.part_size == part_size);
        let summing = if own_parts { Summing::without_parts(&options.expect) } else { Summing::new(&options.expect) };
        let whole = Arc::new(Mutex::new(Some(summing)));
        let mut sent: Vec<(Part, Option<Md5Sum>)> = parts_of(body, part_size, Arc::clone(&whole))
            .enumerate()
            .map(|(index, part)| part.map(|part| (index, part)))
            .map_ok(|(index, part)| self.send_part(upload, index, part, own_parts))
            .try_buffer_unordered(options.parts_in_flight.max(1))
            .try_collect()
            .await?;
        let (bytes, mut sums) = match whole.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(summing) => (summing.bytes(), summing.finish()),
            None => (0, Sums::default()),
        };
        sent.sort_by_key(|(part, _)| part.number);
        if own_parts {
            sums.parts = sent.iter().map(|(_, md5)| *md5).collect::<Option<Vec<_>>>().map(md5_of_parts);
        }
        options.expect.check(bytes, size, &sums)?;
        Ok((sent.into_iter().map(|(part, _)| part).collect(), sums))
    }

    /// Sends one part; the MD5 of its bytes, where it was computed.
    async fn send_part(
        &self,
        upload: &Upload<'_>,
        index: usize,
        bytes: Bytes,
        wants_md5: bool,
    ) -> StoreResult<(Part, Option<Md5Sum>)> {
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let size = bytes.len() as u64;
        let by_crc = upload.checksums && self.confirms_checksums.load(Ordering::Relaxed);
        let md5 = if by_crc && !wants_md5 { None } else { Some(md5_aside(&bytes).await) };
        let content_md5 = md5.filter(|_| !by_crc).map(aws_smithy_types::base64::encode);
        let crc64 = upload.checksums.then(|| base64_of_crc64(crc64_of(&bytes)));
        let request = || async {
            let (body, progress) = sending(bytes.clone());
            let sent = self
                .client()
                .upload_part()
                .bucket(self.bucket())
                .key(upload.key())
                .upload_id(upload.id())
                .part_number(number)
                .content_length(i64::try_from(size).unwrap_or(i64::MAX))
                .set_content_md5(content_md5.clone())
                .set_checksum_crc64_nvme(crc64.clone())
                .body(body)
                .send();
            let answer = async { sent.await.map_err(|error| self.failed(&error)) };
            let answer =
                Box::pin(while_it_moves(answer, &progress, size, (self.bounds.stall, self.bounds.silence(size)))).await?;
            self.meter.payload(size);
            let confirmed = crc64.is_some() && answer.checksum_crc64_nvme == crc64;
            let encrypted = is_encrypted(answer.server_side_encryption.as_ref(), answer.sse_customer_algorithm.as_ref());
            let etag = unquoted(&answer.e_tag.filter(|etag| !etag.is_empty()).ok_or_else(no_etag)?);
            let is_md5 = self.is_md5(Some(&etag), encrypted);
            if let Some(md5) = md5.filter(|md5| is_md5 && etag_md5(&etag) != Some(*md5)) {
                let message = format!("the store says etag {etag} of part {number}, whose MD5 is {}", hex::encode(md5));
                return Err(StoreError::new(FailureKind::Mismatch, message));
            }
            if by_crc && !confirmed {
                // From the next one on the MD5 is sent again.
                self.confirms_checksums.store(false, Ordering::Relaxed);
                let message = format!("the store does not confirm the CRC64NVME of part {number}, as it did before");
                return Err(StoreError::new(FailureKind::Mismatch, message));
            }
            Ok((etag, is_md5, confirmed))
        };
        let (etag, is_md5, confirmed) = self.send(Call { writes: false, ..self.sending(size) }, request).await?;
        if confirmed {
            self.confirms_checksums.store(true, Ordering::Relaxed);
        }
        let of_etag = etag_md5(&etag).filter(|_| is_md5);
        Ok((Part { number, etag, md5: of_etag, crc64 }, md5))
    }
}

async fn md5_aside(bytes: &Bytes) -> Md5Sum {
    if bytes.len() < SUMMED_ASIDE {
        return md5_of(bytes);
    }
    let aside = bytes.clone();
    // A thread that fails has panicked; the sum is then computed where the panic is seen.
    tokio::task::spawn_blocking(move || md5_of(&aside)).await.unwrap_or_else(|_| md5_of(bytes))
}

/// Cuts a body into parts of `part_size` bytes, summing on the way. An empty body is one empty part.
fn parts_of(body: Body, part_size: u64, whole: Whole) -> BoxStream<'static, StoreResult<Bytes>> {
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
                        if let Some(whole) = whole.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                            whole.update(&chunk);
                        }
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
