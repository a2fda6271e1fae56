//! Refs dumps, written as the server writes them.

use std::sync::Arc;

use futures::TryStreamExt;
use graveler::ident::{commit_id, entry_identity};
use graveler::{CommitData, EntryRef, ErrorKind, Refs, RefsDump, RefsManifest, Timestamp, encode, write_refs};
use object_store::memory::InMemory;

use crate::lakes::{lake_on, ragged};
use crate::samples::{LAKES, data, namespace};

async fn refs_of(dump: &RefsDump) -> Refs {
    let branches: Vec<_> = dump.branches().try_collect().await.unwrap();
    let tags: Vec<_> = dump.tags().try_collect().await.unwrap();
    let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
    Refs {
        branches: branches.into_iter().map(|branch| (branch.id, branch.commit_id)).collect(),
        tags: tags.into_iter().map(|tag| (tag.id, tag.commit_id)).collect(),
        commits: commits.into_iter().map(|commit| (commit.id.clone(), commit)).collect(),
    }
}

/// The lake with a commit of two pairs of metadata that the server, whose order is random, wrote in
/// another order than ours: the commits are equal, the bytes and the id of their list are not.
const TWO_PAIRS: [&str; 1] = ["imported"];

#[tokio::test]
async fn the_dump_of_every_lake_is_written_again_with_the_same_ids_and_the_same_manifest() {
    for lake in LAKES {
        let dump = RefsDump::open(namespace(lake)).await.unwrap();
        let refs = refs_of(&dump).await;
        let (written, sink) = lake_on(Arc::new(InMemory::new()));
        let manifest = write_refs(&sink, ragged(60), &refs).await.unwrap();
        sink.put_refs_manifest(&manifest).await.unwrap();
        let again = RefsDump::open(written).await.unwrap();
        assert_eq!(refs_of(&again).await, refs);
        if TWO_PAIRS.contains(&lake) {
            assert!(refs.commits.values().any(|commit| commit.metadata.len() > 1));
            let theirs = dump.manifest().commits_meta_range_id.clone();
            assert_eq!(&RefsManifest { commits_meta_range_id: theirs, ..manifest }, dump.manifest());
            continue;
        }
        assert_eq!(&manifest, dump.manifest(), "{lake}");
        let file = std::fs::read(data("lakes").join(lake).join("namespace/_lakefs/refs_manifest.json")).unwrap();
        assert_eq!(String::from_utf8(manifest.to_json()), String::from_utf8(file));
    }
}

#[tokio::test]
async fn every_entry_is_encoded_as_the_server_encoded_it() {
    let (mut entries, mut with_maps) = (0, 0);
    for lake in LAKES {
        let namespace = namespace(lake);
        let dump = RefsDump::open(namespace.clone()).await.unwrap();
        let commits: Vec<_> = dump.commits().try_collect().await.unwrap();
        for commit in commits {
            let Ok(tree) = namespace.metarange(&commit.meta_range_id).await else {
                continue;
            };
            let records: Vec<_> = namespace.records(&tree).try_collect().await.unwrap();
            for record in records {
                let entry = EntryRef::decode(&record.data).unwrap().to_entry();
                let mut out = Vec::new();
                assert_eq!(encode::entry_record(&entry, &mut out), *record.identity);
                assert_eq!(entry_identity(&entry), *record.identity);
                // The server writes two pairs in random order.
                if entry.metadata.len() < 2 {
                    assert_eq!(out, record.data, "{lake} {}", record.key.escape_ascii());
                    entries += 1;
                }
                with_maps += usize::from(entry.metadata.len() == 1);
            }
        }
    }
    assert!(entries > 5_000 && with_maps > 0, "{entries} entries, {with_maps} with metadata");
}

fn commit(message: &str, parents: &[&str]) -> CommitData {
    let mut commit = CommitData {
        committer: "somebody".into(),
        message: message.into(),
        creation_date: Some(Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        version: 1,
        generation: 1,
        ..CommitData::default()
    };
    commit.id = commit_id(&commit);
    commit
}

#[tokio::test]
async fn refs_that_a_server_would_not_restore_are_refused() {
    let (_, sink) = lake_on(Arc::new(InMemory::new()));
    let first = commit("first", &[]);
    let absent = "0".repeat(64);
    let good = Refs { commits: [(first.id.clone(), first.clone())].into(), ..Refs::default() };
    let mut edited = good.clone();
    edited.commits.get_mut(&first.id).unwrap().message = "edited".into();
    let mut headless = good.clone();
    headless.branches.insert("main".into(), absent.clone());
    let mut tag = good.clone();
    tag.tags.insert("v1".into(), absent.clone());
    let mut orphan = good.clone();
    let child = commit("child", &[&absent]);
    orphan.commits.insert(child.id.clone(), child.clone());
    for (refs, expected) in [
        (edited, format!("expected commit {}, found the content of commit", first.id)),
        (headless, format!("expected the head of branch `main` among the commits, found no commit {absent}")),
        (tag, format!("expected the commit of tag `v1` among the commits, found no commit {absent}")),
        (orphan, format!("expected the parent of commit {} among the commits, found no commit {absent}", child.id)),
    ] {
        let error = write_refs(&sink, ragged(60), &refs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().starts_with(&expected), "{error}");
    }
    let manifest: RefsManifest = write_refs(&sink, ragged(60), &good).await.unwrap();
    assert_eq!(RefsManifest::parse(&manifest.to_json(), "m").unwrap(), manifest);
}
