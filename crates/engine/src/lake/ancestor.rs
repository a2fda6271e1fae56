//! The merge base of two commits: the nearest commit that both descend from.

use std::collections::{BTreeMap, BTreeSet};

use graveler::CommitData;

const LEFT: u8 = 1;
const RIGHT: u8 = 2;

/// The merge base of `left` and `right`, as lakeFS finds it: commits are visited from the highest generation down, each tells
/// its parents from which side it was reached, and the first one that was reached from both is the base.
pub(super) fn merge_base<'a>(commits: &'a BTreeMap<String, CommitData>, left: &'a str, right: &'a str) -> Option<&'a CommitData> {
    if left == right {
        return commits.get(left);
    }
    let mut reached = BTreeMap::from([(left, LEFT), (right, RIGHT)]);
    let mut waiting: BTreeSet<_> = [left, right].into_iter().filter_map(|id| commits.get(id)).map(rank).collect();
    while let Some((_, _, id)) = waiting.pop_last() {
        let sides = reached.get(id).copied().unwrap_or_default();
        for parent in commits.get(id).into_iter().flat_map(|commit| &commit.parents) {
            let Some(found) = commits.get(parent) else { continue };
            let seen = reached.entry(&found.id).or_default();
            if *seen == 0 {
                waiting.insert(rank(found));
            }
            *seen |= sides;
            if *seen == LEFT | RIGHT {
                return Some(found);
            }
        }
    }
    None
}

fn rank(commit: &CommitData) -> (i32, i64, &str) {
    (commit.generation, commit.creation_date.map_or(0, |at| at.seconds), &commit.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits by letters, each with those of its parents; a commit comes after its parents.
    fn graph(lines: &[(&str, &str)]) -> BTreeMap<String, CommitData> {
        let mut all: BTreeMap<String, CommitData> = BTreeMap::new();
        for (id, parents) in lines {
            let parents: Vec<_> = parents.chars().map(String::from).collect();
            let generation = parents.iter().map(|p| all[p].generation).max().unwrap_or_default() + 1;
            all.insert((*id).to_owned(), CommitData { id: (*id).to_owned(), parents, generation, ..CommitData::default() });
        }
        all
    }

    #[test]
    fn the_nearest_common_ancestor_is_found() {
        //   a ─ b ─ c ─ d ─── g        main
        //        \    \       /
        //         e ─── f ───┴─ h      dev, merged from main at f and into main at g
        let all = graph(&[("a", ""), ("b", "a"), ("c", "b"), ("e", "b"), ("d", "c"), ("f", "ec"), ("g", "df"), ("h", "f")]);
        for (left, right, base) in [
            ("a", "a", "a"),
            ("d", "e", "b"),
            ("d", "f", "c"),
            ("g", "h", "f"),
            ("h", "g", "f"),
            ("g", "f", "f"),
            ("f", "g", "f"),
            ("a", "h", "a"),
        ] {
            assert_eq!(merge_base(&all, left, right).map(|c| &*c.id), Some(base), "{left} {right}");
        }
    }

    #[test]
    fn strangers_have_none() {
        let all = graph(&[("a", ""), ("b", ""), ("c", "b")]);
        assert!(merge_base(&all, "a", "c").is_none());
    }
}
