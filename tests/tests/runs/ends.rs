//! How runs end that are not left alone: interrupted, cancelled, out of time, in the background. Each can go on.

use std::{collections::BTreeMap, time::Duration};

use millrace_tests::{
    run::Outcome,
    s3::{Fate, Fault, Rule, Target, Victim},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Bed, fixed_commits, two::until, want::Want};
use crate::export::Place;

fn bed() -> Bed {
    let bed = Bed::new(fixed_commits(60), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    bed.stage.server.clear_log();
    bed
}

const FULL: [&str; 3] = ["--full", "--concurrency", "2"];

/// How often each key was copied to the destination since the log was cleared.
fn copies(bed: &Bed) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for op in bed.stage.server.log().of("CopyObject").writes().iter() {
        *copies.entry(op.key.clone()).or_insert(0) += 1;
    }
    copies
}

/// Ended before its time, a run says so everywhere, and the same command does only what is left.
#[track_caller]
fn goes_on(bed: &Bed, ended: &Outcome, code: i32) {
    let report = ended.clone().expect_code(code).json();
    let run = report["run"].as_str().unwrap();
    assert_eq!(report["state"], "cancelled", "{ended}");
    assert!(report["error"]["help"].as_str().unwrap().contains("same command"), "{ended}");
    // Whoever looks from elsewhere hears why, and ends the same way.
    let (record, why) = (bed.record(run), &report["error"]);
    assert_eq!((&record["state"], &record["error"]), (&json!("cancelled"), why), "{ended}");
    let waited = bed.millrace("wait").args([&bed.stage.destination(), run]).run().expect_code(code).json();
    assert_eq!((&waited["error"], &runs(bed)[0]["error"]), (why, why), "{ended}");
    let head = bed.stage.head();
    assert!(head["lease"].is_null() && head["unfinished"] == json!([run]), "{head}");
    assert!(bed.stage.status_markers().is_empty(), "a stop leaves none: {ended}");
    let outcome = bed.exported(Want::all("B"), &FULL);
    assert_eq!(outcome.json()["run"], run, "the same run went on: {outcome}");
    let twice: Vec<_> = copies(bed).into_iter().filter(|(_, times)| *times > 1).collect();
    assert_eq!(twice, [], "finished work is not done again: {outcome}");
    let told = outcome.json();
    let objects = bed.objects(Want::all("B")).len();
    assert_eq!(told["copied"], objects, "the run's counts are of all its work: {outcome}");
    bed.stage.server.assert_no_violations();
}

fn signalled(signal: Signal) {
    let bed = bed();
    let victim = Victim::default();
    let fault = Fault::Signal { victim: victim.clone(), signal, fate: Fate::Applied };
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), fault).nth(12));
    bed.stage.server.latency(Duration::from_millis(10));
    let running = bed.export(Want::all("B"), &FULL).spawn();
    victim.is(running.id());
    let ended = running.wait();
    bed.stage.server.clear_faults();
    bed.stage.server.latency(Duration::ZERO);
    let done = ended.json()["copied"].as_u64().unwrap();
    assert!((11..40).contains(&done), "{ended}");
    goes_on(&bed, &ended, 130);
}

#[test]
fn an_interrupted_run_goes_on() {
    signalled(Signal::INT);
}

#[test]
fn a_terminated_run_goes_on() {
    signalled(Signal::TERM);
}

#[test]
fn a_run_that_is_out_of_time_goes_on() {
    let bed = bed();
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::Delay(Duration::from_millis(200))));
    let ended = bed.export(Want::all("B"), &["--full", "--concurrency", "2", "--timeout", "3s"]).run();
    bed.stage.server.clear_faults();
    assert_eq!(ended.json()["error"]["kind"], "timeout", "{ended}");
    goes_on(&bed, &ended, 124);
}

#[test]
fn a_stopped_run_sends_nothing_that_was_only_waiting_to_be_sent() {
    let bed = Bed::new(fixed_commits(200), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    bed.stage.server.clear_log();
    let victim = Victim::default();
    let fault = Fault::Signal { victim: victim.clone(), signal: Signal::TERM, fate: Fate::Late(Duration::from_millis(1500)) };
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), fault).nth(3));
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::Delay(Duration::from_millis(1500))));
    // As many at once as the store takes: hundreds of rows wait for their place.
    let running = bed.export(Want::all("B"), &["--full", "--request-timeout", "20s"]).spawn();
    victim.is(running.id());
    let ended = running.wait();
    bed.stage.server.clear_faults();
    let sent = copies(&bed).len();
    assert!((3..100).contains(&sent), "{sent} of more than 150 copies were sent: {ended}");
    let report = ended.clone().expect_code(130).json();
    // All of them had their answers, and what was not sent did not fail.
    assert_eq!((&report["failed"], report["copied"].as_u64()), (&json!(0), Some(sent as u64)), "{ended}");
    let outcome = bed.exported(Want::all("B"), &["--full", "--request-timeout", "20s"]);
    let twice: Vec<_> = copies(&bed).into_iter().filter(|(_, times)| *times > 1).collect();
    assert_eq!(twice, [], "{outcome}");
    bed.stage.server.assert_no_violations();
}

#[test]
fn a_store_that_answers_nothing_any_more_holds_up_no_end() {
    std::thread::scope(|scope| {
        for (options, code) in [(&["--timeout", "4s"][..], 124), (&[][..], 130)] {
            scope.spawn(move || without_answers(options, code));
        }
    });
}

/// From some moment on nothing is answered, whatever it is.
fn without_answers(options: &[&str], code: i32) {
    let bed = bed();
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::Delay(Duration::from_millis(100))));
    let options = [FULL.as_slice(), &["--request-timeout", "90s"], options].concat();
    let running = bed.export(Want::all("B"), &options).timeout(Duration::from_mins(1)).spawn();
    until("it copies", || bed.stage.server.log().of("CopyObject").len() > 8);
    bed.stage.server.clear_faults();
    bed.stage.server.fault(Rule::new(Target::on("*"), Fault::Stall { applied: false }));
    if code == 130 {
        running.terminate();
    }
    let ended = running.wait().expect_code(code);
    assert_eq!(ended.json()["state"], "cancelled", "{ended}");
    assert!(ended.json()["error"]["help"].as_str().unwrap().contains("same command"), "{ended}");
    assert!(ended.stderr.contains("the run did not end within 9s of the stop: a lease that it holds is not released"), "{ended}");
    bed.stage.server.clear_faults();
    // The next run waits for what may still be applied, as after a kill.
    assert!(!bed.stage.head()["lease"].is_null());
}

#[test]
fn what_only_looks_ends_at_the_first_signal() {
    let bed = bed();
    let source = bed.source(Want::all("A"));
    let to = bed.stage.destination();
    let asked = bed.stage.server.fault(Rule::new(Target::on("*"), Fault::Stall { applied: false }));
    for words in [
        vec!["ls", &source],
        vec!["plan", &source, "memory://x"],
        vec!["export", &source, &to],
        vec!["verify", &to],
        vec!["runs", &to],
        vec!["wait", &to],
    ] {
        let before = bed.stage.server.hits(asked);
        // Less than the time that a request may take.
        let running = bed.millrace(words[0]).args(&words[1..]).timeout(Duration::from_secs(20)).spawn();
        until("it asks", || bed.stage.server.hits(asked) > before);
        running.interrupt();
        running.wait().expect_code(130);
    }
}

/// A run with a request that is never answered.
fn stuck(bed: &Bed) -> millrace_tests::run::Running<'_> {
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::Stall { applied: false }).nth(5));
    let options = [FULL.as_slice(), &["--request-timeout", "60s"]].concat();
    let command = bed.export(Want::all("B"), &options).timeout(Duration::from_secs(40));
    let running = command.spawn();
    until("the run is stuck", || bed.stage.server.log().of("CopyObject").len() > 20);
    running
}

#[test]
fn a_request_that_hangs_is_abandoned_and_a_second_signal_waits_for_nothing() {
    let bed = bed();
    let running = stuck(&bed);
    running.interrupt();
    // Well within the minute that the request would have had.
    let ended = running.wait().expect_code(130);
    bed.stage.server.clear_faults();
    assert_eq!(ended.json()["state"], "cancelled", "{ended}");

    let bed = self::bed();
    let running = stuck(&bed);
    running.interrupt();
    std::thread::sleep(Duration::from_millis(300));
    running.interrupt();
    let ended = running.wait().expect_code(130);
    bed.stage.server.clear_faults();
    // What is in flight would have had five seconds, and after them there would be a report and no lease.
    assert_eq!(ended.stdout, "", "it waited for the request: {ended}");
    assert!(!bed.stage.head()["lease"].is_null(), "it waited for the request: {ended}");
}

#[test]
fn a_run_is_cancelled_from_elsewhere() {
    let bed = bed();
    bed.stage.server.latency(Duration::from_millis(250));
    let running = bed.export(Want::all("B"), &[FULL.as_slice(), &["--lease-ttl", "6s"]].concat()).spawn();
    until("it copies", || bed.stage.server.log().of("CopyObject").len() > 3);
    let status = bed.millrace("status").arg(bed.stage.destination()).run().expect_code(0).json();
    assert_eq!((&status["state"], &status["commit"]), (&json!("running"), &json!(bed.stage.lake.commit("B").id)), "{status}");
    let cancel = bed.millrace("cancel").arg(bed.stage.destination()).run().expect_code(0);
    let ended = running.wait();
    bed.stage.server.latency(Duration::ZERO);
    let report = ended.json();
    assert_eq!(status["run"], report["run"]);
    let why = report["error"]["message"].as_str().unwrap();
    assert!(why.contains("cancel"), "{ended}\n{cancel}");
    let listed = runs(&bed);
    assert_eq!(listed[0]["state"], "cancelled", "{listed:?}");
    goes_on(&bed, &ended, 130);
    // There is nothing to cancel now.
    bed.millrace("cancel").arg(bed.stage.destination()).run().expect_code(2);
    let status = bed.millrace("status").arg(bed.stage.destination()).run().expect_code(0).json();
    assert_eq!(status["state"], "succeeded");
}

fn runs(bed: &Bed) -> Vec<Value> {
    bed.millrace("runs").arg(bed.stage.destination()).run().expect_code(0).json_lines()
}

#[test]
fn a_run_goes_on_in_the_background_and_is_waited_for() {
    let bed = bed();
    bed.stage.server.latency(Duration::from_millis(30));
    let started = bed.export(Want::all("B"), &FULL).arg("--detach").run().expect_code(0);
    let run = started.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(started.json()["state"], "running");
    let waited = bed.millrace("wait").args([&bed.stage.destination(), &run]).run().expect_code(0);
    assert_eq!((&waited.json()["run"], &waited.json()["state"]), (&json!(run), &json!("succeeded")), "{waited}");
    bed.stage.server.latency(Duration::ZERO);
    until("the lease is released", || bed.stage.head()["lease"].is_null());
    bed.is_at_rest(Want::all("B"), &waited);
    bed.stage.server.assert_no_violations();
}

#[test]
fn a_killed_run_is_not_shown_as_running_and_waiting_for_it_ends() {
    let bed = bed();
    let victim = Victim::default();
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(9));
    let running = bed.export(Want::all("B"), &FULL).spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    bed.stage.server.clear_faults();
    let (listed, head) = (runs(&bed), bed.stage.head());
    assert_eq!((&listed[0]["run"], &listed[0]["state"]), (&head["unfinished"][0], &json!("failed")), "{listed:?}");
    assert!(listed[0]["error"]["help"].as_str().unwrap().contains("same command"), "{listed:?}");
    let waited = bed.millrace("wait").arg(bed.stage.destination()).run();
    assert!(waited.code != 0, "{waited}");
    // The run that goes on is the same one to everybody.
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::Delay(Duration::from_millis(300))));
    bed.stage.server.clear_log();
    let again = bed.export(Want::all("B"), &[FULL.as_slice(), &["--lease-ttl", "3s"]].concat()).spawn();
    until("it copies", || bed.stage.server.log().of("CopyObject").len() > 2);
    let run = listed[0]["run"].as_str().unwrap();
    let status = bed.millrace("status").args([&bed.stage.destination(), run]).run().expect_code(0).json();
    assert_eq!((&status["run"], &status["state"]), (&json!(run), &json!("running")), "{status}");
    let refused = bed.export(Want::all("C"), &[]).run().expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains(run), "{refused}");
    bed.millrace("cancel").args([&bed.stage.destination(), run]).run().expect_code(0);
    again.wait().expect_code(130);
    bed.stage.server.clear_faults();
    let outcome = bed.exported(Want::all("B"), &FULL);
    assert_eq!(outcome.json()["run"], run);
    assert_eq!(runs(&bed)[0]["state"], "succeeded");
}

#[test]
fn the_history_tells_counts_durations_who_and_why() {
    let bed = bed();
    bed.exported(Want::all("B"), &[]);
    bed.stage.server.deny(Target::on("CopyObject").prefix("out/bulk/01"));
    bed.export(Want::all("C"), &[]).run().expect_code(1);
    bed.stage.server.clear_denials();
    let listed = runs(&bed);
    let states: Vec<_> = listed.iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "succeeded", "succeeded"]);
    for run in &listed {
        assert!(run["elapsed_ms"].as_u64() > Some(0) && run["copied"].is_u64() && run["deleted"].is_u64(), "{run}");
        assert!(run["by"].as_str().is_some_and(|by| by.contains("process")), "who: {run}");
    }
    assert!(listed[0]["failed"].as_u64() > Some(0) && listed[0]["failures"][0]["error"].is_string(), "why: {}", listed[0]);
}
