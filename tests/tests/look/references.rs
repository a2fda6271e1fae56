//! What a reference means is the same by every way: branches, tags, ids, steps back, dumps, bare metaranges; and which part
//! of a commit a prefix names.

use std::collections::BTreeSet;

use millrace_tests::{
    lakes::{ALL, Lake},
    run::Millrace,
};
use serde_json::{Value, json};

use super::{Door, Way};

const WAYS: [Way; 4] = [Way::Folder, Way::Bucket, Way::Server, Way::ServerAlone];

#[test]
fn refs_lists_branches_and_then_tags_each_by_name() {
    for name in ALL {
        for way in WAYS {
            let door = Door::open(name, way);
            let info = &door.lake.info;
            let line = |kind: &str, (id, commit): (&String, &String)| json!({ "type": kind, "id": id, "commit_id": commit });
            let branches = info.branches.iter().map(|branch| line("branch", branch));
            let expected: Vec<Value> = branches.chain(info.tags.iter().map(|tag| line("tag", tag))).collect();
            assert_eq!(door.json(&["refs", &door.url("main")]), expected, "{name} {way:?}");
        }
    }
    let door = Door::open("orders", Way::Folder);
    let bare = format!("lake+file://{}", door.lake.namespace().display());
    assert_eq!(door.field("id", &["refs", &bare]), ["dev", "emptied", "main", "release-2026-01", "v1", "v2"]);
}

#[test]
fn log_tells_every_commit_as_the_server_does_and_children_before_their_parents() {
    for name in ALL {
        for way in WAYS {
            let door = Door::open(name, way);
            let log = door.json(&["log", &door.url("main")]);
            let recorded = recorded_log(&door.lake);
            assert_eq!(log[..recorded.len()], recorded, "{name} {way:?}");
            let mut seen = BTreeSet::new();
            for commit in &log {
                let id = commit["id"].as_str().unwrap();
                if let Some(known) = door.lake.info.commits.values().find(|known| known.id == id) {
                    let mut known = json!(known);
                    known.as_object_mut().unwrap().remove("version");
                    assert_eq!(*commit, known, "{name} {way:?}");
                }
                let parents = commit["parents"].as_array().unwrap().iter();
                assert!(parents.clone().all(|parent| !seen.contains(parent.as_str().unwrap())), "{name} {way:?} {id}");
                assert!(seen.insert(id.to_owned()), "{id} comes twice");
            }
            let first = log.last().unwrap();
            assert_eq!((&first["generation"], &first["parents"]), (&json!(1), &json!([])), "{name} {way:?}");
        }
    }
}

/// The first page of `main`'s history as the server answered it, where that was recorded.
fn recorded_log(lake: &Lake) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.dir().join("api.jsonl")).unwrap();
    let path = format!("/repositories/{}/refs/main/commits", lake.name);
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answer = records.into_iter().find(|record| record["path"] == path.as_str());
    let mut commits = answer.map_or_else(Vec::new, |record| record["body"]["results"].as_array().unwrap().clone());
    for commit in &mut commits {
        commit.as_object_mut().unwrap().remove("version");
    }
    commits
}

#[test]
fn log_can_be_cut_and_can_follow_first_parents() {
    for way in WAYS {
        let door = Door::open("orders", way);
        let ids = |labels: &[&str]| labels.iter().map(|label| door.lake.commit(label).id.clone()).collect::<Vec<_>>();
        let url = door.url("main");
        let whole = ["head", "reverted", "merged", "dev-site", "metadata-only", "day4", "load", "empty"];
        assert_eq!(door.field("id", &["log", &url]), ids(&whole), "{way:?}");
        assert_eq!(door.field("id", &["log", &url, "-n", "2"]), ids(&whole[..2]), "{way:?}");
        let first: Vec<_> = whole.into_iter().filter(|label| *label != "dev-site").collect();
        assert_eq!(door.field("id", &["log", &url, "--first-parent"]), ids(&first), "{way:?}");
    }
}

#[test]
fn a_reference_means_one_commit_by_every_way() {
    let lake = Lake::named("orders");
    let id = |label: &str| lake.commit(label).id.clone();
    let table = [
        ("main", "head"),
        ("main@", "head"),
        ("dev", "dev-site"),
        ("v1", "load"),
        ("v2", "day4"),
        ("main~", "reverted"),
        ("main~0", "head"),
        ("main~2", "merged"),
        ("main~2^2", "dev-site"),
        ("main~2^2~1", "day4"),
        ("main~2^1", "metadata-only"),
        ("main^0", "head"),
        ("v2~1", "load"),
        ("v2~2", "empty"),
        ("dev~2", "load"),
    ];
    let ids = [(id("load")[..4].to_owned(), "load"), (id("day4")[..12].to_owned(), "day4"), (id("merged"), "merged")];
    let step = (format!("{}~1", &id("day4")[..8]), "load");
    let table = table.iter().map(|(text, label)| ((*text).to_owned(), *label)).chain(ids).chain([step]);
    for (reference, label) in table {
        for way in WAYS {
            let door = Door::open("orders", way);
            assert_eq!(door.field("id", &["log", &door.url(&reference), "-n", "1"]), [id(label)], "{reference} {way:?}");
        }
    }
}

#[test]
fn a_bare_metarange_can_be_listed_and_compared_with_a_ref() {
    let lake = Lake::named("orders");
    let folder = format!("lake+file://{}", lake.namespace().display());
    let url = |label: &str| format!("{folder}?metarange={}", lake.commit(label).meta_range_id);
    let lines = |words: &[&str]| Millrace::new().args(["--output", "json"]).args(words).run().expect_code(0).stdout;
    assert_eq!(lines(&["ls", &url("load")]), lines(&["ls", &lake.file_url("v1")]));
    assert_eq!(
        lines(&["diff", &url("load"), &lake.file_url("v2")]),
        lines(&["diff", &lake.file_url("v1"), &lake.file_url("v2")])
    );
    assert_eq!(lines(&["refs", &url("load")]), lines(&["refs", &folder]), "the metarange is no part of the question");
}

#[test]
fn a_dump_given_by_hand_is_read_instead_of_the_manifest() {
    let copy = Lake::named("orders").temp_copy();
    let manifest = copy.namespace().join("_lakefs/refs_manifest.json");
    let json: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // As `lakectl refs-dump` prints it, and as the server answers about the task.
    for (name, json) in [("dump.json", json.clone()), ("task.json", json!({ "id": "x", "done": true, "refs": json }))] {
        let file = folder.path().join(name);
        std::fs::write(&file, json.to_string()).unwrap();
        let url = format!("{}&dump={}", copy.file_url("v1"), file.display());
        let outcome = Millrace::new().args(["--output", "json", "ls", &url]).run().expect_code(0);
        assert_eq!(outcome.json_lines().len(), copy.objects("load").len(), "{name}");
    }
    let relative = format!("{}&dump=dump.json", copy.file_url("v1"));
    let outcome = Millrace::new().args(["log", &relative]).current_dir(folder.path()).run().expect_code(0);
    assert!(outcome.stdout.contains(&copy.commit("load").id), "{outcome}");
}

#[test]
fn prefixes_match_whole_segments() {
    for way in WAYS {
        let door = Door::open("orders", way);
        let all: Vec<_> = door.lake.objects("head").into_iter().map(|object| object.path).collect();
        let below = |folder: &str| all.iter().filter(|path| path.starts_with(folder)).cloned().collect::<Vec<_>>();
        let ls = |prefix: &str| door.field("path", &["ls", &door.part("main", prefix)]);
        assert_eq!(ls("tables/"), below("tables/"), "{way:?}");
        assert_eq!(ls("tables"), below("tables/"), "{way:?}");
        assert_eq!(ls("tables/orders/dt=2026-01-02"), below("tables/orders/dt=2026-01-02/"), "{way:?}");
        assert_eq!(ls("site/index.html"), ["site/index.html"], "{way:?}");
        let none = door.command(&["ls", &door.part("main", "tables/orders/dt=2026-01")]).run().expect_code(2);
        assert!(none.stderr.contains("there is nothing at `tables/orders/dt=2026-01`"), "{none}");
        assert_eq!(none.stdout, "", "{none}");
    }
    // `foo` is the object and what is below it, and never `foobar`.
    let door = Door::open("imported", Way::Folder);
    let at = |prefix: &str| door.field("path", &["ls", &format!("{}&prefix={prefix}", door.at("import-2"))]);
    assert_eq!(at("foobar"), ["foobar/keep.txt"]);
    let none = door.command(&["ls", &format!("{}&prefix=foo", door.at("import-2"))]).run().expect_code(2);
    assert!(none.stderr.contains("never foobar"), "{none}");
}

#[test]
fn a_prefix_of_a_diff_leaves_out_the_rest() {
    for way in WAYS {
        let door = Door::open("orders", way);
        let prefix = "tables/orders/dt=2026-01-01/";
        let expected: Vec<_> = door.lake.diff("load", "day4").into_iter().filter(|line| line.path.starts_with(prefix)).collect();
        let paths: Vec<_> = expected.iter().map(|line| line.path.clone()).collect();
        assert_eq!(paths.len(), 13, "day 1 goes with its marker");
        let found = door.field("path", &["diff", &door.part("v1", prefix), &door.part("v2", prefix)]);
        assert_eq!(found, paths, "{way:?}");
    }
}
