//! What a namespace and a refs dump refuse, and what they cost.

use std::sync::Arc;

use bytes::Bytes;
use graveler::{ErrorKind, FileKind, MetadataFiles, Namespace, RangeInfo, RefsDump, RefsManifest, StoreFiles};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::samples::{json, namespace, sstable};

const RANGE_SST: &str = "a83af763ba098c15369d9d6d723731eb9ce18b8dfac4f88c6f1287e772393d0e";
const METARANGE_SST: &str = "732d4016245c5547113e0cd0f1a588fc55e36c21f460ac670cca4396922f5c11";

/// A namespace below `some/where` that holds the given files.
async fn holding(files: &[(&str, Bytes)]) -> Namespace {
    let store = InMemory::new();
    for (name, bytes) in files {
        let path = Path::from(format!("some/where/_lakefs/{name}"));
        let payload = PutPayload::from(bytes.clone());
        store.put(&path, payload).await.unwrap();
    }
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    Namespace::new(Arc::new(StoreFiles::new(store, Path::from("some/where"))))
}

async fn small() -> Namespace {
    holding(&[(RANGE_SST, sstable("range.sst")), (METARANGE_SST, sstable("metarange.sst"))]).await
}

#[tokio::test]
async fn reading_and_looking_up_is_counted() {
    let namespace = small().await;
    let metarange = namespace.metarange(METARANGE_SST).await.unwrap();
    let found = namespace.lookup(&metarange, b"a/b/c/yes").await.unwrap().unwrap();
    assert_eq!(found.entry().unwrap().size, 4);
    assert!(namespace.lookup(&metarange, b"elsewhere").await.unwrap().is_none());
    let mut reader = namespace.range(&metarange.ranges()[0]).await.unwrap();
    assert!(reader.seek(b"a/b/c/o").unwrap());
    assert_eq!(reader.key(), b"a/b/c/yes");
    assert!(!reader.seek(b"b").unwrap());
    assert_eq!(reader.identity(), b"");
    let counts = namespace.clone().counters().snapshot();
    assert_eq!(counts.metaranges_opened, 1);
    assert_eq!(counts.ranges_opened, 1);
    assert_eq!(counts.looked_up, 1);
    assert_eq!(counts.bytes_read, 1022 + 1182 + 1182);
}

#[tokio::test]
async fn the_kind_of_a_file_is_told_by_the_file_and_not_by_who_asks() {
    let namespace = small().await;
    let error = namespace.metarange(RANGE_SST).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("file `some/where/_lakefs/{RANGE_SST}`: expected a file of type `metaranges`, found `ranges`")
    );
    let as_range = RangeInfo {
        id: METARANGE_SST.to_owned(),
        min_key: Bytes::from_static(b"a"),
        max_key: Bytes::from_static(b"z"),
        count: 1,
        estimated_size: 0,
    };
    let error = namespace.range(&as_range).await.unwrap_err();
    assert_eq!(error.message(), "expected a file of type `ranges`, found `metaranges`");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_lists_of_a_refs_dump_are_no_trees_of_objects_and_not_each_other() {
    let namespace = namespace("orders");
    let dump = RefsDump::open(namespace.clone()).await.unwrap();
    let commits = dump.manifest().commits_meta_range_id.clone();
    let error = namespace.metarange(&commits).await.unwrap_err();
    assert_eq!(error.message(), "expected objects, found a refs dump of entity `commit`");
    let swapped = RefsManifest { branches_meta_range_id: commits, ..dump.manifest().clone() };
    let error = RefsDump::new(namespace.clone(), swapped).branch("main").await.unwrap_err();
    assert_eq!(error.message(), "expected a refs dump of entity `branch`, found a refs dump of entity `commit`");
    let objects = RefsManifest {
        commits_meta_range_id: json("orders", "lake.json")["commits"]["load"]["meta_range_id"].as_str().unwrap().to_owned(),
        ..dump.manifest().clone()
    };
    let error = RefsDump::new(namespace, objects).commit(RANGE_SST).await.unwrap_err();
    assert_eq!(error.message(), "expected a refs dump of entity `commit`, found objects");
}

#[tokio::test]
async fn missing_files_and_names_are_told_apart() {
    let namespace = small().await;
    let absent = "0".repeat(64);
    let error = namespace.metarange(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.file(), format!("some/where/_lakefs/{absent}"));
    for id in ["x", "../../etc/passwd", &"A".repeat(64), &"0".repeat(63)] {
        let error = namespace.metarange(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidId, "{id}");
    }
    let error = RefsDump::open(namespace).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.file(), "some/where/_lakefs/refs_manifest.json");
    assert!(error.message().starts_with("expected the manifest of a refs dump, found none"));

    let dump = RefsDump::open(crate::samples::namespace("orders")).await.unwrap();
    let error = dump.branch("nowhere").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message(), "expected branch `nowhere` in the refs dump, found none");
    assert_eq!(dump.tag("v9").await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = dump.commit(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInDump);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_range_that_differs_from_what_its_metarange_says_is_corrupt() {
    let namespace = small().await;
    let metarange = namespace.metarange(METARANGE_SST).await.unwrap();
    let range = &metarange.ranges()[0];
    let read = |info: RangeInfo| {
        let namespace = namespace.clone();
        async move {
            let mut reader = namespace.range(&info).await.unwrap();
            loop {
                match reader.advance() {
                    Ok(true) => {}
                    Ok(false) => return String::new(),
                    Err(error) => return error.message().to_owned(),
                }
            }
        }
    };
    assert_eq!(read(range.clone()).await, "");
    let info = RangeInfo { count: 3, ..range.clone() };
    assert_eq!(read(info).await, "expected a range of 3 records, found 2");
    let info = RangeInfo { min_key: Bytes::from_static(b"a"), ..range.clone() };
    assert_eq!(read(info).await, "expected the range's first key `a`, found `a/b/c/no`");
    let info = RangeInfo { max_key: Bytes::from_static(b"z"), ..range.clone() };
    assert_eq!(read(info).await, "expected the range's last key `z`, found `a/b/c/yes`");
}

#[tokio::test]
async fn records_under_another_id_are_found_out() {
    let other = "1".repeat(64);
    let namespace = holding(&[(&other, sstable("range.sst"))]).await;
    let error = namespace.verify_range(&other).await.unwrap_err();
    assert_eq!(error.message(), format!("expected records with id {other}, found those of {RANGE_SST}"));
}

#[tokio::test]
async fn short_commit_ids_are_resolved_and_ambiguous_ones_shown() {
    let dump = RefsDump::open(namespace("orders")).await.unwrap();
    let said = json("orders", "lake.json");
    let id = said["commits"]["load"]["id"].as_str().unwrap();
    let found = dump.commits_with_prefix(&id[..12], 2).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, id);
    assert_eq!(dump.commits_with_prefix("", 2).await.unwrap().len(), 2);
    assert_eq!(dump.commits_with_prefix("no hex", 2).await.unwrap(), []);
}

#[test]
fn a_manifest_may_say_more_and_must_not_say_less() {
    let id = "0".repeat(64);
    let text =
        format!(r#"{{"commits_meta_range_id":"{id}","tags_meta_range_id":"{id}","branches_meta_range_id":"{id}","later":1}}"#);
    let manifest = RefsManifest::parse(text.as_bytes(), "f").unwrap();
    assert_eq!(manifest.tags_meta_range_id, id);
    let error = RefsManifest::parse(b"{}", "f").unwrap_err();
    assert!(error.message().contains("branches_meta_range_id"), "{error}");
    let text = text.replace(&id, "short");
    let error = RefsManifest::parse(text.as_bytes(), "f").unwrap_err();
    assert!(error.message().contains("found `short`"), "{error}");
}

#[tokio::test]
async fn a_store_serves_the_same_bytes_whole_and_by_ranges() {
    let store = InMemory::new();
    let path = Path::from(format!("_lakefs/{RANGE_SST}"));
    let file = sstable("range.sst");
    store.put(&path, file.clone().into()).await.unwrap();
    let files = StoreFiles::new(Arc::new(store), Path::default());
    assert_eq!(files.read(RANGE_SST, FileKind::Range).await.unwrap(), file);
    let open = files.open(RANGE_SST, FileKind::Range).await.unwrap();
    assert_eq!(open.size().await.unwrap(), 1182);
    assert_eq!(open.read_at(5..9).await.unwrap(), file.slice(5..9));
    assert_eq!(open.read_tail(10).await.unwrap(), (1182, file.slice(1172..)));
    assert_eq!(open.read_tail(5_000).await.unwrap(), (1182, file.clone()));
    assert_eq!(open.read_at(1_180..1_190).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let absent = files.open(METARANGE_SST, FileKind::Range).await.unwrap();
    assert_eq!(absent.read_tail(10).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(files.refs_manifest().await.unwrap(), None);
    let empty = Path::from("_lakefs/empty");
    files.store.put(&empty, Bytes::new().into()).await.unwrap();
    let open = files.open("empty", FileKind::Range).await.unwrap();
    assert_eq!(open.read_tail(10).await.unwrap(), (0, Bytes::new()));
}
