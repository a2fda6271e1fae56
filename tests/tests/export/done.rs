//! Done files, and status markers at a place of their own.

use std::collections::BTreeMap;

use millrace_tests::{
    s3::{Fate, Fault, Rule, Target, Victim},
    tree::data_only,
};
use serde_json::Value;

use super::{BUCKET, Effect, PREFIX, Place, Stage, Tree, success};
use crate::made::{MadeLake, Objects, objects};

const DONE: &[&str] = &["--preset", "none", "--done-file", "_DONE", "--done-prefix", "t/[^/]+|s", "--force"];

fn lake() -> MadeLake {
    let first = objects(&[("s/x", "1"), ("t/a/x", "1"), ("t/a/y/z", "1"), ("t/b/x", "1"), ("t/x", "1"), ("u/x", "1")]);
    let mut second = first.clone();
    second.insert("t/a/y/z".to_owned(), b"2".to_vec());
    second.insert("u/x".to_owned(), b"2".to_vec());
    second.remove("s/x");
    let mut third = second.clone();
    third.insert("t/b/_DONE".to_owned(), b"of the lake".to_vec());
    MadeLake::new(3, &[("first", &first), ("second", &second), ("third", &third)])
}

fn with_done(tree: &Tree, keys: &[&str]) -> Objects {
    tree.clone().into_iter().chain(keys.iter().map(|key| ((*key).to_owned(), Vec::new()))).collect()
}

#[test]
fn a_done_file_is_written_last_and_goes_before_its_folder_changes() {
    for (from, to) in [(Place::Bucket, Place::Bucket), (Place::Folder, Place::Folder)] {
        let lake = lake();
        let stage = Stage::of(lake.clone(), from, to);
        let report = stage.exported("first", DONE);
        assert_eq!(stage.data(), with_done(&stage.expected("first"), &["s/_DONE", "t/a/_DONE", "t/b/_DONE"]));
        assert_eq!((report["copied"].as_u64(), report["unchanged"].as_u64()), (Some(9), Some(0)), "{report}");
        let stamps = stage.stamps();
        stage.server.clear_log();
        let report = stage.exported("second", DONE);
        assert_eq!(stage.data(), with_done(&stage.expected("second"), &["t/a/_DONE", "t/b/_DONE"]));
        assert_eq!(stage.stamps()["t/b/_DONE"], stamps["t/b/_DONE"], "its folder did not change");
        assert_eq!((report["deleted"].as_u64(), report["retracted"].as_u64()), (Some(1), Some(2)), "{report}");
        assert_eq!(report["unchanged"], 3, "{report}");
        if to == Place::Bucket {
            let effects: Vec<_> = stage.effects().into_iter().filter(Effect::is_data).collect();
            let names: Vec<_> = effects.iter().map(|e| format!("{}{}", if e.is_write() { "+" } else { "-" }, e.key())).collect();
            let mut retracted = names[..2].to_vec();
            retracted.sort();
            assert_eq!(retracted, ["-s/_DONE", "-t/a/_DONE"], "{names:?}");
            assert_eq!(names.last().unwrap(), "+t/a/_DONE", "{names:?}");
        }
    }
}

#[test]
fn other_done_files_replace_those_that_were_there() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", DONE);
    let options = |name: &'static str, prefix: &'static str| ["--preset", "none", "--done-file", name, "--done-prefix", prefix];
    stage.exported("first", &options("_READY", "t/[^/]+"));
    assert_eq!(stage.data(), with_done(&stage.expected("first"), &["t/a/_READY", "t/b/_READY"]));
    stage.exported("first", &options("_READY", "t/a|u"));
    assert_eq!(stage.data(), with_done(&stage.expected("first"), &["t/a/_READY", "u/_READY"]));
    stage.exported("first", &["--preset", "none"]);
    assert_eq!(stage.data(), stage.expected("first"));
}

#[test]
fn what_a_failed_run_left_of_done_files_is_put_right() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", DONE);
    let (bucket, key) = stage.source_object("second", "u/x");
    let lost = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    stage.export("second", DONE).expect_code(1);
    assert!(!stage.data().contains_key("t/a/_DONE"), "its folder is half done");
    stage.server.put_object(&bucket, &key, (*lost).clone());
    stage.exported("first", DONE);
    assert_eq!(stage.data(), with_done(&stage.expected("first"), &["s/_DONE", "t/a/_DONE", "t/b/_DONE"]));
}

#[test]
fn a_done_file_is_never_written_over_an_object_of_the_commit() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let refused = stage.export("third", DONE).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`t/b/_DONE` is an object of the commit and the name of the done file"), "{message}");
    for (options, says) in [
        (&["--done-file", "a/b", "--done-prefix", "x"][..], "is no name of a file"),
        (&["--done-file", "_DONE", "--done-prefix", "("], "cannot be read"),
        (&["--done-file", "_SUCCESS", "--done-prefix", "x"], "cannot be _SUCCESS"),
    ] {
        let refused = stage.export("first", options).expect_code(2).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains(says), "{refused}");
    }
    assert!(stage.tree().is_empty());
}

/// Keys and bytes of the bucket below a prefix.
fn below(stage: &Stage, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    stage.server.snapshot().tree(BUCKET, prefix)
}

#[test]
fn with_a_status_path_nothing_but_data_is_under_the_root() {
    let stage = Stage::s3("orders");
    let status = stage.place("status");
    let options = ["--status-path", status.as_str(), "--force"];
    for label in ["load", "day4", "load"] {
        let report = stage.exported(label, &options);
        assert_eq!(report["marker"], success(&stage.lake.commit(label).id), "{report}");
        assert_eq!(stage.tree(), stage.expected(label), "{label}");
        let own = below(&stage, "status/");
        assert!(own.contains_key(&success(&stage.lake.commit(label).id)) && data_only(own).is_empty());
    }
    let head: Value = serde_json::from_slice(&below(&stage, "status/")["_millrace/HEAD.json"]).unwrap();
    assert_eq!(head["serves"], format!("{}/", stage.destination()));
    // Nothing to do, and only the difference when there is something.
    assert_eq!(stage.exported("load", &options)["copied"], 0);
    let runs = stage.millrace("runs").arg(&status).run().expect_code(0);
    assert_eq!(runs.json_lines().len(), 3, "{runs}");
}

#[test]
fn a_status_path_serves_one_destination() {
    let stage = Stage::s3("orders");
    let status = stage.place("status");
    stage.exported("load", &["--status-path", &status]);
    let refused = stage.export_to("load", "other", &["--status-path", &status]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains(&format!("serves {}/", stage.destination())), "{refused}");
    let refused = stage.export_to("load", "status", &[]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("serves"), "{refused}");
    stage.export_to("load", "own", &[]).expect_code(0);
    let own = stage.place("own");
    let refused = stage.export_to("load", "third", &["--status-path", &own]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("is a destination of its own"), "{refused}");
    let refused = stage.export_to("load", "own", &["--status-path", &stage.place("new")]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("has its own"), "{refused}");
}

#[test]
fn a_plan_remembers_the_status_path() {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    let (status, plan) = (stage.place("status"), stage.place("plan"));
    let source = stage.source("load");
    let destination = stage.destination();
    let planned = stage.millrace("plan").args([source.as_str(), &destination, "-o", &plan, "--status-path", &status]).run();
    planned.expect_code(0);
    stage.millrace("apply").arg(&plan).run().expect_code(0);
    assert_eq!(stage.tree(), stage.expected("load"));
    assert!(stage.tree_of("status").contains_key(&success(&stage.lake.commit("load").id)));
}

/// What lies below a folder, without done files.
fn folder_of(tree: &Tree, folder: &str) -> Objects {
    let inside = tree.iter().filter(|(key, _)| key.starts_with(folder) && !key.ends_with("/_DONE") && !key.ends_with("/_READY"));
    inside.map(|(key, body)| (key.clone(), body.clone())).collect()
}

#[test]
fn a_done_file_never_stands_over_a_mixture_whatever_is_killed() {
    let commit = |version: &str| {
        let keys = ["t/a/x", "t/a/y", "t/a/z/w", "t/b/x", "t/b/y", "u/x"];
        objects(&keys.map(|key| (key, version)))
    };
    let commits = ["1", "2", "3"].map(commit);
    let lake = MadeLake::new(3, &[("first", &commits[0]), ("second", &commits[1]), ("third", &commits[2])]);
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.server.watch(move |op, buckets| {
        if op.bucket != BUCKET || !op.is_write() {
            return Ok(());
        }
        let tree = buckets.tree(BUCKET, PREFIX);
        for folder in ["t/a/", "t/b/"] {
            let says = tree.keys().find(|key| [format!("{folder}_DONE"), format!("{folder}_READY")].contains(key));
            let there = folder_of(&tree, folder);
            if let Some(says) = says.filter(|_| commits.iter().all(|commit| folder_of(commit, folder) != there)) {
                return Err(format!("{says} stands over {:?}", there.keys()));
            }
        }
        Ok(())
    });
    let options = |name: &'static str| {
        [
            "--preset",
            "none",
            "--done-file",
            name,
            "--done-prefix",
            "t/[^/]+",
            "--force",
            "--concurrency",
            "2",
            "--request-timeout",
            "1s",
        ]
    };
    stage.exported("first", &options("_DONE"));
    let before = stage.server.snapshot();
    // 6 copies, 2 old done files, 2 new ones: at the first, in the midst, and among the last.
    for (target, n, after, name) in [
        (Target::on("CopyObject"), 1, "second", "_READY"),
        (Target::on("CopyObject"), 4, "first", "_DONE"),
        (Target::on("PutObject").suffix("/_READY"), 1, "third", "_DONE"),
        (Target::on("PutObject").suffix("/_READY"), 2, "third", "_OTHER"),
        (Target::on("PutObject").suffix("/_READY"), 2, "second", "_READY"),
    ] {
        stage.server.restore(before.clone());
        killed(&stage, "second", &options("_READY"), target, n);
        let done = |folder: &str| format!("{folder}{name}");
        let said = stage.exported(after, &options(name));
        assert_eq!(stage.data(), with_done(&stage.expected(after), &[&done("t/a/"), &done("t/b/")]), "{said}");
        stage.server.assert_no_violations();
    }
}

/// Kills an export at its `n`th request that is meant; the request is carried out.
fn killed(stage: &Stage, label: &str, options: &[&str], target: Target, n: u64) {
    let process = Victim::default();
    let rule = stage.server.fault(Rule::new(target.bucket(BUCKET), Fault::kill(&process, Fate::Applied)).nth(n));
    let running = stage.millrace("export").args([stage.source(label), stage.destination()]).args(options).spawn();
    process.is(running.id());
    let ended = running.wait();
    assert_eq!((ended.code, stage.server.hits(rule)), (-1, 1), "{ended}");
    stage.server.clear_faults();
}

#[test]
fn a_killed_export_with_a_status_path_is_seen_there_and_gone_on_with() {
    let tree = objects(&[("a", "1"), ("b/c", "2"), ("b/d", "3"), ("e", "4")]);
    let lake = MadeLake::new(5, &[("all", &tree)]);
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Bucket);
    let status = stage.place("status");
    let options = ["--status-path", status.as_str(), "--request-timeout", "1s"];
    killed(&stage, "all", &options, Target::on("PutObject").prefix(PREFIX), 2);
    let seen = stage.millrace("status").arg(&status).run().json();
    // On a cluster, executors may be at work yet: so long as the lease lasts, the run goes on.
    let (said, why) = if stage.cluster.is_some() { ("running", Value::Null) } else { ("failed", "interrupted".into()) };
    assert_eq!((&seen["state"], &seen["error"]["kind"]), (&said.into(), &why), "{seen}");
    let refused = stage.millrace("verify").arg(&status).run().expect_code(3);
    assert!(refused.stdout.contains("has no receipt"), "{refused}");
    let said = stage.exported("all", &options);
    assert_eq!(said["run"], seen["run"], "it is gone on with: {said}");
    assert_eq!(stage.tree(), stage.expected("all"), "nothing but data is under the root");
    verified(&stage, &status, &[]);
}

#[track_caller]
fn verified(stage: &Stage, place: &str, options: &[&str]) -> Value {
    let report = stage.millrace("verify").arg(place).args(options).run().expect_code(0).json();
    assert_eq!((&report["state"], &report["foreign"]), (&"equal".into(), &0.into()), "{report}");
    report
}

#[test]
fn verify_knows_done_files_and_the_status_path() {
    for (to, status) in
        [(Place::Bucket, "status"), (Place::Bucket, "out/.status"), (Place::Folder, "status"), (Place::Folder, "out/.status")]
    {
        let lake = lake();
        let stage = Stage::of(lake.clone(), to, to);
        let status = stage.place(status);
        let below = status.contains("out/");
        let export = [DONE, &["--status-path", &status]].concat();
        let source = stage.source("second");
        for label in ["first", "second"] {
            stage.exported(label, &export);
        }
        let against = ["--against", source.as_str()];
        for options in [&[][..], &against, &["--deep"], &[against.as_slice(), &["--deep"]].concat()] {
            let report = verified(&stage, &status, options);
            assert_eq!(
                (report["objects"].as_u64(), report["destination"].as_str()),
                (Some(7), Some(&*format!("{}/", stage.destination()))),
                "{report}"
            );
            assert_eq!(report["own"].as_u64() > Some(0), below, "{report}");
        }
        // One that is gone and one that was written into are found, and mended by what would have written them.
        stage.put_foreign("t/a/_DONE", "more");
        stage.remove("t/b/_DONE");
        stage.put_foreign("t/x", "other");
        let report = stage.millrace("verify").arg(&status).run().expect_code(1).json();
        assert_eq!(
            (&report["missing"], &report["changed"], &report["differences"]),
            (&1.into(), &2.into(), &3.into()),
            "{report}"
        );
        let report = stage.millrace("verify").arg(&status).arg("--repair").run().expect_code(0).json();
        assert_eq!(report["state"], "repaired", "{report}");
        verified(&stage, &status, &against);
        let data: Tree = stage.data().into_iter().filter(|(key, _)| !key.starts_with(".status/")).collect();
        assert_eq!(data, with_done(&stage.expected("second"), &["t/a/_DONE", "t/b/_DONE"]));
        // What was exported with a status path says so where it is looked for beside the data.
        let refused = stage.millrace("verify").arg(stage.destination()).run();
        assert!(refused.code != 0 && refused.stdout.contains("of exports with --status-path name that place"), "{refused}");
    }
}

#[test]
fn an_object_of_the_commit_cannot_take_a_name_at_the_status_path() {
    let tree = objects(&[("a/EXPORT_x_SUCCESS", "1"), ("b", "2")]);
    let lake = MadeLake::new(5, &[("only", &tree)]);
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let refused = stage.export("only", &["--status-path", &stage.place("out/a")]).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`a/EXPORT_x_SUCCESS` is a name that Millrace keeps for itself"), "{message}");
    stage.exported("only", &["--status-path", &stage.place("out/c")]);
}
