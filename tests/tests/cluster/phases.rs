//! Whoever is killed, in whichever phase: an executor is made up for, without a scheduler the run ends out of reach, a command
//! is followed by another. Each write is judged; what is there at the end, and what was counted, is what an undisturbed run
//! leaves.

use std::{
    thread,
    time::{Duration, Instant},
};

use millrace_tests::{
    cluster::Cluster,
    run::{Outcome, Running},
    s3::{Buckets, Fate, Fault, Op, Rule, Target, Victim},
    tree::is_reserved,
};
use serde_json::Value;

use crate::export::{
    BUCKET, PREFIX, Stage,
    invariants::{Watch, looks},
    is_marker,
};

/// Short waits: the window of an executor is two seconds, a request takes one at most.
const OPTIONS: [&str; 6] = ["--concurrency", "4", "--lease-ttl", "4s", "--request-timeout", "1s"];

/// Everything ends within this, also what is resumed.
const BOUND: Duration = Duration::from_mins(2);

/// Those that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Executor,
    Scheduler,
    Command,
}

/// A request of an executor's.
#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    operation: &'static str,
    suffix: &'static str,
    is: fn(&Op) -> bool,
}

/// The keys that a request names, below the destination and none of Millrace's own.
fn named(op: &Op) -> Vec<&str> {
    let keys = op.keys.iter().chain((!op.key.is_empty()).then_some(&op.key));
    keys.filter_map(|key| key.strip_prefix(PREFIX)).filter(|key| !is_reserved(key)).collect()
}

/// A request of every phase.
const MOMENTS: [Moment; 7] = [
    Moment { name: "a task begins", operation: "PutObject", suffix: "-begun", is: |_| true },
    Moment { name: "retract", operation: "DeleteObjects", suffix: "", is: |op| named(op).iter().any(|key| is_marker(key)) },
    Moment { name: "copy", operation: "CopyObject", suffix: ".parquet", is: |op| !named(op).is_empty() },
    Moment { name: "journal", operation: "PutObject", suffix: ".parquet", is: |op| op.key.contains("/journal/") },
    Moment { name: "delete", operation: "DeleteObjects", suffix: "", is: |op| named(op).iter().any(|key| !is_marker(key)) },
    Moment { name: "publish", operation: "CopyObject", suffix: "_SUCCESS", is: |op| !named(op).is_empty() },
    Moment { name: "a task ends", operation: "PutObject", suffix: "-ended-0", is: |_| true },
];

impl Moment {
    /// Counted among those of its kind, in a run that nobody disturbed.
    fn nth(&self, log: &[Op]) -> u64 {
        let kind = log.iter().filter(|op| op.bucket == BUCKET && op.operation == self.operation && op.key.ends_with(self.suffix));
        let before = kind.take_while(|op| !(self.is)(op)).count();
        assert!(log.iter().any(|op| op.operation == self.operation && (self.is)(op)), "no request is `{}`", self.name);
        u64::try_from(before).unwrap() + 1
    }

    fn target(&self) -> Target {
        let target = Target::on(self.operation).bucket(BUCKET);
        if self.suffix.is_empty() { target } else { target.suffix(self.suffix) }
    }
}

/// What an undisturbed run from `load` to `day4` began with, sent and told.
struct Undisturbed {
    start: Buckets,
    log: Vec<Op>,
    report: Value,
}

impl Undisturbed {
    fn run() -> Self {
        let mut stage = Stage::clustered("orders", 1);
        let cluster = stage.cluster.take().unwrap();
        stage.exported("load", &[]);
        let start = stage.server.snapshot();
        stage.server.clear_log();
        let report = begin(&stage, &cluster).wait().expect_code(0).json();
        Self { start, log: stage.server.log().0, report }
    }
}

fn begin<'a>(stage: &'a Stage, cluster: &Cluster) -> Running<'a> {
    let export = stage.millrace("export").arg(stage.source("day4")).arg(stage.destination()).args(OPTIONS);
    export.args(["--cluster", &cluster.url()]).timeout(BOUND).spawn()
}

/// Kills `who` at that moment of a run, and sees that all comes right.
fn killed(undisturbed: &Undisturbed, who: Who, moment: Moment, fate: Fate) {
    let case = format!("{who:?} killed at `{}`, {fate:?}", moment.name);
    let mut stage = Stage::clustered("orders", 1);
    let mut cluster = stage.cluster.take().unwrap();
    stage.server.restore(undisturbed.start.clone());
    let watch = Watch::start(&stage);
    watch.between(vec![looks(&stage, "load"), looks(&stage, "day4")]);
    let victim = Victim::default();
    let rule = stage.server.fault(Rule::new(moment.target(), Fault::kill(&victim, fate)).nth(moment.nth(&undisturbed.log)));
    let running = begin(&stage, &cluster);
    let process = match who {
        Who::Executor => cluster.executors[0].process.id(),
        Who::Scheduler => cluster.scheduler.as_ref().unwrap().process.id(),
        Who::Command => running.id(),
    };
    victim.is(process);
    let since = Instant::now();
    while stage.server.hits(rule) == 0 {
        assert!(since.elapsed() < BOUND, "{case}: it never came to that");
        thread::sleep(Duration::from_millis(5));
    }
    let told = go_on(who, &stage, &mut cluster, running, &case);
    for field in ["copied", "deleted", "retracted", "failed"] {
        assert_eq!(told[field], undisturbed.report[field], "{case}: {field} of {told}");
    }
    assert_eq!(stage.data(), stage.expected("day4"), "{case}");
    stage.assert_success("day4");
    assert_eq!(stage.server.violations(), Vec::<String>::new(), "{case}");
}

/// What a person does, or nobody has to; the report of the success.
fn go_on(who: Who, stage: &Stage, cluster: &mut Cluster, running: Running<'_>, case: &str) -> Value {
    let expect = |outcome: Outcome, code: i32| {
        assert_eq!(outcome.code, code, "{case}: {outcome}");
        outcome
    };
    match who {
        Who::Executor => {
            cluster.executors.remove(0).process.kill();
            cluster.add_executor();
            return expect(running.wait(), 0).json();
        }
        Who::Scheduler => {
            cluster.scheduler.take().unwrap().process.kill();
            let report = expect(running.wait(), 4).json();
            assert!(report["error"]["help"].as_str().unwrap().contains("same command"), "{case}: {report}");
            cluster.start_scheduler();
            // An executor ends when its scheduler does not answer; what watches over it starts it again.
            cluster.executors.clear();
            cluster.add_executor();
        }
        Who::Command => drop(expect(running.wait(), -1)),
    }
    expect(begin(stage, cluster).wait(), 0).json()
}

/// Runs cases some at a time: they wait more than they work.
fn all(cases: &[(Who, Moment, Fate)]) {
    let undisturbed = Undisturbed::run();
    for some in cases.chunks(4) {
        thread::scope(|scope| {
            let cases: Vec<_> = some
                .iter()
                .map(|&(who, moment, fate)| {
                    scope.spawn({
                        let undisturbed = &undisturbed;
                        move || killed(undisturbed, who, moment, fate)
                    })
                })
                .collect();
            for case in cases {
                if let Err(panic) = case.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }
}

/// All moments are a long test.
fn is_soak() -> bool {
    std::env::var_os("MILLRACE_SOAK").is_some()
}

/// The fates of the request at which somebody is killed.
fn fates() -> Vec<Fate> {
    if is_soak() { vec![Fate::Applied, Fate::Lost, Fate::Late(Duration::from_millis(800))] } else { vec![Fate::Applied] }
}

fn cases(who: Who, always: &[&str]) -> Vec<(Who, Moment, Fate)> {
    let moments = MOMENTS.into_iter().filter(|moment| is_soak() || always.contains(&moment.name));
    moments.flat_map(|moment| fates().into_iter().map(move |fate| (who, moment, fate))).collect()
}

#[test]
fn an_executor_killed_in_any_phase_is_made_up_for() {
    all(&cases(Who::Executor, &["retract", "copy", "delete", "publish"]));
}

#[test]
fn a_scheduler_or_a_command_killed_in_any_phase_is_followed_by_another() {
    all(&[cases(Who::Scheduler, &["retract", "publish"]), cases(Who::Command, &["copy", "delete"])].concat());
}
