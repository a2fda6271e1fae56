//! Files that older lakeFS servers and `RocksDB` wrote.

use std::sync::Arc;

use graveler::content_id::content_id;
use graveler::ident::entry_identity;
use graveler::sstable::{LoadedTable, MemoryFile, Table};
use graveler::{AddressType, EntryRef, ErrorKind, Metarange, value};

use crate::samples::{pairs, sstable, table};

#[test]
fn the_ids_of_older_files_are_recomputed_from_their_records() {
    for (name, id, count) in [
        ("range.sst", "a83af763ba098c15369d9d6d723731eb9ce18b8dfac4f88c6f1287e772393d0e", 2),
        ("metarange.sst", "732d4016245c5547113e0cd0f1a588fc55e36c21f460ac670cca4396922f5c11", 1),
        ("ok1.sst", "0e4c319008ebb087332f165559960f7e53d32e9331c8338e147239fd008bd662", 105),
        ("56569996.sst", "56569996e174e06211632b143e7160a003e107c30790e1bd7267f3f227a06159", 13_868),
    ] {
        assert_eq!(content_id(&table(name)).unwrap(), (id.to_owned(), count), "{name}");
    }
}

#[test]
fn a_metarange_names_its_range_and_the_keys_between_which_it_lies() {
    let metarange = Metarange::read("m", &table("metarange.sst")).unwrap();
    let [range] = metarange.ranges() else {
        panic!("{metarange:?}");
    };
    assert_eq!(content_id(&table("range.sst")).unwrap().0, range.id);
    assert_eq!((&*range.min_key, &*range.max_key), (&b"a/b/c/no"[..], &b"a/b/c/yes"[..]));
    assert_eq!((range.count, range.estimated_size), (2, 1190));
    let found = metarange.find(b"a/b/c/nothing").unwrap();
    assert_eq!(found.id, range.id);
    assert_eq!(metarange.find(b"a/b/c/nn"), None);
}

#[test]
fn the_entries_of_a_range_are_read_in_place() {
    let pairs = pairs(&table("range.sst"));
    assert_eq!(pairs[0].0, b"a/b/c/no");
    let (identity, data) = value::split(&pairs[0].1).unwrap();
    let entry = EntryRef::decode(data).unwrap();
    assert_eq!(entry.size, 11);
    assert!(entry.etag.starts_with("664c688b"), "{}", entry.etag);
    assert_eq!(entry.kind(), Some(AddressType::Relative));
    assert_eq!(entry_identity(&entry.to_entry()), identity);
    assert_eq!(EntryRef::decode(value::split(&pairs[1].1).unwrap().1).unwrap().size, 4);
}

#[test]
fn a_large_range_with_a_two_level_index_has_todays_identities() {
    let pairs = pairs(&table("56569996.sst"));
    assert_eq!(pairs[0].0, b"common-crawl-hive-analysis/CC-MAIN-2014-23/part-m-01364.gz");
    assert_eq!(pairs[13_867].0, b"phishing-domains/domains.csv");
    // Imports of mid-2022 put the address where the content type belongs.
    let (mut full, mut named) = (0, 0);
    for (key, framed) in &pairs {
        let (identity, data) = value::split(framed).unwrap();
        let entry = EntryRef::decode(data).unwrap();
        assert_eq!(entry_identity(&entry.to_entry()), identity, "{}", key.escape_ascii());
        full += usize::from(entry.kind() == Some(AddressType::Full));
        named += usize::from(entry.content_type == entry.address);
    }
    assert_eq!((full, named), (13_867, 13_461));
}

#[test]
fn a_file_of_2021_keeps_its_old_identities_and_its_wrong_first_key() {
    let pairs = pairs(&table("ok1.sst"));
    assert_eq!(pairs.last().unwrap().0, b"xyzzy");
    // Its properties say otherwise, and are wrong.
    assert_eq!(pairs[0].0, b"first");
    let said = table("ok1.sst").properties().get("min_key").map(<[u8]>::to_vec);
    assert_eq!(said.unwrap(), b"+@\xb3l\xa8");
    for (_, framed) in &pairs {
        let (identity, data) = value::split(framed).unwrap();
        let entry = EntryRef::decode(data).unwrap();
        assert_eq!(entry.kind(), Some(AddressType::ByPrefixDeprecated));
        assert_ne!(entry_identity(&entry.to_entry()), identity);
    }
}

#[test]
fn files_of_rocksdb_hold_the_same_words_in_either_layout() {
    let one_level = pairs(&table("h.sst"));
    assert_eq!(one_level.len(), 1710);
    let two_levels = table("h.no-compression.two_level_index.sst");
    // The 17 range deletions, which are passed over, are counted there.
    assert_eq!(two_levels.properties().num_entries(), Some(1710 + 17));
    assert_eq!(pairs(&two_levels), one_level);
    let ghost = one_level.iter().find(|(key, _)| key == b"ghost").unwrap();
    assert!(ghost.1.iter().all(u8::is_ascii_digit));
}

#[test]
fn a_leveldb_file_is_refused_by_name() {
    let error = LoadedTable::parse("h.ldb", sstable("h.ldb")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "file `h.ldb` at byte 15373: expected an SSTable with RocksDB magic f7cff485b741e288, \
         found a LevelDB footer"
    );
}

#[tokio::test]
async fn ranged_reads_find_every_record_that_a_whole_read_finds() {
    for name in ["h.sst", "h.no-compression.two_level_index.sst", "ok1.sst", "56569996.sst"] {
        let expected = pairs(&table(name));
        let file = Arc::new(MemoryFile::new(name, sstable(name)));
        let open = Table::open(file).await.unwrap();
        for (key, value) in expected.iter().step_by(7) {
            let found = open.get(key).await.unwrap();
            assert_eq!(found.as_deref(), Some(&value[..]), "{}", key.escape_ascii());
            let mut after = key.clone();
            after.push(0);
            let next = open.seek(&after).await.unwrap().map(|r| r.key.to_vec());
            let at = expected.partition_point(|(key, _)| key < &after);
            assert_eq!(next.as_ref(), expected.get(at).map(|(key, _)| key));
        }
        let mut scan = open.scan(Some(&expected[expected.len() / 2].0));
        let mut rest = Vec::new();
        while let Some(block) = scan.next_block().await.unwrap() {
            let mut cursor = block.cursor();
            while cursor.advance().unwrap() {
                rest.push((cursor.key().to_vec(), cursor.value().to_vec()));
            }
        }
        assert_eq!(rest, expected[expected.len() / 2..]);
    }
}
