//! Servers that do not obey conditions on uploads: it is found out once, said once a run, and exports go on as well as they can.

use std::time::Duration;

use millrace_tests::{
    s3::{Conditions, Fault, Op, Rule, Target},
    tree::edited,
};
use serde_json::Value;

use super::{
    Bed, fixed_commits,
    two::{HEAD, at_work, frozen},
    want::Want,
};
use crate::export::{BUCKET, Place};

/// Puts of HEAD with that status, and their error codes.
fn puts_with(bed: &Bed, status: u16) -> usize {
    bed.stage
        .server
        .log()
        .filter(|op: &Op| op.bucket == BUCKET && op.key == HEAD && op.operation == "PutObject" && op.status == status)
        .len()
}

fn warnings(report: &Value) -> Vec<&str> {
    let notes = report["notes"].as_array().map(Vec::as_slice).unwrap_or_default();
    notes.iter().filter_map(Value::as_str).filter(|note| note.contains("one export at a time")).collect()
}

#[test]
fn what_becomes_of_conditions_is_found_out_once_and_said_once_a_run() {
    for (conditions, known) in
        [(Conditions::Obeyed, "obeyed"), (Conditions::Ignored, "ignored"), (Conditions::Refused, "refused")]
    {
        let bed = Bed::new(fixed_commits(5), Place::Bucket);
        let server = &bed.stage.server;
        server.conditions(conditions);
        let weak = conditions != Conditions::Obeyed;
        for (turn, label) in ["A", "B", "C"].into_iter().enumerate() {
            server.clear_log();
            let outcome = bed.exported(Want::all(label), &[]);
            let report = outcome.json();
            assert_eq!(warnings(&report).len(), usize::from(weak), "{known}: {outcome}");
            assert!(warnings(&report).iter().all(|note| note.contains(known.trim_end_matches("ed"))), "{outcome}");
            assert_eq!(outcome.stderr.matches("one export at a time").count(), usize::from(weak), "{known}: {outcome}");
            assert_eq!(bed.stage.head()["conditions"]["are"], known, "{outcome}");
            // Only the first run asks, with one request.
            let asked = usize::from(turn == 0);
            assert_eq!(puts_with(&bed, 412), if weak { 0 } else { asked }, "{known}, {turn}: {}", server.log());
            assert_eq!(
                puts_with(&bed, 501),
                if conditions == Conditions::Refused { asked } else { 0 },
                "{known}: {}",
                server.log()
            );
        }
        server.assert_no_violations();
    }
}

#[test]
fn what_was_found_out_of_another_server_does_not_count() {
    let bed = Bed::new(fixed_commits(5), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    let mut head = bed.stage.head();
    head["conditions"]["server"] = "s3|elsewhere:9000".into();
    bed.stage.server.put(BUCKET, HEAD, edited(&head), Some("application/json"), &[]);
    bed.stage.server.conditions(Conditions::Ignored);
    let report = bed.exported(Want::all("B"), &[]).json();
    assert_eq!(warnings(&report).len(), 1, "{report}");
    assert_eq!(bed.stage.head()["conditions"]["are"], "ignored");
}

#[test]
fn a_second_exporter_is_refused_there_too_once_the_first_is_at_work() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let bed = Bed::new(fixed_commits(20), Place::Bucket);
        bed.stage.server.conditions(conditions);
        bed.exported(Want::all("A"), &[]);
        bed.stage.server.latency(Duration::from_millis(60));
        let first = at_work(&bed, Want::all("B"), &["--full", "--concurrency", "1", "--lease-ttl", "4s"]);
        let second = bed.export(Want::all("C"), &[]).run().expect_code(3);
        assert!(second.json()["error"]["message"].as_str().unwrap().contains("is exporting to"), "{second}");
        bed.stage.server.latency(Duration::ZERO);
        let outcome = first.wait().expect_code(0);
        bed.is_at_rest(Want::all("B"), &outcome);
        bed.stage.server.assert_no_violations();
    }
}

#[test]
fn a_frozen_holder_does_nothing_after_it_was_taken_over_there_either() {
    let bed = Bed::new(fixed_commits(20), Place::Bucket);
    bed.stage.server.conditions(Conditions::Ignored);
    bed.exported(Want::all("A"), &[]);
    bed.stage.server.clear_log();
    frozen(&bed, 40, Want::all("C"));
}

#[test]
fn a_probe_without_an_answer_is_made_again_by_the_next_run() {
    for (conditions, known) in [(Conditions::Obeyed, "obeyed"), (Conditions::Ignored, "ignored")] {
        let bed = Bed::new(fixed_commits(5), Place::Bucket);
        let server = &bed.stage.server;
        server.conditions(conditions);
        // The second put of HEAD is the probe.
        let target = || Target::on("PutObject").bucket(BUCKET).key(HEAD);
        let lost = server.fault(Rule::new(target(), Fault::Reset { applied: conditions == Conditions::Ignored }).nth(2));
        bed.exported(Want::all("A"), &[]);
        assert_eq!(server.hits(lost), 1);
        server.clear_faults();
        bed.exported(Want::all("B"), &[]);
        assert_eq!(bed.stage.head()["conditions"]["are"], known);
        server.assert_no_violations();
    }
}

#[test]
fn a_probe_that_is_answered_by_something_else_tells_nothing_and_is_waited_for_by_nobody() {
    for (status, code) in [(403, "AccessDenied"), (409, "ConditionalRequestConflict"), (500, "InternalError")] {
        let bed = Bed::new(fixed_commits(5), Place::Bucket);
        let server = &bed.stage.server;
        // The second put of HEAD is the probe; a conflict is asked again twice. A rule does not see what one before it met.
        let rule = || Rule::new(Target::on("PutObject").bucket(BUCKET).key(HEAD), Fault::error(status, code)).nth(2);
        let rules: Vec<_> = (0..if status == 409 { 3 } else { 1 }).map(|_| server.fault(rule())).collect();
        // With this option a doubt would be waited for, and said.
        let outcome = bed.exported(Want::all("A"), &["--request-timeout", "20s"]);
        assert!(rules.iter().all(|rule| server.hits(*rule) == 1), "{status}: {outcome}");
        assert!(!outcome.stderr.contains("may still be applied"), "{status}: {outcome}");
        assert!(bed.stage.head()["conditions"].is_null(), "{status}: {}", bed.stage.head());
        server.clear_faults();
        bed.exported(Want::all("B"), &[]);
        assert_eq!(bed.stage.head()["conditions"]["are"], "obeyed", "{status}");
        server.assert_no_violations();
    }
}
