//! The parts of a file that must be known before its records: footer, properties, index.
//!
//! They lie at the end of a file, so they are parsed from its tail. If a part lies before the tail
//! that is at hand, [`Layout::parse`] says how much is missing; parsing itself does no I/O.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Keys, Place};
use super::footer::{FOOTER_LEN, Footer, Handle};
use super::properties::Properties;
use super::source::index;
use crate::error::Result;

const PROPERTIES: &[u8] = b"rocksdb.properties";
/// Their name in early files, which `RocksDB` still accepts.
const PROPERTIES_OLD: &[u8] = b"rocksdb.stats";

/// The bytes of a file from `start` to its end.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) start: u64,
    pub(crate) bytes: Bytes,
}

impl Tail {
    /// A stored block, if the tail holds all of it.
    pub(crate) fn part(&self, handle: Handle) -> Option<Bytes> {
        let start = index(handle.offset.checked_sub(self.start)?);
        let end = index(handle.end() - self.start);
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// What parsing a tail came to.
pub(crate) enum Parsed {
    Whole(Layout),
    /// The tail must start here at the latest.
    Widen(u64),
}

/// Everything but the records.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) file: Arc<str>,
    /// Where the footer starts: no block reaches beyond.
    pub(crate) limit: u64,
    pub(crate) properties: Properties,
    pub(crate) root: Block,
    pub(crate) two_level: bool,
}

impl Layout {
    pub(crate) fn parse(file: &Arc<str>, size: u64, tail: &Tail) -> Result<Parsed> {
        let footer = Footer::parse(file, size, &tail.bytes)?;
        let limit = size - FOOTER_LEN as u64;
        let Some(metaindex) = tail.part(footer.metaindex) else {
            return Ok(Parsed::Widen(footer.metaindex.offset.min(footer.index.offset)));
        };
        let place = |handle: Handle| Place { file: Arc::clone(file), offset: handle.offset };
        let metaindex = Block::open(&metaindex, Keys::Plain, place(footer.metaindex))?;
        let properties = match find_properties(&metaindex, limit)? {
            None => Properties::default(),
            Some(handle) => match tail.part(handle) {
                None => return Ok(Parsed::Widen(handle.offset.min(footer.index.offset))),
                Some(stored) => Properties::read(&Block::open(&stored, Keys::Plain, place(handle))?)?,
            },
        };
        let Some(root) = tail.part(footer.index) else {
            return Ok(Parsed::Widen(footer.index.offset));
        };
        let two_level = properties.two_level_index(&place(footer.metaindex))?;
        Ok(Parsed::Whole(Self {
            file: Arc::clone(file),
            limit,
            properties,
            root: Block::open(&root, Keys::Internal, place(footer.index))?,
            two_level,
        }))
    }

    pub(crate) fn place(&self, handle: Handle) -> Place {
        Place { file: Arc::clone(&self.file), offset: handle.offset }
    }
}

/// Other entries (filters, range deletions) are passed over.
fn find_properties(metaindex: &Block, limit: u64) -> Result<Option<Handle>> {
    let mut cursor = metaindex.cursor();
    while cursor.advance()? {
        if cursor.key() == PROPERTIES || cursor.key() == PROPERTIES_OLD {
            return Handle::read_whole(cursor.value(), limit, cursor.place()).map(Some);
        }
    }
    Ok(None)
}
