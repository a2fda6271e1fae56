//! The options that change what an export does.

use super::{BUCKET, Effect, PREFIX, Place, Stage, Tree, failure, is_marker, keys_of, success};

/// Puts a commit's objects at the destination by hand, as another tool would have.
fn put_by_hand(stage: &Stage, label: &str) {
    for (key, body) in stage.expected(label) {
        stage.put_foreign(&key, std::str::from_utf8(&body).unwrap_or("not text"));
    }
}

fn written(stage: &Stage) -> Vec<Effect> {
    stage.effects().into_iter().filter(|effect| effect.is_write() && !effect.is_own()).collect()
}

#[test]
fn full_copies_everything_again_and_mends_what_somebody_broke() {
    for to in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("orders", Place::Bucket, to);
        stage.exported("load", &[]);
        stage.put_foreign("foreign.txt", "not ours");
        stage.put_foreign("site/index.html", "overwritten");
        let report = stage.exported("day4", &["--full"]);
        assert_eq!((&report["copied"], &report["deleted"], &report["unchanged"]), (&343.into(), &12.into(), &0.into()));
        let mut expected = stage.expected("day4");
        expected.insert("foreign.txt".to_owned(), b"not ours".to_vec());
        assert_eq!(stage.data(), expected);
        let before = stage.stamps();
        let report = stage.exported("day4", &["--full"]);
        assert_eq!((&report["copied"], &report["deleted"]), (&343.into(), &0.into()));
        assert_eq!(super::changed_keys(&before, &stage.stamps()).len(), 343);
        stage.assert_success("day4");
    }
}

#[test]
fn from_says_what_a_destination_without_receipts_holds() {
    let stage = Stage::s3("orders");
    put_by_hand(&stage, "load");
    stage.server.clear_log();
    let load = stage.lake.commit("load").id.clone();
    let report = stage.exported("day4", &["--from", &load]);
    assert_eq!(report["base"], load.as_str());
    assert_eq!(["copied", "deleted", "retracted", "unchanged"].map(|field| report[field].as_u64().unwrap()), [18, 12, 4, 325]);
    let written = written(&stage);
    assert_eq!(written.len(), 18);
    assert_eq!(stage.data().keys().collect::<Vec<_>>(), stage.expected("day4").keys().collect::<Vec<_>>());
    stage.assert_success("day4");
    let receipt = format!("{}/receipt.json", report["receipt"].as_str().unwrap());
    let receipt: serde_json::Value = serde_json::from_slice(&stage.tree()[&receipt]).unwrap();
    assert_eq!((&receipt["claim"]["commit"], &receipt["claim"]["claimed"]), (&load.as_str().into(), &true.into()));
}

#[test]
fn from_is_refused_when_head_says_otherwise() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let (load, day4) = (stage.lake.commit("load").id.clone(), stage.lake.commit("day4").id.clone());
    let stamps = stage.stamps();
    let refused = stage.export("merged", &["--from", &day4]).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains(&load) && message.contains(&day4), "{message}");
    assert_eq!(stage.stamps(), stamps);
    stage.exported("merged", &["--from", &day4, "--force"]);
    assert_eq!(stage.data(), stage.expected("merged"));
    stage.exported("day4", &["--from", &stage.lake.commit("merged").id, "--force"]);
    assert_eq!(stage.data(), stage.expected("day4"));
}

#[test]
fn keep_markers_retracts_nothing_but_what_goes() {
    let stage = Stage::s3("orders");
    stage.exported("load", &["--keep-markers"]);
    stage.server.clear_log();
    let report = stage.exported("day4", &["--keep-markers"]);
    let effects = stage.effects();
    let markers: Vec<_> = effects.iter().filter(|effect| effect.is_marker()).cloned().collect();
    let day = |day: u32| format!("tables/orders/dt=2026-01-0{day}/_SUCCESS");
    assert_eq!(markers, [Effect::Deleted(day(1)), Effect::Written(day(4))]);
    assert_eq!((&report["retracted"], &report["copied"]), (&1.into(), &16.into()));
    assert_eq!(stage.data(), stage.expected("day4"));
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"), "and without it again");
}

#[test]
fn without_a_preset_markers_are_data() {
    let stage = Stage::s3("orders");
    let report = stage.exported("load", &["--preset", "none"]);
    let rounds: Vec<_> = report["rounds"].as_array().unwrap().iter().map(|round| round["name"].clone()).collect();
    assert_eq!(rounds, ["data"]);
    stage.server.clear_log();
    let report = stage.exported("day4", &["--preset", "none"]);
    let effects = stage.effects();
    let day = |day: u32| format!("tables/orders/dt=2026-01-0{day}/_SUCCESS");
    let markers = effects.iter().filter(|effect| effect.is_marker());
    let (writes, deletes): (Vec<_>, Vec<_>) = markers.partition(|effect| effect.is_write());
    assert_eq!((keys_of(writes), keys_of(deletes)), (vec![day(4).as_str()], vec![day(1).as_str()]));
    assert_eq!(["copied", "deleted", "retracted"].map(|field| report[field].as_u64().unwrap()), [16, 13, 0]);
    assert_eq!(stage.data(), stage.expected("day4"));
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"), "from one preset to the other");
}

#[test]
fn keep_success_leaves_those_of_other_commits_as_history() {
    let stage = Stage::s3("orders");
    stage.exported("load", &["--keep-success"]);
    stage.exported("day4", &["--keep-success"]);
    let names = |labels: &[&str]| {
        let mut names: Vec<_> = labels.iter().map(|label| success(&stage.lake.commit(label).id)).collect();
        names.sort();
        names
    };
    assert_eq!(stage.status_markers().into_keys().collect::<Vec<_>>(), names(&["load", "day4"]));
    stage.put_foreign(&failure("old"), "1 failed operation\n");
    stage.exported("merged", &["--keep-success"]);
    assert_eq!(stage.status_markers().into_keys().collect::<Vec<_>>(), names(&["load", "day4", "merged"]));
    stage.exported("merged", &[]);
    stage.assert_success("merged");
}

#[test]
fn status_markers_can_be_called_otherwise() {
    let stage = Stage::s3("orders");
    let template = ["--marker-template", "EXPORT_orders_{commit}_{state}"];
    let report = stage.exported("load", &template);
    let name = format!("EXPORT_orders_{}_SUCCESS", stage.lake.commit("load").id);
    assert_eq!(report["marker"], name.as_str());
    assert_eq!(stage.status_markers().into_keys().collect::<Vec<_>>(), [name]);
    let refused = stage.export("day4", &["--marker-template", "done-{commit}"]).expect_code(2).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("`done-{commit}`"), "{refused}");
    stage.exported("day4", &[]);
    stage.assert_success("day4");
}

#[test]
fn an_assumed_empty_destination_is_not_listed() {
    let stage = Stage::s3("orders");
    stage.put_foreign("logs/_SUCCESS", "not ours");
    stage.exported("load", &["--assume-empty"]);
    let log = stage.server.log();
    let whole = log.filter(|op| op.operation.starts_with("ListObjects") && op.bucket == BUCKET && op.key == PREFIX);
    assert_eq!(whole.len(), 0, "{whole}");
    assert!(stage.data().contains_key("logs/_SUCCESS"), "a marker that was not looked for is not found");
    let stage = Stage::s3("orders");
    stage.put_foreign("logs/_SUCCESS", "not ours");
    stage.put_foreign("other/_SUCCESS", "not ours");
    stage.exported("load", &[]);
    let markers: Vec<_> = stage.data().into_keys().filter(|key| is_marker(key)).collect();
    assert!(!markers.contains(&"logs/_SUCCESS".to_owned()), "one over the commit's keys is retracted: {markers:?}");
    assert!(markers.contains(&"other/_SUCCESS".to_owned()), "one over foreign keys stays: {markers:?}");
}

#[test]
fn concurrency_changes_nothing_but_the_time() {
    let mut trees: Vec<Tree> = Vec::new();
    for concurrency in ["1", "auto", "200"] {
        let stage = Stage::s3("churn");
        stage.exported("c00", &["--concurrency", concurrency]);
        stage.exported("c11", &["--concurrency", concurrency]);
        trees.push(stage.data());
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    assert_eq!(trees[0], Stage::s3("churn").expected("c11"));
}
