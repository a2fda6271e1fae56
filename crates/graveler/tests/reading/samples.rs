//! Where the recorded files lie, and how to open them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use graveler::sstable::LoadedTable;
use graveler::{Namespace, StoreFiles};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use serde_json::Value;

/// Lakes that a real server wrote.
pub(crate) const LAKES: [&str; 7] = ["churn", "delta", "gateway", "imported", "odd-keys", "orders", "writes"];

pub(crate) fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(path)
}

pub(crate) fn sstable(name: &str) -> Bytes {
    let path = data("sstables").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into()
}

pub(crate) fn table(name: &str) -> LoadedTable {
    LoadedTable::parse(name, sstable(name)).unwrap()
}

pub(crate) fn pairs(table: &LoadedTable) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = table.records();
    let mut pairs = Vec::new();
    while records.advance().unwrap() {
        pairs.push((records.key().to_vec(), records.value().to_vec()));
    }
    pairs
}

pub(crate) fn namespace(lake: &str) -> Namespace {
    let store = LocalFileSystem::new_with_prefix(data("lakes").join(lake).join("namespace"));
    Namespace::new(Arc::new(StoreFiles::new(Arc::new(store.unwrap()), Path::default())))
}

pub(crate) fn json(lake: &str, name: &str) -> Value {
    let text = std::fs::read(data("lakes").join(lake).join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

pub(crate) fn json_lines(lake: &str, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(data("lakes").join(lake).join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
