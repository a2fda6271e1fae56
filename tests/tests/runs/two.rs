//! One writer at a time: of two exporters one works, a frozen one does no harm, and nobody compares wall clocks.

use std::{thread, time::Duration};

use millrace_tests::{
    run::{Outcome, Running},
    s3::{Fate, Fault, Op, Rule, Target, Victim},
    tree::edited,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Bed, Random, fixed_commits, rounds, want::Want};
use crate::export::{BUCKET, Place};

pub(super) const HEAD: &str = "out/_millrace/HEAD.json";

/// Waits until something is so.
#[track_caller]
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came about: {what}");
}

fn lease(bed: &Bed) -> Option<Value> {
    let head = bed.stage.tree().remove("_millrace/HEAD.json")?;
    let head: Value = serde_json::from_slice(&head).ok()?;
    Some(head["lease"].clone()).filter(|lease| !lease.is_null())
}

/// Starts an export and waits until it holds the lease and works.
pub(super) fn at_work<'a>(bed: &'a Bed, want: Want, options: &[&str]) -> Running<'a> {
    let running = bed.export(want, options).spawn();
    until("the lease is held and the run is in HEAD", || lease(bed).is_some() && bed.stage.head()["unfinished"] != json!([]));
    running
}

#[test]
fn of_two_exporters_one_works_and_the_other_names_it() {
    for to in [Place::Bucket, Place::Folder] {
        let bed = Bed::new(fixed_commits(40), to);
        bed.exported(Want::all("A"), &[]);
        bed.stage.server.latency(Duration::from_millis(60));
        let first = at_work(&bed, Want::all("B"), &["--full", "--concurrency", "1", "--lease-ttl", "3s"]);
        let run = lease(&bed).unwrap()["run"].as_str().unwrap().to_owned();
        let before = bed.stage.stamps();
        let second = bed.export(Want::all("C"), &[]).run().expect_code(3);
        let report = second.json();
        assert_eq!((&report["state"], &report["error"]["kind"]), (&json!("refused"), &json!("guard")), "{second}");
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains(&run) && message.contains(&format!("process {}", first.id())), "{second}");
        let help = report["error"]["help"].as_str().unwrap();
        assert!(help.contains("millrace wait") && help.contains("millrace cancel"), "{second}");
        let other = report["run"].as_str().unwrap();
        assert!(!bed.stage.own_keys().iter().any(|key| key.contains(other)), "it left nothing: {second}");
        assert!(before.len() <= bed.stage.stamps().len());
        bed.stage.server.latency(Duration::ZERO);
        let outcome = first.wait().expect_code(0);
        bed.is_at_rest(Want::all("B"), &outcome);
        bed.exported(Want::all("C"), &[]);
        bed.stage.server.assert_no_violations();
    }
}

#[test]
fn of_exporters_that_start_together_each_succeeds_or_names_another() {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    for turn in 0..rounds(3, 40) {
        let labels = ["A", "B", "C"];
        let running: Vec<_> = labels.iter().map(|label| bed.export(Want::all(label), &["--lease-ttl", "4s"]).spawn()).collect();
        let ends: Vec<Outcome> = running.into_iter().map(Running::wait).collect();
        for end in &ends {
            assert!(end.code == 0 || end.code == 3, "turn {turn}: {end}");
            if end.code == 3 {
                assert!(end.json()["error"]["message"].as_str().unwrap().contains("is exporting to"), "{end}");
            }
        }
        assert!(ends.iter().any(|end| end.code == 0), "turn {turn}: nobody worked");
        bed.stage.server.assert_no_violations();
        bed.exported(Want::all("A"), &["--full"]);
    }
    assert!(bed.checker.leases() > 3);
}

/// Freezes a run at its `n`th request to the destination, lets another one take over, and thaws it.
pub(super) fn frozen(bed: &Bed, n: u64, successor: Want) {
    let server = &bed.stage.server;
    let victim = Victim::default();
    let fault = Fault::Signal { victim: victim.clone(), signal: Signal::STOP, fate: Fate::Applied };
    let rule = server.fault(Rule::new(Target::on("*").bucket(BUCKET), fault).nth(n));
    let options = ["--lease-ttl", "2s", "--full"];
    let command = bed.export(Want::all("B"), &options);
    let name = bed.last_name();
    let mut frozen = command.spawn();
    victim.is(frozen.id());
    until("it is frozen or done", || server.hits(rule) > 0);
    // What was sent beside the request at which it was frozen arrives now.
    thread::sleep(Duration::from_millis(200));
    server.clear_faults();
    let held = lease(bed).is_some();
    let outcome = bed.export(successor, &["--lease-ttl", "2s"]).run().expect_code(0);
    bed.is_at_rest(successor, &outcome);
    let taken = server.log().iter().map(|op| op.seq).max().unwrap();
    assert!(!frozen.has_ended());
    frozen.thaw();
    let thawed = frozen.wait();
    if held {
        assert_eq!(thawed.code, 3, "frozen at {n}: {thawed}");
        let told = thawed.json();
        assert!(told["error"]["help"].as_str().is_some_and(|help| help.contains("the same command again")), "{thawed}");
        let late = server.log().filter(|op: &Op| op.seq > taken && op.is_write() && op.access_key.as_deref() == Some(&name));
        assert!(late.is_empty(), "frozen at {n}:\n{late}\n{thawed}");
        bed.is_at_rest(successor, &outcome);
    }
    server.assert_no_violations();
}

#[test]
fn a_frozen_holder_does_nothing_after_it_was_taken_over() {
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let bed = Bed::new(fixed_commits(20), Place::Bucket);
                bed.exported(Want::all("A"), &[]);
                let mut random = Random::new(seed);
                for _ in 0..rounds(1, 12) {
                    let n = 8 + random.below(60);
                    bed.stage.server.clear_log();
                    frozen(&bed, n, *random.pick(&[Want::all("A"), Want::all("B"), Want::all("C")]));
                    bed.exported(Want::all("A"), &[]);
                }
            });
        }
    });
}

/// Leaves a lease of a dead run in HEAD, as if it were another machine's, edited.
fn left_lease(bed: &Bed, edit: impl Fn(&mut Value)) {
    let victim = Victim::default();
    let server = &bed.stage.server;
    server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(3));
    let running = bed.export(Want::all("B"), &["--lease-ttl", "2s"]).spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    server.clear_faults();
    let mut head = bed.stage.head();
    assert!(head["lease"]["ttl_ms"] == 2000, "{head}");
    head["lease"]["holder"]["host"] = json!("another-machine");
    edit(&mut head);
    server.put(BUCKET, HEAD, edited(&head), Some("application/json"), &[]);
}

/// How often HEAD was read before it was written.
fn looks(bed: &Bed) -> usize {
    let log = bed.stage.server.log().filter(|op| op.key == HEAD);
    log.iter().take_while(|op| op.operation != "PutObject").count()
}

#[test]
fn no_wall_clock_is_compared() {
    let times = ["2001-01-01T00:00:00.000Z", "2126-01-01T00:00:00.000Z"];
    thread::scope(|scope| {
        for time in times {
            scope.spawn(move || {
                let bed = Bed::new(fixed_commits(20), Place::Bucket);
                bed.exported(Want::all("A"), &[]);
                left_lease(&bed, |head| head["update_time"] = json!(time));
                bed.stage.server.clear_log();
                let outcome = bed.exported(Want::all("C"), &[]);
                // Two seconds of lease and one of request, looked at every half second.
                assert!((6..=14).contains(&looks(&bed)), "{} looks: {outcome}", looks(&bed));
                bed.stage.server.assert_no_violations();
            });
        }
    });
}

#[test]
fn the_lease_of_a_process_that_is_gone_is_not_waited_for_but_its_requests_are() {
    let bed = Bed::new(fixed_commits(20), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    left_lease(&bed, |head| {
        head["lease"]["holder"]["host"] = json!(rustix::system::uname().nodename().to_str().unwrap());
        head["lease"]["ttl_ms"] = json!(600_000);
    });
    bed.stage.server.clear_log();
    let outcome = bed.exported(Want::all("C"), &[]);
    assert!((2..=8).contains(&looks(&bed)), "{} looks: {outcome}", looks(&bed));
    bed.stage.server.assert_no_violations();
}

#[test]
fn a_request_that_lands_late_within_its_bound_does_no_harm() {
    // The last request of a killed run is carried out while its successor waits.
    for (operation, suffix) in [("CopyObject", ""), ("DeleteObjects", ""), ("PutObject", "HEAD.json"), ("CopyObject", "_SUCCESS")]
    {
        let bed = Bed::new(fixed_commits(20), Place::Bucket);
        bed.exported(Want::all("A"), &[]);
        let victim = Victim::default();
        let server = &bed.stage.server;
        let target = if suffix.is_empty() { Target::on(operation) } else { Target::on(operation).suffix(suffix) };
        let rule = server.fault(Rule::new(target, Fault::kill(&victim, Fate::Late(Duration::from_millis(700)))).nth(2));
        let running = bed.export(Want::all("B"), &["--full"]).spawn();
        victim.is(running.id());
        let ended = running.wait();
        let hit = server.hits(rule) > 0;
        assert_eq!(ended.code == -1, hit, "{operation} {suffix}: {ended}");
        server.clear_faults();
        bed.exported(Want::all("C"), &[]);
        server.assert_no_violations();
    }
}

#[test]
fn a_store_whose_clock_is_hours_off_and_jumps_changes_nothing() {
    const HOURS: i64 = 3600;
    let bed = Bed::at(fixed_commits(20), Place::Folder, Place::Bucket);
    let server = &bed.stage.server;
    for (label, before, during) in [("A", 5 * HOURS, 5 * HOURS), ("B", -7 * HOURS, 3 * HOURS), ("C", 0, -30 * HOURS)] {
        server.set_clock(before);
        server.latency(Duration::from_millis(40));
        let running = at_work(&bed, Want::all(label), &["--full", "--concurrency", "2", "--lease-ttl", "5s"]);
        server.set_clock(during);
        let outcome = running.wait().expect_code(0);
        bed.is_at_rest(Want::all(label), &outcome);
        assert!(outcome.stderr.contains("signed with the store's"), "{outcome}");
    }
    server.assert_no_violations();
}
