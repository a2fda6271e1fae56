//! Refs and commits, computed from what `lake.json` says.

use std::collections::{BTreeMap, BTreeSet};

use crate::lakes::Commit;

/// Branches, tags and commits of a lake.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub(crate) branches: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) commits: BTreeMap<String, Commit>,
}

/// Why a ref names no commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCommit {
    /// There is none.
    NotFound,
    /// A parent that the commit does not have.
    Invalid,
}

impl Graph {
    /// The commit that a ref expression names: a branch (also with `@`, its head), a tag, an id, the unique beginning of
    /// an id, and then any number of `~n` and `^n`.
    pub(crate) fn resolve(&self, expression: &str) -> Result<&Commit, NoCommit> {
        let end = expression.find(['~', '^', '@', '$']).unwrap_or(expression.len());
        let (base, mut steps) = expression.split_at(end);
        let mut commit = self.named(base).ok_or(NoCommit::NotFound)?;
        while let Some(step) = steps.chars().next() {
            let digits = steps[1..].find(|c: char| !c.is_ascii_digit()).map_or(steps.len(), |at| at + 1);
            let number = steps[1..digits].parse().unwrap_or(1);
            commit = match step {
                '~' => self.ancestor(commit, number)?,
                '^' => self.parent(commit, number)?,
                '@' if digits == 1 => commit,
                _ => return Err(NoCommit::NotFound),
            };
            steps = &steps[digits..];
        }
        Ok(commit)
    }

    fn named(&self, name: &str) -> Option<&Commit> {
        if let Some(id) = self.branches.get(name).or_else(|| self.tags.get(name)) {
            return self.commits.get(id);
        }
        let is_id = name.len() >= 2 && name.chars().all(|c| c.is_ascii_hexdigit());
        let mut found = self.commits.range(name.to_owned()..).take_while(|(id, _)| id.starts_with(name));
        match (is_id, found.next(), found.next()) {
            (true, Some((_, commit)), None) => Some(commit),
            _ => None,
        }
    }

    fn ancestor<'a>(&'a self, commit: &'a Commit, steps: usize) -> Result<&'a Commit, NoCommit> {
        (0..steps).try_fold(commit, |commit, _| {
            let first = commit.parents.first().ok_or(NoCommit::NotFound)?;
            self.commits.get(first).ok_or(NoCommit::NotFound)
        })
    }

    fn parent<'a>(&'a self, commit: &'a Commit, number: usize) -> Result<&'a Commit, NoCommit> {
        match number.checked_sub(1) {
            None => Ok(commit),
            Some(index) => {
                let id = commit.parents.get(index).ok_or(NoCommit::Invalid)?;
                self.commits.get(id).ok_or(NoCommit::NotFound)
            }
        }
    }

    /// The commits that a commit follows, itself first, later generations before earlier ones.
    pub(crate) fn history(&self, from: &Commit, first_parent: bool) -> Vec<&Commit> {
        let mut waiting = BTreeSet::from([order(from)]);
        let mut history = Vec::new();
        while let Some((_, _, id)) = waiting.pop_last() {
            let Some(commit) = self.commits.get(&id) else { continue };
            history.push(commit);
            let parents = commit.parents.iter().take(if first_parent { 1 } else { usize::MAX });
            waiting.extend(parents.filter_map(|id| self.commits.get(id)).map(order));
        }
        history
    }
}

fn order(commit: &Commit) -> (i64, i64, String) {
    (commit.generation, commit.creation_date, commit.id.clone())
}
