//! Refs dumps: branches, tags and commits of a repository as files, for reading without a server.
//!
//! A dump is a moment of the repository and not atomic: a branch may point to a commit that the
//! dump lacks. That is [`ErrorKind::NotInDump`], not damage. Every commit's id is recomputed from
//! its content before it is given out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};
use crate::files::REFS_MANIFEST;
use crate::ident::commit_id;
use crate::metarange::{Metarange, is_id};
use crate::namespace::Namespace;
use crate::proto::{BranchData, CommitData, TagData};
use crate::range::Record;
use crate::sstable::TableProperties;
use crate::sstable::properties::{ENTITY, SCHEMA_DEFINITION, SCHEMA_NAME};

mod writer;

pub use writer::{Refs, write_refs};

/// What the records of a refs dump are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// Commits, by id.
    Commit,
    /// Branches, by name.
    Branch,
    /// Tags, by name.
    Tag,
}

impl Entity {
    /// The value of the file's `entity` property.
    #[must_use]
    pub fn property(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }

    /// The properties of the dump's files besides their type.
    pub(crate) fn properties(self) -> TableProperties {
        let (name, definition) = match self {
            Self::Commit => ("io.treeverse.lakefs.graveler.CommitData", include_str!("refs/commit.schema.json")),
            Self::Branch => ("io.treeverse.lakefs.graveler.BranchData", include_str!("refs/branch.schema.json")),
            Self::Tag => ("io.treeverse.lakefs.graveler.TagData", include_str!("refs/tag.schema.json")),
        };
        [(ENTITY, self.property()), (SCHEMA_NAME, name), (SCHEMA_DEFINITION, definition)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.property())
    }
}

/// The metaranges of a dump: what `refs_manifest.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefsManifest {
    // In the order in which the server writes them.
    /// The metarange of all branches.
    pub branches_meta_range_id: String,
    /// The metarange of all commits.
    pub commits_meta_range_id: String,
    /// The metarange of all tags.
    pub tags_meta_range_id: String,
}

impl RefsManifest {
    /// Reads the JSON of a manifest or of the server's answer to a dump; `file` is for errors.
    pub fn parse(json: &[u8], file: &str) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|error| Error::corrupt(file, format!("expected the JSON of a refs dump, found {error}")))?;
        for id in manifest.ids() {
            if !is_id(id) {
                return Err(Error::corrupt(file, format!("expected metarange ids of 64 hexadecimal digits, found `{id}`")));
            }
        }
        Ok(manifest)
    }

    /// The manifest's JSON, byte for byte as the server writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Three texts cannot fail to become JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    fn ids(&self) -> [&str; 3] {
        [&self.commits_meta_range_id, &self.tags_meta_range_id, &self.branches_meta_range_id]
    }

    fn id_of(&self, entity: Entity) -> &str {
        match entity {
            Entity::Commit => &self.commits_meta_range_id,
            Entity::Tag => &self.tags_meta_range_id,
            Entity::Branch => &self.branches_meta_range_id,
        }
    }
}

/// The refs of a repository at the moment of a dump. Clones are cheap and share what was loaded.
#[derive(Clone, Debug)]
pub struct RefsDump {
    namespace: Namespace,
    manifest: RefsManifest,
    metaranges: Arc<[OnceCell<Metarange>; 3]>,
}

impl RefsDump {
    /// The dump that `manifest` describes; nothing is read yet.
    #[must_use]
    pub fn new(namespace: Namespace, manifest: RefsManifest) -> Self {
        Self { namespace, manifest, metaranges: Arc::default() }
    }

    /// The dump that the namespace's own manifest describes.
    pub async fn open(namespace: Namespace) -> Result<Self> {
        let file = namespace.files().file_name(REFS_MANIFEST);
        let Some(json) = namespace.files().refs_manifest().await? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                file,
                "expected the manifest of a refs dump, found none: dump the refs to the namespace \
                 (`PUT …/refs/dump`) or give the dump's JSON",
            ));
        };
        let manifest = RefsManifest::parse(&json, &file)?;
        Ok(Self::new(namespace, manifest))
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &RefsManifest {
        &self.manifest
    }

    /// The namespace that holds the dump.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A branch by name.
    pub async fn branch(&self, name: &str) -> Result<BranchData> {
        let record = self.find(Entity::Branch, name).await?;
        self.decode(Entity::Branch, &record)
    }

    /// A tag by name.
    pub async fn tag(&self, name: &str) -> Result<TagData> {
        let record = self.find(Entity::Tag, name).await?;
        self.decode(Entity::Tag, &record)
    }

    /// A commit by its full id, which is checked against the commit's content.
    pub async fn commit(&self, id: &str) -> Result<CommitData> {
        let record = self.find(Entity::Commit, id).await?;
        self.checked_commit(&record)
    }

    /// The first commits whose ids start with `prefix`, `limit` at most, in order of id. A short id
    /// is unique when `limit` 2 gives one.
    pub async fn commits_with_prefix(&self, prefix: &str, limit: usize) -> Result<Vec<CommitData>> {
        let metarange = self.metarange(Entity::Commit).await?;
        let found = self.namespace.with_prefix(metarange, prefix.as_bytes(), limit);
        found.await?.iter().map(|record| self.checked_commit(record)).collect()
    }

    /// All branches, in order of name.
    #[must_use]
    pub fn branches(&self) -> BoxStream<'static, Result<BranchData>> {
        self.all(Entity::Branch, |dump, record| dump.decode(Entity::Branch, record))
    }

    /// All tags, in order of name.
    #[must_use]
    pub fn tags(&self) -> BoxStream<'static, Result<TagData>> {
        self.all(Entity::Tag, |dump, record| dump.decode(Entity::Tag, record))
    }

    /// All commits, in order of id, each checked as [`RefsDump::commit`] does.
    #[must_use]
    pub fn commits(&self) -> BoxStream<'static, Result<CommitData>> {
        self.all(Entity::Commit, Self::checked_commit)
    }

    /// The metarange that lists all of one kind; read once.
    pub async fn metarange(&self, entity: Entity) -> Result<&Metarange> {
        let id = self.manifest.id_of(entity);
        self.metaranges[entity as usize].get_or_try_init(|| self.namespace.metarange_of(id, Some(entity))).await
    }

    fn all<T: Send + 'static>(&self, entity: Entity, read: fn(&Self, &Record) -> Result<T>) -> BoxStream<'static, Result<T>> {
        let dump = self.clone();
        let records = async move {
            let metarange = dump.metarange(entity).await?;
            let records = dump.namespace.records(metarange);
            Ok(records.map(move |record| read(&dump, &record?)))
        };
        futures::stream::once(records).try_flatten().boxed()
    }

    async fn find(&self, entity: Entity, name: &str) -> Result<Record> {
        let metarange = self.metarange(entity).await?;
        let found = self.namespace.lookup(metarange, name.as_bytes()).await?;
        found.ok_or_else(|| {
            let kind = match entity {
                Entity::Commit => ErrorKind::NotInDump,
                Entity::Branch | Entity::Tag => ErrorKind::NotFound,
            };
            let message = format!("expected {entity} `{name}` in the refs dump, found none");
            Error::new(kind, self.file(entity), message)
        })
    }

    fn decode<T: Message + Default>(&self, entity: Entity, record: &Record) -> Result<T> {
        T::decode(Bytes::clone(&record.data)).map_err(|error| {
            let name = record.key.escape_ascii();
            Error::corrupt(self.file(entity), format!("expected {entity} `{name}`, found a malformed record")).caused_by(error)
        })
    }

    fn checked_commit(&self, record: &Record) -> Result<CommitData> {
        let commit: CommitData = self.decode(Entity::Commit, record)?;
        let found = commit_id(&commit);
        if found.as_bytes() == &*record.key && found == commit.id {
            return Ok(commit);
        }
        let name = record.key.escape_ascii();
        Err(Error::corrupt(self.file(Entity::Commit), format!("expected commit {name}, found the content of commit {found}")))
    }

    fn file(&self, entity: Entity) -> String {
        self.namespace.files().file_name(self.manifest.id_of(entity))
    }
}
