//! Stores: what can be read and written, one [`Location`] at a time.
//!
//! # Contract
//! Keys are relative to the location and raw: nothing is encoded, decoded or normalised. What a store cannot hold it refuses
//! with [`FailureKind::BadKey`]. A write is visible in full or not at all. Every request has a time limit, and whether a
//! request that timed out was applied is not known.
//!
//! # Cancellation
//! Dropping a future stops it. Nothing half-written becomes visible; an upload in parts is aborted in the background.

pub mod bounds;
pub mod digest;
pub mod error;
pub mod file;
mod folding;
pub mod generic;
pub mod identity;
pub(crate) mod metadata;
pub mod meter;
pub mod registry;
pub mod s3;
pub mod settings;

use std::fmt::Debug;
use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use planner::Location;

pub use bounds::Bounds;
pub use digest::{Expected, Sums};
pub use error::{FailureKind, StoreError};
pub use meter::RequestClass;

/// The result of a request.
pub type StoreResult<T> = Result<T, StoreError>;

/// An object's bytes as they arrive.
pub type Body = BoxStream<'static, StoreResult<Bytes>>;

/// An MD5 of an object's bytes.
pub type Md5Sum = [u8; 16];

/// User metadata: keys without any prefix, in the order given.
pub type UserMetadata = Vec<(String, String)>;

/// The largest object that [`Store::get_small`] reads, in bytes.
pub const SMALL_OBJECT_BYTES: u64 = 64 * 1024 * 1024;

/// Deletes under way at once for [`Store::delete_many`], where a store takes one a request.
pub(crate) const SINGLE_DELETES: usize = 16;

/// What a store can do and hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent facts, read by name")]
pub struct Capabilities {
    /// [`Store::copy_from`] works from stores with the same [`Access::endpoint`].
    pub server_copy: bool,
    /// [`Condition`]s are obeyed, by the store itself.
    pub conditional_put: bool,
    /// That they are obeyed is said of the protocol: servers that speak it may ignore them, or refuse them.
    pub conditions_vary: bool,
    /// User metadata is kept.
    pub user_metadata: bool,
    /// The content type is kept.
    pub content_type: bool,
    /// The etag is the MD5 of the bytes unless an answer says otherwise ([`Get::etag_is_md5`]).
    pub etag_is_md5: bool,
    /// The etag that a commit holds is the one that the store checks in [`GetOptions::if_match`].
    pub pins_by_entry_etag: bool,
    /// Cache-Control and its kin are carried over from the source.
    pub keep_headers: bool,
    /// Tags are carried over from the source.
    pub keep_tags: bool,
    /// An upload holds parts in memory; else it passes through.
    pub buffers_uploads: bool,
    /// Nothing can be written.
    pub read_only: bool,
}

/// Which server a store talks to and as whom: equal texts mean the same. Holds names, never secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// Kind and endpoint: `s3|aws`, `s3|127.0.0.1:9000`, `file`.
    pub endpoint: String,
    /// Where the credentials come from: `chain`, `profile mirror`, `variable MIRROR_KEY`, `anonymous`.
    pub credentials: String,
}

/// Headers beside content type and user metadata, kept on request only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
}

/// What is said of an object when it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type`; the store's default when `None`.
    pub content_type: Option<String>,
    /// User metadata.
    pub metadata: UserMetadata,
    /// The other headers.
    pub headers: Headers,
    /// Tags, encoded as a query; read on request only.
    pub tags: Option<String>,
}

impl Attributes {
    /// Only a content type.
    pub fn content_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..Self::default() }
    }

    /// Neither a content type nor metadata nor headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Only the object with this etag, else [`FailureKind::Precondition`].
    pub if_match: Option<String>,
    /// Only these bytes.
    pub range: Option<Range<u64>>,
    /// The store is asked for the checksum that it keeps of the whole.
    pub checksum: bool,
}

/// An object that is being read.
pub struct Get {
    /// The store's etag, without quotes.
    pub etag: Option<String>,
    /// The etag is the MD5 of all bytes.
    pub etag_is_md5: bool,
    /// The etag says nothing of the bytes: the object is encrypted, or the store makes etags of something else.
    pub etag_is_opaque: bool,
    /// The CRC64NVME of all bytes, where the store keeps one and was asked for it.
    pub crc64: Option<u64>,
    /// Bytes of the whole object, also when a range was asked for.
    pub size: u64,
    /// Content type, metadata and headers.
    pub attributes: Attributes,
    /// The bytes. Dropping it ends the request.
    pub body: Body,
}

impl Debug for Get {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Get").field("etag", &self.etag).field("size", &self.size).finish_non_exhaustive()
    }
}

/// What a store says of an object without its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The store's etag, without quotes.
    pub etag: Option<String>,
    /// The etag is the MD5 of all bytes.
    pub etag_is_md5: bool,
    /// Bytes.
    pub size: u64,
    /// Content type, metadata and headers.
    pub attributes: Attributes,
}

/// What must be at a key for a put to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Anything or nothing.
    #[default]
    None,
    /// Nothing.
    Absent,
    /// The object with this etag.
    Match(String),
}

/// How to put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What must be there.
    pub condition: Condition,
    /// Content type, metadata and headers.
    pub attributes: Attributes,
    /// The MD5 of the bytes where it is known; the store refuses other bytes. Computed where it is `None`.
    pub content_md5: Option<Md5Sum>,
}

/// How to stream up.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// Content type, metadata and headers.
    pub attributes: Attributes,
    /// What the stream must be; with other bytes nothing becomes visible.
    pub expect: Expected,
    /// Objects from this size on go up in parts, in bytes.
    pub multipart_threshold: u64,
    /// The smallest part but the last, in bytes; grown where 10,000 parts would not suffice.
    pub part_size: u64,
    /// Parts under way at once.
    pub parts_in_flight: usize,
    /// The object need not survive a power failure before [`Store::sync`] has returned.
    pub sync_later: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            attributes: Attributes::default(),
            expect: Expected::default(),
            multipart_threshold: crate::copy::DEFAULT_MULTIPART_THRESHOLD,
            part_size: crate::copy::DEFAULT_PART_SIZE,
            parts_in_flight: crate::copy::DEFAULT_PARTS_IN_FLIGHT,
            sync_later: false,
        }
    }
}

/// How to copy inside a store.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// `None` keeps the source's content type, metadata and headers; else they are replaced by these.
    pub replace: Option<Attributes>,
    /// The source's tags are kept; else there are none.
    pub tags: bool,
    /// The store is asked to compute a checksum of the whole.
    pub checksum: bool,
    /// The sum of parts that the source's etag holds: a copy in parts of the same size must get it as well.
    pub parts: Option<digest::ExpectedParts>,
    /// The object need not survive a power failure before [`Store::sync`] has returned.
    pub sync_later: bool,
}

/// The source of a copy inside a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceObject {
    /// The object itself: bucket and raw key.
    pub location: Location,
    /// Only the object with this etag, else [`FailureKind::Precondition`].
    pub if_match: Option<String>,
    /// Its size in bytes.
    pub size: u64,
}

/// How a store confirmed what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// It checked the MD5 of the whole.
    Md5,
    /// It checked the MD5 of each part, and its etag is the MD5 of those.
    PartsMd5,
}

/// What a write left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// The new object's etag, without quotes; `None` from stores that have none of their own.
    pub etag: Option<String>,
    /// The etag is the MD5 of all bytes.
    pub etag_is_md5: bool,
    /// The sums of the bytes, where they passed through here.
    pub sums: Sums,
    /// The checksum of the whole that the store computed, as `algorithm:hex`.
    pub checksum: Option<String>,
    /// How the store itself confirmed the bytes.
    pub confirmed: Option<Confirmation>,
    /// Bytes written.
    pub bytes: u64,
}

/// One object to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Relative to the location.
    pub key: String,
    /// Only the object with this etag. A store that cannot tell refuses with [`FailureKind::Unsupported`].
    pub if_match: Option<String>,
}

impl Deletion {
    /// Whatever is at `key`.
    pub fn of(key: impl Into<String>) -> Self {
        Self { key: key.into(), if_match: None }
    }
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the location.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Where a listing shows it, without quotes.
    pub etag: Option<String>,
    /// When it was written, where a listing shows it.
    pub modified: Option<SystemTime>,
}

/// One location that objects are read from or written to. Keys are relative to the location and raw.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Where it is.
    fn location(&self) -> &Location;

    /// What it can do and hold.
    fn capabilities(&self) -> Capabilities;

    /// Server and credentials.
    fn access(&self) -> &Access;

    /// Opens an object for reading.
    ///
    /// # Errors
    /// [`FailureKind::NotFound`] where there is none, [`FailureKind::Precondition`] where it is another one. The body's own
    /// errors come with the stream: [`FailureKind::TimedOut`] after the stall bound without a byte.
    async fn get(&self, key: &str, options: &GetOptions) -> StoreResult<Get>;

    /// What is at a key; `None` where nothing is.
    async fn head(&self, key: &str) -> StoreResult<Option<Head>>;

    /// The size of the parts that the object with that etag was uploaded in, where the store can tell.
    async fn part_size(&self, _key: &str, _etag: &str) -> StoreResult<Option<u64>> {
        Ok(None)
    }

    /// The tags of an object, encoded as a query; `None` where there are none.
    async fn tags(&self, _key: &str) -> StoreResult<Option<String>> {
        Ok(None)
    }

    /// Writes one object whole. Sent again only when that cannot do harm: never after an unanswered conditional put.
    ///
    /// # Errors
    /// [`FailureKind::Precondition`] when the condition does not hold; after a lost answer this may be one's own write.
    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> StoreResult<Put>;

    /// Removes an object. One that is not there is removed.
    async fn delete(&self, key: &str) -> StoreResult<()>;

    /// Removes an object if it has that etag. One that is not there is removed.
    ///
    /// # Errors
    /// [`FailureKind::Precondition`] when it has another one, [`FailureKind::Unsupported`] where the store cannot tell.
    async fn delete_if(&self, _key: &str, _etag: &str) -> StoreResult<()> {
        Err(StoreError::new(FailureKind::Unsupported, format!("{} has no conditional deletes", self.location())))
    }

    /// Removes many objects, as many in a request as the store takes: one end each, in their order.
    async fn delete_many(&self, deletions: &[Deletion]) -> Vec<StoreResult<()>> {
        let one = |at: usize| async move {
            match &deletions[at].if_match {
                None => self.delete(&deletions[at].key).await,
                Some(etag) => self.delete_if(&deletions[at].key, etag).await,
            }
        };
        futures::stream::iter(0..deletions.len()).map(one).buffered(SINGLE_DELETES).collect().await
    }

    /// Every object whose key starts with `prefix`. In the byte order of keys, except on `file://`.
    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<Listed>>;

    /// Copies inside the store; no byte passes through here. Only where the route says so.
    ///
    /// # Errors
    /// [`FailureKind::Precondition`] when the source is not the object that was pinned.
    async fn copy_from(&self, source: &SourceObject, key: &str, options: &CopyOptions) -> StoreResult<Put>;

    /// Writes one object of exactly `size` bytes from a stream. Checks size and MD5 before anything becomes visible.
    ///
    /// # Errors
    /// [`FailureKind::Mismatch`] for other bytes than announced; errors of `body` as they are.
    async fn upload(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put>;

    /// Aborts uploads in parts that nobody will end: of `key`, or of every key below it when it ends in a slash. How many
    /// there were.
    ///
    /// # Errors
    /// The store's.
    async fn abort_uploads(&self, _key: &str) -> StoreResult<u64> {
        Ok(0)
    }

    /// Removes below `folder`, a folder of Millrace's own, what processes that are gone left behind: files that never got their
    /// names, and empty folders. How many files. What somebody still writes stays.
    async fn sweep(&self, _folder: &str) -> StoreResult<u64> {
        Ok(0)
    }

    /// Returns when everything written before survives a power failure.
    async fn sync(&self) -> StoreResult<()> {
        Ok(())
    }

    /// Reads an object of at most [`SMALL_OBJECT_BYTES`] with the etag that a [`Condition::Match`] takes; `None` where there
    /// is none.
    async fn get_small(&self, key: &str) -> StoreResult<Option<(Bytes, String)>> {
        let get = match self.get(key, &GetOptions::default()).await {
            Ok(get) => get,
            Err(error) if error.kind == FailureKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (size, etag) = (get.size, get.etag.clone());
        let bytes = collect(get.body, size).await?;
        let etag = etag.unwrap_or_else(|| hex::encode(md5_of(&bytes)));
        Ok(Some((bytes, etag)))
    }
}

/// All bytes of a body that announces `size`.
pub(crate) async fn collect(body: Body, size: u64) -> StoreResult<Bytes> {
    if size > SMALL_OBJECT_BYTES {
        let message = format!("{size} bytes are more than the {SMALL_OBJECT_BYTES} that are read at once");
        return Err(StoreError::new(FailureKind::Unsupported, message));
    }
    read_exactly(body, size).await
}

/// All bytes of a body of exactly `size` bytes. One chunk is passed on as it is.
pub(crate) async fn read_exactly(mut body: Body, size: u64) -> StoreResult<Bytes> {
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut got = 0;
    while let Some(chunk) = body.try_next().await? {
        got += chunk.len() as u64;
        if got > size {
            break;
        }
        chunks.push(chunk);
    }
    if got != size {
        return Err(short_body(got, size));
    }
    Ok(if chunks.len() == 1 { chunks.remove(0) } else { chunks.concat().into() })
}

/// The same with the sums of the bytes, compared with what they must be.
pub(crate) async fn read_summed(body: Body, size: u64, expect: &Expected) -> StoreResult<(Bytes, Sums)> {
    let bytes = read_exactly(body, size).await?;
    let mut summing = digest::Summing::new(expect);
    summing.update(&bytes);
    let sums = summing.finish();
    expect.check(size, size, &sums)?;
    Ok((bytes, sums))
}

pub(crate) fn short_body(got: u64, size: u64) -> StoreError {
    let more = if got > size { "more than " } else { "" };
    StoreError::new(FailureKind::Mismatch, format!("{size} bytes were announced, {more}{} came", got.min(size)))
}

pub(crate) fn md5_of(bytes: &[u8]) -> Md5Sum {
    use md5::Digest;
    md5::Md5::digest(bytes).into()
}

/// The MD5 that an etag of the form of a plain MD5 stands for.
#[must_use]
pub fn etag_md5(etag: &str) -> Option<Md5Sum> {
    let mut sum = [0; 16];
    hex::decode_to_slice(etag, &mut sum).is_ok().then_some(sum)
}
