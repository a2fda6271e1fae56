//! The footer: the last 53 bytes of a file, which say where the rest is.
//!
//! ```text
//! checksum type (1) │ metaindex handle │ index handle │ zeros … │ version (u32 LE) │ magic (8)
//! ```

use std::sync::Arc;

use super::BLOCK_TRAILER_LEN;
use super::block::{Place, le_u32};
use crate::error::{Error, ErrorKind, Result};
use crate::varint::{put_uvarint, read_uvarint};

/// The length of the footer.
pub(crate) const FOOTER_LEN: usize = 53;
/// Where the handles must have ended.
const HANDLES_END: usize = 41;
/// The last bytes of every file read here.
pub(crate) const MAGIC: [u8; 8] = [0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88];
const LEVELDB_MAGIC: [u8; 8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
const PEBBLE_MAGIC: [u8; 8] = [0xf0, 0x9f, 0xaa, 0xb3, 0xf0, 0x9f, 0xaa, 0xb3];
/// The version of the table format.
pub(crate) const VERSION: u32 = 2;
/// The checksum type of every file read here.
pub(crate) const CHECKSUM_CRC32C: u8 = 1;

/// Where a block lies: the length is that of its payload, without compression byte and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Handle {
    /// Reads a handle that must lie before `limit`; also says how many bytes it took.
    pub(crate) fn read(bytes: &[u8], limit: u64, place: &Place) -> Result<(Self, usize)> {
        let parsed = read_uvarint(bytes).and_then(|(offset, a)| {
            let (length, b) = read_uvarint(&bytes[a..])?;
            Some((Self { offset, length }, a + b))
        });
        let Some((handle, used)) = parsed else {
            return Err(place.corrupt("expected the handle of a block, found no two numbers"));
        };
        match handle.checked_end() {
            Some(end) if end <= limit => Ok((handle, used)),
            _ => Err(place.corrupt(format!(
                "expected a block before byte {limit}, found a handle to {} bytes at {}",
                handle.length, handle.offset
            ))),
        }
    }

    /// Reads a handle that fills `bytes`.
    pub(crate) fn read_whole(bytes: &[u8], limit: u64, place: &Place) -> Result<Self> {
        let (handle, used) = Self::read(bytes, limit, place)?;
        if used != bytes.len() {
            return Err(place.corrupt(format!("expected a handle of {used} bytes, found {} bytes", bytes.len())));
        }
        Ok(handle)
    }

    /// The handle as an index holds it.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_uvarint(&mut out, self.offset);
        put_uvarint(&mut out, self.length);
        out
    }

    /// Where the stored block ends, checksum included. Handles that were read fit their file.
    pub(crate) fn end(self) -> u64 {
        self.checked_end().unwrap_or(u64::MAX)
    }

    fn checked_end(self) -> Option<u64> {
        self.offset.checked_add(self.length)?.checked_add(BLOCK_TRAILER_LEN as u64)
    }
}

/// The two handles that everything else is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footer {
    pub(crate) metaindex: Handle,
    pub(crate) index: Handle,
}

impl Footer {
    /// The footer as a file holds it.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![CHECKSUM_CRC32C];
        out.extend(self.metaindex.encode());
        out.extend(self.index.encode());
        out.resize(HANDLES_END, 0);
        out.extend(VERSION.to_le_bytes());
        out.extend(MAGIC);
        out
    }

    /// Reads the footer from the last bytes of a file of `size` bytes.
    pub(crate) fn parse(file: &Arc<str>, size: u64, tail: &[u8]) -> Result<Self> {
        check_magic(file, size, tail)?;
        let Some(start) = tail.len().checked_sub(FOOTER_LEN) else {
            return Err(too_short(file, size));
        };
        let footer = &tail[start..];
        let limit = size - FOOTER_LEN as u64;
        let place = Place { file: Arc::clone(file), offset: limit };
        let version = le_u32(&footer[HANDLES_END..]);
        if version != VERSION {
            return Err(place.error(ErrorKind::Unsupported, format!("expected table format version {VERSION}, found {version}")));
        }
        check_checksum(footer[0], &place)?;
        let handles = &footer[1..HANDLES_END];
        let (metaindex, used) = Handle::read(handles, limit, &place)?;
        let (index, _) = Handle::read(&handles[used..], limit, &place)?;
        Ok(Self { metaindex, index })
    }
}

fn check_magic(file: &Arc<str>, size: u64, tail: &[u8]) -> Result<()> {
    let Some(start) = tail.len().checked_sub(MAGIC.len()) else {
        return Err(too_short(file, size));
    };
    let magic = &tail[start..];
    let (kind, found) = match magic {
        _ if magic == MAGIC => return Ok(()),
        _ if magic == LEVELDB_MAGIC => (ErrorKind::Unsupported, "a LevelDB footer".to_owned()),
        _ if magic == PEBBLE_MAGIC => (ErrorKind::Unsupported, "a Pebble footer".to_owned()),
        _ => (ErrorKind::Corrupt, format!("magic {}", hex::encode(magic))),
    };
    let message = format!("expected an SSTable with RocksDB magic {}, found {found}", hex::encode(MAGIC));
    Err(Error::new(kind, &**file, message).at(size - MAGIC.len() as u64))
}

fn too_short(file: &Arc<str>, size: u64) -> Error {
    Error::corrupt(&**file, format!("expected an SSTable of at least {FOOTER_LEN} bytes, found {size} bytes")).at(0)
}

fn check_checksum(kind: u8, place: &Place) -> Result<()> {
    let found = match kind {
        CHECKSUM_CRC32C => return Ok(()),
        0 => "0 (none)".to_owned(),
        2 => "2 (xxHash)".to_owned(),
        3 => "3 (xxHash64)".to_owned(),
        4 => "4 (XXH3)".to_owned(),
        other => return Err(place.corrupt(format!("expected checksum type 1 (CRC-32C), found {other}"))),
    };
    Err(place.error(ErrorKind::Unsupported, format!("expected checksum type 1 (CRC-32C), found {found}")))
}
