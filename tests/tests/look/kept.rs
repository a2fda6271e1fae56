//! What plans and destinations keep can be looked at: a plan's actions, receipts, runs.

use std::path::PathBuf;

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::sql;

/// A destination in a folder that holds `orders` at `load`, and a plan that leads to `day4`.
struct Kept {
    lake: Lake,
    folder: TempDir,
    export: Value,
    plan: Value,
}

impl Kept {
    fn make() -> Self {
        let (lake, folder) = (Lake::named("orders"), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let json = |words: &[&str]| Millrace::new().args(["--output", "json"]).args(words).run().expect_code(0).json();
        let export = json(&["export", &lake.file_url("v1"), &path("dest")]);
        let plan = json(&["plan", &lake.file_url("v2"), &path("dest"), "-o", &path("plan")]);
        Self { lake, folder, export, plan }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn a_plan_is_a_table_of_its_actions() {
    let kept = Kept::make();
    let plan = kept.path("plan");
    let counts = sql(&plan, "SELECT round, action, count(*) AS n FROM plan GROUP BY 1, 2 ORDER BY 1, 2");
    let row = |round: i32, action: &str, n: usize| json!({ "round": round, "action": action, "n": n });
    // Day 2 (eleven parts stay), day 4 and the customers change, day 1 goes; day 1's marker is retracted, not deleted.
    let diff = kept.lake.diff("load", "day4");
    let data = |kinds: &[&str]| {
        diff.iter().filter(|line| kinds.contains(&line.kind.as_str()) && !line.path.ends_with("_SUCCESS")).count()
    };
    let expected = [row(0, "retract", 4), row(1, "copy", data(&["added", "changed"])), row(1, "delete", data(&["removed"]))];
    assert_eq!(counts[..3], expected);
    assert_eq!(counts[3..], [row(2, "copy", 3)]);
    assert_eq!(kept.plan["copied"], json!(data(&["added", "changed"]) + 3), "{}", kept.plan);
    assert_eq!(kept.plan["deleted"], json!(data(&["removed"])), "{}", kept.plan);

    let query = "SELECT round, action, key, source, size, etag, content_type, metadata, mtime, reason FROM plan \
                 WHERE key = 'tables/orders/dt=2026-01-02/part-00001.parquet'";
    let object = kept.lake.objects("day4").into_iter().find(|object| object.path.ends_with("dt=2026-01-02/part-00001.parquet"));
    let object = object.unwrap();
    let source = object.physical_address.replace("s3://lake/orders", &format!("file://{}", kept.lake.namespace().display()));
    assert_eq!(
        sql(&plan, query),
        [json!({
            "round": 1, "action": "copy", "key": object.path, "source": source, "size": object.size_bytes,
            "etag": object.checksum, "content_type": object.content_type, "metadata": null,
            "mtime": "2026-11-20T18:20:32Z", "reason": "changed",
        })]
    );
}

#[test]
fn receipts_are_a_table_of_what_is_there_and_by_which_commit() {
    let kept = Kept::make();
    let dest = kept.path("dest");
    let commit = |label: &str| kept.lake.commit(label).id.clone();
    let listed = kept.lake.objects("load");
    let rows = sql(&dest, "SELECT key, size, etag, seq, commit, run FROM receipts WHERE present ORDER BY key");
    let expected: Vec<Value> = listed
        .iter()
        .map(|object| {
            json!({
                "key": object.path, "size": object.size_bytes, "etag": object.checksum,
                "seq": 1, "commit": commit("load"), "run": kept.export["run"],
            })
        })
        .collect();
    assert_eq!(rows, expected);

    let apply: Outcome = Millrace::new().args(["apply", kept.path("plan").to_str().unwrap()]).run();
    apply.expect_code(0);
    let query = "SELECT seq, commit, count(*) FILTER (WHERE present) AS there, count(*) FILTER (WHERE NOT present) AS gone \
                 FROM receipts WHERE key NOT LIKE '%_SUCCESS' GROUP BY 1, 2 ORDER BY 1";
    assert_eq!(
        sql(&dest, query),
        [
            json!({ "seq": 1, "commit": commit("load"), "there": 339, "gone": 0 }),
            json!({ "seq": 2, "commit": commit("day4"), "there": 15, "gone": 12 }),
        ]
    );
}

#[test]
fn runs_are_listed_newest_first_and_are_a_table() {
    let kept = Kept::make();
    let dest = kept.path("dest");
    Millrace::new().args(["apply", kept.path("plan").to_str().unwrap()]).run().expect_code(0);
    let list = |words: &[&str]| Millrace::new().args(words).args(["runs", dest.to_str().unwrap()]).run().expect_code(0);
    let runs = list(&["--output", "json"]).json_lines();
    assert_eq!(runs.len(), 2);
    for (run, (planned, label)) in runs.iter().zip([(&kept.plan, "day4"), (&kept.export, "load")]) {
        assert_eq!((&run["run"], &run["state"]), (&planned["run"], &json!("succeeded")));
        assert_eq!(run["commit"], kept.lake.commit(label).id.as_str());
        for field in ["copied", "deleted", "retracted", "bytes", "unchanged", "source", "base"] {
            assert_eq!(run[field], planned[field], "{label} {field}");
        }
        assert!(run["elapsed_ms"].as_u64().unwrap() > 0, "{run}");
        assert!(run["requests"]["data"].as_u64().unwrap() > 0, "{run}");
    }
    let text = list(&[]).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("RUN ") && lines[0].contains("STATE") && lines[0].contains("COPIED"), "{text}");
    assert!(lines[1].starts_with(kept.plan["run"].as_str().unwrap()) && lines[1].contains("succeeded"), "{text}");
    assert!(lines[2].contains(&kept.lake.commit("load").id[..12]), "{text}");
    assert_eq!(lines.len(), 3, "{text}");

    let rows = sql(&dest, "SELECT run, state, copied, commit FROM runs ORDER BY run DESC");
    let expected: Vec<Value> = runs
        .iter()
        .map(|run| json!({ "run": run["run"], "state": "succeeded", "copied": run["copied"], "commit": run["commit"] }))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn plans_and_destinations_can_be_asked_together_with_their_lake() {
    let kept = Kept::make();
    let lake = format!("lake=lake+file://{}", kept.lake.namespace().display());
    let (plan, dest) = (format!("next={}", kept.path("plan").display()), format!("now={}", kept.path("dest").display()));
    // What the plan will copy and the destination holds already, in another version.
    let query = "SELECT count(*) AS n FROM next_plan p JOIN now_receipts r ON p.key = r.key JOIN lake_objects('v2') o ON o.path = p.key \
                 WHERE p.action = 'copy' AND r.present AND r.etag <> o.etag";
    let outcome = Millrace::new().args(["--output", "json", "sql", &lake, &plan, &dest, query]).run().expect_code(0);
    let changed = kept.lake.diff("load", "day4").into_iter().filter(|line| line.kind == "changed").count();
    assert_eq!(outcome.json(), json!({ "n": changed }));
}

#[test]
fn what_is_neither_a_plan_nor_a_destination_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let outcome = Millrace::new().args(["--output", "json", "sql", path, "SELECT 1"]).run().expect_code(2);
    let error = &outcome.json()["error"];
    let said = format!("file://{path} is neither a plan nor a destination: it has no plan.json and no _millrace/HEAD.json");
    assert_eq!((&error["kind"], &error["message"]), (&json!("usage"), &json!(said)));
    let outcome = Millrace::new().args(["runs", path]).run().expect_code(0);
    assert_eq!(outcome.stdout, format!("No runs at file://{path}\n"));
}
