//! Every file that a real server wrote is rebuilt from its own records, byte for byte.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use graveler::sstable::{FinishedTable, LoadedTable, TableProperties, TableWriter};

use crate::samples::{LAKES, data, sstable, table};

/// What a writer adds to a file after it has made the id.
const ADDED: [&str; 4] = ["min_key", "max_key", "count", "estimated_size_bytes"];

/// The folder of a lake with ranges of the default size, if it is at hand: it is too large to be
/// kept beside the tests.
pub(crate) fn wide_lake() -> Option<PathBuf> {
    std::env::var_os("MILLRACE_WIDE_LAKE").map(PathBuf::from)
}

fn properties(table: &LoadedTable) -> TableProperties {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = table.properties().user().filter(|(name, _)| !ADDED.iter().any(|added| added.as_bytes() == *name));
    all.map(|(name, value)| (text(name), text(value))).collect()
}

pub(crate) fn rebuild(table: &LoadedTable) -> FinishedTable {
    let mut writer = TableWriter::new(properties(table));
    let mut records = table.records();
    while records.advance().unwrap() {
        writer.add_framed(records.key(), records.value()).unwrap();
    }
    writer.finish()
}

/// Rebuilds the metadata files of a namespace; gives their number.
fn rebuild_all(namespace: &Path) -> usize {
    let mut rebuilt = 0;
    for entry in std::fs::read_dir(namespace.join("_lakefs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !graveler::is_id(name) {
            continue;
        }
        let file = Bytes::from(std::fs::read(&path).unwrap());
        let table = LoadedTable::parse(name, file.clone()).unwrap();
        let found = rebuild(&table);
        assert_eq!(found.id, name, "{}", path.display());
        assert!(found.bytes == file, "{} is rebuilt with other bytes", path.display());
        let said = |property: &str| table.properties().text(property).unwrap();
        assert_eq!(said("count"), found.count.to_string());
        assert_eq!(said("estimated_size_bytes"), found.estimated_size.to_string());
        assert_eq!(table.properties().get("min_key").unwrap(), &*found.min_key);
        assert_eq!(table.properties().get("max_key").unwrap(), &*found.max_key);
        rebuilt += 1;
    }
    rebuilt
}

#[test]
fn every_range_metarange_and_dump_of_todays_server_is_rebuilt_byte_for_byte() {
    let rebuilt: usize = LAKES.iter().map(|lake| rebuild_all(&data("lakes").join(lake).join("namespace"))).sum();
    assert!(rebuilt > 180, "{rebuilt} files");
}

#[test]
fn ranges_of_the_default_size_and_their_indexes_of_two_levels_are_rebuilt_byte_for_byte() {
    if let Some(lake) = wide_lake() {
        let rebuilt = rebuild_all(&lake.join("namespace"));
        assert!(rebuilt > 10, "{rebuilt} files");
    }
}

#[test]
fn older_files_that_follow_the_same_rules_are_rebuilt_byte_for_byte() {
    for name in ["range.sst", "metarange.sst"] {
        let found = rebuild(&table(name));
        assert!(found.bytes == sstable(name), "{name} is rebuilt with other bytes");
    }
}

/// The writer of January 2021 kept no copy of the first key, whose bytes were overwritten later: its
/// `min_key` is wrong, and with it the checksum of the properties. All else is equal.
#[test]
fn a_file_of_2021_is_rebuilt_but_for_its_wrong_first_key() {
    let (expected, found) = (sstable("ok1.sst"), rebuild(&table("ok1.sst")));
    assert_eq!((&*found.min_key, found.estimated_size), (&b"first"[..], 10_077));
    let mut wrong = found.bytes.to_vec();
    // The `m` is shared with `max_key`.
    let at = wrong.windows(11).position(|bytes| bytes == b"in_keyfirst").unwrap() + 6;
    wrong[at..at + 5].copy_from_slice(b"+@\xb3l\xa8");
    let differ: Vec<_> = (0..expected.len()).filter(|&at| wrong[at] != expected[at]).collect();
    assert_eq!(wrong.len(), expected.len());
    // The four bytes of that checksum, before the metaindex (its 33 bytes, and its trailer of 5) and
    // the footer of 53.
    let checksum_end = expected.len() - 53 - 5 - metaindex_len(&expected);
    assert!(differ.iter().all(|at| (checksum_end - 4..checksum_end).contains(at)), "{differ:?}");
}

/// The length of the metaindex, from the footer's first handle.
fn metaindex_len(file: &[u8]) -> usize {
    let handle = &file[file.len() - 53 + 1..];
    let offset_len = handle.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    usize::from(handle[offset_len])
}

/// The library of mid-2022 asked with a handle's real length whether an index block is full; today's
/// asks with 20. So the index differs, and the estimate with it; every data block is equal.
#[test]
fn a_file_of_2022_is_rebuilt_with_todays_partitions_of_its_index() {
    let (expected, found) = (sstable("56569996.sst"), rebuild(&table("56569996.sst")));
    assert_eq!(found.id, "56569996e174e06211632b143e7160a003e107c30790e1bd7267f3f227a06159");
    assert_eq!((expected.len(), found.bytes.len()), (1_762_451, 1_762_442));
    let said = table("56569996.sst").properties().text("estimated_size_bytes").unwrap();
    assert_eq!((&*said, found.estimated_size), ("1735128", 1_735_615));
    let data_size = 1_732_000;
    assert!(found.bytes[..data_size] == expected[..data_size]);
    let again = LoadedTable::parse("again", found.bytes).unwrap();
    let number = |table: &LoadedTable, name: &str| table.properties().get(name).map(<[u8]>::to_vec).unwrap();
    for name in ["rocksdb.data.size", "rocksdb.num.data.blocks", "rocksdb.raw.key.size", "rocksdb.raw.value.size"] {
        assert_eq!(number(&again, name), number(&table("56569996.sst"), name), "{name}");
    }
}
