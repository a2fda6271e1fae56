//! Rows whose order counts: those of a folder are done one after another, as they come; folders beside one another.
//!
//! When a row fails, the rest of its folder is not tried: a log without one of its entries is none.

use std::collections::{HashMap, VecDeque};

use super::feed::Work;
use super::row::{Outcome, Row};
use crate::store::StoreError;

/// The rows of a folder.
#[derive(Debug, Default)]
struct Lane {
    rows: VecDeque<Row>,
    /// One of them is under way, or waits in `ready` to be started.
    busy: bool,
    /// Why the rest is not tried.
    failed: Option<StoreError>,
}

/// Rows that were read and not started, by folder.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    folders: HashMap<String, Lane>,
    /// Folders whose next row may be started.
    ready: VecDeque<String>,
    held: usize,
}

fn folder(key: &str) -> &str {
    &key[..key.rfind('/').map_or(0, |at| at + 1)]
}

impl Lanes {
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn push(&mut self, row: Row) {
        let name = folder(row.key()).to_owned();
        let lane = self.folders.entry(name.clone()).or_default();
        lane.rows.push_back(row);
        self.held += 1;
        if !std::mem::replace(&mut lane.busy, true) {
            self.ready.push_back(name);
        }
    }

    pub(super) fn next(&mut self) -> Option<Work> {
        let lane = self.folders.get_mut(&self.ready.pop_front()?)?;
        let row = lane.rows.pop_front()?;
        self.held -= 1;
        Some(match &lane.failed {
            Some(error) => Work::NotTried(row, error.clone()),
            None => Work::One(row, false),
        })
    }

    /// The row that was under way in its folder has ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        let name = folder(outcome.row.key());
        let Some(lane) = self.folders.get_mut(name) else { return };
        if let (Err(error), None) = (&outcome.end, &lane.failed) {
            let message = format!("not tried, because `{}` before it failed", outcome.row.key());
            lane.failed = Some(StoreError::new(error.kind, message));
        }
        lane.busy = !lane.rows.is_empty();
        if lane.busy {
            self.ready.push_back(name.to_owned());
        } else if lane.failed.is_none() {
            self.folders.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::exec::tests::{batch, copy_of};
    use super::super::row::{Done, Rows};
    use super::*;
    use crate::FailureKind;

    fn lanes(keys: &[&str]) -> Lanes {
        let rows: Vec<_> = keys.iter().map(|key| copy_of(key, 1)).collect();
        let rows = Rows::try_new(&batch(&rows)).unwrap();
        let mut lanes = Lanes::default();
        (0..rows.len()).for_each(|at| lanes.push(Row::new(Arc::clone(&rows), at)));
        lanes
    }

    fn start(lanes: &mut Lanes) -> Option<Row> {
        match lanes.next() {
            Some(Work::One(row, _)) => Some(row),
            Some(work) => panic!("{work:?}"),
            None => None,
        }
    }

    fn end(lanes: &mut Lanes, row: Row, end: Result<Done, StoreError>) {
        lanes.ended(&Outcome { row, end, replayed: false });
    }

    #[test]
    fn rows_of_a_folder_come_one_by_one_and_folders_beside_one_another() {
        let mut lanes = lanes(&["a/1", "a/2", "b/1", "a/3", "b/0"]);
        let (a, b) = (start(&mut lanes).unwrap(), start(&mut lanes).unwrap());
        assert_eq!((a.key(), b.key(), start(&mut lanes).is_none(), lanes.held()), ("a/1", "b/1", true, 3));
        end(&mut lanes, b, Ok(Done::default()));
        let b = start(&mut lanes).unwrap();
        assert_eq!((b.key(), start(&mut lanes).is_none()), ("b/0", true));
        end(&mut lanes, a, Ok(Done::default()));
        let a = start(&mut lanes).unwrap();
        assert_eq!(a.key(), "a/2");
        end(&mut lanes, b, Ok(Done::default()));
        end(&mut lanes, a, Ok(Done::default()));
        assert_eq!(start(&mut lanes).unwrap().key(), "a/3");
        assert!(!lanes.has_work() && lanes.held() == 0);
    }

    #[test]
    fn what_comes_after_a_failure_is_not_tried() {
        let mut lanes = lanes(&["a/1", "a/2", "b/1", "a/3"]);
        let (a, _) = (start(&mut lanes).unwrap(), start(&mut lanes).unwrap());
        end(&mut lanes, a, Err(StoreError::new(FailureKind::Denied, "no")));
        for key in ["a/2", "a/3"] {
            let Some(Work::NotTried(row, error)) = lanes.next() else { panic!("{key} was tried") };
            assert_eq!((row.key(), error.kind, lanes.has_work()), (key, FailureKind::Denied, false));
            assert_eq!(error.message, "not tried, because `a/1` before it failed");
            end(&mut lanes, row, Err(error));
        }
    }
}
