//! The recorded lakes: storage namespaces written by a real lakeFS server, and what that server said about them.
//!
//! A lake can be used in place (`lake.file_url("main")`), loaded into an [`S3Server`] as it lay in the real store
//! ([`Lake::load_into`]), served by a [`FakeLakefs`](crate::lakefs::FakeLakefs), or copied and damaged ([`Lake::temp_copy`]).

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    ops::Deref,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::s3::{Object, S3Server};

/// The lakes that are part of this repository.
pub const ALL: [&str; 7] = ["orders", "odd-keys", "imported", "delta", "churn", "gateway", "writes"];

/// The environment variable that names the folder of the large lake, which is not part of the repository.
pub const WIDE_LAKE_VARIABLE: &str = "MILLRACE_WIDE_LAKE";

/// A recorded lake.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Its name, also its repository's.
    pub name: String,
    dir: PathBuf,
    /// Repository, branches, tags and commits.
    pub info: LakeInfo,
}

/// `lake.json`: what the lake has.
#[derive(Debug, Clone, Deserialize)]
pub struct LakeInfo {
    /// The repository as the server answers it.
    pub repository: Value,
    /// Branch names and their commits.
    pub branches: BTreeMap<String, String>,
    /// Tag names and their commits.
    pub tags: BTreeMap<String, String>,
    /// Labels for people and the commits they stand for.
    pub commits: BTreeMap<String, Commit>,
}

/// A commit as the REST API answers it.
#[derive(Debug, Clone, Deserialize, serde::Serialize, PartialEq, Eq)]
pub struct Commit {
    /// Who made it.
    pub committer: String,
    /// Seconds since 1970.
    pub creation_date: i64,
    /// Its distance from the first commit.
    pub generation: i64,
    /// 64 hexadecimal digits.
    pub id: String,
    /// What was said about it.
    pub message: String,
    /// Empty in a repository's first commit.
    pub meta_range_id: String,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// The commits it follows; two for a merge.
    pub parents: Vec<String>,
    /// The version of commit records.
    pub version: i64,
}

/// An object as the server lists it at a commit.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct ListedObject {
    /// The key in the lake.
    pub path: String,
    /// Where its bytes are. The server cuts an address at `?`.
    pub physical_address: String,
    /// The entry's etag.
    pub checksum: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The entry's content type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The entry's user metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A line of a diff as the server lists it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiffLine {
    /// The key in the lake.
    pub path: String,
    /// `added`, `changed` or `removed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes on the right side, or of what was removed.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// An object outside the namespace that entries point to.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its user metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The store's etag.
    pub etag: String,
    #[serde(rename = "body")]
    encoded: String,
}

impl SourceObject {
    /// The bytes.
    pub fn body(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.encoded).unwrap()
    }
}

impl Lake {
    /// The lake of that name (see [`ALL`]).
    pub fn named(name: &str) -> Self {
        Self::open(&crate::data_dir().join("lakes").join(name))
    }

    /// The lake recorded in a folder.
    pub fn open(dir: &Path) -> Self {
        let text = fs::read(dir.join("lake.json")).unwrap_or_else(|error| panic!("no lake in {}: {error}", dir.display()));
        let info: LakeInfo = serde_json::from_slice(&text).unwrap();
        let name = info.repository["id"].as_str().unwrap().to_owned();
        Self { name, dir: dir.to_owned(), info }
    }

    /// The lake of 130,000 entries, where [`WIDE_LAKE_VARIABLE`] names its folder; says so on stdout where it doesn't.
    pub fn wide() -> Option<Self> {
        let dir = std::env::var_os(WIDE_LAKE_VARIABLE);
        if dir.is_none() {
            // Not by `println!`: what a passing test prints so is not shown.
            let text = format!("skipped: {WIDE_LAKE_VARIABLE} does not name the folder of the wide lake\n");
            std::io::stdout().write_all(text.as_bytes()).unwrap();
        }
        dir.map(|dir| Self::open(&Path::new(&dir).canonicalize().unwrap()))
    }

    /// The lake's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The storage namespace, `_lakefs/` and `data/`.
    pub fn namespace(&self) -> PathBuf {
        self.dir.join("namespace")
    }

    /// The namespace's address when it was recorded, `s3://lake/NAME`.
    pub fn storage_namespace(&self) -> &str {
        self.info.repository["storage_namespace"].as_str().unwrap()
    }

    /// `lake+file:///…?ref=REF`.
    pub fn file_url(&self, reference: &str) -> String {
        format!("lake+file://{}?ref={reference}", self.namespace().display())
    }

    /// `lakefs://NAME/REF`.
    pub fn server_url(&self, reference: &str) -> String {
        format!("lakefs://{}/{reference}", self.name)
    }

    /// The commit with that label.
    pub fn commit(&self, label: &str) -> &Commit {
        self.info.commits.get(label).unwrap_or_else(|| panic!("lake {} has no commit {label}", self.name))
    }

    /// What the server lists at the commit with that label, in the server's order.
    pub fn objects(&self, label: &str) -> Vec<ListedObject> {
        read_lines(&self.dir.join("expected").join(format!("{label}.objects.jsonl")))
    }

    /// The difference of two labels as the server lists it, recorded in this direction or mirrored; sorted by path.
    pub fn diff(&self, left: &str, right: &str) -> Vec<DiffLine> {
        let folder = self.dir.join("expected");
        let straight = folder.join(format!("{left}..{right}.diff.jsonl"));
        let mut lines: Vec<DiffLine> = if straight.exists() {
            read_lines(&straight)
        } else {
            let mirrored = folder.join(format!("{right}..{left}.diff.jsonl"));
            read_lines(&mirrored).into_iter().map(DiffLine::mirrored).collect()
        };
        lines.sort();
        lines
    }

    /// The pairs of labels whose difference is recorded.
    pub fn recorded_diffs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = fs::read_dir(self.dir.join("expected"))
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let (left, right) = name.strip_suffix(".diff.jsonl")?.split_once("..")?;
                Some((left.to_owned(), right.to_owned()))
            })
            .collect();
        pairs.sort();
        pairs
    }

    /// The objects outside the namespace.
    pub fn sources(&self) -> Vec<SourceObject> {
        let file = self.dir.join("sources.jsonl");
        if file.exists() { read_lines(&file) } else { Vec::new() }
    }

    /// The webhook requests that the server really sent.
    pub fn webhooks(&self) -> Vec<Value> {
        let text = fs::read(self.dir.join("webhooks.json")).unwrap_or_else(|_| b"[]".to_vec());
        serde_json::from_slice(&text).unwrap()
    }

    /// Puts the namespace and the objects outside it into the buckets in which they were recorded (`lake`, `raw`, …).
    pub fn load(&self, server: &S3Server) {
        self.load_into(server, "lake", &self.name);
    }

    /// Puts the namespace below `prefix` of `bucket` as it lay in the real store, where content types and metadata
    /// are in the entries and not on the objects, and the objects outside it into their own buckets.
    pub fn load_into(&self, server: &S3Server, bucket: &str, prefix: &str) {
        let etags = self.store_etags();
        server.create_bucket(bucket);
        for (path, body) in crate::tree::folder_tree(&self.namespace()) {
            let mut object = Object::new(body);
            if let Some(etag) = etags.get(&format!("{}/{path}", self.name)) {
                object = object.with_etag(etag);
            }
            server.put_object(bucket, &join(prefix, &path), object);
        }
        for source in self.sources() {
            let mut object = Object::new(source.body()).with_etag(&source.etag);
            object.content_type.clone_from(&source.content_type);
            object.metadata.clone_from(&source.metadata);
            server.put_object(&source.bucket, &source.key, object);
        }
    }

    /// The store's etags of objects whose entry says another one (`gateway`), by their key in the bucket `lake`.
    pub fn store_etags(&self) -> BTreeMap<String, String> {
        let text = fs::read(self.dir.join("store-etags.json")).unwrap_or_else(|_| b"{}".to_vec());
        serde_json::from_slice(&text).unwrap()
    }

    /// A copy of the whole lake in a temporary folder, for tests that damage it.
    pub fn temp_copy(&self) -> TempLake {
        let folder = TempDir::with_prefix("millrace-lake-").unwrap();
        copy_folder(&self.dir, folder.path());
        TempLake { lake: Self::open(folder.path()), _folder: folder }
    }
}

impl DiffLine {
    fn mirrored(mut self) -> Self {
        self.kind = match self.kind.as_str() {
            "added" => "removed".to_owned(),
            "removed" => "added".to_owned(),
            _ => {
                // Of a change only one side's size was recorded.
                self.size_bytes = None;
                self.kind
            }
        };
        self
    }
}

/// A lake in a temporary folder that goes with it.
#[derive(Debug)]
pub struct TempLake {
    lake: Lake,
    _folder: TempDir,
}

impl Deref for TempLake {
    type Target = Lake;

    fn deref(&self) -> &Lake {
        &self.lake
    }
}

fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") }
}

pub(crate) fn read_lines<T: for<'de> Deserialize<'de>>(file: &Path) -> Vec<T> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
