//! `--repair` where something is in its way: what it says can be done, and mends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use millrace_tests::{run::Millrace, tree::edited};

use super::{equal, stage, verify};
use crate::export::{Place, Stage};

/// Objects are gone and somebody else's are in their place: what `--repair` says of that, and whether it helps.
fn in_the_way(put: impl FnOnce(&Path, &[String]) -> PathBuf, said: &str) {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    stage.exported("load", &[]);
    let keys: Vec<String> = stage.data().into_keys().filter(|key| key.starts_with("tables/")).collect();
    let theirs = put(&stage.folder_path("out"), &keys);
    let report = verify(&stage, &["--repair"]).expect_code(1).json();
    let notes = report["repair"]["notes"].to_string();
    assert!(notes.contains("move it away") && notes.contains("run the export of this commit again"), "{notes}");
    let error = &report["repair"]["failures"][0]["error"];
    assert!(error.as_str().unwrap().contains(said), "{error}");
    assert!(theirs.exists(), "it is not ours to remove");
    // What is said helps.
    if theirs.is_dir() {
        fs::remove_dir_all(&theirs).unwrap();
    } else {
        fs::remove_file(&theirs).unwrap();
    }
    stage.exported("load", &[]);
    equal(&stage, &["--deep"]);
}

#[test]
fn somebody_elses_file_is_in_the_way() {
    let put = |root: &Path, keys: &[String]| {
        let folder = root.join(&keys[0]).parent().unwrap().to_owned();
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "not ours").unwrap();
        folder
    };
    in_the_way(put, "is a file where a folder must be");
}

#[test]
fn somebody_elses_folder_is_in_the_way() {
    let put = |root: &Path, keys: &[String]| {
        let file = root.join(&keys[0]);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        fs::write(file.join("theirs"), "not ours").unwrap();
        file
    };
    in_the_way(put, "is a folder where the object");
}

#[test]
fn more_deletes_than_are_allowed() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    stage.put_foreign("tables/t0/part-0000.csv", "left over");
    let refused = verify(&stage, &["--repair", "--max-delete", "0"]).expect_code(3).json();
    let error = &refused["repair"]["error"];
    assert!(error["help"].as_str().unwrap().contains("--max-delete 1 or --force"), "{refused}");
    verify(&stage, &["--repair", "--max-delete", "1"]).expect_code(0);
    stage.put_foreign("tables/t0/part-0000.csv", "left over");
    verify(&stage, &["--repair", "--max-delete", "0", "--force"]).expect_code(0);
    equal(&stage, &[]);
    verify(&stage, &["--max-delete", "1"]).expect_code(2);
}

#[test]
fn status_markers_that_speak_for_nothing_are_named() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    for marker in ["EXPORT_theirs_SUCCESS", "EXPORT_old_FAILURE"] {
        stage.put_foreign(marker, "Export completed successfully!\n");
    }
    let report = equal(&stage, &[]);
    let notes = report["notes"].to_string();
    assert!(notes.contains("EXPORT_old_FAILURE, EXPORT_theirs_SUCCESS, which speak for nothing"), "{report}");
    stage.exported("after", &[]);
    assert!(equal(&stage, &[])["notes"].is_null());
}

#[test]
fn a_head_that_was_changed_on_purpose_is_named_where_it_is_wrong() {
    let (stage, _lake) = stage(Place::Folder, Place::Folder);
    let mut head = stage.head();
    head["current"]["metarange"] = "zz".into();
    stage.put_foreign("_millrace/HEAD.json", &edited(&head));
    let refused = stage.export("before", &[]).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("_millrace/HEAD.json names the metarange `zz`"), "{refused}");
    // With its digest it is taken for damaged.
    stage.put_foreign("_millrace/HEAD.json", &head.to_string());
    let refused = verify(&stage, &[]).expect_code(4).json();
    assert!(refused["error"]["help"].as_str().unwrap().contains("take its field `digest` out"), "{refused}");
}

#[test]
fn the_test_beds_server_says_what_it_is() {
    let program = Path::new(env!("CARGO_BIN_EXE_millrace-s3"));
    let told = Millrace::program(program).arg("--help").run().expect_code(0);
    assert!(told.stdout.contains("Usage: millrace-s3"), "{told}");
    let refused = Millrace::program(program).arg("--nothing").run().expect_code(2);
    assert!(refused.stderr.contains("unknown argument --nothing"), "{refused}");
}
