//! SSTables in the format that lakeFS writes (`RocksDB` version 2, as Pebble writes it).
//!
//! ```text
//! ┌────────────┬───┬────────────┬──────────────┬───────┬────────────┬───────────┬────────┐
//! │ data block │ … │ data block │ partitions … │ index │ properties │ metaindex │ footer │
//! └────────────┴───┴────────────┴──────────────┴───────┴────────────┴───────────┴────────┘
//!        ▲                             │ ▲         │          ▲          │ ▲        │ │
//!        └─────────────────────────────┘ └─────────┘          └──────────┘ └────────┘ └▶ index
//! ```
//!
//! Partitions exist only when the index does not fit one block. Each block carries its compression
//! and a CRC-32C; both are checked before a byte of it is believed. A file is refused with an error
//! that names it and the byte, never with a panic, and nothing is allocated that the file's own
//! size does not justify. Files that `RocksDB` made in this format are read as well.
//! What a [`TableWriter`] writes equals what lakeFS writes for the same records, byte for byte.

pub(crate) mod block;
pub(crate) mod compression;
pub(crate) mod cursor;
pub(crate) mod footer;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod loaded;
pub(crate) mod properties;
pub(crate) mod reader;
pub(crate) mod source;
pub(crate) mod writer;

pub use block::Block;
pub use cursor::Cursor;
pub use loaded::{LoadedTable, Records};
pub use properties::Properties;
pub use reader::{KeyValue, Scan, Table};
pub use source::{MemoryFile, ReadAt, StoreFile};
pub use writer::{FinishedTable, MAX_KEY_LEN, TableProperties, TableWriter};

/// The compression byte and the CRC-32C after each block's payload.
pub(crate) const BLOCK_TRAILER_LEN: usize = 5;
/// The sequence number and kind after each key of data and index blocks.
pub(crate) const KEY_TRAILER_LEN: usize = 8;
/// No block may claim to decompress to more than this.
pub(crate) const MAX_BLOCK_LEN: usize = 64 << 20;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
