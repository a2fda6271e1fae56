//! An executor whose network is cut: others do its work, and what it still sends, or sends late, changes nothing.

use std::time::Duration;

use millrace_tests::{cluster::Wires, wire::Wire};

use crate::export::{
    BUCKET, Stage,
    invariants::{Watch, looks},
};

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Everything.
    All,
    /// To and from the scheduler.
    Scheduler,
    /// To the store. The scheduler does not know, and may hand the executor the same task again and again: then the run ends
    /// out of reach, and the same command goes on.
    Store,
}

impl Cut {
    fn cut(self, wires: &Wires) {
        if self != Self::Scheduler {
            wires.store.cut();
        }
        if self != Self::Store {
            wires.scheduler.iter().for_each(Wire::cut);
        }
    }

    fn mend(wires: &Wires) {
        wires.store.mend();
        wires.scheduler.iter().for_each(Wire::mend);
    }
}

/// Cuts an executor off in the middle of an export, and mends its wires when the export has ended.
fn cut_off(cut: Cut) {
    let mut stage = Stage::clustered("orders", 0);
    let mut cluster = stage.cluster.take().unwrap();
    let wires = cluster.add_wired_executor();
    stage.server.latency(Duration::from_millis(40));
    let watch = Watch::start(&stage);
    watch.between(vec![looks(&stage, "load")]);
    let url = cluster.url();
    let export = || {
        let export = stage.millrace("export").arg(stage.source("load")).arg(stage.destination());
        let options = ["--concurrency", "2", "--lease-ttl", "4s", "--request-timeout", "1s"];
        export.args(["--cluster", &url]).args(options).timeout(Duration::from_mins(4))
    };
    let running = export().spawn();
    while stage.server.log().filter(|op| op.operation == "CopyObject" && op.bucket == BUCKET).len() < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    cut.cut(&wires);
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    let mut outcome = running.wait();
    if cut == Cut::Store && outcome.code == 4 {
        assert!(outcome.json()["error"]["help"].as_str().unwrap().contains("same command"), "{outcome}");
        wires.store.mend();
        outcome = export().run();
    }
    let report = outcome.expect_code(0).json();
    assert_eq!((&report["copied"], &report["failed"]), (&343.into(), &0.into()), "{cut:?}");
    stage.assert_success("load");
    let (stamps, last) = (stage.stamps(), stage.server.log().0.last().unwrap().seq);
    Cut::mend(&wires);
    std::thread::sleep(Duration::from_secs(3));
    let late = stage.server.log().filter(|op| op.seq > last && op.applied && op.is_write());
    assert!(late.is_empty(), "{cut:?}: {late}");
    assert_eq!(stage.stamps(), stamps, "{cut:?}");
    assert_eq!(stage.data(), stage.expected("load"), "{cut:?}");
    assert_eq!(stage.server.violations(), Vec::<String>::new(), "{cut:?}");
}

#[test]
fn an_executor_that_is_cut_off_from_everybody_is_made_up_for() {
    cut_off(Cut::All);
}

/// The store's wire takes two minutes: it is cut in the long tests.
#[test]
fn an_executor_that_lost_one_of_its_wires_changes_nothing_too_late() {
    cut_off(Cut::Scheduler);
    if std::env::var_os("MILLRACE_SOAK").is_some() {
        cut_off(Cut::Store);
    }
}
