//! Entries and commits as lakeFS encodes them: what [`crate::proto`] decodes.
//!
//! Fields come in ascending order and maps in order of their keys. A pair of a map always carries
//! its key and its value, also empty ones, which is why the derived encoder does not serve. lakeFS
//! itself writes maps in random order: with two pairs or more its bytes, and so the ids of its files,
//! are one choice of several, and ours is another. Equality is by identity, which sorts.

use std::collections::BTreeMap;

use prost::Message;

use crate::ident::entry_identity;
use crate::proto::{CommitData, Entry, Timestamp};
use crate::varint::put_uvarint;

const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// Appends an entry.
pub fn entry(entry: &Entry, out: &mut Vec<u8>) {
    put_text(out, 1, &entry.address);
    put_time(out, 2, entry.last_modified.as_ref());
    put_number(out, 3, entry.size);
    put_text(out, 4, &entry.e_tag);
    put_map(out, 5, &entry.metadata);
    put_number(out, 6, i64::from(entry.address_type));
    put_text(out, 7, &entry.content_type);
}

/// An entry as a record: its identity, and its bytes appended to `out`.
pub fn entry_record(value: &Entry, out: &mut Vec<u8>) -> [u8; 32] {
    entry(value, out);
    entry_identity(value)
}

/// Appends a commit.
pub fn commit(commit: &CommitData, out: &mut Vec<u8>) {
    put_text(out, 1, &commit.id);
    put_text(out, 2, &commit.committer);
    put_text(out, 3, &commit.message);
    put_time(out, 4, commit.creation_date.as_ref());
    put_text(out, 5, &commit.meta_range_id);
    put_map(out, 6, &commit.metadata);
    for parent in &commit.parents {
        put_bytes(out, 7, parent.as_bytes());
    }
    put_number(out, 8, i64::from(commit.version));
    put_number(out, 9, i64::from(commit.generation));
}

fn put_text(out: &mut Vec<u8>, field: u64, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_uvarint(out, field << 3 | LENGTH);
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, field: u64, value: i64) {
    if value != 0 {
        put_uvarint(out, field << 3 | VARINT);
        put_uvarint(out, value.cast_unsigned());
    }
}

fn put_time(out: &mut Vec<u8>, field: u64, time: Option<&Timestamp>) {
    if let Some(time) = time {
        put_uvarint(out, field << 3 | LENGTH);
        put_uvarint(out, time.encoded_len() as u64);
        put_number(out, 1, time.seconds);
        put_number(out, 2, i64::from(time.nanos));
    }
}

fn put_map(out: &mut Vec<u8>, field: u64, map: &BTreeMap<String, String>) {
    let mut pair = Vec::new();
    for (key, value) in map {
        pair.clear();
        put_bytes(&mut pair, 1, key.as_bytes());
        put_bytes(&mut pair, 2, value.as_bytes());
        put_bytes(out, field, &pair);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pair_carries_its_key_and_its_value_also_when_they_are_empty() {
        let mut out = Vec::new();
        entry(&Entry { metadata: BTreeMap::from([("k".into(), String::new())]), ..Entry::default() }, &mut out);
        assert_eq!(out, b"\x2a\x05\x0a\x01k\x12\x00");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            texts in proptest::array::uniform4(".{0,9}"),
            metadata in proptest::collection::btree_map(".{0,3}", ".{0,3}", 0..4),
            time in proptest::option::of((any::<i64>(), any::<i32>())),
            size: i64,
            numbers: [i32; 2],
        ) {
            let [a, b, c, d] = texts;
            let time = time.map(|(seconds, nanos)| Timestamp { seconds, nanos });
            let object = Entry {
                address: a.clone(), last_modified: time, size, e_tag: b.clone(), metadata: metadata.clone(),
                address_type: numbers[0], content_type: c.clone(),
            };
            let mut out = Vec::new();
            prop_assert_eq!(entry_record(&object, &mut out), entry_identity(&object));
            prop_assert_eq!(Entry::decode(&*out).unwrap(), object);
            let change = CommitData {
                id: a, committer: b, message: c, creation_date: time, meta_range_id: d.clone(), metadata,
                parents: vec![d, String::new()], version: numbers[0], generation: numbers[1],
            };
            out.clear();
            commit(&change, &mut out);
            prop_assert_eq!(CommitData::decode(&*out).unwrap(), change);
        }
    }
}
