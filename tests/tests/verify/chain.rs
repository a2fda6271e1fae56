//! The chain of receipts: it stays short, it is folded, and it stands in for a base whose metadata is gone.

use std::fs;

use millrace_tests::lakes::Lake;
use serde_json::Value;

use super::{equal, verify};
use crate::export::{Place, Stage, range_counts};

fn receipts(stage: &Stage) -> Vec<Value> {
    let tree = stage.tree();
    let documents = tree.iter().filter(|(key, _)| key.ends_with("/receipt.json"));
    documents.map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
}

#[test]
fn a_chain_that_has_grown_is_folded_and_the_old_is_collected() {
    let stage = Stage::s3("churn");
    let labels = ["c00", "c01", "c02", "c03", "c04", "c05", "c06"];
    for (count, label) in (1..).zip(labels) {
        stage.exported(label, &["--keep-receipts", "3"]);
        let kept = receipts(&stage);
        assert!(kept.len() <= 5 && kept.len() >= count.min(3), "{} receipts after {count}", kept.len());
        let runs = stage.own_keys().into_iter().filter(|key| key.ends_with("/run.json")).count();
        assert_eq!(runs, count.min(3));
        equal(&stage, &["--against", &stage.source(label)]);
        assert_eq!(stage.data(), stage.expected(label));
    }
    let folded: Vec<Value> = receipts(&stage).into_iter().filter(|r| r["whole"]["file"] == "state.parquet").collect();
    assert!(!folded.is_empty(), "no receipt was folded");
    assert_eq!(folded[0]["chain"]["receipts"], 1);
    let listed = stage.millrace("runs").arg(stage.destination()).run().expect_code(0).json_lines();
    assert_eq!(listed.len(), 3);
    let query = "SELECT count(DISTINCT key) AS n FROM receipts WHERE present";
    let rows = stage.millrace("sql").args([&stage.destination(), query]).run().expect_code(0).json_lines();
    assert!(rows[0]["n"].as_u64().unwrap() >= stage.data().len() as u64, "{rows:?}");
}

#[test]
fn few_receipts_are_not_folded() {
    let stage = Stage::s3("orders");
    for label in ["load", "day4", "merged"] {
        stage.exported(label, &[]);
    }
    let all = receipts(&stage);
    assert_eq!(all.len(), 3);
    assert_eq!(all[0]["whole"]["file"], "changes.parquet", "a first export holds the whole state");
    assert!(all[1..].iter().all(|r| r["whole"].is_null()), "{all:?}");
    assert_eq!(all[2]["chain"]["receipts"], 3);
}

#[test]
fn a_base_that_was_garbage_collected_is_planned_by_the_receipts() {
    for keep in ["1", "30"] {
        let lake = Lake::named("orders").temp_copy();
        let stage = Stage::of((*lake).clone(), Place::Folder, Place::Bucket);
        stage.exported("load", &[]);
        stage.exported("day4", &["--keep-receipts", keep]);
        // The same exports elsewhere, with the metadata at hand.
        let twin = ["load", "day4", "merged"].map(|label| stage.export_to(label, "twin", &[]).expect_code(0).json());
        let twin = &twin[2];
        let base = stage.lake.commit("day4").meta_range_id.clone();
        fs::remove_file(stage.lake.namespace().join("_lakefs").join(&base)).unwrap();
        let report = stage.exported("merged", &[]);
        assert!(report["notes"].to_string().contains("is gone: the plan goes by the receipts"), "{report}");
        assert_eq!(stage.data(), stage.expected("merged"));
        for count in ["copied", "deleted", "retracted", "bytes"] {
            assert_eq!(report[count], twin[count], "{count}: only what changed");
        }
        assert!(range_counts(&report)[1] > 0);
        equal(&stage, &[]);
    }
}

#[test]
fn a_claimed_base_that_is_gone_is_refused() {
    let lake = Lake::named("orders").temp_copy();
    let stage = Stage::of((*lake).clone(), Place::Folder, Place::Bucket);
    stage.exported("day4", &["--from", &stage.lake.commit("load").id]);
    let base = stage.lake.commit("day4").meta_range_id.clone();
    fs::remove_file(stage.lake.namespace().join("_lakefs").join(&base)).unwrap();
    let refused = stage.export("merged", &[]).expect_code(3).json();
    assert!(refused["error"]["help"].as_str().unwrap().contains("--full"), "{refused}");
}

#[test]
fn receipts_of_a_newer_version_are_named_and_left_alone() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let key = stage.own_keys().into_iter().find(|key| key.ends_with("/receipt.json")).unwrap();
    let mut receipt = receipts(&stage).remove(0);
    receipt["format"] = 99.into();
    stage.put_foreign(&key, &receipt.to_string());
    let before = stage.stamps();
    for outcome in [verify(&stage, &[]), stage.export("day4", &[])] {
        let report = outcome.json();
        assert_eq!(outcome.code, 2, "{outcome}");
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains("receipt.json has format 99") && message.contains("reads formats 1 to 2"), "{message}");
    }
    assert_eq!(crate::export::changed_keys(&before, &stage.stamps()).len(), 0);
}
