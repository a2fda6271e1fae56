//! What is said of an object beside its bytes: headers, tags, and what `[[store]]` asks for.

use std::sync::Arc;

use millrace_tests::{
    lakes::Lake,
    run::Millrace,
    s3::{Fault, Object, Rule, S3Server, Target},
};

use super::{Place, Stage, bucket, pattern};

fn object() -> Object {
    Object {
        cache_control: Some("max-age=60".to_owned()),
        tagging: Some("class=a+b&k%C3%B6ln=x%26y".to_owned()),
        ..Object::new(pattern(5000, 1)).with_content_type("text/x-said").with_metadata("owner", "crm")
    }
}

/// Copies inside, inside in parts, and through here, in one piece and in parts.
async fn copied(stage: &Stage) -> Vec<Arc<Object>> {
    let mut there = Vec::new();
    for (key, to, in_parts_from) in
        [("a", Place::Near, None), ("b", Place::Near, Some(0)), ("c", Place::Far, None), ("d", Place::Far, Some(0))]
    {
        let row = stage.put(Place::Src, key, object());
        let mut spec = stage.spec(to);
        if let Some(from) = in_parts_from {
            (spec.multipart_threshold, spec.copy_in_parts_above) = (from, from);
        }
        let end = stage.run_one(&spec, &row).await;
        assert!(end.ok, "{end:?}");
        there.push(stage.server(to).get(bucket(to), key).unwrap());
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_stay_behind() {
    let stage = Stage::new().await;
    for object in copied(&stage).await {
        assert_eq!((&object.tagging, object.content_type.as_deref()), (&None, Some("text/x-said")));
        assert_eq!(object.metadata["owner"], "crm");
    }
    assert!(!stage.here.log().counts().contains_key("GetObjectTagging"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_come_along_where_the_settings_say_so() {
    for settings in [&[("near", "keep_tags=true"), ("far", "keep_tags=true")][..], &[("src", "keep_tags=true")]] {
        let stage = Stage::with(settings).await;
        for object in copied(&stage).await {
            assert_eq!(object.tagging.as_deref(), Some("class=a+b&k%C3%B6ln=x%26y"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_may_not_be_read_fail_the_object_that_needs_them() {
    let stage = Stage::with(&[("far", "keep_tags=true")]).await;
    stage.here.deny(Target::on("GetObjectTagging"));
    let row = stage.put(Place::Src, "k", object());
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert!(end.kind == "denied" && end.error.contains("reading its tags (keep_tags)"), "{end:?}");
    assert_eq!(stage.bytes(Place::Far, "k"), None);
}

/// Such a store has none to leave behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_knows_no_tags_is_told_nothing_of_them() {
    let stage = Stage::new().await;
    stage.here.fault(Rule::new(Target::on("CopyObject"), Fault::error(501, "NotImplemented")).nth(1));
    for key in ["a", "b"] {
        let row = stage.put(Place::Src, key, object());
        assert!(stage.run_one(&stage.spec(Place::Near), &row).await.ok);
    }
    assert_eq!(stage.here.log().counts()["CopyObject"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_headers_come_along_where_the_settings_say_so() {
    for (settings, kept) in [(&[][..], false), (&[("near", "keep_headers=true"), ("far", "keep_headers=true")], true)] {
        let stage = Stage::with(settings).await;
        for to in [Place::Near, Place::Far] {
            // Without a word in the entry, everything that the source carries is kept.
            let mut row = stage.put(Place::Src, "k", object());
            row.content_type = Some("text/x-entry");
            assert!(stage.run_one(&stage.spec(to), &row).await.ok);
            let there = stage.server(to).get(bucket(to), "k").unwrap();
            assert_eq!((there.cache_control.is_some(), there.content_type.as_deref()), (kept, Some("text/x-entry")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_encryption_and_access_are_those_of_the_settings() {
    let said = "storage_class=STANDARD_IA,sse=aws:kms,sse_kms_key_id=key-1,acl=bucket-owner-full-control";
    let stage = Stage::with(&[("near", said), ("far", said)]).await;
    for object in copied(&stage).await {
        assert_eq!(object.storage_class.as_deref(), Some("STANDARD_IA"));
        assert_eq!(object.acl.as_deref(), Some("bucket-owner-full-control"));
        assert_eq!(object.sse.as_deref(), Some("aws:kms key-1"));
    }
}

#[test]
fn the_binary_takes_them_from_the_command_line() {
    let server = S3Server::with_buckets(&["dest"]);
    let lake = Lake::named("orders");
    lake.load(&server);
    let source = format!("lake+s3://lake/{}?ref=main", lake.name);
    let store = "prefix=s3://dest,storage_class=STANDARD_IA,acl=bucket-owner-full-control,keep_tags=true";
    Millrace::new().s3(&server).args(["export", &source, "s3://dest/out", "--store", store]).run().expect_code(0);
    let keys = server.keys("dest", "out/");
    let data: Vec<_> = keys.iter().filter(|key| !key.contains("_millrace/") && !key.contains("/EXPORT_")).collect();
    assert!(!data.is_empty());
    for key in data {
        let object = server.get("dest", key).unwrap();
        let said = (object.storage_class.as_deref(), object.acl.as_deref());
        assert_eq!(said, (Some("STANDARD_IA"), Some("bucket-owner-full-control")), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_may_be_bound_to_an_etag() {
    use planner::Location;
    use worker::{
        RequestClass,
        store::{Deletion, FailureKind},
    };
    let stage = Stage::new().await;
    let store = stage.registry.open(&Location::parse("s3://near/out").unwrap(), RequestClass::Data).unwrap();
    let etag = |key: &str| stage.here.put("near", &format!("out/{key}"), key.to_owned(), None, &[]);
    let mut deletions: Vec<Deletion> =
        ["old", "gone", "any"].map(|key| Deletion { key: key.into(), if_match: Some(etag(key)) }).into();
    deletions[2].if_match = None;
    // A newer object is there by now.
    stage.here.put("near", "out/old", "new", None, &[]);
    stage.here.delete("near", "out/gone");
    let ends = store.delete_many(&deletions).await;
    assert_eq!(ends[0].as_ref().unwrap_err().kind, FailureKind::Precondition);
    assert!(ends[1].is_ok() && ends[2].is_ok(), "{ends:?}");
    assert_eq!(stage.here.keys("near", "out/"), ["out/old"]);
    assert_eq!(stage.here.log().counts()["DeleteObjects"], 1);
    // Where there are no batches, one by one.
    stage.here.fault(Rule::new(Target::on("DeleteObjects"), Fault::error(501, "NotImplemented")));
    let ends = store.delete_many(&deletions).await;
    assert_eq!(ends[0].as_ref().unwrap_err().kind, FailureKind::Precondition);
    assert_eq!(stage.here.keys("near", "out/"), ["out/old"]);
}
