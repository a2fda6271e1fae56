//! The same when exports are killed on the way: whatever comes next, the same commit again, the one before or another one,
//! readers are told a state of one of these commits and nothing else.

use std::time::Duration;

use millrace_tests::s3::{Fate, Fault, Op, Rule, Target, Victim};

use super::*;

/// What is there before, what is killed, what comes after it and may be killed too, what comes in the end.
#[derive(Debug, Clone, Copy)]
struct Way {
    before: usize,
    victim: usize,
    after: usize,
    last: usize,
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

    /// Which of the writes of an export that is left alone are of data, and of keys that are meant, counted from 1.
    fn moments(&self, victim: usize, is_meant: impl Fn(&str) -> bool) -> Vec<u64> {
        self.stage.server.clear_log();
        self.arrives(victim);
        let log = self.stage.server.log().filter(|op| op.bucket == BUCKET && op.is_write());
        let counts = |key: &str| !key.contains("/_millrace/") && !key.contains("/EXPORT_") && is_meant(key);
        let any = |op: &Op| if op.keys.is_empty() { counts(&op.key) } else { op.keys.iter().any(|key| counts(key)) };
        (1..).zip(log.iter()).filter(|(_, op)| any(op)).map(|(n, _)| n).collect()
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

/// Kills exports on random ways, and now and then the one that comes next as well; `judge` makes the judge of a way.
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn killed_on_the_way<J: Fn(&Tree) -> Result<(), String> + Send + 'static>(
    preset: &'static str,
    commits: &[(String, Objects)],
    (seed, kills): (u64, usize),
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
        // Nothing may be there, or an export of nothing.
        if !commits[before].1.is_empty() || random.chance(50) {
            killing.arrives(before);
        }
        let snapshot = killing.stage.server.snapshot();
        let moments = killing.moments(victim, |_| true);
        for kill in 0..kills {
            let after = [victim, before, pick(random), pick(random)][kill % 4];
            let way = Way { before, victim, after, last: if random.chance(50) { after } else { pick(random) } };
            let n = *random.pick(&moments);
            let fate = *random.pick(&[Fate::Lost, Fate::Applied, Fate::Late(Duration::from_millis(300))]);
            println!("{preset}, seed {seed}: {way:?}, at {n}, {fate:?}");
            killing.stage.server.restore(snapshot.clone());
            killing.stage.server.clear_log();
            killing.judged.by(judge(&[way.before, way.victim, way.after, way.last]));
            hits += u32::from(killing.kill(victim, n, fate));
            if random.chance(30) {
                let n = 1 + random.below(40);
                println!("  and {} at {n}", way.after);
                killing.kill(way.after, n, fate);
            } else if random.chance(70) {
                killing.arrives(way.after);
            }
            killing.arrives(way.last);
        }
    }
    assert!(hits > 0, "no export was killed");
}

#[test]
fn a_delta_table_can_be_read_whatever_is_killed_on_the_way() {
    for seed in 401..=400 + soak(1, 30) {
        let commits = delta_commits(&mut Random(seed));
        let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
        killed_on_the_way("delta", &lake, (seed, 4), |way| judge_tables(TABLES, readers::delta, told_on(&commits, way)));
    }
}

/// What readers of two tables may be told on a way.
fn told_on(commits: &[(String, Two)], way: &[usize]) -> Told {
    let mut all = Told::new();
    for (a, b) in way.iter().flat_map(|a| way.iter().map(move |b| (a, b))) {
        for (table, states) in told(&commits[*a].1, &commits[*b].1) {
            all.entry(table).or_default().extend(states);
        }
    }
    all
}

#[test]
fn a_hudi_table_can_be_read_whatever_is_killed_on_the_way() {
    for seed in 701..=700 + soak(1, 30) {
        let commits = hudi::branches(&mut Random(seed));
        killed_on_the_way("hudi", &hudi::lake_of(&commits), (seed, 4), |way| {
            let tables: Vec<_> = way.iter().map(|at| &commits[*at].1).collect();
            judge_tables(&[hudi::TABLE], readers::hudi, hudi::told_of(&tables))
        });
    }
}

/// One table whose log was moved on, and put on another branch: version by version what each entry adds.
fn line(adds: &[&str]) -> Two {
    let mut table = DeltaTable::default();
    for (version, add) in adds.iter().enumerate() {
        table.objects.insert((*add).to_owned(), add.as_bytes().to_vec());
        table.files.insert((*add).to_owned());
        let entry = json!({"add": {"path": add}}).to_string().into_bytes();
        table.objects.insert(DeltaTable::log(&format!("{version:020}.json")), entry);
        table.history.push(Some(table.files.clone()));
        if version == 2 {
            table.checkpoint();
        }
    }
    [table.clone(), table]
}

/// The same, without what the checkpoint sums up.
fn cleaned(mut tables: Two) -> Two {
    tables.iter_mut().for_each(DeltaTable::clean);
    tables
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn a_killed_move_of_a_log_is_brought_to_its_end_before_a_third_commit_comes() {
    let commits: Vec<(String, Two)> = [
        ("older", line(&["a", "b"])),
        ("base", line(&["a", "b", "c", "d"])),
        ("reset", line(&["a", "b", "x", "y", "z"])),
        ("newer", line(&["a", "b", "x", "y", "z", "zz", "zzz"])),
        ("other", line(&["q", "r", "s"])),
        ("between", line(&["a", "b", "c", "y"])),
        ("cleaned", cleaned(line(&["a", "b", "c", "d", "e"]))),
        ("nothing", Two::default()),
    ]
    .map(|(label, tables)| (label.to_owned(), tables))
    .into();
    let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
    let killing = Killing::new("delta", &lake);
    let at = |label: &str| commits.iter().position(|commit| commit.0 == label).unwrap();
    // Now and then one of them, and every pair with `MILLRACE_SOAK`.
    let (step, each) = if std::env::var_os("MILLRACE_SOAK").is_some() { (1, 5) } else { (7, 1) };
    let third = ["nothing", "older", "newer", "other", "between"].map(at);
    for (before, victim) in [("cleaned", "other"), ("base", "reset"), ("reset", "base")] {
        let (before, victim) = (at(before), at(victim));
        killing.judged.by(|_| Ok(()));
        killing.arrives(before);
        let snapshot = killing.stage.server.snapshot();
        let mut third = third.into_iter().cycle();
        for n in killing.moments(victim, |key| key.contains("/_delta_log/")).into_iter().step_by(step) {
            for after in third.by_ref().take(each) {
                println!("{} → {}, killed at {n}, → {}", commits[before].0, commits[victim].0, commits[after].0);
                killing.stage.server.restore(snapshot.clone());
                killing.stage.server.clear_log();
                killing.judged.by(judge_tables(TABLES, readers::delta, told_on(&commits, &[before, victim, after])));
                assert!(killing.kill(victim, n, if n % 2 == 0 { Fate::Lost } else { Fate::Applied }), "{n}");
                killing.arrives(after);
            }
        }
    }
}

#[test]
fn a_killed_move_is_brought_to_its_end_also_behind_a_run_that_was_killed_before_its_own() {
    let commits: Vec<(String, Two)> = [
        ("base", line(&["a", "b", "c", "d"])),
        ("reset", line(&["a", "b", "x", "y", "z"])),
        ("third", line(&["a", "b", "c", "y"])),
    ]
    .map(|(label, tables)| (label.to_owned(), tables))
    .into();
    // Something else has to be copied before a log may move.
    let beside = |label: &str, mut all: Objects| {
        all.insert("notes.txt".to_owned(), label.into());
        all
    };
    let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), beside(label, two(tables)))).collect();
    let killing = Killing::new("delta", &lake);
    killing.judged.by(|_| Ok(()));
    killing.arrives(0);
    let snapshot = killing.stage.server.snapshot();
    let step = if std::env::var_os("MILLRACE_SOAK").is_some() { 1 } else { 4 };
    for n in killing.moments(1, |key| key.contains("/_delta_log/")).into_iter().step_by(step) {
        killing.stage.server.restore(snapshot.clone());
        killing.stage.server.clear_log();
        killing.judged.by(judge_tables(TABLES, readers::delta, told_on(&commits, &[0, 1, 2])));
        assert!(killing.kill(1, n, Fate::Applied), "{n}");
        // The way back takes the moves back by itself, and ends before the first of them.
        let process = Victim::default();
        let first = Target::on("CopyObject").bucket(BUCKET).key(&format!("{PREFIX}notes.txt"));
        killing.stage.server.fault(Rule::new(first, Fault::kill(&process, Fate::Lost)));
        let (source, options) = (killing.stage.source("base"), killing.options());
        let back = killing.stage.millrace("export").args([source, killing.stage.destination()]).args(options).spawn();
        process.is(back.id());
        assert_eq!(back.wait().code, -1, "{n}");
        killing.stage.server.clear_faults();
        assert_eq!(killing.stage.head()["unfinished"].as_array().unwrap().len(), 2, "{n}");
        let said = killing.stage.export("third", &killing.options()).expect_code(0);
        killing.stage.server.assert_no_violations();
        assert_eq!(killing.stage.data(), lake[2].1, "{n}: {said}");
        assert!(said.stderr.contains("is brought to its end first"), "{n}: {said}");
    }
}

#[test]
fn a_log_that_cannot_go_on_goes_back_before_a_third_commit_comes() {
    let commits: Vec<(String, Two)> = [
        ("base", line(&["a", "b", "c", "d"])),
        ("reset", line(&["a", "x", "y", "z"])),
        ("third", line(&["a", "b", "u", "v", "w"])),
    ]
    .map(|(label, tables)| (label.to_owned(), tables))
    .into();
    let lake: Vec<_> = commits.iter().map(|(label, tables)| (label.clone(), two(tables))).collect();
    let killing = Killing::new("delta", &lake);
    killing.arrives(0);
    killing.judged.by(judge_tables(TABLES, readers::delta, told_on(&commits, &[0, 1, 2])));
    let (bucket, key) = killing.stage.source_object("reset", "t1/_delta_log/00000000000000000002.json");
    killing.stage.server.delete(&bucket, &key);
    killing.stage.export("reset", &killing.options()).expect_code(1);
    // What a plan made now would meet is no state that it could be made for.
    let options = ["--force", "--preset", "delta"];
    let source = killing.stage.source("third");
    let plan = killing.stage.folder_path("plan").display().to_string();
    let planned = killing.stage.millrace("plan").args([&source, &killing.stage.destination(), "-o", &plan]).args(options).run();
    assert!(planned.expect_code(0).json()["notes"].to_string().contains("was moving the log of a table"));
    let refused = killing.stage.millrace("apply").arg(&plan).args(["--force"]).run().expect_code(3);
    assert!(refused.json()["error"]["message"].to_string().contains("was moving the log of a table"), "{refused}");
    let said = killing.stage.export("third", &killing.options()).expect_code(0);
    for note in ["is brought to its end first", "it goes back"] {
        assert!(said.stderr.contains(note), "{said}");
    }
    assert!(!said.stderr.contains("cannot go back either"), "{said}");
    killing.stage.server.assert_no_violations();
    assert_eq!(killing.stage.data(), lake[2].1);
}

#[test]
fn an_iceberg_table_can_be_read_whatever_is_killed_on_the_way() {
    for seed in 501..=500 + soak(1, 30) {
        let commits = iceberg_commits(&mut Random(seed), seed % 2 == 1);
        killed_on_the_way("iceberg", &commits, (seed, 4), |way| {
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
        killed_on_the_way("site", &commits, (seed, 3), |_| readers::site);
    }
}
