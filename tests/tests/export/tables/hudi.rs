//! A Hudi table: its timeline moves with its files, forward and back, and sideways on branches that are reset.

use super::*;

/// The table's folder.
pub(super) const TABLE: &str = "h/";

/// What its keys begin with.
const TIMELINE: &str = ".hoodie/";
const METADATA: &str = ".hoodie/metadata/.hoodie/";

/// A Hudi table as its writer knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct HudiTable {
    objects: Objects,
    /// The newest slice of each file group.
    slices: BTreeMap<u64, String>,
    /// What its readers were told after each instant.
    pub history: Vec<State>,
}

impl HudiTable {
    /// Instants of a timeline that are completed, the oldest first.
    fn completed(&self) -> Vec<String> {
        let names = self.objects.keys().filter_map(|key| key.strip_prefix(TIMELINE)?.strip_suffix(".commit"));
        names.filter(|name| !name.contains('/')).map(str::to_owned).collect()
    }

    fn instant(&mut self, folder: &str, at: &str, kind: &str, says: &[String]) {
        self.objects.insert(format!("{folder}{at}.{kind}.requested"), Vec::new());
        self.objects.insert(format!("{folder}{at}.{kind}.inflight"), Vec::new());
        self.objects.insert(format!("{folder}{at}.{kind}"), serde_json::to_vec(says).unwrap());
    }

    /// Writes some slices; and now and then some that are never completed.
    fn commit(&mut self, random: &mut Random, at: u64) {
        if self.objects.is_empty() {
            self.objects.insert(format!("{TIMELINE}hoodie.properties"), b"hoodie.table.name=h".to_vec());
        }
        let at = format!("{:017}", 20_260_101_000_000_000 + at);
        let groups: BTreeSet<_> = (0..=random.below(2)).map(|_| random.below(4)).collect();
        let slices: Vec<_> = groups.iter().map(|group| format!("g{group}_{at}.parquet")).collect();
        self.objects.extend(slices.iter().map(|slice| (slice.clone(), slice.clone().into_bytes())));
        if !self.history.is_empty() && random.chance(15) {
            self.objects.insert(format!("{TIMELINE}{at}.commit.requested"), Vec::new());
            self.objects.insert(format!("{TIMELINE}{at}.commit.inflight"), Vec::new());
            return;
        }
        let log = format!("log_{at}");
        self.objects.insert(format!("{TIMELINE}metadata/files/{log}"), log.clone().into_bytes());
        self.instant(METADATA, &at, "deltacommit", &[log]);
        self.instant(TIMELINE, &at, "commit", &slices);
        self.slices.extend(groups.into_iter().zip(slices));
        self.history.push(Some(self.slices.values().cloned().collect()));
    }

    /// Deletes slices that newer ones have taken the place of, and those that were never completed.
    fn clean(&mut self) {
        let slices: BTreeSet<_> = self.slices.values().cloned().collect();
        self.objects.retain(|key, _| key.contains('/') || slices.contains(key));
    }

    /// Takes instants out of both timelines: all but the last two that are completed, and none after one that is not.
    fn archive(&mut self) {
        let completed = self.completed();
        let Some(kept) = completed.len().checked_sub(2).map(|at| completed[at].clone()) else { return };
        let requested = self.objects.keys().filter_map(|key| key.strip_prefix(TIMELINE)?.strip_suffix(".commit.requested"));
        let pending = requested.filter(|at| !completed.iter().any(|done| done == at)).map(str::to_owned).min();
        let first = pending.into_iter().chain([kept]).min().unwrap_or_default();
        let is_older = |key: &str, folder: &str| {
            let name = key.strip_prefix(folder).filter(|name| !name.contains('/') && name.starts_with('2'));
            name.is_some_and(|name| name < first.as_str())
        };
        self.objects.retain(|key, _| !is_older(key, TIMELINE) && !is_older(key, METADATA));
    }

    pub(super) fn tree(&self) -> Objects {
        self.objects.iter().map(|(key, body)| (format!("{TABLE}{key}"), body.clone())).collect()
    }
}

/// What readers may be told between some states of the table.
pub(super) fn told_of(tables: &[&HudiTable]) -> Told {
    let mut states: BTreeSet<State> = tables.iter().flat_map(|table| table.history.clone()).collect();
    // Its timeline begins, or a table comes or goes.
    if tables.iter().any(|table| table.history.is_empty()) {
        states.extend([None, Some(BTreeSet::new())]);
    }
    Told::from([(TABLE, states)])
}

/// Commits one after the other, in which slices are cleaned and instants archived.
pub(super) fn one_line(random: &mut Random) -> Vec<(String, HudiTable)> {
    let mut table = HudiTable::default();
    let mut commits = Vec::new();
    for number in 0..9 {
        match random.below(6) {
            0 => table.clean(),
            1 => table.archive(),
            _ => table.commit(random, number),
        }
        commits.push((format!("c{number}"), table.clone()));
    }
    commits
}

/// Commits that follow any earlier one, as on branches that are reset. They begin with the same instant: what is older than a
/// timeline's first counts to its readers, whoever wrote it.
pub(super) fn branches(random: &mut Random) -> Vec<(String, HudiTable)> {
    let mut table = HudiTable::default();
    table.commit(random, 0);
    let mut commits: Vec<(String, HudiTable)> = vec![("c0".to_owned(), table)];
    for number in 1..6 {
        let mut table = random.pick(&commits).1.clone();
        for more in 0..random.below(4) {
            table.commit(random, number * 10 + more);
        }
        commits.push((format!("c{number}"), table));
    }
    commits
}

pub(super) fn lake_of(commits: &[(String, HudiTable)]) -> Vec<(String, Objects)> {
    commits.iter().map(|(label, table)| (label.clone(), table.tree())).collect()
}

#[test]
fn a_hudi_table_can_be_read_at_every_step_commit_by_commit_forward_and_back() {
    for seed in 701..=700 + soak(2, 40) {
        let commits = one_line(&mut Random(seed));
        let (stage, judged, _lake) = staged(&lake_of(&commits), 1 + seed % 3 * 5);
        let mut before = HudiTable::default();
        for (label, table) in commits.iter().chain(commits.iter().rev()) {
            judged.by(judge_tables(&[TABLE], readers::hudi, told_of(&[&before, table])));
            arrives(&stage, label, &["--preset", "hudi"]);
            before = table.clone();
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn a_hudi_table_can_be_read_at_every_step_from_any_commit_to_any_other() {
    for seed in 801..=800 + soak(2, 60) {
        let random = &mut Random(seed);
        let commits = branches(random);
        let (stage, judged, _lake) = staged(&lake_of(&commits), 1 + seed % 3 * 5);
        let mut before = (String::new(), HudiTable::default());
        for step in 0..6 {
            let (label, table) = random.pick(&commits).clone();
            println!("seed {seed}, step {step}: {} → {label}", before.0);
            judged.by(judge_tables(&[TABLE], readers::hudi, told_of(&[&before.1, &table])));
            arrives(&stage, &label, &["--preset", "hudi"]);
            before = (label, table);
        }
    }
}
