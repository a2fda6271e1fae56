//! Every kind of store does what all must.

use std::sync::Arc;

use planner::Location;
use worker::{Registry, RegistryOptions, RequestClass, conformance, store::Store};

use super::{Place, Stage};

async fn passes(store: &Arc<dyn Store>) {
    for prefix in ["", "deep/er/"] {
        conformance::run(store, prefix).await.unwrap_or_else(|failure| panic!("{}: {failure}", store.location()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let stage = Stage::new().await;
    for location in ["s3://far", "s3://near/below/a prefix"] {
        let store = stage.registry.open(&Location::parse(location).unwrap(), RequestClass::Control).unwrap();
        passes(&store).await;
    }
    assert_eq!((stage.here.keys("near", ""), stage.there.keys("far", "")), (Vec::new(), Vec::new()));
    assert!(stage.here.open_uploads().is_empty() && stage.there.open_uploads().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_kms() {
    let stage = Stage::new().await;
    stage.there.encrypt("far");
    passes(&stage.registry.open(&stage.location(Place::Far), RequestClass::Control).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::load(RegistryOptions::default()).await.unwrap();
    for location in [format!("file://{}", folder.path().join("root").display()), "memory://copy-conformance/x".to_owned()] {
        passes(&registry.open(&Location::parse(&location).unwrap(), RequestClass::Control).unwrap()).await;
    }
}
