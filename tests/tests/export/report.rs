//! The JSON report: its fields, that its totals add up, and that its requests are those that were sent.

use millrace_tests::tree::is_reserved;
use serde_json::Value;

use super::{BUCKET, PREFIX, Place, Stage};

/// The fields of a run in their order.
const FIELDS: [&str; 26] = [
    "run",
    "state",
    "update_time",
    "source",
    "destination",
    "commit",
    "base",
    "rounds",
    "copied",
    "deleted",
    "retracted",
    "unchanged",
    "failed",
    "skipped",
    "bytes",
    "failures",
    "ranges",
    "requests",
    "elapsed_ms",
    "plan_ms",
    "receipt",
    "marker",
    "by",
    "overwritten",
    "notes",
    "error",
];

/// The names of an object's fields as they were printed.
fn fields(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut rest) = (0, text);
    while let Some(at) = rest.find(['{', '}', '[', ']', '"']) {
        let (mark, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match mark {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {
                let mut strings = serde_json::Deserializer::from_str(&text[text.len() - after.len() - 1..]).into_iter::<String>();
                let string = strings.next().unwrap().unwrap();
                rest = &after[strings.byte_offset() - 1..];
                if depth == 1 && rest.starts_with(':') {
                    names.push(string);
                }
            }
        }
    }
    names
}

fn sum(report: &Value, field: &str, rounds: std::ops::Range<i64>) -> u64 {
    let counted = report["rounds"].as_array().unwrap().iter().filter(|round| rounds.contains(&round["round"].as_i64().unwrap()));
    counted.map(|round| round[field].as_u64().unwrap()).sum()
}

#[track_caller]
fn assert_adds_up(report: &Value) {
    for field in ["copied", "deleted", "bytes"] {
        assert_eq!(report[field], sum(report, field, 1..99), "{field}: totals leave out round 0");
    }
    for field in ["failed", "skipped"] {
        assert_eq!(report[field], sum(report, field, 0..99), "{field}");
    }
    assert_eq!(report["retracted"], sum(report, "deleted", 0..1));
    let rounds: Vec<_> = report["rounds"].as_array().unwrap().iter().map(|round| round["round"].as_i64().unwrap()).collect();
    assert!(rounds.is_sorted() && rounds.len() == 3, "{rounds:?}");
    assert!(report["plan_ms"].as_u64() <= report["elapsed_ms"].as_u64());
}

#[test]
fn a_run_has_the_fields_of_the_contract_in_their_order() {
    let stage = Stage::s3("orders");
    let outcome = stage.export("load", &[]).expect_code(0);
    assert_eq!(outcome.stdout.lines().count(), 1, "one object on one line");
    assert_eq!(fields(&outcome.stdout), FIELDS[..23]);
    let report = outcome.json();
    let load = &stage.lake.commit("load").id;
    let expected = serde_json::json!({
        "state": "succeeded", "source": stage.source("load"), "destination": stage.destination(), "commit": load, "base": null,
        "copied": 343, "deleted": 0, "retracted": 4, "unchanged": 0, "failed": 0, "skipped": 0, "failures": [],
        "marker": format!("EXPORT_{load}_SUCCESS"),
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&report[field], value, "{field}");
    }
    assert_eq!(report["run"].as_str().unwrap().len(), 26);
    assert!(report["update_time"].as_str().unwrap().ends_with('Z'), "{}", report["update_time"]);
    let bytes: u64 = stage.lake.objects("load").iter().map(|object| object.size_bytes).sum();
    assert_eq!(report["bytes"], bytes);
    let round = &report["rounds"][1];
    assert_eq!(
        round,
        &serde_json::json!({"round": 1, "name": "data", "copied": 339, "deleted": 0, "failed": 0, "skipped": 0, "bytes": bytes})
    );
    assert_adds_up(&report);
}

#[test]
fn totals_add_up_whatever_happened() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    assert_adds_up(&stage.exported("day4", &[]));
    let (bucket, key) = stage.source_object("merged", "site/new.css");
    let css = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    let failed = stage.export("merged", &[]).expect_code(1);
    assert_eq!(fields(&failed.stdout), FIELDS[..23]);
    assert_eq!(failed.json()["receipt"], Value::Null);
    assert_adds_up(&failed.json());
    stage.server.put_object(&bucket, &key, (*css).clone());
    let mended = stage.exported("merged", &[]);
    assert_adds_up(&mended);
    assert_eq!(mended["base"], stage.lake.commit("day4").id.as_str());
}

#[test]
fn a_plan_has_the_same_counts_under_the_same_names() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let planned = stage.millrace("plan").args([stage.source("day4"), stage.destination()]).run().expect_code(0);
    let fields = fields(&planned.stdout);
    let mut expected = FIELDS[..23].to_vec();
    expected.insert(20, "plan");
    expected.insert(21, "copies");
    assert_eq!(fields, expected);
    let planned = planned.json();
    assert_eq!(planned["copies"], "server-side");
    let folder = tempfile::tempdir().unwrap();
    let streamed =
        stage.millrace("plan").args([stage.source("day4").as_str(), folder.path().to_str().unwrap()]).run().expect_code(0);
    assert_eq!(streamed.json()["copies"], "streamed");
    assert_adds_up(&planned);
    let done = stage.exported("day4", &[]);
    for field in ["rounds", "copied", "deleted", "retracted", "unchanged", "bytes", "commit", "base", "source"] {
        assert_eq!(planned[field], done[field], "{field}");
    }
    assert_eq!(
        (&planned["receipt"], &planned["marker"], &planned["failures"]),
        (&Value::Null, &Value::Null, &serde_json::json!([]))
    );
}

#[test]
fn a_refusal_is_the_same_object_with_an_error() {
    let stage = Stage::s3("orders");
    stage.exported("head", &[]);
    let refused = stage.export("all-deleted", &[]).expect_code(3);
    let names = fields(&refused.stdout);
    assert_eq!(names.last().map(String::as_str), Some("error"));
    assert!(names.iter().all(|name| FIELDS.contains(&name.as_str())), "{names:?}");
    let refused = refused.json();
    assert_eq!((&refused["state"], &refused["error"]["kind"]), (&"refused".into(), &"guard".into()));
    assert_eq!(["copied", "deleted", "retracted"].map(|field| refused[field].as_u64().unwrap()), [0, 0, 0], "nothing was done");
}

#[test]
fn the_requests_are_those_that_the_server_saw() {
    for to in [Place::Bucket, Place::Folder] {
        let stage = Stage::new("orders", Place::Bucket, to);
        for label in ["load", "day4", "nothing"] {
            stage.server.clear_log();
            let report = stage.exported(label, &[]);
            let log = stage.server.log();
            if to == Place::Bucket {
                let names_data = |key: &str| key.strip_prefix(PREFIX).is_some_and(|key| !is_reserved(key));
                let data = log.filter(|op| op.is_write() && (names_data(&op.key) || op.keys.iter().any(|key| names_data(key))));
                // On a cluster a report counts the command's own requests.
                let is_local = stage.cluster.is_none();
                assert_eq!(report["requests"]["data"], if is_local { data.len() } else { 0 }, "{label}:\n{data}");
                let copies =
                    report["rounds"].as_array().unwrap().iter().map(|round| round["copied"].as_u64().unwrap()).sum::<u64>();
                assert_eq!(data.of("CopyObject").len() as u64, copies, "{label}: one a copied object");
                assert!(data.len() as u64 - copies <= 3, "{label}: one a thousand deleted objects of a step:\n{data}");
                assert_eq!(log.for_prefix("lake", "orders/data/").len() as u64, copies, "{label}: no look at the source");
                // What names the commit is asked before the run begins, with a look at HEAD.
                let resolved = log.iter().position(|op| op.bucket == BUCKET).unwrap() as u64;
                let told = report["requests"]["data"].as_u64().unwrap() + report["requests"]["control"].as_u64().unwrap();
                assert!(!is_local || told == log.len() as u64 - resolved, "{label}: {told}\n{log}");
            }
            // A lease, a plan of six shards, a journal, a receipt and markers; what planning reads of the source is apart.
            let metadata = log.for_prefix("lake", "orders/_lakefs/").len() as u64;
            let control = report["requests"]["control"].as_u64().unwrap().saturating_sub(metadata);
            let seconds = report["elapsed_ms"].as_u64().unwrap() / 1000;
            assert!(
                stage.cluster.is_some() || (1..=30 + 2 * 6 + 2 * seconds).contains(&control),
                "{label}: {control} requests for control\n{log}"
            );
            let looked = log.filter(|op| !op.is_write() && op.bucket == BUCKET && !op.key.contains("_millrace/"));
            // One a changed folder without a marker of the commit's.
            let markers = looked.filter(|op| op.operation == "HeadObject" && op.key.ends_with("/_SUCCESS")).len();
            let folders = if to == Place::Bucket {
                [("load", 0), ("day4", 2), ("nothing", 4)]
            } else {
                [("load", 0), ("day4", 0), ("nothing", 0)]
            };
            assert!(folders.contains(&(label, markers)), "{label}:\n{looked}");
            assert!(looked.len() - markers <= 4, "{label}:\n{looked}");
        }
    }
}
