//! `kill -9` while a chain of receipts is folded, and while what nobody needs any more is collected.

use std::{collections::BTreeSet, thread, time::Duration};

use millrace_tests::s3::{Fate, Fault, Rule, Target, Victim};

use super::{Bed, fixed_commits, want::Want};
use crate::export::{BUCKET, Place};

const KEEP: [&str; 2] = ["--keep-receipts", "2"];

/// The folders of receipts, and those that have a document.
fn receipts(bed: &Bed) -> (BTreeSet<String>, BTreeSet<String>) {
    let keys = bed.stage.own_keys();
    let below = keys.iter().filter_map(|key| key.strip_prefix("_millrace/receipts/")?.split_once('/'));
    let (mut all, mut whole) = (BTreeSet::new(), BTreeSet::new());
    for (folder, file) in below {
        all.insert(folder.to_owned());
        if file == "receipt.json" {
            whole.insert(folder.to_owned());
        }
    }
    (all, whole)
}

fn is_proved(bed: &Bed, label: &'static str) {
    let source = bed.stage.source(label);
    let report = bed.millrace("verify").args([&bed.stage.destination(), "--against", &source]).run().expect_code(0).json();
    assert_eq!((&report["state"], &report["foreign"]), (&"equal".into(), &0.into()), "{report}");
}

/// Three commits, of which the third folds; its run is killed at that request.
fn killed(name: &str, target: impl Fn(u64) -> (Target, u64)) {
    let bed = Bed::new(fixed_commits(10), Place::Bucket);
    let server = &bed.stage.server;
    bed.exported(Want::all("A"), &KEEP);
    bed.exported(Want::all("B"), &KEEP);
    let before = server.snapshot();
    server.clear_log();
    bed.exported(Want::all("C"), &KEEP);
    assert!(bed.stage.own_keys().iter().any(|key| key.ends_with("state.parquet")), "it does not fold");
    let (target, n) = target(server.log().of("DeleteObjects").len() as u64);
    for fate in [Fate::Lost, Fate::Applied, Fate::Late(Duration::from_millis(300))] {
        server.restore(before.clone());
        bed.checker.forget_leases();
        server.clear_log();
        let victim = Victim::default();
        let rule = server.fault(Rule::new(target.clone(), Fault::kill(&victim, fate)).nth(n));
        let running = bed.export(Want::all("C"), &KEEP).spawn();
        victim.is(running.id());
        assert_eq!(running.wait().code, -1, "{name} {fate:?}");
        assert_eq!(server.hits(rule), 1);
        server.clear_faults();
        bed.exported(Want::all("C"), &KEEP);
        is_proved(&bed, "C");
        // The chain goes on from there, and nothing is left of what was begun.
        bed.exported(Want::all("D"), &KEEP);
        is_proved(&bed, "D");
        let (all, whole) = receipts(&bed);
        assert_eq!(all, whole, "{name} {fate:?}: a receipt without its document");
        assert!(all.len() <= 3, "{name} {fate:?}: {all:?}");
        server.assert_no_violations();
    }
}

#[test]
fn a_run_that_folds_and_collects_is_killed() {
    let put = |suffix: &'static str, n: u64| move |_: u64| (Target::on("PutObject").bucket(BUCKET).suffix(suffix), n);
    thread::scope(|scope| {
        scope.spawn(move || killed("changes", put("changes.parquet", 1)));
        scope.spawn(move || killed("state", put("state.parquet", 1)));
        scope.spawn(move || killed("document", put("receipt.json", 1)));
        scope.spawn(move || killed("commit point", put("HEAD.json", 3)));
        scope.spawn(|| killed("collecting", |deletes| (Target::on("DeleteObjects").bucket(BUCKET), deletes)));
    });
}
