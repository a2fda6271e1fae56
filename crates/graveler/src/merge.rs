//! The next tree: changes applied to a tree, and what they leave alone taken over whole.
//!
//! ```text
//! base     │ a … f │ g … p │ q … z │
//! changes             h, k
//! next     │ a … f │ g … p'│ q … z │        two ranges reused, one written anew
//! ```
//!
//! This is how lakeFS commits: with the same base and the same changes the same ranges come out, and
//! the same id. A range is entered when the next change is not beyond its last key; once entered, all
//! its records are written again, and the ranges they end up in are cut by the same rule as ever.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};

use crate::cursor::{Place, TreeCursor};
use crate::error::Result;
use crate::metarange::Metarange;
use crate::metarange_writer::{MetarangeWriter, WriteCounts, WriteOptions};
use crate::namespace::Namespace;
use crate::range::RangeInfo;
use crate::sink::MetadataSink;
use crate::sstable::writer::check_key;

mod prefixes;

pub use prefixes::Prefixes;

/// What is to become of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets this record. If the tree has one with the same identity, that one stays: uploading
    /// the same bytes again does not move an object.
    Put {
        /// What records are compared by.
        identity: Bytes,
        /// The encoded entry.
        data: Bytes,
    },
    /// It goes; if it is not there, nothing changes.
    Delete,
}

/// How a tree differs from the one before: what a diff of the two would list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Keys that were not there before.
    pub added: u64,
    /// Keys whose identity is another.
    pub changed: u64,
    /// Keys that are gone.
    pub removed: u64,
}

impl ChangeCounts {
    /// Whether the trees hold the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A tree with changes applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The next tree; it is stored.
    pub metarange: Metarange,
    /// How it differs from the one before.
    pub changes: ChangeCounts,
    /// What writing it has cost, and how many ranges were reused.
    pub counts: WriteCounts,
}

/// Applies changes to the trees of a namespace.
#[derive(Clone, Debug)]
pub struct TreeMerge {
    /// Where the trees are read.
    pub namespace: Namespace,
    /// Where the next ones are stored: the same namespace.
    pub sink: Arc<dyn MetadataSink>,
    /// How they are written.
    pub options: WriteOptions,
}

impl TreeMerge {
    /// Applies changes, which come in key order and once for each key, to `base`.
    ///
    /// All keys of `base` that start with one of the `replaced` prefixes are removed first, so that
    /// the changes are all that the next tree has there. A put below such a prefix takes the place of
    /// a record with the same identity too, without counting as a change.
    ///
    /// Fails with [`crate::ErrorKind::InvalidInput`] for changes out of order, and with the first
    /// error of the stream; `base` is untouched whatever happens.
    pub async fn apply<S>(&self, base: &Metarange, changes: S, replaced: &Prefixes) -> Result<Applied>
    where
        S: Stream<Item = Result<(Bytes, Change)>> + Send,
    {
        let mut changes = pin!(changes);
        let mut step = Step {
            base: TreeCursor::new(&self.namespace, base.ranges().to_vec()),
            replaced,
            writer: MetarangeWriter::new(Arc::clone(&self.sink), self.options),
            counts: ChangeCounts::default(),
        };
        let mut last: Option<Bytes> = None;
        while let Some((key, change)) = changes.try_next().await? {
            check_key(&key, last.as_deref())?;
            step.copy_below(Some(&key)).await?;
            step.apply(&key, &change).await?;
            last = Some(key);
        }
        step.copy_below(None).await?;
        let written = step.writer.finish().await?;
        Ok(Applied { metarange: written.metarange, changes: step.counts, counts: written.counts })
    }
}

/// A merge at work.
struct Step<'a> {
    base: TreeCursor,
    replaced: &'a Prefixes,
    writer: MetarangeWriter,
    counts: ChangeCounts,
}

impl Step<'_> {
    /// Copies what the base holds below `key`, or all that is left; stops on a record or at the end.
    async fn copy_below(&mut self, key: Option<&[u8]>) -> Result<()> {
        loop {
            match self.base.place() {
                Place::End => return Ok(()),
                Place::Range(range) if key.is_some_and(|key| *range.max_key >= *key) => self.base.enter().await?,
                Place::Range(_) => self.pass_range().await?,
                Place::Record(reader) if key.is_some_and(|key| reader.key() >= key) => return Ok(()),
                Place::Record(reader) => {
                    if self.replaced.hold(reader.key()) {
                        self.counts.removed += 1;
                    } else {
                        self.writer.add(reader.key(), reader.identity(), reader.data()).await?;
                    }
                    self.base.advance()?;
                }
            }
        }
    }

    /// Passes over a range without changes: it is reused, or removed, or entered because some of it
    /// is to be removed.
    async fn pass_range(&mut self) -> Result<()> {
        let Place::Range(range) = self.base.place() else {
            return Ok(());
        };
        if self.replaced.may_touch(range) && !self.replaced.cover(range) {
            return self.base.enter().await;
        }
        let covered = self.replaced.cover(range);
        match self.base.take_range() {
            Some(range) if covered => self.counts.removed += range.count,
            Some(range) => self.reuse(range).await?,
            None => {}
        }
        Ok(())
    }

    async fn reuse(&mut self, range: RangeInfo) -> Result<()> {
        self.writer.add_range(range).await
    }

    /// Applies one change; the base stands on the first record that is not below it.
    async fn apply(&mut self, key: &[u8], change: &Change) -> Result<()> {
        let there = match self.base.place() {
            Place::Record(reader) if reader.key().cmp(key) == Ordering::Equal => Some(reader),
            _ => None,
        };
        match (change, there) {
            (Change::Delete, None) => return Ok(()),
            (Change::Delete, Some(_)) => self.counts.removed += 1,
            (Change::Put { identity, data }, None) => {
                self.counts.added += 1;
                self.writer.add(key, identity, data).await?;
                return Ok(());
            }
            (Change::Put { identity, .. }, Some(record)) if *identity == *record.identity() && !self.replaced.hold(key) => {
                self.writer.add(key, identity, record.data()).await?;
            }
            (Change::Put { identity, data }, Some(record)) => {
                if *identity != *record.identity() {
                    self.counts.changed += 1;
                }
                self.writer.add(key, identity, data).await?;
            }
        }
        self.base.advance()
    }
}
