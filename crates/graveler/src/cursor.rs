//! Walking a tree that need not be entered: from range to range, or into one and through its records.

use std::vec::IntoIter;

use crate::error::Result;
use crate::namespace::Namespace;
use crate::range::{RangeInfo, RangeReader};

/// Where a [`TreeCursor`] stands.
#[derive(Debug)]
pub(crate) enum Place {
    /// Before a range, of which nothing has been read.
    Range(RangeInfo),
    /// On a record.
    Record(Box<RangeReader>),
    /// After the last range.
    End,
}

/// A cursor over some of a tree's ranges, in key order. Entering a range reads its file.
#[derive(Debug)]
pub(crate) struct TreeCursor {
    namespace: Namespace,
    ranges: IntoIter<RangeInfo>,
    place: Place,
}

impl TreeCursor {
    /// A cursor before the first of `ranges`.
    pub(crate) fn new(namespace: &Namespace, ranges: Vec<RangeInfo>) -> Self {
        let mut cursor = Self { namespace: namespace.clone(), ranges: ranges.into_iter(), place: Place::End };
        cursor.next_range();
        cursor
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Goes to before the next range: over the one it stands before, or over the rest of the one it
    /// stands in.
    pub(crate) fn next_range(&mut self) {
        self.place = self.ranges.next().map_or(Place::End, Place::Range);
    }

    /// The range it stood before, which it has passed over.
    pub(crate) fn take_range(&mut self) -> Option<RangeInfo> {
        let next = self.ranges.next().map_or(Place::End, Place::Range);
        match std::mem::replace(&mut self.place, next) {
            Place::Range(range) => Some(range),
            _ => None,
        }
    }

    /// Enters the range it stands before, if it stands before one.
    pub(crate) async fn enter(&mut self) -> Result<()> {
        if let Place::Range(range) = &self.place {
            self.place = Place::Record(Box::new(self.namespace.range(range).await?));
            self.advance()?;
        }
        Ok(())
    }

    /// Goes to the next record, or to before the next range.
    pub(crate) fn advance(&mut self) -> Result<()> {
        if let Place::Record(reader) = &mut self.place
            && !reader.advance()?
        {
            self.next_range();
        }
        Ok(())
    }

    /// Goes to the first record with a key of at least `key`, or, if that may lie in a range not
    /// entered yet, to before that range.
    pub(crate) fn skip_to(&mut self, key: &[u8]) -> Result<()> {
        loop {
            match &mut self.place {
                Place::Range(range) if *range.max_key < *key => self.next_range(),
                Place::Record(reader) if *reader.info().max_key < *key => self.next_range(),
                Place::Record(reader) if reader.key() < key => self.advance()?,
                _ => return Ok(()),
            }
        }
    }
}
