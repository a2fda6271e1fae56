//! A lake's ordinary life: made, committed to, branched, tagged, listed, compared, exported.

use serde_json::{Value, json};

use super::{BOTH, Bed, Place, counts, listed, tree};

const FIRST: &[(&str, &str)] = &[("a.csv", "1,2\n"), ("t/p=1/x.json", "{}"), ("t/p=1/_SUCCESS", ""), ("t/p=2/y.bin", "yy")];
const SECOND: &[(&str, &str)] = &[("a.csv", "1,3\n"), ("t/p=1/x.json", "{}"), ("t/p=1/_SUCCESS", ""), ("t/p=3/z.bin", "zzz")];

#[test]
fn three_commits_a_branch_and_a_tag_are_there_for_every_command() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        assert_eq!(bed.ls("main"), listed(&[]), "{place:?}");
        let first = bed.commit("main", FIRST);
        assert_eq!((counts(&first), first["bytes"].as_u64()), ([4, 0, 0, 0], Some(8)), "{place:?}");
        bed.lake("tag", &bed.url("main")).arg("v1").run().expect_code(0);
        let second = bed.commit("main", SECOND);
        assert_eq!((counts(&second), second["bytes"].as_u64()), ([1, 1, 1, 2], Some(7)), "{place:?}");
        assert_eq!(second["parent"], first["commit"]);
        bed.branch("main", "dev");
        bed.commit("dev", &[("only", "dev")]);

        assert_eq!(bed.ls("v1"), listed(FIRST));
        assert_eq!(bed.ls("main"), listed(SECOND));
        assert_eq!(bed.ls("dev"), listed(&[("only", "dev")]));
        assert_eq!(bed.ls("dev~2"), listed(FIRST));
        assert_eq!(bed.exported("main"), tree(SECOND));
        assert_eq!(bed.exported("v1"), tree(FIRST));
        let diff = bed.millrace(&["diff", &bed.url("v1"), &bed.url("main")]).run().expect_code(0).json_lines();
        let lines: Vec<_> = diff.iter().map(|line| (line["type"].as_str().unwrap(), line["path"].as_str().unwrap())).collect();
        assert_eq!(lines, [("changed", "a.csv"), ("removed", "t/p=2/y.bin"), ("added", "t/p=3/z.bin")], "{place:?}");
    }
}

#[test]
fn refs_are_the_truth_and_not_an_old_dump() {
    let bed = Bed::with_lake(Place::Folder);
    let head = bed.commit("main", FIRST)["commit"].clone();
    bed.branch("main~1", "old");
    let outcome = bed.millrace(&["refs", &bed.url("")]).run().expect_code(0);
    assert_eq!(outcome.stderr, "");
    let refs: Vec<_> = outcome.json_lines().iter().map(|line| (line["type"].clone(), line["id"].clone())).collect();
    assert_eq!(refs, [(json!("branch"), json!("main")), (json!("branch"), json!("old"))]);
    assert_eq!(outcome.json_lines()[0]["commit_id"], head);
}

#[test]
fn a_commit_holds_what_was_said_of_it() {
    let bed = Bed::with_lake(Place::Folder);
    let folder = bed.files("files", FIRST);
    let words = ["--meta", "job=42", "--meta", "a=b=c", "--committer", "nightly"];
    bed.commit_of("main", &folder, "first load").args(words).run().expect_code(0);
    let log = bed.log("main");
    assert_eq!(log[0]["message"], "first load");
    assert_eq!(log[0]["committer"], "nightly");
    assert_eq!(log[0]["metadata"], json!({"job": "42", "a": "b=c"}));
    assert_eq!(log[0]["generation"], 2);
    assert_eq!((&log[1]["message"], &log[1]["meta_range_id"]), (&json!("Repository created"), &json!("")));
    assert_eq!(log.len(), 2);
}

#[test]
fn entries_hold_type_time_and_an_address_of_their_own() {
    let bed = Bed::with_lake(Place::Folder);
    let folder = bed.files("files", FIRST);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    std::fs::File::options().write(true).open(bed.path("files/a.csv")).unwrap().set_modified(at).unwrap();
    bed.commit_of("main", &folder, "m").run().expect_code(0);
    let lines = bed.millrace(&["ls", &bed.url("main")]).run().json_lines();
    let object = |path: &str| lines.iter().find(|line| line["path"] == path).cloned().unwrap();
    let csv = object("a.csv");
    assert_eq!((&csv["content_type"], &csv["mtime"]), (&json!("text/csv"), &json!(1_600_000_000)));
    assert_eq!(object("t/p=1/x.json")["content_type"], "application/json");
    assert_eq!(object("t/p=1/_SUCCESS")["content_type"], "application/octet-stream");
    let address = csv["address"].as_str().unwrap();
    let inside = address.rsplit_once("/lake/").unwrap().1;
    let parts: Vec<_> = inside.split('/').collect();
    assert!(parts.len() == 3 && parts[0] == "data" && parts[1..].iter().all(|part| part.len() == 20), "{address}");
    assert_eq!(bed.stored()[inside], b"1,2\n");
}

#[test]
fn what_is_there_already_is_not_copied_again() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let first = bed.commit("main", FIRST);
        let before = bed.stored();
        // The same bytes in new files: other times, other inodes.
        let folder = bed.files("again", FIRST);
        let outcome = bed.commit_of("main", &folder, "again").run().expect_code(0);
        let report = outcome.json();
        assert_eq!((&report["state"], &report["commit"]), (&json!("unchanged"), &first["commit"]), "{outcome}");
        assert_eq!((counts(&report), report["bytes"].as_u64()), ([0, 0, 0, 4], Some(0)));
        assert_eq!(bed.stored(), before, "{place:?}: nothing was written");
        let report = bed.commit_of("main", &folder, "again").arg("--allow-empty").run().expect_code(0).json();
        assert_eq!((&report["state"], &report["parent"]), (&json!("committed"), &first["commit"]));
        let log = bed.log("main");
        assert_eq!(log[0]["meta_range_id"], log[1]["meta_range_id"]);
    }
}

#[test]
fn a_prefix_is_all_that_changes() {
    let bed = Bed::with_lake(Place::Bucket);
    for (key, text) in [("t", "file"), ("t/old", "1"), ("t/kept", "2"), ("tx/y", "3"), ("z", "4")] {
        bed.server.put("landing", &format!("in/{key}"), text, None, &[]);
    }
    bed.commit_of("main", "s3://landing/in", "whole").run().expect_code(0);
    let folder = bed.files("part", &[("kept", "2"), ("new/n", "5")]);
    let report = bed.commit_of("main", &folder, "part").args(["--prefix", "t"]).run().expect_code(0).json();
    assert_eq!(counts(&report), [1, 0, 1, 1]);
    assert_eq!(bed.ls("main"), listed(&[("t", "file"), ("t/kept", "2"), ("t/new/n", "5"), ("tx/y", "3"), ("z", "4")]));
    // The URL may say it as well.
    let url = format!("{}&prefix=tx/", bed.url("main"));
    bed.lake("commit", &url).args([&*bed.files("none", &[]), "-m", "m", "--allow-empty"]).run().expect_code(0);
    assert_eq!(bed.ls("main"), listed(&[("t", "file"), ("t/kept", "2"), ("t/new/n", "5"), ("z", "4")]));
}

#[test]
fn a_lake_can_be_emptied_and_filled_again() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", FIRST);
    let nothing = bed.files("files", &[]);
    let report = bed.commit_of("main", &nothing, "nothing").arg("--allow-empty").run().expect_code(0).json();
    assert_eq!((&report["state"], counts(&report)), (&json!("committed"), [0, 0, 4, 0]));
    assert_eq!(bed.ls("main"), listed(&[]));
    assert_eq!(bed.log("main")[0]["meta_range_id"].as_str().unwrap().len(), 64, "an empty tree is a tree");
    bed.commit("main", SECOND);
    assert_eq!(bed.exported("main"), tree(SECOND));
}

#[test]
fn a_prefix_of_a_bucket_is_committed_with_its_odd_keys_types_and_metadata() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let put = |key: &str, text: &str, kind: Option<&str>| {
            bed.server.put("landing", key, text.to_owned(), kind, &[("owner", "me")]);
        };
        put("in/a//b", "1", None);
        put("in/dir/", "", None);
        put("in/x.csv", "2", Some("text/tab-separated-values"));
        put("in/", "", None);
        put("other", "3", None);
        let outcome = bed.commit_of("main", "s3://landing/in", "landed").run().expect_code(0);
        assert_eq!(counts(&outcome.json()), [3, 0, 0, 0], "{outcome}");
        assert_eq!(bed.ls("main"), listed(&[("a//b", "1"), ("dir/", ""), ("x.csv", "2")]));
        let lines = bed.millrace(&["ls", &bed.url("main")]).run().json_lines();
        assert_eq!(lines[2]["content_type"], "text/tab-separated-values");
        assert_eq!(lines[2]["metadata"], json!({"owner": "me"}));
        bed.server.clear_log();
        bed.commit_of("main", "s3://landing/in", "landed").run().expect_code(0);
        let read: Vec<_> =
            bed.server.log().iter().filter(|op| op.operation == "GetObject" && op.bucket == "landing").cloned().collect();
        assert!(read.is_empty(), "etags tell that nothing differs: {read:?}");
    }
}

#[test]
fn an_exports_own_files_are_no_data() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", FIRST);
    let out = bed.path("out");
    bed.millrace(&["export", &bed.url("main"), out.to_str().unwrap()]).run().expect_code(0);
    let outcome = bed.commit_of("main", out.to_str().unwrap(), "back").run().expect_code(0);
    assert_eq!(outcome.json()["state"], "unchanged", "{outcome}");
    assert!(outcome.stderr.contains("left out"), "{outcome}");
}

#[test]
fn names_are_made_and_taken_away() {
    let bed = Bed::with_lake(Place::Bucket);
    let head = bed.commit("main", FIRST)["commit"].clone();
    let made = bed.lake("tag", &bed.url("main")).arg("v1.0").run().expect_code(0).json();
    let expected = json!({"lake": bed.url(""), "type": "tag", "id": "v1.0", "commit_id": head, "deleted": false});
    assert_eq!(made, expected);
    bed.branch("v1.0", "dev");
    assert_eq!(bed.head("dev"), head);
    let gone = bed.lake("branch", &bed.url("")).args(["dev", "--delete"]).run().expect_code(0).json();
    assert_eq!((&gone["deleted"], &gone["commit_id"]), (&Value::Bool(true), &head));
    bed.lake("tag", &bed.url("")).args(["v1.0", "-d"]).run().expect_code(0);
    let refs = bed.millrace(&["refs", &bed.url("")]).run().json_lines();
    assert_eq!(refs.len(), 1);
}

#[test]
fn people_are_told_what_happened() {
    let bed = Bed::new(Place::Folder);
    let said = |words: &[&str]| {
        let outcome = millrace_tests::run::Millrace::of(&bed.user).args(words).run().expect_code(0);
        outcome.stdout.lines().next().unwrap().replace(bed.dir.path().to_str().unwrap(), "")
    };
    let folder = bed.files("files", FIRST);
    assert_eq!(said(&["lake", "init", &bed.url("")]), "Made an empty lake at lake+file:///lake");
    let commit = ["lake", "commit", &bed.url("main"), &folder, "-m", "m"];
    assert_eq!(said(&commit), "Committed to main of lake+file:///lake");
    assert_eq!(said(&commit), "No changes: main of lake+file:///lake is equal to the folder");
    assert_eq!(said(&["lake", "branch", &bed.url("main"), "dev"]), "Made branch dev");
    assert_eq!(
        said(&["lake", "merge", &bed.url("dev"), "main"]),
        "Nothing to merge: dev has changed nothing that main does not have"
    );
}
