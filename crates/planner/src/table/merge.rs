//! The merge of one cluster: two sorted sides and the touched keys, in raw byte order.
//!
//! Keys and identities are compared as they lie in the files; an entry's message is decoded only when its row is emitted.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, BooleanBuilder, StringArray, StringBuilder};
use graveler::{Namespace, RangeInfo, RangeReader};

use super::cluster::{Cluster, Mode};
use crate::entry::{Columns, EntryBatch, EntryBuilder};
use crate::error::{Error, Result};
use crate::part::Part;

/// Rows per batch.
pub(crate) const BATCH_ROWS: usize = 4096;

/// Keys, in byte order, with what both sides say of them.
#[derive(Debug, Clone)]
pub struct DiffBatch {
    /// Paths in the lake.
    pub paths: StringArray,
    /// The left side's entries; rows without one are null but for the path.
    pub left: EntryBatch,
    /// The right side's.
    pub right: EntryBatch,
    /// Where the left side has an entry.
    pub has_left: BooleanArray,
    /// Where the right side has one.
    pub has_right: BooleanArray,
    /// Both sides have one and the identities are equal.
    pub same: BooleanArray,
    /// The key is in the list of touched keys.
    pub touched: BooleanArray,
}

impl DiffBatch {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.has_left.len()
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One side of a cluster: its ranges one after the other.
#[derive(Debug)]
struct Side {
    namespace: Namespace,
    ranges: VecDeque<RangeInfo>,
    reader: Option<RangeReader>,
    state: At,
}

/// Where a side stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// On a record.
    Record,
    /// At the end of a range: the next one must be read.
    NeedsRange,
    /// Past the last record.
    End,
}

impl Side {
    fn new(namespace: Namespace, ranges: Vec<RangeInfo>) -> Self {
        Self { namespace, ranges: ranges.into(), reader: None, state: At::NeedsRange }
    }

    /// Reads ranges until a record inside `part` is there or the side is at its end.
    async fn fill(&mut self, part: &Part) -> Result<()> {
        while self.state == At::NeedsRange {
            let Some(range) = self.ranges.pop_front() else {
                self.state = At::End;
                return Ok(());
            };
            let mut reader = self.namespace.range(&range).await?;
            let found = if part.is_all() { reader.advance()? } else { reader.seek(part.start())? };
            self.reader = Some(reader);
            self.settle(found, part)?;
        }
        Ok(())
    }

    /// Goes to the next record inside `part`.
    fn advance(&mut self, part: &Part) -> Result<()> {
        let found = match &mut self.reader {
            Some(reader) => reader.advance()?,
            None => false,
        };
        self.settle(found, part)
    }

    /// From the record under the reader (if `found`) to the first one inside `part`.
    fn settle(&mut self, mut found: bool, part: &Part) -> Result<()> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        while found {
            if part.is_all() || part.contains(reader.key()) {
                self.state = At::Record;
                return Ok(());
            }
            if part.is_past(reader.key()) {
                self.ranges.clear();
                break;
            }
            found = reader.advance()?;
        }
        self.reader = None;
        self.state = At::NeedsRange;
        Ok(())
    }

    /// The record that the side stands on.
    fn record(&self) -> Option<&RangeReader> {
        self.reader.as_ref().filter(|_| self.state == At::Record)
    }
}

/// What to emit of a merge.
#[derive(Debug, Clone)]
pub(crate) struct MergeSpec {
    pub(crate) mode: Mode,
    pub(crate) part: Part,
    pub(crate) left: Columns,
    pub(crate) right: Columns,
    pub(crate) storage: Arc<str>,
    pub(crate) touched: Arc<[String]>,
}

/// The merge of one cluster.
#[derive(Debug)]
pub(crate) struct Merge {
    spec: MergeSpec,
    left: Side,
    right: Side,
    touched: (usize, usize),
    out: Output,
}

#[derive(Debug)]
struct Output {
    paths: StringBuilder,
    left: EntryBuilder,
    right: EntryBuilder,
    flags: [BooleanBuilder; 4],
}

impl Merge {
    pub(crate) fn new(namespaces: (&Namespace, &Namespace), cluster: Cluster, spec: MergeSpec) -> Self {
        let out = Output {
            paths: StringBuilder::with_capacity(BATCH_ROWS, BATCH_ROWS * 64),
            left: EntryBuilder::new(spec.left, Arc::clone(&spec.storage), if cluster.left.is_empty() { 0 } else { BATCH_ROWS }),
            right: EntryBuilder::new(
                spec.right,
                Arc::clone(&spec.storage),
                if cluster.right.is_empty() { 0 } else { BATCH_ROWS },
            ),
            flags: std::array::from_fn(|_| BooleanBuilder::with_capacity(BATCH_ROWS)),
        };
        Self {
            left: Side::new(namespaces.0.clone(), cluster.left),
            right: Side::new(namespaces.1.clone(), cluster.right),
            touched: cluster.touched,
            spec,
            out,
        }
    }

    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<DiffBatch>> {
        loop {
            if self.left.state == At::NeedsRange {
                self.left.fill(&self.spec.part).await?;
            }
            if self.right.state == At::NeedsRange {
                self.right.fill(&self.spec.part).await?;
            }
            let more = self.run()?;
            if self.out.rows() >= BATCH_ROWS || (!more && self.out.rows() > 0) {
                return self.out.finish().map(Some);
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Merges what is loaded. False when both sides and the touched keys are at their end.
    fn run(&mut self) -> Result<bool> {
        while self.out.rows() < BATCH_ROWS {
            if self.left.state == At::NeedsRange || self.right.state == At::NeedsRange {
                return Ok(true);
            }
            let order = match (self.left.record().map(RangeReader::key), self.right.record().map(RangeReader::key)) {
                (None, None) => return self.drain_touched(),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(l), Some(r)) => l.cmp(r),
            };
            self.emit(order)?;
            if order != Ordering::Greater {
                self.left.advance(&self.spec.part)?;
            }
            if order != Ordering::Less {
                self.right.advance(&self.spec.part)?;
            }
        }
        Ok(true)
    }

    /// Emits the key at the front: of the left side (`Less`), of the right side (`Greater`) or of both.
    fn emit(&mut self, order: Ordering) -> Result<()> {
        let left = self.left.record().filter(|_| order != Ordering::Greater);
        let right = self.right.record().filter(|_| order != Ordering::Less);
        let Some(front) = left.or(right) else { return Ok(()) };
        let touched = take_touched(&self.spec.touched, &mut self.touched, front.key(), &mut self.out)?;
        let same = matches!((left, right), (Some(l), Some(r)) if l.identity() == r.identity());
        if same && !touched && self.spec.mode == Mode::Changes {
            return Ok(());
        }
        let path = utf8(front)?;
        self.out.append(path, left.map(value), right.map(value), same, touched)
    }

    fn drain_touched(&mut self) -> Result<bool> {
        while self.touched.0 < self.touched.1 {
            if self.out.rows() >= BATCH_ROWS {
                return Ok(true);
            }
            let path = &self.spec.touched[self.touched.0];
            self.touched.0 += 1;
            self.out.append(path, None, None, false, true)?;
        }
        Ok(false)
    }
}

/// Emits touched keys before `key`, which no side has, and says whether `key` itself is touched.
fn take_touched(list: &[String], at: &mut (usize, usize), key: &[u8], out: &mut Output) -> Result<bool> {
    while at.0 < at.1 {
        let path = &list[at.0];
        match path.as_bytes().cmp(key) {
            Ordering::Less => out.append(path, None, None, false, true)?,
            Ordering::Equal => {
                at.0 += 1;
                return Ok(true);
            }
            Ordering::Greater => return Ok(false),
        }
        at.0 += 1;
    }
    Ok(false)
}

fn value(record: &RangeReader) -> (&[u8], &[u8]) {
    (record.identity(), record.data())
}

/// Keys are bytes in the format, text in tables and at destinations.
fn utf8(record: &RangeReader) -> Result<&str> {
    std::str::from_utf8(record.key()).map_err(|_| {
        Error::usage(format!("the key `{}` of range {} is not UTF-8", record.key().escape_ascii(), record.info().id)).with_help(
            "object stores hold UTF-8 keys only; rename it in the lake, or export the parts beside it by their prefixes",
        )
    })
}

impl Output {
    fn rows(&self) -> usize {
        self.left.len()
    }

    fn append(
        &mut self,
        path: &str,
        left: Option<(&[u8], &[u8])>,
        right: Option<(&[u8], &[u8])>,
        same: bool,
        touched: bool,
    ) -> Result<()> {
        self.paths.append_value(path);
        for (builder, value) in [(&mut self.left, left), (&mut self.right, right)] {
            match value {
                Some((identity, message)) => builder.append(path, identity, message)?,
                None => builder.append_absent(),
            }
        }
        for (flag, value) in self.flags.iter_mut().zip([left.is_some(), right.is_some(), same, touched]) {
            flag.append_value(value);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<DiffBatch> {
        let [has_left, has_right, same, touched] = &mut self.flags;
        let room = self.paths.values_slice().len() / 8 * 9;
        let paths = std::mem::replace(&mut self.paths, StringBuilder::with_capacity(BATCH_ROWS, room)).finish();
        Ok(DiffBatch {
            left: self.left.finish(&paths)?,
            right: self.right.finish(&paths)?,
            paths,
            has_left: has_left.finish(),
            has_right: has_right.finish(),
            same: same.finish(),
            touched: touched.finish(),
        })
    }
}
