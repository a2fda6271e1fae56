//! Random histories of a destination: exports of changing commits, filters, presets and prefixes, killed, cut off, raced,
//! superseded, and edits by others. After every operation the checker looks, after every success everything is compared
//! with a plain map.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use millrace_tests::{
    run::{Outcome, Running},
    s3::{Fate, Fault, Rule, Target, Victim},
};

use super::{
    Bed, KEYS, Random, body, rounds,
    want::{Plan, Want, plan},
};
use crate::{
    export::{BUCKET, PREFIX, Place, success},
    made::Objects,
};

const LABELS: [&str; 5] = ["C1", "C2", "C3", "C4", "C5"];

/// Commits that follow one another, now and then after an older one.
fn commits(random: &mut Random) -> Vec<(&'static str, Objects)> {
    let mut commits: Vec<(&'static str, BTreeMap<&str, u8>)> = Vec::new();
    let value = |random: &mut Random| 1 + u8::try_from(random.below(3)).unwrap();
    let mut now: BTreeMap<&str, u8> = BTreeMap::from([("c", 1)]);
    now.extend(KEYS.into_iter().filter(|_| random.chance(70)).map(|key| (key, 1)));
    for label in LABELS {
        commits.push((label, now.clone()));
        if random.chance(30) {
            now = random.pick(&commits).1.clone();
        }
        for _ in 0..random.below(4) {
            let key = *random.pick(&KEYS);
            if now.len() > 1 && now.contains_key(key) && random.chance(50) {
                now.remove(key);
            } else {
                let value = value(random);
                now.insert(key, value);
            }
        }
    }
    let objects =
        |commit: BTreeMap<&str, u8>| commit.into_iter().map(|(key, value)| (key.to_owned(), body(key, value))).collect();
    commits.into_iter().map(|(label, commit)| (label, objects(commit))).collect()
}

/// One destination and what happens to it.
struct History {
    seed: u64,
    random: Random,
    bed: Bed,
    steps: Vec<String>,
    /// The commit that somebody says is there, while no receipt says more.
    claim: Option<&'static str>,
    /// The prefix of the last run that began.
    prefix: &'static str,
    /// What the last success put there.
    there: Option<Want>,
    /// A run of another prefix was killed: what it sent last may make it the last one, or not.
    unsure: bool,
    /// Keys that were edited by hand and not written again since.
    edited: Vec<String>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bed = Bed::new(commits(&mut random), Place::Bucket);
        let mut history = Self {
            seed,
            random,
            bed,
            steps: Vec::new(),
            claim: None,
            prefix: "",
            there: None,
            unsure: false,
            edited: Vec::new(),
        };
        match history.random.below(3) {
            0 => history.claimed(),
            1 => history.foreign(),
            _ => {}
        }
        history
    }

    /// Somebody copied a commit here by other means.
    fn claimed(&mut self) {
        let label = *self.random.pick(&LABELS);
        let server = &self.bed.stage.server;
        for (key, body) in self.bed.objects(Want { markers: false, ..Want::all(label) }) {
            server.put(BUCKET, &format!("{PREFIX}{key}"), body, Some("text/plain"), &[]);
        }
        let name = success(&self.bed.stage.lake.commit(label).id);
        server.put(BUCKET, &format!("{PREFIX}{name}"), "by hand", None, &[]);
        self.bed.checker.claim(label, &name);
        self.claim = Some(label);
        self.steps.push(format!("claimed {label}"));
    }

    /// Somebody else's objects are here.
    fn foreign(&mut self) {
        let mut keys = vec!["z/foreign".to_owned()];
        keys.extend((0..3).map(|_| (*self.random.pick(&KEYS)).to_owned()));
        for key in keys.iter().filter(|key| !super::is_marker(key)) {
            self.bed.stage.put_foreign(key, "foreign");
        }
        self.bed.stage.put_foreign("EXPORT_old_SUCCESS", "another tool's");
        self.bed.checker.other_tool("EXPORT_old_SUCCESS");
        for key in keys {
            self.bed.checker.ignore(&key);
            self.edited.push(key);
        }
        self.steps.push("foreign objects".to_owned());
    }

    /// Another commit, filter, preset or prefix.
    fn want(&mut self) -> Want {
        let filter = if self.random.chance(60) { 0 } else { usize::try_from(self.random.below(6)).unwrap() };
        let prefix = if self.random.chance(8) { "a/" } else { "" };
        let inside = |bed: &Bed, label| !bed.objects(Want { prefix: "a/", ..Want::all(label) }).is_empty();
        let label = *self.random.pick(&LABELS);
        let prefix = if inside(&self.bed, label) && self.claim.is_none() { prefix } else { "" };
        Want { label, filter, prefix, markers: !self.random.chance(8) }
    }

    /// No run has changed anything here yet.
    fn is_fresh(&self) -> bool {
        let Some(head) = self.bed.stage.tree().remove("_millrace/HEAD.json") else { return true };
        let head: serde_json::Value = serde_json::from_slice(&head).unwrap();
        head["current"].is_null() && head["unfinished"] == serde_json::json!([])
    }

    /// The options that this history asks for.
    fn options(&mut self, want: Want) -> Vec<String> {
        let mut options = vec!["--max-delete".to_owned(), "100%".to_owned()];
        let fresh = self.is_fresh();
        if let Some(claim) = self.claim.filter(|_| fresh) {
            options.extend(["--from".to_owned(), self.bed.stage.lake.commit(claim).id.clone()]);
        } else if !fresh && (self.unsure || want.prefix != self.prefix || self.random.chance(5)) {
            options.push("--adopt=own".to_owned());
        }
        if self.random.chance(10) && !options.iter().any(|option| option == "--from") {
            options.push("--full".to_owned());
        }
        options
    }

    fn note(&mut self, what: &str, want: Want, options: &[String], outcome: &Outcome) {
        self.steps.push(format!("{what}: {want:?} {options:?}: {}", outcome.code));
        self.prefix = self.prefix_there().unwrap_or(self.prefix);
        self.look();
    }

    /// The part that the destination holds.
    fn prefix_there(&self) -> Option<&'static str> {
        let tree = self.bed.stage.tree();
        let head: serde_json::Value = serde_json::from_slice(tree.get("_millrace/HEAD.json")?).unwrap();
        let run = head["unfinished"].as_array()?.first().and_then(|run| run.as_str().or_else(|| run["run"].as_str()));
        let plan = || -> Option<serde_json::Value> {
            serde_json::from_slice(tree.get(&format!("_millrace/runs/{}/plan/plan.json", run?))?).ok()
        };
        let view = if head["current"].is_null() { plan()?["view"].clone() } else { head["current"]["view"].clone() };
        Some(if view["prefix"] == "a/" { "a/" } else { "" })
    }

    /// Nothing was wrong so far.
    fn look(&self) {
        let violations = self.bed.stage.server.violations();
        assert!(
            violations.is_empty(),
            "seed {}:\n{}\n{}\n{}",
            self.seed,
            self.steps.join("\n"),
            violations.join("\n"),
            self.bed.stage.server.log()
        );
    }

    fn run(&mut self, what: &str, want: Want, more: &[&str]) -> Outcome {
        let mut options = self.options(want);
        for option in more {
            if !options.iter().any(|given| given == option) {
                options.push((*option).to_owned());
            }
        }
        let shown: Vec<&str> = options.iter().map(String::as_str).collect();
        if what == "exported" {
            self.planned(want, &options);
        }
        self.bed.stage.server.clear_log();
        let outcome = self.bed.export(want, &shown).run();
        self.note(what, want, &options, &outcome);
        outcome
    }

    /// Where everything is known, the plan is that of the rules.
    fn planned(&self, want: Want, options: &[String]) {
        let Some(base) = self.there.filter(|base| base.prefix == want.prefix && base.markers && want.markers) else { return };
        let head = self.bed.stage.head();
        if head["unfinished"] != serde_json::json!([]) || !self.edited.is_empty() || !head["lease"].is_null() {
            return;
        }
        let folder = self.bed.stage.place("a-plan");
        let shown: Vec<&str> = options.iter().map(String::as_str).collect();
        let command = self.bed.millrace("plan").args([self.bed.source(want), self.bed.stage.destination()]);
        command.args(want.options()).args(shown).args(["-o", &folder]).run().expect_code(0);
        let query = "SELECT action, key FROM plan";
        let rows = self.bed.millrace("sql").args([&folder, query]).run().expect_code(0).json_lines();
        let mut got = Plan::default();
        for row in rows {
            let key = row["key"].as_str().unwrap().to_owned();
            let at = match (row["action"].as_str().unwrap(), super::is_marker(&key)) {
                ("retract", true) => 0,
                ("copy", false) => 1,
                ("delete", false) => 2,
                ("copy" | "publish", true) => 3,
                other => panic!("{other:?} of {key}"),
            };
            got[at].insert(key);
        }
        let full = options.iter().any(|option| option == "--full");
        let wanted = plan(&self.bed.objects(base), &self.bed.objects(want), full);
        assert_eq!(got, wanted, "seed {}: {base:?} → {want:?} {options:?}\n{}", self.seed, self.steps.join("\n"));
    }

    /// A success alone: everything is as it must be.
    fn settled(&mut self, what: &str, want: Want, more: &[&str]) {
        let outcome = self.run(what, want, more);
        assert_eq!(outcome.code, 0, "seed {}:\n{}\n{outcome}", self.seed, self.steps.join("\n"));
        self.succeeded(want, &outcome);
    }

    fn succeeded(&mut self, want: Want, outcome: &Outcome) {
        (self.there, self.unsure) = (Some(want), false);
        let wanted = self.bed.objects(want);
        // What was somebody else's and is wanted was written; what is not wanted is left alone.
        for key in std::mem::take(&mut self.edited) {
            if wanted.contains_key(&key) && self.bed.stage.data().get(&key) == wanted.get(&key) {
                self.bed.checker.heed(&key);
            } else {
                self.edited.push(key);
            }
        }
        if self.edited.is_empty() {
            self.bed.is_at_rest(want, outcome);
        } else {
            self.bed.stage.assert_success(want.label);
        }
        if want.markers {
            self.bed.checker.markers_hold();
        }
    }

    /// It is killed at some request.
    fn killed(&mut self) {
        let want = self.want();
        let fate = *self.random.pick(&[Fate::Lost, Fate::Applied, Fate::Late(Duration::from_millis(400))]);
        let n = 1 + self.random.below(60);
        let victim = Victim::default();
        let server = &self.bed.stage.server;
        server.fault(Rule::new(Target::on("*").bucket(BUCKET), Fault::kill(&victim, fate)).nth(n));
        let options = self.options(want);
        let shown: Vec<&str> = options.iter().map(String::as_str).collect();
        self.bed.stage.server.clear_log();
        let running = self.bed.export(want, &shown).spawn();
        victim.is(running.id());
        let outcome = running.wait();
        self.bed.stage.server.clear_faults();
        assert!(outcome.code == -1 || outcome.code == 0, "seed {}:\n{}\n{outcome}", self.seed, self.steps.join("\n"));
        self.unsure |= want.prefix != self.prefix;
        self.note(&format!("killed at {n} ({fate:?})"), want, &options, &outcome);
        if outcome.code == 0 {
            self.succeeded(want, &outcome);
        }
    }

    /// Requests fail, are lost, or land late.
    fn disturbed(&mut self) {
        let want = self.want();
        let faults = [
            Fault::error(500, "InternalError"),
            Fault::error_but_applied(500, "InternalError"),
            Fault::Reset { applied: false },
            Fault::Reset { applied: true },
            Fault::ResetLate(Duration::from_millis(300)),
            Fault::error(403, "AccessDenied"),
        ];
        let fault = self.random.pick(&faults).clone();
        let rule = Rule::new(Target::on("write").bucket(BUCKET), fault.clone());
        let seed = self.random.below(1 << 20);
        let per_mille = *self.random.pick(&[20, 60, 200]);
        self.bed.stage.server.fault(rule.chance(per_mille, seed));
        let outcome = self.run(&format!("disturbed by {fault:?}"), want, &[]);
        self.bed.stage.server.clear_faults();
        let ends = [0, 1, 3, 4];
        assert!(ends.contains(&outcome.code), "seed {}:\n{}\n{outcome}", self.seed, self.steps.join("\n"));
        let report = outcome.json();
        if outcome.code == 0 && report["error"].is_null() {
            self.succeeded(want, &outcome);
        }
    }

    /// Somebody writes or deletes an object; then everything is copied again.
    fn edited(&mut self) {
        if self.is_fresh() {
            return;
        }
        let key = *self.random.pick(&["a/1", "b/1", "c"]);
        self.bed.checker.ignore(key);
        self.edited.push(key.to_owned());
        if self.random.chance(50) {
            self.bed.stage.put_foreign(key, "edited");
        } else {
            self.bed.stage.server.delete(BUCKET, &format!("{PREFIX}{key}"));
        }
        self.steps.push(format!("somebody touched {key}"));
        let want = self.want();
        self.settled("mended", want, &["--full"]);
    }

    /// Two exporters at once: each does its work or names the other.
    fn raced(&mut self) {
        if self.is_fresh() || self.unsure {
            return;
        }
        let wants = [(); 2].map(|()| {
            loop {
                let want = self.want();
                if want.prefix == self.prefix && want.markers {
                    break want;
                }
            }
        });
        let options = ["--max-delete", "100%", "--lease-ttl", "5s"];
        self.bed.stage.server.clear_log();
        let running = wants.map(|want| self.bed.export(want, &options).spawn());
        let ends = running.map(Running::wait);
        for (want, end) in wants.into_iter().zip(&ends) {
            assert!(end.code == 0 || end.code == 3, "seed {}:\n{}\n{end}", self.seed, self.steps.join("\n"));
            self.note("one of two at once", want, &[], end);
        }
        let head = self.bed.stage.head();
        let last = wants.into_iter().zip(&ends).find(|(want, end)| {
            let commit = &self.bed.stage.lake.commit(want.label).id;
            end.code == 0 && head["current"]["commit"] == commit.as_str() && want.is_named_by(&head["current"]["view"])
        });
        let (want, end) =
            last.unwrap_or_else(|| panic!("seed {}: nobody put {head} there\n{}", self.seed, self.steps.join("\n")));
        self.succeeded(want, end);
    }

    fn step(&mut self) {
        match self.random.below(11) {
            0..=2 => {
                let want = self.want();
                self.settled("exported", want, &[]);
            }
            3..=6 => {
                self.killed();
                // Now and then the base is asked for right after that.
                if self.random.chance(40) {
                    let head = self.bed.stage.tree().get("_millrace/HEAD.json").cloned().unwrap_or_default();
                    let head: serde_json::Value = serde_json::from_slice(&head).unwrap_or_default();
                    let base = LABELS.into_iter().find(|label| head["current"]["commit"] == self.bed.stage.lake.commit(label).id);
                    if let Some(label) = base {
                        self.settled("back to the base", Want::all(label), &[]);
                    }
                }
            }
            7..=8 => self.disturbed(),
            9 => self.raced(),
            _ => self.edited(),
        }
    }

    fn play(mut self) {
        for _ in 0..3 + self.random.below(5) {
            self.step();
        }
        let want = self.want();
        self.settled("in the end", want, &[]);
        self.bed.stage.server.clear_log();
        let again = self.bed.export(want, &[]).run().expect_code(0);
        let log = self.bed.stage.server.log();
        let wrote = log.writes().filter(|op| op.bucket == BUCKET && !op.key.ends_with("_millrace/HEAD.json"));
        assert!(wrote.is_empty(), "seed {}: a second run writes nothing\n{}\n{wrote}\n{again}", self.seed, self.steps.join("\n"));
        self.look();
    }
}

#[test]
fn whatever_happens_the_destination_is_right_or_says_that_it_is_not() {
    let (seeds, next) = (rounds(30, 1000), AtomicU64::new(1));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > seeds {
                        break;
                    }
                    History::new(seed).play();
                }
            });
        }
    });
}
