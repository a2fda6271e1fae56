//! Exports on a cluster of real processes: what is there afterwards is what a local export leaves, whoever is killed meanwhile.

use std::time::{Duration, Instant};

use millrace_tests::{cluster::Cluster, run::Running};

use crate::export::{BUCKET, Stage};

mod cuts;
mod doors;
mod ends;
mod phases;
mod plans;
mod reads;
mod same;
mod stops;

/// Few objects at once, and short waits: an executor's window is three seconds, a request takes two at most.
const OPTIONS: [&str; 6] = ["--concurrency", "2", "--lease-ttl", "6s", "--request-timeout", "2s"];

/// Copies that were sent so far.
fn copies(stage: &Stage) -> usize {
    stage.server.log().filter(|op| op.operation == "CopyObject" && op.bucket == BUCKET).len()
}

/// Starts an export of `load` at the stage's cluster, or at one that was taken from it, and waits until some objects are
/// copied. Each request takes 40 ms from now on.
fn begun<'a>(stage: &'a Stage, cluster: Option<&Cluster>, options: &[&str]) -> Running<'a> {
    stage.server.latency(Duration::from_millis(40));
    let export = stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).args(options);
    let export = cluster.into_iter().fold(export, |export, cluster| export.args(["--cluster", &cluster.url()]));
    let running = export.timeout(Duration::from_mins(4)).spawn();
    let since = Instant::now();
    while copies(stage) < 10 {
        assert!(since.elapsed() < Duration::from_mins(1), "nothing is copied");
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}
