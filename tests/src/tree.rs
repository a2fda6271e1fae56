//! Reads what an export wrote, and says what it should have written.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use md5::{Digest, Md5};
use serde_json::Value;
use sha2::Sha256;

use crate::lakes::{Lake, ListedObject, SourceObject};

/// Every file below a folder: its path with `/`, relative to the folder, and its bytes. Symbolic links are not followed.
pub fn folder_tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                tree.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    tree
}

/// Is that key Millrace's own: below `_millrace/`, or a status marker?
pub fn is_reserved(key: &str) -> bool {
    key.starts_with("_millrace/")
        || (!key.contains('/') && key.starts_with("EXPORT_") && (key.ends_with("_SUCCESS") || key.ends_with("_FAILURE")))
}

/// The tree without Millrace's own keys.
pub fn data_only(tree: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    tree.into_iter().filter(|(key, _)| !is_reserved(key)).collect()
}

/// The text of one of Millrace's documents that was changed on purpose: without the digest that it had.
pub fn edited(document: &Value) -> String {
    let mut document = document.clone();
    document.as_object_mut().unwrap().remove("digest");
    document.to_string()
}

/// Where a lake's bytes are found by physical address.
#[derive(Debug)]
pub struct Bodies {
    lake: Lake,
    sources: HashMap<(String, String), SourceObject>,
}

impl Bodies {
    /// Of a lake.
    pub fn of(lake: &Lake) -> Self {
        let sources = lake.sources().into_iter().map(|source| ((source.bucket.clone(), source.key.clone()), source));
        Self { lake: lake.clone(), sources: sources.collect() }
    }

    /// The bytes of a listed object, from the namespace or from the objects outside it. None when its source is gone or
    /// was overwritten since the commit, as some of `imported`'s first import are.
    pub fn body(&self, object: &ListedObject) -> Option<Vec<u8>> {
        let inside = object.physical_address.strip_prefix(self.lake.storage_namespace());
        if let Some(path) = inside.and_then(|rest| rest.strip_prefix('/')) {
            return Some(fs::read(self.lake.namespace().join(path)).unwrap());
        }
        self.source(object).filter(|source| source.etag == object.checksum).map(SourceObject::body)
    }

    /// The object outside the namespace that a listed object points to.
    pub fn source(&self, object: &ListedObject) -> Option<&SourceObject> {
        let (bucket, key) = object.physical_address.strip_prefix("s3://")?.split_once('/')?;
        let exact = self.sources.get(&(bucket.to_owned(), key.to_owned()));
        exact.or_else(|| {
            // The server's listing cuts an address at `?`; the range holds the whole key.
            let cut = format!("{key}?");
            self.sources
                .values()
                .find(|source| source.bucket == bucket && source.key.starts_with(&cut) && source.etag == object.checksum)
        })
    }
}

/// What an export of the commit with that label must hold, without Millrace's own keys.
///
/// # Panics
/// When an object's source is gone: then no export can be complete.
pub fn expected_tree(lake: &Lake, label: &str) -> BTreeMap<String, Vec<u8>> {
    let bodies = Bodies::of(lake);
    let body = |object: &ListedObject| {
        bodies
            .body(object)
            .unwrap_or_else(|| panic!("the source of {} at {label} is gone: {}", object.path, object.physical_address))
    };
    lake.objects(label).into_iter().map(|object| (object.path.clone(), body(&object))).collect()
}

/// The MD5 of bytes in hexadecimal.
pub fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The SHA-256 of bytes in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
