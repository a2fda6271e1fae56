//! Copies through here: the source is read, summed and written, and its body is gone on with where it broke off.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::DEFAULT_PARTS_IN_FLIGHT;
use super::check::part_size;
use super::object::{Copier, Known, Reading};
use super::route::{Facts, Route};
use super::row::{Done, Row};
use crate::retry::again;
use crate::store::{
    Attributes, Body, Expected, FailureKind, Get, GetOptions, Store, StoreError, StoreResult, UploadOptions, etag_md5,
};

impl Copier {
    pub(super) async fn stream(
        &self,
        row: &Row,
        known: &Known<'_>,
        reading: &Reading<'_>,
        facts: &Facts<'_>,
    ) -> StoreResult<Done> {
        let likely = reading.pin.map(|etag| known.expected(etag, reading.size)).unwrap_or_default();
        let part_size = part_size(self.spec.part_size, &likely);
        let bytes = facts.streamed().buffer_bytes(facts, part_size, DEFAULT_PARTS_IN_FLIGHT);
        let _held = self.registry.buffers().take(bytes).await;
        let source = reading.source;
        let asked = GetOptions {
            if_match: reading.pin.map(str::to_owned),
            range: None,
            // An MD5 is compared with the bytes; where there is none, a checksum may be.
            checksum: reading.is_opaque || reading.pin.and_then(etag_md5).is_none(),
        };
        if facts.streamed() == Route::StreamMultipart {
            self.intend(row).await?;
        }
        let get = source.store.get(&source.key, &asked).await?;
        expect_size(known, reading, &get)?;
        let expect = expected_of(known, reading, &get);
        let mut attributes = match row.attributes() {
            Some(said) if self.keeps_headers(source) => Attributes { headers: get.attributes.headers.clone(), ..said },
            Some(said) => said,
            None => get.attributes.clone(),
        };
        if self.keeps_tags(source) {
            attributes.tags = source.store.tags(&source.key).await?;
        }
        let options = UploadOptions {
            attributes,
            expect: expect.clone(),
            multipart_threshold: self.spec.multipart_threshold,
            part_size,
            parts_in_flight: DEFAULT_PARTS_IN_FLIGHT,
            sync_later: self.syncs_later(),
        };
        let size = get.size;
        let body = resuming(Arc::clone(&source.store), source.key.clone(), get);
        let put = self.destination.upload(row.key(), body, size, &options).await?;
        let proof = Some(known.entry.proof_of_stream(&expect, &put.sums));
        let md5 = put.sums.md5.map(|md5| format!("md5:{}", hex::encode(md5)));
        let checksum = md5.or_else(|| put.sums.crc64.map(|sum| format!("crc64nvme:{sum:016x}")));
        Ok(Done { bytes: put.bytes, etag: put.etag, checksum, proof: proof.map(Into::into) })
    }
}

/// Another size under the pinned etag is a broken answer, else another object.
fn expect_size(known: &Known<'_>, reading: &Reading<'_>, get: &Get) -> StoreResult<()> {
    let Some(size) = known.size().filter(|size| *size != get.size) else { return Ok(()) };
    let message = format!("{} has {} bytes, the commit says {size}", reading.source.location, get.size);
    let is_pinned = reading.pin.is_some() && reading.pin == get.etag.as_deref();
    let kind = if is_pinned { FailureKind::Mismatch } else { FailureKind::Changed };
    Err(StoreError::new(kind, message))
}

/// What the source says of its bytes.
fn expected_of(known: &Known<'_>, reading: &Reading<'_>, get: &Get) -> Expected {
    let etag = get.etag.as_deref().filter(|_| !get.etag_is_opaque && !reading.is_opaque);
    let said = etag.map(|etag| known.expected(etag, get.size)).unwrap_or_default();
    // One sum that tells is enough. A CRC64NVME costs next to nothing, MD5s more than everything else.
    let said = Expected { parts: said.parts.filter(|_| get.crc64.is_none()), ..said };
    let told = get.crc64.is_some() || said.parts.as_ref().is_some_and(|parts| !parts.is_doubted());
    Expected { crc64: get.crc64, wants_md5: !told && known.entry.etag.and_then(etag_md5).is_some(), ..said }
}

/// The body of an object that is asked for again from where it broke off, pinned to the object that was being read.
fn resuming(store: Arc<dyn Store>, key: String, get: Get) -> Body {
    let Get { etag: Some(etag), size, body, .. } = get else { return get.body };
    let state = Resuming { store, key, etag, size, body, offset: 0, broke_off: 0, ended: false };
    stream::unfold(state, |mut state| async move {
        let next = state.next().await?;
        Some((next, state))
    })
    .boxed()
}

struct Resuming {
    store: Arc<dyn Store>,
    key: String,
    etag: String,
    size: u64,
    body: Body,
    offset: u64,
    broke_off: u32,
    ended: bool,
}

impl Resuming {
    async fn next(&mut self) -> Option<StoreResult<bytes::Bytes>> {
        loop {
            if self.ended {
                return None;
            }
            match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.offset += chunk.len() as u64;
                    return Some(Ok(chunk));
                }
                Some(Err(error)) => {
                    if let Err(error) = self.go_on(error).await {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                None => return None,
            }
        }
    }

    /// Opens the rest, or gives the error back.
    async fn go_on(&mut self, error: StoreError) -> StoreResult<()> {
        self.broke_off += 1;
        let passes = matches!(error.kind, FailureKind::Unavailable | FailureKind::TimedOut) && self.offset < self.size;
        if !passes || !again(self.broke_off, &error).await {
            return Err(error);
        }
        let rest = GetOptions { if_match: Some(self.etag.clone()), range: Some(self.offset..self.size), checksum: false };
        let get = self.store.get(&self.key, &rest).await?;
        if get.size != self.size {
            let message = format!("{} bytes were announced at first, {} now", self.size, get.size);
            return Err(StoreError::new(FailureKind::Mismatch, message));
        }
        self.body = get.body;
        Ok(())
    }
}
