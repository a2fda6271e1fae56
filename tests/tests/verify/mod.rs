//! `verify`: what differs is found and named, and nothing else; `--repair` mends that, and touches nothing else.

mod chain;
mod claims;
mod corruptions;
mod mending;

use std::collections::BTreeSet;

use millrace_tests::run::Outcome;
use serde_json::Value;

use crate::export::{Place, Stage};
use crate::made::{MadeLake, Objects};

/// Two commits: the second removes every fifth key and changes every seventh.
fn two_commits() -> MadeLake {
    let key = |i: usize| format!("tables/t{}/part-{i:04}.csv", i % 6);
    let body = |i: usize, version: &str| format!("{version} of {i}, {}", "x".repeat(i % 40)).into_bytes();
    let before: Objects = (0..1000).map(|i| (key(i), body(i, "one"))).collect();
    let version = |i: usize| if i.is_multiple_of(7) { "two" } else { "one" };
    let after: Objects = (0..1000).filter(|i| *i % 5 != 0).map(|i| (key(i), body(i, version(i)))).collect();
    MadeLake::new(200, &[("before", &before), ("after", &after)])
}

/// A lake of two commits, both exported one after the other.
fn stage(from: Place, to: Place) -> (Stage, MadeLake) {
    let lake = two_commits();
    let stage = Stage::of(lake.clone(), from, to);
    stage.exported("before", &[]);
    stage.exported("after", &[]);
    (stage, lake)
}

fn verify(stage: &Stage, options: &[&str]) -> Outcome {
    stage.millrace("verify").arg(stage.destination()).args(options).run()
}

#[track_caller]
fn equal(stage: &Stage, options: &[&str]) -> Value {
    let report = verify(stage, options).expect_code(0).json();
    assert_eq!((&report["state"], &report["differences"]), (&"equal".into(), &0.into()), "{report}");
    report
}

/// The keys that a report names, with what is said of each.
fn found(report: &Value, kind: &str) -> BTreeSet<String> {
    let found = report["found"].as_array().unwrap().iter().filter(|d| d["kind"] == kind);
    found.map(|d| d["key"].as_str().unwrap().to_owned()).collect()
}
