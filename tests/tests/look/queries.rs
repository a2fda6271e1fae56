//! `sql` over lakes: the tables hold what `ls` and `diff` show, only what is asked for is read, and nothing can be written.

use std::collections::BTreeSet;

use millrace_tests::{lakes::Lake, run::Millrace};
use serde_json::{Value, json};

use super::{Door, Way};

/// The lake of a door, without a reference.
fn bare(door: &Door) -> String {
    door.url("").trim_end_matches('/').trim_end_matches("?ref=").to_owned()
}

#[test]
fn objects_holds_what_ls_shows() {
    for way in [Way::Folder, Way::Bucket, Way::Server, Way::ServerAlone] {
        let door = Door::open("orders", way);
        let query = "SELECT path, size, etag, content_type, address FROM objects('v1') ORDER BY path";
        let rows = door.json(&["sql", &bare(&door), query]);
        let mut listed = door.json(&["ls", &door.url("v1")]);
        assert_eq!(rows.len(), 343, "{way:?}");
        for line in &mut listed {
            let line = line.as_object_mut().unwrap();
            line.remove("metadata");
            line.remove("mtime");
        }
        assert_eq!(rows, listed, "{way:?}");
    }
}

#[test]
fn objects_has_times_and_metadata_to_ask_for() {
    let door = Door::open("odd-keys", Way::Folder);
    let query = "SELECT path, metadata['n'] AS n, mtime FROM objects('main~1') WHERE metadata['n'] = '24'";
    assert_eq!(door.json(&["sql", &bare(&door), query]), [json!({ "path": ".", "n": "24", "mtime": "2026-11-20T18:20:35Z" })]);
    let query = "SELECT count(*) AS n FROM objects('main~1') WHERE mtime >= '2026-11-20T18:20:36Z'";
    let later = door.lake.objects("all").iter().filter(|object| object.mtime >= 1_795_198_836).count();
    assert_eq!(door.json(&["sql", &bare(&door), query]), [json!({ "n": later })]);
}

#[test]
fn diff_holds_what_diff_shows() {
    for way in [Way::Folder, Way::ServerAlone] {
        let door = Door::open("orders", way);
        let rows = door.json(&["sql", &bare(&door), "SELECT type, path, size FROM diff('v1', 'v2') ORDER BY path"]);
        assert_eq!(rows, door.json(&["diff", &door.url("v1"), &door.url("v2")]), "{way:?}");
        assert_eq!(rows.len(), door.lake.diff("load", "day4").len(), "{way:?}");
    }
    let door = Door::open("orders", Way::Folder);
    let query = "SELECT type, count(*) AS n FROM diff('v1', 'v2') WHERE path LIKE 'tables/orders/dt=2026-01-01/%' GROUP BY 1";
    assert_eq!(door.json(&["sql", &bare(&door), query]), [json!({ "type": "removed", "n": 13 })]);
}

#[test]
fn several_lakes_are_told_apart_by_the_names_they_are_given() {
    let (orders, delta) = (Lake::named("orders"), Lake::named("delta"));
    let named = |name: &str, lake: &Lake| format!("{name}=lake+file://{}", lake.namespace().display());
    let query = "SELECT 'a' AS lake, count(*) AS n FROM a_objects('main') UNION ALL SELECT 'b', count(*) FROM b_objects('main') \
                 UNION ALL SELECT 'c', count(*) FROM b_diff('main~1', 'main') ORDER BY lake";
    let command = || Millrace::new().args(["--output", "json", "sql"]);
    let outcome = command().args([&named("a", &orders), &named("b", &delta), query]).run().expect_code(0);
    let counts = [orders.objects("head").len(), delta.objects("v2").len(), delta.diff("v1", "v2").len()];
    let expected: Vec<Value> = ["a", "b", "c"].iter().zip(counts).map(|(lake, n)| json!({ "lake": lake, "n": n })).collect();
    assert_eq!(outcome.json_lines(), expected);

    let bare = |lake: &Lake| format!("lake+file://{}", lake.namespace().display());
    let twice = command().args([&bare(&orders), &bare(&delta), "SELECT 1"]).run().expect_code(2);
    let error = &twice.json()["error"];
    assert_eq!(error["kind"], "usage");
    assert!(error["message"].as_str().unwrap().contains("is a second lake"), "{twice}");
    assert!(error["help"].as_str().unwrap().starts_with("give each a name: NAME=URL"), "{twice}");
}

#[test]
fn the_prefix_of_a_url_narrows_its_tables_and_an_argument_goes_before_it() {
    let door = Door::open("orders", Way::Folder);
    let count = |url: &str, from: &str| {
        let rows = door.json(&["sql", url, &format!("SELECT count(*) AS n FROM {from}")]);
        usize::try_from(rows[0]["n"].as_u64().unwrap()).unwrap()
    };
    let below = |prefix: &str| door.lake.objects("head").iter().filter(|o| o.path.starts_with(prefix)).count();
    let site = format!("{}?ref=main&prefix=site/", bare(&door));
    assert_eq!(count(&site, "objects('main')"), below("site/"));
    assert_eq!(count(&site, "objects('main', 'tables/')"), below("tables/"));
    assert_eq!(count(&site, "objects('main', '')"), door.lake.objects("head").len());
    let changed = door.lake.diff("load", "day4").into_iter().filter(|line| line.path.starts_with("tables/customers/")).count();
    let customers = format!("{}?ref=main&prefix=tables/customers/", bare(&door));
    assert_eq!(count(&customers, "diff('v1', 'v2')"), changed);
    assert!(count(&bare(&door), "diff('v1', 'v2')") > changed);
}

#[test]
fn a_query_that_fails_says_what_can_be_asked() {
    let door = Door::open("orders", Way::Folder);
    for query in ["SELEC 1", "SELECT * FROM nothing", "SELECT nothing FROM objects('main')", "SELECT * FROM objects()"] {
        let outcome = Millrace::new().args(["--output", "json", "sql", &bare(&door), query]).run().expect_code(2);
        assert!(outcome.json()["error"]["help"].as_str().unwrap().contains("objects('"), "{outcome}");
    }
}

#[test]
fn explain_shows_which_columns_and_keys_are_read_and_how_many_ranges() {
    let door = Door::open("orders", Way::Folder);
    let physical = |query: &str| {
        let rows = door.json(&["sql", &bare(&door), &format!("EXPLAIN {query}")]);
        let plan = rows.iter().find(|row| row["plan_type"] == "physical_plan").unwrap();
        plan["plan"].as_str().unwrap().lines().find(|line| line.contains("Exec: commit=")).unwrap().trim().to_owned()
    };
    let commit = &door.lake.commit("head").id[..12];
    for condition in ["path LIKE 'tables/%'", "starts_with(path, 'tables/')", "path >= 'tables/' AND path < 'tables0'"] {
        assert_eq!(
            physical(&format!("SELECT path FROM objects('main') WHERE {condition}")),
            format!(
                r#"ObjectsExec: commit={commit}, projection=[path], pushed=[path >= "tables/" AND path < "tables0"], ranges=1/12"#
            ),
            "{condition}"
        );
    }
    assert_eq!(
        physical("SELECT sum(size) FROM objects('main')"),
        format!("ObjectsExec: commit={commit}, projection=[size], ranges=12/12")
    );
}

/// The metadata files that a question opens at the bucket.
fn opened(door: &Door, words: &[&str]) -> BTreeSet<String> {
    door.s3.clear_log();
    door.run(words);
    let gets = door.s3.log().of("GetObject").for_prefix("lake", "orders/_lakefs/");
    gets.iter().map(|get| get.key.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn what_is_not_asked_for_is_not_opened() {
    let door = Door::open("orders", Way::Bucket);
    let lake = bare(&door);
    let resolving = opened(&door, &["log", &door.url("main"), "-n", "1"]);
    let read = |query: &str| {
        let all = opened(&door, &["sql", &lake, query]);
        all.difference(&resolving).cloned().collect::<BTreeSet<_>>()
    };
    let metarange = &door.lake.commit("head").meta_range_id;
    // The whole commit, and a part that whole ranges cover by themselves: the metarange says it all.
    assert_eq!(read("SELECT count(*) FROM objects('main')"), BTreeSet::from([metarange.clone()]));
    assert_eq!(read("SELECT count(*) FROM objects('main') WHERE path LIKE 'tables/%'").len(), 2, "one range");
    assert_eq!(read("SELECT path FROM objects('main') WHERE path = 'site/index.html'").len(), 2, "one range");
    assert_eq!(read("SELECT sum(size) FROM objects('main')").len(), 13, "all twelve ranges");
    assert!(door.s3.log().writes().is_empty());
    let counted = door.json(&["sql", &lake, "SELECT count(*) AS n FROM objects('main')"]);
    assert_eq!(counted, [json!({ "n": door.lake.objects("head").len() })]);
}

#[test]
fn count_works_where_every_range_of_the_commit_is_gone() {
    let copy = Lake::named("orders").temp_copy();
    let folder = copy.namespace().join("_lakefs");
    // What `ls` needs and `count(*)` must not: every file but the metarange and the refs.
    let door = Door::open("orders", Way::Bucket);
    let mut kept = opened(&door, &["log", &door.url("main"), "-n", "1"]);
    kept.insert(copy.commit("head").meta_range_id.clone());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        if !kept.contains(&entry.file_name().into_string().unwrap()) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let lake = format!("lake+file://{}", copy.namespace().display());
    let ask = |query: &str| Millrace::new().args(["--output", "json", "sql", &lake, query]).run();
    let counted = ask("SELECT count(*) AS n FROM objects('main')").expect_code(0);
    assert_eq!(counted.json(), json!({ "n": copy.objects("head").len() }));
    let summed = ask("SELECT sum(size) FROM objects('main')").expect_code(4);
    assert_eq!(summed.json()["error"]["kind"], "corrupt", "{summed}");
}

#[test]
fn nothing_can_be_written_and_what_is_no_query_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.csv");
    let copy = format!("COPY (SELECT 1) TO '{}'", file.display());
    let external = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{}'", file.display());
    let door = Door::open("orders", Way::Folder);
    for (query, said) in [
        (copy.as_str(), "DML not supported"),
        (external.as_str(), "DDL not supported"),
        ("CREATE TABLE t AS SELECT 1", "DDL not supported"),
        ("SET datafusion.execution.batch_size = 1", "Statement not supported"),
        ("SELEC 1", "found: SELEC at Line: 1, Column: 1"),
        ("SELECT nope FROM objects('main')", "nope"),
        ("SELECT * FROM objects('nope')", "`nope` is no branch, tag or commit"),
        ("SELECT * FROM objects(1)", "objects('REF' [, 'PREFIX'])"),
        ("SELECT * FROM diff('main')", "diff('A', 'B' [, 'PREFIX'])"),
        ("SELECT * FROM nothing", "nothing"),
    ] {
        let outcome = door.command(&["--output", "json", "sql", &bare(&door), query]).run().expect_code(2);
        let error = &outcome.json()["error"];
        assert_eq!(error["kind"], "usage", "{query}");
        assert!(error["message"].as_str().unwrap().contains(said), "{query}: {outcome}");
    }
    assert!(!file.exists());
}
