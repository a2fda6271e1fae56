//! The lakeFS metadata format: SSTables, ranges, metaranges, refs dumps and commits over any
//! object store.
//!
//! ```text
//!   refs dump ─▶ commit ─▶ metarange            the ranges of a commit, sorted and disjoint
//!                          ┌────────┬────────┬────────┐
//!                          │ a … f  │ g … p  │ q … z  │
//!                          └───┬────┴───┬────┴───┬────┘
//!                              ▼        ▼        ▼
//!                           range     range    range       one SSTable each: `_lakefs/<id>`
//!                         ┌──┬──┬──┐
//!                         │  │  │  │                       blocks of about 4 KiB
//!                         └──┴─┬┴──┘
//!                              ▼
//!                     key ─▶ identity, entry               equal identities: equal objects
//! ```
//!
//! Files are named by the hash of their records: two commits that name the same range share its
//! records, and nothing has to be read to know it. Start with a [`Namespace`]; find a commit by a
//! [`RefsDump`] or elsewhere; list its [`Metarange`]; read a range by a [`RangeReader`], or look one
//! key up. Everything that is read is checked, and what is wrong is an [`Error`] that names the
//! file, the byte and the expectation.
//!
//! What is written equals what today's lakeFS writes for the same records, byte for byte. A
//! [`MetarangeWriter`] makes a tree of sorted records; a [`TreeMerge`] makes the next tree of a tree
//! and changes, and reuses the ranges that they leave alone; a [`ThreeWay`] finds the changes that
//! bring one branch's work to another; [`write_refs`] makes commits, branches and tags restorable.

pub mod content_id;
mod counters;
mod cursor;
pub mod encode;
mod entry_ref;
mod error;
mod files;
pub mod ident;
mod lookup;
mod merge;
mod metarange;
mod metarange_writer;
mod namespace;
pub mod proto;
mod range;
mod range_writer;
mod refs;
mod sink;
pub mod sstable;
mod three_way;
pub mod value;
mod varint;

pub use counters::{Counters, Counts};
pub use entry_ref::{EntryRef, MetadataIter};
pub use error::{Error, ErrorKind, Result};
pub use files::{FileKind, METADATA_FOLDER, MetadataFiles, REFS_MANIFEST, StoreFiles};
pub use merge::{Applied, Change, ChangeCounts, Prefixes, TreeMerge};
pub use metarange::{Metarange, is_id};
pub use metarange_writer::{MetarangeWriter, WriteCounts, WriteOptions, WrittenTree};
pub use namespace::Namespace;
pub use proto::{AddressType, BranchData, CommitData, Entry, RangeData, TagData, Timestamp};
pub use range::{RangeInfo, RangeReader, Record};
pub use range_writer::{RangeBreaker, RangeWriter};
pub use refs::{Entity, Refs, RefsDump, RefsManifest, write_refs};
pub use sink::{MetadataSink, StoreSink, Stored};
pub use three_way::{Conflict, Merged, Strategy, ThreeWay, ThreeWayStep};
