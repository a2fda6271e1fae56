//! What an export does without of Millrace's own objects: receipts of earlier exports, plans of runs that did not finish. It is
//! told, with the way on; a guard does not fall silent with it.

use millrace_tests::run::Outcome;
use serde_json::Value;

use super::{BUCKET, PREFIX, Place, Stage, Tree, notes};

/// The key of the receipt's file, by the receipt's number.
fn file_of(stage: &Stage, number: u32, name: &str) -> String {
    let folder = format!("_millrace/receipts/{number:08}-");
    stage.own_keys().into_iter().find(|key| key.starts_with(&folder) && key.ends_with(name)).unwrap()
}

#[test]
fn a_damaged_receipt_of_an_earlier_export_is_told_by_plan_and_run() {
    let stage = Stage::s3("orders");
    for label in ["load", "day4", "merged"] {
        stage.exported(label, &[]);
    }
    let before = stage.server.snapshot();
    let spoil = |key: &str, how: &str| {
        let at = format!("{PREFIX}{key}");
        let bytes = stage.server.get(BUCKET, &at).unwrap().bytes().to_vec();
        match how {
            "gone" => stage.server.delete(BUCKET, &at),
            "cut" => drop(stage.server.put(BUCKET, &at, bytes[..bytes.len() / 2].to_vec(), None, &[])),
            _ => {
                let flipped = String::from_utf8(bytes).unwrap().replacen("\"objects\": ", "\"objects\": 1", 1);
                drop(stage.server.put(BUCKET, &at, flipped, None, &[]));
            }
        }
    };
    for (number, name, how, said) in [
        (1, "receipt.json", "gone", "receipt.json is missing"),
        (2, "receipt.json", "gone", "receipt.json is missing"),
        (2, "receipt.json", "flipped", "receipt.json is not what was written"),
        (1, "receipt.json", "cut", "receipt.json cannot be understood"),
        (1, "changes.parquet", "gone", "changes.parquet is missing"),
        (2, "changes.parquet", "cut", "changes.parquet has "),
    ] {
        stage.server.restore(before.clone());
        let key = file_of(&stage, number, name);
        spoil(&key, how);
        let (source, plan) = (stage.source("head"), stage.folder_path(&format!("plan-{number}-{how}-{name}")));
        let planned = stage.millrace("plan").args([&source, &stage.destination(), "-o", plan.to_str().unwrap()]).run();
        let told = |report: &Value| {
            let said_of = |part: &str| notes(report).contains(part);
            assert!(
                said_of(&key) && said_of(said) && said_of("--full") && said_of("`millrace verify` does"),
                "{how} {key}: {report}"
            );
        };
        told(&planned.expect_code(0).json());
        told(&stage.exported("head", &[]));
        assert_eq!(stage.data(), stage.expected("head"), "{how} {key}");
        stage.millrace("verify").arg(stage.destination()).run().expect_code(4);
        // The way on is one.
        let report = stage.exported("head", &["--full"]);
        assert!(!notes(&report).contains("cannot be used"), "{report}");
        stage.millrace("verify").arg(stage.destination()).run().expect_code(0);
        assert!(!notes(&stage.exported("day4", &["--force"])).contains("cannot be used"));
    }
}

#[test]
fn a_plan_refuses_a_newest_receipt_that_cannot_be_gone_on_from() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    stage.put_foreign(&file_of(&stage, 1, "receipt.json"), "torn");
    let plan = stage.folder_path("plan").display().to_string();
    let planned = stage.millrace("plan").args([&stage.source("day4"), &stage.destination(), "-o", &plan]).run();
    for refused in [planned, stage.export("day4", &[])] {
        let error = refused.expect_code(4).json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("receipt.json cannot be understood"), "{error}");
        assert!(error["help"].as_str().unwrap().contains("--full"), "{error}");
    }
}

/// An export of a part of `label` that fails at one object, so that a run is left unfinished.
fn fails(stage: &Stage, label: &str, part: &str, lost: &str, options: &[&str]) {
    let (bucket, key) = stage.source_object(label, lost);
    let object = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    export_part(stage, label, part, options).expect_code(1);
    stage.server.put_object(&bucket, &key, (*object).clone());
}

fn export_part(stage: &Stage, label: &str, part: &str, options: &[&str]) -> Outcome {
    let source = format!("{}&prefix={part}", stage.source(label));
    stage.millrace("export").arg(source).arg(stage.destination()).args(options).run()
}

/// Takes the files whose names end so away from the plans of runs: `plan.json`, or all shards.
fn lose_plans(stage: &Stage, name: &str) {
    for key in stage.own_keys().into_iter().filter(|key| key.contains("/plan/") && key.ends_with(name)) {
        stage.remove(&key);
    }
}

/// The objects of a commit below a prefix, re-rooted.
fn part(stage: &Stage, label: &str, prefix: &str) -> Tree {
    let tree = stage.expected(label).into_iter();
    tree.filter_map(|(key, body)| Some((key.strip_prefix(prefix)?.to_owned(), body))).collect()
}

const LOST: &str = "tables/orders/dt=2026-01-02/part-00000.parquet";

#[test]
fn another_part_is_refused_even_where_no_plan_says_what_was_begun() {
    let stage = Stage::s3("orders");
    fails(&stage, "load", "tables/", LOST, &[]);
    lose_plans(&stage, "plan.json");
    let begun = stage.data();
    assert!(!begun.is_empty());
    let refused = export_part(&stage, "load", "site/", &["--full"]).expect_code(3).json();
    let said = format!("{} {}", refused["error"]["message"], refused["error"]["help"]);
    assert!(said.contains("`tables/`") && said.contains("`site/`") && said.contains("--adopt"), "{said}");
    assert_eq!(stage.data(), begun);
    let report = export_part(&stage, "load", "site/", &["--full", "--adopt"]).expect_code(0).json();
    assert!(notes(&report).contains("did is not known") && notes(&report).contains("and stay"), "{report}");
    let mut expected = begun;
    expected.extend(part(&stage, "load", "site/"));
    assert_eq!(stage.data(), expected, "what was begun is foreign now");
    let verified = stage.millrace("verify").arg(stage.destination()).run().expect_code(0).json();
    assert_eq!(verified["state"], "equal");
    // What was begun is said no longer.
    assert_eq!(stage.head()["unfinished_view"], Value::Null);
}

#[test]
fn the_same_part_goes_on_with_full_where_its_plan_is_lost() {
    let stage = Stage::s3("orders");
    fails(&stage, "load", "tables/", LOST, &[]);
    lose_plans(&stage, "plan.json");
    let report = export_part(&stage, "load", "tables/", &["--full"]).expect_code(0).json();
    assert!(notes(&report).contains("did is not known"), "{report}");
    assert_eq!(stage.data(), part(&stage, "load", "tables/"));
}

#[test]
fn a_destination_is_taken_over_although_a_plan_of_its_runs_is_lost() {
    for lost in ["plan.json", ".parquet"] {
        let stage = Stage::s3("orders");
        export_part(&stage, "load", "tables/", &[]).expect_code(0);
        fails(&stage, "day4", "tables/", "tables/orders/dt=2026-01-04/part-00000.parquet", &[]);
        let begun = stage.data();
        lose_plans(&stage, lost);
        let refused = export_part(&stage, "day4", "site/", &["--adopt=own", "--force"]).expect_code(4).json();
        assert!(refused["error"]["help"].as_str().unwrap().contains("--full"), "{refused}");
        assert_eq!(stage.data(), begun);
        let report = export_part(&stage, "day4", "site/", &["--adopt=own", "--force", "--full"]).expect_code(0).json();
        assert!(notes(&report).contains("did is not known") && notes(&report).contains("are taken over"), "{lost}: {report}");
        // What the receipts list is gone; what the lost run alone wrote is named as what stays.
        let (before, site) = (part(&stage, "load", "tables/"), part(&stage, "day4", "site/"));
        let left: Vec<String> = stage.data().into_keys().filter(|key| !site.contains_key(key)).collect();
        let alone: Vec<String> = begun.into_keys().filter(|key| !before.contains_key(key)).collect();
        assert_eq!(left, alone, "{lost}");
    }
}

#[test]
fn a_destination_is_taken_over_although_its_receipts_cannot_be_read() {
    let stage = Stage::new("orders", Place::Bucket, Place::Bucket);
    export_part(&stage, "load", "tables/", &[]).expect_code(0);
    stage.put_foreign(&file_of(&stage, 1, "receipt.json"), "torn");
    export_part(&stage, "load", "site/", &["--adopt=own", "--force"]).expect_code(4);
    let report = export_part(&stage, "load", "site/", &["--adopt=own", "--force", "--full"]).expect_code(0).json();
    assert!(notes(&report).contains("the receipts cannot be read"), "{report}");
    let mut expected = part(&stage, "load", "tables/");
    expected.extend(part(&stage, "load", "site/"));
    assert_eq!(stage.data(), expected);
}
