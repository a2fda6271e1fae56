//! A table whose bytes are all in memory, and a cursor over all of its records.
//!
//! Nothing here waits: merging two ranges is a loop over two [`Records`]. Order is checked within
//! blocks and across them.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{Block, Keys, Place};
use super::cursor::Cursor;
use super::footer::Handle;
use super::index::{Step, Walk};
use super::layout::{Layout, Parsed, Tail};
use super::properties::Properties;
use crate::error::{Error, Result};

/// A whole table in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct LoadedTable {
    layout: Arc<Layout>,
    tail: Tail,
}

impl LoadedTable {
    /// Checks footer, properties and index of a whole file.
    pub fn parse(name: &str, file: Bytes) -> Result<Self> {
        let size = file.len() as u64;
        let tail = Tail { start: 0, bytes: file };
        let name: Arc<str> = Arc::from(name);
        match Layout::parse(&name, size, &tail)? {
            Parsed::Whole(layout) => Ok(Self { layout: Arc::new(layout), tail }),
            Parsed::Widen(_) => Err(Error::corrupt(&*name, "expected a whole file, found a part")),
        }
    }

    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.layout.file
    }

    /// The file's properties.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.layout.properties
    }

    /// A cursor before the first record.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {
            walk: Walk::new(&self.layout, None),
            cursor: Cursor::empty(Place { file: Arc::clone(&self.layout.file), offset: 0 }),
            table: self.clone(),
        }
    }

    /// The blocks of records as they are stored, in order: each a payload, a byte that names its compression (1 is snappy), and
    /// four of a checksum, which is not looked at.
    pub fn stored_blocks(&self) -> Result<Vec<Bytes>> {
        let mut records = self.records();
        let mut blocks = Vec::new();
        while let Some(handle) = records.next_handle()? {
            let stored = self.tail.part(handle);
            blocks.push(
                stored.ok_or_else(|| self.layout.place(handle).corrupt("expected a block within the file, found its end"))?,
            );
        }
        Ok(blocks)
    }

    fn block(&self, handle: Handle) -> Result<Block> {
        let place = self.layout.place(handle);
        match self.tail.part(handle) {
            Some(stored) => Block::open(&stored, Keys::Internal, place),
            None => Err(place.corrupt("expected a block within the file, found its end")),
        }
    }
}

/// A lending cursor over all records of a table in memory.
#[derive(Clone, Debug)]
pub struct Records {
    table: LoadedTable,
    walk: Walk,
    cursor: Cursor,
}

impl Records {
    /// Moves to the next record; `false` after the last.
    #[inline]
    pub fn advance(&mut self) -> Result<bool> {
        if self.cursor.advance()? {
            return Ok(true);
        }
        self.advance_block()
    }

    /// Moves to the first record with a key of at least `key`, forwards or backwards; `false` when
    /// there is none.
    pub fn seek(&mut self, key: &[u8]) -> Result<bool> {
        self.walk = Walk::new(&self.table.layout, Some(key));
        while let Some(block) = self.next_block()? {
            self.cursor = block.cursor();
            if self.cursor.seek(key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key of the current record.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    /// The value of the current record.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.cursor.value()
    }

    /// The value of the current record, sharing memory.
    #[must_use]
    pub fn value_bytes(&self) -> Bytes {
        self.cursor.value_bytes()
    }

    /// The table that is walked.
    #[must_use]
    pub fn table(&self) -> &LoadedTable {
        &self.table
    }

    /// An error about the block of the current record.
    pub(crate) fn corrupt(&self, message: impl Into<String>) -> Error {
        self.cursor.place().corrupt(message)
    }

    fn advance_block(&mut self) -> Result<bool> {
        while let Some(block) = self.next_block()? {
            let mut next = block.cursor();
            if !next.advance()? {
                continue;
            }
            if self.cursor.is_standing() && next.key() <= self.cursor.key() {
                return Err(next.place().corrupt("expected a block that starts after the one before, found an earlier key"));
            }
            self.cursor = next;
            return Ok(true);
        }
        Ok(false)
    }

    fn next_block(&mut self) -> Result<Option<Block>> {
        self.next_handle()?.map(|handle| self.table.block(handle)).transpose()
    }

    fn next_handle(&mut self) -> Result<Option<Handle>> {
        loop {
            match self.walk.next()? {
                Step::End => return Ok(None),
                Step::Data(handle) => return Ok(Some(handle)),
                Step::Partition(handle) => {
                    let partition = self.table.block(handle)?;
                    self.walk.enter(&partition)?;
                }
            }
        }
    }
}
