//! Commits without changes, commits without objects, and branches with everything deleted.

use super::{Effect, Place, Stage, success};

/// The keys of Millrace's own that an export without data writes, with ids taken out.
fn own_writes(stage: &Stage) -> Vec<String> {
    let written = stage.effects().into_iter().filter(Effect::is_write);
    let mut names: Vec<_> = written.map(|effect| effect.key().rsplit('/').next().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_commit_without_changes_gets_its_marker_and_receipt_without_a_data_request() {
    let stage = Stage::s3("orders");
    stage.exported("reverted", &[]);
    let before = stage.data();
    stage.server.clear_log();
    let report = stage.exported("nothing", &[]);
    assert_eq!(report["requests"]["data"], 0);
    assert_eq!(report["ranges"]["opened"], 0);
    assert_eq!((&report["copied"], &report["deleted"], &report["retracted"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(report["unchanged"], 343);
    assert!(stage.effects().iter().all(Effect::is_own), "{:?}", stage.effects());
    assert_eq!(stage.data(), before);
    stage.assert_success("nothing");
    let head = stage.head();
    assert_eq!(head["current"]["commit"], stage.lake.commit("nothing").id.as_str());
    assert_eq!(head["current"]["receipt"], report["receipt"]);
    assert!(stage.own_keys().contains(&format!("{}/receipt.json", report["receipt"].as_str().unwrap())));
    assert_eq!(stage.server.log().for_prefix("lake", "orders/data/").len(), 0);
}

#[test]
fn the_first_commit_of_a_repository_has_no_objects_and_is_proved_all_the_same() {
    for to in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("orders", Place::Bucket, to);
        let report = stage.exported("empty", &[]);
        assert_eq!((&report["copied"], &report["unchanged"], &report["requests"]["data"]), (&0.into(), &0.into(), &0.into()));
        assert!(stage.data().is_empty());
        stage.assert_success("empty");
        if to == Place::Bucket {
            let commit = &stage.lake.commit("empty").id;
            let mut expected =
                vec!["HEAD.json".to_owned(), "plan.json".to_owned(), "receipt.json".to_owned(), "run.json".to_owned()];
            expected.insert(0, success(commit));
            assert_eq!(own_writes(&stage), expected);
        }
        stage.exported("load", &[]);
        assert_eq!(stage.data(), stage.expected("load"));
    }
}

#[test]
fn an_emptied_branch_does_not_empty_a_destination_unless_that_is_said() {
    for to in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("orders", Place::Folder, to);
        stage.put_foreign("logs/foreign.txt", "not ours");
        stage.exported("head", &[]);
        let (before, stamps) = (stage.tree(), stage.stamps());
        let refused = stage.export("all-deleted", &[]).expect_code(3).json();
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("is empty") && message.contains("343 objects"), "{message}");
        assert_eq!((stage.tree(), stage.stamps()), (before, stamps), "nothing was written");
        let report = stage.exported("all-deleted", &["--max-delete", "100%"]);
        assert_eq!((&report["deleted"], &report["retracted"], &report["unchanged"]), (&339.into(), &4.into(), &0.into()));
        assert_eq!(stage.data().into_keys().collect::<Vec<_>>(), ["logs/foreign.txt"]);
        stage.assert_success("all-deleted");
    }
}
