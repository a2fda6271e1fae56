//! Another part of the lake, or another lake, at a destination that has one already.

use millrace_tests::{lakes::Lake, run::Outcome};

use super::{Place, Stage, Tree};

/// Exports a part of `load`.
fn export_part(stage: &Stage, part: &str, options: &[&str]) -> Outcome {
    let source = format!("{}&prefix={part}", stage.source("load"));
    stage.millrace("export").arg(source).arg(stage.destination()).args(options).run()
}

/// The objects of `load` below a prefix, re-rooted.
fn part(stage: &Stage, prefix: &str) -> Tree {
    let tree = stage.expected("load").into_iter();
    tree.filter_map(|(key, body)| Some((key.strip_prefix(prefix)?.to_owned(), body))).collect()
}

#[track_caller]
fn assert_refused(stage: &Stage, outcome: Outcome, words: &[&str]) {
    let (tree, stamps) = (stage.tree(), stage.stamps());
    let report = outcome.expect_code(3).json();
    assert_eq!((&report["state"], &report["error"]["kind"]), (&"refused".into(), &"guard".into()));
    let said = format!("{} {}", report["error"]["message"], report["error"]["help"]);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!((stage.tree(), stage.stamps()), (tree, stamps));
}

fn two_parts(to: Place) {
    let stage = Stage::new("orders", Place::Folder, to);
    export_part(&stage, "tables/", &[]).expect_code(0);
    let tables = part(&stage, "tables/");
    assert_eq!(stage.data(), tables);
    let before = (stage.tree(), stage.stamps());
    let refused = export_part(&stage, "site/", &[]);
    assert_refused(&stage, refused, &["`tables/`", "`site/`", "--adopt", "--adopt=own"]);
    assert_eq!((stage.tree(), stage.stamps()), before, "nothing was written");

    let report = export_part(&stage, "site/", &["--adopt"]).expect_code(0).json();
    assert_eq!((&report["copied"], &report["deleted"]), (&2.into(), &0.into()));
    let site = part(&stage, "site/");
    let both: Tree = tables.iter().chain(&site).map(|(key, body)| (key.clone(), body.clone())).collect();
    assert_eq!(stage.data(), both, "the first's keys stay");
    stage.assert_success("load");
    assert_eq!(stage.head()["current"]["objects"], 2);

    let report = export_part(&stage, "tables/customers/", &["--adopt=own", "--force"]).expect_code(0).json();
    assert_eq!((&report["copied"], &report["deleted"]), (&1.into(), &2.into()));
    let mut left = tables;
    left.extend(part(&stage, "tables/customers/"));
    assert_eq!(stage.data(), left, "the second's keys are gone, the first's were foreign by then");
}

#[test]
fn a_second_part_of_a_lake_is_refused_or_adopted_in_a_folder() {
    two_parts(Place::Folder);
}

#[test]
fn a_second_part_of_a_lake_is_refused_or_adopted_in_a_bucket() {
    two_parts(Place::Bucket);
}

#[test]
fn taken_over_keys_that_the_new_part_lacks_are_deleted_and_foreign_ones_stay() {
    let stage = Stage::new("orders", Place::Folder, Place::Bucket);
    stage.put_foreign("foreign.txt", "not ours");
    export_part(&stage, "tables/", &[]).expect_code(0);
    let report = export_part(&stage, "tables/orders/", &["--adopt=own"]).expect_code(0).json();
    let mut expected = part(&stage, "tables/orders/");
    assert_eq!(report["copied"], expected.len());
    expected.insert("foreign.txt".to_owned(), b"not ours".to_vec());
    assert_eq!(stage.data(), expected);
    stage.assert_success("load");
    export_part(&stage, "tables/orders/", &["--full"]).expect_code(0);
    assert_eq!(stage.data(), expected);
}

#[test]
fn another_lake_is_refused_or_adopted() {
    let stage = Stage::new("orders", Place::Folder, Place::Bucket);
    export_part(&stage, "site/", &[]).expect_code(0);
    let gateway = Lake::named("gateway");
    let export =
        |options: &[&str]| stage.millrace("export").args([gateway.file_url("main"), stage.destination()]).args(options).run();
    let refused = export(&[]);
    assert_refused(&stage, refused, &["--adopt", "gateway"]);
    export(&["--adopt=own"]).expect_code(0);
    assert_eq!(stage.data(), millrace_tests::tree::expected_tree(&gateway, "through-the-gateway"));
}

#[test]
fn a_part_follows_its_commits() {
    let stage = Stage::s3("orders");
    for label in ["load", "day4", "merged", "load"] {
        let source = format!("{}&prefix=tables/orders/", stage.source(label));
        stage.millrace("export").args([source, stage.destination()]).run().expect_code(0);
        let tree = stage.expected(label).into_iter();
        let expected: Tree =
            tree.filter_map(|(key, body)| Some((key.strip_prefix("tables/orders/")?.to_owned(), body))).collect();
        assert_eq!(stage.data(), expected, "{label}");
        stage.assert_success(label);
    }
}

#[test]
fn an_object_that_is_named_exactly_keeps_its_last_segment() {
    let stage = Stage::s3("orders");
    export_part(&stage, "site/index.html", &[]).expect_code(0);
    assert_eq!(stage.data(), Tree::from([("index.html".to_owned(), b"<h1>v1</h1>".to_vec())]));
}
