//! Reading an object and comparing its bytes with every sum that is known of it.

use std::sync::Arc;

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::store::digest::{ExpectedParts, Summing};
use crate::store::{Expected, Get, GetOptions};
use crate::{FailureKind, Store, StoreError};

/// How often an object is read when its bytes do not come to their end.
const READINGS: usize = 3;

/// What is known of an object's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sought {
    /// Below the store's location.
    pub key: String,
    /// In bytes.
    pub size: Option<u64>,
    /// `md5:` or `crc64nvme:`, and hex digits.
    pub checksum: Option<String>,
    /// The lake's entry's.
    pub etag: Option<String>,
}

/// In which way an object is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// It is not there.
    Missing,
    /// It has other bytes.
    Changed,
    /// Its bytes cannot be read.
    Unreadable,
}

/// What reading an object showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, and the right ones.
    Proved(u64),
    /// As many bytes as there should be; nothing is known to compare them with.
    Unproved(u64),
    /// Something else.
    Different {
        /// In which way.
        wrong: Wrong,
        /// What should be there, for people.
        expected: String,
        /// What is there, for people.
        found: String,
    },
}

/// Reads an object to its end; its key and what was found.
pub async fn read(store: Arc<dyn Store>, sought: Sought) -> (String, Read) {
    let mut readings = 1;
    let read = loop {
        match attempt(store.as_ref(), &sought).await {
            Err(error) if readings < READINGS && passes(&error) => readings += 1,
            Ok(read) => break read,
            Err(error) => break failed(&sought, &error),
        }
    };
    (sought.key, read)
}

fn passes(error: &StoreError) -> bool {
    matches!(error.kind, FailureKind::Unavailable | FailureKind::TimedOut | FailureKind::Throttled)
}

fn failed(sought: &Sought, error: &StoreError) -> Read {
    let wrong = match error.kind {
        FailureKind::NotFound => Wrong::Missing,
        FailureKind::Mismatch => Wrong::Changed,
        _ => Wrong::Unreadable,
    };
    let found = if wrong == Wrong::Missing { "nothing".to_owned() } else { error.message.clone() };
    Read::Different { wrong, expected: sought.shown(), found }
}

async fn attempt(store: &dyn Store, sought: &Sought) -> Result<Read, StoreError> {
    let mut get = store.get(&sought.key, &GetOptions { checksum: true, ..GetOptions::default() }).await?;
    let mut expected = sought.expected(&get);
    if let (Some(parts), Some(etag)) = (&expected.parts, &get.etag)
        && let Ok(Some(part_size)) = store.part_size(&sought.key, etag).await
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
    expected.check(bytes, sought.size.unwrap_or(get.size), &sums)?;
    Ok(if expected.proof(&sums).is_some() { Read::Proved(bytes) } else { Read::Unproved(bytes) })
}

impl Sought {
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
