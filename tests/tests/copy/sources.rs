//! Sources that are not what the commit says: overwritten, gone, denied, encrypted, uploaded in parts.

use std::time::Duration;

use millrace_tests::s3::{Fault, Object, Rule, Target};
use worker::{CopySpec, OnDrift};

use super::{End, Place, PlanRow, Stage, pattern};

const TO: [Place; 3] = [Place::Near, Place::Far, Place::Folder];

/// Copies `row` to each place, where nothing is, and gives the ends.
async fn everywhere(stage: &Stage, row: &PlanRow, change: impl Fn(&mut CopySpec)) -> Vec<(Place, End)> {
    let mut ends = Vec::new();
    for to in TO {
        let mut spec = stage.spec(to);
        change(&mut spec);
        ends.push((to, stage.run_one(&spec, row).await));
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_source_fails_or_is_taken() {
    let stage = Stage::new().await;
    let row = stage.put(Place::Src, "k", Object::new("committed"));
    stage.put(Place::Src, "k", Object::new("what is there now"));
    for (to, end) in everywhere(&stage, &row, |_| {}).await {
        assert_eq!((end.kind.as_str(), stage.bytes(to, "k")), ("changed", None), "{end:?}");
        assert!(end.error.contains("was overwritten since the commit"), "{end:?}");
    }
    for (to, end) in everywhere(&stage, &row, |spec| spec.on_drift = OnDrift::Take).await {
        assert_eq!((end.proof.as_deref(), stage.bytes(to, "k").unwrap()), (Some("drifted"), "what is there now".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_or_denied_stops_no_other() {
    let stage = Stage::new().await;
    let mut rows: Vec<PlanRow> =
        (0..50).map(|at| stage.put(Place::Src, &format!("k{at:02}"), Object::new(pattern(500, at)))).collect();
    stage.here.delete("src", "k07");
    stage.here.deny(Target::on("GetObject").bucket("src").key("k09"));
    rows.push(PlanRow { source: None, key: "nowhere".to_owned(), ..rows[0].clone() });
    for to in TO {
        stage.here.clear_log();
        let ends = stage.run(&stage.spec(to), &rows).await;
        let failed: Vec<(&str, &str)> =
            ends.iter().filter(|(_, end)| !end.ok).map(|(key, end)| (key.as_str(), end.kind.as_str())).collect();
        assert_eq!(failed, [("k07", "not_found"), ("k09", "denied"), ("nowhere", "other")], "{to:?}");
        assert!(ends["k07"].error.contains("s3://src/k07") && ends["k07"].error.contains("`k07`"), "{:?}", ends["k07"]);
        // Neither is asked for twice.
        assert_eq!(stage.here.log().for_prefix("src", "k0").len(), 10, "{}", stage.here.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_overwritten_while_it_is_read_is_noticed() {
    let stage = Stage::new().await;
    let row = stage.put(Place::Src, "k", Object::new(pattern(300_000, 1)));
    let rule = stage.here.fault(Rule::new(Target::on("GetObject").key("k"), Fault::StallBody { after: 1000 }).nth(1));
    let spec = CopySpec { stall_ms: 500, ..stage.spec(Place::Far) };
    let overwrite = async {
        while stage.here.hits(rule) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.put(Place::Src, "k", Object::new(pattern(300_000, 2)));
    };
    let (end, ()) = tokio::join!(stage.run_one(&spec, &row), overwrite);
    assert_eq!((end.kind.as_str(), stage.bytes(Place::Far, "k")), ("changed", None), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_gone_on_with() {
    let stage = Stage::new().await;
    let row = stage.put(Place::Src, "k", Object::new(pattern(1_000_000, 1)));
    stage.here.fault(Rule::new(Target::on("GetObject").key("k"), Fault::Truncate { after: 400_000 }).first(2));
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert!(end.ok && end.proof.as_deref() == Some("md5"), "{end:?}");
    let log = stage.here.log();
    // What is asked for again is pinned as well.
    assert!(log.len() == 3 && log.iter().all(|op| op.conditions.contains_key("if-match")));
}

/// An object that KMS encrypted: its etag looks like an MD5.
fn encrypted(size: usize) -> Object {
    let mut object = Object::new(pattern(size, 1)).with_etag(&"5a".repeat(16));
    object.kms = true;
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_source_is_copied() {
    let stage = Stage::new().await;
    let row = stage.put(Place::Src, "k", encrypted(5000));
    for (to, end) in everywhere(&stage, &row, |_| {}).await {
        assert!(end.ok, "{end:?}");
        assert_eq!(stage.bytes(to, "k").unwrap(), pattern(5000, 1));
        // Inside the store it is pinned; here nothing is known of its bytes but their number.
        assert_eq!(end.proof.as_deref(), Some(if to == Place::Near { "etag" } else { "size" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_lakes_own_data_another_etag_of_the_same_size_is_the_committed_object() {
    let stage = Stage::new().await;
    let committed = Object::new(pattern(5000, 1));
    for object in [encrypted(5000), committed.clone().in_parts(2000)] {
        let row = stage.put(Place::Src, "ns/data/k", committed.clone());
        stage.put(Place::Src, "ns/data/k", object);
        let own = |spec: &mut CopySpec| spec.lake_data = Some(stage.location(Place::Src).join("ns/data/"));
        for (to, end) in everywhere(&stage, &row, own).await {
            assert!(end.ok, "{end:?}");
            assert_eq!((stage.bytes(to, "ns/data/k").unwrap(), end.proof.as_deref()), (pattern(5000, 1).into(), Some("md5")));
        }
    }
    // Of another size it is another object.
    let row = stage.put(Place::Src, "ns/data/k", committed);
    stage.put(Place::Src, "ns/data/k", encrypted(5001));
    let own = |spec: &mut CopySpec| spec.lake_data = Some(stage.location(Place::Src).join("ns/data/"));
    assert!(everywhere(&stage, &row, own).await.iter().all(|(_, end)| end.kind == "changed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_size_that_nobody_guesses_are_asked_for_or_read_twice() {
    let stage = Stage::new().await;
    let object = Object::new(pattern(3_000_000, 1)).in_parts(1_234_567);
    let row = stage.put(Place::Src, "k", object.clone());
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert_eq!(end.proof.as_deref(), Some("parts-md5"), "{end:?}");
    assert_eq!(stage.here.log().counts()["HeadObject"], 1);

    let row = stage.put(Place::Src, "k", Object { part_size: None, ..object });
    stage.here.clear_log();
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert!(end.ok && end.proof.as_deref() == Some("size"), "{end:?}");
    assert_eq!(stage.here.log().counts()["GetObject"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_that_the_source_keeps_is_compared() {
    let stage = Stage::new().await;
    // Uploaded here: the server keeps the CRC64NVME that came with it.
    let row = stage.put(Place::Folder, "k", Object::new(pattern(5000, 1)));
    assert!(stage.run_one(&stage.spec(Place::Near), &row).await.ok);
    let kept = stage.here.get("near", "k").unwrap();
    let mut object = Object { kms: true, ..kept.as_ref().clone().with_etag(&"5a".repeat(16)) };
    object.etag_is_md5 = false;
    let mut row = stage.put(Place::Src, "kept", object);
    row.etag = Some(format!("{}-1", "5a".repeat(16)));
    stage.here.put_object(
        "src",
        "kept",
        Object { etag: row.etag.clone().unwrap(), ..stage.here.get("src", "kept").unwrap().as_ref().clone() },
    );
    stage.here.fault(Rule::new(Target::on("GetObject").key("kept"), Fault::FlipAnswer).nth(1));
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert_eq!(
        (end.proof.as_deref(), stage.bytes(Place::Far, "kept").unwrap()),
        (Some("crc64nvme"), pattern(5000, 1).into()),
        "{end:?}"
    );
}
