//! A lake of 130,000 objects, where one is at hand: a plan costs what changed, a count costs nothing.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader},
};

use flate2::read::GzDecoder;
use graveler::{Metarange, sstable::LoadedTable};
use millrace_tests::{
    lakes::{DiffLine, Lake, ListedObject},
    run::Millrace,
    s3::S3Server,
};
use serde_json::{Value, json};

/// How much of a range's end is read to look something up in it.
const TAIL: u64 = 64 << 10;

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

/// The metarange of a commit, and its ranges as they are stored.
fn tree(lake: &Lake, label: &str) -> (Metarange, Vec<LoadedTable>) {
    let id = &lake.commit(label).meta_range_id;
    let load = |id: &str| {
        let bytes = std::fs::read(lake.namespace().join("_lakefs").join(id)).unwrap();
        LoadedTable::parse(id, bytes.into()).unwrap()
    };
    let metarange = Metarange::read(id, &load(id)).unwrap();
    let tables = metarange.ranges().iter().map(|range| load(&range.id)).collect();
    (metarange, tables)
}

/// The markers above what changed that a range of the commit may hold.
fn markers_above(lake: &Lake, label: &str, changed: &[DiffLine]) -> BTreeSet<String> {
    let (metarange, _) = tree(lake, label);
    let folders = changed.iter().flat_map(|line| line.path.match_indices('/').map(|(at, _)| line.path[..=at].to_owned()));
    let markers = folders.chain([String::new()]).map(|folder| format!("{folder}_SUCCESS"));
    markers.filter(|key| metarange.find(key.as_bytes()).is_some()).collect()
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
    assert_eq!(
        ranges(&plan)[2],
        markers_above(&lake, "small-change", &diff).len() as u64,
        "each marker is looked up once: {plan}"
    );
    // Both metaranges and every range of both sides are read once and whole; of the target's ranges in which markers are
    // looked up, their end, and a block for each look-up.
    let metaranges: u64 = ["bulk", "small-change"].map(|label| file_bytes(&lake, &lake.commit(label).meta_range_id)).iter().sum();
    let tables = ["bulk", "small-change"].map(|label| tree(&lake, label).1);
    let whole: u64 = tables.iter().flatten().map(|table| file_bytes(&lake, table.name())).sum();
    let blocks = tables[1].iter().flat_map(|table| table.stored_blocks().unwrap());
    let block = blocks.map(|block| block.len() as u64).max().unwrap();
    let read = plan["ranges"]["bytes"].as_u64().unwrap() - metaranges - whole;
    assert!(read > 4 * TAIL && read <= 4 * TAIL + ranges(&plan)[2] * block, "{read} with blocks of {block}: {plan}");
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

/// The metadata files of a lake in a bucket that a plan of `to` from `from` reads: of each read the name and the bytes.
fn read_by_plan(lake: &Lake, from: &str, to: &str) -> (Value, Vec<(String, u64)>) {
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
    (report, read.iter().map(|get| (get.key.rsplit('/').next().unwrap().to_owned(), get.sent)).collect())
}

#[test]
fn a_plan_reads_changed_ranges_and_of_the_others_only_where_a_marker_is_looked_up() {
    let lake = Lake::named("orders");
    let names = |read: &[(String, u64)]| read.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let (report, reads) = read_by_plan(&lake, "load", "day4");
    let read = names(&reads);
    assert_eq!(ranges(&report)[..2], [13, 2], "twelve ranges a commit, of which eleven are common: {report}");
    let (idle, resolving) = read_by_plan(&lake, "day4", "day4");
    let resolved = names(&resolving);
    assert_eq!(ranges(&idle), [12, 0, 0], "{idle}");
    // Beyond what the idle plan read: the base's metarange, the two ranges that differ, and the one in which the root's
    // marker is looked up.
    let more: BTreeSet<_> = read.difference(&resolved).collect();
    assert!(more.contains(&lake.commit("load").meta_range_id), "{more:?}");
    assert_eq!(more.len(), 1 + 2 + 1, "{more:?}");
    let bytes = |report: &Value| report["ranges"]["bytes"].as_u64().unwrap();
    let target = &lake.commit("day4").meta_range_id;
    assert_eq!(bytes(&idle), file_bytes(&lake, target), "one metarange for both sides: {idle}");
    // What is reported is what the bucket sent: metaranges and changed ranges whole and once; for the markers the end of the
    // range (all of these small ones) and a block each.
    let of_trees: Vec<_> = reads.iter().filter(|(name, _)| name == target || more.contains(name)).collect();
    assert_eq!(bytes(&report), of_trees.iter().map(|(_, sent)| sent).sum::<u64>(), "{report}: {of_trees:?}");
    let metaranges = [target, &lake.commit("load").meta_range_id];
    for id in metaranges {
        let once: Vec<_> = of_trees.iter().filter(|(name, _)| name == id).map(|(_, sent)| *sent).collect();
        assert_eq!(once, [file_bytes(&lake, id)], "{id}");
    }
    let of_ranges = of_trees.iter().filter(|(name, _)| !metaranges.contains(&name)).count() as u64;
    let [_, opened, looked_up] = ranges(&report);
    assert!(of_ranges <= opened + 3 + looked_up, "{of_ranges} reads of ranges: {of_trees:?}");
}

#[test]
fn a_plan_of_a_commit_without_changes_opens_no_range() {
    for (name, from, to) in [("orders", "reverted", "head"), ("churn", "c11", "c11"), ("delta", "v2", "v2")] {
        let lake = Lake::named(name);
        let (report, read) = read_by_plan(&lake, from, to);
        assert_eq!(ranges(&report)[1..], [0, 0], "{name}");
        assert_eq!((&report["copied"], &report["deleted"], &report["retracted"]), (&json!(0), &json!(0), &json!(0)), "{name}");
        let metarange = &lake.commit(to).meta_range_id;
        assert_eq!(report["ranges"]["bytes"], file_bytes(&lake, metarange), "{name}");
        assert_eq!(read.iter().filter(|(name, _)| name == metarange).count(), 1, "{name}");
    }
}
