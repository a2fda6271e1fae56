//! What the store holds: buckets of objects, keys byte for byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::SystemTime,
};

use super::body::Body;

/// A stored object.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its bytes.
    pub body: Body,
    /// Without quotes.
    pub etag: String,
    /// Is the etag the MD5 of the bytes? Decides what a copy's etag is.
    pub etag_is_md5: bool,
    /// As it was put; a store answers `binary/octet-stream` where there is none.
    pub content_type: Option<String>,
    /// User metadata, without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// The header of that name.
    pub cache_control: Option<String>,
    /// The header of that name, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// The header of that name.
    pub content_disposition: Option<String>,
    /// The header of that name.
    pub content_language: Option<String>,
    /// The storage class, where one was asked for.
    pub storage_class: Option<String>,
    /// The canned access control list that was asked for.
    pub acl: Option<String>,
    /// The encryption that was asked for, and its key: `aws:kms` or `aws:kms KEY`.
    pub sse: Option<String>,
    /// Tags as in the header `x-amz-tagging`.
    pub tagging: Option<String>,
    /// Encrypted with a key of KMS: the etag says nothing about the bytes, and answers carry the header that tells so.
    pub kms: bool,
    /// The size of the first part, where it was uploaded in parts.
    pub part_size: Option<u64>,
    /// Checksums that were sent with the object, by header name.
    pub checksums: BTreeMap<String, String>,
    /// When it was written.
    pub modified: SystemTime,
}

impl Object {
    /// An object with these bytes and their MD5 for its etag.
    pub fn new(body: impl Into<Body>) -> Self {
        let body = body.into();
        Self {
            etag: body.etag(),
            etag_is_md5: true,
            body,
            content_type: None,
            metadata: BTreeMap::new(),
            cache_control: None,
            content_encoding: None,
            content_disposition: None,
            content_language: None,
            storage_class: None,
            acl: None,
            sse: None,
            tagging: None,
            kms: false,
            part_size: None,
            checksums: BTreeMap::new(),
            modified: SystemTime::now(),
        }
    }

    /// With a stated etag, such as that of a multipart upload.
    pub fn with_etag(mut self, etag: &str) -> Self {
        self.etag_is_md5 = self.etag == etag;
        etag.clone_into(&mut self.etag);
        self
    }

    /// As if it had been uploaded in parts of that size.
    pub fn in_parts(mut self, part_size: u64) -> Self {
        let size = self.body.len();
        let starts = (0..size.div_ceil(part_size)).map(|part| part * part_size);
        let sums: Vec<u8> =
            starts.flat_map(|start| hex::decode(self.body.slice(start..(start + part_size).min(size)).etag()).unwrap()).collect();
        self.etag = format!("{}-{}", crate::tree::md5_hex(&sums), size.div_ceil(part_size));
        self.etag_is_md5 = false;
        self.part_size = Some(part_size);
        self
    }

    /// With a content type.
    pub fn with_content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    /// With user metadata.
    pub fn with_metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The bytes.
    pub fn bytes(&self) -> bytes::Bytes {
        self.body.to_bytes()
    }
}

/// A bucket: keys in byte order.
pub type Bucket = BTreeMap<String, Arc<Object>>;

/// All buckets. A clone is cheap enough to keep: it shares the objects.
#[derive(Debug, Clone, Default)]
pub struct Buckets(pub(crate) BTreeMap<String, Bucket>);

impl Buckets {
    /// The bucket of that name.
    pub fn bucket(&self, name: &str) -> Option<&Bucket> {
        self.0.get(name)
    }

    /// The names of all buckets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An object.
    pub fn get(&self, bucket: &str, key: &str) -> Option<&Arc<Object>> {
        self.0.get(bucket)?.get(key)
    }

    /// The keys of a bucket that start with a prefix, in byte order.
    pub fn keys<'a>(&'a self, bucket: &str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let range = self.0.get(bucket).map(|bucket| bucket.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)));
        range.into_iter().flatten().map(|(key, _)| key.as_str()).take_while(move |key| key.starts_with(prefix))
    }

    /// The keys below a prefix, without it, and their bytes.
    pub fn tree(&self, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        self.keys(bucket, prefix)
            .map(|key| (key[prefix.len()..].to_owned(), self.get(bucket, key).unwrap().bytes().to_vec()))
            .collect()
    }

    /// The keys at which two states differ, as `bucket/key`.
    pub fn differences(&self, other: &Self) -> BTreeSet<String> {
        let print = |buckets: &Self| -> BTreeSet<(String, String, String)> {
            let all = buckets.0.iter().flat_map(|(name, bucket)| bucket.iter().map(move |entry| (name, entry)));
            let seen = |object: &Object| format!("{} {:?} {:?}", object.etag, object.content_type, object.metadata);
            all.map(|(name, (key, object))| (name.clone(), key.clone(), seen(object))).collect()
        };
        let (left, right) = (print(self), print(other));
        left.symmetric_difference(&right).map(|(bucket, key, _)| format!("{bucket}/{key}")).collect()
    }
}
