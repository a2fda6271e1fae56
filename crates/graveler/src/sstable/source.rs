//! Where the bytes of one file come from: memory, or ranged reads of an object store.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use crate::error::{Error, ErrorKind, Result};

/// Random access to one immutable file.
#[async_trait]
pub trait ReadAt: Send + Sync + Debug {
    /// The file's name, for errors.
    fn name(&self) -> &str;

    /// The file's length.
    async fn size(&self) -> Result<u64>;

    /// The bytes of `range`, all of them, or an error.
    async fn read_at(&self, range: Range<u64>) -> Result<Bytes>;

    /// The file's length and its last `len` bytes (all of a shorter file): one request where the
    /// source can do that.
    async fn read_tail(&self, len: u64) -> Result<(u64, Bytes)> {
        let size = self.size().await?;
        if size == 0 {
            return Ok((0, Bytes::new()));
        }
        Ok((size, self.read_at(size.saturating_sub(len)..size).await?))
    }
}

/// A whole file in memory.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    name: String,
    bytes: Bytes,
}

impl MemoryFile {
    /// A file of these bytes.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: Bytes) -> Self {
        Self { name: name.into(), bytes }
    }
}

#[async_trait]
impl ReadAt for MemoryFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn size(&self) -> Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let (start, end) = (index(range.start), index(range.end));
        if start > end || end > self.bytes.len() {
            return Err(cut_short(&self.name, &range, self.bytes.len() as u64));
        }
        Ok(self.bytes.slice(start..end))
    }
}

/// An object of a store, read by ranges. Its length is asked for once at most.
#[derive(Clone, Debug)]
pub struct StoreFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    name: String,
    size: OnceLock<u64>,
}

impl StoreFile {
    /// The object at `path`; nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store, name: path.to_string(), path, size: OnceLock::new() }
    }

    /// Gives it the name by which errors call it, where that is not its path.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    fn failed(&self, error: object_store::Error) -> Error {
        Error::from_store(&self.name, error)
    }

    async fn read_suffix(&self, len: u64) -> object_store::Result<(u64, Bytes)> {
        let options = GetOptions { range: Some(GetRange::Suffix(len)), ..GetOptions::default() };
        let answer = self.store.get_opts(&self.path, options).await?;
        let size = answer.meta.size;
        Ok((size, answer.bytes().await?))
    }
}

#[async_trait]
impl ReadAt for StoreFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn size(&self) -> Result<u64> {
        if let Some(size) = self.size.get() {
            return Ok(*size);
        }
        let meta = self.store.head(&self.path).await;
        let size = meta.map_err(|error| self.failed(error))?.size;
        Ok(*self.size.get_or_init(|| size))
    }

    async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let read = self.store.get_range(&self.path, range.clone()).await;
        let bytes = read.map_err(|error| self.failed(error))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(cut_short(self.name(), &range, range.start + bytes.len() as u64));
        }
        Ok(bytes)
    }

    async fn read_tail(&self, len: u64) -> Result<(u64, Bytes)> {
        let error = match self.read_suffix(len).await {
            Ok((size, bytes)) if bytes.len() as u64 == size.min(len) => {
                return Ok((*self.size.get_or_init(|| size), bytes));
            }
            Ok((size, bytes)) => {
                let start = size.saturating_sub(len);
                return Err(cut_short(self.name(), &(start..size), start + bytes.len() as u64));
            }
            Err(error) => self.failed(error),
        };
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) {
            return Err(error);
        }
        // Some stores know no suffix ranges, and none of an empty object.
        tracing::debug!(%error, "asks for the length of a file instead of its end");
        let size = self.size().await?;
        if size == 0 {
            return Ok((0, Bytes::new()));
        }
        Ok((size, self.read_at(size.saturating_sub(len)..size).await?))
    }
}

/// A position as an index; what does not fit lies beyond every buffer.
pub(crate) fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn cut_short(name: &str, range: &Range<u64>, end: u64) -> Error {
    Error::corrupt(name, format!("expected to read bytes {}..{}, found the end at {end}", range.start, range.end)).at(range.start)
}
