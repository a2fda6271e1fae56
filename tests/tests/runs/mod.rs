//! Runs that survive anything: killed, frozen, raced, cut off and resumed, a destination is right or says that it is not.
//!
//! A [`Bed`] is a lake of small commits and a destination for it; every process gets an access key of its own, so that the
//! operation log tells who did what. A [`Checker`](checker::Checker) looks at the destination after every operation.

mod checker;
mod ends;
mod folders;
mod folds;
mod holes;
mod kills;
mod mangled;
mod model;
mod trouble;
mod two;
mod want;
mod weak;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use millrace_tests::{
    run::{Millrace, Outcome},
    s3::KeyPair,
    tree::{edited, is_reserved},
};
use serde_json::Value;

use self::{
    checker::{Checker, Seen, seen_at, seen_of},
    want::{Want, is_marker},
};
use crate::{
    export::{BUCKET, Place, Stage},
    made::{MadeLake, Objects},
};

/// Short waits: nothing here needs longer.
const PATIENCE: [&str; 2] = ["--request-timeout", "1s"];

/// Numbers that are the same each time.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// So many by default, and so many where `MILLRACE_SOAK` asks for the long tests.
fn rounds(usual: u64, soak: u64) -> u64 {
    if std::env::var_os("MILLRACE_SOAK").is_some() { soak } else { usual }
}

/// The keys of the small commits.
const KEYS: [&str; 10] = ["_SUCCESS", "a/1", "a/2", "a/_SUCCESS", "a/x/1", "a/x/2", "a/x/_SUCCESS", "b/1", "b/_SUCCESS", "c"];

/// The bytes of a key that has a number for its content.
fn body(key: &str, value: u8) -> Vec<u8> {
    let value = if is_marker(key) { 0 } else { value };
    vec![b'0' + value; value.into()]
}

/// A commit: a map of keys and numbers, and the same many other objects beside it.
fn commit(values: &[(&str, u8)], bulk: u8, seed: u8) -> Objects {
    let small = values.iter().map(|(key, value)| ((*key).to_owned(), body(key, *value)));
    // Of every five one changes with the commit and one is there only sometimes.
    let many = (0..bulk).filter(|n| n % 5 != 4 || (n / 5 + seed).is_multiple_of(2)).map(|n| {
        let value = if n % 5 == 3 { 1 + (seed + n) % 3 } else { 1 + n % 3 };
        (format!("bulk/{n:03}"), body("bulk", value))
    });
    small.chain(many).collect()
}

/// The commits of the fixed scenarios, and so many other objects.
fn fixed_commits(bulk: u8) -> Vec<(&'static str, Objects)> {
    let a: BTreeMap<&str, u8> = KEYS.into_iter().filter(|key| !["a/2", "b/_SUCCESS"].contains(key)).map(|key| (key, 1)).collect();
    let but = |gone: &[&str], set: &[(&'static str, u8)]| -> Vec<(&'static str, u8)> {
        let mut commit: BTreeMap<&'static str, u8> = a.iter().map(|(key, value)| (*key, *value)).collect();
        commit.retain(|key, _| !gone.contains(key));
        commit.extend(set.iter().copied());
        commit.into_iter().collect()
    };
    vec![
        ("A", commit(&but(&[], &[]), bulk, 0)),
        ("B", commit(&but(&["b/1"], &[("a/x/1", 2), ("a/2", 2), ("c", 2)]), bulk, 1)),
        ("A2", commit(&but(&[], &[]), bulk, 0)),
        ("C", commit(&but(&["a/_SUCCESS", "a/x/2"], &[("c", 3), ("b/_SUCCESS", 1)]), bulk, 2)),
        ("D", commit(&but(&[], &[("a/x/2", 3)]), bulk, 3)),
    ]
}

/// A lake of small commits, a destination, and processes that can be told apart.
struct Bed {
    stage: Stage,
    commits: Vec<(&'static str, Objects)>,
    checker: Checker,
    processes: AtomicUsize,
    _lake: MadeLake,
}

impl Bed {
    /// The lake in a bucket, with these commits.
    fn new(commits: Vec<(&'static str, Objects)>, to: Place) -> Self {
        Self::at(commits, Place::Bucket, to)
    }

    fn at(commits: Vec<(&'static str, Objects)>, from: Place, to: Place) -> Self {
        let pairs: Vec<_> = commits.iter().map(|(label, objects)| (*label, objects)).collect();
        let lake = MadeLake::new(6, &pairs);
        let stage = Stage::of((*lake).clone(), from, to);
        let known: Vec<_> =
            commits.iter().map(|(label, objects)| (*label, lake.commit(label).id.clone(), objects.clone())).collect();
        let checker = Checker::start(&stage.server, &known);
        Self { stage, commits, checker, processes: AtomicUsize::new(0), _lake: lake }
    }

    /// The name of a new process, which is also its access key.
    fn new_name(&self) -> String {
        let name = format!("exporter-{}", self.processes.fetch_add(1, Ordering::SeqCst));
        self.stage.server.add_key(KeyPair::new(&name, "a secret of its own"));
        name
    }

    /// The name of the process that was made last.
    fn last_name(&self) -> String {
        format!("exporter-{}", self.processes.load(Ordering::SeqCst) - 1)
    }

    /// A command of a process with an access key of its own.
    fn millrace(&self, verb: &str) -> Millrace<'_> {
        let name = self.new_name();
        self.stage.millrace(verb).envs(self.stage.server.env_as(&name))
    }

    /// The source of what is wanted.
    fn source(&self, want: Want) -> String {
        let prefix = if want.prefix.is_empty() { String::new() } else { format!("&prefix={}", want.prefix) };
        format!("{}{prefix}", self.stage.source(want.label))
    }

    /// An export.
    fn export(&self, want: Want, options: &[&str]) -> Millrace<'_> {
        self.checker.expect(want);
        let command = self.millrace("export").args([self.source(want), self.stage.destination()]);
        let patience: &[&str] = if options.contains(&PATIENCE[0]) { &[] } else { &PATIENCE };
        command.args(want.options()).args(patience).args(options)
    }

    /// Exports it to its end and looks at everything.
    #[track_caller]
    fn exported(&self, want: Want, options: &[&str]) -> Outcome {
        let mut outcome = self.export(want, options).run().expect_code(0);
        // The last request of a killed run may land behind a run that had nothing to do: the next one clears its lease away.
        if outcome.json()["rounds"] == serde_json::json!([]) && !self.stage.head()["lease"].is_null() {
            outcome = self.export(want, options).run().expect_code(0);
        }
        assert_eq!(outcome.json()["state"], "succeeded", "{outcome}");
        self.is_at_rest(want, &outcome);
        outcome
    }

    /// What is wanted, as keys and bytes.
    fn objects(&self, want: Want) -> Objects {
        let (_, commit) = self.commits.iter().find(|(label, _)| *label == want.label).unwrap();
        want.of(commit)
    }

    /// Everything at the destination is as a run of it alone leaves it.
    #[track_caller]
    fn is_at_rest(&self, want: Want, outcome: &Outcome) {
        let (data, wanted) = (self.stage.data(), self.objects(want));
        let wrong: Vec<_> = data.keys().chain(wanted.keys()).filter(|key| data.get(*key) != wanted.get(*key)).cloned().collect();
        assert!(wrong.is_empty(), "{want:?}: {wrong:?} are wrong\n{outcome}\n{}", self.stage.server.log());
        self.stage.assert_success(want.label);
        let head = self.stage.head();
        assert_eq!(head["unfinished"], serde_json::json!([]), "{head}\n{outcome}");
        assert_eq!(head["marker"], "written", "{head}\n{outcome}");
        assert!(head["lease"].is_null(), "nobody works here: {head}\n{outcome}");
        assert!(want.is_named_by(&head["current"]["view"]), "{want:?}: {head}");
        assert_eq!(self.stage.server.open_uploads(), [], "{outcome}");
        if self.stage.destination().starts_with("s3:") {
            let now: Seen = seen_at(&self.stage.server.snapshot()).into_iter().filter(|(key, _)| !is_reserved(key)).collect();
            assert_eq!(now, seen_of(&wanted), "{outcome}");
        }
    }

    /// The requests that a killed run left may take a second: of uploads in parts they may take minutes.
    fn impatient(&self) {
        let mut head = self.stage.head();
        head["lease"]["longest_ms"] = serde_json::json!(1000);
        self.stage.server.put(BUCKET, "out/_millrace/HEAD.json", edited(&head), Some("application/json"), &[]);
    }

    /// The number of a process's requests to the destination since the log was cleared.
    fn requests(&self) -> u64 {
        self.stage.server.log().filter(|op| op.bucket == BUCKET).len() as u64
    }

    /// The record of a run.
    fn record(&self, run: &str) -> Value {
        serde_json::from_slice(&self.stage.tree()[&format!("_millrace/runs/{run}/run.json")]).unwrap()
    }
}
