//! Plans whose ranges executors merge: row for row, file for file those of one machine.

use std::{collections::BTreeMap, time::Duration};

use millrace_tests::{
    cluster::{Cluster, ClusterOptions, certificates},
    run::Outcome,
    s3::{KeyPair, Op},
};
use serde_json::Value;

use crate::{
    export::{BUCKET, Place, Stage},
    made::{MadeLake, Objects},
};

/// Makes a plan, on a cluster where there is one.
fn plan(stage: &Stage, label: &str, name: &str, options: &[&str]) -> Outcome {
    let plan = stage.millrace("plan").arg(stage.source(label)).arg(stage.destination());
    plan.args(["-o", &stage.place(name)]).args(options).run().expect_code(0)
}

/// The files of a plan; its table of contents without the run's id and the time, and so without its own digest.
fn files(stage: &Stage, name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = stage.tree_of(name);
    let contents = files.remove("plan.json").unwrap();
    let mut contents: Value = serde_json::from_slice(&contents).unwrap();
    for field in ["run", "created", "digest"] {
        contents.as_object_mut().unwrap().remove(field);
    }
    files.insert("plan.json".to_owned(), contents.to_string().into_bytes());
    files
}

/// Plans the same here and there.
#[track_caller]
fn assert_same(stage: &Stage, url: &str, label: &str, options: &[&str]) {
    let (here, there) = ("plans/here", "plans/there");
    plan(stage, label, here, options);
    let outcome = plan(stage, label, there, &[options, &["--cluster", url]].concat());
    let (ours, theirs) = (files(stage, here), files(stage, there));
    assert!(ours.keys().eq(theirs.keys()), "{label} {options:?}: {outcome}");
    for (name, body) in &ours {
        assert!(*body == theirs[name], "{label} {options:?}: {name} differs: {}", String::from_utf8_lossy(&theirs[name]));
    }
    for place in [here, there] {
        for key in stage.server.keys(BUCKET, &format!("{place}/")) {
            stage.server.delete(BUCKET, &key);
        }
    }
}

#[test]
fn a_plan_that_a_cluster_made_is_the_one_of_one_machine() {
    let mut stage = Stage::clustered("orders", 2);
    let cluster = stage.cluster.take().unwrap();
    let url = cluster.url();
    let same = |label: &str, options: &[&str]| assert_same(&stage, &url, label, options);
    same("load", &[]);
    stage.exported("load", &[]);
    same("day4", &[]);
    same("day4", &["--full"]);
    same("day4", &["--where", "size > 100", "--adopt=own", "--force"]);
}

#[test]
fn plans_of_all_lakes_are_the_same_there() {
    for lake in ["churn", "delta", "odd-keys", "imported", "gateway"] {
        let mut stage = Stage::clustered(lake, 1);
        let cluster = stage.cluster.take().unwrap();
        let labels: Vec<String> = stage.lake.info.commits.keys().cloned().collect();
        let (first, last) = (labels.first().unwrap(), labels.last().unwrap());
        let options = ["--force", "--exclude", "/EXPORT_*_*", "--exclude", "_millrace/"];
        assert_same(&stage, &cluster.url(), last, &options);
        let from = stage.lake.commit(first).id.clone();
        assert_same(&stage, &cluster.url(), last, &[&options[..], &["--from", &from]].concat());
    }
}

/// More ranges than a job takes.
#[test]
fn a_plan_of_many_ranges_is_the_same_there() {
    let objects = |changed: usize| -> Objects {
        (0..1300).map(|n| (format!("data/{n:05}"), vec![b'0' + u8::from(changed > 0 && n % changed == 0)])).collect()
    };
    let (first, second) = (objects(0), objects(9));
    let lake = MadeLake::new(4, &[("first", &first), ("second", &second)]);
    let mut stage = Stage::of((*lake).clone(), Place::Bucket, Place::Bucket);
    stage.server.add_key(KeyPair::new("there", "a secret of its own"));
    let mut env = stage.server.env();
    for (name, value) in &mut env {
        match name.as_str() {
            "AWS_ACCESS_KEY_ID" => "there".clone_into(value),
            "AWS_SECRET_ACCESS_KEY" => "a secret of its own".clone_into(value),
            _ => {}
        }
    }
    let cluster = Cluster::start_with(env, 2, ClusterOptions::default());
    let merged_there = |stage: &Stage| {
        let metadata = |op: &Op| op.operation == "GetObject" && op.key.contains("_lakefs/");
        stage.server.log().filter(|op| metadata(op) && op.access_key.as_deref() == Some("there")).len()
    };
    assert_same(&stage, &cluster.url(), "first", &[]);
    assert!(merged_there(&stage) > 64 * 4, "{}", merged_there(&stage));
    let from = stage.lake.commit("first").id.clone();
    assert_same(&stage, &cluster.url(), "second", &["--from", &from, "--force"]);
    // In an export, large differences are merged there without being asked for.
    stage.server.clear_log();
    stage.cluster = Some(cluster);
    let report = stage.exported("second", &["--from", &from, "--force"]);
    assert_eq!(report["copied"], 1300_usize.div_ceil(9), "{report}");
    assert!(merged_there(&stage) > 256, "{}", merged_there(&stage));
}

#[test]
fn a_plan_is_made_through_tls_and_survives_an_executor() {
    let stage = Stage::s3("orders");
    let options = ClusterOptions { tls: Some(certificates("cluster")), ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(stage.server.env(), 1, options);
    let (url, tls) = (cluster.url(), certificates("cluster"));
    stage.server.latency(Duration::from_millis(300));
    stage.server.clear_log();
    let command = stage.millrace("plan").arg(stage.source("load")).arg(stage.destination()).args(["-o", &stage.place("plans/1")]);
    let running = command.args(["--cluster", &url, "--cluster-tls", tls.to_str().unwrap()]).spawn();
    while stage.server.log().filter(|op| op.operation == "GetObject").len() < 6 {
        std::thread::sleep(Duration::from_millis(5));
    }
    cluster.executors.remove(0).process.kill();
    cluster.add_executor();
    stage.server.latency(Duration::ZERO);
    running.wait().expect_code(0);
    plan(&stage, "load", "plans/here", &[]);
    assert_eq!(files(&stage, "plans/1"), files(&stage, "plans/here"));
}

#[test]
fn without_a_cluster_no_plan_is_made_there() {
    let stage = Stage::s3("orders");
    let plan = stage.millrace("plan").arg(stage.source("load")).arg(stage.destination());
    let outcome = plan.args(["--cluster", "df://127.0.0.1:1"]).run().expect_code(4);
    assert!(outcome.json()["error"]["message"].as_str().unwrap().contains("df://127.0.0.1:1"), "{outcome}");
}
