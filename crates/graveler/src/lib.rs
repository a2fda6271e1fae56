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

pub mod content_id;
mod counters;
mod entry_ref;
mod error;
mod files;
pub mod ident;
mod lookup;
mod metarange;
mod namespace;
pub mod proto;
mod range;
mod refs;
pub mod sstable;
pub mod value;
mod varint;

pub use counters::{Counters, Counts};
pub use entry_ref::{EntryRef, MetadataIter};
pub use error::{Error, ErrorKind, Result};
pub use files::{FileKind, METADATA_FOLDER, MetadataFiles, REFS_MANIFEST, StoreFiles};
pub use metarange::{Metarange, is_id};
pub use namespace::Namespace;
pub use proto::{AddressType, BranchData, CommitData, Entry, RangeData, TagData, Timestamp};
pub use range::{RangeInfo, RangeReader, Record};
pub use refs::{Entity, RefsDump, RefsManifest};
