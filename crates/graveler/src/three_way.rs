//! Merging one branch's tree into another's: which changes does the source bring to the destination?
//!
//! For each key there are three records, or their absence: in the merge base, in the source and in
//! the destination. They are compared by identity, as everywhere.
//!
//! | source    | destination | then |
//! |-----------|-------------|------|
//! | as base   | any         | the destination's stays |
//! | otherwise | as source   | the destination's stays: both did the same |
//! | otherwise | as base     | the source's is taken, or the key deleted |
//! | otherwise | otherwise   | conflict: a strategy decides, or a person |
//!
//! So it is a conflict when both changed a key in different ways, when both added it with different
//! content, and when one deleted what the other changed. That is lakeFS's rule. Two things are
//! otherwise here: where both sides hold equal objects at different addresses, lakeFS takes the
//! source's address and we keep the destination's; and lakeFS copies whole ranges of either side
//! where it can, while here the source's changes are applied to the destination's tree, so that the
//! merged tree has the same objects but may be cut into other ranges.
//!
//! Ranges that are the same in two of the trees are not read, unless the third makes it necessary:
//! the cost follows the source's changes since the merge base.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{Stream, stream};

use crate::cursor::{Place, TreeCursor};
use crate::error::Result;
use crate::merge::{Applied, Change, ChangeCounts, Prefixes, TreeMerge};
use crate::metarange::Metarange;
use crate::metarange_writer::WriteCounts;
use crate::namespace::Namespace;
use crate::range::{RangeInfo, RangeReader, Record};

/// Who is right in a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The tree that is merged.
    SourceWins,
    /// The tree that is merged into.
    DestWins,
}

/// A key that source and destination changed in different ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The key.
    pub key: Bytes,
    /// Its record in the merge base; `None`: it was not there.
    pub base: Option<Record>,
    /// Its record in the source; `None`: deleted there.
    pub source: Option<Record>,
    /// Its record in the destination; `None`: deleted there.
    pub destination: Option<Record>,
}

/// What [`ThreeWay::next`] came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThreeWayStep {
    /// A change to the destination.
    Change(Bytes, Change),
    /// A key for which there is no strategy.
    Conflict(Box<Conflict>),
}

/// The changes that a merge makes to the destination, in key order.
#[derive(Debug)]
pub struct ThreeWay {
    base: TreeCursor,
    source: TreeCursor,
    destination: TreeCursor,
    strategy: Option<Strategy>,
    /// Ranges that source and destination have in common: nothing changes between their keys.
    agreed: Vec<RangeInfo>,
    base_ids: HashSet<String>,
    counts: ChangeCounts,
    resolved: u64,
}

/// The three records of a key.
struct Sides {
    key: Bytes,
    base: Option<Record>,
    source: Option<Record>,
}

impl ThreeWay {
    /// Compares three trees of a namespace. Without a strategy, conflicts are told.
    #[must_use]
    pub fn new(
        namespace: &Namespace,
        base: &Metarange,
        source: &Metarange,
        destination: &Metarange,
        strategy: Option<Strategy>,
    ) -> Self {
        let (base_ids, source_ids, destination_ids) = (ids(base), ids(source), ids(destination));
        let only = |tree: &Metarange, keep: &dyn Fn(&str) -> bool| -> Vec<RangeInfo> {
            tree.ranges().iter().filter(|range| keep(&range.id)).cloned().collect()
        };
        let changed = only(source, &|id| !base_ids.contains(id) && !destination_ids.contains(id));
        Self {
            base: TreeCursor::new(namespace, only(base, &|id| !source_ids.contains(id))),
            source: TreeCursor::new(namespace, changed),
            destination: TreeCursor::new(namespace, only(destination, &|id| !source_ids.contains(id))),
            strategy,
            agreed: only(source, &|id| destination_ids.contains(id)),
            base_ids: base_ids.into_iter().map(str::to_owned).collect(),
            counts: ChangeCounts::default(),
            resolved: 0,
        }
    }

    /// The next change or conflict; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<ThreeWayStep>> {
        while let Some(sides) = self.next_difference().await? {
            let step = self.decide(sides).await?;
            if step.is_some() {
                return Ok(step);
            }
        }
        Ok(None)
    }

    /// How the changes given out so far change the destination.
    #[must_use]
    pub fn counts(&self) -> ChangeCounts {
        self.counts
    }

    /// How many conflicts the strategy has decided so far.
    #[must_use]
    pub fn resolved(&self) -> u64 {
        self.resolved
    }

    /// The changes as a stream for [`TreeMerge::apply`]. Conflicts are passed over: the destination's
    /// record stays.
    pub fn changes(self) -> impl Stream<Item = Result<(Bytes, Change)>> + Send {
        stream::try_unfold(self, async |mut merge| {
            while let Some(step) = merge.next().await? {
                if let ThreeWayStep::Change(key, change) = step {
                    return Ok(Some(((key, change), merge)));
                }
            }
            Ok(None)
        })
    }

    /// The next key on which source and base differ and which lies in no range that source and
    /// destination share.
    async fn next_difference(&mut self) -> Result<Option<Sides>> {
        loop {
            self.source.enter().await?;
            self.base.enter().await?;
            let (source, base) = (reader(&self.source), reader(&self.base));
            let Some(key) = [source, base].into_iter().flatten().map(RangeReader::key).min() else {
                return Ok(None);
            };
            let source = source.filter(|reader| reader.key() == key);
            let base = base.filter(|reader| reader.key() == key);
            let same = source.map(RangeReader::identity) == base.map(RangeReader::identity);
            let skip = same || (source.is_none() && self.is_agreed(key));
            let sides = (!skip).then(|| Sides {
                key: Bytes::copy_from_slice(key),
                base: base.map(RangeReader::record),
                source: source.map(RangeReader::record),
            });
            let (in_source, in_base) = (source.is_some(), base.is_some());
            if in_source {
                self.source.advance()?;
            }
            if in_base {
                self.base.advance()?;
            }
            if sides.is_some() {
                return Ok(sides);
            }
        }
    }

    fn is_agreed(&self, key: &[u8]) -> bool {
        let at = self.agreed.partition_point(|range| *range.max_key < *key);
        self.agreed.get(at).is_some_and(|range| range.covers(key))
    }

    async fn decide(&mut self, sides: Sides) -> Result<Option<ThreeWayStep>> {
        let Sides { key, base, source } = sides;
        let destination = self.in_destination(&key, base.as_ref()).await?;
        if identity(destination.as_ref()) == identity(source.as_ref()) {
            return Ok(None);
        }
        if identity(destination.as_ref()) != identity(base.as_ref()) {
            match self.strategy {
                None => return Ok(Some(ThreeWayStep::Conflict(Box::new(Conflict { key, base, source, destination })))),
                Some(Strategy::SourceWins) => self.resolved += 1,
                Some(Strategy::DestWins) => {
                    self.resolved += 1;
                    return Ok(None);
                }
            }
        }
        let count = match (&source, &destination) {
            (None, _) => &mut self.counts.removed,
            (Some(_), None) => &mut self.counts.added,
            (Some(_), Some(_)) => &mut self.counts.changed,
        };
        *count += 1;
        let change = source.map_or(Change::Delete, |record| Change::Put { identity: record.identity, data: record.data });
        Ok(Some(ThreeWayStep::Change(key, change)))
    }

    /// The destination's record of a key; `base` is the merge base's.
    async fn in_destination(&mut self, key: &[u8], base: Option<&Record>) -> Result<Option<Record>> {
        self.destination.skip_to(key)?;
        if let Place::Range(range) = self.destination.place()
            && range.covers(key)
        {
            if self.base_ids.contains(&range.id) {
                return Ok(base.cloned());
            }
            self.destination.enter().await?;
            self.destination.skip_to(key)?;
        }
        let found = reader(&self.destination).filter(|reader| reader.key() == key);
        Ok(found.map(RangeReader::record))
    }
}

fn ids(tree: &Metarange) -> HashSet<&str> {
    tree.ranges().iter().map(|range| &*range.id).collect()
}

fn reader(cursor: &TreeCursor) -> Option<&RangeReader> {
    match cursor.place() {
        Place::Record(reader) => Some(reader),
        _ => None,
    }
}

fn identity(record: Option<&Record>) -> Option<&[u8]> {
    record.map(|record| &*record.identity)
}

/// What merging two trees came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The source has changed nothing since the merge base: there is nothing to merge.
    Nothing,
    /// The merged tree.
    Tree {
        /// The tree, stored, and how it differs from the destination.
        applied: Applied,
        /// How many conflicts the strategy decided.
        resolved: u64,
    },
    /// Keys in conflict, in order: all of them, or the first so many that were asked for. Nothing
    /// was written.
    Conflicts(Vec<Conflict>),
}

impl TreeMerge {
    /// Merges `source` into `destination`. Without a strategy, conflicts are looked for before a file
    /// is written, and the first `most` of them (one at
    /// least) are given back.
    ///
    /// A destination that is the merge base becomes the source's tree, as in lakeFS: no file is
    /// written.
    pub async fn merge(
        &self,
        base: &Metarange,
        source: &Metarange,
        destination: &Metarange,
        strategy: Option<Strategy>,
        most: usize,
    ) -> Result<Merged> {
        if source.id() == base.id() {
            return Ok(Merged::Nothing);
        }
        let walk = || ThreeWay::new(&self.namespace, base, source, destination, strategy);
        let mut first = walk();
        let mut conflicts = Vec::new();
        while let Some(step) = first.next().await? {
            if let ThreeWayStep::Conflict(conflict) = step {
                conflicts.push(*conflict);
                if conflicts.len() >= most {
                    break;
                }
            }
        }
        if !conflicts.is_empty() {
            return Ok(Merged::Conflicts(conflicts));
        }
        let resolved = first.resolved();
        if destination.id() == base.id() {
            let counts = WriteCounts { ranges_reused: source.ranges().len() as u64, ..WriteCounts::default() };
            let applied = Applied { metarange: source.clone(), changes: first.counts(), counts };
            return Ok(Merged::Tree { applied, resolved });
        }
        let applied = Box::pin(self.apply(destination, walk().changes(), &Prefixes::none())).await?;
        Ok(Merged::Tree { applied, resolved })
    }
}
