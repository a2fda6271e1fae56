//! Rounds in the operation log: markers go before anything changes and come back when everything has, each step a barrier.

use std::{collections::BTreeMap, fs, time::Instant};

use graveler::{Metarange, sstable::LoadedTable};
use millrace_tests::{lakes::Lake, s3::Op, tree::is_reserved};

use super::{BUCKET, Effect, PREFIX, Place, Stage, is_marker};

/// The steps of an export in their order; each is a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Outermost first.
    Retract {
        depth: usize,
    },
    Copy,
    Delete,
    /// Innermost first.
    Publish {
        height: usize,
    },
}

/// The step that a request to the destination belongs to, and how many keys it names; none for Millrace's own keys.
fn step(op: &Op) -> Option<(Step, usize)> {
    let keys: Vec<_> = if op.keys.is_empty() { vec![op.key.as_str()] } else { op.keys.iter().map(String::as_str).collect() };
    let keys: Vec<_> = keys.iter().filter_map(|key| key.strip_prefix(PREFIX)).filter(|key| !is_reserved(key)).collect();
    let key = keys.first().filter(|_| op.applied && op.bucket == BUCKET)?;
    let depth = key.matches('/').count();
    let step = match (op.operation.as_str(), is_marker(key)) {
        ("DeleteObject" | "DeleteObjects", true) => Step::Retract { depth },
        ("DeleteObject" | "DeleteObjects", false) => Step::Delete,
        ("PutObject" | "CopyObject", true) => Step::Publish { height: 100 - depth },
        ("PutObject" | "CopyObject", false) => Step::Copy,
        other => panic!("{other:?} at the destination: {op}"),
    };
    let alike = keys
        .iter()
        .filter(|other| is_marker(other) == is_marker(key) && (!is_marker(key) || other.matches('/').count() == depth));
    assert_eq!(alike.count(), keys.len(), "a request for keys of several steps: {op}");
    Some((step, keys.len()))
}

/// The steps that were seen, with their first start, last end and keys.
fn seen(stage: &Stage) -> BTreeMap<Step, (Instant, Instant, usize)> {
    let mut steps = BTreeMap::new();
    for op in stage.server.log().iter() {
        let Some((step, keys)) = step(op) else { continue };
        let ended = op.ended.unwrap();
        let (first, last, count) = steps.entry(step).or_insert((op.started, ended, 0));
        (*first, *last, *count) = ((*first).min(op.started), (*last).max(ended), *count + keys);
    }
    steps
}

/// Fails the test unless no request of a step was sent before the last of the step before it was answered.
#[track_caller]
pub(super) fn assert_barriers(stage: &Stage) {
    let steps: Vec<_> = seen(stage).into_iter().collect();
    for pair in steps.windows(2) {
        let ((before, (_, end, _)), (after, (start, ..))) = (pair[0], pair[1]);
        assert!(end <= start, "{after:?} began before {before:?} had ended:\n{}", stage.server.log().writes());
    }
}

fn day4(from: Place) -> (Stage, serde_json::Value) {
    let stage = Stage::new("orders", from, Place::Bucket);
    stage.exported("load", &[]);
    stage.server.clear_log();
    let report = stage.exported("day4", &["--concurrency", "16"]);
    (stage, report)
}

fn assert_day4(from: Place) {
    let (stage, report) = day4(from);
    let steps: Vec<_> = seen(&stage).into_iter().map(|(step, (_, _, count))| (step, count)).collect();
    let expected = [
        (Step::Retract { depth: 0 }, 1),
        (Step::Retract { depth: 3 }, 3),
        (Step::Copy, 15),
        (Step::Delete, 12),
        (Step::Publish { height: 97 }, 2),
        (Step::Publish { height: 100 }, 1),
    ];
    assert_eq!(steps, expected);
    assert_barriers(&stage);
    assert_eq!(report["rounds"][0]["name"], "retract");
    assert_eq!(report["rounds"][0]["deleted"], 4);
    let keys: Vec<_> = stage.tree().into_keys().filter(|key| is_marker(key)).collect();
    let day = |day: u32| format!("tables/orders/dt=2026-01-0{day}/_SUCCESS");
    assert_eq!(keys, ["_SUCCESS".to_owned(), day(2), day(3), day(4)], "day 1 is gone");
    assert_eq!(stage.tree().keys().filter(|key| key.contains("dt=2026-01-01")).count(), 0);
}

#[test]
fn markers_go_before_the_first_data_write_and_come_after_the_last_from_a_folder() {
    assert_day4(Place::Folder);
}

#[test]
fn markers_go_before_the_first_data_write_and_come_after_the_last_from_a_bucket() {
    assert_day4(Place::Bucket);
}

#[test]
fn markers_of_ranges_that_are_not_opened_are_looked_up() {
    let (stage, report) = day4(Place::Bucket);
    let (load, day4) = (ranges(&stage.lake, "load"), ranges(&stage.lake, "day4"));
    let common: Vec<_> = load.iter().filter(|range| day4.contains(range)).collect();
    assert!(common.iter().any(|(_, first)| first == "_SUCCESS"), "the root's marker is in a range that did not change");
    let (total, opened) = (load.len() + day4.len() - common.len(), load.len() + day4.len() - 2 * common.len());
    assert_eq!(report["ranges"]["total"], total);
    assert_eq!(report["ranges"]["opened"], opened);
    // Of the root, `tables/`, `tables/orders/` and day 2; those of days 1 and 4 are in the difference itself.
    assert_eq!(report["ranges"]["looked_up"], 4);
    let root = stage.effects().into_iter().filter(|effect| effect.key() == "_SUCCESS").collect::<Vec<_>>();
    assert_eq!(root, [Effect::Deleted("_SUCCESS".to_owned()), Effect::Written("_SUCCESS".to_owned())]);
}

/// The ids of a commit's ranges and their first keys.
fn ranges(lake: &Lake, label: &str) -> Vec<(String, String)> {
    let id = &lake.commit(label).meta_range_id;
    let bytes = fs::read(lake.namespace().join("_lakefs").join(id)).unwrap();
    let metarange = Metarange::read(id, &LoadedTable::parse(id, bytes.into()).unwrap()).unwrap();
    metarange.ranges().iter().map(|range| (range.id.clone(), String::from_utf8_lossy(&range.min_key).into_owned())).collect()
}

#[test]
fn the_steps_of_a_tree_of_nested_markers_are_barriers() {
    let stage = Stage::s3("churn");
    stage.exported("c00", &["--concurrency", "16"]);
    assert_barriers(&stage);
    stage.server.clear_log();
    stage.exported("c11", &["--concurrency", "16"]);
    assert_barriers(&stage);
    let depths = seen(&stage).into_keys().filter(|step| matches!(step, Step::Retract { .. })).count();
    assert!(depths > 2, "{:?}", seen(&stage));
}

#[test]
fn own_rounds_come_after_the_rest_of_the_data_and_before_the_markers() {
    let stage = Stage::s3("orders");
    let options = ["--round", "site/*.html", "--round", "sql:key LIKE 'logs/2026/0%' AND size > 0"];
    let report = stage.exported("load", &options);
    let names: Vec<_> = report["rounds"].as_array().unwrap().iter().map(|round| round["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["retract", "data", "site/*.html", "sql:key LIKE 'logs/2026/0%' AND size > 0", "markers"]);
    let sizes: BTreeMap<_, _> = stage.lake.objects("load").into_iter().map(|object| (object.path, object.size_bytes)).collect();
    let round = |key: &str| match key {
        key if is_marker(key) => 4,
        "site/index.html" => 2,
        key if key.starts_with("logs/2026/0") && sizes[key] > 0 => 3,
        _ => 1,
    };
    let effects = stage.effects();
    let written: Vec<_> = effects.iter().filter(|effect| effect.is_write() && !effect.is_own()).map(Effect::key).collect();
    assert_eq!(written.len(), 343);
    assert!(written.is_sorted_by_key(|key| round(key)), "{written:?}");
    for number in 1..=4 {
        let count = written.iter().filter(|key| round(key) == number).count();
        assert_eq!(report["rounds"][number]["copied"], count, "round {number}");
        assert!(count > 0);
    }
}
