//! Embedded lakes: made, committed to, merged and read through the binary, in a folder and in a bucket.

mod kills;
mod life;
mod merges;
mod races;
mod refusals;
mod restore;

use std::{collections::BTreeMap, fs, path::PathBuf};

use millrace_tests::{
    run::{Millrace, Outcome, User},
    s3::S3Server,
    tree::{folder_tree, md5_hex},
};
use serde_json::Value;
use tempfile::TempDir;

/// The bucket of lakes, and the prefix of the lake in it.
const BUCKET: &str = "lakes";
const PREFIX: &str = "a/lake";

/// Paths and bytes.
type Tree = BTreeMap<String, Vec<u8>>;

/// Where a lake lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Folder,
    Bucket,
}

const BOTH: [Place; 2] = [Place::Folder, Place::Bucket];

/// A place for a lake, a folder of files beside it, and a user.
#[derive(Debug)]
struct Bed {
    server: S3Server,
    user: User,
    place: Place,
    dir: TempDir,
}

impl Bed {
    fn new(place: Place) -> Self {
        let server = S3Server::with_buckets(&[BUCKET, "landing"]);
        Self { server, user: User::default(), place, dir: TempDir::with_prefix("millrace-bed-").unwrap() }
    }

    /// With an empty lake.
    fn with_lake(place: Place) -> Self {
        let bed = Self::new(place);
        bed.lake("init", &bed.url("")).run().expect_code(0);
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The lake at a reference, or the lake alone.
    fn url(&self, reference: &str) -> String {
        let query = if reference.is_empty() { String::new() } else { format!("?ref={reference}") };
        match self.place {
            Place::Folder => format!("lake+file://{}{query}", self.path("lake").display()),
            Place::Bucket => format!("lake+s3://{BUCKET}/{PREFIX}{query}"),
        }
    }

    fn millrace(&self, words: &[&str]) -> Millrace<'_> {
        Millrace::of(&self.user).s3(&self.server).args(["--output", "json"]).args(words)
    }

    /// A verb of `lake`.
    fn lake(&self, verb: &str, url: &str) -> Millrace<'_> {
        self.millrace(&["lake", verb, url])
    }

    /// Makes the folder of that name hold exactly these files.
    fn files(&self, name: &str, files: &[(&str, &str)]) -> String {
        let root = self.path(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        for (path, text) in files {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root.display().to_string()
    }

    /// A command that commits a folder to a branch.
    fn commit_of(&self, branch: &str, folder: &str, message: &str) -> Millrace<'_> {
        self.lake("commit", &self.url(branch)).args([folder, "-m", message])
    }

    /// Commits these files to a branch; the report.
    #[track_caller]
    fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Value {
        let folder = self.files("files", files);
        let outcome = self.commit_of(branch, &folder, &format!("to {branch}")).run().expect_code(0);
        let report = outcome.json();
        assert_eq!(report["state"], "committed", "{outcome}");
        report
    }

    /// Makes a branch at a reference.
    #[track_caller]
    fn branch(&self, reference: &str, name: &str) -> Outcome {
        self.lake("branch", &self.url(reference)).arg(name).run().expect_code(0)
    }

    /// What is listed at a reference: path, size and etag.
    #[track_caller]
    fn ls(&self, reference: &str) -> BTreeMap<String, (u64, String)> {
        let lines = self.millrace(&["ls", &self.url(reference)]).run().expect_code(0).json_lines();
        let object = |line: Value| {
            let etag = line["etag"].as_str().unwrap().to_owned();
            (line["path"].as_str().unwrap().to_owned(), (line["size"].as_u64().unwrap(), etag))
        };
        lines.into_iter().map(object).collect()
    }

    /// What an export of a reference writes.
    #[track_caller]
    fn exported(&self, reference: &str) -> Tree {
        let out = TempDir::with_prefix("millrace-out-").unwrap();
        let to = out.path().join("out");
        self.millrace(&["export", &self.url(reference), to.to_str().unwrap(), "--preset", "none"]).run().expect_code(0);
        millrace_tests::tree::data_only(folder_tree(&to))
    }

    /// The commits of a reference, newest first.
    #[track_caller]
    fn log(&self, reference: &str) -> Vec<Value> {
        self.millrace(&["log", &self.url(reference)]).run().expect_code(0).json_lines()
    }

    #[track_caller]
    fn head(&self, reference: &str) -> String {
        self.log(reference)[0]["id"].as_str().unwrap().to_owned()
    }

    /// Everything that is stored for the lake, but Millrace's own lock and temporary files.
    fn stored(&self) -> Tree {
        let all: Tree = match self.place {
            Place::Folder => folder_tree(&self.path("lake")),
            Place::Bucket => self.server.snapshot().tree(BUCKET, &format!("{PREFIX}/")),
        };
        all.into_iter().filter(|(key, _)| !key.starts_with("_millrace/")).collect()
    }

    /// Replaces a stored object.
    fn store(&self, key: &str, body: &str) {
        match self.place {
            Place::Folder => fs::write(self.path("lake").join(key), body).unwrap(),
            Place::Bucket => drop(self.server.put(BUCKET, &format!("{PREFIX}/{key}"), body.to_owned(), None, &[])),
        }
    }

    fn manifest(&self) -> Vec<u8> {
        self.stored()["_lakefs/refs_manifest.json"].clone()
    }
}

/// Paths with sizes and etags, as [`Bed::ls`] gives them.
fn listed(files: &[(&str, &str)]) -> BTreeMap<String, (u64, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (text.len() as u64, md5_hex(text.as_bytes())))).collect()
}

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

fn counts(report: &Value) -> [u64; 4] {
    ["added", "changed", "removed", "unchanged"].map(|name| report[name].as_u64().unwrap())
}
