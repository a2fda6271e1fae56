//! What copying costs when nothing goes wrong, read from the servers' logs.

use std::collections::BTreeMap;

use millrace_tests::s3::{Body, Log, Object};
use worker::CopySpec;

use super::{PlanRow, Place, Stage, pattern};

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
