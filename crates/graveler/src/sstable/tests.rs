use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;

use super::block::{Block, Keys, Place};
use super::compression::{NONE, SNAPPY, ZSTD};
use super::testing::{Pair, contents, pairs, table};
use super::{LoadedTable, MemoryFile, ReadAt, Table};
use crate::error::Result;

/// Memory never waits, so its futures are ready.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

fn open(file: &Bytes) -> Result<Table> {
    now(Table::open(Arc::new(MemoryFile::new("t", file.clone()))))
}

fn loaded(file: &Bytes) -> Result<Vec<Pair>> {
    let mut found = Vec::new();
    let mut records = LoadedTable::parse("t", file.clone())?.records();
    while records.advance()? {
        found.push((records.key().to_vec(), records.value().to_vec()));
    }
    Ok(found)
}

fn scanned(file: &Bytes, from: Option<&[u8]>) -> Result<Vec<Pair>> {
    let mut found = Vec::new();
    let mut scan = open(file)?.scan(from);
    while let Some(block) = now(scan.next_block())? {
        let mut cursor = block.cursor();
        while cursor.advance()? {
            found.push((cursor.key().to_vec(), cursor.value().to_vec()));
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct Watched {
    file: MemoryFile,
    reads: Mutex<Vec<Range<u64>>>,
}

#[async_trait]
impl ReadAt for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    async fn size(&self) -> Result<u64> {
        self.file.size().await
    }

    async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        self.reads.lock().unwrap().push(range.clone());
        self.file.read_at(range).await
    }
}

fn many_pairs(count: usize, value_len: usize) -> Vec<Pair> {
    (0..count).map(|i| (format!("key/{i:06}").into_bytes(), vec![b'v'; value_len])).collect()
}

#[test]
fn a_lookup_costs_the_end_of_the_file_once_and_then_one_block_each() {
    let pairs = many_pairs(4_000, 500);
    let file = table(&pairs, 8, 100, NONE);
    let watched = Arc::new(Watched { file: MemoryFile::new("t", file), reads: Mutex::default() });
    let table = now(Table::open(Arc::clone(&watched) as Arc<dyn ReadAt>)).unwrap();
    assert_eq!(watched.reads.lock().unwrap().len(), 1, "the end");
    for at in [17, 1_700, 18, 0] {
        let before = watched.reads.lock().unwrap().len();
        assert!(now(table.get(&pairs[at].0)).unwrap().is_some());
        let reads = watched.reads.lock().unwrap();
        assert_eq!(reads.len(), before + 1);
        let block = &reads[before];
        assert!(block.end - block.start < 5_000, "{block:?} is one block");
    }
    assert_eq!(now(table.get(b"key/000000x")).unwrap(), None);
    assert_eq!(now(table.get(b"zzz")).unwrap(), None);
}

#[test]
fn an_index_that_begins_before_the_end_at_hand_is_read_as_well() {
    let pairs = many_pairs(6_000, 10);
    let file = table(&pairs, 1, 0, NONE);
    let watched = Arc::new(Watched { file: MemoryFile::new("t", file.clone()), reads: Mutex::default() });
    let table = now(Table::open(Arc::clone(&watched) as Arc<dyn ReadAt>)).unwrap();
    assert_eq!(watched.reads.lock().unwrap().len(), 2);
    assert_eq!(now(table.get(&pairs[5].0)).unwrap(), Some(pairs[5].1.clone().into()));
}

#[test]
fn partitions_are_loaded_when_a_scan_comes_to_them() {
    let pairs = many_pairs(4_000, 500);
    let watched = Arc::new(Watched { file: MemoryFile::new("t", table(&pairs, 8, 10, NONE)), reads: Mutex::default() });
    let mut scan = now(Table::open(Arc::clone(&watched) as Arc<dyn ReadAt>)).unwrap().scan(None);
    now(scan.next_block()).unwrap();
    let reads = watched.reads.lock().unwrap().len();
    assert!(reads <= 3, "the end, at most one partition, one block: {reads} reads");
}

#[test]
fn every_compression_reads_to_the_same_records() {
    let pairs = many_pairs(300, 40);
    for kind in [NONE, SNAPPY, ZSTD] {
        let file = table(&pairs, 20, 0, kind);
        assert_eq!(loaded(&file).unwrap(), pairs);
        assert_eq!(scanned(&file, None).unwrap(), pairs);
    }
}

#[test]
fn a_table_without_records_reads_as_empty() {
    let mut maker = super::testing::Maker::default();
    let block = maker.block(&contents(&[], 16, &[]), NONE);
    let index = maker.index(&[(Vec::new(), block)]);
    let file = maker.finish(index, &[]);
    assert_eq!(loaded(&file).unwrap(), []);
    assert_eq!(scanned(&file, Some(b"k")).unwrap(), []);
    let table = open(&file).unwrap();
    assert_eq!(now(table.seek(b"")).unwrap(), None);
    assert_eq!(now(table.get(b"")).unwrap(), None);
}

#[test]
fn a_seek_into_the_gap_between_blocks_gives_the_first_record_after_it() {
    let mut maker = super::testing::Maker::default();
    let blocks = [pairs(&[("a", "1"), ("b", "2")]), pairs(&[("x", "3"), ("y", "4")])];
    let handles = blocks.map(|block| maker.block(&contents(&block, 16, &super::testing::SET), NONE));
    // The separator `m` is in neither block.
    let index = maker.index(&[(b"m".to_vec(), handles[0]), (b"z".to_vec(), handles[1])]);
    let file = maker.finish(index, &[]);
    let table = open(&file).unwrap();
    for (key, expected) in [("a", "a"), ("aa", "b"), ("c", "x"), ("m", "x"), ("n", "x"), ("xx", "y")] {
        let found = now(table.seek(key.as_bytes())).unwrap().unwrap();
        assert_eq!(&*found.key, expected.as_bytes(), "seek {key}");
        let mut records = LoadedTable::parse("t", file.clone()).unwrap().records();
        assert!(records.seek(key.as_bytes()).unwrap());
        assert_eq!(records.key(), expected.as_bytes(), "loaded seek {key}");
    }
    assert_eq!(now(table.seek(b"yy")).unwrap(), None);
    assert_eq!(now(table.get(b"m")).unwrap(), None);
}

fn maps() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let key = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..12);
    let value = proptest::collection::vec(any::<u8>(), 0..200);
    proptest::collection::btree_map(key, value, 1..80)
}

proptest! {
    #[test]
    fn records_of_any_layout_are_scanned_and_found_again(
        map in maps(),
        per_block in 1_usize..10,
        per_partition in 0_usize..4,
        kind in prop::sample::select(vec![NONE, SNAPPY, ZSTD]),
        probe in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let pairs: Vec<Pair> = map.clone().into_iter().collect();
        let file = table(&pairs, per_block, per_partition, kind);
        prop_assert_eq!(&loaded(&file).unwrap(), &pairs);
        prop_assert_eq!(&scanned(&file, None).unwrap(), &pairs);
        let table = open(&file).unwrap();
        let mut records = LoadedTable::parse("t", file.clone()).unwrap().records();
        for key in map.keys().chain([&probe]) {
            let expected: Vec<Pair> = map
                .range(key.clone()..)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            let found = now(table.seek(key)).unwrap().map(|r| (r.key.to_vec(), r.value.to_vec()));
            prop_assert_eq!(found.as_ref(), expected.first());
            let value = now(table.get(key)).unwrap().map(|v| v.to_vec());
            prop_assert_eq!(value.as_ref(), map.get(key));
            prop_assert_eq!(records.seek(key).unwrap(), !expected.is_empty());
            if let Some((first, _)) = expected.first() {
                prop_assert_eq!(records.key(), &first[..]);
            }
            prop_assert_eq!(&scanned(&file, Some(key)).unwrap(), &expected);
        }
    }

    #[test]
    fn contents_damaged_behind_a_right_checksum_never_panic_and_stay_in_order(
        map in maps(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        probe in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let pairs: Vec<Pair> = map.into_iter().collect();
        let mut bytes = contents(&pairs, 4, &super::testing::SET);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        walk_and_seek(&bytes, &probe);
    }

    #[test]
    fn random_contents_of_a_block_never_panic(bytes: Vec<u8>, probe: Vec<u8>) {
        walk_and_seek(&bytes, &probe);
    }
}

/// Whatever the bytes are: no panic, and what is given out is in order.
fn walk_and_seek(bytes: &[u8], probe: &[u8]) {
    let place = Place { file: Arc::from("t"), offset: 0 };
    for keys in [Keys::Plain, Keys::Internal] {
        let Ok(block) = Block::from_contents(Bytes::copy_from_slice(bytes), keys, place.clone()) else {
            continue;
        };
        let (mut cursor, mut previous) = (block.cursor(), None);
        while let Ok(true) = cursor.advance() {
            let key = Some(cursor.key().to_vec());
            assert!(previous < key);
            previous = key;
        }
        if let Ok(true) = block.cursor().seek(probe) {
            let mut cursor = block.cursor();
            cursor.seek(probe).unwrap();
            assert!(cursor.key() >= probe);
        }
    }
}

mod refusals;
