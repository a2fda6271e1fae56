//! One block: checked, decompressed, ready to be walked.
//!
//! ```text
//! payload:  entry … entry │ restart offsets (u32 LE) … │ their number (u32 LE)
//! stored:   payload, compressed or not │ compression (1 byte) │ masked CRC-32C (u32 LE)
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::compression::decompress;
use super::cursor::Cursor;
use super::{BLOCK_TRAILER_LEN, KEY_TRAILER_LEN};
use crate::error::{Error, ErrorKind, Result};

const CRC_MASK_DELTA: u32 = 0xa282_ead8;

/// A file and a position in it, for errors.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
}

impl Place {
    pub(crate) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, &*self.file, message).at(self.offset)
    }

    pub(crate) fn corrupt(&self, message: impl Into<String>) -> Error {
        self.error(ErrorKind::Corrupt, message)
    }
}

/// What the keys of a block look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Keys of properties and of the metaindex.
    Plain,
    /// Keys of data and index blocks: user key, then sequence number and kind.
    Internal,
}

impl Keys {
    pub(crate) fn trailer_len(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Internal => KEY_TRAILER_LEN,
        }
    }
}

/// The checksum of a stored block as the file holds it; `bytes` are its payload and compression.
pub(crate) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(CRC_MASK_DELTA)
}

/// A decompressed block. Cloning and making cursors copies none of its records.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) contents: Bytes,
    /// Where the entries end and the restart offsets start.
    pub(crate) entries_end: usize,
    pub(crate) restarts: usize,
    pub(crate) keys: Keys,
    pub(crate) place: Place,
    /// Where cursors start: an entry, and a key that holds what that entry shares.
    pub(crate) start: usize,
    pub(crate) start_key: Vec<u8>,
}

impl Block {
    /// Checks and opens what lies in the file: payload, compression, checksum.
    pub(crate) fn open(stored: &Bytes, keys: Keys, place: Place) -> Result<Self> {
        let Some(payload_len) = stored.len().checked_sub(BLOCK_TRAILER_LEN) else {
            return Err(place.corrupt(format!("expected a block of at least 5 bytes, found {}", stored.len())));
        };
        let (checked, crc) = stored.split_at(payload_len + 1);
        let (found, expected) = (masked_crc(checked), le_u32(crc));
        if found != expected {
            return Err(
                place.corrupt(format!("expected a block of {payload_len} bytes with checksum {expected:08x}, found {found:08x}"))
            );
        }
        let contents = decompress(checked[payload_len], stored.slice(..payload_len), &place)?;
        Self::from_contents(contents, keys, place)
    }

    /// Opens decompressed contents.
    pub(crate) fn from_contents(contents: Bytes, keys: Keys, place: Place) -> Result<Self> {
        let len = contents.len();
        let Some(before_count) = len.checked_sub(4) else {
            return Err(place.corrupt(format!("expected a block of at least 8 bytes, found {len}")));
        };
        let restarts = le_u32(&contents[before_count..]) as usize;
        let entries_end = restarts.checked_mul(4).and_then(|restarts| before_count.checked_sub(restarts));
        match entries_end {
            Some(entries_end) if restarts > 0 => {
                Ok(Self { contents, entries_end, restarts, keys, place, start: 0, start_key: Vec::new() })
            }
            _ => {
                Err(place
                    .corrupt(format!("expected 1 or more restart offsets that fit a block of {len} bytes, found {restarts}")))
            }
        }
    }

    /// Walks the records, from the first (or the first that the scan asked for).
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self)
    }

    /// Where in the file the block lies.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.place.offset
    }
}

pub(crate) fn le_u32(bytes: &[u8]) -> u32 {
    match bytes {
        [a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}
