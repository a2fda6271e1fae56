//! Whoever is stopped or killed: the destination ends right, or in an end that can be resumed; never a hang.

use std::time::{Duration, Instant};

use millrace_tests::s3::{Fault, Rule, Target};

use super::{OPTIONS, begun, copies};
use crate::export::{BUCKET, Stage};

#[test]
fn a_stopped_command_stops_all_copies_and_the_next_one_goes_on() {
    let stage = Stage::clustered("orders", 2);
    let running = begun(&stage, None, &OPTIONS);
    running.interrupt();
    let stopped = Instant::now();
    let report = running.wait().expect_code(130).json();
    assert_eq!(report["state"], "cancelled");
    std::thread::sleep(Duration::from_secs(5).saturating_sub(stopped.elapsed()));
    let then = copies(&stage);
    assert!(then < 339, "there was something left to stop");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(copies(&stage), then, "a copy was sent after five seconds");
    stage.server.latency(Duration::ZERO);
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn an_executor_that_is_killed_is_replaced_by_the_others() {
    let mut stage = Stage::clustered("orders", 2);
    let mut cluster = stage.cluster.take().unwrap();
    let running = begun(&stage, Some(&cluster), &OPTIONS);
    // Whichever of them has the shard: both go, one after the other, and a new one comes.
    cluster.executors.remove(0).process.kill();
    cluster.add_executor();
    std::thread::sleep(Duration::from_millis(1500));
    cluster.executors.remove(0).process.kill();
    stage.server.latency(Duration::ZERO);
    let report = running.wait().expect_code(0).json();
    assert_eq!((&report["copied"], &report["failed"]), (&343.into(), &0.into()));
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn without_a_scheduler_the_run_ends_out_of_reach_and_goes_on_anywhere() {
    let mut stage = Stage::clustered("orders", 2);
    let mut cluster = stage.cluster.take().unwrap();
    let running = begun(&stage, Some(&cluster), &OPTIONS);
    cluster.scheduler.take().unwrap().process.kill();
    let outcome = running.wait().expect_code(4);
    let error = &outcome.json()["error"];
    assert!(error["message"].as_str().unwrap().contains(&cluster.url()), "{outcome}");
    assert!(error["help"].as_str().unwrap().contains("same command"), "{outcome}");
    assert!(outcome.json()["copied"].as_u64().unwrap() > 0, "what was done counts: {outcome}");
    stage.server.latency(Duration::ZERO);
    stage.exported("load", &[]);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

#[test]
fn an_executor_that_is_asked_to_leave_hands_over_and_leaves_nothing_behind() {
    let mut stage = Stage::clustered("orders", 1);
    let mut cluster = stage.cluster.take().unwrap();
    let running = begun(&stage, Some(&cluster), &OPTIONS);
    cluster.add_executor();
    std::thread::sleep(Duration::from_secs(1));
    let leaving = cluster.executors.remove(0).process;
    leaving.terminate();
    leaving.wait().expect_code(0);
    stage.server.latency(Duration::ZERO);
    running.wait().expect_code(0);
    assert_eq!(stage.data(), stage.expected("load"));
}

#[test]
fn an_executor_that_may_not_write_names_each_object() {
    let stage = Stage::clustered("orders", 1);
    stage.server.fault(Rule::new(Target::on("CopyObject").bucket(BUCKET).suffix("app.js"), Fault::error(403, "AccessDenied")));
    let report = stage.export("load", &[]).expect_code(1).json();
    assert_eq!((&report["failed"], &report["copied"]), (&1.into(), &338.into()));
    assert_eq!(report["failures"][0]["key"], "site/app.js");
}

#[test]
fn a_killed_command_is_gone_on_with_by_the_same_command() {
    let stage = Stage::clustered("orders", 2);
    begun(&stage, None, &OPTIONS).kill();
    let then = stage.server.log().0.last().map_or(0, |op| op.seq);
    stage.server.latency(Duration::ZERO);
    let report = stage.exported("load", &OPTIONS);
    assert_eq!((&report["copied"], &report["failed"]), (&343.into(), &0.into()));
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
    assert!(then > 0 && stage.status_markers().len() == 1);
}

#[test]
fn an_executor_that_was_frozen_changes_nothing_once_its_run_is_over() {
    let mut stage = Stage::clustered("orders", 1);
    let mut cluster = stage.cluster.take().unwrap();
    let running = begun(&stage, Some(&cluster), &OPTIONS);
    let zombie = cluster.executors.remove(0).process;
    zombie.freeze();
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    running.wait().expect_code(0);
    stage.assert_success("load");
    let (stamps, last) = (stage.stamps(), stage.server.log().0.last().unwrap().seq);
    zombie.thaw();
    std::thread::sleep(Duration::from_secs(3));
    let late = stage.server.log().filter(|op| op.seq > last && op.applied && op.is_write());
    assert!(late.is_empty(), "{late}");
    assert_eq!(stage.stamps(), stamps);
    assert_eq!(stage.data(), stage.expected("load"));
}

/// Many moments are a long test; two of them run always.
fn moments() -> Vec<u64> {
    let all = (0..40).map(|i| i * 60);
    if std::env::var_os("MILLRACE_SOAK").is_some() { all.collect() } else { vec![60, 300] }
}

#[test]
fn whenever_an_executor_is_killed_the_destination_ends_right() {
    let mut stage = Stage::clustered("orders", 2);
    let mut cluster = stage.cluster.take().unwrap();
    stage.server.latency(Duration::from_millis(5));
    for (i, moment) in moments().into_iter().enumerate() {
        let label = ["load", "day4"][i % 2];
        let export = stage.millrace("export").arg(stage.source(label)).arg(stage.destination()).arg("--force");
        let options = ["--concurrency", "8", "--lease-ttl", "4s", "--request-timeout", "1s"];
        let running = export.args(["--cluster", &cluster.url()]).args(options).spawn();
        std::thread::sleep(Duration::from_millis(moment));
        cluster.executors.remove(0).process.kill();
        cluster.add_executor();
        let outcome = running.wait().expect_code(0);
        assert_eq!(outcome.json()["failed"], 0, "{outcome}");
        assert_eq!(stage.data(), stage.expected(label), "killed after {moment} ms: {outcome}");
        stage.assert_success(label);
    }
}
