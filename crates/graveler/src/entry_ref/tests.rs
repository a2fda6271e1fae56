use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message;

use super::*;

fn entries() -> impl Strategy<Value = Entry> {
    let text = || ".{0,40}";
    (
        (text(), text(), text()),
        any::<(i64, i64, i32)>(),
        proptest::collection::btree_map(text(), text(), 0..4),
        any::<bool>(),
        any::<i32>(),
    )
        .prop_map(|((address, e_tag, content_type), (size, seconds, nanos), metadata, dated, kind)| Entry {
            address,
            last_modified: dated.then_some(Timestamp { seconds, nanos }),
            size,
            e_tag,
            metadata,
            address_type: kind,
            content_type,
        })
}

/// Both decoders must give the same entry, or both must refuse. One difference is known: prost reads a map's field whatever
/// its wire type says, which is refused here.
fn assert_agreement(bytes: &[u8]) {
    match (Entry::decode(bytes), EntryRef::decode(bytes)) {
        (Ok(theirs), Ok(ours)) => assert_eq!(theirs, ours.to_entry()),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(ours)) if ours.message().contains("wire type") => {}
        (theirs, ours) => panic!("prost: {theirs:?}, here: {ours:?}, bytes: {bytes:02x?}"),
    }
}

#[test]
fn an_entry_is_read_without_a_copy() {
    let entry = Entry {
        address: "data/x/y".into(),
        size: 7,
        e_tag: "abc".into(),
        last_modified: Some(Timestamp { seconds: 5, nanos: 6 }),
        metadata: BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())]),
        address_type: 1,
        content_type: "text/plain".into(),
    };
    let bytes = entry.encode_to_vec();
    let read = EntryRef::decode(&bytes).unwrap();
    assert_eq!((read.address, read.etag, read.content_type, read.size), ("data/x/y", "abc", "text/plain", 7));
    assert_eq!((read.mtime_secs, read.mtime_nanos), (5, 6));
    assert_eq!(read.kind(), Some(AddressType::Relative));
    assert_eq!(read.metadata().collect::<Vec<_>>(), [("a", "1"), ("b", "")]);
    assert!(bytes.as_ptr_range().contains(&read.address.as_ptr()));
}

#[test]
fn fields_unknown_here_are_passed_over() {
    let entry = Entry { address: "data/x".into(), metadata: BTreeMap::from([("k".into(), "v".into())]), ..Entry::default() };
    // Field 20 as varint, fixed64, length-delimited, group with a varint inside, and fixed32.
    let unknown: [&[u8]; 5] = [
        &[0xa0, 0x01, 0x96, 0x01],
        &[0xa1, 0x01, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 0x01, 2, b'h', b'i'],
        &[0xa3, 0x01, 0x08, 0x01, 0xa4, 0x01],
        &[0xa5, 0x01, 1, 2, 3, 4],
    ];
    for field in unknown {
        let mut bytes = field.to_vec();
        bytes.extend(entry.encode_to_vec());
        bytes.extend(field);
        assert_agreement(&bytes);
        assert_eq!(EntryRef::decode(&bytes).unwrap().to_entry(), entry);
    }
}

#[test]
fn a_malformed_entry_is_refused_with_the_byte() {
    let error = EntryRef::decode(&[0x0a, 0x05, b'x']).unwrap_err();
    assert_eq!(error.message(), "expected a protobuf entry, found a field that is cut off at byte 2 of it");
    assert!(EntryRef::decode(&[0x0a, 0x01, 0xff]).is_err());
    assert!(EntryRef::decode(&[0x08, 0x01]).is_err());
    assert!(EntryRef::decode(&[0xa3, 0x01, 0x08, 0x01]).is_err());
}

proptest! {
    #[test]
    fn every_entry_reads_as_a_protobuf_decoder_reads_it(entry in entries()) {
        let bytes = entry.encode_to_vec();
        prop_assert_eq!(EntryRef::decode(&bytes).unwrap().to_entry(), entry);
    }

    #[test]
    fn two_entries_in_one_message_merge_as_protobuf_merges_them(a in entries(), b in entries()) {
        let mut bytes = a.encode_to_vec();
        bytes.extend(b.encode_to_vec());
        assert_agreement(&bytes);
    }

    #[test]
    fn damaged_entries_are_refused_or_read_as_a_protobuf_decoder_reads_them(
        entry in entries(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut bytes = entry.encode_to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        assert_agreement(&bytes);
    }

    #[test]
    fn random_bytes_are_refused_or_read_as_a_protobuf_decoder_reads_them(bytes: Vec<u8>) {
        assert_agreement(&bytes);
    }
}
