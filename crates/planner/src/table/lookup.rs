//! Point look-ups: one index and one block of a range that was not opened.

use std::collections::HashSet;
use std::sync::Arc;

use graveler::{Metarange, Namespace};

use crate::address::storage_prefix;
use crate::entry::{Columns, EntryBuilder, EntryRow};
use crate::error::Result;
use crate::source::{Commit, CommitSource};

/// Looks up single paths of one commit.
#[derive(Debug, Clone)]
pub struct Lookup {
    namespace: Namespace,
    metarange: Arc<Metarange>,
    storage: Arc<str>,
    /// Ranges that somebody else reads.
    read: HashSet<String>,
}

impl Lookup {
    /// Look-ups in `metarange` of `lake`.
    #[must_use]
    pub fn new(lake: &dyn CommitSource, metarange: Arc<Metarange>) -> Self {
        let storage = storage_prefix(lake.storage()).into();
        Self { namespace: lake.namespace().clone(), metarange, storage, read: HashSet::new() }
    }

    /// Look-ups beside a stream that reads the ranges `read`.
    #[must_use]
    pub fn beside(self, read: HashSet<String>) -> Self {
        Self { read, ..self }
    }

    /// The entry of `path`, unless the stream sees it.
    ///
    /// # Errors
    /// Damaged or unreachable metadata.
    pub async fn get_unseen(&self, path: &str) -> Result<Option<EntryRow>> {
        match self.metarange.find(path.as_bytes()) {
            Some(range) if !self.read.contains(&range.id) => self.get(path).await,
            _ => Ok(None),
        }
    }

    /// Whether anything lies below `path/` that the stream does not see.
    ///
    /// # Errors
    /// Damaged or unreachable metadata.
    pub async fn has_unseen_below(&self, path: &str) -> Result<bool> {
        let below = format!("{path}/").into_bytes();
        let reaches = |range: &&graveler::RangeInfo| range.min_key[..] <= below[..] || range.min_key.starts_with(&below);
        let mut ranges = self.metarange.ranges_from(&below).iter().take_while(reaches);
        if !ranges.any(|range| !self.read.contains(&range.id)) {
            return Ok(false);
        }
        Ok(!self.namespace.with_prefix(&self.metarange, &below, 1).await?.is_empty())
    }

    /// The first paths that begin with `prefix`, at most so many.
    ///
    /// # Errors
    /// Damaged or unreachable metadata.
    pub async fn first(&self, prefix: &str, limit: usize) -> Result<Vec<String>> {
        let records = self.namespace.with_prefix(&self.metarange, prefix.as_bytes(), limit).await?;
        Ok(records.iter().map(|record| String::from_utf8_lossy(&record.key).into_owned()).collect())
    }

    /// The entry of `path`.
    ///
    /// # Errors
    /// Damaged or unreachable metadata.
    pub async fn get(&self, path: &str) -> Result<Option<EntryRow>> {
        let Some(record) = self.namespace.lookup(&self.metarange, path.as_bytes()).await? else { return Ok(None) };
        let mut builder = EntryBuilder::new(Columns::ALL, Arc::clone(&self.storage), 1);
        builder.append(path, &record.identity, &record.data)?;
        Ok(Some(builder.finish(&vec![path].into())?.row(0)))
    }
}

/// The entry of `path` in `commit`.
///
/// # Errors
/// Damaged or unreachable metadata.
pub async fn lookup(lake: &dyn CommitSource, commit: &Commit, path: &str) -> Result<Option<EntryRow>> {
    let metarange = lake.namespace().metarange(&commit.metarange).await?;
    Lookup::new(lake, Arc::new(metarange)).get(path).await
}
