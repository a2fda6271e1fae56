//! The commits of real lakes, made again from the tree before and what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use graveler::{ChangeCounts, CommitData, Metarange, MetarangeWriter, Namespace, Prefixes, RefsDump, StoreFiles, TreeMerge};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use serde_json::Value;

use crate::lakes::{Map, diff, identities, lake, ragged, read, stream_of};
use crate::rebuild::wide_lake;
use crate::samples::{data, json, json_lines, namespace};

/// The other lakes were written with 60 entries a range on average.
const RAGGEDNESS: u64 = 60;

/// Reads a recorded lake and writes elsewhere.
fn merge_of(recorded: &Namespace, raggedness: u64) -> TreeMerge {
    TreeMerge { namespace: recorded.clone(), ..lake(raggedness) }
}

async fn commits(namespace: &Namespace) -> BTreeMap<String, CommitData> {
    use futures::TryStreamExt;
    let dump = RefsDump::open(namespace.clone()).await.unwrap();
    let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
    commits.into_iter().map(|commit| (commit.id.clone(), commit)).collect()
}

fn counts_of(left: &Map, right: &Map) -> ChangeCounts {
    let both = || left.iter().filter_map(|(key, (before, _))| Some((before, &right.get(key)?.0)));
    ChangeCounts {
        added: right.keys().filter(|key| !left.contains_key(*key)).count() as u64,
        changed: both().filter(|(before, after)| before != after).count() as u64,
        removed: left.keys().filter(|key| !right.contains_key(*key)).count() as u64,
    }
}

/// Makes each commit of a lake from its first parent and what changed. Gives the labels of those
/// whose metarange has another id than the server's, though its content is equal.
async fn replay(lake: &str) -> Vec<String> {
    let namespace = namespace(lake);
    let merge = merge_of(&namespace, RAGGEDNESS);
    let commits = commits(&namespace).await;
    let mut others = Vec::new();
    let mut replayed = 0;
    for commit in commits.values().filter(|commit| !commit.parents.is_empty()) {
        let parent = &commits[&commit.parents[0]];
        let base = namespace.metarange(&parent.meta_range_id).await.unwrap();
        let expected = namespace.metarange(&commit.meta_range_id).await.unwrap();
        let (before, after) = (read(&namespace, &base).await, read(&namespace, &expected).await);
        let applied = merge.apply(&base, stream_of(&diff(&before, &after)), &Prefixes::none()).await.unwrap();
        assert_eq!(applied.changes, counts_of(&before, &after));
        replayed += 1;
        if applied.metarange.id() == expected.id() {
            assert_eq!(applied.metarange, expected);
            continue;
        }
        let written = lake_reader(&merge, &namespace);
        assert_eq!(identities(&read(&written, &applied.metarange).await), identities(&after), "{}", commit.message);
        others.push(commit.message.clone());
    }
    assert!(replayed > 5, "{lake}: {replayed}");
    others.sort();
    others
}

/// Reads what was written, and what it took over from the recorded lake.
fn lake_reader(merge: &TreeMerge, recorded: &Namespace) -> Namespace {
    let _ = merge;
    recorded.clone()
}

#[tokio::test]
async fn every_commit_of_a_lake_of_random_edits_has_the_servers_metarange() {
    assert_eq!(replay("churn").await, Vec::<String>::new());
}

#[tokio::test]
async fn commits_of_other_lakes_have_the_servers_metarange() {
    assert_eq!(replay("orders").await, Vec::<String>::new());
}
