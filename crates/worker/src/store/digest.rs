//! Sums of bytes: computed as they pass, compared with what they must be.
//!
//! An MD5 of the whole, the MD5 of the MD5s of parts (the etag `…-N` of an upload in parts), and a CRC64NVME of the whole.
//! Which part size an etag `…-N` was made with it does not say: it is guessed. When a stream does not have the sum of the
//! guess, the store is asked; where it cannot tell, the stream is read again, and when both readings agree, the guess was
//! wrong and not the bytes.

use std::sync::{Arc, Mutex, PoisonError};

use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest, Md5};

use super::{FailureKind, Md5Sum, StoreError, StoreResult, short_body};

const MIB: u64 = 1024 * 1024;

/// Part sizes that programs use, the most common ones first: AWS's tools, S3A and other uploaders.
const PART_SIZES: [u64; 18] = [8, 5, 16, 64, 100, 128, 10, 50, 32, 15, 20, 25, 200, 250, 256, 500, 512, 1024];

/// What the bytes of an object must be, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The MD5 of the whole.
    pub md5: Option<Md5Sum>,
    /// The MD5 of the whole is wanted, be it known or not.
    pub wants_md5: bool,
    /// The sum of an upload in parts, at a part size that is likely.
    pub parts: Option<ExpectedParts>,
    /// The CRC64NVME of the whole.
    pub crc64: Option<u64>,
}

/// The MD5 of the parts' MD5s.
#[derive(Debug, Clone)]
pub struct ExpectedParts {
    /// What it must be.
    pub sum: Md5Sum,
    /// The size of the parts, in bytes.
    pub part_size: u64,
    /// The size is known, not guessed.
    pub is_certain: bool,
    /// What the last reading that did not have the sum was, by its CRC64NVME. Shared by the readings of one object.
    pub other: Arc<Mutex<Option<u64>>>,
}

/// The sums of bytes that passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// The MD5 of the whole, where it was wanted.
    pub md5: Option<Md5Sum>,
    /// The MD5 of the parts' MD5s, where it was wanted.
    pub parts: Option<Md5Sum>,
    /// The CRC64NVME of the whole.
    pub crc64: Option<u64>,
}

impl Expected {
    /// Only an MD5.
    #[must_use]
    pub fn md5(md5: Option<Md5Sum>) -> Self {
        Self { md5, ..Self::default() }
    }

    /// What an etag without quotes says of `size` bytes, given that the store made it of the bytes.
    #[must_use]
    pub fn of_etag(etag: &str, size: u64) -> Self {
        let Some((sum, parts)) = etag.split_once('-') else { return Self::md5(super::etag_md5(etag)) };
        let part_size = parts.parse().ok().and_then(|parts| likely_part_size(size, parts));
        let parts = super::etag_md5(sum).zip(part_size);
        let parts = parts.map(|(sum, part_size)| ExpectedParts { sum, part_size, is_certain: false, other: Arc::default() });
        Self { parts, ..Self::default() }
    }

    /// The bytes that passed are `size` bytes and the right ones.
    ///
    /// # Errors
    /// [`FailureKind::Mismatch`].
    pub fn check(&self, bytes: u64, size: u64, sums: &Sums) -> StoreResult<()> {
        if bytes != size {
            return Err(short_body(bytes, size));
        }
        if let (Some(md5), Some(got)) = (self.md5, sums.md5)
            && md5 != got
        {
            return Err(mismatch("MD5", &md5, &got));
        }
        if let (Some(crc), Some(got)) = (self.crc64, sums.crc64)
            && crc != got
        {
            return Err(mismatch("CRC64NVME", &crc.to_be_bytes(), &got.to_be_bytes()));
        }
        match (&self.parts, sums.parts) {
            (Some(parts), Some(got)) if parts.sum != got && self.crc64.is_none() => parts.doubt(&got, sums.crc64),
            _ => Ok(()),
        }
    }

    /// How bytes that passed the check are known to be the right ones; `None` when only their number is.
    #[must_use]
    pub fn proof(&self, sums: &Sums) -> Option<&'static str> {
        if self.md5.is_some() && self.md5 == sums.md5 {
            Some("md5")
        } else if self.crc64.is_some() && self.crc64 == sums.crc64 {
            Some("crc64nvme")
        } else if sums.parts.is_some() && self.parts.as_ref().map(|parts| parts.sum) == sums.parts {
            Some("parts-md5")
        } else {
            None
        }
    }
}

impl ExpectedParts {
    /// A reading did not have the sum.
    pub(crate) fn is_doubted(&self) -> bool {
        self.other.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The sum is another one: the bytes or the guess may be wrong.
    fn doubt(&self, got: &Md5Sum, crc64: Option<u64>) -> StoreResult<()> {
        let mut other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_certain && crc64.is_some() && *other == crc64 {
            return Ok(());
        }
        *other = crc64;
        Err(mismatch("MD5 of parts", &self.sum, got))
    }
}

fn mismatch(what: &str, expected: &[u8], got: &[u8]) -> StoreError {
    let (expected, got) = (hex::encode(expected), hex::encode(got));
    StoreError::new(FailureKind::Mismatch, format!("the source's {what} is {expected}, that of the bytes that came {got}"))
}

/// Sums that are being computed.
pub struct Summing {
    md5: Option<Md5>,
    parts: Option<Parts>,
    crc64: Crc,
    bytes: u64,
}

struct Parts {
    part_size: u64,
    filled: u64,
    part: Md5,
    all: Md5,
}

impl std::fmt::Debug for Summing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Summing").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Summing {
    /// Computes what is needed to compare with `expected`.
    #[must_use]
    pub fn new(expected: &Expected) -> Self {
        Self::without_parts(expected).with_parts(expected.parts.as_ref().map(|parts| parts.part_size))
    }

    /// The same for one who knows the sums of the parts otherwise.
    pub(crate) fn without_parts(expected: &Expected) -> Self {
        let md5 = (expected.wants_md5 || expected.md5.is_some()).then(Md5::new);
        Self { md5, parts: None, crc64: Crc::new(CrcAlgorithm::Crc64Nvme), bytes: 0 }
    }

    fn with_parts(self, part_size: Option<u64>) -> Self {
        let parts = part_size.map(|part_size| Parts { part_size, filled: 0, part: Md5::new(), all: Md5::new() });
        Self { parts, ..self }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc64.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(parts) = &mut self.parts {
            parts.update(bytes);
        }
    }

    /// How many bytes there were so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sums of all of them.
    #[must_use]
    pub fn finish(self) -> Sums {
        Sums {
            md5: self.md5.map(|md5| md5.finalize().into()),
            parts: self.parts.map(Parts::finish),
            crc64: Some(self.crc64.finalize()),
        }
    }
}

impl Parts {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(self.part_size - self.filled).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.part.update(now);
            self.filled += now.len() as u64;
            if self.filled == self.part_size {
                self.all.update(self.part.finalize_reset());
                self.filled = 0;
            }
            bytes = rest;
        }
    }

    fn finish(mut self) -> Md5Sum {
        if self.filled > 0 {
            self.all.update(self.part.finalize());
        }
        self.all.finalize().into()
    }
}

/// The MD5 of the MD5s of parts.
pub(crate) fn md5_of_parts(sums: impl IntoIterator<Item = Md5Sum>) -> Md5Sum {
    let mut all = Md5::new();
    sums.into_iter().for_each(|sum| all.update(sum));
    all.finalize().into()
}

/// The CRC64NVME of bytes.
pub(crate) fn crc64_of(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The part size that an upload of `size` bytes in so many parts most likely had.
#[must_use]
pub fn likely_part_size(size: u64, parts: u64) -> Option<u64> {
    if parts < 2 {
        return (parts == 1).then_some(size.max(1));
    }
    let fits = |part: &u64| size.div_ceil(*part) == parts;
    let even = || size.div_ceil(parts).next_multiple_of(MIB);
    PART_SIZES.into_iter().map(|mib| mib * MIB).find(fits).or_else(|| Some(even()).filter(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::md5_of;

    fn summed(expected: &Expected, bytes: &[u8], chunk: usize) -> (u64, Sums) {
        let mut summing = Summing::new(expected);
        bytes.chunks(chunk).for_each(|chunk| summing.update(chunk));
        (summing.bytes(), summing.finish())
    }

    #[test]
    fn sums_of_parts_are_those_of_an_upload_in_parts() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let parts = md5_of_parts(bytes.chunks(300).map(md5_of));
        for (chunk, part_size) in [(1, 300), (7, 300), (300, 300), (1000, 300), (1000, 2000)] {
            let expected = ExpectedParts { sum: parts, part_size, is_certain: false, other: Arc::default() };
            let expected = Expected { parts: Some(expected), ..Expected::default() };
            let (_, sums) = summed(&expected, &bytes, chunk);
            assert_eq!(sums.parts == Some(parts), part_size == 300, "{chunk} {part_size}");
            assert_eq!((sums.crc64, sums.md5), (Some(crc64_of(&bytes)), None));
        }
    }

    #[test]
    fn the_check_value_of_crc64nvme() {
        assert_eq!(crc64_of(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn wrong_bytes_are_refused_and_right_ones_are_proven() {
        let expected = Expected::md5(Some(md5_of(b"right")));
        let (bytes, sums) = summed(&expected, b"right", 2);
        expected.check(bytes, 5, &sums).unwrap();
        assert_eq!(expected.proof(&sums), Some("md5"));
        assert_eq!(expected.check(bytes, 6, &sums).unwrap_err().kind, FailureKind::Mismatch);
        let (bytes, sums) = summed(&expected, b"wrong", 2);
        assert_eq!(expected.check(bytes, 5, &sums).unwrap_err().kind, FailureKind::Mismatch);
        let expected = Expected { crc64: Some(crc64_of(b"right")), ..Expected::default() };
        let (bytes, sums) = summed(&expected, b"wrong", 2);
        assert_eq!(expected.check(bytes, 5, &sums).unwrap_err().kind, FailureKind::Mismatch);
        assert_eq!(expected.proof(&sums), None);
    }

    #[test]
    fn a_guess_is_given_up_when_two_readings_agree() {
        let expected = Expected::of_etag(&format!("{}-2", hex::encode(md5_of(b"x"))), 6 * MIB);
        assert_eq!(expected.parts.as_ref().unwrap().part_size, 5 * MIB);
        let check = |bytes: &[u8]| {
            let (count, sums) = summed(&expected, bytes, 1000);
            expected.check(count, bytes.len() as u64, &sums)
        };
        assert!(check(b"flipped").is_err());
        assert!(check(b"another").is_err());
        check(b"another").unwrap();
        let parts = expected.parts.clone().map(|parts| ExpectedParts { is_certain: true, ..parts });
        let certain = Expected { parts, ..Expected::default() };
        let (count, sums) = summed(&certain, b"another", 1000);
        assert!(certain.check(count, 7, &sums).is_err(), "a size that is known is not given up");
    }

    #[test]
    fn part_sizes_are_guessed() {
        for (size, parts, likely) in [
            (11 * MIB, 2, Some(8)),
            (11 * MIB, 3, Some(5)),
            (1024 * MIB, 128, Some(8)),
            (1024 * MIB, 205, Some(5)),
            (1024 * MIB, 16, Some(64)),
            (1024 * MIB, 11, Some(100)),
            (1024 * MIB, 38, Some(27)),
            (90 * MIB, 3, Some(32)),
            (3 * MIB, 2, Some(2)),
            (MIB, 40, None),
        ] {
            assert_eq!(likely_part_size(size, parts), likely.map(|mib| mib * MIB), "{size} {parts}");
        }
        assert_eq!(likely_part_size(7, 1), Some(7));
        assert_eq!(likely_part_size(0, 0), None);
    }
}
