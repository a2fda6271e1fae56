//! The Spark exporter's own words.

use millrace_tests::{lakefs::FakeLakefs, run::Outcome, tree::data_only};

use super::{BUCKET, PREFIX, Stage, Tree};

/// `millrace export orders s3://…` with these words.
fn export(stage: &Stage, lakefs: &FakeLakefs, options: &[&str]) -> Outcome {
    stage.millrace("export").lakefs(lakefs).args(["orders", &stage.destination()]).args(options).run()
}

fn expected(stage: &Stage, label: &str) -> Tree {
    stage.expected(label)
}

#[test]
fn a_branch_means_a_full_copy_of_its_head() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    for _ in 0..2 {
        let report = export(&stage, &lakefs, &["--branch", "main"]).expect_code(0).json();
        assert_eq!((&report["commit"], &report["copied"]), (&stage.lake.commit("head").id.as_str().into(), &343.into()));
        assert_eq!(data_only(stage.tree()), expected(&stage, "head"));
        stage.assert_success("head");
    }
}

#[test]
fn a_commit_means_a_full_copy_of_it() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    let (load, day4) = (stage.lake.commit("load").id.clone(), stage.lake.commit("day4").id.clone());
    export(&stage, &lakefs, &["--commit-id", &load]).expect_code(0);
    let report = export(&stage, &lakefs, &["--commit_id", &day4]).expect_code(0).json();
    assert_eq!((&report["copied"], &report["deleted"]), (&343.into(), &12.into()));
    assert_eq!(data_only(stage.tree()), expected(&stage, "day4"));
}

#[test]
fn a_previous_commit_means_the_difference() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    let load = stage.lake.commit("load").id.clone();
    for (key, body) in stage.expected("load") {
        stage.server.put(BUCKET, &format!("{PREFIX}{key}"), body, None, &[]);
    }
    let report = export(&stage, &lakefs, &["--branch", "main", "--prev-commit-id", &load]).expect_code(0).json();
    assert_eq!((&report["base"], &report["copied"]), (&load.as_str().into(), &20.into()));
    assert_eq!(data_only(stage.tree()), expected(&stage, "head"));
    stage.assert_success("head");
}

#[test]
fn s3a_is_s3() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    let destination = stage.destination().replace("s3://", "s3a://");
    let export = stage.millrace("export").lakefs(&lakefs).args(["orders", &destination, "--branch", "main"]);
    let report = export.run().expect_code(0).json();
    assert_eq!(report["destination"], stage.destination());
    assert_eq!(data_only(stage.tree()), expected(&stage, "head"));
}

#[test]
fn words_that_contradict_each_other_are_refused() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    for words in [
        &["--branch", "main", "--commit-id", "c0ff"][..],
        &["--prev-commit-id", "c0ff"],
        &["--branch", "main", "--full"],
        &["--branch", "main", "--from", "v1"],
    ] {
        export(&stage, &lakefs, words).expect_code(2);
    }
    let both = stage.millrace("export").lakefs(&lakefs).args(["lakefs://orders/main", &stage.destination(), "--branch", "dev"]);
    both.run().expect_code(2);
    assert!(stage.tree().is_empty());
}
