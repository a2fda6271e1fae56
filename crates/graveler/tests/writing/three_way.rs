//! Merges of branches against the rule for a single key.

use bytes::Bytes;
use graveler::{Conflict, Merged, Metarange, Record, Strategy, TreeMerge};
use proptest::prelude::*;

use crate::history::counts_of;
use crate::lakes::{Map, identities, lake, read, write};
use crate::maps::{maps, run};

const RAGGEDNESS: u64 = 3;

type Side<'a> = Option<&'a (Bytes, Bytes)>;

fn identity(side: Side<'_>) -> Option<&Bytes> {
    side.map(|(identity, _)| identity)
}

/// The merged map, and the keys in conflict.
fn expected(base: &Map, source: &Map, destination: &Map, strategy: Option<Strategy>) -> (Map, Vec<Bytes>) {
    let mut merged = destination.clone();
    let mut conflicts = Vec::new();
    let keys: std::collections::BTreeSet<_> = [base, source, destination].into_iter().flat_map(Map::keys).collect();
    for key in keys {
        let (b, s, d) = (base.get(key), source.get(key), destination.get(key));
        if identity(s) == identity(b) || identity(s) == identity(d) {
            continue;
        }
        if identity(d) != identity(b) {
            conflicts.push(key.clone());
            if strategy != Some(Strategy::SourceWins) {
                continue;
            }
        }
        match s {
            Some(record) => drop(merged.insert(key.clone(), record.clone())),
            None => drop(merged.remove(key)),
        }
    }
    (merged, conflicts)
}

async fn write_all(lake: &TreeMerge, maps: [&Map; 3]) -> [Metarange; 3] {
    let [base, source, destination] = maps;
    [write(lake, base).await, write(lake, source).await, write(lake, destination).await]
}

/// Maps that have much in common, so that ranges are shared.
fn branches() -> impl Strategy_<Value = [Map; 3]> {
    (maps(), maps(), maps(), any::<[u8; 3]>()).prop_map(|(base, source, destination, [from, to, both])| {
        let letter = |byte: u8| b"/abc"[usize::from(byte % 4)];
        let mut maps = [base.clone(), base.clone(), base];
        let edit = |map: &mut Map, by: &Map, first: u8| {
            map.retain(|key, _| key[0] != first);
            map.extend(by.iter().filter(|(key, _)| key[0] == first).map(|(k, v)| (k.clone(), v.clone())));
        };
        edit(&mut maps[1], &source, letter(from));
        edit(&mut maps[2], &destination, letter(to));
        edit(&mut maps[1], &source, letter(both));
        edit(&mut maps[2], &source, letter(both));
        maps
    })
}

use proptest::strategy::Strategy as Strategy_;

proptest! {
    #[test]
    fn each_key_is_merged_by_the_rule_for_a_single_key(
        maps in prop_oneof![branches(), (maps(), maps(), maps()).prop_map(|(a, b, c)| [a, b, c])],
        strategy in prop_oneof![Just(None), Just(Some(Strategy::SourceWins)), Just(Some(Strategy::DestWins))],
    ) {
        let [base, source, destination] = &maps;
        let (merged, conflicts) = expected(base, source, destination, strategy);
        let (outcome, found) = run(async {
            let lake = lake(RAGGEDNESS);
            let [b, s, d] = write_all(&lake, [base, source, destination]).await;
            let outcome = lake.merge(&b, &s, &d, strategy, usize::MAX).await.unwrap();
            let found = match &outcome {
                Merged::Tree { applied, .. } => Some(read(&lake.namespace, &applied.metarange).await),
                _ => None,
            };
            (outcome, found)
        });
        match outcome {
            Merged::Nothing => prop_assert_eq!(base, source),
            Merged::Conflicts(named) => {
                prop_assert!(strategy.is_none());
                let keys: Vec<_> = named.into_iter().map(|conflict| conflict.key).collect();
                prop_assert_eq!(keys, conflicts);
            }
            Merged::Tree { applied, resolved } => {
                prop_assert_eq!(resolved, conflicts.len() as u64);
                prop_assert!(strategy.is_some() || conflicts.is_empty());
                let found = found.unwrap();
                prop_assert_eq!(identities(&found), identities(&merged));
                prop_assert_eq!(applied.changes, counts_of(destination, &merged));
            }
        }
    }
}

fn map(records: &[(&str, &str)]) -> Map {
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    records.iter().map(|(key, identity)| (own(key), (own(identity), own("data")))).collect()
}

#[tokio::test]
async fn a_conflict_names_the_key_and_its_three_records() {
    let lake = lake(RAGGEDNESS);
    let maps =
        [map(&[("a", "1"), ("gone", "1")]), map(&[("a", "2"), ("new", "1")]), map(&[("a", "3"), ("gone", "2"), ("new", "2")])];
    let [base, source, destination] = write_all(&lake, [&maps[0], &maps[1], &maps[2]]).await;
    let written = |outcome: &Merged| matches!(outcome, Merged::Tree { .. });
    let Merged::Conflicts(conflicts) = lake.merge(&base, &source, &destination, None, 2).await.unwrap() else {
        panic!();
    };
    let record = |key: &str, identity: &str| {
        let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Some(Record { key: own(key), identity: own(identity), data: own("data") })
    };
    let conflict = |key: &str, base, source, destination| Conflict {
        key: Bytes::copy_from_slice(key.as_bytes()),
        base,
        source,
        destination,
    };
    let first = conflict("a", record("a", "1"), record("a", "2"), record("a", "3"));
    let second = conflict("gone", record("gone", "1"), None, record("gone", "2"));
    assert_eq!(conflicts, [first, second], "`new` is the third, and two were asked for");
    for strategy in [Strategy::SourceWins, Strategy::DestWins] {
        assert!(written(&lake.merge(&base, &source, &destination, Some(strategy), 2).await.unwrap()));
    }
}

#[tokio::test]
async fn only_ranges_that_the_source_changed_are_read() {
    let lake = lake(50);
    let record = |i: u32| (Bytes::from(format!("key/{i:05}")), (Bytes::from_static(b"id"), Bytes::new()));
    let base: Map = (0..2_000).map(record).collect();
    let edited = |key: &'static str| {
        let mut map = base.clone();
        map.insert(Bytes::from_static(key.as_bytes()), (Bytes::from_static(b"new"), Bytes::new()));
        map
    };
    let (source, destination) = (edited("key/00100"), edited("key/01900"));
    let [base, source, destination] = write_all(&lake, [&base, &source, &destination]).await;
    let merged = lake.merge(&base, &source, &destination, None, 10).await.unwrap();
    let Merged::Tree { applied, .. } = merged else {
        panic!("{merged:?}");
    };
    // Twice one range of the base and one of the source, to look for conflicts and to apply; then
    // the destination's range that gets the change.
    assert_eq!(lake.namespace.counters().snapshot().ranges_opened, 2 * 2 + 1);
    assert_eq!(applied.changes.changed, 1);
    let theirs: Vec<_> = applied.metarange.ranges().iter().filter(|range| source.ranges().contains(range)).collect();
    assert_eq!(theirs.len(), source.ranges().len() - 1);
}
