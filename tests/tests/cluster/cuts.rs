//! An executor whose network is cut: others do its work, and what it still sends, or sends late, changes nothing.

use std::time::Duration;

use millrace_tests::{cluster::Wires, wire::Wire};

use super::begun;
use crate::export::{
    Stage,
    invariants::{Watch, looks},
};

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Everything.
    All,
    /// To and from the scheduler.
    Scheduler,
    /// To the store. The scheduler is not told why a task was given back; others get it.
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
    let watch = Watch::start(&stage);
    watch.between(vec![looks(&stage, "load")]);
    let running = begun(&stage, Some(&cluster), &["--concurrency", "2", "--lease-ttl", "4s", "--request-timeout", "1s"]);
    cut.cut(&wires);
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    let report = running.wait().expect_code(0).json();
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

#[test]
fn an_executor_that_lost_the_scheduler_changes_nothing_too_late() {
    cut_off(Cut::Scheduler);
}

#[test]
fn what_an_executor_without_the_store_gives_back_goes_to_another_one() {
    cut_off(Cut::Store);
}
