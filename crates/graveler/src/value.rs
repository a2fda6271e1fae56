//! Framed values: every record of a range or metarange holds an identity and data, each with its
//! length before it (a zig-zag varint, as Go's `PutVarint` writes it). Bytes after the data are
//! ignored, as lakeFS ignores them.

use crate::error::{Error, Result};
use crate::varint::{put_varint, read_varint};

/// The most that lakeFS accepts for an identity or for data.
pub const MAX_COMPONENT_LEN: usize = 640 << 16;

/// Splits a framed value into the identity and the data.
///
/// The error names no file: add it with [`Error::in_file`].
#[inline]
pub fn split(value: &[u8]) -> Result<(&[u8], &[u8])> {
    let ((start, end), (data_start, data_end)) = bounds(value)?;
    Ok((&value[start..end], &value[data_start..data_end]))
}

/// Where identity and data lie in a framed value.
#[inline]
pub(crate) fn bounds(value: &[u8]) -> Result<((usize, usize), (usize, usize))> {
    let identity = component(value, 0, "identity")?;
    let data = component(value, identity.1, "data")?;
    Ok((identity, data))
}

#[inline]
fn component(value: &[u8], at: usize, what: &'static str) -> Result<(usize, usize)> {
    let Some((len, used)) = read_varint(&value[at..]) else {
        return Err(bad(at, what, "no length"));
    };
    let start = at + used;
    match usize::try_from(len) {
        Ok(len) if len <= MAX_COMPONENT_LEN && len <= value.len() - start => Ok((start, start + len)),
        _ => Err(bad(at, what, &format!("length {len} of {} bytes", value.len() - start))),
    }
}

#[cold]
fn bad(at: usize, what: &str, found: &str) -> Error {
    Error::corrupt("(value)", format!("expected a framed value with the length of its {what} at byte {at} of it, found {found}"))
}

/// Appends the framed value of `identity` and `data` to `out`.
pub fn frame(identity: &[u8], data: &[u8], out: &mut Vec<u8>) {
    for part in [identity, data] {
        put_varint(out, (part.len() as u64).cast_signed());
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_after_the_data_are_ignored() {
        let mut value = Vec::new();
        frame(b"id", b"data", &mut value);
        value.extend_from_slice(b"later versions may add this");
        assert_eq!(split(&value).unwrap(), (&b"id"[..], &b"data"[..]));
    }

    #[test]
    fn a_length_beyond_the_value_or_below_zero_is_refused_by_name() {
        let error = split(&[0x02, b'i', 0x10, b'd']).unwrap_err();
        assert_eq!(
            error.message(),
            "expected a framed value with the length of its data at byte 2 of it, found length 8 of 1 bytes"
        );
        assert!(split(&[0x01]).unwrap_err().message().contains("length -1"));
        assert!(split(&[]).unwrap_err().message().contains("no length"));
    }

    proptest! {
        #[test]
        fn what_is_framed_splits_into_the_same(identity: Vec<u8>, data: Vec<u8>) {
            let mut value = Vec::new();
            frame(&identity, &data, &mut value);
            prop_assert_eq!(split(&value).unwrap(), (&identity[..], &data[..]));
        }

        #[test]
        fn any_bytes_split_or_fail_without_a_panic(bytes: Vec<u8>) {
            if let Ok((identity, data)) = split(&bytes) {
                prop_assert!(identity.len() + data.len() + 2 <= bytes.len());
            }
        }
    }
}
