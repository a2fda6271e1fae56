//! Lakes that a real server wrote, against what that server says about them.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use graveler::{AddressType, EntryRef, ErrorKind, Metarange, Namespace, RefsDump};
use serde_json::{Value, json};

use crate::samples::{LAKES, data, json as read_json, json_lines, namespace};

#[tokio::test]
async fn every_ref_and_commit_of_a_dump_is_what_the_server_says() {
    for lake in LAKES {
        let dump = RefsDump::open(namespace(lake)).await.unwrap();
        let said = read_json(lake, "lake.json");
        let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
        let by_id: BTreeMap<_, _> = commits.iter().map(|c| (c.id.clone(), c)).collect();
        let ids: Vec<_> = commits.iter().map(|commit| commit.id.clone()).collect();
        assert!(ids.is_sorted(), "{lake}: commits come in order of id");
        for (label, expected) in said["commits"].as_object().unwrap() {
            let id = expected["id"].as_str().unwrap();
            let commit = by_id[id];
            assert_eq!(&&dump.commit(id).await.unwrap(), &commit);
            let found = json!({
                "id": commit.id,
                "committer": commit.committer,
                "message": commit.message,
                "creation_date": commit.creation_date.unwrap().seconds,
                "meta_range_id": commit.meta_range_id,
                "metadata": commit.metadata,
                "parents": commit.parents,
                "version": commit.version,
                "generation": commit.generation,
            });
            assert_eq!(&found, expected, "{lake}: {label}");
        }
        let branches: Vec<_> = dump.branches().try_collect().await.unwrap();
        let found: BTreeMap<_, _> = branches.iter().map(|b| (&b.id, &b.commit_id)).collect();
        assert_eq!(json!(found), said["branches"], "{lake}");
        let tags: Vec<_> = dump.tags().try_collect().await.unwrap();
        let found: BTreeMap<_, _> = tags.iter().map(|t| (&t.id, &t.commit_id)).collect();
        assert_eq!(json!(found), said["tags"], "{lake}");
        for branch in &branches {
            assert_eq!(&dump.branch(&branch.id).await.unwrap(), branch);
        }
        for tag in &tags {
            assert_eq!(&dump.tag(&tag.id).await.unwrap(), tag);
        }
    }
}

#[tokio::test]
async fn every_metarange_and_range_of_every_commit_has_the_id_that_its_records_make() {
    for lake in LAKES {
        let namespace = namespace(lake);
        let dump = RefsDump::open(namespace.clone()).await.unwrap();
        let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
        let metaranges: BTreeSet<_> = commits.iter().map(|c| c.meta_range_id.clone()).collect();
        let mut ranges = BTreeMap::new();
        for id in &metaranges {
            if *id == "f".repeat(64) {
                // The server accepts a commit of a metarange that never was.
                let error = namespace.metarange(id).await.unwrap_err();
                assert_eq!((lake, error.kind()), ("writes", ErrorKind::NotFound));
                continue;
            }
            let metarange = namespace.metarange(id).await.unwrap();
            assert_eq!(metarange.id(), id);
            if !id.is_empty() {
                let listed = namespace.verify_metarange(id).await.unwrap();
                assert_eq!(listed, metarange.ranges().len() as u64);
            }
            ranges.extend(metarange.ranges().iter().map(|r| (r.id.clone(), r.clone())));
        }
        for range in ranges.values() {
            assert_eq!(namespace.verify_range(&range.id).await.unwrap(), range.count);
            let mut reader = namespace.range(range).await.unwrap();
            let mut count = 0;
            while reader.advance().unwrap() {
                reader.entry().unwrap();
                count += 1;
            }
            assert_eq!(count, range.count);
        }
        let manifest = dump.manifest();
        for id in [&manifest.branches_meta_range_id, &manifest.tags_meta_range_id, &manifest.commits_meta_range_id] {
            namespace.verify_metarange(id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn every_commit_lists_the_objects_that_the_server_lists() {
    let mut compared = 0;
    for lake in LAKES {
        let namespace = namespace(lake);
        let said = read_json(lake, "lake.json");
        let root = said["repository"]["storage_namespace"].as_str().unwrap();
        for entry in std::fs::read_dir(data("lakes").join(lake).join("expected")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(label) = name.strip_suffix(".objects.jsonl") else {
                continue;
            };
            let id = said["commits"][label]["meta_range_id"].as_str().unwrap();
            let metarange = namespace.metarange(id).await.unwrap();
            let expected = json_lines(lake, &format!("expected/{name}"));
            assert_eq!(metarange.count(), expected.len() as u64, "{lake} {label}");
            let found = objects(&namespace, &metarange, root).await;
            for (found, expected) in std::iter::zip(&found, &expected) {
                assert_same(found, expected, &format!("{lake} {label}"));
            }
            assert_eq!(found.len(), expected.len());
            compared += found.len();
        }
    }
    assert!(compared > 5_000, "{compared} objects");
}

/// The objects of a commit as the server would list them.
async fn objects(namespace: &Namespace, metarange: &Metarange, root: &str) -> Vec<Value> {
    let records: Vec<_> = namespace.records(metarange).try_collect().await.unwrap();
    records
        .iter()
        .map(|record| {
            let key = std::str::from_utf8(&record.key).unwrap();
            object(key, &record.entry().unwrap(), root)
        })
        .collect()
}

fn object(key: &str, entry: &EntryRef<'_>, root: &str) -> Value {
    let address = match entry.kind().unwrap() {
        AddressType::Full => entry.address.to_owned(),
        _ => format!("{root}/{}", entry.address),
    };
    let metadata: BTreeMap<_, _> = entry.metadata().collect();
    json!({
        "path": key,
        "path_type": "object",
        "physical_address": address,
        "checksum": entry.etag,
        "size_bytes": entry.size,
        "mtime": entry.mtime_secs,
        "metadata": metadata,
        "content_type": entry.content_type,
    })
}

fn assert_same(found: &Value, expected: &Value, place: &str) {
    let mut expected = expected.clone();
    let fields = expected.as_object_mut().unwrap();
    fields.entry("metadata").or_insert(json!({}));
    // The server names a type where the entry has none.
    if found["content_type"] == "" {
        assert_eq!(fields["content_type"], "application/octet-stream");
        fields["content_type"] = json!("");
    }
    // The server's answer cuts an address at its `?`; the range holds all of it.
    let address = found["physical_address"].as_str().unwrap();
    if let Some((cut, _)) = address.split_once('?') {
        assert_eq!(fields["physical_address"], cut);
        fields["physical_address"] = json!(address);
    }
    assert_eq!(found, &expected, "{place}");
}

#[tokio::test]
async fn keys_are_found_by_lookup_and_keys_between_them_are_not() {
    for lake in ["orders", "odd-keys", "churn"] {
        let namespace = namespace(lake);
        let said = read_json(lake, "lake.json");
        for commit in said["commits"].as_object().unwrap().values() {
            let id = commit["meta_range_id"].as_str().unwrap();
            let metarange = namespace.metarange(id).await.unwrap();
            let records: Vec<_> = namespace.records(&metarange).try_collect().await.unwrap();
            for record in records.iter().step_by(5) {
                let found = namespace.lookup(&metarange, &record.key).await.unwrap();
                assert_eq!(found.as_ref(), Some(record));
                let mut absent = record.key.to_vec();
                absent.push(0);
                assert_eq!(namespace.lookup(&metarange, &absent).await.unwrap(), None);
            }
        }
    }
}

#[tokio::test]
async fn a_prefix_gives_its_keys_and_no_others() {
    let namespace = namespace("orders");
    let said = read_json("orders", "lake.json");
    let id = said["commits"]["load"]["meta_range_id"].as_str().unwrap();
    let metarange = namespace.metarange(id).await.unwrap();
    let records: Vec<_> = namespace.records(&metarange).try_collect().await.unwrap();
    for prefix in ["", "l", "logs/", "orders/", "s", "zzz"] {
        let expected: Vec<_> = records.iter().filter(|record| record.key.starts_with(prefix.as_bytes())).cloned().collect();
        let find = |limit| namespace.with_prefix(&metarange, prefix.as_bytes(), limit);
        assert_eq!(find(usize::MAX).await.unwrap(), expected, "{prefix}");
        assert_eq!(find(3).await.unwrap(), expected[..expected.len().min(3)]);
    }
}

#[tokio::test]
async fn a_commit_that_deletes_everything_and_the_first_commit_are_empty() {
    let namespace = namespace("orders");
    let said = read_json("orders", "lake.json");
    let id = |label: &str| said["commits"][label]["meta_range_id"].as_str().unwrap().to_owned();
    let emptied = namespace.metarange(&id("all-deleted")).await.unwrap();
    assert_ne!(emptied.id(), "");
    let first = namespace.metarange(&id("empty")).await.unwrap();
    assert_eq!(first.id(), "");
    for metarange in [emptied, first] {
        assert_eq!(metarange.ranges(), []);
        assert_eq!(namespace.lookup(&metarange, b"").await.unwrap(), None);
        let records: Vec<_> = namespace.records(&metarange).try_collect().await.unwrap();
        assert_eq!(records, []);
    }
}
