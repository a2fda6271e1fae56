//! Deletes through the binary: what they insist on, and that none hits a newer object.

use std::{thread, time::Duration};

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome},
    s3::{DeleteConditions, Fate, Fault, Log, Rule, S3Server, Target, Victim},
};

use crate::made::{MadeLake, Objects, objects};

const KEYS: [&str; 4] = ["gone/0", "gone/1", "gone/2", "stays"];

/// Commits `full`; `bare` without what is below `gone/`; `few` without `gone/1` only; `again` with others of `gone/0` and `gone/1`.
fn bed() -> (S3Server, MadeLake) {
    let all: Objects = KEYS.iter().map(|key| ((*key).to_owned(), format!("first {key}").into_bytes())).collect();
    let bare = objects(&[("stays", "first stays")]);
    let again = objects(&[("gone/0", "newer"), ("gone/1", "newer"), ("stays", "first stays")]);
    let few: Objects = all.iter().filter(|(key, _)| *key != "gone/1").map(|(key, body)| (key.clone(), body.clone())).collect();
    let lake = MadeLake::new(1000, &[("full", &all), ("bare", &bare), ("again", &again), ("few", &few)]);
    let server = S3Server::with_buckets(&["dest"]);
    Lake::load(&lake, &server);
    (server, lake)
}

fn export<'a>(server: &S3Server, lake: &MadeLake, label: &str) -> Millrace<'a> {
    let source = format!("lake+s3://lake/{}?ref={}", lake.name, lake.commit(label).id);
    let words = ["export", &source, "s3://dest/out", "--output", "json", "--max-delete", "100%", "--request-timeout", "1s"];
    Millrace::new().s3(server).args(words)
}

fn exported(server: &S3Server, lake: &MadeLake, label: &str) -> Outcome {
    export(server, lake, label).run().expect_code(0)
}

fn data(server: &S3Server) -> Vec<String> {
    server.keys("dest", "out/").into_iter().filter(|key| !key.contains("/EXPORT_") && !key.contains("/_millrace/")).collect()
}

/// The requests that delete data, be it one object or many.
fn deletes(server: &S3Server) -> Log {
    server.log().filter(|op| op.operation.starts_with("Delete") && op.touches("dest", "out/gone/"))
}

#[test]
fn deletes_insist_on_the_etags_of_the_receipts() {
    let (server, lake) = bed();
    exported(&server, &lake, "full");
    let etag = |at: usize| server.get("dest", &format!("out/gone/{at}")).unwrap().etag.clone();
    let etags = [etag(0), etag(1), etag(2)];
    // One goes alone.
    exported(&server, &lake, "few");
    let log = deletes(&server);
    assert_eq!(log.len(), 1, "{log}");
    assert_eq!(log[0].conditions["if-match"], format!("\"{}\"", etags[1]), "{log}");
    exported(&server, &lake, "full");
    server.clear_log();
    let report = exported(&server, &lake, "bare").json();
    let log = deletes(&server);
    let insisted: Vec<&String> = log[0].etags.values().collect();
    assert_eq!((log.len(), insisted), (1, etags.iter().collect()), "{log}");
    assert_eq!((report["deleted"].as_u64(), report["requests"]["data"].as_u64()), (Some(3), Some(1)));
    assert_eq!(data(&server), ["out/stays"]);
}

#[test]
fn what_somebody_else_wrote_meanwhile_goes_by_its_own_etag_and_is_told_and_counted() {
    let (server, lake) = bed();
    exported(&server, &lake, "full");
    server.put("dest", "out/gone/1", "somebody else's", None, &[]);
    server.delete("dest", "out/gone/2");
    server.clear_log();
    let outcome = exported(&server, &lake, "bare");
    assert_eq!((data(&server), outcome.json()["deleted"].as_u64()), (vec!["out/stays".to_owned()], Some(3)), "{outcome}");
    let report = outcome.json();
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("1 object(s) were deleted that somebody else had written under keys of the last export: gone/1"),
        "{notes}"
    );
    assert_eq!(report["overwritten"], 1, "{outcome}");
    let query = "SELECT key, proof FROM receipts WHERE NOT present ORDER BY key";
    let rows = Millrace::new().s3(&server).args(["sql", "s3://dest/out", query, "--output", "json"]).run().expect_code(0);
    let proofs: Vec<serde_json::Value> = rows.json_lines().into_iter().map(|row| row["proof"].clone()).collect();
    assert_eq!(proofs, [serde_json::Value::Null, "overwritten".into(), serde_json::Value::Null], "{rows}");
    let counts = deletes(&server).counts();
    assert_eq!((counts["DeleteObjects"], counts["DeleteObject"]), (1, 1), "{counts:?}");
    assert!(deletes(&server).of("DeleteObject")[0].conditions.contains_key("if-match"));
}

#[test]
fn where_etags_are_no_md5s_deletes_insist_on_nothing() {
    let (server, lake) = bed();
    server.encrypt("dest");
    exported(&server, &lake, "full");
    server.clear_log();
    exported(&server, &lake, "bare");
    let log = deletes(&server);
    assert!(log.len() == 1 && log[0].etags.is_empty(), "{log}");
    assert_eq!(data(&server), ["out/stays"]);
}

#[test]
fn stores_that_know_no_such_condition_delete_all_the_same() {
    for what in [
        DeleteConditions::Ignored,
        DeleteConditions::RefusesKeys("NotImplemented"),
        DeleteConditions::RefusesKeys("InvalidArgument"),
        DeleteConditions::RefusesKeys("AccessDenied"),
        DeleteConditions::RefusesRequests("NotImplemented"),
        DeleteConditions::RefusesRequests("MalformedXML"),
        DeleteConditions::Mistaken,
    ] {
        let (server, lake) = bed();
        exported(&server, &lake, "full");
        server.delete_conditions(what);
        server.clear_log();
        let outcome = exported(&server, &lake, "bare");
        assert_eq!(
            (data(&server), outcome.json()["failed"].as_u64()),
            (vec!["out/stays".to_owned()], Some(0)),
            "{what:?}: {outcome}"
        );
        let is_told = outcome.stderr.matches("refuses deletes that insist on an etag").count();
        let refuses = !matches!(what, DeleteConditions::Ignored | DeleteConditions::Mistaken);
        assert_eq!(is_told, usize::from(refuses), "{what:?}: {outcome}");
        let batches = deletes(&server).of("DeleteObjects").len();
        assert_eq!(
            batches,
            if matches!(what, DeleteConditions::Ignored | DeleteConditions::Mistaken) { 1 } else { 2 },
            "{what:?}"
        );
    }
}

/// What no server says of a condition is no reason to go without one: it is the row's failure.
#[test]
fn another_failure_of_a_delete_does_not_take_its_condition_away() {
    let (server, lake) = bed();
    exported(&server, &lake, "full");
    server.delete_conditions(DeleteConditions::RefusesKeys("UnexpectedContent"));
    server.clear_log();
    let outcome = export(&server, &lake, "few").run();
    let log = deletes(&server);
    assert!(log.iter().all(|op| op.conditions.contains_key("if-match")), "{log}");
    assert_eq!((outcome.code, outcome.json()["failed"].as_u64()), (1, Some(1)), "{outcome}");
    assert!(server.get("dest", "out/gone/1").is_some());
}

/// A run is killed when it deletes, and its request arrives when the next run has long written there again: longer after
/// than any rule of waiting covers.
#[test]
fn a_newer_object_survives_a_delete_that_comes_late() {
    for (label, operation, key) in [("bare", "DeleteObjects", "out/gone/0"), ("few", "DeleteObject", "out/gone/1")] {
        let (server, lake) = bed();
        exported(&server, &lake, "full");
        server.clear_log();
        let victim = Victim::default();
        let target = Target::on(operation).bucket("dest");
        let target = if operation == "DeleteObject" { target.key(key) } else { target };
        server.fault(Rule::new(target, Fault::kill(&victim, Fate::Late(Duration::from_secs(6)))).nth(1));
        let running = export(&server, &lake, label).spawn();
        victim.is(running.id());
        assert_eq!(running.wait().code, -1);
        exported(&server, &lake, "again");
        let written = server.log().writes().filter(|op| op.key == key).last().map(|op| op.seq);
        let arrived = || server.log().filter(|op| op.operation == operation && op.touches("dest", key) && op.ended.is_some());
        for _ in 0..1000 {
            if !arrived().is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(arrived().last().is_some_and(|op| Some(op.seq) > written), "it was not late:\n{}", server.log());
        assert_eq!(server.get("dest", key).unwrap().bytes(), "newer", "it hit the newer one:\n{}", server.log());
    }
}
