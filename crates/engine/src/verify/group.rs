//! Groups: everything that is said of one key, from a stream that is sorted by key and side.

use datafusion::arrow::array::{Array, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use planner::{Error, Result};
use tempfile::TempDir;

use crate::session::unreadable;

/// What the receipts say of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// False: it was removed.
    pub(super) present: bool,
    pub(super) size: Option<i64>,
    /// The destination's.
    pub(super) stored_etag: Option<String>,
    /// The entry's.
    pub(super) etag: Option<String>,
    pub(super) checksum: Option<String>,
    pub(super) proof: Option<String>,
    pub(super) identity: Option<Vec<u8>>,
}

impl Recorded {
    /// It is not what was committed: what was at its source was taken.
    pub(super) fn is_drifted(&self) -> bool {
        self.proof.as_deref() == Some("drifted")
    }
}

/// What a listing says of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) size: i64,
    pub(super) etag: Option<String>,
}

/// What the commit says of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) size: Option<i64>,
    pub(super) etag: Option<String>,
    pub(super) identity: Option<Vec<u8>>,
}

/// Everything that is said of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) key: String,
    pub(super) recorded: Option<Recorded>,
    pub(super) found: Option<Found>,
    pub(super) wanted: Option<Wanted>,
}

/// A stream of groups in key order.
pub(super) struct Groups {
    stream: SendableRecordBatchStream,
    rows: Option<Rows>,
    at: usize,
    _kept: Vec<TempDir>,
}

impl Groups {
    /// Groups of a stream of `key, side, seq, present, size, stored_etag, etag, checksum, proof, identity`, sorted by key and
    /// side, the newest receipt first. `kept` live as long as the stream.
    pub(super) fn new(stream: SendableRecordBatchStream, kept: Vec<TempDir>) -> Self {
        Self { stream, rows: None, at: 0, _kept: kept }
    }

    /// The next group; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Group>> {
        let mut group: Option<Group> = None;
        loop {
            if self.rows.as_ref().is_none_or(|rows| self.at >= rows.key.len()) {
                let Some(batch) = self.stream.next().await else { return Ok(group) };
                self.rows = Some(Rows::new(&batch.map_err(unreadable)?)?);
                self.at = 0;
                continue;
            }
            let Some(rows) = &self.rows else { return Ok(group) };
            let key = rows.key.value(self.at);
            if group.as_ref().is_some_and(|g| g.key != key) {
                return Ok(group);
            }
            let group = group.get_or_insert_with(|| Group { key: key.to_owned(), ..Group::default() });
            rows.add_to(group, self.at);
            self.at += 1;
        }
    }
}

/// A batch with its columns at hand.
struct Rows {
    key: StringArray,
    side: Int32Array,
    present: BooleanArray,
    size: Int64Array,
    /// `stored_etag`, `etag`, `checksum`, `proof`.
    texts: [StringArray; 4],
    identity: BinaryArray,
}

impl Rows {
    fn new(batch: &RecordBatch) -> Result<Self> {
        let wrong = |at: usize| Error::bug(format!("column {at} of a comparison has type {}", batch.column(at).data_type()));
        let text = |at: usize| batch.column(at).as_string_opt::<i32>().cloned().ok_or_else(|| wrong(at));
        Ok(Self {
            key: text(0)?,
            side: batch.column(1).as_primitive_opt::<Int32Type>().cloned().ok_or_else(|| wrong(1))?,
            present: batch.column(3).as_boolean_opt().cloned().ok_or_else(|| wrong(3))?,
            size: batch.column(4).as_primitive_opt::<Int64Type>().cloned().ok_or_else(|| wrong(4))?,
            texts: [text(5)?, text(6)?, text(7)?, text(8)?],
            identity: batch.column(9).as_binary_opt::<i32>().cloned().ok_or_else(|| wrong(9))?,
        })
    }

    fn add_to(&self, group: &mut Group, i: usize) {
        let text = |at: usize| self.texts[at].is_valid(i).then(|| self.texts[at].value(i).to_owned());
        let size = self.size.is_valid(i).then(|| self.size.value(i));
        let identity = || self.identity.is_valid(i).then(|| self.identity.value(i).to_owned());
        match self.side.value(i) {
            // The newest comes first.
            0 if group.recorded.is_none() => {
                group.recorded = Some(Recorded {
                    present: self.present.value(i),
                    size,
                    stored_etag: text(0),
                    etag: text(1),
                    checksum: text(2),
                    proof: text(3),
                    identity: identity(),
                });
            }
            1 => group.found = Some(Found { size: size.unwrap_or_default(), etag: text(0) }),
            2 => group.wanted = Some(Wanted { size, etag: text(1), identity: identity() }),
            _ => {}
        }
    }
}
