//! The "ident" encoding: how lakeFS hashes structured data.
//!
//! Commit ids, entry identities and (over whole files) range ids are SHA-256 sums of this encoding.
//! What is computed here equals what lakeFS computes for the same values.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::proto::{CommitData, Entry};

const BYTES: u8 = 0x00;
const STRING: u8 = 0x01;
const INT64: u8 = 0x02;
const SLICE: u8 = 0x03;
const MAP: u8 = 0x04;
const EMBEDDED: u8 = 0x05;

/// A SHA-256 that takes typed values, each with its tag and length.
#[derive(Clone, Debug, Default)]
pub struct Ident(Sha256);

impl Ident {
    /// An identity of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with a hash that has already taken something else.
    #[must_use]
    pub(crate) fn resume(hash: Sha256) -> Self {
        Self(hash)
    }

    /// Adds a number.
    #[must_use]
    pub fn int64(mut self, value: i64) -> Self {
        self.add_int64(value);
        self
    }

    /// Adds a string (its bytes need not be UTF-8).
    #[must_use]
    pub fn string(mut self, value: impl AsRef<[u8]>) -> Self {
        self.add_sized(STRING, value.as_ref());
        self
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.add_sized(BYTES, value);
        self
    }

    /// Adds a list of strings.
    #[must_use]
    pub fn slice<S: AsRef<[u8]>>(mut self, values: &[S]) -> Self {
        self.0.update([SLICE]);
        self.add_int64(signed_len(values.len()));
        for value in values {
            self.add_sized(STRING, value.as_ref());
        }
        self
    }

    /// Adds a map, in byte order of its keys.
    #[must_use]
    pub fn map<K: AsRef<[u8]> + Ord, V: AsRef<[u8]>>(mut self, map: &BTreeMap<K, V>) -> Self {
        self.0.update([MAP]);
        self.add_int64(signed_len(map.len()));
        for (key, value) in map {
            self.add_sized(STRING, key.as_ref());
            self.add_sized(STRING, value.as_ref());
        }
        self
    }

    /// Adds the identity of another value.
    #[must_use]
    pub fn embedded(mut self, identity: &[u8]) -> Self {
        self.0.update([EMBEDDED]);
        self.add_sized(BYTES, identity);
        self
    }

    /// The identity.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn add_int64(&mut self, value: i64) {
        self.0.update([INT64, 8]);
        self.0.update(value.to_be_bytes());
    }

    fn add_sized(&mut self, tag: u8, value: &[u8]) {
        self.0.update([tag]);
        self.add_int64(signed_len(value.len()));
        self.0.update(value);
    }
}

fn signed_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// The id of a commit: what [`CommitData::id`] must be.
///
/// Version, generation and fractions of a second are not part of it.
#[must_use]
pub fn commit_id(commit: &CommitData) -> String {
    let parents = Ident::new().slice(&commit.parents).finish();
    let created = commit.creation_date.as_ref().map_or(0, |t| t.seconds);
    let id = Ident::new()
        .string("commit:v1")
        .string(&commit.committer)
        .string(&commit.message)
        .string(&commit.meta_range_id)
        .int64(created)
        .map(&commit.metadata)
        .embedded(&parents)
        .finish();
    hex::encode(id)
}

/// The identity of an entry: what a writer stores beside it.
///
/// Address, modification time and address type are not part of it. Readers compare stored
/// identities and never recompute them: files of early 2021 hold those of an older formula.
#[must_use]
pub fn entry_identity(entry: &Entry) -> [u8; 32] {
    let ident = Ident::new().int64(entry.size).string(&entry.e_tag).map(&entry.metadata);
    if entry.content_type.is_empty() { ident.finish() } else { ident.string(&entry.content_type).finish() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_hashes_as_its_documented_bytes() {
        let sha = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
        let len = |n: u8| [2, 8, 0, 0, 0, 0, 0, 0, 0, n];
        assert_eq!(Ident::new().int64(-1).finish(), sha(&[2, 8, 255, 255, 255, 255, 255, 255, 255, 255]));
        assert_eq!(Ident::new().string("ab").finish(), sha(&[&[1][..], &len(2), b"ab"].concat()));
        assert_eq!(Ident::new().slice(&["a"]).finish(), sha(&[&[3][..], &len(1), &[1], &len(1), b"a"].concat()));
        let map = BTreeMap::from([("b", "2"), ("a", "")]);
        let pairs = [&[4][..], &len(2), &[1], &len(1), b"a", &[1], &len(0), &[1], &len(1), b"b", &[1], &len(1), b"2"];
        assert_eq!(Ident::new().map(&map).finish(), sha(&pairs.concat()));
        assert_eq!(Ident::new().embedded(b"xyz").finish(), sha(&[&[5, 0][..], &len(3), b"xyz"].concat()));
    }

    #[test]
    fn a_content_type_changes_the_identity_and_an_address_does_not() {
        let entry = Entry { size: 3, e_tag: "e".into(), ..Entry::default() };
        let moved = Entry { address: "elsewhere".into(), address_type: 2, ..entry.clone() };
        let typed = Entry { content_type: "text/plain".into(), ..entry.clone() };
        assert_eq!(entry_identity(&entry), entry_identity(&moved));
        assert_ne!(entry_identity(&entry), entry_identity(&typed));
    }
}
