//! An executor whose network is cut: others do its work, and what it still sends, or sends late, changes nothing.

use std::time::Duration;

use millrace_tests::{cluster::Wires, wire::Wire};

use crate::export::{
    BUCKET, Stage,
    invariants::{Watch, looks},
};

/// Cuts an executor off in the middle of an export, and mends its wires when the export has ended.
fn cut_off(cut: impl Fn(&Wires)) {
    let mut stage = Stage::clustered("orders", 0);
    let mut cluster = stage.cluster.take().unwrap();
    let wires = cluster.add_wired_executor();
    stage.server.latency(Duration::from_millis(40));
    let watch = Watch::start(&stage);
    watch.between(vec![looks(&stage, "load")]);
    let export = stage.millrace("export").arg(stage.source("load")).arg(stage.destination());
    let options = ["--concurrency", "2", "--lease-ttl", "4s", "--request-timeout", "1s"];
    let running = export.args(["--cluster", &cluster.url()]).args(options).timeout(Duration::from_mins(3)).spawn();
    while stage.server.log().filter(|op| op.operation == "CopyObject" && op.bucket == BUCKET).len() < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    cut(&wires);
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    let report = running.wait().expect_code(0).json();
    assert_eq!((&report["copied"], &report["failed"]), (&343.into(), &0.into()));
    stage.assert_success("load");
    let (stamps, last) = (stage.stamps(), stage.server.log().0.last().unwrap().seq);
    wires.store.mend();
    wires.scheduler.iter().for_each(Wire::mend);
    std::thread::sleep(Duration::from_secs(3));
    let late = stage.server.log().filter(|op| op.seq > last && op.applied && op.is_write());
    assert!(late.is_empty(), "{late}");
    assert_eq!(stage.stamps(), stamps);
    assert_eq!(stage.data(), stage.expected("load"));
    assert_eq!(stage.server.violations(), Vec::<String>::new());
}

#[test]
fn an_executor_that_is_cut_off_from_everybody_is_made_up_for() {
    cut_off(|wires| {
        wires.store.cut();
        wires.scheduler.iter().for_each(Wire::cut);
    });
}

#[test]
fn an_executor_that_the_scheduler_lost_may_go_on_beside_the_one_that_follows() {
    cut_off(|wires| wires.scheduler.iter().for_each(Wire::cut));
}

#[test]
fn an_executor_that_lost_the_store_gives_its_tasks_back() {
    cut_off(|wires| wires.store.cut());
}
