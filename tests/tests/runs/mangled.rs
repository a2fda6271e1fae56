//! Millrace's own documents, mangled: named, never overwritten silently, with the way to recover.

use std::time::Duration;

use millrace_tests::{
    s3::{Fate, Fault, Rule, Target, Victim},
    tree::edited,
};

use super::{Bed, Stage, fixed_commits, want::Want};
use crate::export::{BUCKET, PREFIX, Place};

/// A destination with a receipt and a run that was killed when its journal had some outcomes.
fn bed() -> Bed {
    let bed = Bed::new(fixed_commits(60), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    let server = &bed.stage.server;
    server.latency(Duration::from_millis(30));
    let victim = Victim::default();
    server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(45));
    let running = bed.export(Want::all("B"), &["--full", "--concurrency", "1"]).spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    server.clear_faults();
    server.latency(Duration::ZERO);
    // As if everybody had waited long enough.
    let mut head = bed.stage.head();
    head["lease"] = serde_json::Value::Null;
    server.put(BUCKET, &format!("{PREFIX}_millrace/HEAD.json"), edited(&head), Some("application/json"), &[]);
    bed
}

/// The keys of Millrace's own with that part in them and that end.
fn find(bed: &Bed, part: &str, end: &str) -> String {
    let keys = bed.stage.own_keys();
    let found = keys.iter().find(|key| key.contains(part) && key.ends_with(end));
    found.unwrap_or_else(|| panic!("no {part}…{end} among {keys:?}")).clone()
}

/// Ways to mangle a document.
fn mangled(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = bytes.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x20;
    vec![
        ("empty", Vec::new()),
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("garbage", b"\x00\xffnot what it was".to_vec()),
        ("flipped", flipped),
    ]
}

/// Mangles a document in each way, and exports what was killed and something else.
fn each_way(part: &str, end: &str, from: Option<&str>) {
    let bed = bed();
    let options: Vec<&str> = from.map_or(vec![], |label| vec!["--force", "--from", &bed.stage.lake.commit(label).id]);
    let server = &bed.stage.server;
    let key = find(&bed, part, end);
    let at = format!("{PREFIX}{key}");
    let before = server.snapshot();
    let whole = before.get(BUCKET, &at).unwrap().bytes();
    let mut refused = 0;
    for (way, body) in mangled(&whole) {
        for label in ["B", "C"] {
            server.restore(before.clone());
            bed.checker.forget_leases();
            server.put(BUCKET, &at, body.clone(), None, &[]);
            server.clear_log();
            let outcome = bed.export(Want::all(label), &options).run();
            if outcome.code == 0 {
                // It was not needed, or what it said was found to be right.
                bed.is_at_rest(Want::all(label), &outcome);
                continue;
            }
            refused += 1;
            let report = outcome.json();
            let (message, help) =
                (report["error"]["message"].as_str().unwrap(), report["error"]["help"].as_str().unwrap_or_default());
            // By its file, or at least by its run.
            let names: Vec<&str> = key.rsplit('/').filter(|name| name.len() > 8).collect();
            assert!(names.iter().any(|name| message.contains(name)), "{way} {key} is not named: {outcome}");
            assert!(!help.is_empty(), "{way} {key}: what to do about it? {outcome}");
            assert!([2, 3, 4].contains(&outcome.code), "{way} {key}: {outcome}");
            let now = server.get(BUCKET, &at).unwrap().bytes();
            assert_eq!(now, body, "{way} {key} was overwritten: {outcome}");
            let touched = server.log().writes().filter(|op| op.bucket == BUCKET && !op.key.starts_with("out/_millrace/"));
            assert!(touched.is_empty(), "{way} {key}: something was changed:\n{touched}");
        }
    }
    server.assert_no_violations();
    assert!(refused > 0, "nobody noticed");
    recovers(&bed, &at);
}

/// The document is put right, or everything of Millrace's is moved aside and all is copied again.
fn recovers(bed: &Bed, at: &str) {
    let server = &bed.stage.server;
    server.put(BUCKET, at, "spoiled", None, &[]);
    for key in server.keys(BUCKET, "out/_millrace/") {
        server.delete(BUCKET, &key);
    }
    bed.stage.own_keys().iter().for_each(|key| server.delete(BUCKET, &format!("{PREFIX}{key}")));
    bed.export(Want::all("C"), &["--full"]).run().expect_code(0);
    let (data, wanted) = (bed.stage.data(), bed.objects(Want::all("C")));
    assert!(wanted.iter().all(|(key, body)| data.get(key) == Some(body)), "everything of the commit is there");
}

#[test]
fn a_mangled_head() {
    each_way("HEAD", ".json", None);
}

#[test]
fn a_mangled_plan() {
    each_way("/plan/", "plan.json", None);
}

#[test]
fn a_mangled_shard_of_a_plan() {
    each_way("/plan/", ".parquet", None);
}

#[test]
fn a_mangled_segment_of_a_journal() {
    each_way("/journal/", ".parquet", None);
}

#[test]
fn a_segment_of_a_journal_that_was_removed() {
    let bed = bed();
    let server = &bed.stage.server;
    let segments: Vec<String> = bed.stage.own_keys().into_iter().filter(|key| key.contains("/journal/")).collect();
    assert!(segments.len() > 1, "{segments:?}");
    let first = segments.iter().find(|key| key.contains("-00000-")).unwrap();
    server.delete(BUCKET, &format!("{PREFIX}{first}"));
    let before = server.snapshot();
    for label in ["B", "C"] {
        server.clear_log();
        let refused = bed.export(Want::all(label), &["--full"][..usize::from(label == "B")]).run().expect_code(4).json();
        let (message, help) = (refused["error"]["message"].as_str().unwrap(), refused["error"]["help"].as_str().unwrap());
        assert!(message.contains("-00000-*.parquet, a segment of a journal, is missing"), "{label}: {refused}");
        assert!(help.contains("--no-resume"), "{label}: {refused}");
        let touched = server.log().writes().filter(|op| op.bucket == BUCKET && !op.key.starts_with("out/_millrace/"));
        assert!(touched.is_empty(), "{label}: {touched}");
        server.restore(before.clone());
        bed.checker.forget_leases();
    }
    bed.exported(Want::all("B"), &["--full", "--no-resume"]);
    server.assert_no_violations();
}

#[test]
fn a_mangled_receipt() {
    // A base that contradicts HEAD makes every receipt count.
    each_way("/receipts/", "receipt.json", Some("D"));
    each_way("/receipts/", "changes.parquet", Some("D"));
}

#[test]
fn a_head_that_is_gone_beside_receipts() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let head = format!("{PREFIX}_millrace/HEAD.json");
    stage.server.delete(BUCKET, &head);
    let before = stage.server.snapshot().tree(BUCKET, "");
    for options in [&[][..], &["--full"]] {
        let refusal = stage.export_to("day4", "out", options).expect_code(3).json();
        assert!(refusal["error"]["message"].as_str().unwrap().contains("has receipts, and no _millrace/HEAD.json"), "{refusal}");
        assert!(refusal["error"]["help"].as_str().unwrap().contains("--from"), "{refusal}");
    }
    assert_eq!(stage.server.snapshot().tree(BUCKET, ""), before, "nothing was written");
    let load = stage.lake.commit("load").id.clone();
    stage.exported("day4", &["--from", &load]);
    assert_eq!(stage.data(), stage.expected("day4"));
}
