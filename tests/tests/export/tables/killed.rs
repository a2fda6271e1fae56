//! The same when exports are killed on the way: whatever comes next, the same commit again, the one before or another one,
//! readers are told a state of one of these commits and nothing else.

use std::time::Duration;

use millrace_tests::s3::{Fate, Fault, Rule, Target, Victim};

use super::*;

/// What is there before, what is killed, what comes after it.
#[derive(Debug, Clone, Copy)]
struct Way {
    before: usize,
    victim: usize,
    after: usize,
}

/// A lake with a destination where exports are killed.
struct Killing<'a> {
    preset: &'static str,
    commits: &'a [(String, Objects)],
    stage: Stage,
    judged: Judged,
    _lake: MadeLake,
}

impl<'a> Killing<'a> {
    fn new(preset: &'static str, commits: &'a [(String, Objects)]) -> Self {
        let (stage, judged, lake) = staged(commits, 5);
        Self { preset, commits, stage, judged, _lake: lake }
    }

    fn options(&self) -> [&str; 7] {
        ["--force", "--preset", self.preset, "--concurrency", "4", "--request-timeout", "1s"]
    }

    fn label(&self, at: usize) -> &str {
        &self.commits[at].0
    }

    /// Exports to its end.
    fn arrives(&self, at: usize) {
        let said = self.stage.export(self.label(at), &self.options()).expect_code(0);
        let violations = self.stage.server.violations();
        assert!(violations.is_empty(), "{}\n{said}\n{}", violations.join("\n"), self.stage.server.log());
        assert_eq!(self.stage.data(), self.commits[at].1, "{said}");
    }

    /// Which of the writes of an export that is left alone are of data, counted from 1.
    fn moments(&self, victim: usize) -> Vec<u64> {
        self.stage.server.clear_log();
        self.arrives(victim);
        let log = self.stage.server.log().filter(|op| op.bucket == BUCKET && op.is_write());
        let own = |key: &str| key.contains("/_millrace/") || key.contains("/EXPORT_");
        (1..).zip(log.iter()).filter(|(_, op)| !own(&op.key) && !op.keys.iter().any(|key| own(key))).map(|(n, _)| n).collect()
    }

    /// Kills an export at its `n`th write; false where it had ended before.
    fn kill(&self, victim: usize, n: u64, fate: Fate) -> bool {
        let process = Victim::default();
        self.stage.server.fault(Rule::new(Target::on("write").bucket(BUCKET), Fault::kill(&process, fate)).nth(n));
        let (source, options) = (self.stage.source(self.label(victim)), self.options());
        let export = self.stage.millrace("export").args([source, self.stage.destination()]).args(options);
        let running = export.spawn();
        process.is(running.id());
        let ended = running.wait();
        self.stage.server.clear_faults();
        assert!(ended.code == -1 || ended.code == 0, "{ended}");
        ended.code == -1
    }
}

/// Kills exports on random ways; `judge` makes the judge of a way. `third`: any commit may come next, not only the one that
/// was killed or the one before it.
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn killed_on_the_way<J: Fn(&Tree) -> Result<(), String> + Send + 'static>(
    preset: &'static str,
    commits: &[(String, Objects)],
    (seed, kills): (u64, usize),
    third: bool,
    judge: impl Fn(&[usize]) -> J,
) {
    let random = &mut Random(seed);
    let killing = Killing::new(preset, commits);
    let empty = killing.stage.server.snapshot();
    let (mut hits, mut ways) = (0, 0);
    while ways < 2 {
        let pick = |random: &mut Random| usize::try_from(random.below(commits.len() as u64)).unwrap();
        let (before, victim) = (pick(random), pick(random));
        if commits[before].1 == commits[victim].1 {
            continue;
        }
        ways += 1;
        killing.stage.server.restore(empty.clone());
        killing.judged.by(|_| Ok(()));
        killing.arrives(before);
        let snapshot = killing.stage.server.snapshot();
        let moments = killing.moments(victim);
        for kill in 0..kills {
            let other = if third { pick(random) } else { before };
            let way = Way { before, victim, after: if kill % 2 == 0 { victim } else { other } };
            let n = *random.pick(&moments);
            let fate = *random.pick(&[Fate::Lost, Fate::Applied, Fate::Late(Duration::from_millis(300))]);
            println!("{preset}, seed {seed}: {way:?}, at {n}, {fate:?}");
            killing.stage.server.restore(snapshot.clone());
            killing.stage.server.clear_log();
            killing.judged.by(judge(&[way.before, way.victim, way.after]));
            hits += u32::from(killing.kill(victim, n, fate));
            killing.arrives(way.after);
        }
    }
    assert!(hits > 0, "no export was killed");
}

#[test]
fn a_delta_table_can_be_read_whatever_is_killed_on_the_way() {
    for seed in 401..=400 + soak(1, 30) {
        let commits = delta_commits(&mut Random(seed));
        let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
        killed_on_the_way("delta", &lake, (seed, 4), false, |way| {
            let mut all = Told::new();
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                for (table, states) in told(&commits[way[a]].1, &commits[way[b]].1) {
                    all.entry(table).or_default().extend(states);
                }
            }
            judge_tables(TABLES, readers::delta, all)
        });
    }
}

#[test]
fn an_iceberg_table_can_be_read_whatever_is_killed_on_the_way() {
    for seed in 501..=500 + soak(1, 30) {
        let commits = iceberg_commits(&mut Random(seed), seed % 2 == 1);
        killed_on_the_way("iceberg", &commits, (seed, 4), true, |way| {
            let states = way.iter().map(|at| readers::iceberg(&commits[*at].1, "db/t/").unwrap()).collect();
            judge_tables(&["db/t/"], readers::iceberg, BTreeMap::from([("db/t/", states)]))
        });
    }
}

#[test]
fn a_site_has_no_dead_links_whatever_is_killed_on_the_way() {
    for seed in 601..=600 + soak(1, 30) {
        let random = &mut Random(seed);
        let commits: Vec<_> = (0..4).map(|number| (format!("c{number}"), site(random))).collect();
        killed_on_the_way("site", &commits, (seed, 3), true, |_| readers::site);
    }
}
