//! The id of a range or metarange: a hash of its records and properties, not of the file's bytes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::sstable::properties::NOT_IN_ID;
use crate::sstable::{LoadedTable, Properties};

/// Makes the id of a range or metarange from its records, given in key order.
///
/// Short pieces are gathered first: the hash is fastest on long ones.
#[derive(Clone, Debug, Default)]
pub struct ContentHasher {
    hash: Sha256,
    gathered: Vec<u8>,
}

/// How many bytes are gathered before they are hashed.
const GATHER: usize = 4096;

impl ContentHasher {
    /// No records yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record; `value` is the framed value.
    #[inline]
    pub fn record(&mut self, key: &[u8], value: &[u8]) {
        self.part(key);
        self.part(value);
        if self.gathered.len() >= GATHER {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
    }

    /// Adds the properties (`type`, and what a refs dump has besides) and makes the id.
    #[must_use]
    pub fn finish<K: AsRef<[u8]> + Ord, V: AsRef<[u8]>>(mut self, props: &BTreeMap<K, V>) -> String {
        self.hash.update(&self.gathered);
        hex::encode(Ident::resume(self.hash).map(props).finish())
    }

    #[inline]
    fn part(&mut self, bytes: &[u8]) {
        let mut digits = [0; 20];
        self.gathered.extend_from_slice(decimal(bytes.len(), &mut digits));
        self.gathered.extend_from_slice(bytes);
        self.gathered.push(b'|');
    }
}

fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789"[number % 10];
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Computes the id of a file from its records; also says how many there are.
pub fn content_id(table: &LoadedTable) -> Result<(String, u64)> {
    let mut hasher = ContentHasher::new();
    let mut records = table.records();
    let mut count = 0;
    while records.advance()? {
        hasher.record(records.key(), records.value());
        count += 1;
    }
    Ok((hasher.finish(&hashed(table.properties())), count))
}

/// The properties that were there when the writer made the id.
fn hashed(properties: &Properties) -> BTreeMap<&[u8], &[u8]> {
    properties.user().filter(|(name, _)| !NOT_IN_ID.iter().any(|other| other.as_bytes() == *name)).collect()
}

/// Fails unless the file is what its id says; gives the number of records.
pub(crate) fn verify(table: &LoadedTable, id: &str) -> Result<u64> {
    let (found, count) = content_id(table)?;
    if found == id {
        return Ok(count);
    }
    Err(Error::corrupt(table.name(), format!("expected records with id {id}, found those of {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_hashed_in_decimal() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn the_id_is_the_hash_of_records_and_then_of_properties() {
        let mut hasher = ContentHasher::new();
        hasher.record(b"key", b"value");
        let id = hasher.finish(&BTreeMap::from([("type", "ranges")]));
        let mut bytes = b"3key|5value|".to_vec();
        bytes.extend([4, 2, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        for (text, len) in [("type", 4), ("ranges", 6)] {
            bytes.extend([1, 2, 8, 0, 0, 0, 0, 0, 0, 0, len]);
            bytes.extend(text.as_bytes());
        }
        assert_eq!(id, hex::encode(Sha256::digest(&bytes)));
    }
}
