//! Reading an object and comparing its bytes with every sum that is known of it.

use std::sync::Arc;

use futures::StreamExt;
use worker::store::digest::{ExpectedParts, Summing};
use worker::store::{Expected, Get, GetOptions};
use worker::{FailureKind, Store, StoreError};

use super::group::Group;
use super::report::Kind;

/// How often an object is read when its bytes do not come to their end.
const READINGS: usize = 3;

/// What reading an object showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes, and the right ones.
    Proved(u64),
    /// As many bytes as there should be; nothing is known to compare them with.
    Unproved(u64),
    /// Something else.
    Different { kind: Kind, expected: String, found: String },
}

/// Reads the object of a group whose listing was right.
pub(super) async fn read(store: Arc<dyn Store>, group: Group) -> (String, Read) {
    let known = Known::of(&group);
    let mut readings = 1;
    let read = loop {
        match attempt(store.as_ref(), &group.key, &known).await {
            Err(error) if readings < READINGS && passes(&error) => readings += 1,
            Ok(read) => break read,
            Err(error) => break failed(&known, &error),
        }
    };
    (group.key, read)
}

fn passes(error: &StoreError) -> bool {
    matches!(error.kind, FailureKind::Unavailable | FailureKind::TimedOut | FailureKind::Throttled)
}

fn failed(known: &Known, error: &StoreError) -> Read {
    let kind = match error.kind {
        FailureKind::NotFound => Kind::Missing,
        FailureKind::Mismatch => Kind::Changed,
        _ => Kind::Unreadable,
    };
    let found = if kind == Kind::Missing { "nothing".to_owned() } else { error.message.clone() };
    Read::Different { kind, expected: known.shown(), found }
}

async fn attempt(store: &dyn Store, key: &str, known: &Known) -> Result<Read, StoreError> {
    let mut get = store.get(key, &GetOptions { checksum: true, ..GetOptions::default() }).await?;
    let mut expected = known.expected(&get);
    if let (Some(parts), Some(etag)) = (&expected.parts, &get.etag)
        && let Ok(Some(part_size)) = store.part_size(key, etag).await
    {
        expected.parts = Some(ExpectedParts { part_size, is_certain: true, ..parts.clone() });
    }
    let mut summing = Summing::new(&expected);
    while let Some(chunk) = get.body.next().await {
        summing.update(&chunk?);
    }
    let bytes = summing.bytes();
    let sums = summing.finish();
    if let Some(parts) = expected.parts.take_if(|parts| !parts.is_certain && sums.parts != Some(parts.sum)) {
        // The size of the parts was guessed: another sum proves nothing.
        drop(parts);
    }
    expected.check(bytes, known.size.unwrap_or(get.size), &sums)?;
    Ok(if expected.proof(&sums).is_some() { Read::Proved(bytes) } else { Read::Unproved(bytes) })
}

/// What receipt and commit say of an object's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    size: Option<u64>,
    checksum: Option<String>,
    etag: Option<String>,
}

impl Known {
    fn of(group: &Group) -> Self {
        let recorded = group.recorded.as_ref().filter(|r| r.present);
        let wanted = group.wanted.as_ref();
        let size = recorded.and_then(|r| r.size).or_else(|| wanted.and_then(|w| w.size));
        // What was taken although it had drifted is not what the entry's etag says.
        let entry = match recorded {
            Some(recorded) if recorded.proof.as_deref() == Some("drifted") => None,
            Some(recorded) => recorded.etag.clone(),
            None => wanted.and_then(|w| w.etag.clone()),
        };
        Self {
            size: size.and_then(|size| u64::try_from(size).ok()),
            checksum: recorded.and_then(|r| r.checksum.clone()),
            etag: entry,
        }
    }

    /// What the bytes must be: the recorded checksum; what the store itself keeps of them; and only where there is nothing
    /// else, the entry's etag.
    fn expected(&self, get: &Get) -> Expected {
        let mut expected = Expected { crc64: get.crc64, ..Expected::default() };
        match self.checksum.as_deref().and_then(|text| text.split_once(':')) {
            Some(("md5", sum)) => expected.md5 = md5(sum),
            Some(("crc64nvme", sum)) => expected.crc64 = u64::from_str_radix(sum, 16).ok().or(expected.crc64),
            _ => {}
        }
        let stored = get.etag.as_deref().filter(|_| !get.etag_is_opaque);
        if expected.md5.is_none() && get.etag_is_md5 {
            expected.md5 = stored.and_then(md5);
        }
        if expected.md5.is_none() && expected.crc64.is_none() {
            let parts = stored.filter(|etag| etag.contains('-')).map(|etag| Expected::of_etag(etag, get.size));
            expected.parts = parts.and_then(|said| said.parts);
            expected.md5 = self.etag.as_deref().and_then(md5).filter(|_| expected.parts.is_none());
        }
        expected
    }

    fn shown(&self) -> String {
        let size = self.size.map_or_else(|| "unknown size".to_owned(), |size| format!("{size} bytes"));
        let sum = self.checksum.clone().or_else(|| self.etag.as_ref().map(|etag| format!("etag {etag}")));
        sum.map_or_else(|| size.clone(), |sum| format!("{size}, {sum}"))
    }
}

fn md5(text: &str) -> Option<[u8; 16]> {
    let mut sum = [0; 16];
    hex::decode_to_slice(text, &mut sum).ok().map(|()| sum)
}
