//! The stores that need no server pass the suite of all stores.

use std::sync::Arc;

use crate::{Registry, RegistryOptions, RequestClass};
use planner::Location;

async fn passes(location: &str) {
    let registry = Registry::load(RegistryOptions::default()).await.unwrap();
    let store = registry.open(&Location::parse(location).unwrap(), RequestClass::Control).unwrap();
    for prefix in ["", "deep/er/"] {
        super::run(&store, prefix).await.unwrap_or_else(|failure| panic!("{location}: {failure}"));
    }
    let (data, control) = registry.requests();
    assert!(data == 0 && control > 100, "{data} data and {control} control requests were counted");
    assert!(registry.payload_bytes() > 0);
    assert!(Arc::ptr_eq(&store, &registry.open(&Location::parse(location).unwrap(), RequestClass::Control).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    passes("memory://conformance").await;
    passes("memory://conformance/below/a%20prefix").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file() {
    let dir = tempfile::tempdir().unwrap();
    passes(&dir.path().join("new/root").to_string_lossy()).await;
    let left: Vec<_> = walk(&dir.path().join("new/root"));
    assert_eq!(left, ["_millrace", "_millrace/lock", "_millrace/tmp"], "something is left behind");
}

fn walk(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
