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
            .helps(&["leave them out with --exclude, move away what is in their way, or choose another destination"]);
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
    let (out, elsewhere, plan) = (folder.path().join("out"), folder.path().join("elsewhere"), folder.path().join("plan"));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let (url, to, plan) = (lake.file_url("main"), out.to_str().unwrap(), plan.to_str().unwrap());
    Millrace::new().args(["plan", &url, to, "-o", plan]).run().expect_code(0);
    std::os::unix::fs::symlink(&elsewhere, out.join("tables")).unwrap();
    let untouched = Untouched::new(folder.path());
    for verb in ["export", "plan"] {
        refused(End::Guard, Millrace::new, &[verb, &url, to])
            .says(&["lies below `tables`, which is a symbolic link at the destination", "Nothing was written."])
            .helps(&["--exclude", "move away what is in their way"]);
    }
    untouched.check();
    // A plan that was made before does not know of it.
    let untouched = Untouched::new(&elsewhere);
    let report = Millrace::new().args(["--output", "json", "apply", plan]).run().expect_code(1).json();
    untouched.check();
    let failure = &report["failures"][0];
    assert!(failure["error"].as_str().unwrap().contains("`tables` below"), "{failure}");
    assert!(failure["error"].as_str().unwrap().contains("is a symbolic link, and links are not followed there"), "{failure}");
    assert_eq!(report["failed"], report["failures"].as_array().unwrap().len(), "{report}");
}

#[test]
fn what_came_into_the_way_since_the_last_export_is_told_while_planning() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let to = out.to_str().unwrap();
    Millrace::new().args(["export", &lake.file_url("v1"), to]).run().expect_code(0);
    let added = "tables/orders/dt=2026-01-04/part-00000.parquet";
    // A folder with somebody's file, a file in the place of a folder, a link to a folder; each is in the way of one commit.
    let folders = || {
        fs::create_dir_all(out.join(added)).unwrap();
        fs::write(out.join(added).join("mine"), "mine").unwrap();
    };
    let file = || fs::write(out.join("tables/orders/dt=2026-01-04"), "mine").unwrap();
    let link = || {
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), out.join("tables/orders/dt=2026-01-04")).unwrap();
    };
    let cases: [(&dyn Fn(), String); 3] = [
        (&folders, format!("`{added}` is a folder at the destination, which holds `{added}/mine`")),
        (&file, format!("`{added}` needs the folder `tables/orders/dt=2026-01-04`, which is a file at the destination")),
        (&link, format!("`{added}` lies below `tables/orders/dt=2026-01-04`, which is a symbolic link at the destination")),
    ];
    for (put, said) in cases {
        put();
        let untouched = Untouched::new(folder.path());
        for verb in ["export", "plan"] {
            refused(End::Guard, Millrace::new, &[verb, &lake.file_url("v2"), to])
                .says(&[&said, "Nothing was written."])
                .helps(&["move away what is in their way"]);
        }
        untouched.check();
        let at = out.join("tables/orders/dt=2026-01-04");
        let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir_all(&at));
    }
    // Folders without files are nothing, and a link in the object's own place is replaced.
    fs::create_dir_all(out.join(added).join("empty/deep")).unwrap();
    let linked = out.join("tables/orders/dt=2026-01-04/part-00001.parquet");
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &linked).unwrap();
    Millrace::new().args(["export", &lake.file_url("v2"), to]).run().expect_code(0);
    assert!(linked.symlink_metadata().unwrap().is_file() && out.join(added).is_file());
    Millrace::new().args(["verify", to]).run().expect_code(0);
}
