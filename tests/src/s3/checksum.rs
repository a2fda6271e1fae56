//! Checksums that come with an upload, in its headers or behind its body.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use s3s::{
    S3Result, TrailingHeaders,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    s3_error,
};

type Compute = fn(&[u8]) -> Vec<u8>;

/// Header names and how their values are computed.
const ALGORITHMS: [(&str, Compute); 5] = [
    ("x-amz-checksum-crc32", |bytes| Crc32::checksum(bytes).as_ref().to_vec()),
    ("x-amz-checksum-crc32c", |bytes| Crc32c::checksum(bytes).as_ref().to_vec()),
    ("x-amz-checksum-crc64nvme", |bytes| Crc64Nvme::checksum(bytes).as_ref().to_vec()),
    ("x-amz-checksum-sha1", |bytes| Sha1::checksum(bytes).as_ref().to_vec()),
    ("x-amz-checksum-sha256", |bytes| Sha256::checksum(bytes).as_ref().to_vec()),
];

/// Compares the body with what was sent about it; the checksums that were sent, by header name.
pub(crate) fn verify(headers: &HeaderMap, trailing: Option<&TrailingHeaders>, body: &[u8]) -> S3Result<BTreeMap<String, String>> {
    if let Some(sent) = headers.get("content-md5")
        && sent.as_bytes() != BASE64_STANDARD.encode(Md5::checksum(body)).as_bytes()
    {
        return Err(s3_error!(BadDigest, "The Content-MD5 you specified did not match what we received."));
    }
    let mut checksums = BTreeMap::new();
    for (name, compute) in ALGORITHMS {
        let text = |headers: &HeaderMap| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let sent = text(headers).or_else(|| trailing.and_then(|trailing| trailing.read(text)).flatten());
        let Some(sent) = sent else { continue };
        if sent != BASE64_STANDARD.encode(compute(body)) {
            return Err(s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum."));
        }
        checksums.insert(name.to_owned(), sent);
    }
    Ok(checksums)
}

/// Does a request say anything about its body?
pub(crate) fn is_sent(headers: &HeaderMap) -> bool {
    headers.contains_key("content-md5") || ALGORITHMS.iter().any(|(name, _)| headers.contains_key(*name))
}

/// The checksums as headers of an answer.
pub(crate) fn headers(checksums: &BTreeMap<String, String>) -> HeaderMap {
    let pairs = checksums
        .iter()
        .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}
