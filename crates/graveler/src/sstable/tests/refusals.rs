//! Files that must be refused, each with its documented text.

use super::super::compression::{NONE, SNAPPY, ZSTD};
use super::super::footer::Handle;
use super::super::testing::{Maker, Pair, SET, contents, footer, index_type, pairs, table};
use super::loaded;
use crate::error::{Error, ErrorKind};
use crate::varint::put_uvarint;
use bytes::Bytes;

/// The error that both readers must give.
fn refusal(file: impl Into<Bytes>) -> Error {
    let file = file.into();
    let error = loaded(&file).expect_err("a bad file");
    let ranged = super::scanned(&file, None).expect_err("a bad file");
    assert_eq!(ranged.to_string(), error.to_string());
    error
}

fn assert_refused(file: impl Into<Bytes>, kind: ErrorKind, text: &str) {
    let error = refusal(file);
    assert_eq!(error.to_string(), format!("file `t` at byte {text}"));
    assert_eq!(error.kind(), kind, "{error}");
}

fn small() -> Vec<u8> {
    table(&pairs(&[("a", "1"), ("b", "2")]), 16, 0, NONE).to_vec()
}

/// A table with this one stored block.
fn with_stored(payload: &[u8], kind: u8) -> Bytes {
    let mut maker = Maker::default();
    let block = maker.stored(payload, kind);
    let index = maker.index(&[(b"z".to_vec(), block)]);
    maker.finish(index, &[])
}

fn with_contents(contents: &[u8]) -> Bytes {
    with_stored(contents, NONE)
}

#[test]
fn an_empty_or_short_file_is_refused() {
    assert_refused(Vec::new(), ErrorKind::Corrupt, "0: expected an SSTable of at least 53 bytes, found 0 bytes");
    let file = small();
    assert_refused(
        file[file.len() - 20..].to_vec(),
        ErrorKind::Corrupt,
        "0: expected an SSTable of at least 53 bytes, found 20 bytes",
    );
}

#[test]
fn a_file_with_another_magic_is_refused_by_the_name_of_its_format() {
    let with_magic = |magic: [u8; 8]| {
        let mut file = small();
        let at = file.len() - 8;
        file[at..].copy_from_slice(&magic);
        (file, at)
    };
    let (file, at) = with_magic([0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]);
    assert_refused(
        file,
        ErrorKind::Unsupported,
        &format!("{at}: expected an SSTable with RocksDB magic f7cff485b741e288, found a LevelDB footer"),
    );
    let (file, at) = with_magic(*b"PK\x03\x04zip!");
    assert_refused(
        file,
        ErrorKind::Corrupt,
        &format!("{at}: expected an SSTable with RocksDB magic f7cff485b741e288, found magic 504b03047a697021"),
    );
}

#[test]
fn other_checksums_and_versions_are_unsupported() {
    let file = small();
    let start = file.len() - 53;
    let changed = |at: usize, byte: u8| {
        let mut file = file.clone();
        file[start + at] = byte;
        file
    };
    assert_refused(
        changed(0, 3),
        ErrorKind::Unsupported,
        &format!("{start}: expected checksum type 1 (CRC-32C), found 3 (xxHash64)"),
    );
    assert_refused(
        changed(0, 2),
        ErrorKind::Unsupported,
        &format!("{start}: expected checksum type 1 (CRC-32C), found 2 (xxHash)"),
    );
    assert_refused(changed(41, 5), ErrorKind::Unsupported, &format!("{start}: expected table format version 2, found 5"));
}

#[test]
fn a_changed_byte_of_a_block_is_found_by_its_checksum() {
    let mut file = small();
    file[3] ^= 1;
    let error = refusal(file);
    assert_eq!(error.offset(), Some(0));
    let text = error.message();
    assert!(text.starts_with("expected a block of 34 bytes with checksum "), "{text}");
}

#[test]
fn handles_that_leave_the_file_are_refused() {
    let mut maker = Maker::default();
    let index = maker.index(&[(b"z".to_vec(), Handle { offset: 1 << 40, length: 7 })]);
    let file = maker.finish(index, &[]);
    let limit = file.len() - 53;
    assert_refused(
        file,
        ErrorKind::Corrupt,
        &format!("0: expected a block before byte {limit}, found a handle to 7 bytes at 1099511627776"),
    );
    let absurd = Handle { offset: u64::MAX, length: u64::MAX };
    assert_refused(
        footer(absurd, absurd),
        ErrorKind::Corrupt,
        &format!("0: expected a block before byte 0, found a handle to {0} bytes at {0}", u64::MAX),
    );
}

#[test]
fn an_index_that_leads_to_itself_or_back_ends_with_an_error() {
    let mut maker = Maker::default();
    let block = maker.block(&contents(&pairs(&[("a", "1")]), 16, &SET), NONE);
    let twice = maker.index(&[(b"a".to_vec(), block), (b"b".to_vec(), block)]);
    let at = twice.offset;
    assert_refused(
        maker.finish(twice, &[]),
        ErrorKind::Corrupt,
        &format!("{at}: expected the next block at byte {at} or later, found a handle to byte 0"),
    );

    // The top level names itself as its partition: what it holds is then read as data blocks.
    let mut maker = Maker::default();
    let mut own = Handle { offset: 0, length: 0 };
    let entry = |own| contents(&[(b"z".to_vec(), super::super::testing::handle_bytes(own))], 1, &SET);
    own.length = entry(own).len() as u64;
    let index = maker.stored(&entry(own), NONE);
    assert_eq!(index, own);
    let found = loaded(&maker.finish(index, &index_type(2))).unwrap();
    assert_eq!(found.len(), 1, "walked once and no further");
}

#[test]
fn an_unknown_compression_is_unsupported() {
    assert_refused(
        with_stored(b"payload!", 4),
        ErrorKind::Unsupported,
        "0: expected compression 0 (none), 1 (snappy) or 7 (zstd), found 4",
    );
}

#[test]
fn a_block_that_claims_more_than_its_bytes_can_yield_is_refused_before_it_is_unpacked() {
    let mut payload = Vec::new();
    put_uvarint(&mut payload, 3 << 30);
    payload.extend([0; 20]);
    assert_refused(
        with_stored(&payload, SNAPPY),
        ErrorKind::Corrupt,
        "0: expected at most 550 bytes from 25 bytes of snappy, found a block that claims 3221225472",
    );
    assert_refused(
        with_stored(&payload, ZSTD),
        ErrorKind::Corrupt,
        "0: expected at most 655360 bytes from 20 bytes of zstd, found a block that claims 3221225472",
    );
}

#[test]
fn damaged_compressed_blocks_are_refused() {
    let good = contents(&pairs(&[("a", "1")]), 16, &SET);
    let mut payload = super::super::testing::compress(&good, SNAPPY);
    payload.truncate(payload.len() - 2);
    let error = refusal(with_stored(&payload, SNAPPY));
    assert!(error.message().contains("found a damaged one"), "{error}");
    let mut payload = super::super::testing::compress(&good, ZSTD);
    payload[0] += 1;
    let error = refusal(with_stored(&payload, ZSTD));
    assert!(error.message().contains("bytes from zstd, found"), "{error}");
    payload.truncate(8);
    assert!(refusal(with_stored(&payload, ZSTD)).message().contains("damaged"));
    assert!(refusal(with_stored(&[], SNAPPY)).message().contains("snappy"));
    assert!(refusal(with_stored(&[], ZSTD)).message().contains("no length"));
}

#[test]
fn blocks_whose_inner_lengths_lie_are_refused() {
    assert_refused(with_contents(&[0, 0]), ErrorKind::Corrupt, "0: expected a block of at least 8 bytes, found 2");
    for restarts in [0_u32, 9, u32::MAX] {
        assert_refused(
            with_contents(&[&[0; 8][..], &restarts.to_le_bytes()].concat()),
            ErrorKind::Corrupt,
            &format!("0: expected 1 or more restart offsets that fit a block of 12 bytes, found {restarts}"),
        );
    }
    let record = |bytes: &[u8]| with_contents(&[bytes, &[0, 0, 0, 0, 1, 0, 0, 0]].concat());
    for (bytes, expected) in [
        (&[0x80, 0x80, 0x80][..], "the lengths of a record"),
        (&[0, 9, 200, b'k'], "a record that ends within the block"),
        (&[0, 3, 0, b'k', b'k', b'k'], "a key of fitting length"),
        (&[5, 8, 0, 1, 1, 1, 1, 1, 1, 1, 1], "a key of fitting length"),
    ] {
        assert_refused(
            record(bytes),
            ErrorKind::Corrupt,
            &format!("0: expected {expected} at byte 0 of the {} bytes of the block, found none", bytes.len()),
        );
    }
}

#[test]
fn keys_out_of_order_are_refused_within_a_block_and_across_blocks() {
    let unsorted = contents(&pairs(&[("b", "1"), ("a", "2")]), 16, &SET);
    let twice = contents(&pairs(&[("a", "1"), ("a", "2")]), 1, &SET);
    for bad in [unsorted, twice] {
        let error = refusal(with_contents(&bad));
        assert!(error.message().starts_with("expected a key greater than the one before"), "{error}");
    }
    let mut maker = Maker::default();
    let blocks: [Vec<Pair>; 2] = [pairs(&[("m", "1")]), pairs(&[("c", "2")])];
    let handles = blocks.map(|pairs| maker.block(&contents(&pairs, 16, &SET), NONE));
    let index = maker.index(&[(b"m".to_vec(), handles[0]), (b"z".to_vec(), handles[1])]);
    let at = handles[1].offset;
    // A scan hands out blocks, and only who walks them could compare the one with the next.
    let error = loaded(&maker.finish(index, &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("file `t` at byte {at}: expected a block that starts after the one before, found an earlier key")
    );
}

#[test]
fn indexes_of_other_kinds_are_unsupported() {
    let with_property = |name: &str, value: &[u8]| {
        let mut maker = Maker::default();
        let block = maker.block(&contents(&pairs(&[("a", "1")]), 16, &SET), NONE);
        let index = maker.index(&[(b"a".to_vec(), block)]);
        maker.finish(index, &[(name.as_bytes().to_vec(), value.to_vec())])
    };
    for (name, value, found) in [
        (
            "rocksdb.block.based.table.index.type",
            &[3, 0, 0, 0][..],
            "expected index type 0 (one level) or 2 (two levels), found 03000000",
        ),
        ("rocksdb.index.key.is.user.key", &[1], "expected rocksdb.index.key.is.user.key 0, found 1"),
        ("rocksdb.index.value.is.delta.encoded", &[1], "expected rocksdb.index.value.is.delta.encoded 0, found 1"),
    ] {
        let error = refusal(with_property(name, value));
        assert_eq!((error.message(), error.kind()), (found, ErrorKind::Unsupported));
    }
}

#[test]
fn properties_that_would_unfold_to_far_more_than_their_block_are_refused() {
    let mut maker = Maker::default();
    let block = maker.block(&contents(&pairs(&[("a", "1")]), 16, &SET), NONE);
    let index = maker.index(&[(b"a".to_vec(), block)]);
    // Each name is one byte longer than the one before, and costs four bytes of the block.
    let names: Vec<Pair> = (1..3_000).map(|len| (vec![b'n'; len], vec![])).collect();
    let error = refusal(maker.finish(index, &names));
    assert_eq!(error.message(), "expected at most 1000 properties with names of at most 1000 bytes, found more");
}
