//! `file://`: an own store, because keys must stay what they are and what is written must survive a power failure.
//!
//! # Consistency
//! A file gets its name when it is whole and durable; what may wait for [`Store::sync`] gets it when it is whole. Its *etag* is one of two, told apart by a dash: the MD5 of the bytes
//! (of puts and of [`Store::get_small`]; the one to use in conditions), or `size-mtime-inode` (of gets and heads; the one to
//! pin a source with). Uploads and copies report none: receipts must not hold what a restored backup would change. Content
//! types and metadata are not kept.
//!
//! # Cancellation
//! A step that runs in a blocking thread runs to its end; what it leaves is a whole file or none.

mod hollow;
mod list;
mod sweep;
#[cfg(test)]
mod tests;
mod together;
mod tree;
mod write;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use planner::{Location, Scheme};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

pub use tree::Tree;

use self::tree::{failure, io_failure, split};
use self::write::Temp;
use super::digest::Summing;
use super::meter::Meter;
use super::{
    Access, Attributes, Body, Capabilities, CopyOptions, Deletion, Expected, FailureKind, Get, GetOptions, Head, Listed, Put,
    PutOptions, SMALL_OBJECT_BYTES, SourceObject, Store, StoreError, StoreResult, Sums, UploadOptions, md5_of,
};
use crate::fence;

const CHUNK: usize = 256 * 1024;

/// A folder of this machine.
#[derive(Debug)]
pub struct FileStore {
    location: Location,
    access: Access,
    /// `None` reads any path of the machine, links and all, and writes nothing.
    tree: Option<Arc<Tree>>,
    meter: Meter,
}

impl FileStore {
    pub(crate) fn new(location: &Location, tree: Arc<Tree>, meter: Meter) -> Self {
        Self { location: location.clone(), access: access(), tree: Some(tree), meter }
    }

    /// Reads sources, wherever the lake says they lie: keys are absolute paths without their first slash.
    pub(crate) fn reader(meter: Meter) -> Self {
        Self { location: Location::new(Scheme::File, "", ""), access: access(), tree: None, meter }
    }

    fn tree(&self) -> StoreResult<Arc<Tree>> {
        match &self.tree {
            Some(tree) => Ok(Arc::clone(tree)),
            None => Err(StoreError::new(FailureKind::Unsupported, "sources are only read")),
        }
    }

    /// The file at a key, or a failure that names it.
    async fn open(&self, key: &str) -> StoreResult<Option<File>> {
        self.meter.request();
        let (tree, key) = (self.tree.clone(), key.to_owned());
        blocking(move || match tree {
            Some(tree) => open_regular(&tree, &key),
            None => open_anywhere(&key),
        })
        .await
    }

    /// Writes a stream of `size` bytes and compares it with what it must be.
    async fn fill(&self, temp: &Temp, mut body: Body, size: u64, expect: &Expected) -> StoreResult<Sums> {
        let mut file = tokio::fs::File::from_std(temp.handle()?);
        let mut summing = Summing::new(expect);
        while let Some(chunk) = body.try_next().await? {
            summing.update(&chunk);
            if summing.bytes() > size {
                break;
            }
            file.write_all(&chunk).await.map_err(|error| io_failure(&error))?;
            self.meter.payload(chunk.len() as u64);
        }
        file.flush().await.map_err(|error| io_failure(&error))?;
        let (got, sums) = (summing.bytes(), summing.finish());
        expect.check(got, size, &sums)?;
        Ok(sums)
    }
}

fn access() -> Access {
    Access { endpoint: "file".to_owned(), credentials: "user".to_owned() }
}

#[async_trait]
impl Store for FileStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn capabilities(&self) -> Capabilities {
        let writable = self.tree.is_some();
        Capabilities { server_copy: writable, conditional_put: writable, read_only: !writable, ..Capabilities::default() }
    }

    fn access(&self) -> &Access {
        &self.access
    }

    async fn get(&self, key: &str, options: &GetOptions) -> StoreResult<Get> {
        let Some(mut file) = self.open(key).await? else { return Err(missing(key)) };
        let (pin, range) = (options.if_match.clone(), options.range.clone());
        let (opened, size, etag, length) = blocking(move || {
            let stat = file.metadata().map_err(|error| io_failure(&error))?;
            if let Some(pin) = pin
                && !etag_holds(&file, &pin)?
            {
                return Err(StoreError::new(FailureKind::Precondition, "the file is another one than before"));
            }
            let range = range.unwrap_or(0..stat.len());
            file.seek(SeekFrom::Start(range.start)).map_err(|error| io_failure(&error))?;
            let length = range.end.saturating_sub(range.start);
            let opened = if length <= CHUNK as u64 { Opened::Whole(read_up_to(&file, length)?) } else { Opened::Open(file) };
            Ok((opened, stat.len(), stat_etag(&stat), length))
        })
        .await?;
        let meter = self.meter.clone();
        let body = match opened {
            Opened::Whole(bytes) => stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed(),
            Opened::Open(file) => ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(length), CHUNK)
                .map_err(|error| io_failure(&error))
                .boxed(),
        };
        let body = body.inspect_ok(move |chunk: &Bytes| meter.payload(chunk.len() as u64)).boxed();
        let (etag, attributes) = (Some(etag), Attributes::default());
        Ok(Get { etag, etag_is_md5: false, etag_is_opaque: true, crc64: None, size, attributes, body })
    }

    async fn head(&self, key: &str) -> StoreResult<Option<Head>> {
        let Some(file) = self.open(key).await? else { return Ok(None) };
        let stat = file.metadata().map_err(|error| io_failure(&error))?;
        Ok(Some(Head { etag: Some(stat_etag(&stat)), size: stat.len(), ..Head::default() }))
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> StoreResult<Put> {
        self.meter.request();
        let (md5, bytes) = (md5_of(&body), body.len() as u64);
        if options.content_md5.is_some_and(|announced| announced != md5) {
            return Err(StoreError::new(FailureKind::Mismatch, "the bytes have another MD5 than was announced"));
        }
        let (tree, key, condition) = (self.tree()?, key.to_owned(), options.condition.clone());
        blocking(move || write::put(&tree, &key, &body, &condition)).await?;
        self.meter.payload(bytes);
        Ok(Put { etag: Some(hex::encode(md5)), sums: Sums { md5: Some(md5), ..Sums::default() }, bytes, ..Put::default() })
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        self.meter.request();
        let (tree, key) = (self.tree()?, key.to_owned());
        blocking(move || delete(&tree, &key)).await
    }

    async fn delete_many(&self, deletions: &[Deletion]) -> Vec<StoreResult<()>> {
        self.meter.request();
        let refused = |error: StoreError| deletions.iter().map(|_| Err(error.clone())).collect();
        let tree = match self.tree() {
            Ok(tree) => tree,
            Err(error) => return refused(error),
        };
        let all = deletions.to_vec();
        let one = move |one: &Deletion| match &one.if_match {
            None => delete(&tree, &one.key),
            Some(_) => Err(StoreError::new(FailureKind::Unsupported, "files have no conditional deletes")),
        };
        let ends = blocking(move || Ok(all.iter().map(one).collect::<Vec<_>>())).await;
        ends.unwrap_or_else(refused)
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<Listed>> {
        self.meter.request();
        let tree = match self.tree() {
            Ok(tree) => tree,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let (send, receive) = tokio::sync::mpsc::channel(1024);
        let prefix = prefix.to_owned();
        // The walk ends by itself when the stream is dropped: nobody receives any more.
        drop(tokio::task::spawn_blocking(move || list::walk(&tree, &prefix, &send)));
        stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive))).boxed()
    }

    async fn copy_from(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put> {
        self.meter.request();
        let Some(from) = source.location.file_path() else {
            return Err(StoreError::new(FailureKind::Unsupported, format!("{} is no file of this machine", source.location)));
        };
        let (tree, key, source, later) = (self.tree()?, key.to_owned(), source.clone(), options.sync_later);
        let within = Arc::clone(&tree);
        let _turn = within.turn().await;
        let bytes = blocking(move || write::copy(&tree, &source, &from, &key, later)).await?;
        Ok(Put { bytes, ..Put::default() })
    }

    async fn upload(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        self.meter.request();
        let (tree, key) = (self.tree()?, key.to_owned());
        split(&key)?;
        let (temp, for_now) = blocking({
            let (tree, later) = (Arc::clone(&tree), options.sync_later);
            move || Ok((Temp::new(&tree)?, later && tree.syncs_together()))
        })
        .await?;
        let sums = self.fill(&temp, body, size, &options.expect).await?;
        blocking(move || if for_now { temp.publish_for_now(&tree, &key) } else { temp.publish(&tree, &key) }).await?;
        Ok(Put { sums, bytes: size, ..Put::default() })
    }

    async fn sweep(&self, folder: &str) -> StoreResult<u64> {
        let (tree, folder) = (self.tree()?, folder.to_owned());
        blocking(move || sweep::sweep(&tree, &folder)).await
    }

    async fn sync(&self) -> StoreResult<()> {
        let tree = self.tree()?;
        blocking(move || tree.sync()).await
    }

    async fn get_small(&self, key: &str) -> StoreResult<Option<(Bytes, String)>> {
        let Some(mut file) = self.open(key).await? else { return Ok(None) };
        let bytes = blocking(move || {
            let mut bytes = Vec::new();
            let read = (&mut file).take(SMALL_OBJECT_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| io_failure(&error))?;
            if bytes.len() as u64 > SMALL_OBJECT_BYTES {
                let message = format!("more than the {SMALL_OBJECT_BYTES} bytes that are read at once");
                return Err(StoreError::new(FailureKind::Unsupported, message));
            }
            Ok(bytes)
        })
        .await?;
        self.meter.payload(bytes.len() as u64);
        let etag = hex::encode(md5_of(&bytes));
        Ok(Some((bytes.into(), etag)))
    }
}

/// What was opened for reading: small files are read where they are opened, so that none waits with a buffer of its own.
enum Opened {
    Whole(Bytes),
    Open(File),
}

fn read_up_to(file: &File, length: u64) -> StoreResult<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes).map_err(|error| io_failure(&error))?;
    Ok(bytes.into())
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> StoreResult<T> + Send + 'static) -> StoreResult<T> {
    let fence = fence::current();
    match tokio::task::spawn_blocking(move || fence::behind(fence, work)).await {
        Ok(end) => end,
        Err(error) => Err(StoreError::new(FailureKind::Other, format!("file work ended early: {error}"))),
    }
}

fn missing(key: &str) -> StoreError {
    StoreError::new(FailureKind::NotFound, format!("there is no file `{key}`"))
}

/// Opens the file at `key`; `None` where nothing, or a folder, is.
fn open_regular(tree: &Tree, key: &str) -> StoreResult<Option<File>> {
    let (parent, leaf) = split(key)?;
    // Not blocking: a pipe of that name must not hold the thread.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match tree.within(parent, false, |folder| openat(folder, leaf, flags, Mode::empty()))? {
        None => Ok(None),
        Some(Ok(file)) => regular(file.into()),
        Some(Err(Errno::LOOP)) => {
            let message = format!("`{key}` below {} is a symbolic link, and links are not followed there", tree.root().display());
            Err(StoreError::new(FailureKind::BadKey, message))
        }
        Some(Err(error)) => Err(failure(error).context(format!("opening `{key}`"))),
    }
}

fn open_anywhere(key: &str) -> StoreResult<Option<File>> {
    let path = format!("/{key}");
    match File::open(&path) {
        Ok(file) => regular(file),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        Err(error) => Err(io_failure(&error).context(format!("opening {path}"))),
    }
}

fn regular(file: File) -> StoreResult<Option<File>> {
    let stat = file.metadata().map_err(|error| io_failure(&error))?;
    Ok(stat.is_file().then_some(file))
}

fn delete(tree: &Tree, key: &str) -> StoreResult<()> {
    fence::check()?;
    let (parent, leaf) = split(key)?;
    match tree.within(parent, false, |folder| unlinkat(folder, leaf, AtFlags::empty()))? {
        Some(Ok(())) => {
            tree.changed(parent);
            tree.prune(parent);
            Ok(())
        }
        // A folder of that name is no object: the object is not there.
        None | Some(Err(Errno::ISDIR)) => Ok(()),
        Some(Err(error)) => Err(failure(error).context(format!("deleting `{key}`"))),
    }
}

fn stat_etag(stat: &std::fs::Metadata) -> String {
    let mtime = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
    format!("{:x}-{mtime:x}-{:x}", stat.len(), stat.ino())
}

/// The file has this etag, of either kind. Leaves the file at its start.
fn etag_holds(mut file: &File, etag: &str) -> StoreResult<bool> {
    if etag.contains('-') {
        return Ok(stat_etag(&file.metadata().map_err(|error| io_failure(&error))?) == etag);
    }
    let mut md5 = Md5::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk).map_err(|error| io_failure(&error))? {
            0 => break,
            read => md5.update(&chunk[..read]),
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| io_failure(&error))?;
    Ok(hex::encode(md5.finalize()) == etag)
}
