//! What copying costs when nothing goes wrong, read from the servers' logs.

use std::collections::BTreeMap;

use millrace_tests::{
    lakes::Lake,
    run::Millrace,
    s3::{Body, Log, Object, S3Server},
};
use worker::CopySpec;

use super::{Place, PlanRow, Stage, pattern};
use crate::made::{MadeLake, Objects};

const MANY: usize = 2000;

fn small(stage: &Stage, place: Place, count: usize) -> Vec<PlanRow> {
    let object = |at: usize| Object::new(pattern(100 + at % 50, at as u64)).with_content_type("text/x");
    (0..count).map(|at| stage.put(place, &format!("data/{at:05}"), object(at))).collect()
}

fn counts(log: &Log) -> BTreeMap<String, usize> {
    log.counts()
}

fn only(operation: &str, count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(operation.to_owned(), count)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_inside_a_store_is_one_request_and_moves_no_payload() {
    let stage = Stage::new().await;
    let rows = small(&stage, Place::Src, MANY);
    let ends = stage.run(&CopySpec::new(stage.location(Place::Near)), &rows).await;
    assert!(ends.values().all(|end| end.ok && end.proof.as_deref() == Some("md5")));
    let log = stage.here.log();
    assert_eq!(counts(&log), only("CopyObject", MANY));
    assert_eq!((log.payload().0, stage.registry.payload_bytes(), stage.registry.requests()), (0, 0, (MANY as u64, 0)));
    // Pinned, every one.
    assert!(log.iter().all(|op| op.conditions.contains_key("x-amz-copy-source-if-match")));
    assert_eq!(stage.bytes(Place::Near, "data/00042"), stage.bytes(Place::Src, "data/00042"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_copy_is_one_request_at_each_store() {
    let stage = Stage::new().await;
    let rows = small(&stage, Place::Src, 200);
    let ends = stage.run(&CopySpec::new(stage.location(Place::Far)), &rows).await;
    assert!(ends.values().all(|end| end.ok && end.proof.as_deref() == Some("md5")));
    assert_eq!((counts(&stage.here.log()), counts(&stage.there.log())), (only("GetObject", 200), only("PutObject", 200)));
    let put = stage.there.get("far", "data/00007").unwrap();
    assert_eq!((put.content_type.as_deref(), put.checksums.len()), (Some("text/x"), 1));
    assert!(put.checksums.contains_key("x-amz-checksum-crc64nvme"));

    stage.there.clear_log();
    let rows = small(&stage, Place::Folder, 200);
    let ends = stage.run(&CopySpec::new(stage.location(Place::Far)), &rows).await;
    assert!(ends.values().all(|end| end.ok && end.proof.as_deref() == Some("md5")));
    assert_eq!(counts(&stage.there.log()), only("PutObject", 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_huge_is_copied_in_parts_at_once_and_keeps_what_is_said_of_it() {
    let stage = Stage::new().await;
    let size: u64 = 12 << 30;
    let object = Object::new(Body::sparse(size, 3))
        .with_etag(&format!("{}-1500", "ab".repeat(16)))
        .with_content_type("video/x-long")
        .with_metadata("owner", "crm");
    let row = stage.put(Place::Src, "huge", object);
    stage.here.latency(std::time::Duration::from_millis(50));
    let end = stage.run_one(&CopySpec::new(stage.location(Place::Near)), &row).await;
    assert!(end.ok && end.bytes == i64::try_from(size).unwrap(), "{end:?}");
    let there = stage.here.get("near", "huge").unwrap();
    assert_eq!((there.body.len(), there.content_type.as_deref()), (size, Some("video/x-long")));
    assert_eq!(there.metadata["owner"], "crm");
    let bytes = |body: &Body| body.slice((11 << 30)..(11 << 30) + 1000).to_bytes();
    assert_eq!(bytes(&there.body), bytes(&Body::sparse(size, 3)));
    let log = stage.here.log();
    let parts = log.of("UploadPartCopy");
    // What the answers hold is their own text.
    assert_eq!((parts.len(), log.len(), log.payload().1 < 20_000), (48, 48 + 3, true), "{log}");
    // At once: some part was asked for before an earlier one had its answer.
    let first = parts.iter().filter_map(|op| op.ended).min().unwrap();
    assert!(parts.iter().filter(|op| op.started < first).count() >= 4);
    assert_eq!(stage.registry.payload_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_parts_are_always_enough() {
    let stage = Stage::new().await;
    stage.there.smallest_part(1);
    let row = stage.put(Place::Src, "k", Object::new(pattern(30_000, 1)));
    let spec = CopySpec { multipart_threshold: 1, part_size: 1, ..stage.spec(Place::Far) };
    assert!(stage.run_one(&spec, &row).await.ok);
    assert_eq!(stage.there.log().of("UploadPart").len(), 10_000);
    assert_eq!(stage.bytes(Place::Far, "k").unwrap(), pattern(30_000, 1));
}

/// Copies, changes and deletes through the binary, from bucket to bucket: what each asks of the stores.
#[test]
fn an_export_asks_once_for_what_changed_and_for_nothing_else() {
    let some = |from: usize, to: usize, word: &str| -> Objects {
        (from..to).map(|at| (format!("data/{at:05}"), format!("{word} {at} ").repeat(200).into_bytes())).collect()
    };
    let first = some(0, 2500, "first");
    // 1,000 of them are gone, 5 are others, 1,495 stay.
    let mut second = some(1000, 2500, "first");
    second.extend(some(1000, 1005, "second"));
    let lake = MadeLake::new(500, &[("first", &first), ("second", &second)]);
    let server = S3Server::with_buckets(&["dest"]);
    Lake::load(&lake, &server);
    let export = |label: &str, copied: usize, deleted: usize| {
        server.clear_log();
        let source = format!("lake+s3://lake/{}?ref={}", lake.name, lake.commit(label).id);
        let words = ["export", &source, "s3://dest/out", "--output", "json", "--force"];
        let outcome = Millrace::new().s3(&server).args(words).run().expect_code(0);
        let (log, report) = (server.log(), outcome.json());
        assert_eq!((&report["copied"], &report["deleted"]), (&copied.into(), &deleted.into()), "{outcome}");
        assert_eq!(log.of("CopyObject").len(), copied);
        let batches = log.of("DeleteObjects").for_prefix("dest", "out/data/").len();
        assert_eq!(batches, deleted.div_ceil(1000));
        let data = log.filter(|op| op.touches("dest", "out/data/") || op.touches("lake", &format!("{}/data/", lake.name)));
        // Where there is a base, one look for a marker of somebody else's into each changed folder: there is one, and the root.
        let looks = log.of("HeadObject").filter(|op| op.key.ends_with("/_SUCCESS"));
        assert_eq!(looks.len(), if deleted > 0 { 2 } else { 0 }, "{looks}");
        let data = data.filter(|op| op.operation != "HeadObject" || !op.key.ends_with("/_SUCCESS"));
        assert_eq!(data.len(), copied + batches, "{data}");
        assert!(
            !log.iter().any(|op| op.bucket == "lake" && (op.operation.starts_with("List") || op.operation.starts_with("Head")))
        );
        assert_eq!(report["requests"]["data"], copied + batches, "{outcome}");
        // No payload of an object passes through the client: what does is Millrace's own, and the lake's metadata.
        let copies = data.of("CopyObject").payload();
        assert!(copies.0 == 0 && copies.1 <= 400 * copied as u64, "{copies:?} bytes for answers of less than 400 each");
        let control = report["requests"]["control"].as_u64().unwrap();
        let seconds = report["elapsed_ms"].as_u64().unwrap() / 1000 + 1;
        assert!(control <= 30 + 2 * seconds + 2 * 4, "{control} control requests");
    };
    export("first", 2500, 0);
    export("second", 5, 1000);
    export("second", 0, 0);
}
