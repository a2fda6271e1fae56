//! Trees against plain maps: whatever is put and deleted, a tree holds what a map would.

use std::collections::BTreeMap;

use bytes::Bytes;
use graveler::{Change, Prefixes, TreeMerge};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::history::counts_of;
use crate::lakes::{Changes, Map, lake, read, stream_of, write};

/// Keys that collide, ranges of three records on average.
const RAGGEDNESS: u64 = 3;

fn keys() -> impl Strategy<Value = Bytes> {
    "[a-c/]{1,4}".prop_map(Bytes::from)
}

fn identities() -> impl Strategy<Value = Bytes> {
    "[xyz]".prop_map(Bytes::from)
}

pub(crate) fn maps() -> impl Strategy<Value = Map> {
    btree_map(keys(), (identities(), "[0-9]{0,3}".prop_map(Bytes::from)), 0..60)
}

fn changes() -> impl Strategy<Value = Changes> {
    let change = prop_oneof![
        2 => (identities(), "[0-9]{0,3}").prop_map(|(identity, data)| Change::Put { identity, data: data.into() }),
        1 => Just(Change::Delete),
    ];
    btree_map(keys(), change, 0..20)
}

/// What applying changes means.
fn apply(map: &Map, changes: &Changes, replaced: &[String]) -> Map {
    let held = |key: &Bytes| replaced.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
    let mut after: Map = map.iter().filter(|(key, _)| !held(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, change) in changes {
        match change {
            Change::Delete => drop(after.remove(key)),
            Change::Put { identity, .. } if after.get(key).is_some_and(|(before, _)| before == identity) => {}
            Change::Put { identity, data } => drop(after.insert(key.clone(), (identity.clone(), data.clone()))),
        }
    }
    after
}

/// A runtime for one case.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn applied(lake: &TreeMerge, map: &Map, changes: &Changes, replaced: &[String]) -> (Map, graveler::Applied) {
    let base = write(lake, map).await;
    let prefixes: Prefixes = replaced.iter().map(String::as_bytes).collect();
    let applied = lake.apply(&base, stream_of(changes), &prefixes).await.unwrap();
    (read(&lake.namespace, &applied.metarange).await, applied)
}

proptest! {
    #[test]
    fn a_tree_holds_what_a_map_would(map in maps(), changes in changes()) {
        let (found, applied) = run(applied(&lake(RAGGEDNESS), &map, &changes, &[]));
        prop_assert_eq!(&found, &apply(&map, &changes, &[]));
        prop_assert_eq!(applied.changes, counts_of(&map, &found));
        prop_assert_eq!(applied.metarange.count(), found.len() as u64);
    }

    #[test]
    fn replaced_prefixes_hold_the_changes_and_nothing_else(
        map in maps(), changes in changes(), replaced in vec("[a-c/]{0,2}", 0..3),
    ) {
        let (found, applied) = run(applied(&lake(RAGGEDNESS), &map, &changes, &replaced));
        prop_assert_eq!(&found, &apply(&map, &changes, &replaced));
        prop_assert_eq!(applied.changes, counts_of(&map, &found));
    }

    #[test]
    fn changes_one_after_the_other_are_as_good_as_all_at_once(map in maps(), first in changes(), second in changes()) {
        // Of two puts with equal identities the first record stays, if the tree has it between them.
        let mut both: BTreeMap<_, _> = first.clone();
        for (key, change) in &second {
            let same = matches!((both.get(key), change), (Some(Change::Put { identity: a, .. }), Change::Put { identity: b, .. }) if a == b);
            let restored = matches!((first.get(key), change), (Some(Change::Delete | Change::Put { .. }), Change::Put { .. })) && map.contains_key(key);
            prop_assume!(!restored);
            if !same {
                both.insert(key.clone(), change.clone());
            }
        }
        let (stepwise, at_once) = run(async {
            let lake = lake(RAGGEDNESS);
            let base = write(&lake, &map).await;
            let none = Prefixes::none();
            let middle = lake.apply(&base, stream_of(&first), &none).await.unwrap().metarange;
            let last = lake.apply(&middle, stream_of(&second), &none).await.unwrap().metarange;
            let direct = lake.apply(&base, stream_of(&both), &none).await.unwrap().metarange;
            (read(&lake.namespace, &last).await, read(&lake.namespace, &direct).await)
        });
        prop_assert_eq!(stepwise, at_once);
    }
}

/// 2,000 records in some 40 ranges.
fn large() -> Map {
    let record = |i: u32| (Bytes::from(format!("key/{i:05}")), (Bytes::from_static(b"id"), Bytes::from(i.to_string())));
    (0..2_000).map(record).collect()
}

#[tokio::test]
async fn ranges_without_changes_are_neither_read_nor_written() {
    let lake = lake(50);
    let base = write(&lake, &large()).await;
    let ranges = base.ranges().len() as u64;
    assert!(ranges > 20);
    let put = Change::Put { identity: Bytes::from_static(b"other"), data: Bytes::new() };
    let changes = Changes::from([(Bytes::from_static(b"key/01000"), put), (Bytes::from_static(b"key/01000x"), Change::Delete)]);
    let applied = lake.apply(&base, stream_of(&changes), &Prefixes::none()).await.unwrap();
    assert_eq!((applied.changes.added, applied.changes.changed, applied.changes.removed), (0, 1, 0));
    assert_eq!(lake.namespace.counters().snapshot().ranges_opened, 1);
    assert_eq!((applied.counts.ranges_reused, applied.counts.ranges_written), (ranges - 1, 1));
    let same = applied.metarange.ranges().iter().filter(|range| base.ranges().contains(range)).count() as u64;
    assert_eq!(same, ranges - 1);
}

#[tokio::test]
async fn a_replaced_prefix_removes_whole_ranges_without_reading_them() {
    let lake = lake(50);
    let base = write(&lake, &large()).await;
    let prefixes = ["key/01"].into_iter().collect();
    let applied = lake.apply(&base, stream_of(&Changes::new()), &prefixes).await.unwrap();
    assert_eq!(applied.changes.removed, 1_000);
    assert!(lake.namespace.counters().snapshot().ranges_opened <= 2);
    assert!(applied.counts.ranges_reused > 5);
}

#[tokio::test]
async fn what_is_written_does_not_depend_on_how_much_is_written_at_a_time() {
    let mut trees = Vec::new();
    for (parallel, buffer) in [(1, 1), (1, 64 << 20), (8, 4 << 10), (0, 0)] {
        let mut lake = lake(50);
        (lake.options.parallel, lake.options.buffer) = (parallel, buffer);
        trees.push(write(&lake, &large()).await);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_range_ends_at_its_largest_size_and_not_before_its_smallest() {
    for (min_size, max_size, raggedness) in [(0, 2_000, 0), (0, 3_000, 40), (1_500, 6_000, 10), (9_000, u64::MAX, 7)] {
        let mut lake = lake(raggedness);
        (lake.options.breaker.min_size, lake.options.breaker.max_size) = (min_size, max_size);
        let tree = write(&lake, &large()).await;
        assert_eq!(read(&lake.namespace, &tree).await, large());
        let (last, others) = tree.ranges().split_last().unwrap();
        assert!(!others.is_empty() && last.estimated_size < max_size.saturating_add(4_200));
        for range in others {
            assert!(lake.options.breaker.breaks_after(&range.max_key, range.estimated_size));
            assert!(range.estimated_size >= min_size && range.estimated_size < max_size.saturating_add(4_200));
        }
    }
}
