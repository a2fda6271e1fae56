//! Point look-ups: one index and one block of a range that was not opened.

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
}

impl Lookup {
    /// Look-ups in `metarange` of `lake`.
    #[must_use]
    pub fn new(lake: &dyn CommitSource, metarange: Arc<Metarange>) -> Self {
        Self { namespace: lake.namespace().clone(), metarange, storage: storage_prefix(lake.storage()).into() }
    }

    /// The entry of `path`.
    ///
    /// # Errors
    /// Damaged or unreachable metadata.
    pub async fn get(&self, path: &str) -> Result<Option<EntryRow>> {
        let Some(record) = self.namespace.lookup(&self.metarange, path.as_bytes()).await? else { return Ok(None) };
        let mut builder = EntryBuilder::new(Columns::ALL, Arc::clone(&self.storage), 1);
        builder.append(path, &record.identity, &record.data)?;
        Ok(Some(builder.finish()?.row(0)))
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
