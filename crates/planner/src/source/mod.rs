//! Where commits come from: a lakeFS server, or the storage namespace itself.
//!
//! A reference is resolved to a commit exactly once, when planning starts; from then on only the commit's id and metarange
//! are used, so that uncommitted data and a moving branch are never seen.

mod cache;
mod error;
pub mod history;
mod lake_url;
mod namespace;
mod open;
mod reference;
mod server;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::location::Location;

pub use self::history::{is_ancestor, log};
pub use self::lake_url::{LakePlace, LakeUrl};
pub(crate) use self::namespace::namespace_at;
pub use self::namespace::{LAKE_FORMAT, NamespaceSource, newer_format, own_format};
pub use self::open::open;
pub use self::reference::{Modifier, RefExpression};
pub use self::server::{ClientOptions, LakefsSettings, Lookup, MetadataRoute, ServerOptions, ServerSource};

/// A commit of a lake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// 64 hex digits. Empty when a bare metarange was named.
    pub id: String,
    /// The metarange's id; empty for a repository's first, empty commit.
    pub metarange: String,
    /// Ids of the parents, the first one first.
    pub parents: Vec<String>,
    /// Who made it.
    pub committer: String,
    /// The message.
    pub message: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Pairs given by the committer.
    pub metadata: BTreeMap<String, String>,
    /// Longest distance from the first commit; 0 where it is not known.
    pub generation: i64,
}

impl Commit {
    /// What names it in documents and markers: its id, or its metarange's where only that is known.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.id.is_empty() { &self.metarange } else { &self.id }
    }

    /// What stands for it in messages: the first digits of its name.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.name().get(..12).unwrap_or_else(|| self.name())
    }
}

/// A branch or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefKind {
    /// Moves with each commit.
    Branch,
    /// Stays.
    Tag,
}

/// A name and the commit it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Branch or tag.
    pub kind: RefKind,
    /// Its name.
    pub name: String,
    /// The commit's id.
    pub commit: String,
}

/// Something that knows the commits of one lake.
#[async_trait]
pub trait CommitSource: Send + Sync + Debug {
    /// Where the lake's data and metadata lie: relative addresses are resolved against it, and it is the lake's identity.
    fn storage(&self) -> &Location;

    /// The lake's metadata files, with counters of what was opened.
    fn namespace(&self) -> &graveler::Namespace;

    /// The commit that a reference expression (`main`, `v1`, `main~3`, `abc123`, `main@`) means now.
    ///
    /// # Errors
    /// `Usage` for an expression that cannot be read or that names nothing; `Unreachable` where nobody answers.
    async fn resolve(&self, expression: &str) -> Result<Commit>;

    /// A commit by its full id.
    ///
    /// # Errors
    /// As [`CommitSource::resolve`].
    async fn commit(&self, id: &str) -> Result<Commit>;

    /// A commit by its full id; `None` when this source does not know it.
    ///
    /// # Errors
    /// As [`CommitSource::resolve`], but for what is not there.
    async fn find(&self, id: &str) -> Result<Option<Commit>> {
        match self.commit(id).await {
            Ok(commit) => Ok(Some(commit)),
            Err(e) if e.kind() == crate::ErrorKind::Usage => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All branches and tags: branches first, each by name.
    ///
    /// # Errors
    /// As [`CommitSource::resolve`].
    async fn refs(&self) -> Result<Vec<Reference>>;

    /// When the knowledge of refs was written, for sources that read a dump (seconds since 1970).
    fn refs_age(&self) -> Option<i64> {
        None
    }

    /// What the user should be told once about how the lake is read, after something was read.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}
