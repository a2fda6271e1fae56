//! Keys of the index: the shortest text between a block's last key and the next block's first.
//!
//! They are upper bounds of their blocks and need not be keys of the table.

use super::super::KEY_TRAILER_LEN;

/// The trailer of data keys: sequence number 0, kind 1 (set).
pub(crate) const SET: [u8; KEY_TRAILER_LEN] = [1, 0, 0, 0, 0, 0, 0, 0];
/// The trailer of a shortened index key: the greatest sequence number, kind 17 (separator).
const SEPARATOR: [u8; KEY_TRAILER_LEN] = [17, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/// The trailer of the key of a table without records: no valid key at all.
const INVALID: [u8; KEY_TRAILER_LEN] = [0xff, 0, 0, 0, 0, 0, 0, 0];

/// An index key in its two parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexKey {
    pub(crate) user: Vec<u8>,
    pub(crate) trailer: [u8; KEY_TRAILER_LEN],
}

impl IndexKey {
    /// The key of a block whose last key is `last` and after which a block with `next` starts.
    pub(crate) fn between(last: &[u8], next: &[u8]) -> Self {
        Self::shortened(last, separator(last, next))
    }

    /// The key of a table's last block.
    pub(crate) fn after(last: &[u8]) -> Self {
        Self::shortened(last, successor(last))
    }

    /// The key of the only block of a table without records.
    pub(crate) fn of_nothing() -> Self {
        Self { user: Vec::new(), trailer: INVALID }
    }

    /// The length with the trailer.
    pub(crate) fn len(&self) -> usize {
        self.user.len() + KEY_TRAILER_LEN
    }

    /// Only a text that is no longer than the key and above it takes the key's place.
    fn shortened(last: &[u8], user: Vec<u8>) -> Self {
        let trailer = if user.len() <= last.len() && *user > *last { SEPARATOR } else { SET };
        Self { user: if trailer == SEPARATOR { user } else { last.to_vec() }, trailer }
    }
}

/// A short text not below `a` and, if `a < b`, below `b`.
fn separator(a: &[u8], b: &[u8]) -> Vec<u8> {
    let shared = std::iter::zip(a, b).take_while(|(a, b)| a == b).count();
    let (Some(&in_a), Some(&in_b)) = (a.get(shared), b.get(shared)) else {
        return a.to_vec();
    };
    if in_a >= in_b {
        return a.to_vec();
    }
    if shared + 1 < b.len() || in_a + 1 < in_b {
        return cut_and_raised(a, shared);
    }
    // `b` ends here, one above `a`: only a later byte of `a` can be raised.
    match a[shared + 1..].iter().position(|&byte| byte != 0xff) {
        Some(after) => cut_and_raised(a, shared + 1 + after),
        None => a.to_vec(),
    }
}

/// A short text not below `a`.
fn successor(a: &[u8]) -> Vec<u8> {
    match a.iter().position(|&byte| byte != 0xff) {
        Some(at) => cut_and_raised(a, at),
        None => a.to_vec(),
    }
}

fn cut_and_raised(a: &[u8], at: usize) -> Vec<u8> {
    let mut out = a[..=at].to_vec();
    out[at] += 1;
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn between(a: &[u8], b: &[u8]) -> (Vec<u8>, bool) {
        let key = IndexKey::between(a, b);
        (key.user, key.trailer == SEPARATOR)
    }

    #[test]
    fn a_separator_is_cut_after_the_first_byte_that_can_be_raised() {
        for (a, b, expected) in [
            (&b"black"[..], &b"blue"[..], &b"blb"[..]),
            (b"1", b"2222", b"2"),
            (b"ab1", b"ab3", b"ab2"),
            (b"a5x", b"a6", b"a5y"),
            (b"a5\xff\xffx", b"a6", b"a5\xff\xffy"),
            (b"a5x", b"a6b", b"a6"),
            (b"key/1", b"key/3/part", b"key/2"),
        ] {
            assert_eq!(between(a, b), (expected.to_vec(), true), "{} {}", a.escape_ascii(), b.escape_ascii());
        }
    }

    #[test]
    fn without_a_shorter_text_the_last_key_stays_as_it_is() {
        for (a, b) in [(&b"ab1"[..], &b"ab2"[..]), (b"ab", b"abc"), (b"a\xff\xff", b"b"), (b"1\xff", b"2"), (b"", b"1")] {
            assert_eq!(between(a, b), (a.to_vec(), false), "{} {}", a.escape_ascii(), b.escape_ascii());
        }
    }

    #[test]
    fn the_last_block_is_under_its_first_byte_raised() {
        let after = |a: &[u8]| {
            let key = IndexKey::after(a);
            (key.user, key.trailer == SEPARATOR)
        };
        assert_eq!(after(b"green"), (b"h".to_vec(), true));
        assert_eq!(after(b"\xffgreen"), (b"\xffh".to_vec(), true));
        assert_eq!(after(b"\xff\xff"), (b"\xff\xff".to_vec(), false));
        assert_eq!(IndexKey::of_nothing(), IndexKey { user: vec![], trailer: INVALID });
    }

    proptest! {
        #[test]
        fn a_separator_is_an_upper_bound_below_the_next_key(a: Vec<u8>, b: Vec<u8>) {
            prop_assume!(a < b);
            let (key, _) = between(&a, &b);
            prop_assert!(a <= key && key < b && key.len() <= a.len().max(1));
        }
    }
}
