//! One block in the making: prefix compression, restart points, and the rule when it is full.

use super::super::block::Keys;
use crate::varint::{put_uvarint, uvarint_len};

/// What a block should hold at most, in bytes before compression.
const TARGET: usize = 4096;
/// Below this many bytes (90 % of the target) a block takes another record whatever its length.
const THRESHOLD: usize = 3687;

/// The restart interval of blocks that share no prefixes.
pub(crate) const NO_SHARING: usize = 1;
/// The restart interval of the block of properties: its only restart is its start.
pub(crate) const ONE_RESTART: usize = usize::MAX;

/// Collects records, which must come in key order.
#[derive(Clone, Debug)]
pub(crate) struct BlockBuilder {
    contents: Vec<u8>,
    restarts: Vec<u32>,
    interval: usize,
    count: usize,
    /// The last record's key with its trailer. It outlives [`BlockBuilder::clear`].
    last_key: Vec<u8>,
    keys: Keys,
}

impl BlockBuilder {
    /// An empty block whose every `interval`th key is stored whole.
    pub(crate) fn new(interval: usize, keys: Keys) -> Self {
        Self { contents: Vec::new(), restarts: Vec::new(), interval, count: 0, last_key: Vec::new(), keys }
    }

    /// Adds a record; `trailer` is empty in blocks of plain keys.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], trailer: &[u8], value: &[u8]) {
        debug_assert_eq!(trailer.len(), self.keys.trailer_len());
        let shared = if self.count.is_multiple_of(self.interval) {
            self.restarts.push(offset(self.contents.len()));
            0
        } else {
            // Never into the new key's trailer, but the key before is compared with its own.
            shared_len(&self.last_key, key)
        };
        let fresh = &key[shared..];
        put_uvarint(&mut self.contents, shared as u64);
        put_uvarint(&mut self.contents, (fresh.len() + trailer.len()) as u64);
        put_uvarint(&mut self.contents, value.len() as u64);
        self.contents.extend_from_slice(fresh);
        self.contents.extend_from_slice(trailer);
        self.contents.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(fresh);
        self.last_key.extend_from_slice(trailer);
        self.count += 1;
    }

    /// Whether the block must be closed before a record with such a key (trailer included) and such
    /// a value. `value_len` may be an estimate.
    #[inline]
    pub(crate) fn is_full_for(&self, key_len: usize, value_len: usize) -> bool {
        if self.count == 0 {
            return false;
        }
        let now = self.estimated_size();
        if now >= TARGET || now <= THRESHOLD {
            return now >= TARGET;
        }
        let restart = if self.count.is_multiple_of(self.interval) { 4 } else { 0 };
        let lengths = 4 + uvarint_len(key_len as u64) + uvarint_len(value_len as u64);
        now + key_len + value_len + restart + lengths > TARGET
    }

    /// The length that the contents would have if the block were closed now.
    #[inline]
    pub(crate) fn estimated_size(&self) -> usize {
        self.contents.len() + 4 * self.restarts.len() + 4
    }

    /// The number of records.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The key of the last record, without its trailer; also after [`BlockBuilder::clear`].
    #[inline]
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key[..self.last_key.len().saturating_sub(self.keys.trailer_len())]
    }

    /// The key of the last record as stored, with its trailer.
    pub(crate) fn last_stored_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Appends the restart points. Nothing may be added until [`BlockBuilder::clear`].
    pub(crate) fn finish(&mut self) -> &[u8] {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        for restart in &self.restarts {
            self.contents.extend_from_slice(&restart.to_le_bytes());
        }
        self.contents.extend_from_slice(&offset(self.restarts.len()).to_le_bytes());
        &self.contents
    }

    /// Starts the next block.
    pub(crate) fn clear(&mut self) {
        self.contents.clear();
        self.restarts.clear();
        self.count = 0;
    }
}

/// Blocks end far below 4 GiB: the longest record is some 80 MiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How many bytes two keys have in common from their start.
#[inline]
fn shared_len(a: &[u8], b: &[u8]) -> usize {
    let mut len = 0;
    for (a, b) in std::iter::zip(a.as_chunks::<8>().0, b.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return len + (differ.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + std::iter::zip(&a[len..], &b[len..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_block_is_one_restart_and_its_number() {
        let mut block = BlockBuilder::new(16, Keys::Internal);
        assert_eq!(block.estimated_size(), 4);
        assert_eq!(block.finish(), [0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn every_interval_the_key_is_stored_whole() {
        let mut block = BlockBuilder::new(2, Keys::Plain);
        for key in ["aa", "ab", "ac"] {
            block.add(key.as_bytes(), b"", b"v");
        }
        let estimated = block.estimated_size();
        let expected = [&b"\x00\x02\x01aav\x01\x01\x01bv\x00\x02\x01acv"[..], &[0, 0, 0, 0, 11, 0, 0, 0, 2, 0, 0, 0]].concat();
        assert_eq!(block.finish(), expected);
        assert_eq!(expected.len(), estimated);
    }

    #[test]
    fn a_key_may_share_bytes_of_the_trailer_before_it_and_none_of_its_own() {
        let mut block = BlockBuilder::new(16, Keys::Internal);
        block.add(b"a", &[1, 0, 0, 0, 0, 0, 0, 0], b"");
        block.add(b"a\x01", &[1, 0, 0, 0, 0, 0, 0, 0], b"");
        assert_eq!(block.contents[12..], [2, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(block.last_key(), b"a\x01");
    }

    #[test]
    fn a_block_is_full_at_the_target_or_when_the_next_record_passes_it() {
        let mut block = BlockBuilder::new(16, Keys::Plain);
        assert!(!block.is_full_for(1_000_000, 1_000_000), "an empty block takes anything");
        block.add(b"k", b"", &[0; THRESHOLD - 13]);
        assert_eq!(block.estimated_size(), THRESHOLD);
        assert!(!block.is_full_for(1_000, 4_000), "at the threshold it still takes anything");
        block.add(b"l", b"", b"");
        let room = TARGET - block.estimated_size();
        assert!(!block.is_full_for(10, room - 10 - 7));
        assert!(block.is_full_for(10, room - 10 - 6));
        block.add(b"m", b"", &vec![0; room]);
        assert!(block.is_full_for(0, 0));
    }

    proptest! {
        #[test]
        fn what_keys_share_is_counted_as_byte_by_byte(a in "[ab]{0,40}", b in "[ab]{0,40}", same in "[ab]{0,40}") {
            let (a, b) = (same.clone() + &a, same + &b);
            let slow = std::iter::zip(a.bytes(), b.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(shared_len(a.as_bytes(), b.as_bytes()), slow);
        }
    }
}
