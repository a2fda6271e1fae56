//! Which ranges must be read: a decision on two metaranges, without I/O.
//!
//! Within one metarange the intervals are disjoint, so a key of a range that both sides share lies in no other range of
//! either side: shared ranges can be dropped. What remains falls into clusters of overlapping intervals that know nothing
//! of each other.

use std::collections::HashSet;

use graveler::RangeInfo;
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// Which keys are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Those that differ.
    Changes,
    /// Those that differ, and the others of the ranges in which something does.
    Opened,
    /// All of both sides.
    All,
}

/// Ranges of both sides whose intervals overlap, and the touched keys that fall to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    /// Of the left side, by key.
    pub(crate) left: Vec<RangeInfo>,
    /// Of the right side.
    pub(crate) right: Vec<RangeInfo>,
    /// Positions in the list of touched keys, from and to.
    pub(crate) touched: (usize, usize),
}

/// The clusters of two metaranges, in key order.
#[derive(Debug, Clone, Default)]
pub struct Clusters {
    /// In key order; their key intervals do not overlap.
    pub(crate) clusters: Vec<Cluster>,
    /// Different range ids of both sides within the part.
    pub ranges_total: u64,
}

impl Clusters {
    /// Decides what to read of `left` and `right` within `part`. `touched` are keys, sorted, that are of interest even
    /// where both sides agree.
    #[must_use]
    pub fn new(left: &[RangeInfo], right: &[RangeInfo], touched: &[String], mode: Mode, part: &Part) -> Self {
        let inside = |ranges: &[RangeInfo]| -> Vec<RangeInfo> {
            ranges.iter().filter(|r| part.overlaps(&r.min_key, &r.max_key)).cloned().collect()
        };
        let (mut left, mut right) = (inside(left), inside(right));
        let ids = |ranges: &[RangeInfo]| ranges.iter().map(|r| r.id.clone()).collect::<HashSet<_>>();
        let (left_ids, right_ids) = (ids(&left), ids(&right));
        let ranges_total = left_ids.union(&right_ids).count() as u64;
        if mode != Mode::All {
            left.retain(|r| !right_ids.contains(&r.id) || is_touched(r, touched));
            right.retain(|r| !left_ids.contains(&r.id) || is_touched(r, touched));
        }
        let mut clusters = group(left, right);
        share_out(&mut clusters, touched);
        Self { clusters, ranges_total }
    }

    /// Drops ranges whose interval is of no interest.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&[u8], &[u8]) -> bool) {
        for cluster in &mut self.clusters {
            for side in [&mut cluster.left, &mut cluster.right] {
                side.retain(|r| wanted(&r.min_key, &r.max_key));
            }
        }
        self.clusters.retain(|c| !c.left.is_empty() || !c.right.is_empty() || c.touched.0 < c.touched.1);
    }

    /// The ids of the ranges that will be read.
    #[must_use]
    pub fn opened(&self) -> HashSet<String> {
        self.clusters.iter().flat_map(|c| c.left.iter().chain(&c.right)).map(|r| r.id.clone()).collect()
    }

    /// Reads of ranges to come; one that both sides hold may be read for each.
    #[must_use]
    pub fn ranges_to_open(&self) -> usize {
        self.clusters.iter().map(|c| c.left.len() + c.right.len()).sum()
    }
}

fn is_touched(range: &RangeInfo, touched: &[String]) -> bool {
    let from = touched.partition_point(|k| k.as_bytes() < &range.min_key[..]);
    touched.get(from).is_some_and(|k| k.as_bytes() <= &range.max_key[..])
}

/// Sweeps both sides by their first keys and closes a cluster where no interval reaches further.
fn group(left: Vec<RangeInfo>, right: Vec<RangeInfo>) -> Vec<Cluster> {
    let mut sides: Vec<(bool, RangeInfo)> =
        left.into_iter().map(|r| (true, r)).chain(right.into_iter().map(|r| (false, r))).collect();
    sides.sort_by(|a, b| a.1.min_key.cmp(&b.1.min_key));
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut reach: Option<Vec<u8>> = None;
    for (is_left, range) in sides {
        if reach.as_ref().is_none_or(|end| range.min_key[..] > end[..]) {
            clusters.push(Cluster::default());
            reach = None;
        }
        if reach.as_ref().is_none_or(|end| range.max_key[..] > end[..]) {
            reach = Some(range.max_key.to_vec());
        }
        if let Some(cluster) = clusters.last_mut() {
            if is_left { cluster.left.push(range) } else { cluster.right.push(range) }
        }
    }
    clusters
}

/// Gives each cluster the touched keys before the next cluster's first key; the first one also those before itself.
fn share_out(clusters: &mut Vec<Cluster>, touched: &[String]) {
    if clusters.is_empty() && !touched.is_empty() {
        clusters.push(Cluster::default());
    }
    let mut from = 0;
    for i in 0..clusters.len() {
        let to = match clusters.get(i + 1).and_then(Cluster::first_key) {
            Some(next) => touched.partition_point(|k| k.as_bytes() < next),
            None => touched.len(),
        };
        clusters[i].touched = (from, to.max(from));
        from = to.max(from);
    }
}

impl Cluster {
    /// What merging it holds in memory at most: the largest range of either side, by their estimates.
    pub(crate) fn held_bytes(&self) -> u64 {
        let largest = |side: &[RangeInfo]| side.iter().map(|r| r.estimated_size).max().unwrap_or(0);
        largest(&self.left) + largest(&self.right)
    }

    fn first_key(&self) -> Option<&[u8]> {
        match (self.left.first(), self.right.first()) {
            (Some(l), Some(r)) => Some((&l.min_key[..]).min(&r.min_key[..])),
            (Some(one), None) | (None, Some(one)) => Some(&one.min_key[..]),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(id: &str, min: &str, max: &str) -> RangeInfo {
        RangeInfo { id: id.into(), min_key: min.to_owned().into(), max_key: max.to_owned().into(), count: 1, estimated_size: 1 }
    }

    type Shape<'a> = (Vec<&'a str>, Vec<&'a str>, (usize, usize));

    fn shape(clusters: &Clusters) -> Vec<Shape<'_>> {
        clusters
            .clusters
            .iter()
            .map(|c| (c.left.iter().map(|r| r.id.as_str()).collect(), c.right.iter().map(|r| r.id.as_str()).collect(), c.touched))
            .collect()
    }

    #[test]
    fn shared_ranges_are_dropped_and_the_rest_is_clustered() {
        let left = [range("1", "a", "c"), range("2", "d", "f"), range("3", "g", "k"), range("4", "p", "q")];
        let right = [range("1", "a", "c"), range("5", "d", "h"), range("6", "i", "k"), range("7", "r", "s")];
        let got = Clusters::new(&left, &right, &[], Mode::Changes, &Part::new(""));
        assert_eq!(
            shape(&got),
            vec![(vec!["2", "3"], vec!["5", "6"], (0, 0)), (vec!["4"], vec![], (0, 0)), (vec![], vec!["7"], (0, 0))]
        );
        assert_eq!((got.ranges_total, got.ranges_to_open()), (7, 6));
    }

    #[test]
    fn equal_sides_open_nothing_unless_a_key_was_touched() {
        let side = [range("1", "a", "c"), range("2", "e", "g")];
        assert_eq!(Clusters::new(&side, &side, &[], Mode::Changes, &Part::new("")).ranges_to_open(), 0);
        let touched = ["b".to_owned(), "d".to_owned(), "x".to_owned()];
        let got = Clusters::new(&side, &side, &touched, Mode::Changes, &Part::new(""));
        assert_eq!(shape(&got), vec![(vec!["1"], vec!["1"], (0, 3))]);
        let nowhere = Clusters::new(&side, &side, &["d".to_owned()], Mode::Changes, &Part::new(""));
        assert_eq!(shape(&nowhere), vec![(vec![], vec![], (0, 1))]);
    }

    #[test]
    fn all_of_both_sides_keeps_shared_ranges() {
        let side = [range("1", "a", "c"), range("2", "e", "g")];
        assert_eq!(Clusters::new(&side, &side, &[], Mode::All, &Part::new("")).ranges_to_open(), 4);
        assert_eq!(Clusters::new(&side, &side, &[], Mode::All, &Part::new("e/")).ranges_to_open(), 2);
        assert_eq!(Clusters::new(&side, &side, &[], Mode::All, &Part::new("d/")).ranges_to_open(), 0);
        assert_eq!(Clusters::new(&side, &[], &[], Mode::All, &Part::new("b")).ranges_to_open(), 1);
    }
}
