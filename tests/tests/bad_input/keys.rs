//! Keys that a destination cannot hold, or that Millrace keeps for itself: refused at plan time, the first ten by name.

use millrace_tests::{lakes::Lake, run::Millrace, s3::S3Server, tree::data_only};
use serde_json::json;

use super::{End, Untouched, assert_no_writes, in_a_bucket, refused};
use crate::made::{MadeLake, objects};

/// The lines of a refusal that name keys.
fn named(message: &str) -> Vec<&str> {
    message.lines().filter_map(|line| line.strip_prefix("  `")).collect()
}

#[test]
fn keys_that_a_folder_cannot_hold_are_named_and_nothing_is_written() {
    let lake = Lake::named("odd-keys");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let untouched = Untouched::new(folder.path());
    let url = lake.file_url(&lake.commit("all").id);
    for verb in ["export", "plan"] {
        let refusal = refused(End::Guard, Millrace::new, &[verb, &url, &out])
            .says(&[&format!("file://{out}/: these keys cannot be written there:\n")])
            .says(&["\nNothing was written."])
            .helps(&["leave them out with --exclude, move away what is in their way, or choose another destination"]);
        let names = named(&refusal.message);
        assert_eq!(names.len(), 10, "{}", refusal.message);
        for expected in [
            ".` has a `.` or `..` segment",
            "..` has a `.` or `..` segment",
            "../up` has a `.` or `..` segment",
            "//lead2` begins with a slash",
            "/lead` begins with a slash",
            "EXPORT_0000_FAILURE` is a name that Millrace keeps for itself at every destination",
            "_millrace/HEAD.json` is a name that Millrace keeps for itself at every destination",
        ] {
            assert!(names.contains(&expected), "{expected} is not in: {}", refusal.message);
        }
        let more = refusal.message.lines().find_map(|line| line.strip_prefix("  … and ")?.strip_suffix(" more")).unwrap();
        assert_eq!(more, "10");
    }
    untouched.check();
}

/// What is wrong with one key alone, at a folder.
#[track_caller]
fn one_key(key: &str, why: &str) {
    let lake = Lake::named("odd-keys");
    let folder = tempfile::tempdir().unwrap();
    let untouched = Untouched::new(folder.path());
    let out = folder.path().join("out").display().to_string();
    let pattern = format!("key = '{key}'");
    let words = ["export", &lake.file_url(&lake.commit("all").id), &out, "--where", &pattern];
    let refusal = refused(End::Guard, Millrace::new, &words);
    assert_eq!(named(&refusal.message), [format!("{key}` {why}")], "{}", refusal.message);
    assert!(!refusal.message.contains("… and"), "{}", refusal.message);
    untouched.check();
}

#[test]
fn each_kind_of_key_that_a_folder_cannot_hold_has_its_reason() {
    one_key("a//b", "has an empty segment");
    one_key("a//", "ends in a slash");
    one_key("dir/", "ends in a slash");
    one_key("/lead", "begins with a slash");
    one_key("//lead2", "begins with a slash");
    one_key("..", "has a `.` or `..` segment");
    one_key("../up", "has a `.` or `..` segment");
    one_key("a/../b", "has a `.` or `..` segment");
    one_key("a/./b", "has a `.` or `..` segment");
    one_key("http://looks.like/url", "has an empty segment");
    let long = Lake::named("odd-keys").objects("all").into_iter().find(|object| object.path.starts_with("kkk")).unwrap().path;
    one_key(&long, "has a segment of more than 255 bytes");
}

#[test]
fn a_file_beside_what_needs_it_to_be_a_folder() {
    let lake = Lake::named("odd-keys");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let url = lake.file_url(&lake.commit("all").id);
    let untouched = Untouched::new(folder.path());
    for (file, below) in [("a", "a/b"), ("x/_SUCCESS", "x/_SUCCESS/child")] {
        let pattern = format!("key IN ('{file}', '{below}')");
        let refusal = refused(End::Guard, Millrace::new, &["export", &url, &out, "--where", &pattern]).helps(&["--exclude"]);
        let names = named(&refusal.message);
        assert_eq!(names.len(), 1, "{}", refusal.message);
        assert!(names[0].starts_with(&format!("{file}` is a file")), "{}", refusal.message);
    }
    untouched.check();
    let words = ["export", &url, &out, "--include", "/a", "--include", "/ab"];
    Millrace::new().args(words).run().expect_code(0);
    assert_eq!(std::fs::read_dir(folder.path().join("out")).unwrap().count(), 4, "a, ab, the marker and Millrace's own");
}

#[test]
fn reserved_names_are_refused_in_a_bucket_and_everything_else_is_held() {
    let (s3, lake, url) = in_a_bucket("odd-keys");
    let url = format!("{url}?ref={}", lake.commit("all").id);
    let command = || Millrace::new().s3(&s3);
    for verb in ["export", "plan"] {
        let refusal = refused(End::Guard, command, &[verb, &url, "s3://dest/x"]).helps(&["leave them out with --exclude"]);
        let reserved = "is a name that Millrace keeps for itself at every destination";
        let expected =
            ["EXPORT_0000_FAILURE", "EXPORT_0000_SUCCESS", "_millrace/HEAD.json"].map(|key| format!("{key}` {reserved}"));
        assert_eq!(named(&refusal.message), expected);
    }
    assert_no_writes(&s3);
    let words = ["--output", "json", "export", &url, "s3://dest/x", "--exclude", "/EXPORT_*", "--exclude", "_millrace/"];
    assert_eq!(command().args(words).run().expect_code(0).json()["copied"], json!(55));
    let keys = data_only(s3.snapshot().tree("dest", "x/"));
    assert_eq!(keys.len(), 55);
}

#[test]
fn reserved_names_count_after_re_rooting() {
    // Below a prefix the names are free at the source, and reserved where they would land.
    let lake = Lake::named("odd-keys");
    let url = format!("{}&prefix=_millrace/", lake.file_url(&lake.commit("all").id));
    Millrace::new().args(["export", &url, "memory://x"]).run().expect_code(0);
    let url = format!("{}&prefix=a/", lake.file_url(&lake.commit("all").id));
    refused(End::Guard, Millrace::new, &["export", &url, "memory://x"]).says(&["`/b`"]);
}

#[test]
fn keys_that_are_too_long_below_the_prefix_of_the_destination() {
    let (s3, lake, url) = in_a_bucket("odd-keys");
    let url = format!("{url}?ref={}", lake.commit("all").id);
    let deep = format!("s3://dest/{}", "p".repeat(100));
    let words = ["export", &url, &deep, "--include", "k*"];
    let refusal = refused(End::Guard, || Millrace::new().s3(&s3), &words).helps(&["choose another destination"]);
    assert_eq!(named(&refusal.message).len(), 1, "{}", refusal.message);
    assert!(refusal.message.contains("is longer than the store allows"), "{}", refusal.message);
    assert_no_writes(&s3);
}

#[test]
fn a_key_of_white_space_alone_needs_a_prefix_in_a_bucket() {
    let lake = MadeLake::new(3, &[("all", &objects(&[(" ", "blank"), ("a", "1")]))]);
    let s3 = S3Server::with_buckets(&["dest"]);
    lake.load(&s3);
    s3.clear_log();
    let command = || Millrace::new().s3(&s3);
    let url = "lake+s3://lake/made?ref=main";
    let refusal = refused(End::Guard, command, &["export", url, "s3://dest"]).helps(&["--exclude"]);
    assert_eq!(named(&refusal.message), [" ` is white space alone, which can be written below a prefix only"]);
    assert_no_writes(&s3);
    command().args(["export", url, "s3://dest/x"]).run().expect_code(0);
    assert_eq!(data_only(s3.snapshot().tree("dest", "x/"))[" "], b"blank");
}

#[test]
fn only_millraces_own_names_are_reserved() {
    let ordinary = ["EXPORT_SUCCESS", "EXPORT_report.csv", "_millrace2/x", "sub/EXPORT_x_SUCCESS", "sub/_millrace"];
    let reserved = ["EXPORT__FAILURE", "EXPORT_x_SUCCESS", "_millrace", "_millrace/x"];
    let pairs: Vec<_> = ordinary.iter().chain(&reserved).map(|key| (*key, "text")).collect();
    // One holds `_millrace` and `_millrace/x`, which no folder can; a bucket holds both.
    let lake = MadeLake::new(3, &[("all", &objects(&pairs))]);
    let s3 = S3Server::with_buckets(&["dest"]);
    lake.load(&s3);
    s3.clear_log();
    let url = "lake+s3://lake/made?ref=main";
    let refusal = refused(End::Guard, || Millrace::new().s3(&s3), &["export", url, "s3://dest/x"]);
    let expected = reserved.map(|key| format!("{key}` is a name that Millrace keeps for itself at every destination"));
    assert_eq!(named(&refusal.message), expected);
    assert_no_writes(&s3);

    let lake = MadeLake::new(3, &[("ordinary", &objects(&pairs[..ordinary.len()]))]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    Millrace::new().args(["export", &lake.file_url("main"), out.to_str().unwrap()]).run().expect_code(0);
    for key in ordinary {
        assert_eq!(std::fs::read(out.join(key)).unwrap(), b"text", "{key}");
    }
}

#[test]
fn the_own_folder_of_a_destination_below_is_written_by_force_only() {
    let pairs = [("a", "1"), ("sub/_millrace/HEAD.json", "{}"), ("sub/_millrace/receipts/x", "{}"), ("sub/b", "1")];
    let lake = MadeLake::new(3, &[("all", &objects(&pairs))]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let words = ["export", &lake.file_url("main"), out.to_str().unwrap()];
    let untouched = Untouched::new(folder.path());
    let refusal = refused(End::Guard, Millrace::new, &words).says(&["--force"]).helps(&["--exclude"]);
    let why = "belongs to a destination below this one (--force writes it all the same)";
    assert_eq!(named(&refusal.message), [format!("{}` {why}", pairs[1].0), format!("{}` {why}", pairs[2].0)]);
    untouched.check();
    Millrace::new().args(words).arg("--force").run().expect_code(0);
    assert_eq!(std::fs::read(out.join("sub/_millrace/HEAD.json")).unwrap(), b"{}");
}

#[test]
fn two_objects_of_one_key_are_seen_when_only_one_of_them_changed() {
    let (exact, below) = (objects(&[("p/x", "exact"), ("p/y", "1")]), objects(&[("p/x/a", "1"), ("p/x/x", "below")]));
    let both = |one: &str, other: &str| objects(&[("p/x", one), ("p/x/a", "1"), ("p/x/x", other), ("p/y", "1")]);
    let (first, second) = (both("exact", "new"), both("new", "below"));
    let lake = MadeLake::new(1, &[("exact", &exact), ("beside", &first), ("below", &below), ("over", &second)]);
    let s3 = S3Server::with_buckets(&["dest"]);
    lake.load(&s3);
    for (place, from, to) in [("a", "exact", "beside"), ("b", "below", "over")] {
        let url = |label: &str| format!("lake+s3://lake/made?ref={}&prefix=p/x", lake.commit(label).id);
        let dest = format!("s3://dest/{place}");
        Millrace::new().s3(&s3).args(["export", &url(from), &dest]).run().expect_code(0);
        s3.clear_log();
        let refusal = refused(End::Guard, || Millrace::new().s3(&s3), &["export", &url(to), &dest]);
        let why = "is the key of two objects: the one that the prefix names, and one below the folder of its name";
        assert_eq!(named(&refusal.message), [format!("x` {why}")], "{from}");
        assert_no_writes(&s3);
    }
}

#[test]
fn a_key_that_becomes_a_folder_of_an_unchanged_one_is_seen_without_reading_everything() {
    let (first, second) = (objects(&[("a/b", "1"), ("z", "1")]), objects(&[("a", "2"), ("a-b", "2"), ("a/b", "1"), ("z", "1")]));
    let lake = MadeLake::new(1, &[("first", &first), ("second", &second)]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    Millrace::new().args(["export", &lake.file_url(&lake.commit("first").id), &out]).run().expect_code(0);
    let untouched = Untouched::new(folder.path());
    let refusal = refused(End::Guard, Millrace::new, &["export", &lake.file_url("main"), &out]).helps(&["--exclude"]);
    let names = named(&refusal.message);
    assert!(names.len() == 1 && names[0].starts_with("a` is a "), "{}", refusal.message);
    untouched.check();
}
