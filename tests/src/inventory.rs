//! Recorded S3 Inventory deliveries: two days of the bucket `adopted`, delivered to the bucket `inventory`.
//!
//! Good ones: `daily` (Parquet), `daily-orc`, `daily-csv`. Bad ones: `no-etag`, `no-size`, `unsorted`, `bad-md5`,
//! `truncated`. Each of them has an old version and a delete marker, which are not objects of the bucket.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    lakes::read_lines,
    s3::{Object, S3Server},
    tree::folder_tree,
};

/// The bucket that is listed.
pub const LISTED_BUCKET: &str = "adopted";

/// The bucket that holds the listings.
pub const INVENTORY_BUCKET: &str = "inventory";

/// An object of the listed bucket.
#[derive(Debug, Clone, Deserialize)]
pub struct InventoryObject {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The store's etag.
    pub etag: String,
    /// Its text.
    pub body: String,
}

/// The folder with the deliveries.
pub fn dir() -> PathBuf {
    crate::data_dir().join("inventory")
}

/// The objects of the listed bucket on a day (1 or 2).
pub fn objects(day: u8) -> Vec<InventoryObject> {
    read_lines(&dir().join(format!("day{day}.jsonl")))
}

/// The counts of both days and of their difference.
pub fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(dir().join("expected.json")).unwrap()).unwrap()
}

/// Puts the deliveries into [`INVENTORY_BUCKET`].
pub fn load_deliveries(server: &S3Server) {
    server.create_bucket(INVENTORY_BUCKET);
    for (path, body) in folder_tree(&dir().join("inventory")) {
        server.put_object(INVENTORY_BUCKET, &path, Object::new(body));
    }
}

/// Makes [`LISTED_BUCKET`] what it was on a day.
pub fn load_day(server: &S3Server, day: u8) {
    server.create_bucket(LISTED_BUCKET);
    for key in server.keys(LISTED_BUCKET, "") {
        server.delete(LISTED_BUCKET, &key);
    }
    for object in objects(day) {
        server.put_object(LISTED_BUCKET, &object.key, Object::new(object.body).with_etag(&object.etag));
    }
}
