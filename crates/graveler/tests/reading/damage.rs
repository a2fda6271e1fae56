//! Real files, damaged: whatever happens to the bytes, the answer is the same records or an error.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::FutureExt;
use graveler::sstable::{LoadedTable, MemoryFile, Table};
use graveler::{Metarange, RefsManifest, Result};
use proptest::prelude::*;

use crate::samples::{data, pairs, sstable, table};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Small real files of each layout, and what they hold.
static FILES: LazyLock<Vec<(Bytes, Pairs)>> = LazyLock::new(|| {
    let mut files: Vec<_> = ["range.sst", "metarange.sst", "ok1.sst", "h.sst", "h.no-compression.two_level_index.sst"]
        .map(|name| (sstable(name), pairs(&table(name))))
        .into();
    let folder = data("lakes/orders/namespace/_lakefs");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.file_name().unwrap().len() == 64)
        .collect();
    names.sort();
    for path in names {
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        let table = LoadedTable::parse("lake", bytes.clone()).unwrap();
        files.push((bytes, pairs(&table)));
    }
    assert!(files.len() > 15, "{} files", files.len());
    files
});

fn read_whole(bytes: &Bytes) -> Result<Pairs> {
    let table = LoadedTable::parse("damaged", bytes.clone())?;
    let mut records = table.records();
    let mut found = Vec::new();
    while records.advance()? {
        found.push((records.key().to_vec(), records.value().to_vec()));
    }
    Ok(found)
}

fn read_ranged(bytes: &Bytes, from: Option<&[u8]>) -> Result<Pairs> {
    let read = async {
        let file = MemoryFile::new("damaged", bytes.clone());
        let table = Table::open(Arc::new(file)).await?;
        let mut scan = table.scan(from);
        let mut found = Vec::new();
        while let Some(block) = scan.next_block().await? {
            let mut cursor = block.cursor();
            while cursor.advance()? {
                found.push((cursor.key().to_vec(), cursor.value().to_vec()));
            }
        }
        Ok(found)
    };
    read.now_or_never().expect("memory does not wait")
}

fn look_up(bytes: &Bytes, key: &[u8]) -> Result<Option<Bytes>> {
    let read = async {
        let file = MemoryFile::new("damaged", bytes.clone());
        Table::open(Arc::new(file)).await?.get(key).await
    };
    read.now_or_never().expect("memory does not wait")
}

/// Reads in every way; gives whether any read noticed.
fn same_or_error(bytes: &Bytes, expected: &Pairs) -> bool {
    let whole = read_whole(bytes);
    let ranged = read_ranged(bytes, None);
    let mut noticed = false;
    for read in [whole, ranged] {
        match read {
            Ok(found) => assert_eq!(&found, expected),
            Err(error) => {
                noticed = true;
                assert!(error.message().contains("expected"), "{error}");
                assert!(error.message().contains("found"), "{error}");
            }
        }
    }
    let middle = expected.len() / 2;
    if let Some((key, value)) = expected.get(middle) {
        match look_up(bytes, key) {
            Ok(found) => assert_eq!(found.as_deref(), Some(&value[..])),
            Err(_) => noticed = true,
        }
        match read_ranged(bytes, Some(key)) {
            Ok(found) => assert_eq!(found, expected[middle..]),
            Err(_) => noticed = true,
        }
    }
    noticed
}

#[test]
fn every_single_changed_byte_of_small_files_gives_the_same_records_or_an_error() {
    for name in ["range.sst", "metarange.sst"] {
        let (good, expected) = (sstable(name), pairs(&table(name)));
        let mut noticed = 0;
        for at in 0..good.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = good.to_vec();
                bytes[at] ^= change;
                noticed += usize::from(same_or_error(&bytes.into(), &expected));
            }
        }
        // Only the padding of the footer may change unnoticed.
        assert!(noticed >= 3 * (good.len() - 40), "{name}: {noticed} noticed");
        assert!(noticed < 3 * good.len());
    }
}

#[test]
fn every_truncation_of_small_files_is_noticed() {
    for name in ["range.sst", "metarange.sst"] {
        let good = sstable(name);
        for len in 0..good.len() {
            assert!(read_whole(&good.slice(..len)).is_err(), "{name} cut to {len}");
            assert!(read_ranged(&good.slice(..len), None).is_err());
        }
    }
}

proptest! {
    #[test]
    fn changed_bytes_of_real_files_give_the_same_records_or_an_error(
        file in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..5),
    ) {
        let (good, expected) = &FILES[file.index(FILES.len())];
        let mut bytes = good.to_vec();
        for (at, change) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        same_or_error(&bytes.into(), expected);
    }

    #[test]
    fn changed_footers_of_real_files_give_the_same_records_or_an_error(
        file in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((0_usize..53, any::<u8>()), 1..8),
    ) {
        let (good, expected) = &FILES[file.index(FILES.len())];
        let mut bytes = good.to_vec();
        let footer = bytes.len() - 53;
        for (at, byte) in changes {
            bytes[footer + at] = byte;
        }
        // A footer may name another block of the file as its index: then the records differ, but
        // whoever reads them is told that the file is not what its id says.
        let bytes = Bytes::from(bytes);
        let _ = read_ranged(&bytes, Some(b"k"));
        if let Ok(found) = read_whole(&bytes) {
            prop_assert!(found == *expected || found.len() < expected.len() + 100);
        }
    }

    #[test]
    fn cut_files_and_files_with_a_hole_are_refused(
        file in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        len in any::<prop::sample::Index>(),
    ) {
        let (good, expected) = &FILES[file.index(FILES.len())];
        let from = from.index(good.len());
        let len = 1 + len.index(good.len() - from);
        let bytes = [&good[..from], &good[from + len..]].concat();
        prop_assert!(same_or_error(&bytes.into(), expected));
    }

    #[test]
    fn random_bytes_are_no_table_manifest_or_metarange(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        magic in any::<bool>(),
    ) {
        if magic && bytes.len() >= 53 {
            let at = bytes.len() - 53;
            bytes[at] = 1;
            let at = bytes.len() - 12;
            bytes[at..].copy_from_slice(&[2, 0, 0, 0, 0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88]);
        }
        let bytes = Bytes::from(bytes);
        prop_assert!(RefsManifest::parse(&bytes, "f").is_err());
        prop_assert!(read_ranged(&bytes, None).is_err());
        let read = LoadedTable::parse("f", bytes).and_then(|table| Metarange::read("m", &table));
        prop_assert!(read.is_err());
    }
}
