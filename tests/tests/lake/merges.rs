//! Merges: what comes over, what conflicts, and what the commit says.

use serde_json::{Value, json};

use super::{BOTH, Bed, Place, counts, listed};

const BASE: &[(&str, &str)] = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];

/// Main and dev with one commit each since they parted.
fn parted(place: Place, main: &[(&str, &str)], dev: &[(&str, &str)]) -> Bed {
    let bed = Bed::with_lake(place);
    bed.commit("main", BASE);
    bed.branch("main", "dev");
    bed.commit("dev", dev);
    if main != BASE {
        bed.commit("main", main);
    }
    bed
}

fn merge(bed: &Bed, source: &str, branch: &str, options: &[&str]) -> millrace_tests::run::Outcome {
    bed.lake("merge", &bed.url(source)).arg(branch).args(options).run()
}

fn changes(report: &Value) -> [u64; 3] {
    ["added", "changed", "removed"].map(|name| report[name].as_u64().unwrap())
}

#[test]
fn changes_of_both_sides_come_together() {
    for place in BOTH {
        let bed = parted(
            place,
            &[("a", "main"), ("b", "1"), ("c", "1"), ("d", "1")],
            &[("a", "1"), ("b", "dev"), ("c", "1"), ("e", "dev")],
        );
        let (main, dev) = (bed.head("main"), bed.head("dev"));
        let outcome = merge(&bed, "dev", "main", &["--meta", "k=v"]).expect_code(0);
        let report = outcome.json();
        assert_eq!((&report["state"], changes(&report)), (&json!("committed"), [1, 1, 1]), "{outcome}");
        assert_eq!(bed.ls("main"), listed(&[("a", "main"), ("b", "dev"), ("c", "1"), ("e", "dev")]));
        let commit = &bed.log("main")[0];
        assert_eq!(commit["parents"], json!([main, dev]), "the destination comes first");
        assert_eq!(commit["message"], "Merge 'dev' into 'main'");
        assert_eq!(commit["metadata"], json!({"k": "v", ".lakefs.merge.strategy": "default"}));
        assert_eq!(commit["generation"], 4);
        assert_eq!(bed.ls("dev"), listed(&[("a", "1"), ("b", "dev"), ("c", "1"), ("e", "dev")]), "the source stays");
        // What was merged is common now: back into dev only main's part comes.
        let back = merge(&bed, "main", "dev", &["-m", "back"]).expect_code(0).json();
        assert_eq!(changes(&back), [0, 1, 0]);
        assert_eq!(bed.ls("dev"), bed.ls("main"));
        assert_eq!(bed.log("dev")[0]["message"], "back");
    }
}

#[test]
fn a_branch_that_could_be_moved_gets_a_commit_of_its_own() {
    let bed = parted(Place::Folder, BASE, &[("a", "dev")]);
    merge(&bed, "dev", "main", &[]).expect_code(0);
    let (main, dev) = (&bed.log("main")[0], &bed.log("dev")[0]);
    assert_ne!(main["id"], dev["id"]);
    assert_eq!(main["meta_range_id"], dev["meta_range_id"], "the source's tree, whole");
}

#[test]
fn nothing_to_merge_is_said_and_is_no_error() {
    let bed = parted(Place::Folder, &[("a", "main")], BASE_AND_E);
    let before = bed.manifest();
    for source in ["main~1", "main", "dev~1"] {
        let report = merge(&bed, source, "main", &[]).expect_code(0).json();
        assert_eq!((&report["state"], &report["commit"]), (&json!("unchanged"), &json!(bed.head("main"))), "{source}");
    }
    assert_eq!(bed.manifest(), before);
}

const BASE_AND_E: &[(&str, &str)] = &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")];

#[test]
fn conflicts_are_named_and_nothing_is_merged() {
    for place in BOTH {
        // a: both changed; b: changed and deleted; c: both the same; d: deleted and changed; e: both added.
        let main = &[("a", "main"), ("b", "main"), ("c", "2"), ("e", "main")];
        let dev = &[("a", "dev"), ("c", "2"), ("d", "dev"), ("e", "dev"), ("f", "dev")];
        let bed = parted(place, main, dev);
        let before = bed.stored();
        let outcome = merge(&bed, "dev", "main", &[]).expect_code(3);
        let report = outcome.json();
        assert_eq!(report["conflicts"], json!(["a", "b", "d", "e"]), "{outcome}");
        assert_eq!((&report["state"], &report["error"]["kind"]), (&json!("conflict"), &json!("guard")));
        assert!(report["error"]["help"].as_str().unwrap().contains("--strategy"), "{outcome}");
        assert_eq!(bed.stored(), before, "nothing was written");

        bed.branch("main", "copy");
        let report = merge(&bed, "dev", "copy", &["--strategy", "source-wins"]).expect_code(0).json();
        assert_eq!((report["resolved"].as_u64(), changes(&report)), (Some(4), [2, 2, 1]));
        assert_eq!(bed.ls("copy"), listed(dev));
        assert_eq!(bed.log("copy")[0]["metadata"][".lakefs.merge.strategy"], "source-wins");

        let report = merge(&bed, "dev", "main", &["--strategy", "dest-wins"]).expect_code(0).json();
        assert_eq!((report["resolved"].as_u64(), changes(&report)), (Some(4), [1, 0, 0]));
        assert_eq!(bed.ls("main"), listed(&[("a", "main"), ("b", "main"), ("c", "2"), ("e", "main"), ("f", "dev")]));
    }
}

#[test]
fn the_first_ten_conflicts_are_named() {
    let names: Vec<_> = (0..15).map(|i| format!("k{i:02}")).collect();
    let all = |text: &'static str| names.iter().map(|name| (name.as_str(), text)).collect::<Vec<_>>();
    let bed = parted(Place::Folder, &all("main"), &all("dev"));
    let outcome = millrace_tests::run::Millrace::of(&bed.user).args(["lake", "merge", &bed.url("dev"), "main"]).run();
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.stdout.lines().count(), 10, "{outcome}");
    assert!(outcome.stderr.contains("`k00`") && outcome.stderr.contains("`k09`, and more"), "{outcome}");
    assert!(!outcome.stderr.contains("k10"), "{outcome}");
}

#[test]
fn any_reference_can_be_merged_and_only_branches_merged_into() {
    let bed = parted(Place::Folder, BASE, &[("a", "dev")]);
    bed.lake("tag", &bed.url("dev")).arg("v1").run().expect_code(0);
    let dev = bed.head("dev");
    assert_eq!(merge(&bed, "v1", "main", &[]).expect_code(0).json()["source_commit"], dev);
    assert_eq!(counts(&json!({"added": 0, "changed": 0, "removed": 0, "unchanged": 0})), [0; 4]);
    for (source, branch, said) in [("nowhere", "main", "nowhere"), ("dev", "v1", "v1"), ("dev", "nowhere", "no branch")] {
        let outcome = merge(&bed, source, branch, &[]).expect_code(2);
        assert!(outcome.json()["error"]["message"].as_str().unwrap().contains(said), "{outcome}");
    }
}
