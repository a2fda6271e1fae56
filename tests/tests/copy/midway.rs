//! What changes while a run is under way: sources that go, are overwritten or denied, a bucket that is removed.

use std::time::Duration;

use millrace_tests::{
    lakes::Lake,
    run::Millrace,
    s3::{Fault, Object, Rule, S3Server, Target},
};
use worker::CopySpec;

use super::{End, Place, PlanRow, Stage, pattern};
use crate::made::{MadeLake, Objects};

/// What happens to the source once its copy is under way.
#[derive(Debug, Clone, Copy)]
enum Change {
    Overwritten,
    Deleted,
    Denied,
}

/// Copies an object whose `operation` is held up at its first meeting; meanwhile the source changes.
async fn copied(to: Place, in_parts: bool, operation: &str, held: Fault, change: Change) -> (Stage, End) {
    let stage = Stage::new().await;
    for server in [&stage.here, &stage.there] {
        server.smallest_part(1);
    }
    let row: PlanRow = stage.put(Place::Src, "k", Object::new(pattern(300_000, 1)));
    let rule = stage.here.fault(Rule::new(Target::on(operation), held).nth(1));
    let mut spec = CopySpec { stall_ms: 700, ..stage.spec(to) };
    if in_parts {
        (spec.multipart_threshold, spec.copy_in_parts_above) = (1, 1);
        (spec.part_size, spec.copy_part_size) = (100_000, 100_000);
    }
    let change = async {
        while stage.here.hits(rule) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match change {
            Change::Overwritten => drop(stage.put(Place::Src, "k", Object::new(pattern(300_000, 2)))),
            Change::Deleted => stage.here.delete("src", "k"),
            Change::Denied => stage.here.deny(Target::on("GetObject").bucket("src").key("k")),
        }
    };
    let (end, ()) = tokio::join!(stage.run_one(&spec, &row), change);
    (stage, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_while_it_is_copied_fails_by_name() {
    let stalled = || Fault::StallBody { after: 1000 };
    let silent = || Fault::Stall { applied: false };
    for (change, kind) in [(Change::Overwritten, "changed"), (Change::Deleted, "not_found"), (Change::Denied, "denied")] {
        for (to, in_parts, operation, held) in [
            (Place::Near, false, "CopyObject", silent()),
            (Place::Near, true, "UploadPartCopy", silent()),
            (Place::Far, false, "GetObject", stalled()),
            (Place::Far, true, "GetObject", stalled()),
            (Place::Folder, false, "GetObject", stalled()),
        ] {
            let (stage, end) = copied(to, in_parts, operation, held, change).await;
            assert_eq!(end.kind, kind, "{change:?} {to:?} {operation}: {end:?}");
            assert_eq!(stage.bytes(to, "k"), None, "{change:?} {to:?} {operation}");
            assert!(stage.here.open_uploads().is_empty() && stage.there.open_uploads().is_empty(), "{change:?} {operation}");
        }
    }
}

/// Runs an export to `s3://dest/out` with 20 ms of latency, and `meddles` once ten copies were asked for.
fn meddled(objects: usize, meddle: impl Fn(&S3Server) + Send) -> (S3Server, millrace_tests::run::Outcome) {
    let keys = (0..objects).map(|at| (format!("data/{at:04}"), format!("object {at}").into_bytes()));
    let lake = MadeLake::new(1000, &[("main", &keys.collect::<Objects>())]);
    let server = S3Server::with_buckets(&["dest"]);
    Lake::load(&lake, &server);
    server.latency(Duration::from_millis(20));
    let source = format!("lake+s3://lake/{}?ref=main", lake.name);
    let running =
        Millrace::new().s3(&server).args(["export", &source, "s3://dest/out", "--output", "json", "--concurrency", "4"]).spawn();
    while server.log().of("CopyObject").len() < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    meddle(&server);
    (server, running.wait())
}

#[test]
fn a_destination_whose_bucket_is_removed_is_out_of_reach() {
    let (server, outcome) = meddled(400, |server| server.remove_bucket("dest"));
    let outcome = outcome.expect_code(4);
    let report = outcome.json();
    assert_eq!(report["state"], "failed", "{outcome}");
    let error = format!("{} {}", report["error"]["message"], report["error"]["help"]);
    assert!(error.contains("s3://dest") && error.contains("bucket"), "{outcome}");
    // It is not asked for each of the many objects again and again.
    assert!(server.log().len() < 2000, "{} requests", server.log().len());
}

#[test]
fn sources_that_go_while_a_run_is_under_way_fail_alone() {
    let (server, outcome) = meddled(200, |server| {
        let all: Vec<String> = server.keys("lake", "").into_iter().filter(|key| key.contains("/data/")).collect();
        assert_eq!(all.len(), 200);
        for key in &all {
            server.delete("lake", key);
        }
    });
    let outcome = outcome.expect_code(1);
    let report = outcome.json();
    let (copied, failed) = (report["copied"].as_u64().unwrap(), report["failed"].as_u64().unwrap());
    assert!(copied >= 9 && copied + failed == 200, "{outcome}");
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("missing"), "{outcome}");
    assert_eq!(server.log().of("CopyObject").len(), 200, "a source that is gone is not asked for twice");
    assert!(server.keys("dest", "out/EXPORT_").iter().all(|key| key.ends_with("_FAILURE")));
}
