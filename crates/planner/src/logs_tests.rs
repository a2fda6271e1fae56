//! The moves of made-up logs, done one operation at a time before the eyes of a reader.

use std::collections::BTreeMap;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

/// A log at one commit: what its entries say, and what its checkpoints sum up.
#[derive(Debug, Clone, Default, PartialEq)]
struct Kept {
    entries: BTreeMap<usize, u32>,
    checkpoints: BTreeMap<usize, Vec<u32>>,
    pointer: Option<usize>,
}

/// All that was ever said, from version 0 on.
type Chain = Vec<u32>;

impl Kept {
    /// A log that says `chain`, has checkpoints at some of its versions, and has lost what is older than one of them.
    fn of(chain: &Chain, checkpoints: &BTreeSet<usize>, cleaned: bool) -> Self {
        let at: Vec<usize> = checkpoints.iter().copied().filter(|version| *version < chain.len()).collect();
        let from = at.last().copied().filter(|_| cleaned).unwrap_or(0);
        Self {
            entries: (from..chain.len()).map(|version| (version, chain[version])).collect(),
            checkpoints: at.iter().filter(|v| **v >= from).map(|v| (*v, chain[..=*v].to_vec())).collect(),
            pointer: at.last().copied(),
        }
    }

    /// What a reader is told, or what stops it.
    fn read(&self) -> Result<Chain, String> {
        if self.pointer.is_some_and(|version| !self.checkpoints.contains_key(&version)) {
            return Err(format!("the pointer names {:?}, which is not there", self.pointer));
        }
        let (mut said, mut next) = match self.checkpoints.last_key_value() {
            Some((version, whole)) => (whole.clone(), version + 1),
            None => (Chain::new(), 0),
        };
        for (version, entry) in self.entries.range(next..) {
            if *version != next {
                return Err(format!("there is no entry {next}, and there is {version}"));
            }
            said.push(*entry);
            next += 1;
        }
        Ok(said)
    }
}

fn place(version: usize, whole: bool) -> LogPlace {
    LogPlace { version: format!("{version:020}"), rank: u8::from(whole) * 2, whole }
}

fn row(version: usize, whole: bool, change: Change) -> LogRow {
    let key = format!("_delta_log/{version:020}.{}", if whole { "checkpoint.parquet" } else { "json" });
    let path = key.clone();
    LogRow { key, path, place: place(version, whole), change, entry: None, size: None, etag: None, reason: "" }
}

/// What differs, as rows of a log.
fn difference(base: &Kept, target: &Kept) -> Log {
    fn rows<T: PartialEq>(base: &BTreeMap<usize, T>, target: &BTreeMap<usize, T>, whole: bool) -> Vec<LogRow> {
        let versions: BTreeSet<_> = base.keys().chain(target.keys()).copied().collect();
        let change = |version: &usize| match (base.get(version), target.get(version)) {
            (Some(base), Some(target)) => (base != target).then_some(Change::Changed),
            (None, _) => Some(Change::Added),
            (_, None) => Some(Change::Removed),
        };
        versions.into_iter().filter_map(|version| Some(row(version, whole, change(&version)?))).collect()
    }
    let mut log = Log::new("_delta_log/", 3, LogKind::Chain);
    log.rows = rows(&base.entries, &target.entries, false);
    log.rows.extend(rows(&base.checkpoints, &target.checkpoints, true));
    let in_base = |version: &usize| base.entries.contains_key(version);
    target.entries.keys().for_each(|version| log.has(&place(*version, false).version, in_base(version)));
    target
        .checkpoints
        .keys()
        .for_each(|version| log.has(&place(*version, false).version, base.checkpoints.contains_key(version)));
    log
}

/// One operation.
#[derive(Debug, Clone)]
enum Op {
    Copy(LogRow),
    Delete(LogRow),
    Pointer(Option<usize>),
}

/// The operations of moves to `target`, each with the step that it is in.
fn operations(moves: &Moves, target: &Kept) -> Vec<(u8, Op)> {
    let copies = |step: u8, rows: &[LogRow]| rows.iter().map(|row| (step, Op::Copy(row.clone()))).collect::<Vec<_>>();
    let deletes = |step: u8, rows: &[LogRow]| rows.iter().map(|row| (step, Op::Delete(row.clone()))).collect::<Vec<_>>();
    let back = if moves.go_back() { vec![(1, Op::Pointer(None))] } else { Vec::new() };
    let all = [
        copies(0, &moves.restored),
        back,
        deletes(2, &moves.taken_back),
        deletes(3, &moves.retracted),
        copies(4, &moves.written),
        vec![(5, Op::Pointer(target.pointer))],
        deletes(6, &moves.expired),
    ];
    all.concat()
}

impl Kept {
    fn undergo(&mut self, op: &Op, target: &Self) {
        match op {
            Op::Copy(row) => {
                let version: usize = row.place.version.parse().unwrap();
                if row.place.whole {
                    self.checkpoints.insert(version, target.checkpoints[&version].clone());
                } else {
                    self.entries.insert(version, target.entries[&version]);
                }
            }
            Op::Delete(row) => {
                let version: usize = row.place.version.parse().unwrap();
                if row.place.whole {
                    self.checkpoints.remove(&version);
                } else {
                    self.entries.remove(&version);
                }
            }
            Op::Pointer(pointer) => self.pointer = *pointer,
        }
    }
}

/// Does the moves to `target`; fails where a reader would be stopped or told what none of `chains` says.
fn walk(chains: &[&Chain], mut now: Kept, moves: &Moves, target: &Kept) -> Result<(), TestCaseError> {
    for (_, op) in operations(moves, target) {
        now.undergo(&op, target);
        let said = now.read().map_err(|why| TestCaseError::fail(format!("after {op:?}: {why}\n{moves:#?}")))?;
        prop_assert!(chains.iter().any(|chain| chain.starts_with(&said)), "after {op:?} readers are told {said:?}\n{moves:#?}");
        // A table that is there before and after is never away.
        prop_assert!(!said.is_empty() || chains.iter().any(|c| c.is_empty()), "after {op:?} nothing is there\n{moves:#?}");
    }
    prop_assert_eq!(&now, target);
    Ok(())
}

/// What is at the destination when an export to `victim` was killed after `done` operations, of whose last step `told` are in
/// the journal; and what the next export to `target` sees.
fn killed(base: &Kept, victim: &Kept, target: &Kept, (done, told): (usize, usize)) -> (Kept, Log) {
    let operations = operations(&difference(base, victim).decide(), victim);
    let done = done.min(operations.len());
    let mut now = base.clone();
    operations[..done].iter().for_each(|(_, op)| now.undergo(op, victim));
    // What came before the step is in the journal; of the step as much as it tells.
    let step = operations.get(done.saturating_sub(1)).map(|(step, _)| *step);
    let before = operations.iter().take_while(|(of, _)| Some(*of) != step).count();
    let known_until = (before + told).min(done);
    // By key: is it known what the last row of it did, may it have been copied, had its first step begun, is any row known?
    let mut touched: BTreeMap<(usize, bool), (bool, bool, bool, bool)> = BTreeMap::new();
    for (at, (of, op)) in operations.iter().enumerate() {
        if let Op::Copy(row) | Op::Delete(row) = op {
            let row = touched.entry((row.place.version.parse().unwrap(), row.place.whole)).or_default();
            let begun = Some(*of) <= step;
            *row = (at < known_until, row.1 || (begun && matches!(op, Op::Copy(_))), row.2 || begun, row.3 || at < known_until);
        }
    }
    let mut log = Log::new("_delta_log/", 3, LogKind::Chain);
    let mut add = |version: usize, whole: bool, [base, now, victim, target]: [Option<Vec<u32>>; 4]| {
        let known = touched.get(&(version, whole));
        let there = if known.is_some() { now } else { base.clone() };
        let unknown = known.is_some_and(|known| !known.0);
        let written = victim.filter(|_| known.is_some_and(|known| known.1));
        let of_base = base.clone().filter(|_| known.is_some_and(|known| !known.3));
        let as_wanted = of_base.iter().chain(&written).all(|said| Some(said) == target.as_ref());
        let change = match (there, target) {
            (_, Some(_)) if unknown && as_wanted => Change::Added,
            (Some(there), Some(target)) if !unknown && there == target => return,
            (None, Some(_)) if !unknown => Change::Added,
            (_, Some(_)) => Change::Changed,
            (None, None) if !unknown => return,
            (_, None) => Change::Removed,
        };
        if base.is_none() && unknown && change == Change::Removed && known.is_some_and(|known| !known.2) {
            return;
        }
        log.rows.push(row(version, whole, change));
    };
    for version in 0..30 {
        add(version, false, [base, &now, victim, target].map(|kept| kept.entries.get(&version).map(|entry| vec![*entry])));
        add(version, true, [base, &now, victim, target].map(|kept| kept.checkpoints.get(&version).cloned()));
    }
    let shared = |version: usize, whole: bool, base: bool| base && !touched.contains_key(&(version, whole));
    for version in target.entries.keys() {
        log.has(&place(*version, false).version, shared(*version, false, base.entries.contains_key(version)));
    }
    for version in target.checkpoints.keys() {
        log.has(&place(*version, false).version, shared(*version, true, base.checkpoints.contains_key(version)));
    }
    (now, log)
}

prop_compose! {
    /// Two logs with a common start, one of which may go on where the other ends.
    fn two_logs()(common in 0..12_usize, left in 0..8_usize, right in 0..8_usize,
        checkpoints in (btree_set(0..20_usize, 0..4), btree_set(0..20_usize, 0..4)), cleaned in any::<(bool, bool)>())
        -> ((Chain, Kept), (Chain, Kept)) {
        let chain = |own: u32, more: usize| (0..common).map(|v| u32::try_from(v).unwrap())
            .chain((0..more).map(|v| own + u32::try_from(v).unwrap())).collect::<Chain>();
        let (a, b) = (chain(100, left), chain(200, right));
        let (ka, kb) = (Kept::of(&a, &checkpoints.0, cleaned.0), Kept::of(&b, &checkpoints.1, cleaned.1));
        ((a, ka), (b, kb))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_can_be_read_after_every_operation(((a, ka), (b, kb)) in two_logs()) {
        // A table without an entry is none, and its reader has nothing to read.
        prop_assume!(!a.is_empty() || !b.is_empty());
        walk(&[&a, &b], ka.clone(), &difference(&ka, &kb).decide(), &kb)?;
        walk(&[&a, &b], kb.clone(), &difference(&kb, &ka).decide(), &ka)?;
    }

    #[test]
    fn a_chain_can_be_read_after_every_operation_where_a_killed_export_is_undone(
        ((a, ka), (b, kb)) in two_logs(), at in (0..40_usize, 0..6_usize),
    ) {
        prop_assume!(!a.is_empty() && !b.is_empty());
        let (now, log) = killed(&ka, &kb, &ka, at);
        walk(&[&a, &b], now, &log.decide(), &ka)?;
    }

    #[test]
    fn of_snapshots_the_newest_is_always_the_old_one_or_the_new_one(
        base in vec(0..9_usize, 1..6), target in vec(0..9_usize, 1..6), changed in any::<bool>(),
    ) {
        let state = |versions: &[usize], says: &str| -> BTreeMap<usize, String> {
            versions.iter().map(|version| (*version, format!("{version}{}", if changed { says } else { "" }))).collect()
        };
        let (base, target) = (state(&base, "a"), state(&target, "b"));
        let mut log = Log::new("metadata/", 3, LogKind::Snapshots);
        for version in base.keys().chain(target.keys()).collect::<BTreeSet<_>>() {
            let change = match (base.get(version), target.get(version)) {
                (Some(b), Some(t)) if b == t => continue,
                (Some(_), Some(_)) => Change::Changed,
                (None, _) => Change::Added,
                _ => Change::Removed,
            };
            log.rows.push(row(*version, true, change));
        }
        let moves = log.decide();
        let mut now = base.clone();
        let version = |row: &LogRow| row.place.version.parse::<usize>().unwrap();
        let writes = |rows: &[LogRow]| rows.iter().map(|row| (version(row), true)).collect::<Vec<_>>();
        let deletes = |rows: &[LogRow]| rows.iter().map(|row| (version(row), false)).collect::<Vec<_>>();
        let all = [writes(&moves.restored), deletes(&moves.taken_back), deletes(&moves.retracted), writes(&moves.written), deletes(&moves.expired)];
        for (version, writes) in all.concat() {
            if writes { now.insert(version, target[&version].clone()) } else { now.remove(&version) };
            let newest = now.last_key_value();
            prop_assert!(newest == base.last_key_value() || newest == target.last_key_value(), "{now:?} {moves:#?}");
        }
        prop_assert_eq!(now, target);
    }
}

#[test]
fn a_rollback_goes_newest_first_and_restores_before_it() {
    let chain: Chain = (0..13).collect();
    let base = Kept::of(&chain, &BTreeSet::from([10]), true);
    let target = Kept::of(&chain[..6].to_vec(), &BTreeSet::new(), false);
    let moves = difference(&base, &target).decide();
    let names = |rows: &[LogRow]| {
        rows.iter()
            .map(|r| format!("{}{}", &r.place.version[18..], if r.place.whole { "c" } else { "" }))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(&moves.restored), "05 04 03 02 01 00");
    assert_eq!(names(&moves.taken_back), "12 11 10 10c");
    assert_eq!((moves.retracted.len(), moves.written.len(), moves.expired.len()), (0, 0, 0));
    let forward = difference(&target, &base).decide();
    assert_eq!(names(&forward.written), "10c 10 11 12");
    assert_eq!(names(&forward.expired), "00 01 02 03 04 05");
    assert!(!forward.go_back());
}

#[test]
fn a_reset_goes_back_to_what_both_have_and_overwrites_the_first_entry_that_differs() {
    let base = Kept::of(&vec![0, 1, 2, 13, 14], &BTreeSet::from([4]), false);
    let target = Kept::of(&vec![0, 1, 2, 23, 24, 25], &BTreeSet::from([3]), false);
    let moves = difference(&base, &target).decide();
    let names = |rows: &[LogRow]| {
        rows.iter()
            .map(|r| format!("{}{}", &r.place.version[19..], if r.place.whole { "c" } else { "" }))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = [&moves.restored, &moves.taken_back, &moves.retracted, &moves.written, &moves.expired].map(|rows| names(rows));
    assert_eq!(all, ["", "", "4c 4", "3 3c 4 5", ""]);
}
