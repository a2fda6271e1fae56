//! Compression of blocks: what the byte after each payload means.
//!
//! A length that a block claims to decompress to is believed only after it was compared with what
//! the compressed bytes can yield at most.

use std::io::Read;

use bytes::Bytes;

use super::MAX_BLOCK_LEN;
use super::block::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::varint::read_uvarint;

pub(crate) const NONE: u8 = 0;
pub(crate) const SNAPPY: u8 = 1;
pub(crate) const ZSTD: u8 = 7;

/// Snappy's densest element is a copy of 64 bytes in 3 bytes.
const SNAPPY_MAX_RATIO: usize = 22;
/// Zstandard's densest block repeats one byte 128 KiB times in 4 bytes.
const ZSTD_MAX_RATIO: usize = 32 << 10;
/// Zstandard knows no smaller windows than of 2^10 bytes.
const ZSTD_WINDOW_MIN: u64 = 1 << 10;

/// The contents of a block whose payload was stored with compression `kind`.
pub(crate) fn decompress(kind: u8, payload: Bytes, place: &Place) -> Result<Bytes> {
    match kind {
        NONE => Ok(payload),
        SNAPPY => snappy(&payload, place),
        ZSTD => zstd(&payload, place),
        other => {
            Err(place
                .error(ErrorKind::Unsupported, format!("expected compression 0 (none), 1 (snappy) or 7 (zstd), found {other}")))
        }
    }
}

fn snappy(payload: &[u8], place: &Place) -> Result<Bytes> {
    let len = snap::raw::decompress_len(payload)
        .map_err(|error| place.corrupt("expected a snappy block, found no length").caused_by(error))?;
    check_len(len as u64, payload.len(), SNAPPY_MAX_RATIO, "snappy", place)?;
    let mut contents = vec![0; len];
    let written = snap::raw::Decoder::new().decompress(payload, &mut contents);
    match written {
        Ok(written) if written == len => Ok(Bytes::from(contents)),
        Ok(written) => Err(place.corrupt(format!("expected {len} bytes from snappy, found {written}"))),
        Err(error) => Err(place.corrupt(format!("expected a snappy block of {len} bytes, found a damaged one")).caused_by(error)),
    }
}

fn zstd(payload: &[u8], place: &Place) -> Result<Bytes> {
    let Some((len, used)) = read_uvarint(payload) else {
        return Err(place.corrupt("expected a zstd block, found no length"));
    };
    let frame = &payload[used..];
    check_len(len, frame.len(), ZSTD_MAX_RATIO, "zstd", place)?;
    let damaged = |error: std::io::Error| -> Error {
        place.corrupt(format!("expected a zstd block of {len} bytes, found a damaged one")).caused_by(error)
    };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(damaged)?;
    // A window larger than the block would be allocated and never filled.
    let window = len.max(ZSTD_WINDOW_MIN).next_power_of_two();
    decoder.window_log_max(window.trailing_zeros()).map_err(damaged)?;
    let mut contents = Vec::new();
    decoder.take(len + 1).read_to_end(&mut contents).map_err(damaged)?;
    if contents.len() as u64 != len {
        let found = contents.len();
        return Err(place.corrupt(format!("expected {len} bytes from zstd, found {found} or more")));
    }
    Ok(Bytes::from(contents))
}

fn check_len(len: u64, compressed: usize, ratio: usize, name: &str, place: &Place) -> Result<()> {
    let most = compressed.saturating_mul(ratio).min(MAX_BLOCK_LEN);
    if len <= most as u64 {
        return Ok(());
    }
    Err(place
        .corrupt(format!("expected at most {most} bytes from {compressed} bytes of {name}, found a block that claims {len}")))
}
