use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::LoadedTable;
use super::*;
use crate::content_id::content_id;

fn written(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> FinishedTable {
    let mut writer = TableWriter::new(TableProperties::from([("type".into(), "ranges".into())]));
    for (key, value) in records {
        writer.add_framed(key, value).unwrap();
    }
    writer.finish()
}

fn read(table: &FinishedTable) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = LoadedTable::parse("t", table.bytes.clone()).unwrap().records();
    let mut found = BTreeMap::new();
    while records.advance().unwrap() {
        found.insert(records.key().to_vec(), records.value().to_vec());
    }
    found
}

/// Values that do not compress, so that there are many blocks.
fn many(count: u32, len: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = 1_u64;
    let mut byte = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|i| (format!("key/{i:07}").into_bytes(), (0..len).map(|_| byte()).collect())).collect()
}

#[test]
fn a_table_without_records_is_a_table() {
    let table = written(&BTreeMap::new());
    assert_eq!(read(&table), BTreeMap::new());
    assert_eq!((table.count, table.estimated_size), (0, 8));
    assert_eq!((&*table.min_key, &*table.max_key), (&b""[..], &b""[..]));
}

#[test]
fn an_index_that_does_not_fit_a_block_has_two_levels() {
    for (count, levels) in [(1_000, 0), (40_000, 2)] {
        let records = many(count, 40);
        let table = written(&records);
        let loaded = LoadedTable::parse("t", table.bytes.clone()).unwrap();
        assert_eq!(loaded.properties().get("rocksdb.block.based.table.index.type").unwrap(), [levels, 0, 0, 0]);
        assert_eq!(read(&table), records);
        assert_eq!(content_id(&loaded).unwrap(), (table.id, u64::from(count)));
    }
}

#[test]
fn the_estimate_grows_with_every_record_and_ends_near_the_size_of_the_data() {
    let mut writer = TableWriter::new(TableProperties::new());
    let mut before = writer.estimated_size();
    assert_eq!(before, 8, "two blocks without entries");
    for (key, value) in many(3_000, 100) {
        writer.add_framed(&key, &value).unwrap();
        // A block that is closed is counted compressed from then on, and takes an entry of the index.
        assert!(writer.estimated_size() + 4_096 > before);
        before = writer.estimated_size();
    }
    let table = writer.finish();
    assert_eq!(table.estimated_size, before);
    let len = table.bytes.len() as u64;
    assert!(len.abs_diff(before) < 5_000, "{before} of {len}");
}

#[test]
fn a_block_that_hardly_compresses_is_stored_as_it_is() {
    let table = written(&many(20, 100));
    let data_end = table.bytes.len();
    let first = LoadedTable::parse("t", table.bytes.clone()).unwrap();
    assert_eq!(read(&table), many(20, 100));
    assert!(data_end > 2_000 && first.properties().num_entries() == Some(20));
    let zeros = BTreeMap::from([(b"k".to_vec(), vec![0; 100_000])]);
    assert!(written(&zeros).bytes.len() < 10_000, "zeros compress");
    assert_eq!(read(&written(&zeros)), zeros);
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in proptest::collection::btree_map(
        proptest::collection::vec(any::<u8>(), 1..30), proptest::collection::vec(any::<u8>(), 0..600), 0..200,
    )) {
        let table = written(&records);
        prop_assert_eq!(&read(&table), &records);
        prop_assert_eq!(table.min_key.to_vec(), records.keys().next().cloned().unwrap_or_default());
        prop_assert_eq!(table.max_key.to_vec(), records.keys().last().cloned().unwrap_or_default());
        prop_assert_eq!(&written(&records).bytes, &table.bytes);
    }
}
