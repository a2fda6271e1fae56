//! `verify --deep` on a cluster: executors read the bytes, and what is found is what one machine finds.

use std::time::{Duration, Instant};

use millrace_tests::{
    run::{Millrace, Outcome},
    s3::Object,
};
use serde_json::Value;

use crate::export::{BUCKET, PREFIX, Stage};

fn verify<'a>(stage: &'a Stage, url: Option<&str>) -> Millrace<'a> {
    let verify = stage.millrace("verify").arg(stage.destination()).arg("--deep");
    url.into_iter().fold(verify, |verify, url| verify.args(["--cluster", url]))
}

/// What does not depend on who read.
fn told(outcome: &Outcome) -> Value {
    let mut report = outcome.json();
    let found = report["found"].as_array_mut().unwrap();
    found.sort_by_key(|one| one["key"].as_str().unwrap().to_owned());
    for field in ["requests", "elapsed_ms"] {
        report.as_object_mut().unwrap().remove(field);
    }
    report
}

/// Other bytes under the same size and etag: a listing sees nothing.
fn damage(stage: &Stage, key: &str) {
    let key = format!("{PREFIX}{key}");
    let object = (*stage.server.get(BUCKET, &key).unwrap()).clone();
    let mut bytes = object.bytes().to_vec();
    bytes[0] ^= 1;
    stage.server.put_object(BUCKET, &key, Object::new(bytes).with_etag(&object.etag));
}

#[test]
fn what_is_found_on_a_cluster_is_what_one_machine_finds() {
    let mut stage = Stage::clustered("orders", 2);
    let cluster = stage.cluster.take().unwrap();
    stage.exported("load", &[]);
    let keys_before = stage.own_keys();
    stage.server.clear_log();
    let there = verify(&stage, Some(&cluster.url())).run().expect_code(0);
    assert_eq!(told(&there), told(&verify(&stage, None).run().expect_code(0)));
    assert_eq!(there.json()["requests"]["data"], 0, "the command itself reads no object");
    assert_eq!(stage.own_keys(), keys_before, "nothing is left behind");
    for key in ["site/app.js", "tables/orders/dt=2026-01-01/part-00000.parquet"] {
        damage(&stage, key);
    }
    let there = verify(&stage, Some(&cluster.url())).run().expect_code(1);
    let here = verify(&stage, None).run().expect_code(1);
    assert_eq!(there.json()["changed"], 2, "{there}");
    assert_eq!(told(&there), told(&here));
    assert_eq!(stage.own_keys(), keys_before);
}

/// Waits until some objects were read.
fn wait_for_reads(stage: &Stage) {
    let since = Instant::now();
    while stage.server.log().filter(|op| op.operation == "GetObject" && !op.key.contains("_millrace/")).len() < 10 {
        assert!(since.elapsed() < Duration::from_mins(1), "nothing is read");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_executor_killed_while_it_reads_is_made_up_for() {
    let mut stage = Stage::clustered("orders", 1);
    let mut cluster = stage.cluster.take().unwrap();
    stage.exported("load", &[]);
    damage(&stage, "site/app.js");
    stage.server.clear_log();
    stage.server.latency(Duration::from_millis(60));
    let url = cluster.url();
    let running = verify(&stage, Some(&url)).args(["--concurrency", "2"]).spawn();
    wait_for_reads(&stage);
    cluster.executors.remove(0).process.kill();
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    let report = running.wait().expect_code(1).json();
    assert_eq!((&report["changed"], &report["differences"]), (&1.into(), &1.into()));
    assert_eq!(report["found"][0]["key"], "site/app.js");
    assert!(stage.own_keys().iter().all(|key| !key.contains("_millrace/verify/")));
}

/// Everything below a prefix of the destination is as if it had been written two days ago.
fn two_days_later(stage: &Stage, prefix: &str) {
    for key in stage.server.keys(BUCKET, &format!("{PREFIX}{prefix}")) {
        let object = (*stage.server.get(BUCKET, &key).unwrap()).clone();
        let modified = object.modified - Duration::from_hours(48);
        stage.server.put_object(BUCKET, &key, Object { modified, ..object });
    }
}

#[test]
fn what_a_killed_comparison_leaves_goes_with_a_later_command() {
    const FOLDER: &str = "_millrace/verify/";
    let mut stage = Stage::clustered("orders", 1);
    let cluster = stage.cluster.take().unwrap();
    stage.exported("load", &[]);
    stage.server.clear_log();
    let left = |stage: &Stage| stage.own_keys().into_iter().filter(|key| key.starts_with(FOLDER)).collect::<Vec<_>>();
    stage.server.latency(Duration::from_millis(60));
    let url = cluster.url();
    let running = verify(&stage, Some(&url)).args(["--concurrency", "2"]).spawn();
    let since = Instant::now();
    wait_for_reads(&stage);
    running.kill();
    stage.server.latency(Duration::ZERO);
    // Executors read on, for nobody.
    while !left(&stage).iter().any(|key| key.contains("/results/")) {
        assert!(since.elapsed() < Duration::from_mins(1), "nothing was read");
        std::thread::sleep(Duration::from_millis(20));
    }
    let compared = || verify(&stage, Some(&url)).run().expect_code(0);
    let young = left(&stage);
    compared();
    assert_eq!(left(&stage), young, "it may be going on");
    two_days_later(&stage, FOLDER);
    compared();
    assert_eq!(left(&stage), Vec::<String>::new());
    // An export on a cluster does it as well.
    stage.server.put(BUCKET, &format!("{PREFIX}{FOLDER}X/shards/000000.parquet"), "a shard", None, &[]);
    two_days_later(&stage, FOLDER);
    stage.millrace("export").arg(stage.source("day4")).arg(stage.destination()).args(["--cluster", &url]).run().expect_code(0);
    assert_eq!(left(&stage), Vec::<String>::new());
}

#[test]
fn what_a_cluster_does_not_do_is_refused_in_words() {
    let stage = Stage::s3("orders");
    let outcome = stage.millrace("verify").arg(stage.destination()).args(["--cluster", "df://127.0.0.1:1"]).run().expect_code(2);
    assert!(outcome.stdout.contains("--deep"), "{outcome}");
}
