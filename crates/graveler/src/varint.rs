//! Variable-length integers as protobuf, Go and `RocksDB` write them: seven bits a byte, low first.
//!
//! Readers return `None` for a number that is cut off or does not fit 64 bits, and never panic.

/// A number and how many bytes it took.
#[inline]
pub(crate) fn read_uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes {
        [a, ..] if *a < 0x80 => Some((u64::from(*a), 1)),
        [a, b, ..] if *b < 0x80 => Some((u64::from(*a & 0x7f) | u64::from(*b) << 7, 2)),
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// A signed number in zig-zag form (Go's `PutVarint`) and how many bytes it took.
#[inline]
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(i64, usize)> {
    let (raw, used) = read_uvarint(bytes)?;
    Some(((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed(), used))
}

/// How many bytes a number takes.
#[inline]
pub(crate) fn uvarint_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a number.
#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a signed number in zig-zag form.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lengths_of_identities_read_as_go_writes_them() {
        assert_eq!(read_varint(&[0x40]), Some((32, 1)));
        assert_eq!(read_varint(&[0x80, 0x01]), Some((64, 2)));
    }

    #[test]
    fn a_number_that_is_cut_off_or_too_large_is_none() {
        assert_eq!(read_uvarint(&[]), None);
        assert_eq!(read_uvarint(&[0x80, 0x80]), None);
        assert_eq!(read_uvarint(&[0xff; 11]), None);
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(read_uvarint(&largest), Some((u64::MAX, 10)));
        largest[9] = 2;
        assert_eq!(read_uvarint(&largest), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any::<u64>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            prop_assert_eq!(read_uvarint(&out), Some((value, out.len())));
            prop_assert_eq!(uvarint_len(value), out.len());
            out.clear();
            put_varint(&mut out, signed);
            prop_assert_eq!(read_varint(&out), Some((signed, out.len())));
        }
    }
}
