//! A **Location**: a URL that can be read or written, kept exactly as the store spells it.
//!
//! Keys are raw: nothing is percent-decoded, `a//b`, `..` and a trailing slash stay as they are. Only `file://` paths are
//! made absolute, because two spellings of one folder must be seen as one.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The kind of store behind a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `file://` or a plain path: this machine's file system.
    File,
    /// `memory://`: a map in this process, for tests and trials.
    Memory,
    /// `s3://` (also `s3a://`, `s3n://`).
    S3,
    /// `gs://`.
    Gs,
    /// `az://container/…`, `abfs(s)://`.
    Az,
    /// `http://`: read only.
    Http,
    /// `https://`: read only.
    Https,
    /// `local://`: lakeFS's local block store; a `[[store]]` table says where it lies.
    Local,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
            Self::Http => "http",
            Self::Https => "https",
            Self::Local => "local",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "file" => Self::File,
            "memory" | "mem" => Self::Memory,
            "s3" | "s3a" | "s3n" => Self::S3,
            "gs" | "gcs" => Self::Gs,
            "az" | "abfs" | "abfss" | "adl" => Self::Az,
            "http" => Self::Http,
            "https" => Self::Https,
            "local" => Self::Local,
            _ => return None,
        })
    }
}

/// A place in a store: a bucket and a raw path in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location {
    scheme: Scheme,
    bucket: String,
    path: String,
}

impl Location {
    /// Reads a URL (`s3://bucket/a/b`) or a plain path (`out/`, `/srv/out`) of this machine.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for an unknown scheme or a missing bucket.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else { return Self::from_path(text) };
        let Some(scheme) = Scheme::parse(scheme) else {
            return Err(Error::usage(format!("`{text}`: `{scheme}://` is not a kind of store that is known here"))
                .with_help("use s3://, gs://, az://, file://, memory:// or a plain path"));
        };
        if scheme == Scheme::File {
            let path = rest.strip_prefix("localhost").filter(|p| p.starts_with('/')).unwrap_or(rest);
            return Self::from_path(path);
        }
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() && !matches!(scheme, Scheme::Memory | Scheme::Local) {
            return Err(
                Error::usage(format!("`{text}` names no bucket")).with_help(format!("write {}://BUCKET/PREFIX", scheme.as_str()))
            );
        }
        Ok(Self { scheme, bucket: bucket.to_owned(), path: path.to_owned() })
    }

    fn from_path(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::usage("an empty location").with_help("write a URL such as s3://bucket/prefix, or a folder"));
        }
        let absolute = std::path::absolute(PathBuf::from(text)).map_err(|e| Error::usage(format!("`{text}` is no path: {e}")))?;
        let mut path = without_dots(&absolute).to_string_lossy().into_owned();
        if text.ends_with('/') && !path.ends_with('/') {
            path.push('/');
        }
        Ok(Self { scheme: Scheme::File, bucket: String::new(), path: path.trim_start_matches('/').to_owned() })
    }

    /// A location from its parts; `path` is raw and has no leading slash of its own.
    pub fn new(scheme: Scheme, bucket: impl Into<String>, path: impl Into<String>) -> Self {
        Self { scheme, bucket: bucket.into(), path: path.into() }
    }

    /// The kind of store.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Bucket or container; empty for `file://`.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The raw path in the bucket. For `file://` the absolute path without its first slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// For `file://`, the path on this machine.
    #[must_use]
    pub fn file_path(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(format!("/{}", self.path)))
    }

    /// The prefix under which keys of this location lie: the path with one slash at its end, or nothing at a bucket's root.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self.path.as_str() {
            "" => String::new(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        }
    }

    /// The place of `key` below this location; the key is appended raw.
    #[must_use]
    pub fn join(&self, key: &str) -> Self {
        Self { scheme: self.scheme, bucket: self.bucket.clone(), path: format!("{}{key}", self.prefix()) }
    }

    /// The same location as a folder: with a slash at its end where it has a path.
    #[must_use]
    pub fn as_folder(&self) -> Self {
        Self { path: self.prefix(), ..self.clone() }
    }

    /// What must be appended to get to the folder `other`, with a slash at its end, where that lies below this one.
    #[must_use]
    pub fn way_to(&self, other: &Self) -> Option<String> {
        let same_place = self.scheme == other.scheme && self.bucket == other.bucket;
        other.prefix().strip_prefix(&self.prefix()).filter(|rest| same_place && !rest.is_empty()).map(str::to_owned)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::File => write!(f, "file:///{}", self.path),
            scheme => write!(f, "{}://{}/{}", scheme.as_str(), self.bucket, self.path),
        }
    }
}

impl TryFrom<String> for Location {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

/// The folder that an absolute path with `..` leads to, as the operating system walks it: links before a `..` are followed.
fn without_dots(path: &Path) -> PathBuf {
    let mut walked = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                walked = walked.canonicalize().unwrap_or(walked);
                walked.pop();
            }
            Component::CurDir => {}
            other => walked.push(other),
        }
    }
    walked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_raw() {
        let at = Location::parse("s3://bucket/a//b/../%2F?x=1").unwrap();
        assert_eq!((at.bucket(), at.path()), ("bucket", "a//b/../%2F?x=1"));
        assert_eq!(at.to_string(), "s3://bucket/a//b/../%2F?x=1");
        assert_eq!(Location::parse("s3a://b").unwrap().join("/lead").to_string(), "s3://b//lead");
    }

    #[test]
    fn plain_paths_are_files() {
        let at = Location::parse("/srv/out").unwrap();
        assert_eq!(at.to_string(), "file:///srv/out");
        assert_eq!(at.join("x").to_string(), "file:///srv/out/x");
        assert_eq!(at.way_to(&at.join("a/b")).as_deref(), Some("a/b/"));
        for other in ["file:///srv/out", "file:///srv/outer", "file:///srv", "s3://srv/out/a"] {
            assert_eq!(at.way_to(&Location::parse(other).unwrap()), None, "{other}");
        }
        assert_eq!(Location::parse("file:///srv/out/").unwrap().prefix(), "srv/out/");
        assert!(Location::parse("out").unwrap().to_string().ends_with("/out"));
    }

    #[test]
    fn dots_of_a_path_are_walked() {
        let at = |text: &str| Location::parse(text).unwrap().to_string();
        assert_eq!(at("/srv/./x/../out/"), "file:///srv/out/");
        assert_eq!(at("file:///srv/gone/../../out"), "file:///out");
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let parent = elsewhere.path().canonicalize().unwrap().parent().unwrap().join("x");
        assert_eq!(at(&format!("{}/../x", link.display())), format!("file://{}", parent.display()));
    }

    #[test]
    fn what_is_no_location_is_a_usage_error() {
        for bad in ["", "s3://", "s3:///x", "ftp://x/y"] {
            assert_eq!(Location::parse(bad).unwrap_err().kind(), crate::ErrorKind::Usage, "{bad}");
        }
    }
}
