//! Whether what stays in a store is what was written: lengths and digests of files, and documents that carry their own digest.
//!
//! # Consistency
//! A document is a JSON object whose last line is `"digest"`: the SHA-256 of every byte before that line. A byte of it that
//! changed is noticed, wherever it is. Documents without that line, of earlier versions or changed on purpose, are taken as
//! they are.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What stands before a document's digest, and after it.
const BEFORE: &str = ",\n  \"digest\": \"";
const AFTER: &str = "\"\n}";

/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

/// What a file is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its length.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with SHA-256 {}", self.bytes, self.sha256)
    }
}

impl FileDigest {
    /// Of a local file, read in pieces.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let (mut digest, mut buffer) = (Digesting::default(), vec![0; 64 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(digest.finish()),
                read => digest.update(&buffer[..read]),
            }
        }
    }
}

/// A [`FileDigest`] of bytes that pass by.
#[derive(Debug, Default)]
pub struct Digesting {
    bytes: u64,
    hash: Sha256,
}

impl Digesting {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Of all bytes.
    #[must_use]
    pub fn finish(self) -> FileDigest {
        FileDigest { bytes: self.bytes, sha256: hex::encode(self.hash.finalize()) }
    }
}

/// The text of a document, with its digest.
///
/// # Errors
/// A value that is no JSON.
pub fn sealed<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    // Something that has no fields has nothing to lose.
    if text.ends_with(b"\n}") {
        text.truncate(text.len() - 2);
        let digest = hex::encode(Sha256::digest(&text));
        text.extend([BEFORE, &digest, AFTER].concat().bytes());
    }
    Ok(text)
}

/// Whether a document that says its digest is what was written; of one that says none, yes.
#[must_use]
pub fn is_whole(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    match split(text) {
        Some((before, digest)) => hex::encode(Sha256::digest(before)).as_bytes() == digest,
        None => !names_a_digest(text),
    }
}

/// What is digested, and the digest.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, digest) = text.strip_suffix(AFTER.as_bytes())?.split_last_chunk::<DIGITS>()?;
    Some((rest.strip_suffix(BEFORE.as_bytes())?, digest))
}

/// It has a digest, and not where it was written.
fn names_a_digest(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        digest: Option<serde_json::Value>,
    }
    serde_json::from_slice::<Named>(text).is_ok_and(|named| named.digest.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({ "format": 1, "commit": "0576089d", "view": { "prefix": "", "where": null }, "unfinished": ["01M7", "01M8"] })
    }

    #[test]
    fn every_flipped_bit_is_noticed_or_does_no_harm() {
        let whole = sealed(&document()).unwrap();
        assert!(is_whole(&whole));
        let mut noticed = 0;
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let read = serde_json::from_slice::<Value>(&flipped).ok().filter(|_| is_whole(&flipped));
                let Some(Value::Object(mut read)) = read else {
                    noticed += 1;
                    continue;
                };
                // What is left is a document with another name for its digest.
                read.retain(|name, _| document().get(name).is_some());
                assert_eq!(Value::Object(read), document(), "bit {bit} of byte {at}");
            }
        }
        assert!(noticed > whole.len() * 8 * 9 / 10, "{noticed}");
    }

    #[test]
    fn a_document_may_say_nothing_but_not_something_wrong() {
        let plain = serde_json::to_vec_pretty(&document()).unwrap();
        assert!(is_whole(&plain), "of an earlier version");
        let mut edited: Value = serde_json::from_slice(&sealed(&document()).unwrap()).unwrap();
        assert!(!is_whole(edited.to_string().as_bytes()), "written anew with the old digest");
        edited.as_object_mut().unwrap().remove("digest");
        assert!(is_whole(edited.to_string().as_bytes()), "and without it");
        let mut ended = sealed(&document()).unwrap();
        ended.push(b'\n');
        assert!(is_whole(&ended), "an editor's last line");
    }

    #[test]
    fn files_have_the_digest_of_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let digest = FileDigest::of(&path).unwrap();
        assert_eq!(digest.bytes, 3);
        assert!(digest.sha256.starts_with("ba7816bf8f01cfea"), "{digest}");
    }
}
