//! The bytes of a stored object: real ones, or made up on the fly so that a test can have objects of many gigabytes.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::tree::md5_hex;

const BLOCK: u64 = 64 * 1024;

/// The bytes of an object.
#[derive(Debug, Clone)]
pub enum Body {
    /// Real bytes.
    Bytes(Bytes),
    /// Bytes that are computed from their offset when somebody reads them.
    Sparse {
        /// The offset of the first one in the sequence of the seed.
        start: u64,
        /// How many.
        size: u64,
        /// Which sequence.
        seed: u64,
    },
    /// One after the other.
    Joined(Arc<[Body]>),
}

impl Body {
    /// `size` made-up bytes.
    pub fn sparse(size: u64, seed: u64) -> Self {
        Self::Sparse { start: 0, size, seed }
    }

    /// One after the other; real bytes are put together.
    pub fn join(parts: Vec<Self>) -> Self {
        if parts.iter().all(|part| matches!(part, Self::Bytes(_))) {
            let all: Vec<u8> = parts.iter().flat_map(Self::chunks).flatten().collect();
            return Self::Bytes(all.into());
        }
        Self::Joined(parts.into())
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Sparse { size, .. } => *size,
            Self::Joined(parts) => parts.iter().map(Self::len).sum(),
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it.
    pub fn slice(&self, range: Range<u64>) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(index(range.start)..index(range.end))),
            Self::Sparse { start, seed, .. } => {
                Self::Sparse { start: start + range.start, size: range.end - range.start, seed: *seed }
            }
            Self::Joined(parts) => {
                let mut offset = 0;
                let mut slices = Vec::new();
                for part in parts.iter() {
                    let (from, to) = (range.start.max(offset), range.end.min(offset + part.len()));
                    if from < to {
                        slices.push(part.slice(from - offset..to - offset));
                    }
                    offset += part.len();
                }
                Self::join(slices)
            }
        }
    }

    /// The bytes, piece by piece.
    pub fn chunks(&self) -> Box<dyn Iterator<Item = Bytes> + Send + Sync> {
        match self {
            Self::Bytes(bytes) => Box::new(std::iter::once(bytes.clone())),
            Self::Sparse { start, size, seed } => {
                let (mut offset, end, block) = (*start, start + size, block(*seed));
                Box::new(std::iter::from_fn(move || {
                    let from = offset % BLOCK;
                    let to = BLOCK.min(from + end - offset);
                    offset += to - from;
                    (from < to).then(|| block.slice(index(from)..index(to)))
                }))
            }
            Self::Joined(parts) => {
                let parts = Arc::clone(parts);
                Box::new((0..parts.len()).flat_map(move |at| parts[at].chunks()))
            }
        }
    }

    /// All the bytes at once.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            other => other.chunks().flatten().collect::<Vec<u8>>().into(),
        }
    }

    /// The etag that a store gives these bytes in one piece: their MD5. For made-up bytes it is an MD5 of what they are.
    pub fn etag(&self) -> String {
        match self {
            Self::Bytes(bytes) => md5_hex(bytes),
            other => md5_hex(format!("{other:?}").as_bytes()),
        }
    }

    /// The same bytes but for one bit.
    pub(crate) fn with_a_flipped_bit(&self) -> Self {
        let mut bytes = self.to_bytes().to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        Self::Bytes(bytes.into())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn block(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..BLOCK / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_sparse_body_is_a_slice_of_its_bytes() {
        let body = Body::join(vec![Body::sparse(100_000, 7), Body::from("tail")]);
        let all = body.to_bytes();
        assert_eq!(all.len(), 100_004);
        assert_eq!(body.slice(65_000..100_002).to_bytes(), all.slice(65_000..100_002));
        assert_eq!(body.slice(10..10).len(), 0);
    }
}
