//! Rows as they are started: read ahead, the largest objects early, deletes by the thousand.
//!
//! An object that is found last should not end last. So rows are read [`AHEAD`] of what is done, and of the large ones among
//! them the largest goes first, beside the small ones and never in all places at once.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use planner::plan::Action;

use super::lanes::Lanes;
use super::row::{Outcome, Row, Rows};
use crate::journal::Outcomes;
use crate::store::StoreError;

/// Rows that are held before they are started; a batch more at most.
const AHEAD: usize = 16_384;
/// Objects from this size on are large, in bytes.
const LARGE: u64 = 8 * 1024 * 1024;
/// Deletes that are started together.
const DELETES: usize = 1000;

/// What is started at once.
#[derive(Debug)]
pub(super) enum Work {
    /// One row; whether it is a large object.
    One(Row, bool),
    /// Deletes and retractions.
    Deletes(Vec<Row>),
    /// One row that is not done: the one before it in its folder failed.
    NotTried(Row, StoreError),
}

/// A large object; the larger one goes first, of equal ones the earlier.
#[derive(Debug)]
struct Large {
    size: u64,
    number: u64,
    row: Row,
}

impl Ord for Large {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.size, other.number).cmp(&(other.size, self.number))
    }
}

impl PartialOrd for Large {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Large {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Large {}

/// Rows that were read and not started.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    small: VecDeque<Row>,
    large: BinaryHeap<Large>,
    deletes: Vec<Row>,
    read: u64,
    ended: bool,
}

impl Ahead {
    fn held(&self) -> usize {
        self.small.len() + self.large.len() + self.deletes.len()
    }

    fn push(&mut self, row: Row) {
        self.read += 1;
        let size = row.size().unwrap_or_default();
        match row.action() {
            Some(Action::Delete | Action::Retract) => self.deletes.push(row),
            _ if size >= LARGE => self.large.push(Large { size, number: self.read, row }),
            _ => self.small.push_back(row),
        }
    }

    fn has_deletes(&self) -> bool {
        self.deletes.len() >= DELETES || (self.ended && !self.deletes.is_empty())
    }

    /// What to start next; `may_be_large` when a place for a large object is free.
    fn next(&mut self, may_be_large: bool) -> Option<Work> {
        if self.has_deletes() {
            let rest = self.deletes.split_off(self.deletes.len().min(DELETES));
            return Some(Work::Deletes(std::mem::replace(&mut self.deletes, rest)));
        }
        if (may_be_large || self.small.is_empty())
            && let Some(large) = self.large.pop()
        {
            return Some(Work::One(large.row, true));
        }
        self.small.pop_front().map(|row| Work::One(row, false))
    }
}

/// The rows of one partition.
pub(super) struct Feed {
    input: SendableRecordBatchStream,
    ahead: Ahead,
    known: Option<Arc<Outcomes>>,
    /// Instead of what is ahead, where the rows of a folder are done one after another.
    lanes: Option<Lanes>,
}

impl Feed {
    pub(super) fn new(input: SendableRecordBatchStream, known: Option<Arc<Outcomes>>, ordered: bool) -> Self {
        let known = known.filter(|known| !known.is_empty());
        Self { input, ahead: Ahead::default(), known, lanes: ordered.then(Lanes::default) }
    }

    fn held(&self) -> usize {
        self.lanes.as_ref().map_or_else(|| self.ahead.held(), Lanes::held)
    }

    /// There are rows to read, and room for them.
    pub(super) fn wants_more(&self) -> bool {
        !self.ahead.ended && self.held() < AHEAD
    }

    /// Something can be started.
    pub(super) fn has_work(&self) -> bool {
        if let Some(lanes) = &self.lanes {
            return lanes.has_work();
        }
        !self.ahead.small.is_empty() || !self.ahead.large.is_empty() || self.ahead.has_deletes()
    }

    /// All rows were started, or never will be.
    pub(super) fn is_done(&self) -> bool {
        self.ahead.ended && self.held() == 0
    }

    /// Reads a batch; the outcomes of those of its rows that were done before are the answer. Dropped while it waits, it has
    /// read nothing.
    pub(super) async fn read(&mut self) -> Result<Vec<Outcome>> {
        let mut done = Vec::new();
        let Some(batch) = self.input.next().await else {
            self.ahead.ended = true;
            return Ok(done);
        };
        let rows = Rows::try_new(&batch?)?;
        for at in 0..rows.len() {
            let row = Row::new(Arc::clone(&rows), at);
            let (shard, number) = row.place();
            let before = match &self.known {
                Some(known) => known.of(shard)?.done(number),
                None => None,
            };
            match (before, &mut self.lanes) {
                (Some(end), _) => done.push(Outcome { row, end: Ok(end), replayed: true }),
                (None, Some(lanes)) => lanes.push(row),
                (None, None) => self.ahead.push(row),
            }
        }
        Ok(done)
    }

    /// No rows are read any more, and none of those that were is started.
    pub(super) fn stop(&mut self) {
        self.ahead = Ahead { ended: true, ..Ahead::default() };
        self.lanes = self.lanes.is_some().then(Lanes::default);
    }

    /// A row has ended. One that was done before never had a place in its folder's order.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        if let Some(lanes) = self.lanes.as_mut().filter(|_| !outcome.replayed) {
            lanes.ended(outcome);
        }
    }

    /// What to start next.
    pub(super) fn next(&mut self, may_be_large: bool) -> Option<Work> {
        if let Some(lanes) = &mut self.lanes {
            return lanes.next();
        }
        self.ahead.next(may_be_large)
    }
}

#[cfg(test)]
mod tests {
    use super::super::exec::tests::{batch, copy_of, delete};
    use super::*;

    fn ahead(rows: &[super::super::exec::tests::PlanRow]) -> Ahead {
        let rows = Rows::try_new(&batch(rows)).unwrap();
        let mut ahead = Ahead::default();
        (0..rows.len()).for_each(|at| ahead.push(Row::new(Arc::clone(&rows), at)));
        ahead
    }

    fn name(work: Option<Work>) -> String {
        match work {
            Some(Work::One(row, large)) => format!("{}{}", row.key(), if large { "!" } else { "" }),
            Some(Work::Deletes(rows)) => format!("{} deletes", rows.len()),
            Some(Work::NotTried(row, _)) => format!("not {}", row.key()),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn the_largest_goes_first_beside_the_small_ones() {
        let sizes = [("a", 1), ("b", 9 << 20), ("c", 2), ("d", 90 << 20), ("e", 90 << 20)];
        let rows: Vec<_> = sizes.iter().map(|(key, size)| copy_of(key, *size)).collect();
        let mut ahead = ahead(&rows);
        let order: Vec<String> = [true, false, true, false, false, true].map(|large| name(ahead.next(large))).to_vec();
        assert_eq!(order, ["d!", "a", "e!", "c", "b!", "none"]);
    }

    #[test]
    fn deletes_go_by_the_thousand_and_the_rest_at_the_end() {
        let rows: Vec<_> = (0..1500).map(|n| delete(&format!("k{n}"))).collect();
        let mut ahead = ahead(&rows);
        assert_eq!(name(ahead.next(true)), "1000 deletes");
        assert_eq!(name(ahead.next(true)), "none");
        ahead.ended = true;
        assert_eq!(name(ahead.next(true)), "500 deletes");
        assert_eq!(ahead.held(), 0);
    }
}
