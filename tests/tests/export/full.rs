//! A full export has exactly the commit's keys and bytes; the next commit's writes exactly what changed; a second run of the
//! same commit writes nothing. From folders and buckets to folders and buckets.

use std::collections::{BTreeMap, BTreeSet};

use millrace_tests::tree::is_reserved;

use super::{BUCKET, Effect, PREFIX, Place, Stage, Tree, changed_keys, is_marker, keys_of, success};

/// Keys that the export never wrote, and must not touch.
const FOREIGN: [&str; 3] = ["EXPORT_report.csv", "foreign.txt", "tables/orders/dt=2026-01-01/keep.me"];

/// The markers that `load`→`day4` retracts, and of those the ones that it publishes again.
const RETRACTED: [&str; 4] = [
    "_SUCCESS",
    "tables/orders/dt=2026-01-01/_SUCCESS",
    "tables/orders/dt=2026-01-02/_SUCCESS",
    "tables/orders/dt=2026-01-04/_SUCCESS",
];
const PUBLISHED: [&str; 3] = ["_SUCCESS", "tables/orders/dt=2026-01-02/_SUCCESS", "tables/orders/dt=2026-01-04/_SUCCESS"];

fn with_foreign(mut tree: Tree) -> Tree {
    tree.extend(FOREIGN.map(|key| (key.to_owned(), b"not ours".to_vec())));
    tree
}

/// Fails the test unless the bucket holds each object with its entry's content type and user metadata.
fn assert_attributes(stage: &Stage, label: &str) {
    for object in stage.lake.objects(label) {
        let stored = stage.server.get(BUCKET, &format!("{PREFIX}{}", object.path)).unwrap();
        let said = (&stored.content_type, &stored.metadata);
        assert_eq!(said, (&object.content_type, &object.metadata), "{}", object.path);
    }
}

/// The data that `load`→`day4` writes, and that it deletes; markers are apart.
fn difference(stage: &Stage) -> (BTreeSet<String>, BTreeSet<String>) {
    let lines = stage.lake.diff("load", "day4").into_iter().filter(|line| !is_marker(&line.path));
    let (gone, here): (Vec<_>, Vec<_>) = lines.partition(|line| line.kind == "removed");
    (here.into_iter().map(|line| line.path).collect(), gone.into_iter().map(|line| line.path).collect())
}

/// Millrace's own keys after so many exports: shapes with ids taken out.
fn own_shapes(stage: &Stage, commits: &[&str]) -> BTreeMap<String, usize> {
    let mut shapes = BTreeMap::new();
    for key in stage.own_keys() {
        let shape = match key.split('/').collect::<Vec<_>>().as_slice() {
            ["_millrace", "receipts", receipt, file] => {
                let [seq, commit, run] = receipt.split('-').collect::<Vec<_>>().try_into().unwrap();
                assert!(commits.contains(&commit) && run.len() == 26, "{key}");
                format!("receipts/{seq}/{file}")
            }
            ["_millrace", "runs", run, "run.json"] if run.len() == 26 => "runs/run.json".to_owned(),
            _ => key.strip_prefix("_millrace/").unwrap_or(&key).to_owned(),
        };
        *shapes.entry(shape).or_insert(0) += 1;
    }
    // The lock of folders, which has no store to lock for it.
    shapes.remove("lock");
    shapes
}

fn first_export(stage: &Stage) {
    let report = stage.exported("load", &[]);
    assert_eq!(stage.data(), with_foreign(stage.expected("load")));
    assert_eq!((&report["copied"], &report["deleted"], &report["unchanged"]), (&343.into(), &0.into(), &0.into()));
    let load = stage.lake.commit("load").id.as_str();
    let expected = [
        ("HEAD.json", 1),
        ("receipts/00000001/changes.parquet", 1),
        ("receipts/00000001/receipt.json", 1),
        ("runs/run.json", 1),
        (&success(load), 1),
    ];
    let shapes = own_shapes(stage, &[load]);
    assert_eq!(shapes, expected.into_iter().map(|(shape, count)| (shape.to_owned(), count)).collect());
    stage.assert_success("load");
}

fn next_export(stage: &Stage) {
    let before = stage.stamps();
    let report = stage.exported("day4", &["--concurrency", "16"]);
    assert_eq!(stage.data(), with_foreign(stage.expected("day4")));
    let (written, deleted) = difference(stage);
    let mut changed: BTreeSet<_> = written.union(&deleted).cloned().collect();
    changed.extend(RETRACTED.map(str::to_owned));
    assert_eq!(changed_keys(&before, &stage.stamps()), changed, "nothing else was written, not even with the same bytes");
    let counts = ["copied", "deleted", "retracted", "unchanged"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [18, 12, 4, 343 - 18]);
    stage.assert_success("day4");
}

/// Exactly the changed keys and the markers are written, each once, and exactly the removed ones deleted.
fn assert_requests(stage: &Stage) {
    let effects = stage.effects();
    let split = |of: fn(&Effect) -> bool| -> (Vec<Effect>, Vec<Effect>) {
        effects.iter().filter(|effect| of(effect)).cloned().partition(Effect::is_write)
    };
    let (here, gone) = difference(stage);
    let (puts, deletes) = split(Effect::is_data);
    assert_eq!(keys_of(&puts), here.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(keys_of(&deletes), gone.iter().map(String::as_str).collect::<Vec<_>>());
    let (puts, deletes) = split(Effect::is_marker);
    assert_eq!((keys_of(&puts), keys_of(&deletes)), (PUBLISHED.to_vec(), RETRACTED.to_vec()));
}

fn converges(from: Place, to: Place) {
    let stage = Stage::new("orders", from, to);
    for key in FOREIGN {
        stage.put_foreign(key, "not ours");
    }
    first_export(&stage);
    if to == Place::Bucket {
        assert_attributes(&stage, "load");
    }
    stage.server.clear_log();
    next_export(&stage);
    if to == Place::Bucket {
        assert_attributes(&stage, "day4");
        assert_requests(&stage);
    }
    let (before, head) = (stage.stamps(), stage.head());
    stage.server.clear_log();
    let report = stage.exported("day4", &[]);
    assert_eq!((&report["copied"], &report["unchanged"], &report["requests"]["data"]), (&0.into(), &343.into(), &0.into()));
    let mut after = stage.stamps();
    after.insert("_millrace/HEAD.json".to_owned(), before["_millrace/HEAD.json"].clone());
    assert_eq!(after, before, "a second run writes nothing but, at most, HEAD");
    assert_eq!(stage.head()["current"], head["current"]);
    assert!(stage.effects().iter().all(|effect| *effect == Effect::Written("_millrace/HEAD.json".to_owned())));
    assert!(FOREIGN.iter().all(|key| !is_reserved(key)));
}

#[test]
fn from_a_folder_to_a_folder() {
    converges(Place::Folder, Place::Folder);
}

#[test]
fn from_a_folder_to_a_bucket() {
    converges(Place::Folder, Place::Bucket);
}

#[test]
fn from_a_bucket_to_a_folder() {
    converges(Place::Bucket, Place::Folder);
}

#[test]
fn from_a_bucket_to_a_bucket() {
    converges(Place::Bucket, Place::Bucket);
}

#[test]
fn between_buckets_of_one_server_no_byte_passes_through() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let log = stage.server.log();
    let copies = log.of("CopyObject");
    assert_eq!(copies.len(), 343);
    assert_eq!(log.for_prefix("lake", "orders/data/").of("GetObject").len(), 0);
    assert_eq!(copies.filter(|op| !op.conditions.contains_key("x-amz-copy-source-if-match")).len(), 0, "each source is pinned");
}
