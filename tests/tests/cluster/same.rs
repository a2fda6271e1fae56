//! The same commands leave the same keys, markers, receipts and exit codes, here and on a cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::export::Stage;

/// What of a report does not depend on when and where it was made.
fn told(report: &Value) -> Value {
    let mut report = report.clone();
    let fields = report.as_object_mut().unwrap();
    for field in ["run", "by", "update_time", "elapsed_ms", "plan_ms", "requests", "receipt", "source"] {
        fields.remove(field);
    }
    report
}

/// Millrace's own keys with the runs' ids taken out, and how many there are of each; what failed runs keep to be
/// gone on with is apart.
fn own_shapes(stage: &Stage, is_failed: bool) -> BTreeMap<String, usize> {
    let mut shapes = BTreeMap::new();
    let unfinished = |key: &String| key.contains("/journal/") || key.contains("/attempts/");
    for key in stage.own_keys().into_iter().filter(|key| !(is_failed && unfinished(key))) {
        let parts = key.split(['/', '-']).filter(|part| !(part.len() == 26 && part.starts_with("01")));
        *shapes.entry(parts.collect::<Vec<_>>().join("/")).or_default() += 1;
    }
    shapes
}

#[track_caller]
fn assert_same(local: &Stage, cluster: &Stage, label: &str, options: &[&str]) {
    let ends = [local, cluster].map(|stage| stage.export(label, options));
    assert_eq!(ends[0].code, ends[1].code, "{label} {options:?}: {}\n{}", ends[0], ends[1]);
    let code = ends[0].code;
    let reports = ends.map(|end| told(&end.json()));
    assert_eq!(reports[0], reports[1], "{label} {options:?}");
    assert_eq!(local.data(), cluster.data(), "{label} {options:?}");
    let markers = |stage: &Stage| stage.status_markers().into_keys().collect::<Vec<_>>();
    assert_eq!(markers(local), markers(cluster), "{label} {options:?}");
    assert_eq!(own_shapes(local, code != 0), own_shapes(cluster, code != 0), "{label} {options:?}");
}

#[test]
fn first_incremental_idle_failing_repaired_and_backwards() {
    let (local, cluster) = (Stage::s3("orders"), Stage::clustered("orders", 2));
    let same = |label: &str, options: &[&str]| assert_same(&local, &cluster, label, options);
    same("load", &[]);
    cluster.assert_success("load");
    assert_eq!(cluster.data(), cluster.expected("load"));
    same("load", &[]);
    let missing = "tables/orders/dt=2026-01-04/part-00003.parquet";
    let taken = [&local, &cluster].map(|stage| {
        let (bucket, key) = stage.source_object("day4", missing);
        let object = (*stage.server.get(&bucket, &key).unwrap()).clone();
        stage.server.delete(&bucket, &key);
        (stage, bucket, key, object)
    });
    same("day4", &[]);
    for (stage, bucket, key, object) in taken {
        stage.server.put_object(&bucket, &key, object);
    }
    same("day4", &[]);
    assert_eq!(cluster.data(), cluster.expected("day4"));
    cluster.assert_success("day4");
    same("load", &["--force", "--where", "key NOT LIKE 'site/%'"]);
    same("day4", &["--preset", "none"]);
}

#[test]
fn keys_and_metadata_of_all_kinds_pass_through_the_cluster() {
    let stage = Stage::clustered("odd-keys", 2);
    let label = stage.lake.info.commits.keys().next_back().unwrap().clone();
    stage.exported(&label, &[]);
    assert_eq!(stage.data(), stage.expected(&label));
}

#[test]
fn a_plan_is_applied_on_a_cluster() {
    let stage = Stage::clustered("orders", 2);
    let plan = stage.place("plans/1");
    stage.millrace("plan").arg(stage.source("load")).arg(stage.destination()).args(["-o", &plan]).run().expect_code(0);
    let report = stage.millrace("apply").arg(&plan).run().expect_code(0).json();
    assert_eq!(report["copied"], 343);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}
