use std::path::Path;

use planner::Location;

use super::*;
use crate::store::{FailureKind, RequestClass};
use crate::{Registry, RegistryOptions};

async fn store(folder: &Path) -> Arc<dyn Store> {
    let registry = Registry::load(RegistryOptions::default()).await.unwrap();
    registry.open(&Location::parse(folder.to_str().unwrap()).unwrap().as_folder(), RequestClass::Control).unwrap()
}

fn done(shard: i32, row: i32, etag: &str) -> Entry {
    let texts = [Some(etag.to_owned()), None, Some("md5".to_owned()), None, None, None];
    Entry { shard, row, state: State::Done, bytes: 7, texts }
}

fn failed(shard: i32, row: i32) -> Entry {
    let texts = [None, None, None, Some("denied".to_owned()), Some("no".to_owned()), None];
    Entry { shard, row, state: State::Failed, bytes: 0, texts }
}

#[tokio::test]
async fn what_was_flushed_is_found_by_shard_and_two_attempts_lie_side_by_side() {
    let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(dir.path()).await;
    let first = Journal::start(Arc::clone(&store), Arc::clone(&store), 3, None);
    first.record(done(0, 0, "a"));
    first.record(failed(0, 1));
    first.record(done(5, 9, "b"));
    first.flush().await.unwrap();
    let second = Journal::start(Arc::clone(&store), Arc::clone(&store), 4, None);
    second.record(done(0, 1, "c"));
    second.flush().await.unwrap();
    // A late word of the first attempt does not undo what was done.
    first.record(failed(0, 1));
    first.flush().await.unwrap();
    let known = Outcomes::fetch(&store, spool.path()).await.unwrap();
    let etag = |shard: i32, row: i32| known.of(shard).unwrap().done(row).and_then(|done| done.etag);
    assert_eq!((etag(0, 0).as_deref(), etag(0, 1).as_deref(), etag(5, 9).as_deref()), (Some("a"), Some("c"), Some("b")));
    assert_eq!((etag(0, 2), etag(1, 0)), (None, None));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count(), 3);
}

#[tokio::test]
async fn an_upload_without_an_outcome_is_open() {
    let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(dir.path()).await;
    let journal = Journal::start(Arc::clone(&store), Arc::clone(&store), 1, None);
    journal.intend(1, 0, "big/a").await.unwrap();
    journal.intend(1, 1, "big/b").await.unwrap();
    journal.record(done(1, 1, "x-3"));
    journal.record(failed(1, 0));
    journal.flush().await.unwrap();
    let known = Outcomes::fetch(&store, spool.path()).await.unwrap();
    assert_eq!(known.uploads().unwrap(), [Upload { key: "big/a".to_owned() }]);
    assert!(known.of(1).unwrap().done(0).is_none());
}

#[tokio::test]
async fn a_closed_fence_breaks_the_journal_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fence = Arc::new(Fence::default());
    let store = store(dir.path()).await;
    let journal = Journal::start(Arc::clone(&store), store, 1, Some(Arc::clone(&fence)));
    fence.close("lost");
    journal.record(done(0, 0, "a"));
    assert_eq!(journal.flush().await.unwrap_err().kind, FailureKind::Fenced);
    assert_eq!(journal.broken().unwrap().kind, FailureKind::Fenced);
    assert_eq!(journal.lock().len(), 1);
}

#[tokio::test]
async fn what_is_no_segment_is_named() {
    let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("0-abc-00000.parquet"), "nonsense").unwrap();
    let error = Outcomes::fetch(&store(dir.path()).await, spool.path()).await.unwrap_err();
    assert_eq!(error.kind(), planner::ErrorKind::Corrupt);
    assert!(error.to_string().contains("0-abc-00000.parquet"), "{error}");
}

#[test]
fn names_tell_the_shards() {
    let entries = [done(4, 0, "a"), done(3, 0, "b"), done(4, 1, "c")];
    // The check value of CRC-64/NVME.
    let name = segment::name(&entries, "9f", 7, b"123456789");
    assert_eq!(name, "3.4-9f-00007-ae8b14860a799888.parquet");
    assert!(segment::is_whole(&format!("5/{name}"), b"123456789") && !segment::is_whole(&name, b"123456788"));
    assert!(segment::is_whole("3.4-9f-00007.parquet", b"anything"), "of an earlier version");
    assert_eq!(segment::shards_of("3.4-9f-00007.parquet"), Ok(Some(vec![3, 4])));
    let many: Vec<Entry> = (0..40).map(|shard| done(shard, 0, "a")).collect();
    assert_eq!(segment::shards_of(&segment::name(&many, "9f", 0, b"")), Ok(None));
    assert!(segment::shards_of("x.txt").is_err() && segment::shards_of("a-b-c.parquet").is_err());
}

#[tokio::test]
async fn a_segment_that_was_removed_is_missed_and_one_that_could_not_be_written_is_not() {
    let (dir, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(dir.path()).await;
    let fence = Arc::new(Fence::default());
    let journal = Journal::start(Arc::clone(&store), Arc::clone(&store), 1, Some(Arc::clone(&fence)));
    for row in 0..4 {
        if row == 2 {
            // Nothing can be written for a while.
            fence.extend(0);
            journal.record(done(0, 9, "x"));
            journal.flush().await.unwrap_err();
            fence.extend(u64::MAX);
        }
        journal.record(done(0, row, "a"));
        journal.flush().await.unwrap();
    }
    assert!(Outcomes::fetch(&store, spool.path()).await.unwrap().of(0).unwrap().done(9).is_some());
    let segments = || {
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|one| one.unwrap().path()).collect();
        names.retain(|path| path.is_file());
        names.sort();
        names
    };
    std::fs::remove_file(&segments()[1]).unwrap();
    let error = Outcomes::fetch(&store, spool.path()).await.unwrap_err();
    assert_eq!(error.kind(), planner::ErrorKind::Corrupt);
    assert!(error.to_string().contains("-00001-*.parquet, a segment of a journal, is missing"), "{error}");
    assert!(error.help().unwrap().contains("--no-resume"));
    let (known, unreadable) = Outcomes::fetch_readable(&store, spool.path()).await.unwrap();
    assert!(known.of(0).unwrap().done(3).is_some() && unreadable.len() == 1);
    Outcomes::so_far(&store, spool.path()).await.unwrap();
    // Of another attempt nothing is missing.
    let other = Journal::start(Arc::clone(&store), Arc::clone(&store), 2, None);
    other.record(done(0, 5, "b"));
    other.flush().await.unwrap();
    segments()
        .iter()
        .filter(|path| !path.to_string_lossy().contains(&other.attempt))
        .for_each(|path| std::fs::remove_file(path).unwrap());
    Outcomes::fetch(&store, spool.path()).await.unwrap();
}
