//! Commits that were read before: immutable, so that the only question is how many are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Commit;

/// Commits kept at most; about 1 KiB each. The one that was read first goes first.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct CommitCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    commits: HashMap<String, Commit>,
    order: VecDeque<String>,
}

impl CommitCache {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: &str) -> Option<Commit> {
        self.kept().commits.get(id).cloned()
    }

    pub(super) fn put(&self, commit: &Commit) {
        let mut kept = self.kept();
        if kept.commits.insert(commit.id.clone(), commit.clone()).is_some() {
            return;
        }
        kept.order.push_back(commit.id.clone());
        if kept.order.len() > CAPACITY
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.commits.remove(&oldest);
        }
    }
}
