//! The history of a commit: its ancestors in order, and whether one commit is an ancestor of another.
//!
//! ```text
//!   queue (frontier) ──pop──▶ commit ──parents──▶ met before? ──no──▶ queue
//! ```
//! A child's generation is greater than its parents', so ids that were met are forgotten as soon as nothing in the queue is
//! of a higher generation. What is kept is the frontier, not the history. Commits of generation 0 (it is not known in dumps
//! of very old servers) are kept to the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use futures::stream::{self, BoxStream, StreamExt};

use super::{Commit, CommitSource};
use crate::error::{Error, Result};

/// Commits that [`is_ancestor`] walks through at most before it gives up with an error.
pub const MAX_WALK: usize = 100_000;

/// The commit and all its ancestors, each once, as `lakectl log` orders them: the newest that is reachable comes next. The
/// server compares fractions of a second, which it does not tell; within one second the generation decides, then the id, so
/// that no commit comes before its children. With `first_parent`, first parents alone.
#[must_use]
pub fn log(source: Arc<dyn CommitSource>, from: Commit, first_parent: bool) -> BoxStream<'static, Result<Commit>> {
    let mut walk = Walk::new(Order::Newest, first_parent);
    walk.push(from);
    stream::try_unfold((source, walk), |(source, mut walk)| async move {
        let next = walk.next(source.as_ref(), |_| true).await?;
        Ok(next.map(|commit| (commit, (source, walk))))
    })
    .boxed()
}

/// Whether the commit `ancestor` is `of` itself or one of its ancestors.
///
/// # Errors
/// Those of the source; [`Guard`](crate::ErrorKind::Guard) when [`MAX_WALK`] commits did not tell.
pub async fn is_ancestor(source: &dyn CommitSource, ancestor: &str, of: &Commit) -> Result<bool> {
    is_ancestor_within(source, ancestor, of, MAX_WALK).await
}

async fn is_ancestor_within(source: &dyn CommitSource, ancestor: &str, of: &Commit, limit: usize) -> Result<bool> {
    if ancestor == of.id {
        return Ok(true);
    }
    // Generation 0 means that it is not known: then nothing can be left out.
    let floor = source.commit(ancestor).await?.generation;
    let above = |commit: &Commit| floor <= 0 || commit.generation <= 0 || commit.generation > floor;
    if !above(of) {
        return Ok(false);
    }
    let mut walk = Walk::new(Order::Generation, false);
    walk.push(of.clone());
    for _ in 0..limit {
        match walk.next(source, above).await? {
            None => return Ok(false),
            Some(commit) if commit.parents.iter().any(|parent| parent == ancestor) => return Ok(true),
            Some(_) => {}
        }
    }
    Err(Error::guard(format!("{limit} commits back from {} do not tell whether {ancestor} is an ancestor", of.id))
        .with_help("name the commit by its id, or use --force where that is known to be right"))
}

/// Which commit of the frontier comes next.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// The newest.
    Newest,
    /// The one farthest from the beginning.
    Generation,
}

/// A commit in the queue; the key alone is compared.
struct Queued {
    key: (i64, i64, String),
    commit: Commit,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

struct Walk {
    order: Order,
    first_parent: bool,
    queue: BinaryHeap<Queued>,
    /// How many of each generation wait in the queue, the highest first.
    waiting: BTreeMap<Reverse<i64>, usize>,
    /// Ids that were queued once, by generation.
    met: BTreeMap<i64, HashSet<String>>,
}

impl Walk {
    fn new(order: Order, first_parent: bool) -> Self {
        Self { order, first_parent, queue: BinaryHeap::new(), waiting: BTreeMap::new(), met: BTreeMap::new() }
    }

    fn push(&mut self, commit: Commit) {
        if !self.met.entry(commit.generation).or_default().insert(commit.id.clone()) {
            return;
        }
        *self.waiting.entry(Reverse(commit.generation)).or_default() += 1;
        let key = match self.order {
            Order::Newest => (commit.created, commit.generation, commit.id.clone()),
            Order::Generation => (commit.generation, commit.created, commit.id.clone()),
        };
        self.queue.push(Queued { key, commit });
    }

    /// The next commit; its parents that `keep` wants wait in the queue from now on.
    async fn next(&mut self, source: &dyn CommitSource, keep: impl Fn(&Commit) -> bool) -> Result<Option<Commit>> {
        let Some(Queued { commit, .. }) = self.queue.pop() else { return Ok(None) };
        let generation = Reverse(commit.generation);
        if let Some(count) = self.waiting.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&generation);
            }
        }
        let parents = if self.first_parent { 1 } else { commit.parents.len() };
        let parents = try_join_all(commit.parents.iter().take(parents).map(|id| source.commit(id))).await?;
        parents.into_iter().filter(keep).for_each(|parent| self.push(parent));
        if let Some((Reverse(highest), _)) = self.waiting.first_key_value() {
            self.met.split_off(&(*highest).max(1));
        }
        Ok(Some(commit))
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
