//! What a person wants to see of a plan: counts by directory, and the first rows. Gathered while rows are planned; bounded.

use std::collections::BTreeMap;

use crate::plan::Action;

/// Directories that are shown.
const DIRECTORIES: usize = 200;

/// Rows that are shown.
const SAMPLE: usize = 50;

/// Counts of one directory of the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    /// Its key with a slash at the end; empty for the root.
    pub directory: String,
    /// The round.
    pub round: i32,
    /// Objects to write.
    pub copied: u64,
    /// Objects to delete.
    pub deleted: u64,
    /// Markers to retract.
    pub retracted: u64,
    /// Payload bytes to write.
    pub bytes: u64,
}

/// One row of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRow {
    /// What is done.
    pub action: Action,
    /// In which round.
    pub round: i32,
    /// With which key.
    pub key: String,
    /// Bytes, where they are known.
    pub size: Option<i64>,
    /// Why.
    pub reason: String,
}

/// A plan in brief.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOverview {
    /// By directory, then round; the first 200.
    pub directories: Vec<DirectoryCounts>,
    /// Directories that are left out.
    pub more_directories: u64,
    /// The first rows, by round and key.
    pub sample: Vec<PlannedRow>,
    /// Rows that are left out.
    pub more: u64,
}

/// Gathers an overview.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    directories: BTreeMap<(String, i32), DirectoryCounts>,
    /// The last directory that was left out, so that it counts once.
    left_out: String,
    seen: PlanOverview,
}

impl Gathering {
    /// One row, in the order of planning.
    pub(crate) fn row(&mut self, round: i32, action: Action, key: &str, size: Option<i64>, reason: &str) {
        if self.seen.sample.len() < SAMPLE {
            self.seen.sample.push(PlannedRow { action, round, key: key.to_owned(), size, reason: reason.to_owned() });
        } else {
            self.seen.more += 1;
        }
        let directory = &key[..key.rfind('/').map_or(0, |at| at + 1)];
        if self.directories.len() >= DIRECTORIES {
            if self.left_out == directory {
                return;
            }
            if !self.directories.contains_key(&(directory.to_owned(), round)) {
                directory.clone_into(&mut self.left_out);
                self.seen.more_directories += 1;
                return;
            }
        }
        let counts = self.directories.entry((directory.to_owned(), round)).or_default();
        match action {
            Action::Copy => {
                counts.copied += 1;
                counts.bytes += size.unwrap_or(0).unsigned_abs();
            }
            Action::Delete => counts.deleted += 1,
            Action::Retract => counts.retracted += 1,
        }
    }

    /// The overview.
    pub(crate) fn finish(mut self) -> PlanOverview {
        self.seen.sample.sort_by(|a, b| (a.round, &a.key).cmp(&(b.round, &b.key)));
        let named = |((directory, round), counts)| DirectoryCounts { directory, round, ..counts };
        self.seen.directories = self.directories.into_iter().map(named).collect();
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overview_is_bounded_and_says_what_it_leaves_out() {
        let mut gathering = Gathering::default();
        for directory in 0..300 {
            for file in 0..3 {
                gathering.row(1, Action::Copy, &format!("d{directory:03}/f{file}"), Some(5), "added");
            }
        }
        gathering.row(0, Action::Retract, "_SUCCESS", None, "covers changes");
        let seen = gathering.finish();
        assert_eq!((seen.directories.len(), seen.more_directories), (DIRECTORIES, 101));
        assert_eq!((seen.sample.len(), seen.more), (SAMPLE, 901 - SAMPLE as u64));
        let first = DirectoryCounts { directory: "d000/".into(), round: 1, copied: 3, bytes: 15, ..DirectoryCounts::default() };
        assert_eq!(seen.directories[0], first);
    }
}
