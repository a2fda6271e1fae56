use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::round::is_marker;

/// The oracle: the rules of a plan on plain maps, as they are defined, without any streaming.
mod oracle {
    use super::*;

    pub(super) type Commit = BTreeMap<String, u8>;

    pub(super) fn below(key: &str, marker: &str) -> bool {
        key != marker && key.starts_with(&marker[..marker.len() - MARKER.len()])
    }

    pub(super) fn view(commit: &Commit, selected: impl Fn(&str, u8) -> bool) -> Commit {
        let unselected: Vec<_> = commit.iter().filter(|(k, v)| !selected(k, **v)).map(|(k, _)| k.clone()).collect();
        commit
            .iter()
            .filter(|(k, v)| selected(k, **v) && !(is_marker(k) && unselected.iter().any(|o| below(o, k))))
            .map(|(k, v)| (k.clone(), *v))
            .collect()
    }

    pub(super) struct Plan {
        pub retract: BTreeSet<String>,
        pub publish: BTreeSet<String>,
        pub copies: BTreeSet<String>,
        pub deletes: BTreeSet<String>,
    }

    /// The base as runs that did not finish left it: what they did is known, with its new state.
    pub(super) fn overlaid(base: &Commit, known: &BTreeMap<String, Option<u8>>) -> Commit {
        let mut base = base.clone();
        base.retain(|key, _| !known.contains_key(key));
        base.extend(known.iter().filter_map(|(key, value)| Some((key.clone(), (*value)?))));
        base
    }

    pub(super) fn plan(
        base: &Commit,
        unknown: &BTreeSet<String>,
        target: &Commit,
        full: bool,
        listed: &BTreeSet<String>,
    ) -> Plan {
        let base: Commit = base.iter().filter(|(k, _)| !unknown.contains(*k)).map(|(k, v)| (k.clone(), *v)).collect();
        let all: BTreeSet<_> = base.keys().chain(target.keys()).cloned().collect();
        let mut changed: BTreeSet<_> = all.into_iter().filter(|k| base.get(k) != target.get(k)).collect();
        changed.extend(unknown.iter().cloned());
        if full {
            changed.extend(target.keys().cloned());
        }
        let marks: BTreeSet<_> =
            base.keys().chain(unknown).chain(listed).chain(target.keys()).filter(|k| is_marker(k)).cloned().collect();
        let hit = |m: &str| changed.iter().any(|k| below(k, m));
        let retract: BTreeSet<_> = marks.into_iter().filter(|m| changed.contains(m) || hit(m)).collect();
        let publish = target.keys().filter(|m| is_marker(m) && (changed.contains(*m) || retract.contains(*m))).cloned().collect();
        let data = || changed.iter().filter(|k| !is_marker(k)).cloned();
        Plan {
            publish,
            copies: data().filter(|k| target.contains_key(k)).collect(),
            deletes: data().filter(|k| !target.contains_key(k)).collect(),
            retract,
        }
    }
}

const KEYS: [&str; 12] =
    ["_SUCCESS", "Z", "a/1", "a/2", "a/_SUCCESS", "a/x/1", "a/x/2", "a/x/_SUCCESS", "b/1", "b/_SUCCESS", "c", "a-b/_SUCCESS"];

fn entry(path: &str, identity: u8) -> EntryRow {
    EntryRow {
        path: path.to_owned(),
        size: 1,
        etag: None,
        mtime: None,
        content_type: None,
        metadata: vec![],
        address: String::new(),
        identity: vec![identity],
    }
}

type Got = (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>, BTreeSet<String>);

/// What unfinished runs left: data keys with a known state, and keys that may hold anything. None is both.
type Left = (BTreeMap<String, Option<u8>>, BTreeSet<String>);

/// Streams every key of both sides through [`Directories`], as planning does.
fn streamed(
    sides: (&oracle::Commit, &oracle::Commit),
    selected: (Selects, Selects),
    (known, unknown): &Left,
    full: bool,
    listed: &BTreeSet<String>,
) -> Got {
    let (mut directories, mut closed, mut got) = (Directories::new(full), Vec::new(), Got::default());
    let keys: BTreeSet<String> = sides.0.keys().chain(sides.1.keys()).chain(unknown).chain(known.keys()).cloned().collect();
    for key in &keys {
        let pick = |commit: &oracle::Commit, f: &dyn Fn(&str, u8) -> bool| {
            let entry = commit.get(key).copied();
            (entry.filter(|v| f(key, *v)), entry.is_some_and(|v| !f(key, v)))
        };
        let (base, unselected_base) = pick(sides.0, &selected.0);
        let (target, unselected_target) = pick(sides.1, &selected.1);
        let base = known.get(key).map_or(base, |state| *state).filter(|_| !unknown.contains(key));
        let changed = unknown.contains(key) || base != target || (full && target.is_some());
        let facts = RowFacts { changed, unselected: (unselected_base, unselected_target), ..RowFacts::default() };
        if is_marker(key) {
            let row = MarkerRow {
                base: base.map(|v| entry(key, v)),
                target: target.map(|v| entry(key, v)),
                unknown: unknown.contains(key),
                facts: RowFacts { changed: false, ..facts },
            };
            directories.marker(key, row, &mut closed);
        } else {
            directories.row(key, facts, &mut closed);
            if changed {
                if target.is_some() {
                    got.2.insert(key.clone())
                } else {
                    got.3.insert(key.clone())
                };
            }
        }
    }
    directories.finish(&mut closed);
    for one in closed {
        let on_list = listed.contains(&one.key);
        let decision = one.decide(full, on_list, false);
        if decision.retract {
            got.0.insert(decision.key.clone());
        }
        if decision.publish.is_some() {
            got.1.insert(decision.key);
        }
    }
    got
}

fn commit() -> impl Strategy<Value = oracle::Commit> {
    proptest::collection::btree_map(proptest::sample::select(&KEYS[..]).prop_map(str::to_owned), 1_u8..4, 0..10)
        .prop_map(|c| c.into_iter().map(|(k, v)| if is_marker(&k) { (k, 0) } else { (k, v) }).collect())
}

fn some_keys() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set(proptest::sample::select(&KEYS[..]).prop_map(str::to_owned), 0..3)
}

/// States of data keys that runs left, whatever the commits say. Markers are never believed.
fn some_states() -> impl Strategy<Value = BTreeMap<String, Option<u8>>> {
    let data = KEYS.into_iter().filter(|key| !is_marker(key)).map(str::to_owned).collect::<Vec<_>>();
    proptest::collection::btree_map(proptest::sample::select(data), proptest::option::of(1_u8..4), 0..4)
}

/// Whether a key with this identity is selected.
type Selects = fn(&str, u8) -> bool;

fn selection(n: usize) -> Selects {
    [
        |_: &str, _: u8| true,
        |k: &str, _: u8| !k.starts_with("a/x/"),
        |k: &str, _: u8| k.starts_with("a/"),
        |_: &str, v: u8| v != 3,
        |k: &str, _: u8| k != "a/x/_SUCCESS",
    ][n]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn streaming_decides_what_the_rules_say(
        base in commit(), target in commit(), known in some_states(), unknown in some_keys(), listed in some_keys(),
        old in 0_usize..5, new in 0_usize..5, full: bool,
    ) {
        let listed: BTreeSet<_> = listed.into_iter().filter(|k| is_marker(k)).collect();
        let (old, new) = (selection(old), selection(new));
        let known: BTreeMap<_, _> = known.into_iter().filter(|(key, _)| !unknown.contains(key)).collect();
        let believed = oracle::overlaid(&oracle::view(&base, old), &known);
        let expected = oracle::plan(&believed, &unknown, &oracle::view(&target, new), full, &listed);
        let got = streamed((&base, &target), (old, new), &(known, unknown), full, &listed);
        prop_assert_eq!(got.0, expected.retract);
        prop_assert_eq!(got.1, expected.publish);
        prop_assert_eq!(got.2, expected.copies);
        prop_assert_eq!(got.3, expected.deletes);
    }
}

#[test]
fn a_directory_without_a_marker_row_is_reported_when_something_below_changes() {
    let (mut directories, mut closed) = (Directories::new(false), Vec::new());
    directories.row("t/d=1/x", RowFacts { changed: true, ..RowFacts::default() }, &mut closed);
    directories.row("t/d=2/x", RowFacts::default(), &mut closed);
    directories.finish(&mut closed);
    let keys: Vec<_> = closed.iter().map(|c| (c.key.as_str(), c.marker.is_some())).collect();
    assert_eq!(keys, [("t/d=1/_SUCCESS", false), ("t/_SUCCESS", false), ("_SUCCESS", false)]);
}
