//! Copies inside a store: what is asked for, and what its answer proves.

use super::object::{Copier, Known, Reading};
use super::row::{Done, Row};
use crate::store::{CopyOptions, Expected, FailureKind, Put, SourceObject, StoreError, StoreResult, etag_md5};

impl Copier {
    pub(super) async fn copy_inside(&self, row: &Row, known: &Known<'_>, reading: &Reading<'_>) -> StoreResult<Done> {
        let source = reading.source;
        let mut replace = row.attributes();
        if let Some(said) = replace.as_mut().filter(|_| self.keeps_headers(source)) {
            let head = source.store.head(&source.key).await?;
            said.headers = head.map(|head| head.attributes.headers).unwrap_or_default();
        }
        let expected = match reading.pin {
            Some(etag) if !reading.is_opaque => known.expected(etag, reading.size),
            _ => Expected::default(),
        };
        let if_match = reading.pin.map(str::to_owned);
        let from = SourceObject { location: source.object(), if_match, size: reading.size };
        // An MD5 is compared with the answer's etag; where there is none, a checksum is kept.
        let (tags, checksum) = (self.keeps_tags(source), expected.md5.is_none());
        let sync_later = self.syncs_later();
        let options = CopyOptions { replace, tags, checksum, parts: expected.parts.clone(), sync_later };
        if reading.size > self.spec.copy_in_parts_above {
            self.intend(row).await?;
        }
        let put = self.destination.copy_from(&from, row.key(), &options).await?;
        if let Some(etag) = put.etag.as_deref().filter(|_| put.etag_is_md5)
            && expected.md5.is_some_and(|md5| etag_md5(etag) != Some(md5))
        {
            self.settle(row, reading, etag).await?;
        }
        let proof = known.entry.proof_of_copy(&expected, &put, reading.pin.is_some());
        let Put { etag, checksum, bytes, .. } = put;
        Ok(Done { bytes, etag, checksum, proof: proof.map(Into::into) })
    }

    /// The copy has another etag than its source. When the source's is an MD5 the copy is bad: it is deleted, if it is still
    /// that one. An encrypted source's etag is none, and only a look at it tells.
    async fn settle(&self, row: &Row, reading: &Reading<'_>, etag: &str) -> StoreResult<()> {
        let head = reading.source.store.head(&reading.source.key).await?;
        let still = head.filter(|head| head.etag.as_deref() == reading.pin);
        if still.is_some_and(|head| !head.etag_is_md5) {
            return Ok(());
        }
        let mut message =
            format!("the copy has etag {etag}, its source {} has {}", reading.source.location, reading.pin.unwrap_or_default());
        match self.destination.delete_if(row.key(), etag).await {
            Ok(()) => {}
            // The answer named another etag than the object has, or it was overwritten since.
            Err(error) if error.kind == FailureKind::Precondition => {}
            Err(error) => message = format!("{message}; it may still be there: {error}"),
        }
        Err(StoreError::new(FailureKind::Mismatch, message))
    }
}
