//! Destinations that must not or cannot be written: above or below another one, of another lake, without permission, with a
//! file where a folder must be.

use std::fs;

use millrace_tests::{lakes::Lake, run::Millrace, s3::Target};
use serde_json::json;

use super::{End, Untouched, assert_no_writes, everything, in_a_bucket, refused};

const BESIDE: &str = "choose a destination beside it, or use --force";

#[test]
fn a_destination_above_or_below_another_one_in_a_bucket() {
    let (s3, _, url) = in_a_bucket("delta");
    let url = format!("{url}?ref=main");
    let command = || Millrace::new().s3(&s3);
    command().args(["export", &url, "s3://dest/a/b"]).run().expect_code(0);
    s3.clear_log();
    for verb in ["export", "plan"] {
        for below in ["s3://dest/a/b/c", "s3://dest/a/b/c/d/"] {
            refused(End::Guard, command, &[verb, &url, below])
                .says(&[below, "lies below s3://dest/a/b/, which is a destination of its own"])
                .helps(&[BESIDE]);
        }
        for above in ["s3://dest/a", "s3://dest"] {
            refused(End::Guard, command, &[verb, &url, above])
                .says(&["s3://dest/a/b/ is a destination of its own"])
                .helps(&[BESIDE]);
        }
    }
    assert_no_writes(&s3);
    // Neighbours whose names begin alike are neither.
    command().args(["export", &url, "s3://dest/a/bb"]).run().expect_code(0);
    command().args(["export", &url, "s3://dest/a/b/c", "--force"]).run().expect_code(0);
}

#[test]
fn a_destination_above_or_below_another_one_in_a_folder() {
    let lake = Lake::named("delta");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    Millrace::new().args(["export", &lake.file_url("main"), &at("a/b")]).run().expect_code(0);
    let untouched = Untouched::new(folder.path());
    refused(End::Guard, Millrace::new, &["export", &lake.file_url("main"), &at("a/b/c")])
        .says(&[&format!("lies below file://{}/, which is a destination of its own", at("a/b"))])
        .helps(&[BESIDE]);
    refused(End::Guard, Millrace::new, &["export", &lake.file_url("main"), &at("a")])
        .says(&[&format!("file://{}/ is a destination of its own", at("a/b"))])
        .helps(&[BESIDE]);
    untouched.check();
}

#[test]
fn a_destination_of_another_lake_or_another_part() {
    let (s3, _, url) = in_a_bucket("orders");
    Lake::named("delta").load(&s3);
    let command = || Millrace::new().s3(&s3);
    command().args(["export", &format!("{url}?ref=v1"), "s3://dest/x"]).run().expect_code(0);
    s3.clear_log();
    for (source, shown) in [
        ("lake+s3://lake/delta?ref=main".to_owned(), "not of s3://lake/delta"),
        (format!("{url}?ref=v1&prefix=tables/"), "below `tables/`"),
    ] {
        refused(End::Guard, command, &["export", &source, "s3://dest/x"])
            .says(&["s3://dest/x/ is an export of", "lake/orders", shown])
            .helps(&[
                "--adopt to leave its objects there",
                "--adopt=own to delete what the new source lacks",
                "another destination",
            ]);
    }
    assert_no_writes(&s3);
}

#[test]
fn a_base_that_the_destination_contradicts() {
    let (s3, lake, url) = in_a_bucket("orders");
    let command = || Millrace::new().s3(&s3);
    command().args(["export", &format!("{url}?ref=v1"), "s3://dest/x"]).run().expect_code(0);
    s3.clear_log();
    let words = ["export", &format!("{url}?ref=v2"), "s3://dest/x", "--from", "main"];
    refused(End::Guard, command, &words)
        .says(&[&format!("s3://dest/x/ holds commit {}, not {} as --from says", lake.commit("load").id, lake.commit("head").id)])
        .helps(&["leave --from out", "--force"]);
    assert_no_writes(&s3);
}

#[test]
fn a_branch_that_went_back() {
    let (s3, lake, url) = in_a_bucket("orders");
    let server = millrace_tests::lakefs::FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    command().args(["export", "lakefs://orders/main", "s3://dest/x"]).run().expect_code(0);
    server.set_branch("main", &lake.commit("day4").id);
    s3.clear_log();
    refused(End::Guard, command, &["export", "lakefs://orders/main", "s3://dest/x"])
        .says(&["the branch points to commit", &lake.commit("day4").id, "an ancestor of", &lake.commit("head").id])
        .helps(&["give the commit by its id to go back on purpose, or use --force", "refs dump"]);
    assert_no_writes(&s3);
    let back = format!("{url}?ref={}", lake.commit("day4").id);
    command().args(["export", &back, "s3://dest/x"]).run().expect_code(0);
}

#[test]
fn more_deletes_than_are_allowed_and_an_empty_commit_onto_a_full_destination() {
    let (s3, lake, url) = in_a_bucket("orders");
    let command = || Millrace::new().s3(&s3);
    command().args(["export", &format!("{url}?ref=v1"), "s3://dest/x"]).run().expect_code(0);
    s3.clear_log();
    let emptied = format!("{url}?ref=emptied");
    refused(End::Guard, command, &["export", &emptied, "s3://dest/x"])
        .says(&[&format!(
            "commit {} is empty, and s3://dest/x/ holds 343 objects: all would be deleted",
            lake.commit("all-deleted").id
        )])
        .helps(&["--max-delete 100% or --force"]);
    refused(End::Guard, command, &["export", &format!("{url}?ref=v2"), "s3://dest/x", "--max-delete", "11"])
        .says(&["12 of 343 objects at s3://dest/x", "would be deleted; 11 are allowed"])
        .helps(&["--max-delete 12 or --force"]);
    refused(End::Guard, command, &["export", &format!("{url}?ref=v2"), "s3://dest/x", "--max-delete", "1%"])
        .says(&["3 are allowed"]);
    assert_no_writes(&s3);
}

#[test]
fn a_bucket_that_may_not_be_written() {
    let (s3, _, url) = in_a_bucket("orders");
    s3.deny(Target::on("write").bucket("dest"));
    let refusal = refused(End::Unreachable, || Millrace::new().s3(&s3), &["export", &format!("{url}?ref=main"), "s3://dest/x"])
        .says(&["s3://dest/x/: ", "cannot be written"])
        .helps(&["check the credentials for s3://dest"]);
    assert_eq!(refusal.report["rounds"], json!([]));
    assert!(s3.log().writes().is_empty(), "{}", s3.log().writes());
    // Planning needs no permission to write there.
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan").display().to_string();
    let words = ["plan", &format!("{url}?ref=main"), "s3://dest/x", "-o", &plan];
    Millrace::new().s3(&s3).args(words).run().expect_code(0);
    refused(End::Unreachable, || Millrace::new().s3(&s3), &["apply", &plan]).says(&["s3://dest/x", "cannot be written"]);
    // A plan's own folder is a place like another.
    refused(
        End::Unreachable,
        || Millrace::new().s3(&s3),
        &["plan", &format!("{url}?ref=main"), "s3://dest/x", "-o", "s3://dest/plan"],
    )
    .says(&["s3://dest/plan", "may not be written"])
    .helps(&["check the store's credentials"]);
}

#[test]
fn a_destination_that_is_a_file_or_lies_below_one() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();
    let untouched = Untouched::new(folder.path());
    for name in ["file", "file/below", "file/deep/below"] {
        let at = folder.path().join(name).display().to_string();
        for verb in ["export", "plan"] {
            refused(End::Unreachable, Millrace::new, &[verb, &lake.file_url("main"), &at])
                .says(&[&at, "is not a folder: it or one above it is a file"])
                .helps(&["check the path"]);
        }
    }
    untouched.check();
}

#[test]
fn a_file_where_a_folder_of_the_export_must_be() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tables")).unwrap();
    fs::write(folder.path().join("tables/orders"), "mine").unwrap();
    let untouched = Untouched::new(folder.path());
    let at = folder.path().display().to_string();
    for verb in ["export", "plan"] {
        let refusal = refused(End::Guard, Millrace::new, &[verb, &lake.file_url("main"), &at])
            .says(&[&format!("file://{at}/: these keys cannot be written there:\n  `tables/orders/dt=2026-01-02/part-00000.parquet` needs the folder `tables/orders`, which is a file at the destination\n")])
            .says(&["  … and 29 more\nNothing was written."])
            .helps(&["leave them out with --exclude, or choose another destination"]);
        assert_eq!(refusal.message.matches("\n  `").count(), 10, "{}", refusal.message);
    }
    untouched.check();
    Millrace::new().args(["export", &lake.file_url("main"), &at, "--exclude", "tables/orders/"]).run().expect_code(0);
    assert_eq!(fs::read(folder.path().join("tables/orders")).unwrap(), b"mine");
}

#[test]
fn a_folder_where_a_file_of_the_export_must_be() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("site/index.html")).unwrap();
    fs::write(folder.path().join("site/index.html/mine"), "mine").unwrap();
    let untouched = Untouched::new(folder.path());
    refused(End::Guard, Millrace::new, &["export", &lake.file_url("main"), &folder.path().display().to_string()])
        .says(&["`site/index.html` is a folder at the destination", "Nothing was written."])
        .helps(&["--exclude"]);
    untouched.check();
}

#[test]
fn a_file_where_millraces_own_folder_must_be() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("_millrace"), "mine").unwrap();
    let untouched = Untouched::new(folder.path());
    refused(End::Guard, Millrace::new, &["export", &lake.file_url("main"), &folder.path().display().to_string()])
        .says(&[&format!("file://{}/_millrace is a file, and Millrace's own folder must be there", folder.path().display())])
        .helps(&["choose another destination, or move the file away"]);
    untouched.check();
}

#[test]
fn a_lake_in_the_place_of_a_destination_and_the_other_way_round() {
    let lake = Lake::named("orders");
    let url = lake.file_url("main");
    refused(End::Usage, Millrace::new, &["export", &url, &url])
        .says(&[&format!("`{url}` is a lake, and a destination is wanted here")])
        .helps(&["s3://BUCKET/PREFIX"]);
    refused(End::Usage, Millrace::new, &["apply", &url]).says(&["is a lake, and a plan's folder is wanted here"]);
    refused(End::Usage, Millrace::new, &["runs", &url]).says(&["is a lake, and a destination is wanted here"]);
    refused(End::Usage, Millrace::new, &["export", "s3://lake/orders", "/tmp/x"])
        .says(&["`s3://lake/orders` is no lake"])
        .helps(&["write lake+s3://lake/orders?ref=REF"]);
    assert!(everything(lake.dir()).keys().all(|name| !name.contains("_millrace/")));
}

#[test]
fn a_link_below_the_destination_is_not_followed() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let (out, elsewhere) = (folder.path().join("out"), folder.path().join("elsewhere"));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, out.join("tables")).unwrap();
    let untouched = Untouched::new(&elsewhere);
    let words = ["--output", "json", "export", &lake.file_url("main"), out.to_str().unwrap()];
    let report = Millrace::new().args(words).run().expect_code(1).json();
    untouched.check();
    let failure = &report["failures"][0];
    assert!(failure["error"].as_str().unwrap().contains("`tables` below"), "{failure}");
    assert!(failure["error"].as_str().unwrap().contains("is a symbolic link, and links are not followed there"), "{failure}");
    // Even the first round, which looks for markers to retract, stops at the link; nothing else is tried then.
    assert_eq!((&report["failed"], &report["copied"], &failure["action"]), (&json!(3), &json!(0), &json!("retract")), "{report}");
}
