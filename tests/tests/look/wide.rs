//! A lake of 130,000 objects, where one is at hand: a plan costs what changed, a count costs nothing.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
};

use flate2::read::GzDecoder;
use millrace_tests::{
    lakes::{Lake, ListedObject},
    run::Millrace,
    s3::S3Server,
};
use serde_json::{Value, json};

/// The plan of `to`, for an empty folder that is said to hold `from`.
fn planned(lake: &Lake, from: &str, to: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let source = lake.file_url(&lake.commit(to).id);
    let words = ["--output", "json", "plan", &source, &path("dest"), "-o", &path("plan"), "--from", &lake.commit(from).id];
    Millrace::new().args(words).run().expect_code(0).json()
}

/// The size of a metadata file.
fn file_bytes(lake: &Lake, id: &str) -> u64 {
    lake.namespace().join("_lakefs").join(id).metadata().unwrap().len()
}

/// The size of all metadata files of the lake.
fn metadata_bytes(lake: &Lake) -> u64 {
    let files = std::fs::read_dir(lake.namespace().join("_lakefs")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// How many ranges there are, were opened, and were looked into.
fn ranges(report: &Value) -> [u64; 3] {
    ["total", "opened", "looked_up"].map(|name| report["ranges"][name].as_u64().unwrap())
}

#[test]
fn a_small_change_of_a_wide_commit_is_planned_from_the_changed_ranges() {
    let Some(lake) = Lake::wide() else { return };
    let plan = planned(&lake, "bulk", "small-change");
    let diff = lake.diff("bulk", "small-change");
    let of = |kinds: &[&str]| diff.iter().filter(|line| kinds.contains(&line.kind.as_str())).count();
    assert_eq!(plan["copied"], json!(of(&["added", "changed"])), "{plan}");
    assert_eq!(plan["deleted"], json!(of(&["removed"])), "{plan}");
    assert_eq!(plan["unchanged"], json!(130_000 - of(&["added", "changed"])), "{plan}");
    // Four ranges a commit; the change reached every one of them.
    assert_eq!(ranges(&plan)[..2], [8, 8], "{plan}");
    // Both metaranges, every range of both sides once, and the blocks of the markers.
    let metaranges = ["bulk", "small-change"].map(|label| file_bytes(&lake, &lake.commit(label).meta_range_id)).iter().sum();
    let (read, all) = (plan["ranges"]["bytes"].as_u64().unwrap(), metadata_bytes(&lake));
    assert!(read > metaranges && read <= all + 100_000, "{read} of {all}: {plan}");
}

#[test]
fn a_commit_without_changes_opens_no_range_of_a_wide_commit() {
    let Some(lake) = Lake::wide() else { return };
    let plan = planned(&lake, "small-change", "again");
    assert_eq!(ranges(&plan), [4, 0, 0], "{plan}");
    assert_eq!((&plan["copied"], &plan["deleted"], &plan["unchanged"]), (&json!(0), &json!(0), &json!(130_000)));
}

#[test]
fn a_wide_diff_and_a_wide_count_are_right() {
    let Some(lake) = Lake::wide() else { return };
    let url = |label: &str| lake.file_url(&lake.commit(label).id);
    let run = |words: &[&str]| Millrace::new().args(["--output", "json"]).args(words).run().expect_code(0).json_lines();
    let lines = run(&["diff", &url("bulk"), &url("small-change")]);
    let expected: Vec<_> = lake
        .diff("bulk", "small-change")
        .into_iter()
        .map(|line| json!({ "type": line.kind, "path": line.path, "size": line.size_bytes }))
        .collect();
    assert_eq!(lines, expected);
    let bare = format!("lake+file://{}", lake.namespace().display());
    assert_eq!(run(&["sql", &bare, "SELECT count(*) AS n FROM objects('main')"]), [json!({ "n": 130_000 })]);
}

#[test]
fn a_wide_listing_is_what_the_server_listed() {
    let Some(lake) = Lake::wide() else { return };
    let file = File::open(lake.dir().join("expected/small-change.objects.jsonl.gz")).unwrap();
    let expected = BufReader::new(GzDecoder::new(file)).lines();
    let url = lake.file_url(&lake.commit("small-change").id);
    let outcome = Millrace::new().args(["--output", "json", "ls", &url]).run().expect_code(0);
    let mut lines = outcome.stdout.lines();
    let mut compared = 0;
    for line in expected {
        let listed: ListedObject = serde_json::from_str(&line.unwrap()).unwrap();
        let found: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let expected = json!({
            "path": listed.path, "size": listed.size_bytes, "etag": listed.checksum, "mtime": listed.mtime,
            "content_type": listed.content_type, "metadata": listed.metadata,
            "address": listed.physical_address.replace("s3://lake/wide", &format!("file://{}", lake.namespace().display())),
        });
        assert_eq!(found, expected);
        compared += 1;
    }
    assert_eq!((compared, lines.next()), (130_000, None));
}

/// The metadata files of a lake in a bucket that a plan of `to` from `from` reads.
fn read_by_plan(lake: &Lake, from: &str, to: &str) -> (Value, BTreeSet<String>) {
    let server = S3Server::with_buckets(&["dest"]);
    lake.load(&server);
    let source = format!("lake+{}?ref={}", lake.storage_namespace(), lake.commit(to).id);
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan").display().to_string();
    let words = ["--output", "json", "plan", &source, "s3://dest/x", "-o", &plan, "--from", &lake.commit(from).id];
    server.clear_log();
    let report = Millrace::new().s3(&server).args(words).run().expect_code(0).json();
    assert!(server.log().writes().is_empty(), "a plan writes nothing but its own folder");
    let log = server.log();
    let read = log.of("GetObject").for_prefix("lake", &format!("{}/_lakefs/", lake.name));
    (report, read.iter().map(|get| get.key.rsplit('/').next().unwrap().to_owned()).collect())
}

#[test]
fn a_plan_reads_changed_ranges_and_of_the_others_only_where_a_marker_is_looked_up() {
    let lake = Lake::named("orders");
    let (report, read) = read_by_plan(&lake, "load", "day4");
    assert_eq!(ranges(&report)[..2], [13, 2], "twelve ranges a commit, of which eleven are common: {report}");
    let (idle, resolved) = read_by_plan(&lake, "day4", "day4");
    assert_eq!(ranges(&idle), [12, 0, 0], "{idle}");
    // Beyond what the idle plan read: the base's metarange, the two ranges that differ, and the one in which the root's
    // marker is looked up.
    let more: BTreeSet<_> = read.difference(&resolved).collect();
    assert!(more.contains(&lake.commit("load").meta_range_id), "{more:?}");
    assert_eq!(more.len(), 1 + 2 + 1, "{more:?}");
    // As many bytes as those files have, each once.
    let bytes = |report: &Value| report["ranges"]["bytes"].as_u64().unwrap();
    let target = file_bytes(&lake, &lake.commit("day4").meta_range_id);
    assert_eq!(bytes(&idle), 2 * target, "the metarange for either side: {idle}");
    let whole: u64 = more.iter().map(|id| file_bytes(&lake, id)).sum();
    let base = file_bytes(&lake, &lake.commit("load").meta_range_id);
    assert!(bytes(&report) > target + base && bytes(&report) <= target + whole, "{report}: {whole}");
}

#[test]
fn a_plan_of_a_commit_without_changes_opens_no_range() {
    for (name, from, to) in [("orders", "reverted", "head"), ("churn", "c11", "c11"), ("delta", "v2", "v2")] {
        let lake = Lake::named(name);
        let (report, read) = read_by_plan(&lake, from, to);
        assert_eq!(ranges(&report)[1..], [0, 0], "{name}");
        assert_eq!((&report["copied"], &report["deleted"], &report["retracted"]), (&json!(0), &json!(0), &json!(0)), "{name}");
        assert!(read.contains(&lake.commit(to).meta_range_id), "{name}");
    }
}
