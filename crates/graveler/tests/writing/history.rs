//! The commits of real lakes, made again from the tree before and what changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use graveler::{
    Change, ChangeCounts, CommitData, Merged, Metarange, MetarangeWriter, Namespace, Prefixes, RefsDump, StoreFiles, Strategy,
    TreeMerge, WriteOptions,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use serde_json::Value;

use crate::lakes::{Changes, Map, diff, lake, ragged, read, stream_of, write};
use crate::rebuild::wide_lake;
use crate::samples::{data, json, json_lines, namespace};

/// The lakes, but for `wide`, were written with 60 entries a range on average.
const RAGGEDNESS: u64 = 60;

/// Reads a recorded lake, which stays as it is, and writes elsewhere.
fn merge_of(recorded: &Namespace) -> TreeMerge {
    TreeMerge { namespace: recorded.clone(), ..lake(RAGGEDNESS) }
}

async fn commits(namespace: &Namespace) -> BTreeMap<String, CommitData> {
    let dump = RefsDump::open(namespace.clone()).await.unwrap();
    let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
    commits.into_iter().map(|commit| (commit.id.clone(), commit)).collect()
}

/// The tree at a label.
async fn tree(namespace: &Namespace, lake: &Value, label: &str) -> Metarange {
    let id = lake["commits"][label]["meta_range_id"].as_str().unwrap();
    namespace.metarange(id).await.unwrap()
}

pub(crate) fn counts_of(left: &Map, right: &Map) -> ChangeCounts {
    let both = || left.iter().filter_map(|(key, (before, _))| Some((before, &right.get(key)?.0)));
    ChangeCounts {
        added: right.keys().filter(|key| !left.contains_key(*key)).count() as u64,
        changed: both().filter(|(before, after)| before != after).count() as u64,
        removed: left.keys().filter(|key| !right.contains_key(*key)).count() as u64,
    }
}

/// Makes each commit of a lake from its first parent and what changed: the same ranges, and the same
/// metarange, whether it was a commit, a merge, a revert or an import. Gives the number of commits.
async fn replay(lake: &str) -> usize {
    let namespace = namespace(lake);
    let merge = merge_of(&namespace);
    let commits = commits(&namespace).await;
    let mut replayed = 0;
    for commit in commits.values().filter(|commit| !commit.parents.is_empty()) {
        let parent = &commits[&commit.parents[0]];
        let Ok(expected) = namespace.metarange(&commit.meta_range_id).await else {
            // A commit whose metarange never was: see the tests of reading.
            assert_eq!((lake, &*commit.meta_range_id), ("writes", &*"f".repeat(64)));
            continue;
        };
        let Ok(base) = namespace.metarange(&parent.meta_range_id).await else {
            continue;
        };
        let (before, after) = (read(&namespace, &base).await, read(&namespace, &expected).await);
        let applied = merge.apply(&base, stream_of(&diff(&before, &after)), &Prefixes::none()).await.unwrap();
        assert_eq!(applied.changes, counts_of(&before, &after));
        assert_eq!(applied.metarange, expected, "{lake}: {}", commit.message);
        replayed += 1;
    }
    replayed
}

#[tokio::test]
async fn every_commit_of_a_lake_of_random_edits_gets_the_servers_ranges_and_id() {
    assert_eq!(replay("churn").await, 12);
}

#[tokio::test]
async fn commits_merges_and_reverts_of_other_lakes_get_the_servers_ranges_and_ids() {
    for (lake, expected) in [("orders", 8), ("delta", 3), ("odd-keys", 1), ("gateway", 1), ("imported", 5), ("writes", 3)] {
        let replayed = replay(lake).await;
        assert!(replayed >= expected, "{lake}: {replayed} commits");
    }
}

/// The same through the differences that the server listed, which name keys and sizes only: the
/// records are taken from the tree that is to come out.
#[tokio::test]
async fn every_recorded_difference_applied_to_its_left_tree_gives_its_right_tree() {
    let mut applied = 0;
    for lake in ["churn", "orders"] {
        let (namespace, said) = (namespace(lake), json(lake, "lake.json"));
        let merge = merge_of(&namespace);
        for (name, left, right) in recorded_diffs(lake) {
            let (left, right) = (tree(&namespace, &said, &left).await, tree(&namespace, &said, &right).await);
            let after = read(&namespace, &right).await;
            let changes: Changes =
                json_lines(lake, &format!("expected/{name}")).iter().map(|item| change(item, &after)).collect();
            assert_eq!(changes, diff(&read(&namespace, &left).await, &after), "{lake} {name}");
            let found = merge.apply(&left, stream_of(&changes), &Prefixes::none()).await.unwrap();
            assert_eq!(found.changes.added + found.changes.changed + found.changes.removed, changes.len() as u64);
            // A tree over several commits is cut where its history cut it, so ids may differ where
            // ranges were entered in one commit and not in another. Here they never do.
            assert_eq!(found.metarange, right, "{lake} {name}");
            applied += 1;
        }
    }
    assert!(applied > 30, "{applied}");
}

fn recorded_diffs(lake: &str) -> Vec<(String, String, String)> {
    let folder = std::fs::read_dir(data("lakes").join(lake).join("expected")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut diffs: Vec<_> = names
        .filter_map(|name| {
            let (left, right) = name.strip_suffix(".diff.jsonl")?.split_once("..")?;
            Some((name.clone(), left.to_owned(), right.to_owned()))
        })
        .collect();
    diffs.sort();
    diffs
}

fn change(item: &Value, after: &Map) -> (Bytes, Change) {
    let key = Bytes::from(item["path"].as_str().unwrap().to_owned());
    let change = match after.get(&key) {
        Some((identity, data)) => Change::Put { identity: identity.clone(), data: data.clone() },
        None => Change::Delete,
    };
    assert_eq!(item["type"] == "removed", change == Change::Delete);
    (key, change)
}

#[tokio::test]
async fn a_merge_of_two_branches_gets_the_servers_ranges_and_id() {
    let (namespace, said) = (namespace("orders"), json("orders", "lake.json"));
    let merge = merge_of(&namespace);
    let at = async |label: &str| tree(&namespace, &said, label).await;
    let (base, source, destination) = (at("day4").await, at("dev-site").await, at("metadata-only").await);
    let merged = merge.merge(&base, &source, &destination, None, 10).await.unwrap();
    let Merged::Tree { applied, resolved } = merged else {
        panic!("{merged:?}");
    };
    assert_eq!(applied.metarange, at("merged").await);
    assert_eq!(resolved, 0);
    let forward = merge.merge(&base, &source, &base, Some(Strategy::DestWins), 10).await.unwrap();
    let Merged::Tree { applied, .. } = forward else {
        panic!("{forward:?}");
    };
    assert_eq!(applied.metarange, source, "a destination that is the merge base becomes the source");
    assert!(!applied.changes.is_empty());
    assert_eq!(merge.merge(&base, &base, &destination, None, 10).await.unwrap(), Merged::Nothing);
}

#[tokio::test]
async fn fresh_trees_are_cut_into_the_servers_ranges() {
    for (name, label) in [("churn", "c00"), ("orders", "load")] {
        let (namespace, said) = (namespace(name), json(name, "lake.json"));
        let expected = tree(&namespace, &said, label).await;
        assert!(expected.ranges().len() > 2);
        assert_eq!(write(&lake(RAGGEDNESS), &read(&namespace, &expected).await).await, expected);
    }
}

#[tokio::test]
async fn a_tree_of_nothing_is_the_one_that_the_server_writes_when_all_is_deleted() {
    let (namespace, said) = (namespace("orders"), json("orders", "lake.json"));
    let expected = tree(&namespace, &said, "all-deleted").await;
    let mut writer = MetarangeWriter::new(lake(RAGGEDNESS).sink, ragged(RAGGEDNESS));
    assert_eq!(writer.add(b"", b"i", b"d").await.unwrap_err().kind(), graveler::ErrorKind::InvalidInput);
    assert_eq!(writer.finish().await.unwrap().metarange, expected);
}

fn wide() -> Option<(Namespace, Value)> {
    let folder: PathBuf = wide_lake()?;
    let said = serde_json::from_slice(&std::fs::read(folder.join("lake.json")).unwrap()).unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.join("namespace")).unwrap();
    Some((Namespace::new(Arc::new(StoreFiles::new(Arc::new(store), Path::default()))), said))
}

/// 130,000 entries: where the server ended its ranges, and a small change to them.
#[tokio::test]
async fn a_large_commit_and_a_small_change_to_it_get_the_servers_ranges_and_ids() {
    let Some((namespace, said)) = wide() else {
        return;
    };
    let (bulk, changed) = (tree(&namespace, &said, "bulk").await, tree(&namespace, &said, "small-change").await);
    let (before, after) = (read(&namespace, &bulk).await, read(&namespace, &changed).await);
    assert!(before.len() > 100_000 && bulk.ranges().len() > 2);
    let options = WriteOptions::default();
    let merge = TreeMerge { namespace, options, ..lake(1) };
    assert_eq!(write(&merge, &before).await, bulk);
    let applied = merge.apply(&bulk, stream_of(&diff(&before, &after)), &Prefixes::none()).await.unwrap();
    assert_eq!(applied.metarange, changed);
    assert_eq!(applied.changes, counts_of(&before, &after));
}
