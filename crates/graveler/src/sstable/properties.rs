//! The properties of a file: what its writer said about it.
//!
//! lakeFS adds `type`, `min_key`, `max_key`, `count` and `estimated_size_bytes`, and in refs dumps
//! `entity`, `schema_name` and `schema_definition`. Old files have wrong `min_key`s: nothing here
//! relies on them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::block::{Block, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::varint::read_uvarint;

/// `ranges` or `metaranges`.
pub(crate) const TYPE: &str = "type";
/// `commit`, `branch` or `tag`; in refs dumps only.
pub(crate) const ENTITY: &str = "entity";
/// The message that a refs dump holds, by name and by fields.
pub(crate) const SCHEMA_NAME: &str = "schema_name";
pub(crate) const SCHEMA_DEFINITION: &str = "schema_definition";
/// What lakeFS adds after it has made the file's id.
pub(crate) const NOT_IN_ID: [&str; 4] = ["min_key", "max_key", "count", "estimated_size_bytes"];

const ROCKSDB_PREFIX: &[u8] = b"rocksdb.";
const INDEX_TYPE: &str = "rocksdb.block.based.table.index.type";
const NUM_ENTRIES: &str = "rocksdb.num.entries";
const KEY_IS_USER_KEY: &str = "rocksdb.index.key.is.user.key";
const DELTA_ENCODED: &str = "rocksdb.index.value.is.delta.encoded";

/// More properties than this, or longer names, have no use; a damaged block could claim names that
/// together are much larger than the block.
const MAX_PROPERTIES: usize = 1_000;
const MAX_NAME_LEN: usize = 1_000;

/// The properties of a file, by name.
#[derive(Clone, Debug, Default)]
pub struct Properties(BTreeMap<Vec<u8>, Bytes>);

impl Properties {
    pub(crate) fn read(block: &Block) -> Result<Self> {
        let mut properties = BTreeMap::new();
        let mut cursor = block.cursor();
        while cursor.advance()? {
            if properties.len() == MAX_PROPERTIES || cursor.key().len() > MAX_NAME_LEN {
                return Err(cursor.place().corrupt(format!(
                    "expected at most {MAX_PROPERTIES} properties with names of at most \
                     {MAX_NAME_LEN} bytes, found more"
                )));
            }
            // A copy, so that the file's bytes need not live as long as its properties.
            let value = Bytes::copy_from_slice(cursor.value());
            properties.insert(cursor.key().to_vec(), value);
        }
        Ok(Self(properties))
    }

    /// A property as it lies in the file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name.as_bytes()).map(|value| &**value)
    }

    /// A property as text, bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        Some(String::from_utf8_lossy(self.get(name)?).into_owned())
    }

    /// The properties that lakeFS added, not those of every table.
    pub fn user(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().filter(|(name, _)| !name.starts_with(ROCKSDB_PREFIX)).map(|(name, value)| (&**name, &**value))
    }

    /// How many records the file holds, if its writer said so.
    #[must_use]
    pub fn num_entries(&self) -> Option<u64> {
        self.number(NUM_ENTRIES)
    }

    /// Whether index entries lead to further index blocks; fails for indexes that are not read here.
    pub(crate) fn two_level_index(&self, place: &Place) -> Result<bool> {
        for name in [KEY_IS_USER_KEY, DELTA_ENCODED] {
            if self.number(name).unwrap_or(0) != 0 {
                return Err(unsupported(place, &format!("{name} 0"), "1"));
            }
        }
        match self.get(INDEX_TYPE) {
            None | Some([0 | 1, 0, 0, 0]) => Ok(false),
            Some([2, 0, 0, 0]) => Ok(true),
            Some(other) => Err(unsupported(place, "index type 0 (one level) or 2 (two levels)", &hex::encode(other))),
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        Some(read_uvarint(self.get(name)?)?.0)
    }
}

fn unsupported(place: &Place, expected: &str, found: &str) -> Error {
    place.error(ErrorKind::Unsupported, format!("expected {expected}, found {found}"))
}
