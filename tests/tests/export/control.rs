//! Millrace's own objects in the operation log: HEAD names the run before anything changes, no SUCCESS speaks for the
//! destination while it does, and the marker comes when everything is proved.

use std::sync::{Arc, Mutex};

use millrace_tests::s3::{Buckets, Op};
use serde_json::Value;

use super::{BUCKET, Effect, PREFIX, Place, Stage, failure, success};

/// What a HEAD said when it was written, and whether the plan of the run that it names was there.
type Heads = Arc<Mutex<Vec<(Value, bool)>>>;

fn watch_heads(stage: &Stage) -> Heads {
    let heads = Heads::default();
    let kept = Arc::clone(&heads);
    stage.server.watch(move |op: &Op, buckets: &Buckets| {
        if op.bucket == BUCKET && op.key == format!("{PREFIX}_millrace/HEAD.json") {
            let head: Value = serde_json::from_slice(&buckets.get(BUCKET, &op.key).unwrap().bytes()).unwrap();
            let run = head["unfinished"][0].as_str().map(|run| format!("{PREFIX}_millrace/runs/{run}/plan/plan.json"));
            let stored = run.is_some_and(|plan| buckets.get(BUCKET, &plan).is_some());
            let mut kept = kept.lock().unwrap();
            // The lease is renewed in between.
            let said = |head: &Value| ["unfinished", "current", "marker"].map(|name| head[name].clone());
            let before = kept
                .last()
                .map_or_else(|| said(&serde_json::json!({ "unfinished": [] })), |(head, _): &(Value, bool)| said(head));
            let anew = if kept.is_empty() { head["lease"]["counter"] != 0 } else { true };
            if anew && before != said(&head) {
                kept.push((head, stored));
            }
        }
        Ok(())
    });
    heads
}

/// Effects with the ids taken out: what is left is the order of things.
fn outline(stage: &Stage) -> Vec<String> {
    let mut outline: Vec<String> = Vec::new();
    for effect in stage.effects() {
        let key = effect.key();
        let what = match key.split('/').collect::<Vec<_>>().as_slice() {
            _ if effect.is_data() => "data".to_owned(),
            _ if effect.is_marker() => "marker".to_owned(),
            ["_millrace", "receipts", _, file] => format!("receipt/{file}"),
            ["_millrace", "runs", _, "plan", ..] => "plan".to_owned(),
            ["_millrace", "runs", _, "journal" | "attempts", ..] => continue,
            // There a run takes long enough for renewals.
            ["_millrace", "HEAD.json"] if stage.cluster.is_some() => continue,
            ["_millrace", "runs", _, file] => (*file).to_owned(),
            _ => key.strip_prefix("_millrace/").unwrap_or(key).to_owned(),
        };
        let line = format!("{}{what}", if effect.is_write() { '+' } else { '-' });
        if outline.last() != Some(&line) {
            outline.push(line);
        }
    }
    outline
}

/// The lines of an outline; on a cluster it is without those of HEAD.
fn lines(stage: &Stage, lines: &[&str]) -> Vec<String> {
    lines.iter().filter(|line| stage.cluster.is_none() || !line.ends_with("HEAD.json")).map(|&line| line.to_owned()).collect()
}

#[test]
fn head_names_the_run_first_and_success_is_the_last_but_head() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    stage.server.clear_log();
    let heads = watch_heads(&stage);
    let report = stage.exported("day4", &[]);
    let (load, day4) = (&stage.lake.commit("load").id, &stage.lake.commit("day4").id);
    let expected = [
        "+HEAD.json",
        "+plan",
        "+run.json",
        "+HEAD.json",
        &format!("-{}", success(load)),
        "-marker",
        "+data",
        "-data",
        "+marker",
        "+receipt/changes.parquet",
        "+receipt/receipt.json",
        "+HEAD.json",
        &format!("+{}", success(day4)),
        "+HEAD.json",
        "-plan",
        "+run.json",
        "+HEAD.json",
    ];
    assert_eq!(outline(&stage), lines(&stage, &expected));
    let heads = heads.lock().unwrap().clone();
    let run = &report["run"];
    let said: Vec<_> = heads.iter().map(|(head, _)| (&head["unfinished"], &head["current"]["commit"], &head["marker"])).collect();
    let (none, one) = (serde_json::json!([]), serde_json::json!([run]));
    let (load, day4) = (&Value::from(load.as_str()), &Value::from(day4.as_str()));
    let (pending, written) = (&"pending".into(), &"written".into());
    assert_eq!(said, [(&one, load, &Value::Null), (&none, day4, pending), (&none, day4, written)]);
    assert!(heads[0].1, "the plan is stored before HEAD names its run");
}

#[test]
fn a_failed_run_leaves_one_failure_marker_and_its_name_in_head() {
    let stage = Stage::s3("orders");
    let (bucket, key) = stage.source_object("load", "site/app.js");
    stage.server.delete(&bucket, &key);
    let heads = watch_heads(&stage);
    let report = stage.export("load", &[]).expect_code(1).json();
    let name = failure(&stage.lake.commit("load").id);
    let failed = format!("+{name}");
    let expected = [
        "+HEAD.json",
        "+plan",
        "+run.json",
        "+HEAD.json",
        "-marker",
        "+data",
        "+failures.parquet",
        &failed,
        "+run.json",
        "+HEAD.json",
    ];
    assert_eq!(outline(&stage), lines(&stage, &expected));
    assert_eq!(stage.status_markers().into_keys().collect::<Vec<_>>(), [name]);
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1);
    assert_eq!((&heads[0].0["unfinished"][0], heads[0].1), (&report["run"], true));
    assert_eq!(heads[0].0["current"], Value::Null);
    assert!(stage.effects().contains(&Effect::Written("site/index.html".to_owned())));
}

#[test]
fn a_status_marker_that_somebody_touched_is_put_right_by_a_run_with_nothing_to_do() {
    let stage = Stage::s3("orders");
    stage.exported("load", &[]);
    let load = stage.lake.commit("load").id.clone();
    let before = stage.status_markers();
    stage.server.delete(BUCKET, &format!("{PREFIX}{}", success(&load)));
    stage.put_foreign(&failure(&load), "nonsense");
    stage.put_foreign(&success("feed"), "nonsense");
    let report = stage.exported("load", &[]);
    assert_eq!(report["requests"]["data"], 0);
    assert_eq!(stage.status_markers(), before);
    stage.put_foreign(&success(&load), "forged");
    stage.exported("load", &[]);
    assert_eq!(stage.status_markers(), before);
}

#[test]
fn a_success_of_the_same_length_that_says_something_else_is_put_right() {
    for (to, encrypted) in [(Place::Bucket, false), (Place::Bucket, true), (Place::Folder, false)] {
        let stage = Stage::new("orders", Place::Bucket, to);
        if encrypted {
            stage.server.encrypt(BUCKET);
        }
        stage.exported("load", &[]);
        let before = stage.status_markers();
        let (name, text) = before.first_key_value().unwrap();
        // Another run's, as of a backup.
        let other: String = text
            .lines()
            .map(|line| if line.starts_with("run: ") { "run: 01M7XWAVQV47N4W8R7GXTZQBE9\n".into() } else { format!("{line}\n") })
            .collect();
        assert!(other.len() == text.len() && other != *text);
        let reads = || stage.server.log().filter(|op| op.operation == "GetObject" && op.key.ends_with(name.as_str())).len();
        stage.server.clear_log();
        stage.exported("load", &[]);
        assert_eq!(reads(), usize::from(encrypted), "the listing tells where etags are MD5s");
        stage.put_foreign(name, &other);
        let verified = stage.millrace("verify").arg(stage.destination()).run().expect_code(0).json();
        assert!(verified["notes"].to_string().contains("is not what was written"), "{verified}");
        stage.exported("load", &[]);
        assert_eq!(stage.status_markers(), before, "{to:?}");
    }
}

#[test]
fn a_run_writes_its_record_for_the_history() {
    let stage = Stage::s3("orders");
    let load = stage.exported("load", &[]);
    let day4 = stage.exported("day4", &[]);
    let outcome = stage.millrace("runs").arg(stage.destination()).run().expect_code(0);
    let runs = outcome.json_lines();
    assert_eq!(runs.len(), 2);
    for (kept, told) in runs.iter().zip([&day4, &load]) {
        for field in ["run", "state", "commit", "base", "rounds", "copied", "deleted", "retracted", "bytes", "receipt", "marker"]
        {
            assert_eq!(kept[field], told[field], "{field}: {outcome}");
        }
        assert!(kept["requests"]["data"] == told["requests"]["data"] && kept["elapsed_ms"].as_u64() > Some(0), "{kept}");
    }
}
