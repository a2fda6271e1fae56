//! The protobuf messages that ranges, metaranges and refs dumps hold.
//!
//! Fields come in ascending order and maps are sorted, so that equal messages encode to equal
//! bytes. Reading entries by the million goes through [`crate::EntryRef`] instead, which allocates
//! nothing.

use std::collections::BTreeMap;

use bytes::Bytes;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970, UTC.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds of that second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// How the address of an entry is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AddressType {
    /// Old files: a full address if it looks like one, else relative.
    ByPrefixDeprecated = 0,
    /// Below the storage namespace.
    Relative = 1,
    /// A URI by itself.
    Full = 2,
}

/// An object of the lake (`catalog.Entry`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// Where the bytes are; see `address_type`.
    #[prost(string, tag = "1")]
    pub address: String,
    /// When the object was written.
    #[prost(message, optional, tag = "2")]
    pub last_modified: Option<Timestamp>,
    /// Bytes.
    #[prost(int64, tag = "3")]
    pub size: i64,
    /// The etag, without quotes; not a reliable checksum.
    #[prost(string, tag = "4")]
    pub e_tag: String,
    /// User metadata.
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
    /// How to read `address`.
    #[prost(enumeration = "AddressType", tag = "6")]
    pub address_type: i32,
    /// The MIME type; empty for imported objects.
    #[prost(string, tag = "7")]
    pub content_type: String,
}

/// A range as its metarange describes it (`committed.RangeData`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeData {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub min_key: Bytes,
    /// The last key.
    #[prost(bytes = "bytes", tag = "2")]
    pub max_key: Bytes,
    /// The writer's estimate of the file's size.
    #[prost(uint64, tag = "3")]
    pub estimated_size: u64,
    /// The number of records.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// A branch as a refs dump holds it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BranchData {
    /// The name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The commit at its head.
    #[prost(string, tag = "2")]
    pub commit_id: String,
    /// Always empty in dumps.
    #[prost(string, tag = "3")]
    pub staging_token: String,
    /// Always empty in dumps.
    #[prost(string, repeated, tag = "4")]
    pub sealed_tokens: Vec<String>,
    /// Never set in dumps.
    #[prost(bool, tag = "5")]
    pub hidden: bool,
}

/// A tag as a refs dump holds it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagData {
    /// The name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The commit it names.
    #[prost(string, tag = "2")]
    pub commit_id: String,
}

/// A commit as a refs dump holds it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CommitData {
    /// The commit's id: see [`crate::ident::commit_id`].
    #[prost(string, tag = "1")]
    pub id: String,
    /// Who committed.
    #[prost(string, tag = "2")]
    pub committer: String,
    /// The message.
    #[prost(string, tag = "3")]
    pub message: String,
    /// When; fractions of a second are not part of the id.
    #[prost(message, optional, tag = "4")]
    pub creation_date: Option<Timestamp>,
    /// The metarange of the commit's objects; empty: no objects and no file.
    #[prost(string, tag = "5")]
    pub meta_range_id: String,
    /// The commit's own metadata.
    #[prost(btree_map = "string, string", tag = "6")]
    pub metadata: BTreeMap<String, String>,
    /// The parents; of a merge first the destination, then the source.
    #[prost(string, repeated, tag = "7")]
    pub parents: Vec<String>,
    /// 0: initial, 1: the order of parents is as said above.
    #[prost(int32, tag = "8")]
    pub version: i32,
    /// One more than the greatest of the parents'.
    #[prost(int32, tag = "9")]
    pub generation: i32,
}
