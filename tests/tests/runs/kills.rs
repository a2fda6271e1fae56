//! `kill -9` at any request, and then the same command.

use std::{thread, time::Duration};

use millrace_tests::s3::{Buckets, Fate, Fault, Op, Rule, Target, Victim};

use super::{Bed, Random, fixed_commits, rounds, want::Want};
use crate::export::{BUCKET, Place};

/// What is there before, what is killed, what is exported afterwards until all is well; the last ones with their options.
struct Scenario {
    name: &'static str,
    before: &'static [Want],
    victim: Want,
    options: &'static [&'static str],
    after: &'static [Want],
}

const fn all(label: &'static str) -> Want {
    Want { label, filter: 0, prefix: "", markers: true }
}

const fn part(label: &'static str, filter: usize) -> Want {
    Want { label, filter, prefix: "", markers: true }
}

const SCENARIOS: [Scenario; 11] = [
    Scenario { name: "first", before: &[], victim: all("A"), options: &[], after: &[all("A")] },
    Scenario { name: "incremental", before: &[all("A")], victim: all("B"), options: &[], after: &[all("B")] },
    Scenario { name: "rollback", before: &[all("A"), all("B")], victim: all("A"), options: &[], after: &[all("A")] },
    Scenario { name: "another filter", before: &[all("A")], victim: part("A", 1), options: &[], after: &[all("A")] },
    Scenario { name: "filter taken away", before: &[part("A", 1)], victim: all("A"), options: &[], after: &[part("A", 1)] },
    Scenario { name: "by value", before: &[part("A", 3)], victim: part("D", 3), options: &[], after: &[part("D", 3)] },
    Scenario { name: "reset to the base", before: &[all("A")], victim: all("B"), options: &[], after: &[all("A")] },
    Scenario { name: "superseded", before: &[all("A")], victim: all("B"), options: &[], after: &[all("C"), all("B")] },
    Scenario { name: "no changes", before: &[all("A")], victim: all("A2"), options: &[], after: &[all("A2")] },
    Scenario { name: "no changes, then away", before: &[all("A")], victim: all("A2"), options: &[], after: &[all("C")] },
    Scenario { name: "full", before: &[all("A")], victim: all("B"), options: &["--full"], after: &[all("C")] },
];

/// A scenario up to its victim.
struct Ready {
    bed: Bed,
    scenario: &'static Scenario,
    before: Buckets,
    /// Requests to the destination of a victim that is left alone.
    requests: u64,
}

impl Ready {
    fn new(scenario: &'static Scenario) -> Self {
        let bed = Bed::new(fixed_commits(20), Place::Bucket);
        for want in scenario.before {
            bed.exported(*want, &[]);
        }
        let before = bed.stage.server.snapshot();
        bed.stage.server.clear_log();
        bed.exported(scenario.victim, scenario.options);
        let requests = bed.requests();
        bed.stage.server.assert_no_violations();
        Self { bed, scenario, before, requests }
    }

    /// Kills the victim at its `n`th request to the destination, and does what comes after it.
    fn kill(&self, target: Target, n: u64, fate: Fate) -> bool {
        let (bed, scenario) = (&self.bed, self.scenario);
        let server = &bed.stage.server;
        server.restore(self.before.clone());
        bed.checker.forget_leases();
        server.clear_log();
        let victim = Victim::default();
        server.fault(Rule::new(target, Fault::kill(&victim, fate)).nth(n));
        let running = bed.export(scenario.victim, scenario.options).spawn();
        victim.is(running.id());
        let ended = running.wait();
        // Where the request never came, it ended well.
        let hit = ended.code == -1;
        assert!(hit || ended.code == 0, "{}: {ended}", scenario.name);
        server.clear_faults();
        for want in scenario.after {
            bed.exported(*want, &[]);
        }
        let violations = server.violations();
        assert!(
            violations.is_empty(),
            "{} killed at {n} of {} ({fate:?}):\n{}\n{}",
            scenario.name,
            self.requests,
            violations.join("\n"),
            server.log()
        );
        hit
    }
}

/// The fate of the request at which a victim is killed.
fn fate(random: &mut Random) -> Fate {
    *random.pick(&[Fate::Lost, Fate::Applied, Fate::Late(Duration::from_millis(300))])
}

/// Kills the victim of a scenario at requests anywhere.
fn anywhere(at: usize, kills: u64) -> (u64, u64) {
    let ready = Ready::new(&SCENARIOS[at]);
    let mut random = Random::new(at as u64);
    let mut hits = 0;
    for _ in 0..kills {
        let n = 1 + random.below(ready.requests);
        hits += u64::from(ready.kill(Target::on("*").bucket(BUCKET), n, fate(&mut random)));
    }
    (kills, hits)
}

/// The requests that matter most, each by itself, and how many there are of them in a run at most.
fn steps() -> Vec<(Target, u64)> {
    let (put, write) = (|suffix| Target::on("PutObject").bucket(BUCKET).suffix(suffix), Target::on("write").bucket(BUCKET));
    vec![
        (put("_millrace/HEAD.json"), 4),
        (put("plan.json"), 1),
        (put("run.json"), 2),
        (put(".parquet"), 6),
        (put("receipt.json"), 1),
        (write.clone().prefix("out/EXPORT_"), 2),
        (Target::on("CopyObject").bucket(BUCKET).suffix("_SUCCESS"), 2),
        (write.clone().prefix("out/bulk/"), 8),
        (Target::on("DeleteObjects").bucket(BUCKET), 4),
        (Target::on("ListObjectsV2").bucket(BUCKET), 4),
    ]
}

/// Kills the victim of a scenario at requests that matter.
fn where_it_matters(at: usize, part: usize, times: u64) -> (u64, u64) {
    let ready = Ready::new(&SCENARIOS[at]);
    let mut random = Random::new(100 + at as u64 + part as u64);
    let (mut kills, mut hits) = (0, 0);
    for (target, most) in steps().into_iter().skip(part).step_by(2) {
        for _ in 0..times {
            let n = 1 + random.below(most);
            kills += 1;
            hits += u64::from(ready.kill(target.clone(), n, fate(&mut random)));
        }
    }
    (kills, hits)
}

/// Does jobs in parallel; what they add up to.
fn all_of(jobs: Vec<Box<dyn FnOnce() -> (u64, u64) + Send>>) -> (u64, u64) {
    let jobs = std::sync::Mutex::new(jobs);
    let sum = std::sync::Mutex::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().unwrap().pop() else { break };
                    let (kills, hits) = job();
                    let mut sum = sum.lock().unwrap();
                    *sum = (sum.0 + kills, sum.1 + hits);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn a_run_is_killed_at_any_request() {
    let each = rounds(1, 30);
    let jobs: Vec<Box<dyn FnOnce() -> (u64, u64) + Send>> =
        (0..SCENARIOS.len()).map(|at| Box::new(move || anywhere(at, each)) as Box<_>).collect();
    let (kills, hits) = all_of(jobs);
    assert!(hits * 10 >= kills * 8, "{hits} of {kills} victims were killed");
}

#[test]
fn a_run_is_killed_where_it_matters() {
    let (each, scenarios) = (rounds(1, 6), rounds(1, SCENARIOS.len() as u64));
    let mut jobs: Vec<Box<dyn FnOnce() -> (u64, u64) + Send>> = Vec::new();
    for scenario in 0..usize::try_from(scenarios).unwrap() {
        for part in 0..2 {
            // Of those that are left alone by default, the one that changes most.
            let at = if scenarios == 1 { 10 } else { scenario };
            jobs.push(Box::new(move || where_it_matters(at, part, each)));
        }
    }
    let (kills, hits) = all_of(jobs);
    assert!(hits * 10 >= kills * 6, "{hits} of {kills} victims were killed");
}

/// Keys below the destination that were copied, one entry a request.
fn copied(bed: &Bed, who: &str) -> Vec<String> {
    let log = bed.stage.server.log();
    let of_it = |op: &&Op| op.applied && op.operation == "CopyObject" && op.access_key.as_deref() == Some(who);
    log.iter().filter(of_it).map(|op| op.key.clone()).collect()
}

#[test]
fn at_most_a_second_of_finished_work_is_done_again() {
    let bed = Bed::new(fixed_commits(200), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    let server = &bed.stage.server;
    server.clear_log();
    server.latency(Duration::from_millis(20));
    let victim = Victim::default();
    server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(150));
    let command = bed.export(Want::all("B"), &["--full", "--concurrency", "1"]);
    let first = bed.last_name();
    let running = command.spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    server.clear_faults();
    server.latency(Duration::ZERO);
    let killed = server.log().iter().filter_map(|op| op.ended).max().unwrap();
    let command = bed.export(Want::all("B"), &["--full"]);
    let second = bed.last_name();
    let outcome = command.run().expect_code(0);
    bed.is_at_rest(Want::all("B"), &outcome);
    let (before, after) = (copied(&bed, &first), copied(&bed, &second));
    let again: Vec<_> = after.iter().filter(|key| before.contains(key)).collect();
    let log = server.log();
    let recent = |key: &String| {
        let op = log.iter().find(|op| op.operation == "CopyObject" && op.key == *key && op.applied).unwrap();
        // A second, and what a machine that is busy takes to write it down.
        killed.duration_since(op.ended.unwrap()) < Duration::from_millis(2500)
    };
    assert!(before.len() == 149 && again.iter().all(|key| recent(key)), "{again:?}");
    assert!(again.len() < 130, "{} of {} were done again", again.len(), before.len());
    server.assert_no_violations();
}

#[test]
fn a_superseding_run_does_not_repeat_finished_work() {
    let bed = Bed::new(fixed_commits(100), Place::Bucket);
    let server = &bed.stage.server;
    // The first export is killed when nearly all is there; another commit is wanted then.
    server.latency(Duration::from_millis(20));
    let victim = Victim::default();
    server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(80));
    let running = bed.export(Want::all("A"), &["--concurrency", "1"]).spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    server.clear_faults();
    server.latency(Duration::ZERO);
    server.clear_log();
    let command = bed.export(Want::all("B"), &[]);
    let second = bed.last_name();
    let outcome = command.run().expect_code(0);
    bed.is_at_rest(Want::all("B"), &outcome);
    let copied = copied(&bed, &second).len();
    assert!(copied < 95, "{copied} objects were copied; most of them were there: {outcome}");
    // What the first one did is in the chain of receipts: nothing is copied for it later.
    server.clear_log();
    let outcome = bed.exported(Want::all("A"), &[]);
    let changed =
        bed.objects(Want::all("A")).iter().filter(|(key, body)| bed.objects(Want::all("B")).get(*key) != Some(body)).count();
    assert!(outcome.json()["copied"].as_u64().unwrap() <= changed as u64 + 5, "{outcome}");
    server.assert_no_violations();
}

#[test]
fn uploads_in_parts_are_ended_after_a_kill() {
    // Large enough to be uploaded in parts by default.
    let large = vec![7; 65 * 1024 * 1024];
    let commit =
        |text: &str| crate::made::Objects::from([("large".to_owned(), large.clone()), ("small".to_owned(), text.into())]);
    let bed = Bed::at(vec![("A", commit("1")), ("B", commit("2"))], Place::Folder, Place::Bucket);
    let server = &bed.stage.server;
    bed.export(Want::all("A"), &[]).run().expect_code(0);
    let undisturbed = super::seen_at(&server.snapshot());
    let mut left = 0;
    let all = [
        ("UploadPart", 3, Fate::Applied),
        ("CreateMultipartUpload", 1, Fate::Late(Duration::from_millis(300))),
        ("CompleteMultipartUpload", 1, Fate::Lost),
        ("CompleteMultipartUpload", 1, Fate::Late(Duration::from_millis(300))),
    ];
    // Large bodies take their time.
    let many = usize::try_from(rounds(2, 4)).unwrap();
    for (operation, n, fate) in all.into_iter().take(many) {
        let victim = Victim::default();
        let rule = server.fault(Rule::new(Target::on(operation), Fault::kill(&victim, fate)).nth(n));
        let running = bed.export(Want::all("A"), &["--full"]).spawn();
        victim.is(running.id());
        assert_eq!(running.wait().code, -1);
        assert_eq!(server.hits(rule), 1);
        server.clear_faults();
        left += server.open_uploads().len();
        bed.impatient();
        let outcome = bed.export(Want::all("A"), &["--full"]).run().expect_code(0);
        assert_eq!(server.open_uploads(), [], "{operation}: {outcome}");
        let data = |seen: &super::Seen| {
            seen.iter().filter(|(key, _)| !super::is_reserved(key)).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>()
        };
        assert_eq!(data(&super::seen_at(&server.snapshot())), data(&undisturbed), "{operation}");
        bed.stage.assert_success("A");
    }
    assert!(left >= 1, "{left} uploads were left open");
}
