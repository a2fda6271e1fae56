//! Damage that no single request shows, and what the binary says of copies that fail.

use millrace_tests::s3::{Fault, Object, Rule, Target};

use super::{Place, Stage, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_is_deleted_by_its_etag_and_nothing_else_is() {
    let stage = Stage::new().await;
    let row = stage.put(Place::Src, "k", Object::new(pattern(5000, 1)));
    // The answer names another etag than the object has: what is there is somebody's, and stays.
    stage.here.fault(Rule::new(Target::on("CopyObject"), Fault::WrongEtag));
    let end = stage.run_one(&stage.spec(Place::Near), &row).await;
    assert_eq!(end.kind, "mismatch");
    let deletes = stage.here.log().of("DeleteObject");
    assert!(!deletes.is_empty() && deletes.iter().all(|op| !op.applied && op.conditions.contains_key("if-match")), "{deletes}");
    assert_eq!(stage.bytes(Place::Near, "k").unwrap(), pattern(5000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delete_is_unconditional_after_a_wrong_answer() {
    let stage = Stage::new().await;
    for (operation, threshold) in [("PutObject", u64::MAX), ("CompleteMultipartUpload", 0)] {
        let row = stage.put(Place::Src, operation, Object::new(pattern(5000, 1)));
        stage.there.fault(Rule::new(Target::on(operation), Fault::WrongEtag));
        let spec = worker::CopySpec { multipart_threshold: threshold, ..stage.spec(Place::Far) };
        let end = stage.run_one(&spec, &row).await;
        assert_eq!(end.kind, "mismatch", "{end:?}");
        assert_eq!(stage.bytes(Place::Far, operation).unwrap(), pattern(5000, 1));
    }
    let deletes = stage.there.log().of("DeleteObject");
    assert!(deletes.len() >= 2 && deletes.iter().all(|op| op.conditions.contains_key("if-match")), "{deletes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_etags_are_not_compared() {
    let stage = Stage::with(&[("far", "opaque_etags=true")]).await;
    let row = stage.put(Place::Src, "k", Object::new(pattern(5000, 1)));
    stage.there.fault(Rule::new(Target::on("PutObject"), Fault::WrongEtag));
    let end = stage.run_one(&stage.spec(Place::Far), &row).await;
    assert!(end.ok && end.proof.as_deref() == Some("md5"), "{end:?}");
}
