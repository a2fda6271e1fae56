//! Selections may change from export to export: each time the destination is what a fresh export of that selection gives.

use super::{Place, Stage, Tree, is_marker};

type Options<'a> = &'a [&'a str];

/// Exports with one selection after the other, each compared with a fresh export.
fn each_equals_a_fresh_export(stage: &Stage, steps: &[(&str, Options<'_>)]) {
    stage.put_foreign("zz/foreign.txt", "not ours");
    for (number, (label, options)) in steps.iter().enumerate() {
        let report = stage.exported(label, &[*options, &["--max-delete", "100%"]].concat());
        let fresh = format!("fresh-{number}");
        let fresh_report = stage.export_to(label, &fresh, options).expect_code(0).json();
        let mut expected = millrace_tests::tree::data_only(stage.tree_of(&fresh));
        expected.insert("zz/foreign.txt".to_owned(), b"not ours".to_vec());
        assert_eq!(keys(&stage.data()), keys(&expected), "{label} {options:?}");
        assert_eq!(stage.data(), expected, "{label} {options:?}");
        stage.assert_success(label);
        let text = stage.status_markers().into_values().next().unwrap();
        let objects = expected.len() - 1;
        assert!(text.contains(&format!("\nobjects: {objects}\n")), "{text}");
        assert_eq!(text.contains("selection: "), !options.is_empty(), "{text}");
        assert_eq!(report["unchanged"].is_null(), !options.is_empty());
        assert_eq!(fresh_report["copied"], objects);
        let head = stage.head();
        assert_eq!(head["current"]["objects"], objects);
    }
}

fn keys(tree: &Tree) -> Vec<&String> {
    tree.keys().collect()
}

const NO_LOGS: Options<'static> = &["--exclude", "logs/**"];
const TABLES: Options<'static> = &["--include", "tables/**"];
const BIG: Options<'static> = &["--where", "size > 30 AND key NOT LIKE '%part-00005%'"];
const SMALL: Options<'static> = &["--where", "size < 10", "--exclude", "a/**"];

#[test]
fn filtered_unfiltered_and_filtered_again_in_a_folder() {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    each_equals_a_fresh_export(&stage, &[("load", NO_LOGS), ("load", &[]), ("load", NO_LOGS), ("day4", BIG), ("day4", &[])]);
}

#[test]
fn filtered_unfiltered_and_filtered_again_in_a_bucket() {
    let stage = Stage::s3("orders");
    let steps: [(&str, Options<'_>); 7] =
        [("load", TABLES), ("day4", &[]), ("day4", TABLES), ("merged", BIG), ("load", NO_LOGS), ("load", BIG), ("head", &[])];
    each_equals_a_fresh_export(&stage, &steps);
}

#[test]
fn the_same_selection_follows_the_commits() {
    let stage = Stage::s3("orders");
    each_equals_a_fresh_export(&stage, &[("load", BIG), ("day4", BIG), ("all-deleted", BIG), ("merged", BIG)]);
    each_equals_a_fresh_export(&Stage::s3("churn"), &[("c00", SMALL), ("c06", SMALL), ("c10", TABLES), ("c03", SMALL)]);
}

#[test]
fn a_marker_is_held_back_while_something_below_it_is_not_selected() {
    let stage = Stage::s3("orders");
    let markers = |stage: &Stage| stage.data().into_keys().filter(|key| is_marker(key)).collect::<Vec<_>>();
    let day = |day: u32| format!("tables/orders/dt=2026-01-0{day}/_SUCCESS");
    let report = stage.exported("load", &["--exclude", "logs/**", "--exclude", "*dt=2026-01-02/part-00000*"]);
    assert_eq!(markers(&stage), [day(1), day(2), day(3)], "the root's is held back");
    assert!(report["notes"][0].as_str().unwrap().contains("held back"), "{report}");
    let partly = ["--exclude", "tables/orders/dt=2026-01-02/part-00000.parquet"];
    stage.exported("load", &partly);
    assert_eq!(markers(&stage), [day(1), day(3)], "day 2's as well");
    stage.server.clear_log();
    stage.exported("load", &[]);
    assert_eq!(markers(&stage), ["_SUCCESS".to_owned(), day(1), day(2), day(3)], "all come when their holds end");
    let written = stage.effects().into_iter().filter(|effect| effect.is_write() && effect.is_data()).collect::<Vec<_>>();
    assert_eq!(super::keys_of(&written), [partly[1]], "only what was missing is copied");
}

#[test]
fn a_selection_that_did_not_change_opens_nothing_for_a_commit_without_changes() {
    let stage = Stage::s3("orders");
    stage.exported("reverted", TABLES);
    let objects = stage.head()["current"]["objects"].clone();
    stage.server.clear_log();
    let report = stage.exported("nothing", TABLES);
    assert_eq!(
        (&report["requests"]["data"], &report["copied"], &report["unchanged"]),
        (&0.into(), &0.into(), &serde_json::Value::Null)
    );
    assert_eq!(report["ranges"]["opened"], 0, "{report}");
    assert!(stage.effects().iter().all(super::Effect::is_own));
    stage.assert_success("nothing");
    assert_eq!(stage.head()["current"]["objects"], objects);
    let report = stage.export_to("nothing", "elsewhere", &["--include", "nowhere/**"]).expect_code(0).json();
    assert!(report["notes"].to_string().contains("nothing of the commit is selected"), "{report}");
}
