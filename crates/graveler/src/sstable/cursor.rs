//! Walking the records of a block.
//!
//! The cursor lends the key and the value of the record it stands on and allocates nothing per
//! record. It checks what it walks: lengths, and that keys strictly increase, so that a merge may
//! rely on the order.

use std::fmt;

use bytes::Bytes;

use super::block::{Block, Place, le_u32};
use crate::error::{Error, Result};
use crate::varint::read_uvarint;

/// A lending cursor over a block: `while cursor.advance()? { … cursor.key() … }`.
///
/// It starts before the first record. It owns its block, so that it can be kept beside the scan
/// that made it.
#[derive(Clone)]
pub struct Cursor {
    contents: Bytes,
    entries_end: usize,
    restarts: usize,
    trailer: usize,
    /// Where the current record starts, and where the next one does.
    entry: usize,
    next: usize,
    key: Vec<u8>,
    value: (usize, usize),
    /// Whether `key` is that of a record before `next`, and not just its shared bytes.
    standing: bool,
    place: Place,
}

/// The three lengths before each record, and how many bytes they take.
struct Head {
    shared: usize,
    fresh: usize,
    value: usize,
    len: usize,
}

impl Head {
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let (shared, a) = read_uvarint(bytes)?;
        let (fresh, b) = read_uvarint(&bytes[a..])?;
        let (value, c) = read_uvarint(&bytes[a + b..])?;
        Some(Self {
            shared: u32::try_from(shared).ok()? as usize,
            fresh: u32::try_from(fresh).ok()? as usize,
            value: u32::try_from(value).ok()? as usize,
            len: a + b + c,
        })
    }
}

impl Cursor {
    pub(crate) fn new(block: &Block) -> Self {
        Self {
            contents: block.contents.clone(),
            entries_end: block.entries_end,
            restarts: block.restarts,
            trailer: block.keys.trailer_len(),
            entry: block.start,
            next: block.start,
            key: block.start_key.clone(),
            value: (0, 0),
            standing: false,
            place: block.place.clone(),
        }
    }

    /// A cursor over nothing.
    pub(crate) fn empty(place: Place) -> Self {
        Self {
            contents: Bytes::new(),
            entries_end: 0,
            restarts: 0,
            trailer: 0,
            entry: 0,
            next: 0,
            key: Vec::new(),
            value: (0, 0),
            standing: false,
            place,
        }
    }

    /// Moves to the next record; `false` after the last, where the cursor stays on that record.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        let entries = &self.contents[..self.entries_end];
        let rest = &entries[self.next..];
        if rest.is_empty() {
            return Ok(false);
        }
        let Some(head) = Head::read(rest) else {
            return Err(self.broken("the lengths of a record"));
        };
        let Some(record) = rest.get(head.len..head.len + head.fresh + head.value) else {
            return Err(self.broken("a record that ends within the block"));
        };
        let fresh = &record[..head.fresh];
        if head.shared > self.key.len() || head.shared + head.fresh < self.trailer {
            return Err(self.broken("a key of fitting length"));
        }
        if self.standing && !self.increases(head.shared, fresh) {
            return Err(self.broken("a key greater than the one before"));
        }
        self.key.truncate(head.shared);
        self.key.extend_from_slice(fresh);
        let value = self.next + head.len + head.fresh;
        self.entry = self.next;
        self.next = value + head.value;
        self.value = (value, self.next);
        self.standing = true;
        Ok(true)
    }

    /// The key of the current record, without its trailer.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key[..self.key.len() - self.trailer.min(self.key.len())]
    }

    /// The value of the current record.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.contents[self.value.0..self.value.1]
    }

    /// The value of the current record, sharing the block's memory.
    #[must_use]
    pub fn value_bytes(&self) -> Bytes {
        self.contents.slice(self.value.0..self.value.1)
    }

    /// Moves to the first record with a key of at least `key`, forwards or backwards; `false` when
    /// the block holds none.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool> {
        if self.entries_end == 0 {
            return Ok(false);
        }
        let (mut low, mut high) = (0, self.restarts);
        while low < high {
            let middle = low.midpoint(high);
            if self.restart_key(middle)? < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.next = self.restart(low.saturating_sub(1))?;
        self.key.clear();
        self.standing = false;
        while self.advance()? {
            if self.key() >= key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Steps back, so that the next `advance` comes to the current record again.
    pub(crate) fn step_back(&mut self) {
        self.next = self.entry;
        self.standing = false;
    }

    /// Where the current record starts in the block, and the whole of its key.
    pub(crate) fn position(&self) -> (usize, Vec<u8>) {
        (self.entry, self.key.clone())
    }

    /// Whether it stands on a record.
    pub(crate) fn is_standing(&self) -> bool {
        self.standing
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the key made of `shared` bytes of the current one and `fresh` is greater than it.
    #[inline]
    fn increases(&self, shared: usize, fresh: &[u8]) -> bool {
        let user_end = self.key.len() - self.trailer;
        if shared <= user_end && fresh.len() >= self.trailer {
            // What both share cannot decide; the rest mostly does by its first byte.
            fresh[..fresh.len() - self.trailer] > self.key[shared..user_end]
        } else {
            let mut key = self.key[..shared].to_vec();
            key.extend_from_slice(fresh);
            key.len() >= self.trailer && key[..key.len() - self.trailer] > self.key[..user_end]
        }
    }

    fn restart(&self, number: usize) -> Result<usize> {
        let at = self.entries_end + 4 * number;
        let offset = le_u32(&self.contents[at..]) as usize;
        if offset >= self.entries_end {
            return Err(self.place.corrupt(format!(
                "expected restart {number} of the block before its byte {}, found {offset}",
                self.entries_end
            )));
        }
        Ok(offset)
    }

    fn restart_key(&self, number: usize) -> Result<&[u8]> {
        let entry = &self.contents[self.restart(number)?..self.entries_end];
        let key = Head::read(entry)
            .filter(|head| head.shared == 0 && head.fresh >= self.trailer)
            .and_then(|head| entry.get(head.len..head.len + head.fresh - self.trailer));
        key.ok_or_else(|| self.place.corrupt(format!("expected a whole key at restart {number} of the block, found none")))
    }

    #[cold]
    fn broken(&self, expected: &str) -> Error {
        self.place.corrupt(format!(
            "expected {expected} at byte {} of the {} bytes of the block, found none",
            self.next, self.entries_end
        ))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("place", &self.place)
            .field("next", &self.next)
            .field("key", &self.key.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

impl Block {
    /// The same block, with cursors starting at the first record of at least `key`; `None` when it
    /// holds none.
    pub(crate) fn starting_at(mut self, key: &[u8]) -> Result<Option<Self>> {
        let mut cursor = self.cursor();
        if !cursor.seek(key)? {
            return Ok(None);
        }
        (self.start, self.start_key) = cursor.position();
        Ok(Some(self))
    }
}
