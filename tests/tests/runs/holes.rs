//! Corners where a run that did not finish, a selection, a preset or a part of the lake meet.

use millrace_tests::s3::{Fate, Fault, Rule, Target, Victim};
use serde_json::json;

use super::{Bed, fixed_commits, want::Want};
use crate::{
    export::{BUCKET, PREFIX, Place},
    made::objects,
};

/// Kills an export at its `n`th copy.
fn killed(bed: &Bed, want: Want, options: &[&str], n: u64) {
    let victim = Victim::default();
    bed.stage.server.fault(Rule::new(Target::on("CopyObject"), Fault::kill(&victim, Fate::Lost)).nth(n));
    let running = bed.export(want, options).spawn();
    victim.is(running.id());
    assert_eq!(running.wait().code, -1);
    bed.stage.server.clear_faults();
}

#[test]
fn keys_of_an_unfinished_run_of_another_part_are_known_by_key() {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    let part = Want { prefix: "a/", ..Want::all("B") };
    killed(&bed, part, &["--concurrency", "1"], 4);
    assert!(!bed.stage.data().is_empty(), "something of the other part is there");
    bed.exported(Want::all("A"), &["--adopt=own", "--max-delete", "100%"]);
    // And back: keys mean other paths again.
    killed(&bed, Want::all("B"), &["--full"], 3);
    bed.exported(part, &["--adopt=own", "--max-delete", "100%"]);
    bed.stage.server.assert_no_violations();
}

#[test]
fn an_object_and_a_folder_of_one_name_collide_where_they_are_made_one() {
    let both = objects(&[("a", "file"), ("a/a", "below"), ("a/b", "beside")]);
    let bed = Bed::new(vec![("both", both)], Place::Bucket);
    let refused = bed.millrace("export").args([format!("{}&prefix=a", bed.stage.source("both")), bed.stage.destination()]).run();
    let report = refused.expect_code(3).json();
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("`a` is the key of two objects"), "{message}");
    assert!(bed.stage.tree().is_empty());
}

#[test]
fn a_claimed_base_is_the_whole_commit_whatever_is_selected() {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    for (key, body) in bed.objects(Want::all("A")) {
        bed.stage.server.put(BUCKET, &format!("{PREFIX}{key}"), body, Some("text/plain"), &[]);
    }
    let claim = bed.stage.lake.commit("A").id.clone();
    let outcome = bed.exported(Want::filtered("A", 1), &["--from", &claim]);
    assert_eq!((&outcome.json()["copied"], &outcome.json()["deleted"]), (&json!(0), &json!(2)), "{outcome}");
    assert_eq!(outcome.json()["retracted"], 3, "{outcome}");
    bed.exported(Want::all("B"), &[]);
    bed.stage.server.assert_no_violations();
}

#[test]
fn another_preset_under_a_filter_moves_the_markers_that_were_held_back() {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    let spark = Want::filtered("A", 1);
    let none = Want { markers: false, ..spark };
    for want in [spark, none, spark, Want::all("A"), none, Want { markers: false, ..Want::all("B") }, spark] {
        bed.exported(want, &[]);
        if want.markers {
            bed.checker.markers_hold();
        }
    }
    killed(&bed, none, &["--full"], 5);
    bed.exported(spark, &[]);
    bed.stage.server.assert_no_violations();
}

#[test]
fn markers_of_others_are_found_after_a_first_run_that_was_killed() {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    // Below `bulk/` the lake has no marker; somebody else left one, and it would speak for what comes.
    bed.stage.put_foreign("bulk/_SUCCESS", "another tool's");
    bed.checker.ignore("bulk/_SUCCESS");
    killed(&bed, Want::all("A"), &["--concurrency", "1"], 1);
    bed.stage.put_foreign("bulk/_SUCCESS", "another tool's");
    let log = || bed.stage.server.log().filter(|op| op.operation == "ListObjectsV2" && op.key == PREFIX);
    let before = log().len();
    bed.export(Want::all("B"), &[]).run().expect_code(0);
    assert!(log().len() > before, "the destination is listed again");
    assert!(!bed.stage.data().contains_key("bulk/_SUCCESS"), "it would stand over a mixture");
    assert_eq!(bed.stage.data(), bed.objects(Want::all("B")));
}

#[test]
fn a_file_makes_room_for_a_folder_in_whatever_round_its_objects_come() {
    let file = objects(&[("a", "file"), ("b/c", "folder"), ("z", "1")]);
    let folder = objects(&[("a/b", "folder"), ("b", "file"), ("z", "2")]);
    for rounds in [&[][..], &["--round", "a/*"], &["--round", "b"], &["--round", "z", "--round", "a/**"]] {
        let bed = Bed::new(vec![("file", file.clone()), ("folder", folder.clone())], Place::Folder);
        for label in ["file", "folder", "file"] {
            let options = [&["--max-delete", "100%"], rounds].concat();
            let outcome = bed.export(Want::all(label), &options).run().expect_code(0);
            assert_eq!(bed.stage.data(), bed.objects(Want::all(label)), "{rounds:?}: {outcome}");
        }
    }
}
