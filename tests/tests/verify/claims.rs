//! What no receipt proves is not passed off as proved.

use millrace_tests::tree::{edited, is_reserved};
use serde_json::Value;

use super::{equal, stage, two_commits, verify};
use crate::export::{Place, Stage};

fn notes(report: &Value) -> String {
    report["notes"].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")).unwrap_or_default()
}

#[test]
fn a_claimed_root_is_compared_only_with_the_commit() {
    let lake = two_commits();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    for (key, body) in stage.expected("before") {
        stage.put_foreign(&key, std::str::from_utf8(&body).unwrap());
    }
    stage.exported("after", &["--from", &stage.lake.commit("before").id]);
    let report = equal(&stage, &[]);
    assert_eq!(report["claimed"], stage.lake.commit("before").id.as_str());
    assert!(report["objects"].as_u64().unwrap() < 800 && notes(&report).contains("was said by --from"), "{report}");
    let after = stage.source("after");
    let report = equal(&stage, &["--against", &after]);
    assert_eq!((&report["objects"], &report["foreign"]), (&800.into(), &0.into()), "{report}");
    // What nobody wrote is missing from the commit, and from no receipt.
    let untouched = stage.lake.objects("after").into_iter().find(|o| o.path.contains("part-0001")).unwrap().path;
    stage.server.delete(crate::export::BUCKET, &format!("{}{untouched}", crate::export::PREFIX));
    equal(&stage, &[]);
    let report = verify(&stage, &["--against", &after]).expect_code(1).json();
    assert_eq!((&report["found"][0]["key"], &report["missing"]), (&untouched.into(), &1.into()));
    verify(&stage, &["--against", &after, "--repair"]).expect_code(0);
    equal(&stage, &["--against", &after]);
}

#[test]
fn another_commit_differs_and_is_not_repaired_to() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    let before = stage.source("before");
    let report = verify(&stage, &["--against", &before]).expect_code(1).json();
    assert_eq!(report["missing"], 200, "{report}");
    assert!(report["changed"].as_u64().unwrap() > 100 && notes(&report).contains("it is compared with"), "{report}");
    let held = stage.data();
    let refused = verify(&stage, &["--against", &before, "--repair"]).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains(&stage.lake.commit("after").id) && message.contains(&stage.lake.commit("before").id), "{message}");
    assert_eq!(stage.data(), held);
}

#[test]
fn a_destination_without_a_receipt_can_be_compared_with_a_commit() {
    let stage = Stage::s3("orders");
    for (key, body) in stage.expected("load") {
        stage.server.put(crate::export::BUCKET, &format!("{}{key}", crate::export::PREFIX), body, None, &[]);
    }
    let refused = verify(&stage, &[]).expect_code(3).json();
    assert!(refused["error"]["help"].as_str().unwrap().contains("--against"), "{refused}");
    let report = equal(&stage, &["--against", &stage.source("load")]);
    assert!(report["commit"].is_null() && notes(&report).contains("no receipt"), "{report}");
}

#[test]
fn selections_and_held_back_markers_are_what_was_exported() {
    let stage = Stage::s3("orders");
    stage.exported("day4", &["--exclude", "**/part-00001*"]);
    let report = equal(&stage, &["--against", &stage.source("day4")]);
    let there = stage.data().into_keys().filter(|key| !is_reserved(key)).count();
    assert_eq!((&report["objects"], &report["foreign"]), (&there.into(), &0.into()), "{report}");
}

#[test]
fn a_run_that_did_not_finish_is_named_and_keeps_repair_away() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    let mut head = stage.head();
    head["unfinished"] = serde_json::json!(["01M7XWAVQV47N4W8R7GXTZQBE9"]);
    stage.put_foreign("_millrace/HEAD.json", &edited(&head));
    let report = equal(&stage, &[]);
    assert!(notes(&report).contains("run 01M7XWAVQV47N4W8R7GXTZQBE9"), "{report}");
    let key = stage.data().into_keys().next().unwrap();
    stage.server.delete(crate::export::BUCKET, &format!("{}{key}", crate::export::PREFIX));
    let refused = verify(&stage, &["--repair"]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("has not finished"), "{refused}");
}

#[test]
fn what_is_broken_is_named() {
    let (stage, _lake) = stage(Place::Folder, Place::Folder);
    let outcome = verify(&stage, &["--against", &format!("{}&prefix=tables/", stage.source("after"))]).expect_code(3);
    assert!(outcome.json()["error"]["message"].as_str().unwrap().contains("below `tables/`"), "{outcome}");
    let receipt = stage.own_keys().into_iter().rfind(|key| key.ends_with("changes.parquet")).unwrap();
    stage.put_foreign(&receipt, "torn");
    let report = verify(&stage, &[]);
    assert!(report.code == 4 || report.code == 2, "{report}");
    assert!(report.json()["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{report}");
}
