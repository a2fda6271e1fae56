//! Walking an index of one or two levels.
//!
//! The walk does no I/O: it says which block is needed next, and is given index partitions when it
//! asked for one. Blocks must come in file order, as every writer lays them out; so a walk ends, and
//! reads no byte of a file twice, whatever the file says.

use super::block::Block;
use super::cursor::Cursor;
use super::footer::Handle;
use super::layout::Layout;
use crate::error::Result;

/// What a walk needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Load this index block and [`Walk::enter`] it.
    Partition(Handle),
    /// The next block of records.
    Data(Handle),
    /// There are no more.
    End,
}

/// A walk over the data blocks that may hold keys from `from` on, in order.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    root: Cursor,
    two_level: bool,
    partition: Option<Cursor>,
    from: Option<Vec<u8>>,
    started: bool,
    limit: u64,
    data_end: u64,
    partitions_end: u64,
}

impl Walk {
    pub(crate) fn new(layout: &Layout, from: Option<&[u8]>) -> Self {
        Self {
            root: layout.root.cursor(),
            two_level: layout.two_level,
            partition: None,
            from: from.map(<[u8]>::to_vec),
            started: false,
            limit: layout.limit,
            data_end: 0,
            partitions_end: 0,
        }
    }

    pub(crate) fn next(&mut self) -> Result<Step> {
        if let Some(partition) = &mut self.partition {
            if partition.advance()? {
                let handle = next_handle(partition, self.limit, &mut self.data_end)?;
                return Ok(Step::Data(handle));
            }
            self.partition = None;
        }
        if !self.advance_root()? {
            return Ok(Step::End);
        }
        if self.two_level {
            let handle = next_handle(&self.root, self.limit, &mut self.partitions_end)?;
            return Ok(Step::Partition(handle));
        }
        let handle = next_handle(&self.root, self.limit, &mut self.data_end)?;
        Ok(Step::Data(handle))
    }

    /// Goes down into a partition that was asked for.
    pub(crate) fn enter(&mut self, partition: &Block) -> Result<()> {
        let mut cursor = partition.cursor();
        // Only the first partition can hold blocks before `from`.
        if let Some(from) = self.from.take()
            && cursor.seek(&from)?
        {
            cursor.step_back();
        }
        self.partition = Some(cursor);
        Ok(())
    }

    /// An index key is at least as great as every key of its block, so that the first one not
    /// below `from` leads to the first block that can hold it.
    fn advance_root(&mut self) -> Result<bool> {
        if !std::mem::replace(&mut self.started, true)
            && let Some(from) = &self.from
        {
            return self.root.seek(from);
        }
        self.root.advance()
    }
}

fn next_handle(cursor: &Cursor, limit: u64, end: &mut u64) -> Result<Handle> {
    let handle = Handle::read_whole(cursor.value(), limit, cursor.place())?;
    if handle.offset < *end {
        return Err(cursor
            .place()
            .corrupt(format!("expected the next block at byte {end} or later, found a handle to byte {}", handle.offset)));
    }
    *end = handle.end();
    Ok(handle)
}
