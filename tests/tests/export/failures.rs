//! A missing source is a failed object, never a success: it is named, its neighbours are done, later rounds wait.

use std::fs;

use datafusion::arrow::array::AsArray;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use millrace_tests::{s3::Body, s3::Object, tree::data_only};

use super::{BUCKET, PREFIX, Place, Stage, Tree, failure, is_marker};

const MISSING: &str = "tables/orders/dt=2026-01-04/part-00003.parquet";

/// The keys and kinds in a list of failures.
fn listed(object: &Object) -> Vec<(String, String)> {
    let file = match &object.body {
        Body::Bytes(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let rows = batches.flat_map(|batch| {
        let batch = batch.unwrap();
        let text = |name: &str, i: usize| batch.column_by_name(name).unwrap().as_string::<i32>().value(i).to_owned();
        (0..batch.num_rows()).map(|i| (text("key", i), text("error_kind", i))).collect::<Vec<_>>()
    });
    rows.collect()
}

/// Takes the bytes of a listed object out of the bucket; gives them back for later.
fn take_away(stage: &Stage, label: &str, path: &str) -> (String, String, Object) {
    let (bucket, key) = stage.source_object(label, path);
    let object = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    (bucket, key, (*object).clone())
}

/// What `day4` leaves over `load` when one of its objects is missing: every other copy is done, no delete is, and every
/// marker over a change is gone.
fn half_way(stage: &Stage) -> Tree {
    let mut tree = stage.expected("load");
    tree.extend(stage.expected("day4"));
    tree.remove(MISSING);
    tree.retain(|key, _| !is_marker(key) || key.contains("dt=2026-01-03"));
    tree
}

#[test]
fn a_missing_source_is_named_its_round_is_done_and_later_rounds_wait() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let (bucket, key, object) = take_away(&stage, "day4", MISSING);
    let outcome = stage.export("day4", &[]).expect_code(1);
    let report = outcome.json();
    assert_eq!(report["state"], "failed");
    assert_eq!((&report["copied"], &report["deleted"], &report["failed"]), (&14.into(), &0.into(), &1.into()));
    assert_eq!(report["skipped"], 12 + 3, "the deletes of the round, and the markers");
    let failed = &report["failures"][0];
    let source = format!("s3://{bucket}/{key}");
    assert_eq!(
        (&failed["key"], &failed["action"], &failed["source"]),
        (&MISSING.into(), &"copy".into(), &source.as_str().into())
    );
    assert!(failed["error"].as_str().unwrap().contains("is missing"), "{failed}");
    assert_eq!(stage.data(), half_way(&stage));
    let markers = stage.status_markers();
    let name = failure(&stage.lake.commit("day4").id);
    assert_eq!(markers.keys().collect::<Vec<_>>(), [&name]);
    let lines: Vec<_> = markers[&name].lines().collect();
    assert_eq!(lines[0], "1 failed operation");
    assert!(lines[1].starts_with(&format!("copy {MISSING} from {source}: ")), "{}", markers[&name]);
    assert_eq!(lines.iter().filter(|line| line.starts_with("copy ")).count(), 1);
    assert_eq!(report["marker"], name.as_str());
    let list = format!("{PREFIX}_millrace/runs/{}/failures.parquet", report["run"].as_str().unwrap());
    assert_eq!(listed(&stage.server.get(BUCKET, &list).unwrap()), [(MISSING.to_owned(), "not_found".to_owned())]);

    stage.server.put_object(&bucket, &key, object);
    stage.exported("day4", &[]);
    assert_eq!(stage.data(), stage.expected("day4"));
    stage.assert_success("day4");
    assert_eq!(stage.head()["unfinished"], serde_json::json!([]));
}

#[test]
fn a_first_export_that_fails_is_finished_by_the_same_command() {
    let stage = Stage::s3("orders");
    let (bucket, key, object) = take_away(&stage, "load", "site/app.js");
    let report = stage.export("load", &[]).expect_code(1).json();
    assert_eq!((&report["copied"], &report["failed"], &report["skipped"]), (&338.into(), &1.into(), &4.into()));
    assert_eq!(stage.export("load", &[]).expect_code(1).json()["failed"], 1, "still missing");
    stage.server.put_object(&bucket, &key, object);
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn after_a_failure_the_commit_before_can_be_restored() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    take_away(&stage, "day4", MISSING);
    stage.export("day4", &[]).expect_code(1);
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn after_a_failure_another_commit_can_follow() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let (bucket, key, object) = take_away(&stage, "day4", MISSING);
    stage.export("day4", &[]).expect_code(1);
    stage.server.put_object(&bucket, &key, object);
    stage.exported("merged", &[]);
    assert_eq!(stage.data(), stage.expected("merged"));
    stage.assert_success("merged");
}

#[test]
fn on_folders_a_missing_file_is_named_as_well() {
    let lake = millrace_tests::lakes::Lake::named("orders").temp_copy();
    let stage = Stage::of((*lake).clone(), Place::Folder, Place::Folder);
    stage.exported("load", &[]);
    let (_, key) = stage.source_object("day4", MISSING);
    let file = lake.namespace().join(key.strip_prefix("orders/").unwrap());
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let report = stage.export("day4", &[]).expect_code(1).json();
    assert_eq!((&report["failures"][0]["key"], &report["failed"], &report["skipped"]), (&MISSING.into(), &1.into(), &15.into()));
    assert!(report["failures"][0]["source"].as_str().unwrap().ends_with(file.to_str().unwrap()));
    fs::write(&file, bytes).unwrap();
    assert_eq!(stage.data(), half_way(&stage));
    stage.exported("day4", &[]);
    assert_eq!(stage.data(), stage.expected("day4"));
    stage.assert_success("day4");
}

#[test]
fn of_many_failures_the_report_names_a_hundred_and_the_marker_all() {
    let stage = Stage::s3("orders");
    let logs: Vec<_> = stage.lake.objects("load").into_iter().filter(|object| object.path.starts_with("logs/")).collect();
    for object in &logs {
        take_away(&stage, "load", &object.path);
    }
    let outcome = stage.export("load", &[]).expect_code(1);
    let report = outcome.json();
    assert_eq!((&report["failed"], &report["copied"]), (&300.into(), &39.into()));
    assert_eq!(report["failures"].as_array().unwrap().len(), 100);
    let text = stage.status_markers().into_values().next().unwrap();
    assert!(text.starts_with("300 failed operations\n"), "{text}");
    let mut named: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("copy ")?.split(' ').next()).collect();
    named.sort_unstable();
    assert_eq!(named, logs.iter().map(|object| object.path.as_str()).collect::<Vec<_>>());
}

#[test]
fn text_says_what_failed_and_what_to_do() {
    let stage = Stage::s3("orders");
    take_away(&stage, "load", "site/app.js");
    let export = millrace_tests::run::Millrace::of(&stage.user).s3(&stage.server);
    let outcome = export.args(["export", &stage.source("load"), &stage.destination()]).run().expect_code(1);
    assert!(outcome.stderr.contains("error: 1 object failed"), "{outcome}");
    for words in ["failed copy site/app.js (from s3://lake/orders/data/", "Run the same command again", "_FAILURE"] {
        assert!(outcome.stdout.contains(words), "{words}: {outcome}");
    }
}

#[test]
fn a_failed_delete_is_a_failed_object_too() {
    use millrace_tests::s3::Target;
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let kept = "tables/orders/dt=2026-01-01/part-00007.parquet";
    stage.server.deny(Target::on("DeleteObject").bucket(BUCKET).key(&format!("{PREFIX}{kept}")));
    let report = stage.export("day4", &[]).expect_code(1).json();
    let failed = &report["failures"][0];
    assert_eq!((&failed["key"], &failed["action"]), (&kept.into(), &"delete".into()));
    assert_eq!((&report["deleted"], &report["copied"], &report["skipped"]), (&11.into(), &15.into(), &3.into()));
    let now = data_only(stage.tree());
    assert!(now.contains_key(kept) && !now.keys().any(|key| is_marker(key) && !key.contains("dt=2026-01-03")));
    stage.server.clear_denials();
    stage.exported("day4", &[]);
    assert_eq!(stage.data(), stage.expected("day4"));
}
