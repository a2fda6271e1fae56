//! Runs that are stopped while executors copy for them: cancelled from elsewhere, out of time. Each can go on, here and there.

use std::time::{Duration, Instant};

use millrace_tests::{
    cluster::Cluster,
    run::{Millrace, Outcome},
    s3::Op,
};
use serde_json::Value;

use super::{OPTIONS, begun};
use crate::{
    export::{BUCKET, Place, Stage},
    made::{MadeLake, Objects},
};

/// Within so long all executors have heard of it.
const SOON: Duration = Duration::from_secs(5);

/// More than a shard holds: two executors copy at once, a hundred objects a second.
const OBJECTS: usize = 4500;

/// A request that changes an object, or asks for its bytes.
fn is_data(op: &Op) -> bool {
    let own = |key: &String| key.contains("_millrace/") || key.contains("/EXPORT_");
    let keys = op.keys.iter().chain((!op.key.is_empty()).then_some(&op.key));
    op.bucket == BUCKET && (op.is_write() || op.operation == "GetObject") && keys.into_iter().any(|key| !own(key))
}

/// Fails the test where a request for an object was sent after `then`.
#[track_caller]
fn assert_quiet(stage: &Stage, then: Instant) {
    std::thread::sleep((then + Duration::from_secs(2)).saturating_duration_since(Instant::now()));
    let late = stage.server.log().filter(|op| is_data(op) && op.started > then);
    assert!(late.is_empty(), "{late}");
}

/// A lake of two shards on a cluster of two executors.
struct Two {
    stage: Stage,
    _lake: MadeLake,
}

impl Two {
    fn new() -> Self {
        let objects: Objects =
            (0..OBJECTS).map(|n| (format!("data/{n:05}"), vec![b'0' + u8::try_from(n % 7).unwrap()])).collect();
        let lake = MadeLake::new(1000, &[("load", &objects)]);
        let mut stage = Stage::of((*lake).clone(), Place::Bucket, Place::Bucket);
        stage.cluster = Some(Cluster::start(&stage.server, 2));
        Self { stage, _lake: lake }
    }

    /// What was copied so far.
    fn copied(&self) -> usize {
        self.stage.server.log().filter(is_data).of("CopyObject").len()
    }

    /// A stopped run says so, and leaves no marker; its report.
    #[track_caller]
    fn stopped(&self, ended: &Outcome, code: i32) -> Value {
        let report = ended.clone().expect_code(code).json();
        assert_eq!(report["state"], "cancelled", "{ended}");
        assert!(report["error"]["help"].as_str().unwrap().contains("same command"), "{ended}");
        assert!(self.stage.status_markers().is_empty(), "a stop leaves none: {ended}");
        assert!(self.copied() < OBJECTS, "there was something left to stop");
        let begun = self.stage.server.log().filter(|op| op.operation == "PutObject" && op.key.ends_with("-begun"));
        assert!(begun.len() > 1, "both executors were at work: {begun}");
        report
    }

    /// The same command does what is left.
    #[track_caller]
    fn goes_on(&self, report: &Value, again: Millrace<'_>) {
        self.stage.server.latency(Duration::ZERO);
        let before = self.copied();
        let outcome = again.arg(self.stage.source("load")).arg(self.stage.destination()).args(OPTIONS).run().expect_code(0);
        let told = outcome.json();
        assert_eq!((&told["run"], &told["copied"], &told["failed"]), (&report["run"], &OBJECTS.into(), &0.into()), "{outcome}");
        assert!(self.copied() - before < OBJECTS, "what was done is not done again");
        assert_eq!(self.stage.data(), self.stage.expected("load"));
        self.stage.assert_success("load");
        assert_eq!(self.stage.server.violations(), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_is_cancelled_from_elsewhere_stops_all_executors_within_five_seconds() {
    let two = Two::new();
    let running = begun(&two.stage, None, &OPTIONS);
    let cancel = two.stage.millrace("cancel").arg(two.stage.destination()).run().expect_code(0);
    let asked = Instant::now();
    let ended = running.wait();
    assert!(ended.json()["error"]["message"].as_str().unwrap().contains("cancel"), "{ended}\n{cancel}");
    assert_quiet(&two.stage, asked + SOON);
    let report = two.stopped(&ended, 130);
    two.goes_on(&report, two.stage.millrace("export"));
}

#[test]
fn a_run_that_is_out_of_time_stops_all_executors_and_goes_on() {
    let two = Two::new();
    let options = [&OPTIONS[..], &["--timeout", "8s"]].concat();
    let ended = begun(&two.stage, None, &options).wait();
    assert_quiet(&two.stage, Instant::now());
    let report = two.stopped(&ended, 124);
    assert_eq!(report["error"]["kind"], "timeout", "{ended}");
    if std::env::var_os("MILLRACE_SOAK").is_some() {
        // On the cluster it does more of it, and is out of time again.
        let before = two.copied();
        let ended = begun(&two.stage, None, &options).wait();
        assert_eq!(two.stopped(&ended, 124)["run"], report["run"], "{ended}");
        assert!(two.copied() > before, "{ended}");
        assert_quiet(&two.stage, Instant::now());
    }
    let here = Millrace::of(&two.stage.user).s3(&two.stage.server).args(["export", "--output", "json"]);
    two.goes_on(&report, here);
}
