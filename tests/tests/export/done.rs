//! Done files, and status markers at a place of their own.

use std::collections::BTreeMap;

use millrace_tests::tree::data_only;

use super::{BUCKET, Effect, Place, Stage, Tree, success};
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
    let head: serde_json::Value = serde_json::from_slice(&below(&stage, "status/")["_millrace/HEAD.json"]).unwrap();
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
