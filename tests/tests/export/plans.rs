//! `plan` and then `apply` do what `export` does; a plan alone touches nothing.

use std::collections::BTreeSet;

use millrace_tests::s3::Log;
use serde_json::Value;

use super::{BUCKET, Effect, Place, Stage, effects, range_counts};

fn plan(stage: &Stage, label: &str, options: &[&str]) -> Value {
    let made = stage.millrace("plan").args([stage.source(label), stage.destination()]).args(options).run().expect_code(0).json();
    assert_eq!(made["state"], "planned");
    made
}

fn apply(stage: &Stage, plan: &str) -> Value {
    stage.millrace("apply").arg(plan).run().expect_code(0).json()
}

/// What a log did to the lake's keys, in no order.
fn data_effects(log: &Log) -> BTreeSet<Effect> {
    effects(log, super::PREFIX).into_iter().filter(|effect| !effect.is_own()).collect()
}

fn like_an_export(to: Place) {
    let (one, other) = (Stage::new("orders", Place::Bucket, to), Stage::new("orders", Place::Bucket, to));
    for label in ["load", "day4", "nothing"] {
        one.server.clear_log();
        let exported = one.exported(label, &[]);
        other.server.clear_log();
        let (before, stamps) = (other.tree(), other.stamps());
        let folder = other.place(&format!("plan-{label}"));
        let planned = plan(&other, label, &["-o", &folder]);
        assert_eq!((other.tree(), other.stamps()), (before, stamps), "a plan touches nothing at the destination");
        assert_eq!(planned["plan"], folder.as_str());
        for field in ["copied", "deleted", "retracted", "unchanged", "bytes", "commit", "base"] {
            assert_eq!(planned[field], exported[field], "{field}");
        }
        assert_eq!(range_counts(&planned), range_counts(&exported));
        assert_eq!(effects(&other.server.log(), super::PREFIX), []);
        let applied = apply(&other, &folder);
        assert_eq!(applied["run"], planned["run"]);
        for field in ["state", "commit", "base", "rounds", "copied", "deleted", "retracted", "unchanged", "bytes", "marker"] {
            assert_eq!(applied[field], exported[field], "{label}: {field}");
        }
        assert_eq!(applied["requests"]["data"], exported["requests"]["data"]);
        assert_eq!(other.data(), one.data(), "{label}");
        assert_eq!(data_effects(&other.server.log()), data_effects(&one.server.log()), "{label}");
        other.assert_success(label);
    }
    assert_eq!(one.own_keys().len(), other.own_keys().len());
}

#[test]
fn plan_and_apply_do_what_export_does_in_a_folder() {
    like_an_export(Place::Folder);
}

#[test]
fn plan_and_apply_do_what_export_does_in_a_bucket() {
    like_an_export(Place::Bucket);
}

#[test]
fn a_plan_that_was_applied_has_nothing_left_to_do() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let folder = stage.place("plan");
    let planned = plan(&stage, "day4", &["-o", &folder]);
    apply(&stage, &folder);
    let stamps = stage.stamps();
    stage.server.clear_log();
    let again = apply(&stage, &folder);
    assert_eq!((&again["state"], &again["run"], &again["requests"]["data"]), (&"succeeded".into(), &planned["run"], &0.into()));
    assert_eq!((&again["copied"], &again["deleted"], &again["retracted"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(stage.stamps(), stamps);
    assert_eq!(stage.effects(), []);
}

#[test]
fn a_plan_for_a_destination_that_has_moved_on_is_refused() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let folder = stage.place("plan");
    plan(&stage, "day4", &["-o", &folder]);
    stage.exported("merged", &[]);
    let stamps = stage.stamps();
    let refused = stage.millrace("apply").arg(&folder).run().expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("has moved on since the plan was made"), "{refused}");
    assert_eq!(refused["error"]["help"], "make the plan again");
    assert_eq!(stage.stamps(), stamps);
}

#[test]
fn a_failed_apply_is_finished_by_the_same_apply() {
    let stage = Stage::s3("orders");
    let (bucket, key) = stage.source_object("load", "site/app.js");
    let object = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    let folder = stage.place("plan");
    plan(&stage, "load", &["-o", &folder]);
    let failed = stage.millrace("apply").arg(&folder).run().expect_code(1).json();
    assert_eq!((&failed["failed"], &failed["copied"]), (&1.into(), &338.into()));
    stage.server.put_object(&bucket, &key, (*object).clone());
    apply(&stage, &folder);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn without_a_folder_the_plan_is_kept_for_the_user() {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    let planned = plan(&stage, "load", &[]);
    let kept = planned["plan"].as_str().unwrap();
    let cache = format!("file://{}/.cache/millrace/plans/", stage.user.home().display());
    assert!(kept.starts_with(&cache), "{kept}");
    assert!(stage.tree().is_empty());
    apply(&stage, kept);
    assert_eq!(stage.data(), stage.expected("load"));
}

#[test]
fn a_dry_run_writes_nothing_at_the_destination() {
    for to in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("orders", Place::Bucket, to);
        let report = stage.export("load", &["--dry-run"]).expect_code(0).json();
        assert_eq!((&report["state"], &report["copied"]), (&"planned".into(), &343.into()));
        assert!(report["plan"].is_null(), "nothing is kept: {report}");
        assert!(!stage.user.home().join(".cache/millrace").exists());
        assert!(stage.tree().is_empty());
        assert_eq!(stage.server.log().writes().filter(|op| op.bucket == BUCKET).len(), 0);
        stage.exported("load", &[]);
        let (tree, stamps) = (stage.tree(), stage.stamps());
        let report = stage.export("day4", &["--dry-run"]).expect_code(0).json();
        assert_eq!(["copied", "deleted", "retracted"].map(|field| report[field].as_u64().unwrap()), [18, 12, 4]);
        assert_eq!((stage.tree(), stage.stamps()), (tree, stamps));
    }
}

#[test]
fn a_first_export_does_not_claim_to_have_found_markers() {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    let shown = || millrace_tests::run::Millrace::of(&stage.user);
    let words = [&stage.source("load"), &stage.destination()];
    let outcome = shown().arg("export").args(words).arg("--dry-run").run().expect_code(0);
    assert!(outcome.stdout.contains("markers to clear first"), "{outcome}");
    assert!(!outcome.stdout.contains("The plan is in"), "{outcome}");
    let outcome = shown().arg("export").args(words).run().expect_code(0);
    assert!(outcome.stdout.contains("markers cleared first") && !outcome.stdout.contains("retracted"), "{outcome}");
}

#[test]
fn a_plan_shows_every_action_and_the_totals() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let shown = millrace_tests::run::Millrace::of(&stage.user).s3(&stage.server);
    let outcome = shown.args(["plan", &stage.source("day4"), &stage.destination()]).run().expect_code(0);
    let lines: Vec<_> = outcome.stdout.lines().map(str::trim).collect();
    for words in [
        "~ part-00004.parquet     4.0 KiB",
        "- part-00011.parquet",
        "! _SUCCESS                        covers changes",
        "Plan: 18 to copy (60.7 KiB), 12 to delete, 4 markers to retract; 325 unchanged.",
    ] {
        assert!(lines.contains(&words), "{words}: {outcome}");
    }
    let base = format!("base    {}", stage.lake.commit("load").id);
    assert!(lines.contains(&base.as_str()), "{outcome}");
}
