//! Exports from start to end: what is there afterwards, in which order it came, and what was sent for it.
//!
//! A [`Stage`] is a lake, where it is read from and where it is exported to. What an export did is read from the operation
//! log ([`effects`]) where the destination is a bucket, and from what changed ([`Stage::stamps`]) where it is a folder.

mod adopt;
mod control;
mod damaged;
mod done;
mod empty;
mod failures;
mod full;
pub(crate) mod invariants;
mod keys;
mod made_up;
mod options;
mod plans;
mod readers;
mod report;
mod rounds;
mod selection;
mod sources;
mod spark;
mod strangers;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use millrace_tests::{
    cluster::Cluster,
    lakes::Lake,
    run::{Millrace, Outcome, User},
    s3::{Log, S3Server},
    tree::{data_only, expected_tree, folder_tree, is_reserved},
};
use serde_json::Value;
use tempfile::TempDir;

/// What lies below a destination: keys and bytes.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// The bucket and the prefix of destinations on S3.
pub(crate) const BUCKET: &str = "mirror";
pub(crate) const PREFIX: &str = "out/";

/// Where a lake is read from, or where it is exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `file://`
    Folder,
    /// `s3://`
    Bucket,
}

/// A lake, and a destination for it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: S3Server,
    pub(crate) lake: Lake,
    pub(crate) user: User,
    from: Place,
    to: Place,
    folder: TempDir,
    /// Exports run there, where there is one.
    pub(crate) cluster: Option<Cluster>,
}

/// When it is set, every stage has a cluster.
const EVERYTHING_ON_A_CLUSTER: &str = "MILLRACE_TEST_CLUSTER";

impl Stage {
    /// That lake, with its objects in their buckets.
    pub(crate) fn new(lake: &str, from: Place, to: Place) -> Self {
        Self::of(Lake::named(lake), from, to)
    }

    /// The same for a lake that was opened.
    pub(crate) fn of(lake: Lake, from: Place, to: Place) -> Self {
        let server = S3Server::with_buckets(&[BUCKET]);
        lake.load(&server);
        let folder = TempDir::with_prefix("millrace-out-").unwrap();
        let cluster = std::env::var_os(EVERYTHING_ON_A_CLUSTER).map(|_| Cluster::start(&server, 2));
        Self { server, lake, user: User::default(), from, to, folder, cluster }
    }

    /// From a bucket to a bucket, on a cluster with so many executors.
    pub(crate) fn clustered(lake: &str, executors: usize) -> Self {
        let stage = Self::s3(lake);
        let cluster = Some(Cluster::start(&stage.server, executors));
        Self { cluster, ..stage }
    }

    /// From a bucket to a bucket.
    pub(crate) fn s3(lake: &str) -> Self {
        Self::new(lake, Place::Bucket, Place::Bucket)
    }

    /// The source at the commit with that label.
    pub(crate) fn source(&self, label: &str) -> String {
        self.source_at(&self.lake.commit(label).id)
    }

    /// The source at a reference.
    pub(crate) fn source_at(&self, reference: &str) -> String {
        match self.from {
            Place::Folder => self.lake.file_url(reference),
            Place::Bucket => format!("lake+s3://lake/{}?ref={reference}", self.lake.name),
        }
    }

    /// The destination.
    pub(crate) fn destination(&self) -> String {
        self.place("out")
    }

    /// A place of that name beside the destination.
    pub(crate) fn place(&self, name: &str) -> String {
        match self.to {
            Place::Folder => format!("file://{}", self.path(name).display()),
            Place::Bucket => format!("s3://{BUCKET}/{name}"),
        }
    }

    /// What the destination is.
    pub(crate) fn to(&self) -> Place {
        self.to
    }

    /// The folder of a place of that name.
    pub(crate) fn folder_path(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that prints JSON.
    pub(crate) fn millrace(&self, verb: &str) -> Millrace<'_> {
        let command = Millrace::of(&self.user).s3(&self.server).args([verb, "--output", "json"]);
        match &self.cluster {
            Some(cluster) if ["export", "apply"].contains(&verb) => command.args(["--cluster", &cluster.url()]),
            _ => command,
        }
    }

    /// Exports the commit with that label.
    pub(crate) fn export(&self, label: &str, options: &[&str]) -> Outcome {
        self.export_to(label, "out", options)
    }

    /// Exports it to a place of that name.
    pub(crate) fn export_to(&self, label: &str, place: &str, options: &[&str]) -> Outcome {
        self.millrace("export").arg(self.source(label)).arg(self.place(place)).args(options).run()
    }

    /// Exports it and gives the report of the success.
    #[track_caller]
    pub(crate) fn exported(&self, label: &str, options: &[&str]) -> Value {
        let outcome = self.export(label, options).expect_code(0);
        let report = outcome.json();
        assert_eq!(report["state"], "succeeded", "{outcome}");
        report
    }

    /// Everything at the destination.
    pub(crate) fn tree(&self) -> Tree {
        self.tree_of("out")
    }

    /// Everything at a place of that name.
    pub(crate) fn tree_of(&self, name: &str) -> Tree {
        match self.to {
            Place::Folder => {
                let path = self.path(name);
                if path.exists() { folder_tree(&path) } else { Tree::new() }
            }
            Place::Bucket => self.server.snapshot().tree(BUCKET, &format!("{name}/")),
        }
    }

    /// The destination without Millrace's own keys.
    pub(crate) fn data(&self) -> Tree {
        data_only(self.tree())
    }

    /// Millrace's own keys at the destination.
    pub(crate) fn own_keys(&self) -> BTreeSet<String> {
        self.tree().into_keys().filter(|key| is_reserved(key)).collect()
    }

    /// The status markers at the destination and their text.
    pub(crate) fn status_markers(&self) -> BTreeMap<String, String> {
        let markers = self.tree().into_iter().filter(|(key, _)| is_status_marker(key));
        markers.map(|(key, body)| (key, String::from_utf8(body).unwrap())).collect()
    }

    /// Fails the test unless the only status marker says that the commit with that label is there.
    #[track_caller]
    pub(crate) fn assert_success(&self, label: &str) {
        let markers = self.status_markers();
        assert_eq!(markers.keys().collect::<Vec<_>>(), [&success(&self.lake.commit(label).id)]);
        for text in markers.values() {
            assert!(text.starts_with("Export completed successfully!\n"), "{text}");
        }
    }

    /// HEAD.
    pub(crate) fn head(&self) -> Value {
        serde_json::from_slice(&self.tree()["_millrace/HEAD.json"]).unwrap()
    }

    /// Puts an object that is not Millrace's at the destination.
    pub(crate) fn put_foreign(&self, key: &str, body: &str) {
        match self.to {
            Place::Folder => {
                let path = self.path("out").join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, body).unwrap();
            }
            Place::Bucket => {
                self.server.put(BUCKET, &format!("{PREFIX}{key}"), body.to_owned(), None, &[]);
            }
        }
    }

    /// Takes an object of the destination away.
    pub(crate) fn remove(&self, key: &str) {
        match self.to {
            Place::Folder => fs::remove_file(self.path("out").join(key)).unwrap(),
            Place::Bucket => self.server.delete(BUCKET, &format!("{PREFIX}{key}")),
        }
    }

    /// When which object at the destination was written: a rewrite shows, even with the same bytes.
    pub(crate) fn stamps(&self) -> BTreeMap<String, String> {
        match self.to {
            Place::Folder => self.tree().into_keys().map(|key| (key.clone(), file_stamp(&self.path("out").join(key)))).collect(),
            Place::Bucket => {
                let snapshot = self.server.snapshot();
                let keys = snapshot.keys(BUCKET, PREFIX);
                let stamp = |key: &str| format!("{:?}", snapshot.get(BUCKET, key).unwrap().modified);
                keys.map(|key| (key[PREFIX.len()..].to_owned(), stamp(key))).collect()
            }
        }
    }

    /// What the requests since the log was cleared did to the destination, in their order.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        effects(&self.server.log(), PREFIX)
    }

    /// What an export of the commit must hold.
    pub(crate) fn expected(&self, label: &str) -> Tree {
        expected_tree(&self.lake, label)
    }

    /// The bucket and key of a listed object's bytes.
    pub(crate) fn source_object(&self, label: &str, path: &str) -> (String, String) {
        let object = self.lake.objects(label).into_iter().find(|object| object.path == path).unwrap();
        let (bucket, key) = object.physical_address.strip_prefix("s3://").unwrap().split_once('/').unwrap();
        (bucket.to_owned(), key.to_owned())
    }
}

/// The inode changes when a file is replaced, the time when it is written in place.
fn file_stamp(path: &Path) -> String {
    let meta = fs::metadata(path).unwrap();
    format!("{} {}.{}", meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// The notes of a report in one text.
pub(crate) fn notes(report: &Value) -> String {
    let notes = report["notes"].as_array().cloned().unwrap_or_default();
    notes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The keys at which two states differ, without Millrace's own.
pub(crate) fn changed_keys(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let all = before.keys().chain(after.keys());
    all.filter(|key| !is_reserved(key) && before.get(*key) != after.get(*key)).cloned().collect()
}

/// Something that happened to a key of the destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    Written(String),
    Deleted(String),
}

impl Effect {
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Written(key) | Self::Deleted(key) => key,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// On a key of the lake that is no completion marker.
    pub(crate) fn is_data(&self) -> bool {
        !is_reserved(self.key()) && !is_marker(self.key())
    }

    /// On a completion marker.
    pub(crate) fn is_marker(&self) -> bool {
        !is_reserved(self.key()) && is_marker(self.key())
    }

    /// On a key of Millrace's own.
    pub(crate) fn is_own(&self) -> bool {
        is_reserved(self.key())
    }
}

/// What a log's requests did below a prefix of the destination's bucket, in their order.
pub(crate) fn effects(log: &Log, prefix: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for op in log.writes().filter(|op| op.bucket == BUCKET).iter() {
        let key = |key: &str| key.strip_prefix(prefix).map(str::to_owned);
        match op.operation.as_str() {
            "PutObject" | "CopyObject" | "CompleteMultipartUpload" => effects.extend(key(&op.key).map(Effect::Written)),
            "DeleteObject" => effects.extend(key(&op.key).map(Effect::Deleted)),
            "DeleteObjects" => effects.extend(op.keys.iter().filter_map(|one| key(one)).map(Effect::Deleted)),
            _ => {}
        }
    }
    effects
}

/// The keys of effects, sorted.
pub(crate) fn keys_of<'a>(effects: impl IntoIterator<Item = &'a Effect>) -> Vec<&'a str> {
    let mut keys: Vec<_> = effects.into_iter().map(Effect::key).collect();
    keys.sort_unstable();
    keys
}

/// Ranges that a report counts: in all, opened, looked up.
pub(crate) fn range_counts(report: &Value) -> [u64; 3] {
    ["total", "opened", "looked_up"].map(|field| report["ranges"][field].as_u64().unwrap())
}

/// Does a key speak for everything below its directory?
pub(crate) fn is_marker(key: &str) -> bool {
    key == "_SUCCESS" || key.ends_with("/_SUCCESS")
}

/// Is a key `EXPORT_…_SUCCESS` or `EXPORT_…_FAILURE` at the root?
pub(crate) fn is_status_marker(key: &str) -> bool {
    is_reserved(key) && key.starts_with("EXPORT_")
}

/// The name of a commit's SUCCESS marker.
pub(crate) fn success(commit: &str) -> String {
    format!("EXPORT_{commit}_SUCCESS")
}

/// The name of a commit's FAILURE marker.
pub(crate) fn failure(commit: &str) -> String {
    format!("EXPORT_{commit}_FAILURE")
}
