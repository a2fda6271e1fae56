//! The bytes of a commit: each file that the branch does not have yet is copied into the lake's `data/`.
//!
//! # Consistency
//! An object is whole before anything names it. A file that was written to while it was read fails: its entry would hold bytes
//! that were never all there at one time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use graveler::{AddressType, Entry, Timestamp};
use md5::{Digest, Md5};
use planner::{Location, Result};
use rand::Rng;
use worker::retry::{Repeat, Retry};
use worker::store::{Expected, Get, GetOptions, UploadOptions, etag_md5};
use worker::{FailureKind, Registry, RequestClass, Store, StoreError};

use super::compare::Old;
use super::files::{Folder, SourceFile};
use crate::progress::Progress;
use crate::report::Failure;

/// Files that are read at once unless it is said.
const CONCURRENCY: usize = 16;
/// Failed files after which no other one is begun.
const ENOUGH_FAILURES: usize = 10;
/// Streams are tried again as a whole when they break off; the requests in them have their own tries.
const TRIES: u32 = 3;
/// Objects of one partition of `data/`, as many as lakeFS puts into one.
const PARTITION_OBJECTS: u64 = 50_000;
/// 4000-01-01: partitions count backwards from there, so that the newest is listed first.
const FAR_FUTURE: i64 = 64_060_588_800;
/// What says nothing about an object.
const UNKNOWN_TYPES: [&str; 2] = ["application/octet-stream", "binary/octet-stream"];

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// For each file that the branch has not: its new entry.
    pub(super) entries: BTreeMap<usize, Entry>,
    /// The first files that failed.
    pub(super) failures: Vec<Failure>,
    /// Bytes of the new objects.
    pub(super) bytes: u64,
}

/// Why a file has no entry.
#[derive(Debug)]
enum Trouble {
    /// Something about this file.
    File(StoreError),
    /// The lake's store takes nothing.
    Store(StoreError),
}

/// Copies files into a lake.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    folder: &'a Folder,
    target: Arc<dyn Store>,
    registry: &'a Registry,
    names: Names,
}

impl<'a> Copier<'a> {
    /// From `folder` into the lake at `lake`.
    pub(super) fn new(registry: &'a Registry, folder: &'a Folder, lake: &Location) -> Result<Self> {
        let target = registry.open(&lake.as_folder(), RequestClass::Data)?;
        Ok(Self { folder, target, registry, names: Names::new() })
    }

    /// Copies every file whose bytes are not those of `old`. When files fail, what was copied is taken back.
    pub(super) async fn run(&self, old: &[Option<Old>], concurrency: Option<usize>, progress: &dyn Progress) -> Result<Copied> {
        let done = AtomicU64::new(0);
        // What is under way ends, so that it is known what to take back.
        let stopped = &AtomicBool::new(false);
        let total = self.folder.files.len() as u64;
        let mut ends = stream::iter(self.folder.files.iter().zip(old).enumerate())
            .map(|(i, (file, old))| async move {
                let go = !stopped.load(Ordering::Relaxed);
                (i, if go { self.one(i, file, old.as_ref()).await } else { Ok(None) })
            })
            .buffer_unordered(concurrency.unwrap_or(CONCURRENCY).max(1));
        let mut copied = Copied::default();
        let mut fatal = None;
        while let Some((i, end)) = ends.next().await {
            match end {
                Ok(Some(entry)) => {
                    copied.bytes += u64::try_from(entry.size).unwrap_or_default();
                    copied.entries.insert(i, entry);
                }
                Ok(None) => {}
                Err(Trouble::File(error)) => copied.failures.push(self.failure(i, &error)),
                Err(Trouble::Store(error)) => fatal = fatal.or(Some(error)),
            }
            progress.copying(done.fetch_add(1, Ordering::Relaxed) + 1, total, copied.bytes);
            if fatal.is_some() || copied.failures.len() >= ENOUGH_FAILURES {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        if fatal.is_some() || !copied.failures.is_empty() {
            self.take_back(&copied).await;
        }
        match fatal {
            Some(error) => {
                Err(error.into_error(self.target.location(), format!("{}: objects cannot be written", self.target.location())))
            }
            None => Ok(copied),
        }
    }

    fn failure(&self, i: usize, error: &StoreError) -> Failure {
        let key = self.folder.files[i].key.clone();
        let source = Some(self.folder.location.join(&key).to_string());
        Failure { key, action: "copy".to_owned(), source, error: error.message.clone() }
    }

    /// Nothing names these objects. What cannot be deleted stays as litter.
    async fn take_back(&self, copied: &Copied) {
        let addresses = stream::iter(copied.entries.values().map(|entry| entry.address.as_str()));
        addresses.for_each_concurrent(CONCURRENCY, |address| async { drop(self.target.delete(address).await) }).await;
    }

    /// The entry of one file; `None` where the branch has these bytes.
    async fn one(&self, number: usize, file: &SourceFile, old: Option<&Old>) -> Result<Option<Entry>, Trouble> {
        if let Some(old) = old.filter(|old| u64::try_from(old.size) == Ok(file.size))
            && (file.etag.as_ref() == Some(&old.etag) || self.digest(file).await? == old.etag)
        {
            return Ok(None);
        }
        let address = self.names.address(number as u64);
        let held = held(self.target.as_ref(), file.size);
        let _held = self.registry.buffers().take(held).await;
        let of_source = AtomicBool::new(false);
        let retry = Retry { tries: TRIES, ..Retry::default() };
        let end = retry.run(Repeat::Object, || self.upload(&address, file, &of_source)).await;
        end.map(Some).map_err(|error| {
            // A file that shrinks under its reader shows as bytes that are missing.
            let of_file = of_source.load(Ordering::Relaxed) || error.kind == FailureKind::Mismatch;
            if of_file { Trouble::File(error) } else { Trouble::Store(error) }
        })
    }

    /// The MD5 of a file's bytes, in hexadecimal.
    async fn digest(&self, file: &SourceFile) -> Result<String, Trouble> {
        let once = || async {
            let mut get = self.read(file).await?;
            let mut md5 = Md5::new();
            while let Some(chunk) = get.body.try_next().await? {
                md5.update(&chunk);
            }
            self.still(file, get.etag.as_deref()).await?;
            Ok(hex::encode(md5.finalize()))
        };
        let retry = Retry { tries: TRIES, ..Retry::default() };
        retry.run(Repeat::Object, once).await.map_err(Trouble::File)
    }

    /// Opens a file that is as it was listed.
    async fn read(&self, file: &SourceFile) -> Result<Get, StoreError> {
        let asked = GetOptions { if_match: file.etag.clone(), checksum: true, ..GetOptions::default() };
        match self.folder.store.get(&file.key, &asked).await {
            Ok(get) if get.size == file.size => Ok(get),
            Ok(get) => Err(changed(file, &format!("it had {} bytes, then {}", file.size, get.size))),
            Err(error) if matches!(error.kind, FailureKind::Precondition | FailureKind::NotFound) => {
                Err(changed(file, &error.message))
            }
            Err(error) => Err(error),
        }
    }

    /// Fails when a file is not what was opened. An object of a bucket cannot change under its reader.
    async fn still(&self, file: &SourceFile, etag: Option<&str>) -> Result<(), StoreError> {
        if !self.folder.is_local() {
            return Ok(());
        }
        let now = self.folder.store.head(&file.key).await?;
        match now {
            Some(now) if now.etag.as_deref() == etag => Ok(()),
            Some(_) => Err(changed(file, "its size or its modification time is another")),
            None => Err(changed(file, "it is gone")),
        }
    }

    async fn upload(&self, address: &str, file: &SourceFile, of_source: &AtomicBool) -> Result<Entry, StoreError> {
        of_source.store(true, Ordering::Relaxed);
        let get = self.read(file).await?;
        of_source.store(false, Ordering::Relaxed);
        let md5 = get.etag.as_deref().filter(|_| get.etag_is_md5).and_then(etag_md5);
        let expect = Expected { md5, wants_md5: true, crc64: get.crc64, ..Expected::default() };
        let failed = Arc::new(AtomicBool::new(false));
        let noticed = Arc::clone(&failed);
        let body = get.body.inspect_err(move |_| noticed.store(true, Ordering::Relaxed)).boxed();
        let options = UploadOptions { expect, ..UploadOptions::default() };
        let put = self.target.upload(address, body, file.size, &options).await;
        of_source.store(failed.load(Ordering::Relaxed), Ordering::Relaxed);
        let put = put?;
        of_source.store(true, Ordering::Relaxed);
        if let Err(error) = self.still(file, get.etag.as_deref()).await {
            drop(self.target.delete(address).await);
            return Err(error);
        }
        let Some(md5) = put.sums.md5 else {
            return Err(StoreError::new(FailureKind::Other, "the store told no MD5 of what it was sent"));
        };
        let said = get.attributes.content_type.filter(|said| !UNKNOWN_TYPES.contains(&&**said));
        Ok(Entry {
            address: address.to_owned(),
            last_modified: Some(file.modified.unwrap_or_else(now)),
            size: i64::try_from(file.size).unwrap_or(i64::MAX),
            e_tag: hex::encode(md5),
            metadata: get.attributes.metadata.into_iter().collect(),
            address_type: AddressType::Relative.into(),
            content_type: said.unwrap_or_else(|| content_type(&file.key)),
        })
    }
}

fn changed(file: &SourceFile, how: &str) -> StoreError {
    StoreError::new(FailureKind::Changed, format!("`{}` was written to while it was committed: {how}", file.key))
}

fn now() -> Timestamp {
    Timestamp { seconds: chrono::Utc::now().timestamp(), nanos: 0 }
}

/// The content type that a file's name says; lakeFS's default where it says none.
fn content_type(key: &str) -> String {
    mime_guess::from_path(key).first_raw().unwrap_or(UNKNOWN_TYPES[0]).to_owned()
}

/// Memory that an upload of that size holds.
fn held(target: &dyn Store, size: u64) -> u64 {
    let UploadOptions { multipart_threshold, part_size, parts_in_flight, .. } = UploadOptions::default();
    match target.capabilities().buffers_uploads {
        false => 0,
        true if size < multipart_threshold => size,
        true => part_size.saturating_mul(parts_in_flight as u64 + 1),
    }
}

/// Names for the objects of one commit, as lakeFS lays them out: `data/<partition>/<id>`, both of 20 digits.
#[derive(Debug)]
struct Names {
    seconds: i64,
    chance: [u8; 5],
}

impl Names {
    fn new() -> Self {
        Self { seconds: chrono::Utc::now().timestamp(), chance: rand::rng().random() }
    }

    /// Where the object with that number in this commit goes.
    fn address(&self, number: u64) -> String {
        let partition = self.digits(FAR_FUTURE - self.seconds, number / PARTITION_OBJECTS);
        format!("data/{partition}/{}", self.digits(self.seconds, number))
    }

    /// Four bytes of time, five of chance, three that count, in base 32: sortable, and unique across machines. What three
    /// bytes cannot count changes the chance.
    fn digits(&self, seconds: i64, number: u64) -> String {
        let (time, count) = (seconds.to_be_bytes(), number.to_be_bytes());
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&time[4..]);
        bytes[4..9].copy_from_slice(&self.chance);
        bytes[9..].copy_from_slice(&count[5..]);
        for (byte, high) in bytes[4..9].iter_mut().zip(&count[..5]) {
            *byte ^= high;
        }
        base32(&bytes)
    }
}

/// Base 32 with the digits `0` to `9` and `a` to `v`, without padding.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let bit = |i: usize| bytes.get(i / 8).map_or(0, |byte| byte >> (7 - i % 8) & 1);
    let digit = |i: usize| (0..5).fold(0, |value, j| value << 1 | bit(5 * i + j));
    (0..(bytes.len() * 8).div_ceil(5)).map(|i| char::from(DIGITS[usize::from(digit(i))])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_have_the_shape_of_lakefs_and_are_unique() {
        assert_eq!(base32(&[0x4d, 0x88, 0xe1, 0x5b, 0x60, 0xf4, 0x86, 0xe4, 0x28, 0x41, 0x2d, 0xc9]), "9m4e2mr0ui3e8a215n4g");
        let names = Names::new();
        let numbers = [0, 1, PARTITION_OBJECTS - 1, PARTITION_OBJECTS, (1 << 24) - 1, 1 << 24, (1 << 24) + 1];
        let all: BTreeSet<_> = numbers.into_iter().map(|n| names.address(n)).collect();
        assert_eq!(all.len(), numbers.len());
        for name in &all {
            let parts: Vec<_> = name.split('/').collect();
            assert!(parts[0] == "data" && parts[1..].iter().all(|part| part.len() == 20), "{name}");
        }
        let partition = |seconds| Names { seconds, chance: [0; 5] }.address(0)[5..25].to_owned();
        assert!(partition(1_800_000_000) < partition(1_700_000_000), "the newest is listed first");
    }

    #[test]
    fn content_types_come_from_names() {
        for (key, expected) in [
            ("a/b.csv", "text/csv"),
            ("b.json", "application/json"),
            ("index.html", "text/html"),
            ("_SUCCESS", "application/octet-stream"),
            ("a.unheard", "application/octet-stream"),
        ] {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }
}
