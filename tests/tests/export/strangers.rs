//! What somebody else wrote at a destination under names that speak for folders: markers, done files, status markers.

use std::collections::BTreeSet;

use millrace_tests::s3::{S3Server, Target};
use serde_json::Value;

use super::{
    BUCKET, Effect, PREFIX, Place, Stage, Tree,
    made_up::{LABELS, random_lake},
    notes, success,
};
use crate::made::{MadeLake, objects};

/// Two commits without markers: `t/a/x` and `u/x` differ, `t/b/x` does not.
fn lake() -> MadeLake {
    let first = objects(&[("t/a/x", "1"), ("t/a/y", "1"), ("t/b/x", "1"), ("u/x", "1")]);
    let mut second = first.clone();
    second.insert("t/a/x".to_owned(), b"2".to_vec());
    second.insert("u/x".to_owned(), b"2".to_vec());
    MadeLake::new(1000, &[("first", &first), ("second", &second)])
}

const MARKERS: [&str; 4] = ["_SUCCESS", "t/_SUCCESS", "t/a/_SUCCESS", "t/b/_SUCCESS"];

fn markers(stage: &Stage) -> Vec<String> {
    stage.data().into_keys().filter(|key| super::is_marker(key)).collect()
}

/// Fails when anything below a folder changes while a file of that name stands in it.
fn watched(server: &S3Server, name: &'static str) {
    server.watch(move |op, buckets| {
        if !op.is_write() || op.bucket != BUCKET {
            return Ok(());
        }
        let keys = op.keys.iter().chain([&op.key]).filter_map(|key| key.strip_prefix(PREFIX));
        let tree = buckets.tree(BUCKET, PREFIX);
        for key in keys.filter(|key| !super::is_reserved(key) && !key.ends_with(name)) {
            if let Some(marker) = folders(key).map(|folder| format!("{folder}{name}")).find(|marker| tree.contains_key(marker)) {
                return Err(format!("{marker} stands over {key}, which changes"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_marker_of_somebody_elses_goes_before_its_folder_changes() {
    for to in [Place::Bucket, Place::Folder] {
        let lake = lake();
        let stage = Stage::of(lake.clone(), Place::Bucket, to);
        let report = stage.exported("first", &[]);
        assert_eq!(notes(&report), "", "{report}");
        for marker in MARKERS {
            stage.put_foreign(marker, "{}");
        }
        watched(&stage.server, "_SUCCESS");
        stage.server.clear_log();
        let report = stage.exported("second", &[]);
        assert_eq!(markers(&stage), ["t/b/_SUCCESS"], "nothing changes below that one");
        assert_eq!((report["copied"].as_u64(), report["retracted"].as_u64()), (Some(2), Some(3)), "{report}");
        let notes = notes(&report);
        assert!(
            notes.contains("3 completion marker(s) that no commit has are deleted")
                && notes.contains("t/a/_SUCCESS, t/_SUCCESS, _SUCCESS"),
            "{notes}"
        );
        if to == Place::Bucket {
            let looked = stage.server.log().filter(|op| op.operation == "HeadObject" && op.key.ends_with("/_SUCCESS"));
            assert_eq!(looked.len(), 4, "one a changed folder: t/a/, t/, u/ and the root\n{looked}");
            let effects: Vec<Effect> = stage.effects().into_iter().filter(|effect| !effect.is_own()).collect();
            assert!(effects[..3].iter().all(|effect| effect.is_marker() && !effect.is_write()), "{effects:?}");
        }
        stage.server.assert_no_violations();
        // The receipt says that they went.
        let verified = stage.millrace("verify").arg(stage.destination()).run().expect_code(0).json();
        assert_eq!((&verified["state"], &verified["foreign"]), (&"equal".into(), &1.into()), "{verified}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn markers_that_come_at_random_never_stand_over_a_change() {
    for seed in 1..=4 {
        let (lake, mut random) = random_lake(seed, false);
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        stage.exported("0", &["--force"]);
        watched(&stage.server, "_SUCCESS");
        let mut before = "0";
        for _ in 0..4 {
            let label = *random.pick(&LABELS);
            let commits = [before, label].map(|label| stage.expected(label));
            let folders: BTreeSet<&str> = commits.iter().flat_map(|tree| tree.keys()).flat_map(|key| folders(key)).collect();
            for folder in folders.iter().filter(|_| random.chance(40)) {
                stage.put_foreign(&format!("{folder}_SUCCESS"), "{}");
            }
            println!("seed {seed}: {before} → {label}");
            let there = stage.data();
            stage.exported(label, &["--force"]);
            let mut expected = stage.expected(label);
            for marker in folders.iter().map(|folder| format!("{folder}_SUCCESS")) {
                let below = |tree: &Tree| -> Vec<(String, Vec<u8>)> {
                    let inside = tree.iter().filter(|(key, _)| key.starts_with(&marker[..marker.len() - "_SUCCESS".len()]));
                    inside.map(|(key, body)| (key.clone(), body.clone())).collect()
                };
                // What nobody touches keeps what stands over it.
                if let Some(body) = there.get(&marker).filter(|_| below(&commits[0]) == below(&commits[1])) {
                    expected.insert(marker, body.clone());
                }
            }
            assert_eq!(stage.data(), expected, "seed {seed}: {before} → {label}");
            stage.server.assert_no_violations();
            before = label;
        }
    }
}

/// The folders above a key, the root among them.
fn folders(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(at, _)| &key[..=at]).chain([""])
}

#[test]
fn a_plan_shows_the_markers_that_it_will_delete() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", &[]);
    stage.put_foreign("t/a/_SUCCESS", "");
    let (source, plan) = (stage.source("second"), stage.folder_path("plan").display().to_string());
    let planned = stage.millrace("plan").args([&source, &stage.destination(), "-o", &plan]).run().expect_code(0).json();
    assert!(notes(&planned).contains("1 completion marker(s) that no commit has are deleted"), "{planned}");
    let query = "SELECT round, action, key, reason FROM plan WHERE action = 'retract'";
    let rows = stage.millrace("sql").args([&plan, query]).run().expect_code(0);
    let row = serde_json::json!({"round": 0, "action": "retract", "key": "t/a/_SUCCESS", "reason": "of no commit"});
    assert_eq!(rows.json_lines(), [row], "{rows}");
    assert_eq!(markers(&stage), ["t/a/_SUCCESS"], "a plan touches nothing");
    stage.millrace("apply").arg(&plan).run().expect_code(0);
    assert_eq!(markers(&stage), Vec::<String>::new());
}

#[test]
fn a_plan_is_not_applied_over_a_marker_that_came_since() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", &[]);
    let (source, plan) = (stage.source("second"), stage.folder_path("plan").display().to_string());
    let planned = || stage.millrace("plan").args([&source, &stage.destination(), "-o", &plan]).run().expect_code(0);
    let apply = || stage.millrace("apply").arg(&plan).run();
    planned();
    for marker in ["t/a/_SUCCESS", "t/b/_SUCCESS"] {
        stage.put_foreign(marker, "");
    }
    let before = stage.tree();
    let said = refusal(&apply().expect_code(3).json());
    assert!(said.contains("t/a/_SUCCESS came at s3://mirror/out/ since the plan was made"), "{said}");
    assert!(said.contains("make the plan again") && !said.contains("t/b/"), "{said}");
    assert_eq!(stage.tree(), before, "nothing was written");
    watched(&stage.server, "_SUCCESS");
    planned();
    apply().expect_code(0);
    assert_eq!(markers(&stage), ["t/b/_SUCCESS"]);
    // What was applied is not looked at again.
    stage.put_foreign("t/a/_SUCCESS", "");
    apply().expect_code(0);
    stage.server.assert_no_violations();
}

#[test]
fn a_plan_is_applied_over_what_planning_saw_or_did_not_look_for() {
    // More folders than are looked into, each with somebody's marker.
    let tree = |body: &[u8]| -> Tree { (0..1010).map(|at| (format!("t/{at:04}/x"), body.to_vec())).collect() };
    let many = MadeLake::new(1000, &[("first", &tree(b"1")), ("second", &tree(b"2"))]);
    // A done file over a folder that does not change.
    let same = objects(&[("t/b/_SUCCESS", ""), ("t/b/x", "1"), ("u", "1")]);
    let mut other = same.clone();
    other.insert("u".to_owned(), b"2".to_vec());
    let done = MadeLake::new(1000, &[("first", &same), ("second", &other)]);
    for (lake, foreign, options) in [(many, 1010, &[][..]), (done, 0, &["--done-file", "_DONE", "--done-prefix", "t/[^/]+"])] {
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        stage.exported("first", &[]);
        for at in 0..foreign {
            stage.put_foreign(&format!("t/{at:04}/_SUCCESS"), "{}");
        }
        let plan = stage.folder_path("plan").display().to_string();
        let planned = stage.millrace("plan").args([&stage.source("second"), &stage.destination(), "-o", &plan]).args(options);
        planned.arg("--force").run().expect_code(0);
        let applied = stage.millrace("apply").arg(&plan).run().expect_code(0).json();
        assert_eq!(applied["state"], "succeeded", "{applied}");
        stage.assert_success("second");
    }
}

#[test]
fn a_run_is_not_gone_on_with_over_a_marker_that_came_since() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", &[]);
    let (bucket, key) = stage.source_object("second", "u/x");
    let object = stage.server.get(&bucket, &key).unwrap();
    stage.server.delete(&bucket, &key);
    let failed = stage.export("second", &[]).expect_code(1).json();
    stage.put_foreign("u/_SUCCESS", "");
    watched(&stage.server, "_SUCCESS");
    let again = stage.export("second", &[]).expect_code(1);
    assert!(again.stderr.contains("u/_SUCCESS came since its plan was made"), "{again}");
    assert_ne!(again.json()["run"], failed["run"], "the plan is another");
    assert_eq!(markers(&stage), Vec::<String>::new());
    stage.server.put_object(&bucket, &key, (*object).clone());
    let report = stage.exported("second", &[]);
    assert_eq!(report["run"], again.json()["run"], "nothing came: it is gone on with");
    assert_eq!(stage.data(), stage.expected("second"));
    stage.server.assert_no_violations();
}

#[test]
fn a_first_export_names_the_markers_that_it_deletes() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    for marker in ["t/a/_SUCCESS", "other/_SUCCESS"] {
        stage.put_foreign(marker, "not ours");
    }
    watched(&stage.server, "_SUCCESS");
    let report = stage.exported("first", &[]);
    assert_eq!(markers(&stage), ["other/_SUCCESS"]);
    assert!(
        notes(&report).contains("that no commit has are deleted, because what lies below them changes: t/a/_SUCCESS"),
        "{report}"
    );
    stage.server.assert_no_violations();
}

#[test]
fn markers_that_are_kept_or_are_data_are_not_looked_for() {
    for options in [&["--keep-markers"][..], &["--preset", "none"]] {
        let lake = lake();
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        stage.exported("first", options);
        for marker in MARKERS {
            stage.put_foreign(marker, "{}");
        }
        stage.server.clear_log();
        stage.exported("second", options);
        assert_eq!(markers(&stage), MARKERS, "{options:?}");
        assert_eq!(stage.server.log().of("HeadObject").filter(|op| op.key.ends_with("_SUCCESS")).len(), 0);
    }
}

#[test]
fn of_very_many_folders_only_some_are_looked_into() {
    let tree = |body: &[u8]| -> Tree { (0..1100).map(|at| (format!("t/{at:04}/x"), body.to_vec())).collect() };
    let lake = MadeLake::new(1000, &[("first", &tree(b"1")), ("second", &tree(b"2"))]);
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", &[]);
    stage.put_foreign("_SUCCESS", "{}");
    stage.server.clear_log();
    let report = stage.exported("second", &[]);
    assert!(notes(&report).contains("100 more folders change"), "{report}");
    let looked = stage.server.log().of("HeadObject").filter(|op| op.key.ends_with("/_SUCCESS")).len();
    assert_eq!(looked, 1002, "the root, t/ and 1,000 below it");
    assert_eq!(stage.data(), stage.expected("second"), "the root was looked at");
}

#[test]
fn who_may_not_look_is_told_and_exports_all_the_same() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.exported("first", &[]);
    stage.server.deny(Target::on("HeadObject").suffix("_SUCCESS"));
    let report = stage.exported("second", &[]);
    assert!(notes(&report).contains("left completion markers in folders that change could not be seen"), "{report}");
    assert_eq!(stage.data(), stage.expected("second"));
}

const DONE: [&str; 4] = ["--done-file", "_DONE", "--done-prefix", "t/[^/]+"];

#[test]
fn a_file_that_gives_way_to_a_done_file_is_named() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    stage.put_foreign("t/a/_DONE", "somebody's");
    watched(&stage.server, "_DONE");
    let report = stage.exported("first", &DONE);
    let told =
        |report: &Value, key: &str| notes(report).contains(&format!("have the names of done files and give way to them: {key}"));
    assert!(told(&report, "t/a/_DONE (10 bytes)"), "{report}");
    assert_eq!(stage.data()["t/a/_DONE"], b"");
    assert!(!notes(&stage.exported("second", &DONE)).contains("give way"), "one of its own is nobody else's");
    // Without a listing as well.
    stage.exported("second", &[]);
    stage.put_foreign("t/b/_DONE", "somebody's");
    let report = stage.exported("second", &DONE);
    assert!(told(&report, "t/b/_DONE (10 bytes)"), "{report}");
    assert_eq!(stage.data()["t/b/_DONE"], b"");
}

#[test]
fn nobody_looks_for_done_files_of_folders_that_get_none() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let without = ["--exclude", "t/b/**"];
    stage.exported("first", &without);
    stage.server.clear_log();
    stage.exported("first", &[DONE.as_slice(), &without].concat());
    assert!(stage.data().contains_key("t/a/_DONE"));
    let looked: Vec<String> = stage.server.log().of("HeadObject").iter().map(|op| op.key.clone()).collect();
    let done: Vec<&String> = looked.iter().filter(|key| key.ends_with("/_DONE")).collect();
    assert_eq!(done, ["out/t/a/_DONE"], "{looked:?}");
}

#[test]
fn done_files_of_what_was_there_before_go_when_their_folders_change() {
    let lake = lake();
    for adopt in ["--adopt", "--adopt=own"] {
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        stage.exported("first", &DONE);
        watched(&stage.server, "_DONE");
        let source = format!("{}&prefix=t/a/", stage.source("second"));
        // What was `t/a/x` is `x` now; `t/b/x` comes under the same key as before.
        let part = |source: &str| {
            let options = [adopt, "--max-delete", "100%"];
            stage.millrace("export").args([source, &stage.destination()]).args(options).run().expect_code(0).json()
        };
        part(&source);
        let left: Vec<String> = stage.data().into_keys().filter(|key| key.ends_with("_DONE")).collect();
        let kept: &[&str] = if adopt == "--adopt" { &["t/a/_DONE", "t/b/_DONE"] } else { &[] };
        assert_eq!(left, kept, "{adopt}: nothing is written into their folders");
        stage.server.assert_no_violations();
    }
    // Another lake with keys in the same folders.
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Bucket);
    stage.exported("first", &DONE);
    watched(&stage.server, "_DONE");
    let other = MadeLake::new(1000, &[("only", &objects(&[("t/a/z", "1")]))]);
    let source = other.file_url(&other.commit("only").id);
    stage.millrace("export").args([&source, &stage.destination(), "--adopt"]).run().expect_code(0);
    let left: Vec<String> = stage.data().into_keys().filter(|key| key.ends_with("_DONE")).collect();
    assert_eq!(left, ["t/b/_DONE"], "the one over the changed folder is gone");
    stage.server.assert_no_violations();
}

/// The message and the help of a refusal.
fn refusal(report: &Value) -> String {
    format!("{} {}", report["error"]["message"], report["error"]["help"])
}

#[test]
fn a_status_path_that_was_forgotten_is_asked_for() {
    for to in [Place::Bucket, Place::Folder] {
        let lake = lake();
        let stage = Stage::of(lake.clone(), Place::Bucket, to);
        let status = stage.place("status");
        stage.exported("first", &["--status-path", &status]);
        // Elsewhere nothing shows it but that there is something.
        let planned = stage.export("second", &["--dry-run"]).expect_code(0).json();
        let said = notes(&planned);
        assert!(said.contains("4 objects are there already") && said.contains("Was --status-path forgotten?"), "{said}");
        let again = stage.exported("second", &["--status-path", &status]);
        assert!(!notes(&again).contains("status-path"), "{again}");
    }
}

#[test]
fn a_status_path_below_the_data_is_named_when_it_is_forgotten() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let status = stage.place("out/.status");
    stage.exported("first", &["--status-path", &status]);
    let before = stage.tree();
    let said = refusal(&stage.export("second", &[]).expect_code(3).json());
    assert!(said.contains(&format!("was exported to with --status-path {status}/")), "{said}");
    assert!(said.contains("give that --status-path again"), "{said}");
    assert_eq!(stage.tree(), before);
}

#[test]
fn status_markers_that_an_earlier_export_left_are_named() {
    let lake = lake();
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
    let old = success("c0ffee");
    stage.put_foreign(&old, "Export completed successfully!\n");
    stage.put_foreign("t/a/x", "0");
    let planned = stage.export("first", &["--dry-run"]).expect_code(0).json();
    let said = notes(&planned);
    assert!(said.contains(&format!("an earlier export left {old}, 1 object is there already")), "{said}");
    assert!(said.contains("Was --status-path forgotten?"), "{said}");
    // With its markers elsewhere nobody would take them away.
    let status = stage.place("status");
    let said = refusal(&stage.export("first", &["--status-path", &status]).expect_code(3).json());
    assert!(said.contains(&format!("has {old} beside the data")) && said.contains("--force leaves it there"), "{said}");
    assert!(stage.tree_of("status").is_empty());
    stage.exported("first", &["--status-path", &status, "--force"]);
    assert!(stage.tree().contains_key(&old));
    stage.exported("first", &["--status-path", &status]);
    let keys: BTreeSet<String> = stage.tree().into_keys().collect();
    assert_eq!(keys, ["t/a/x", "t/a/y", "t/b/x", "u/x", &old].map(str::to_owned).into());
}
