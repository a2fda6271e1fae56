//! What is not written, and what is not left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use graveler::sstable::{FinishedTable, MAX_KEY_LEN, TableProperties, TableWriter};
use graveler::{
    Change, Error, ErrorKind, MetadataSink, MetarangeWriter, Prefixes, RangeInfo, RefsManifest, Result, StoreSink, Stored,
    TreeMerge,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::lakes::{Changes, Map, lake, lake_on, ragged, read, stream_of, write};

fn large() -> Map {
    let record = |i: u32| (Bytes::from(format!("key/{i:05}")), (Bytes::from_static(b"id"), Bytes::from(i.to_string())));
    (0..2_000).map(record).collect()
}

/// Keys that no table takes after `m`, and what is said.
fn bad_keys() -> Vec<(Vec<u8>, String)> {
    let long = vec![b'z'; MAX_KEY_LEN + 1];
    vec![
        (b"".to_vec(), "expected a key of 1 byte or more, found an empty one".into()),
        (b"m".to_vec(), "expected each key once, found `m` twice".into()),
        (b"l\xff".to_vec(), "expected sorted keys, found `l\\xff` after `m`".into()),
        (long, format!("expected a key of at most 1024 bytes, found 1025 bytes: `{}`…", "z".repeat(1024))),
    ]
}

#[test]
fn a_table_takes_no_key_twice_none_out_of_order_and_none_too_long() {
    let mut table = TableWriter::new(TableProperties::new());
    table.add(b"m", b"identity", b"data").unwrap();
    for (key, expected) in bad_keys() {
        let error = table.add(&key, b"identity", b"data").unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, &*expected));
    }
    table.add(&vec![b'z'; MAX_KEY_LEN], b"identity", b"data").unwrap();
    assert_eq!(table.count(), 2, "what was refused is not in the table");
    let error = table.add(b"zz", b"identity", &vec![0; (640 << 16) + 1]).unwrap_err();
    assert_eq!(error.message(), "expected at most 41943040 bytes of data for key `zz`, found 41943041");
}

#[tokio::test]
async fn a_tree_takes_no_key_twice_none_out_of_order_and_none_too_long() {
    for (key, expected) in bad_keys() {
        let lake = lake(3);
        let mut writer = MetarangeWriter::new(Arc::clone(&lake.sink), lake.options);
        writer.add(b"m", b"identity", b"data").await.unwrap();
        let error = writer.add(&key, b"identity", b"data").await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, &*expected));
        let base = write(&lake, &large()).await;
        let delete = |key: &[u8]| Ok((Bytes::copy_from_slice(key), Change::Delete));
        let changes = stream::iter([delete(b"m"), delete(&key)]);
        let error = lake.apply(&base, changes, &Prefixes::none()).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, &*expected));
    }
}

#[tokio::test]
async fn a_whole_range_must_lie_after_all_that_was_added() {
    let range = |min: &'static str, max: &'static str| RangeInfo {
        id: "0".repeat(64),
        min_key: Bytes::from_static(min.as_bytes()),
        max_key: Bytes::from_static(max.as_bytes()),
        count: 2,
        estimated_size: 0,
    };
    let mut writer = MetarangeWriter::new(lake(3).sink, ragged(3));
    writer.add_range(range("b", "d")).await.unwrap();
    for (bad, kind) in [
        (range("c", "e"), ErrorKind::InvalidInput),
        (range("d", "e"), ErrorKind::InvalidInput),
        (range("f", "e"), ErrorKind::InvalidInput),
        (RangeInfo { id: "../../etc".into(), ..range("e", "f") }, ErrorKind::InvalidId),
    ] {
        assert_eq!(writer.add_range(bad).await.unwrap_err().kind(), kind);
    }
    assert_eq!(writer.add(b"d", b"i", b"d").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    writer.add(b"e", b"i", b"d").await.unwrap();
    writer.add_range(range("f", "g")).await.unwrap();
    let tree = writer.finish().await.unwrap();
    assert_eq!(tree.metarange.ranges().len(), 3);
    assert_eq!((tree.counts.ranges_reused, tree.counts.ranges_written), (2, 1));
}

#[tokio::test]
async fn an_error_of_the_changes_ends_the_merge() {
    let lake = lake(3);
    let base = write(&lake, &large()).await;
    let changes = stream::iter([Err(Error::new(ErrorKind::Corrupt, "manifest", "expected a row, found none"))]);
    let error = lake.apply(&base, changes, &Prefixes::none()).await.unwrap_err();
    assert_eq!(error.file(), "manifest");
}

/// A store with room for so many files.
#[derive(Debug)]
struct Small {
    sink: Arc<dyn MetadataSink>,
    room: AtomicUsize,
}

#[async_trait]
impl MetadataSink for Small {
    async fn put(&self, table: &FinishedTable) -> Result<Stored> {
        let take = |room: usize| room.checked_sub(1);
        match self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => self.sink.put(table).await,
            Err(_) => Err(Error::new(ErrorKind::Full, &*table.id, "expected room for the file, the store has none left")),
        }
    }

    async fn put_refs_manifest(&self, _manifest: &RefsManifest) -> Result<()> {
        unreachable!("nothing names a tree that is not whole")
    }
}

#[tokio::test]
async fn a_store_that_fills_up_ends_the_writer_and_leaves_the_lake_as_it_was() {
    let lake = lake(50);
    let base = write(&lake, &large()).await;
    let files = base.ranges().len() + 1;
    let put = |key: &Bytes| (key.clone(), Change::Put { identity: Bytes::from_static(b"other"), data: Bytes::new() });
    let changes: Changes = large().keys().map(put).collect();
    for room in [0, 1, files / 2, files - 1] {
        let sink = Arc::new(Small { sink: Arc::clone(&lake.sink), room: AtomicUsize::new(room) });
        let small = TreeMerge { sink, ..lake.clone() };
        let error = small.apply(&base, stream_of(&changes), &Prefixes::none()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "room for {room} of {files} files");
        assert_eq!(read(&lake.namespace, &base).await, large());
    }
    // With room again, what was stored before is not stored twice.
    let applied = lake.apply(&base, stream_of(&changes), &Prefixes::none()).await.unwrap();
    assert!(applied.counts.ranges_existed >= files as u64 / 2);
    assert_eq!(applied.changes.changed, 2_000);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_written_again_unless_it_is_damaged() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (namespace, sink) = lake_on(Arc::clone(&store));
    let mut table = TableWriter::new(TableProperties::from([("type".into(), "ranges".into())]));
    table.add(b"key", b"identity", b"data").unwrap();
    let table = table.finish();
    let path = Path::from(format!("lakes/new/_lakefs/{}", table.id));
    assert_eq!(sink.put(&table).await.unwrap(), Stored::Written);
    assert_eq!(sink.put(&table).await.unwrap(), Stored::Existed);
    for damage in [Bytes::new(), table.bytes.slice(..table.bytes.len() - 7)] {
        store.put(&path, PutPayload::from(damage)).await.unwrap();
        assert_eq!(sink.put(&table).await.unwrap(), Stored::Written, "a file cut off by a crash is replaced");
        assert_eq!(namespace.verify_range(&table.id).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_file_that_another_version_laid_out_otherwise_stays() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (_, sink) = lake_on(Arc::clone(&store));
    let theirs = crate::samples::sstable("56569996.sst");
    let id = "56569996e174e06211632b143e7160a003e107c30790e1bd7267f3f227a06159";
    let path = Path::from(format!("lakes/new/_lakefs/{id}"));
    store.put(&path, PutPayload::from(theirs.clone())).await.unwrap();
    let ours = crate::rebuild::rebuild(&crate::samples::table("56569996.sst"));
    assert_ne!(ours.bytes.len(), theirs.len());
    assert_eq!(sink.put(&ours).await.unwrap(), Stored::Existed);
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), theirs);
}

#[tokio::test]
async fn a_folder_holds_whole_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let (namespace, sink) = lake_on(Arc::new(store));
    let lake = TreeMerge { namespace, sink, options: ragged(50) };
    let tree = write(&lake, &large()).await;
    assert_eq!(read(&lake.namespace, &tree).await, large());
    let mut names: Vec<_> = std::fs::read_dir(folder.path().join("lakes/new/_lakefs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<_> = tree.ranges().iter().map(|range| range.id.clone()).chain([tree.id().to_owned()]).collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_read_only_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lakes"), b"a file where the folder belongs").unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let sink = StoreSink::new(Arc::clone(&store), Path::from("lakes/new"));
    let error = MetarangeWriter::new(Arc::new(sink), ragged(3)).finish().await.unwrap_err();
    assert!(error.file().starts_with("lakes/new/_lakefs/"), "{error}");
    assert!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len() <= 1);
}
