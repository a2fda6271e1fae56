//! Lakes of one's own, written by the format's own writer and recorded like the real ones, so that whatever reads a
//! [`Lake`] reads them too.

use std::{collections::BTreeMap, fs, ops::Deref, path::Path, sync::Arc};

use graveler::{
    AddressType, CommitData, Entry, MetadataSink, MetarangeWriter, RangeBreaker, Refs, StoreSink, Timestamp, WriteOptions,
    encode, ident, write_refs,
};
use millrace_tests::{lakes::Lake, tree::md5_hex};
use object_store::{local::LocalFileSystem, path::Path as StorePath};
use serde_json::{Value, json};
use tempfile::TempDir;

/// When everything was written, seconds since 1970.
const WRITTEN: i64 = 1_790_000_000;

/// Keys and bytes of one commit.
pub(crate) type Objects = BTreeMap<String, Vec<u8>>;

/// A lake in a temporary folder that goes with it.
#[derive(Debug)]
pub(crate) struct MadeLake {
    lake: Lake,
    _folder: TempDir,
}

impl Deref for MadeLake {
    type Target = Lake;

    fn deref(&self) -> &Lake {
        &self.lake
    }
}

/// A commit's objects from keys and texts.
pub(crate) fn objects(pairs: &[(&str, &str)]) -> Objects {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec())).collect()
}

impl MadeLake {
    /// A lake with one commit after the other on `main`, each under its label; about so many entries a range.
    pub(crate) fn new(entries_a_range: u64, commits: &[(&str, &Objects)]) -> Self {
        Self::made(entries_a_range, None, commits)
    }

    /// The same of imported objects: each lies at `base` and the MD5 of its bytes.
    pub(crate) fn imported(base: &str, commits: &[(&str, &Objects)]) -> Self {
        Self::made(1000, Some(base), commits)
    }

    fn made(entries_a_range: u64, base: Option<&str>, commits: &[(&str, &Objects)]) -> Self {
        let folder = TempDir::with_prefix("millrace-made-").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(write(folder.path(), entries_a_range, base, commits));
        Self { lake: Lake::open(folder.path()), _folder: folder }
    }
}

async fn write(folder: &Path, entries_a_range: u64, base: Option<&str>, commits: &[(&str, &Objects)]) {
    let namespace = folder.join("namespace");
    for inner in [&namespace.join("data"), &folder.join("expected")] {
        fs::create_dir_all(inner).unwrap();
    }
    let store = Arc::new(LocalFileSystem::new_with_prefix(&namespace).unwrap());
    let sink: Arc<dyn MetadataSink> = Arc::new(StoreSink::new(store, StorePath::default()));
    let breaker = RangeBreaker { raggedness: entries_a_range, ..RangeBreaker::default() };
    let options = WriteOptions { breaker, ..WriteOptions::default() };
    let (mut refs, mut labels, mut head) = (Refs::default(), serde_json::Map::new(), None);
    for (label, objects) in commits {
        let mut writer = MetarangeWriter::new(Arc::clone(&sink), options);
        let mut listing = Vec::new();
        for (key, body) in *objects {
            let entry = store_body(&namespace, base, body);
            let mut data = Vec::new();
            let identity = encode::entry_record(&entry, &mut data);
            writer.add(key.as_bytes(), &identity, &data).await.unwrap();
            listing.push(listed(key, &entry).to_string());
        }
        let tree = writer.finish().await.unwrap();
        fs::write(folder.join("expected").join(format!("{label}.objects.jsonl")), listing.join("\n")).unwrap();
        let commit = commit(label, tree.metarange.id(), head.take(), refs.commits.len());
        labels.insert((*label).to_owned(), shown(&commit));
        head = Some(commit.id.clone());
        refs.commits.insert(commit.id.clone(), commit);
    }
    refs.branches.insert("main".to_owned(), head.unwrap());
    let manifest = write_refs(&sink, options, &refs).await.unwrap();
    sink.put_refs_manifest(&manifest).await.unwrap();
    let repository = json!({"id": "made", "storage_namespace": "s3://lake/made"});
    let info = json!({"repository": repository, "branches": refs.branches, "tags": {}, "commits": labels});
    fs::write(folder.join("lake.json"), info.to_string()).unwrap();
}

/// Equal bytes are stored once, and are equal entries.
fn store_body(namespace: &Path, base: Option<&str>, body: &[u8]) -> Entry {
    let etag = md5_hex(body);
    let address = format!("{}{etag}", base.unwrap_or("data/made/"));
    if base.is_none() {
        fs::create_dir_all(namespace.join("data/made")).unwrap();
        fs::write(namespace.join(&address), body).unwrap();
    }
    Entry {
        address,
        last_modified: Some(Timestamp { seconds: WRITTEN, nanos: 0 }),
        size: i64::try_from(body.len()).unwrap(),
        e_tag: etag,
        address_type: if base.is_some() { AddressType::Full } else { AddressType::Relative }.into(),
        content_type: "text/plain".to_owned(),
        ..Entry::default()
    }
}

fn listed(key: &str, entry: &Entry) -> Value {
    json!({
        "path": key, "physical_address": format!("s3://lake/made/{}", entry.address), "checksum": entry.e_tag,
        "size_bytes": entry.size, "mtime": WRITTEN, "content_type": entry.content_type, "metadata": {},
    })
}

fn commit(label: &str, metarange: &str, parent: Option<String>, earlier: usize) -> CommitData {
    let generation = i32::try_from(earlier).unwrap() + 1;
    let mut commit = CommitData {
        committer: "tests".to_owned(),
        message: label.to_owned(),
        creation_date: Some(Timestamp { seconds: WRITTEN + i64::from(generation), nanos: 0 }),
        meta_range_id: metarange.to_owned(),
        parents: parent.into_iter().collect(),
        version: 1,
        generation,
        ..CommitData::default()
    };
    commit.id = ident::commit_id(&commit);
    commit
}

fn shown(commit: &CommitData) -> Value {
    json!({
        "committer": commit.committer, "creation_date": commit.creation_date.as_ref().unwrap().seconds,
        "generation": commit.generation, "id": commit.id, "message": commit.message, "meta_range_id": commit.meta_range_id,
        "metadata": {}, "parents": commit.parents, "version": commit.version,
    })
}
