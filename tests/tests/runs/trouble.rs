//! Disks that are full, destinations that cannot be written, credentials that are taken back: a clear end, and the same
//! command goes on when the trouble is over.

use std::time::Duration;

use millrace_tests::{disk::SmallDisk, s3::Target};
use serde_json::json;

use super::{Bed, fixed_commits, two::until, want::Want};
use crate::{
    export::{BUCKET, Place, failure},
    made::Objects,
};

#[test]
fn a_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount(1024) else { return };
    let objects = |from: u8| -> Objects { (from..60).map(|n| (format!("many/{n:02}"), vec![n; 40_000])).collect() };
    let bed = Bed::new(vec![("A", objects(58)), ("B", objects(0))], Place::Folder);
    let to = disk.path().join("out");
    let export = |label| {
        let command = bed.millrace("export").args([bed.source(Want::all(label)), to.display().to_string()]);
        command.args(super::PATIENCE).run()
    };
    export("A").expect_code(0);
    let full = export("B");
    let report = full.json();
    assert!(full.code == 1 || full.code == 4, "{full}");
    assert_eq!(report["state"], "failed", "{full}");
    let said = report.to_string();
    assert!(said.contains("No space left") || said.contains("full"), "{full}");
    let there = || millrace_tests::tree::folder_tree(&to);
    assert!(!there().keys().any(|key| key.ends_with("_SUCCESS")), "{:?}", there().keys());
    disk.grow(8192);
    let outcome = export("B").expect_code(0);
    assert_eq!(millrace_tests::tree::data_only(there()), bed.objects(Want::all("B")), "{outcome}");
}

#[test]
fn a_destination_whose_data_is_read_only_says_failure() {
    let bed = Bed::new(fixed_commits(20), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    for prefix in ["out/a", "out/b", "out/c", "out/_SUCCESS"] {
        bed.stage.server.deny(Target::on("write").bucket(BUCKET).prefix(prefix));
    }
    bed.stage.server.deny(Target::on("DeleteObjects").bucket(BUCKET));
    let outcome = bed.export(Want::all("B"), &[]).run();
    let report = outcome.json();
    assert!(outcome.code == 4 || outcome.code == 1, "{outcome}");
    assert_eq!(report["state"], "failed", "{outcome}");
    let there: Vec<_> = bed.stage.status_markers().into_keys().collect();
    assert_eq!(there, [failure(&bed.stage.lake.commit("B").id)], "{outcome}");
    assert!(report["error"]["help"].is_string(), "{outcome}");
    bed.stage.server.clear_denials();
    bed.exported(Want::all("B"), &[]);
    bed.stage.server.assert_no_violations();
}

#[test]
fn credentials_that_are_taken_back_in_the_middle() {
    let bed = Bed::new(fixed_commits(60), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    let server = &bed.stage.server;
    server.clear_log();
    server.latency(Duration::from_millis(20));
    let command = bed.export(Want::all("B"), &["--full", "--concurrency", "2", "--lease-ttl", "6s"]);
    let name = bed.last_name();
    let running = command.spawn();
    until("it copies", || server.log().of("CopyObject").len() > 10);
    server.remove_key(&name);
    let ended = running.wait();
    server.latency(Duration::ZERO);
    let report = ended.json();
    assert!(ended.code == 4 || ended.code == 1, "{ended}");
    assert_eq!(report["state"], "failed", "{ended}");
    assert!(report["error"]["message"].is_string() && report["error"]["help"].is_string(), "{ended}");
    assert!(bed.stage.status_markers().is_empty());
    let outcome = bed.exported(Want::all("B"), &["--full"]);
    assert_eq!(json!(outcome.json()["run"]), report["run"], "it went on: {outcome}");
    server.assert_no_violations();
}

#[test]
fn a_run_that_could_not_write_its_record_is_not_lost() {
    let bed = Bed::new(fixed_commits(20), Place::Bucket);
    bed.exported(Want::all("A"), &[]);
    let server = &bed.stage.server;
    server.deny(Target::on("CopyObject").prefix("out/bulk/01"));
    bed.export(Want::all("B"), &["--full"]).run().expect_code(1);
    server.clear_denials();
    server.deny(Target::on("write").bucket(BUCKET).suffix("run.json"));
    let ended = bed.export(Want::all("B"), &["--full"]).run();
    assert!(ended.code == 4 || ended.code == 0, "{ended}");
    server.clear_denials();
    bed.exported(Want::all("B"), &["--full"]);
    server.assert_no_violations();
}
