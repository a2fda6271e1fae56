//! Several writers of one lake: no commit is lost, and who comes late is told.

use std::{collections::BTreeSet, time::Duration};

use millrace_tests::s3::{Fault, Rule, RuleId, Target};

use super::{BOTH, BUCKET, Bed, PREFIX, Place, listed};

/// What happens to the next change of the refs.
fn at_manifest(bed: &Bed, fault: Fault) -> RuleId {
    let key = format!("{PREFIX}/_lakefs/refs_manifest.json");
    bed.server.fault(Rule::new(Target::on("PutObject").bucket(BUCKET).key(&key), fault).nth(1))
}

fn wait_for(bed: &Bed, rule: RuleId) {
    while bed.server.hits(rule) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn of_two_commits_to_a_branch_one_wins_and_the_other_can_be_retried() {
    let bed = Bed::with_lake(Place::Bucket);
    let slow = bed.files("slow", &[("slow", "1")]);
    let fast = bed.files("fast", &[("fast", "1")]);
    let rule = at_manifest(&bed, Fault::Delay(Duration::from_secs(2)));
    let late = bed.commit_of("main", &slow, "slow").spawn();
    wait_for(&bed, rule);
    let winner = bed.commit_of("main", &fast, "fast").run().expect_code(0).json();
    let outcome = late.wait().expect_code(3);
    let error = &outcome.json()["error"];
    assert_eq!(error["kind"], "guard");
    assert!(error["message"].as_str().unwrap().contains(winner["commit"].as_str().unwrap()), "{outcome}");
    assert!(error["help"].as_str().unwrap().contains("run the same command again"), "{outcome}");
    assert_eq!(bed.ls("main"), listed(&[("fast", "1")]));
    bed.commit_of("main", &slow, "slow").run().expect_code(0);
    assert_eq!(bed.ls("main"), listed(&[("slow", "1")]));
    let messages: Vec<_> = bed.log("main").iter().map(|commit| commit["message"].clone()).collect();
    assert_eq!(messages, ["slow", "fast", "Repository created"]);
}

#[test]
fn commits_to_two_branches_do_not_hinder_each_other() {
    let bed = Bed::with_lake(Place::Bucket);
    bed.branch("main", "dev");
    let (one, two) = (bed.files("one", &[("one", "1")]), bed.files("two", &[("two", "2")]));
    let rule = at_manifest(&bed, Fault::Delay(Duration::from_secs(2)));
    let late = bed.commit_of("main", &one, "one").spawn();
    wait_for(&bed, rule);
    bed.commit_of("dev", &two, "two").run().expect_code(0);
    late.wait().expect_code(0);
    assert_eq!(bed.ls("main"), listed(&[("one", "1")]));
    assert_eq!(bed.ls("dev"), listed(&[("two", "2")]));
}

#[test]
fn a_lost_acknowledgement_is_no_lost_commit() {
    for fault in [Fault::Reset { applied: true }, Fault::error_but_applied(500, "InternalError")] {
        let bed = Bed::with_lake(Place::Bucket);
        let rule = at_manifest(&bed, fault);
        let report = bed.commit("main", &[("a", "1")]);
        assert_eq!(bed.server.hits(rule), 1);
        assert_eq!(bed.head("main"), report["commit"]);
        assert_eq!(bed.log("main").len(), 2);
    }
}

#[test]
fn a_change_that_was_not_made_is_told() {
    let bed = Bed::with_lake(Place::Bucket);
    let before = bed.manifest();
    at_manifest(&bed, Fault::error(500, "InternalError"));
    let folder = bed.files("files", &[("a", "1")]);
    let outcome = bed.commit_of("main", &folder, "m").run().expect_code(4);
    assert!(outcome.json()["error"]["help"].is_string(), "{outcome}");
    assert_eq!(bed.manifest(), before);
    bed.commit_of("main", &folder, "m").run().expect_code(0);
}

#[test]
fn many_writers_at_once_lose_nothing() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let folders: Vec<_> = (0..6).map(|i| bed.files(&format!("f{i}"), &[("same", &format!("{i}"))])).collect();
        let running: Vec<_> =
            folders.iter().enumerate().map(|(i, folder)| bed.commit_of("main", folder, &format!("{i}")).spawn()).collect();
        let outcomes: Vec<_> = running.into_iter().map(millrace_tests::run::Running::wait).collect();
        let won: BTreeSet<_> = (0..6).filter(|i| outcomes[*i].code == 0).collect();
        assert!(!won.is_empty(), "{place:?}: somebody wins");
        for (i, outcome) in outcomes.iter().enumerate().filter(|(i, _)| !won.contains(i)) {
            assert_eq!(outcome.code, 3, "{place:?} {i}: {outcome}");
        }
        let log = bed.log("main");
        let logged: BTreeSet<usize> = log.iter().filter_map(|commit| commit["message"].as_str()?.parse().ok()).collect();
        assert_eq!(logged, won, "{place:?}: what was acknowledged is there, and nothing else");
        assert_eq!(log.len(), won.len() + 1, "{place:?}");
        for (i, folder) in folders.iter().enumerate().filter(|(i, _)| !won.contains(i)) {
            bed.commit_of("main", folder, &format!("{i}")).run().expect_code(0);
        }
        assert_eq!(bed.log("main").len(), 7, "{place:?}");
    }
}

#[test]
fn branches_made_at_once_are_all_there() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let running: Vec<_> = (0..6).map(|i| bed.lake("branch", &bed.url("main")).arg(format!("b{i}")).spawn()).collect();
        for running in running {
            running.wait().expect_code(0);
        }
        assert_eq!(bed.millrace(&["refs", &bed.url("")]).run().json_lines().len(), 7, "{place:?}");
    }
}
