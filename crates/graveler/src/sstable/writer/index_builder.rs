//! The index in the making: one block, or partitions and a block above them.

use super::super::KEY_TRAILER_LEN;
use super::super::block::Keys;
use super::super::footer::Handle;
use super::block_builder::{BlockBuilder, NO_SHARING};
use super::index_keys::IndexKey;

/// What today's server takes as the length of a handle when it asks whether an index block is full:
/// a constant, whatever length the handle has. Files of mid-2022 were written with the real length.
const ASSUMED_HANDLE_LEN: usize = 20;

/// A closed partition: its last key, and its contents, which are compressed only at the end.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) last_key: Vec<u8>,
    pub(crate) contents: Vec<u8>,
}

/// Collects the keys and handles of data blocks.
#[derive(Clone, Debug)]
pub(crate) struct IndexBuilder {
    current: BlockBuilder,
    partitions: Vec<Partition>,
}

/// The index in its final shape.
pub(crate) enum Index {
    /// The contents of the one block.
    Single(Vec<u8>),
    /// The partitions, over which a block of their last keys is yet to be made.
    TwoLevel(Vec<Partition>),
}

impl IndexBuilder {
    pub(crate) fn new() -> Self {
        Self { current: BlockBuilder::new(NO_SHARING, Keys::Internal), partitions: Vec::new() }
    }

    /// Adds a data block.
    pub(crate) fn add(&mut self, key: &IndexKey, handle: Handle) {
        if self.current.is_full_for(key.len(), ASSUMED_HANDLE_LEN) {
            self.close_partition();
        }
        self.current.add(&key.user, &key.trailer, &handle.encode());
    }

    /// Whether no data block was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.count() == 0 && self.partitions.is_empty()
    }

    /// The length of the current block. Closed partitions are not counted: that is how lakeFS
    /// estimates the size of a file.
    #[inline]
    pub(crate) fn estimated_size(&self) -> usize {
        self.current.estimated_size()
    }

    pub(crate) fn finish(mut self) -> Index {
        if self.partitions.is_empty() {
            return Index::Single(self.current.finish().to_vec());
        }
        self.close_partition();
        Index::TwoLevel(self.partitions)
    }

    fn close_partition(&mut self) {
        let last_key = self.current.last_stored_key().to_vec();
        self.partitions.push(Partition { last_key, contents: self.current.finish().to_vec() });
        self.current.clear();
    }
}

/// The block above the partitions, to which each partition is added once it has its place.
pub(crate) struct TopBuilder(BlockBuilder);

impl TopBuilder {
    pub(crate) fn new() -> Self {
        Self(BlockBuilder::new(NO_SHARING, Keys::Internal))
    }

    pub(crate) fn add(&mut self, partition: &Partition, handle: Handle) {
        let (user, trailer) = partition.last_key.split_at(partition.last_key.len() - KEY_TRAILER_LEN);
        self.0.add(user, trailer, &handle.encode());
    }

    pub(crate) fn finish(&mut self) -> &[u8] {
        self.0.finish()
    }
}
