//! A lake without its server: commits come from a refs dump that lies in the storage namespace.
//!
//! A dump is a moment: a branch that moved since is seen where it was, and the dump's age is shown. Only
//! `PUT …/refs/dump` leaves a manifest in the namespace; what `lakectl refs-dump` prints can be given by `?dump=FILE`; and
//! `?metarange=ID` needs no refs at all.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use graveler::{CommitData, METADATA_FOLDER, Namespace, REFS_MANIFEST, RefsDump, RefsManifest, StoreFiles, is_id};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::cache::CommitCache;
use super::reference::{Modifier, RefExpression};
use super::{Commit, CommitSource, RefKind, Reference};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::stores::{MetadataStore, Stores, unreadable};

/// How a lake's refs are dumped so that they can be read without a server.
pub(super) const NEW_DUMP: &str = "let the server write a new dump: \
     `curl -u KEY:SECRET -X PUT https://LAKEFS/api/v1/repositories/REPO/refs/dump`. \
     `lakectl refs-dump` leaves no manifest in the namespace: save what it prints and name the file by ?dump=FILE";

/// Commits that an ambiguous short id names in the message.
const SHOWN: usize = 4;

/// The format of embedded lakes: what a manifest that Millrace wrote says of itself, as `"millrace": {"format": 1}`.
///
/// * 1: the first.
pub const LAKE_FORMAT: u32 = 1;

/// The format of the embedded lake at `storage` whose manifest is `json`; `None` for a manifest that Millrace did not write.
///
/// # Errors
/// [`Usage`](crate::ErrorKind::Usage) for a format that is not known here.
pub fn own_format(storage: &Location, json: &[u8]) -> Result<Option<u32>> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        millrace: Option<Stamp>,
    }
    #[derive(serde::Deserialize)]
    struct Stamp {
        format: u32,
    }
    let stamp = serde_json::from_slice::<Manifest>(json).ok().and_then(|manifest| manifest.millrace);
    match stamp {
        Some(Stamp { format }) if format != LAKE_FORMAT => Err(newer_format(storage, format)),
        stamp => Ok(stamp.map(|stamp| stamp.format)),
    }
}

/// The error for an embedded lake of a format that is not known here.
#[must_use]
pub fn newer_format(storage: &Location, format: u32) -> Error {
    Error::usage(format!(
        "the lake at {storage} has format {format}; this is millrace {}, which knows format {LAKE_FORMAT}",
        env!("CARGO_PKG_VERSION")
    ))
    .with_help("use the version that made the lake, or a newer one")
}

/// A storage namespace, read without a server.
#[derive(Debug)]
pub struct NamespaceSource {
    storage: Location,
    namespace: Namespace,
    refs: Refs,
    age: Option<i64>,
    commits: CommitCache,
}

#[derive(Debug)]
enum Refs {
    Dump(RefsDump),
    Metarange(Box<Commit>),
}

impl NamespaceSource {
    /// The lake at `storage`, with the refs of its own manifest.
    ///
    /// # Errors
    /// [`Unreachable`](crate::ErrorKind::Unreachable) where there is no lake, no manifest, or no right to read it.
    pub async fn open(storage: &Location, stores: &dyn Stores) -> Result<Self> {
        let files = stores.metadata(storage)?;
        let path = files.prefix.clone().join(METADATA_FOLDER).join(REFS_MANIFEST);
        let (json, age) = match fetch(&files, &path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Err(no_manifest(storage, &files).await),
            Err(error) => return Err(unreadable(&format!("the lake at {storage}"), &error)),
        };
        let shown = storage.join(METADATA_FOLDER).join(REFS_MANIFEST).to_string();
        // Of a damaged manifest no copy is wanted: a new one says what is true now.
        let manifest = RefsManifest::parse(&json, &shown).map_err(|e| Error::corrupt(e.to_string()).with_help(NEW_DUMP))?;
        // Of an embedded lake the manifest is the truth itself, and never old.
        let age = own_format(storage, &json)?.is_none().then_some(age);
        Ok(Self::with_dump(storage, &files, manifest, age))
    }

    /// The lake at `storage`, with the refs that `manifest` names.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn with_manifest(storage: &Location, stores: &dyn Stores, manifest: RefsManifest) -> Result<Self> {
        Ok(Self::with_dump(storage, &stores.metadata(storage)?, manifest, None))
    }

    /// The lake at `storage`, with the refs of the dump whose JSON `file` holds: a URL or a path.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) where the file is no such JSON, else as [`NamespaceSource::open`].
    pub async fn open_dump(storage: &Location, stores: &dyn Stores, file: &str) -> Result<Self> {
        let files = stores.metadata(storage)?;
        let (json, age) = read_dump(stores, file).await?;
        Ok(Self::with_dump(storage, &files, parse_dump(&json, file)?, Some(age)))
    }

    /// The lake at `storage`, of which nothing but one metarange is looked at.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) where `id` is no id or is not there.
    pub async fn open_metarange(storage: &Location, stores: &dyn Stores, id: &str) -> Result<Self> {
        if !is_id(id) {
            return Err(Error::usage(format!("`{id}` is no metarange: an id has 64 digits, 0 to 9 and a to f"))
                .with_help("`lakectl show commit lakefs://REPO/REF --show-meta-range-id` prints it"));
        }
        let files = stores.metadata(storage)?;
        let namespace = namespace_of(storage, &files);
        if let Err(error) = namespace.metarange(id).await {
            let missing = error.kind() == graveler::ErrorKind::NotFound;
            let error = Error::from(error);
            return Err(if missing {
                Error::usage(format!("the lake at {storage} has no metarange {id}: {error}"))
                    .with_help("check the id and the namespace")
            } else {
                error
            });
        }
        let commit = Commit { metarange: id.to_owned(), ..Commit::default() };
        // Counters start at zero for the caller: looking whether it is there was not planning.
        Ok(Self { refs: Refs::Metarange(Box::new(commit)), ..Self::bare(storage, &files) })
    }

    fn with_dump(storage: &Location, files: &MetadataStore, manifest: RefsManifest, age: Option<i64>) -> Self {
        // The dump has a namespace of its own, so that its ranges are not counted as ranges of commits.
        let dump = RefsDump::new(namespace_of(storage, files), manifest);
        Self { refs: Refs::Dump(dump), age, ..Self::bare(storage, files) }
    }

    fn bare(storage: &Location, files: &MetadataStore) -> Self {
        Self {
            storage: storage.clone(),
            namespace: namespace_of(storage, files),
            refs: Refs::Metarange(Box::default()),
            age: None,
            commits: CommitCache::default(),
        }
    }

    /// What the base of an expression means, in the server's order: a full id, a branch, a tag, the beginning of one id.
    async fn base(&self, dump: &RefsDump, expression: &RefExpression) -> Result<Commit> {
        let base = expression.base.as_str();
        let branch = found(dump.branch(base).await)?;
        if expression.needs_branch() {
            let Some(branch) = branch else {
                return Err(Error::usage(format!("`{expression}`: `{base}` is no branch, and `@` is for branches"))
                    .with_help("leave out the `@`; tags and commits are always committed"));
            };
            return self.named("branch", base, &branch.commit_id).await;
        }
        if is_id(base)
            && let Some(commit) = found(dump.commit(base).await)?
        {
            return Ok(self.keep(commit));
        }
        if let Some(branch) = branch {
            return self.named("branch", base, &branch.commit_id).await;
        }
        if let Some(tag) = found(dump.tag(base).await)? {
            return self.named("tag", base, &tag.commit_id).await;
        }
        if is_id(base) {
            return Err(self.not_in_dump(&format!("commit {base}")));
        }
        self.by_prefix(dump, base).await
    }

    /// The commit that a branch or tag names. It may have moved while the dump was written.
    async fn named(&self, kind: &str, name: &str, id: &str) -> Result<Commit> {
        match self.find(id).await? {
            Some(commit) => Ok(commit),
            None => Err(self.not_in_dump(&format!("commit {id}, which {kind} `{name}` points to,"))),
        }
    }

    async fn by_prefix(&self, dump: &RefsDump, base: &str) -> Result<Commit> {
        let hex = base.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut commits = if hex { dump.commits_with_prefix(base, SHOWN + 1).await? } else { Vec::new() };
        if commits.len() > 1 {
            let more = if commits.len() > SHOWN { ", …" } else { "" };
            let ids: Vec<_> = commits.iter().take(SHOWN).map(|commit| commit.id.get(..16).unwrap_or(&commit.id)).collect();
            return Err(Error::usage(format!("`{base}` is the beginning of more than one commit: {}{more}", ids.join(", ")))
                .with_help("write more digits of the id"));
        }
        match commits.pop() {
            Some(commit) => Ok(self.keep(commit)),
            None => Err(Error::usage(format!("`{base}` is no branch, tag or commit of the lake at {}", self.storage)).with_help(
                "`millrace refs` lists branches and tags; what is newer than the refs dump is not seen before the next dump",
            )),
        }
    }

    async fn step(&self, expression: &RefExpression, from: Commit, modifier: Modifier) -> Result<Commit> {
        match modifier {
            Modifier::Committed | Modifier::Parent(0) => Ok(from),
            Modifier::Parent(n) => {
                let parent = usize::try_from(n).ok().and_then(|n| from.parents.get(n - 1));
                let Some(parent) = parent else {
                    let has = from.parents.len();
                    return Err(Error::usage(format!(
                        "`{expression}`: commit {} has {has} parent{}",
                        from.id,
                        if has == 1 { "" } else { "s" }
                    ))
                    .with_help("`^N` counts parents from 1; `~N` goes back along first parents"));
                };
                self.commit(parent).await
            }
            Modifier::Ancestor(steps) => {
                let mut commit = from;
                for done in 0..steps {
                    let Some(parent) = commit.parents.first() else {
                        return Err(Error::usage(format!(
                            "`{expression}` goes back past the first commit, which is {done} steps back"
                        ))
                        .with_help("go back fewer steps; `millrace log` lists the commits"));
                    };
                    commit = self.commit(&parent.clone()).await?;
                }
                Ok(commit)
            }
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Commit>> {
        if let Some(commit) = self.commits.get(id) {
            return Ok(Some(commit));
        }
        match &self.refs {
            Refs::Dump(dump) => Ok(found(dump.commit(id).await)?.map(|commit| self.keep(commit))),
            Refs::Metarange(_) => Ok(None),
        }
    }

    fn keep(&self, commit: CommitData) -> Commit {
        let commit = Commit::from(commit);
        self.commits.put(&commit);
        commit
    }

    fn not_in_dump(&self, what: &str) -> Error {
        let age = self.age.and_then(|age| chrono::DateTime::from_timestamp(age, 0));
        let age = age.map_or_else(String::new, |age| format!(" of {}", age.format("%Y-%m-%d %H:%M:%S UTC")));
        Error::unreachable(format!(
            "{what} is not in the refs dump{age} of the lake at {}: it may have been made while the dump was written, or later",
            self.storage
        ))
        .with_help(NEW_DUMP)
    }
}

#[async_trait]
impl CommitSource for NamespaceSource {
    fn storage(&self) -> &Location {
        &self.storage
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    async fn resolve(&self, expression: &str) -> Result<Commit> {
        let dump = match &self.refs {
            Refs::Dump(dump) => dump,
            Refs::Metarange(commit) => return Ok(commit.as_ref().clone()),
        };
        let expression = RefExpression::parse(expression)?;
        let mut commit = self.base(dump, &expression).await?;
        for modifier in &expression.modifiers {
            commit = self.step(&expression, commit, *modifier).await?;
        }
        Ok(commit)
    }

    async fn commit(&self, id: &str) -> Result<Commit> {
        match (self.find(id).await?, &self.refs) {
            (Some(commit), _) => Ok(commit),
            (None, Refs::Dump(_)) => Err(self.not_in_dump(&format!("commit {id}"))),
            (None, Refs::Metarange(_)) => {
                Err(Error::usage(format!("commit {id} cannot be looked up: only a metarange is named"))
                    .with_help("name the lake with ref=REF instead of metarange=ID"))
            }
        }
    }

    async fn find(&self, id: &str) -> Result<Option<Commit>> {
        Self::find(self, id).await
    }

    async fn refs(&self) -> Result<Vec<Reference>> {
        let Refs::Dump(dump) = &self.refs else { return Ok(Vec::new()) };
        let branches = dump.branches().map_ok(|b| Reference { kind: RefKind::Branch, name: b.id, commit: b.commit_id });
        let mut refs: Vec<Reference> = branches.try_collect().await?;
        let tags = dump.tags().map_ok(|t| Reference { kind: RefKind::Tag, name: t.id, commit: t.commit_id });
        refs.extend(tags.try_collect::<Vec<_>>().await?);
        Ok(refs)
    }

    fn refs_age(&self) -> Option<i64> {
        self.age
    }
}

impl From<CommitData> for Commit {
    fn from(data: CommitData) -> Self {
        Self {
            id: data.id,
            metarange: data.meta_range_id,
            parents: data.parents,
            committer: data.committer,
            message: data.message,
            created: data.creation_date.map_or(0, |at| at.seconds),
            metadata: data.metadata,
            generation: data.generation.into(),
        }
    }
}

/// The metadata of the lake at `storage`.
///
/// # Errors
/// Settings that name no usable store.
pub(crate) fn namespace_at(storage: &Location, stores: &dyn Stores) -> Result<Namespace> {
    Ok(namespace_of(storage, &stores.metadata(storage)?))
}

fn namespace_of(storage: &Location, files: &MetadataStore) -> Namespace {
    Namespace::new(Arc::new(StoreFiles::new(Arc::clone(&files.store), files.prefix.clone()).at(storage.to_string())))
}

/// Absence is an answer here, everything else an error.
fn found<T>(result: graveler::Result<T>) -> Result<Option<T>> {
    use graveler::ErrorKind::{NotFound, NotInDump};
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == NotInDump => Ok(None),
        // A missing *file* is `NotFound` as well: only a missing record names no cause.
        Err(error) if error.kind() == NotFound && std::error::Error::source(&error).is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file, and when it was last written.
async fn fetch(files: &MetadataStore, path: &Path) -> object_store::Result<(Bytes, i64)> {
    let answer = files.store.get(path).await?;
    let age = answer.meta.last_modified.timestamp();
    Ok((answer.bytes().await?, age))
}

/// Why there is no manifest: the refs were never dumped, or there is no lake at all.
async fn no_manifest(storage: &Location, files: &MetadataStore) -> Error {
    let folder = files.prefix.clone().join(METADATA_FOLDER);
    match files.store.list(Some(&folder)).try_next().await {
        Ok(Some(_)) => Error::unreachable(format!("the lake at {storage} has no refs dump ({METADATA_FOLDER}/{REFS_MANIFEST})"))
            .with_help(NEW_DUMP),
        Ok(None) | Err(object_store::Error::NotFound { .. }) => {
            Error::unreachable(format!("there is no lake at {storage}: nothing lies below {METADATA_FOLDER}/")).with_help(
                "name the repository's storage namespace, as `lakectl repo list` shows it, and check bucket, endpoint and region",
            )
        }
        Err(error) => unreadable(&format!("the lake at {storage}"), &error),
    }
}

async fn read_dump(stores: &dyn Stores, file: &str) -> Result<(Bytes, i64)> {
    let what = format!("the refs dump `{file}`");
    let location = Location::parse(file).map_err(|e| e.context(&what))?;
    if let Some(path) = location.file_path() {
        let read = async {
            let bytes = tokio::fs::read(&path).await?;
            let modified = tokio::fs::metadata(&path).await?.modified()?;
            Ok::<_, std::io::Error>((Bytes::from(bytes), chrono::DateTime::<chrono::Utc>::from(modified).timestamp()))
        };
        return read.await.map_err(|e| {
            Error::usage(format!("{what} cannot be read: {e}"))
                .with_help("save what `lakectl refs-dump lakefs://REPO` prints, and name that file")
        });
    }
    let (folder, name) = location.path().rsplit_once('/').unwrap_or_else(|| ("", location.path()));
    let folder = Location::new(location.scheme(), location.bucket(), folder);
    let files = stores.metadata(&folder)?;
    let path = files.prefix.clone().join(name);
    fetch(&files, &path).await.map_err(|e| unreadable(&what, &e))
}

/// The ids alone, or the server's answer about a finished dump, which holds them as `refs`.
fn parse_dump(json: &[u8], file: &str) -> Result<RefsManifest> {
    #[derive(serde::Deserialize)]
    struct Task {
        refs: RefsManifest,
    }
    let ids = match serde_json::from_slice::<Task>(json) {
        Ok(task) => serde_json::to_vec(&task.refs).unwrap_or_default(),
        Err(_) => json.to_vec(),
    };
    RefsManifest::parse(&ids, file).map_err(|e| {
        Error::usage(format!("`{file}` is no refs dump: {}", e.message()))
            .with_help("save what `lakectl refs-dump lakefs://REPO` prints, and name that file")
    })
}

#[cfg(test)]
#[path = "namespace_tests.rs"]
mod tests;
