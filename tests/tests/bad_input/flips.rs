//! One byte of what Millrace keeps is flipped, anywhere: every command does what it does without that, or names the file and
//! leaves everything as it is.

use std::{collections::BTreeMap, fs, path::Path};

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome},
    tree::{data_only, expected_tree, folder_tree, is_reserved},
};
use serde_json::Value;
use tempfile::TempDir;

/// The bytes that are flipped of a file.
fn positions(length: usize) -> Vec<usize> {
    let many = if std::env::var_os("MILLRACE_SOAK").is_some() { 60 } else { 2 };
    (1..=many).map(|n| length * n / (many + 1)).collect()
}

/// What is at rest in a folder: a destination `dest`, and perhaps a plan for it, `plan`.
struct Kept {
    lake: Lake,
    folder: TempDir,
    rest: BTreeMap<String, Vec<u8>>,
}

impl Kept {
    fn new(lake: &Lake, make: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let rest = folder_tree(folder.path());
        Self { lake: lake.clone(), folder, rest }
    }

    /// The receipts of two commits, and a plan for a third.
    fn at_rest() -> Self {
        let lake = Lake::named("orders");
        Self::new(&lake, |folder| {
            let at = |name: &str| folder.join(name).display().to_string();
            let run = |words: &[&str]| Millrace::new().args(words).run().expect_code(0);
            run(&["export", &lake.file_url("v1"), &at("dest")]);
            run(&["export", &lake.file_url("v2"), &at("dest")]);
            run(&["plan", &lake.file_url("dev"), &at("dest"), "-o", &at("plan")]);
        })
    }

    /// A first export that did not end, because an object was missing at its source, which is there again.
    fn unfinished(lake: &Lake) -> Self {
        let objects = lake.objects("day4");
        let gone = objects.iter().find(|o| o.path.ends_with("dt=2026-01-04/part-00000.parquet")).unwrap();
        let file = lake.namespace().join(gone.physical_address.strip_prefix("s3://lake/orders/").unwrap());
        let body = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let kept = Self::new(lake, |folder| {
            let dest = folder.join("dest").display().to_string();
            Millrace::new().args(["export", &lake.file_url("v2"), &dest]).run().expect_code(1);
        });
        fs::write(&file, body).unwrap();
        kept
    }

    /// The files with that part in their names and that end.
    fn files(&self, part: &str, end: &str) -> Vec<String> {
        let found: Vec<_> = self.rest.keys().filter(|key| key.contains(part) && key.ends_with(end)).cloned().collect();
        assert!(!found.is_empty(), "no {part}…{end} among {:?}", self.rest.keys());
        found
    }

    /// Puts everything back, but for a byte of a file.
    fn flip(&self, key: &str, at: Option<usize>) -> BTreeMap<String, Vec<u8>> {
        let mut tree = self.rest.clone();
        if let Some(at) = at {
            tree.get_mut(key).unwrap()[at] ^= 1;
        }
        for name in ["dest", "plan"] {
            let _ = fs::remove_dir_all(self.folder.path().join(name));
        }
        for (name, body) in &tree {
            let path = self.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
        tree
    }

    /// Runs a command; `@` stands for the folder.
    fn run(&self, verb: &Verb) -> Outcome {
        let folder = self.folder.path().display().to_string();
        let words = verb.words.iter().map(|word| word.replace('@', &folder));
        Millrace::new().args(["--output", "json"]).args(words).run()
    }

    /// Flips bytes of files and has commands look at each. How often that was noticed.
    fn check(&self, files: &[String], verbs: &[&Verb]) -> usize {
        let (mut noticed, mut usual) = (0, BTreeMap::new());
        for (key, verb) in files.iter().flat_map(|key| verbs.iter().map(move |verb| (key, *verb))) {
            let length = self.rest[key].len();
            // What copies everything takes its time.
            for at in if verb.must_end { vec![length / 2] } else { positions(length) } {
                let flipped = self.flip(key, Some(at));
                let outcome = self.run(verb);
                let told = format!("byte {at} of {key}, {:?}: {outcome}", verb.words);
                if outcome.code <= 1 {
                    self.holds(verb, &outcome);
                    let usual = usual.entry(&verb.words).or_insert_with(|| {
                        self.flip(key, None);
                        gist(&self.run(verb))
                    });
                    assert!(if verb.must_end { outcome.code == 0 } else { gist(&outcome) == *usual }, "{usual:?}: {told}");
                } else {
                    assert!(!verb.must_end, "{told}");
                    self.is_named(key, &flipped, &outcome, &told);
                    noticed += 1;
                }
            }
        }
        noticed
    }

    /// The file is named, there is something to do about it, and nothing was changed.
    fn is_named(&self, key: &str, flipped: &BTreeMap<String, Vec<u8>>, outcome: &Outcome, told: &str) {
        assert!([2, 3, 4].contains(&outcome.code), "{told}");
        let report = outcome.json();
        let (message, help) = (report["error"]["message"].as_str().unwrap(), report["error"]["help"].as_str());
        assert!(message.contains(key.rsplit('/').next().unwrap()), "the file is not named: {told}");
        assert!(help.is_some_and(|help| !help.is_empty()), "what to do about it? {told}");
        let now = folder_tree(self.folder.path());
        assert_eq!(now.get(key), flipped.get(key), "it was overwritten: {told}");
        let data = |tree: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
            let below = tree.iter().filter_map(|(key, body)| Some((key.strip_prefix("dest/")?.to_owned(), body.clone())));
            below.filter(|(key, _)| !key.starts_with("_millrace/")).collect()
        };
        assert!(data(&now) == data(flipped), "something was changed: {told}");
    }

    /// All of the commit is there, and nothing else where nothing is said of it.
    fn holds(&self, verb: &Verb, outcome: &Outcome) {
        let Some(label) = verb.leaves else { return };
        let (data, expected) = (data_only(folder_tree(&self.folder.path().join("dest"))), expected_tree(&self.lake, label));
        let wrong: Vec<_> = expected.iter().filter(|(key, body)| data.get(*key) != Some(body)).map(|(key, _)| key).collect();
        assert!(wrong.is_empty(), "{wrong:?} are wrong: {outcome}");
        let more: Vec<_> = data.keys().filter(|key| !expected.contains_key(*key) && !is_reserved(key)).collect();
        let said = outcome.json()["notes"].to_string().contains("are in no receipt and stay");
        assert!(more.is_empty() || said, "{more:?} are left: {outcome}");
    }
}

/// A command, whose commit is at the destination afterwards, and whether it must end well whatever was flipped.
struct Verb {
    words: Vec<String>,
    leaves: Option<&'static str>,
    must_end: bool,
}

impl Verb {
    fn new(words: &[&str]) -> Self {
        Self { words: words.iter().map(|&word| word.to_owned()).collect(), leaves: None, must_end: false }
    }

    fn leaves(self, label: &'static str) -> Self {
        Self { leaves: Some(label), ..self }
    }

    fn must_end(self) -> Self {
        Self { must_end: true, ..self }
    }
}

/// What an answer says that no second run says otherwise.
fn gist(outcome: &Outcome) -> Vec<Vec<Value>> {
    let fields = ["state", "commit", "base", "copied", "deleted", "retracted", "unchanged", "failed", "objects", "differences"];
    outcome.json_lines().iter().map(|line| fields.map(|field| line[field].clone()).to_vec()).collect()
}

fn verify() -> Verb {
    Verb::new(&["verify", "@/dest"])
}

#[test]
fn of_head() {
    let kept = Kept::at_rest();
    let source = |reference: &str| kept.lake.file_url(reference);
    let verbs = [
        Verb::new(&["export", &source("v2"), "@/dest"]).leaves("day4"),
        Verb::new(&["export", &source("dev"), "@/dest"]).leaves("dev-site"),
        Verb::new(&["plan", &source("dev"), "@/dest", "-o", "@/plan/another"]),
        Verb::new(&["apply", "@/plan"]).leaves("dev-site"),
        verify(),
        Verb::new(&["verify", "@/dest", "--against", &source("v2")]),
        Verb::new(&["status", "@/dest"]),
        Verb::new(&["runs", "@/dest"]),
    ];
    let noticed = kept.check(&kept.files("_millrace/HEAD", ".json"), &verbs.each_ref());
    assert_eq!(noticed, verbs.len() * positions(100).len());
}

#[test]
fn of_receipts_and_their_files() {
    let kept = Kept::at_rest();
    let source = |reference: &str| kept.lake.file_url(reference);
    let next = Verb::new(&["export", &source("dev"), "@/dest"]).leaves("dev-site");
    let full = Verb::new(&["export", &source("dev"), "@/dest", "--full"]).leaves("dev-site").must_end();
    let plan = Verb::new(&["plan", &source("dev"), "@/dest", "-o", "@/plan/another"]);
    let fold = Verb::new(&["export", &source("dev"), "@/dest", "--keep-receipts", "1"]).leaves("dev-site");
    let documents = kept.files("/receipts/", "receipt.json");
    assert!(kept.check(&documents, &[&next, &plan, &verify(), &full]) > 0);
    let changes = kept.files("/receipts/", "changes.parquet");
    assert_eq!(changes.len(), 2);
    assert_eq!(kept.check(&changes, &[&verify()]), 2 * positions(100).len());
    let asked = Verb::new(&["sql", "@/dest", "SELECT count(*) AS n FROM receipts"]);
    assert_eq!(kept.check(&changes, &[&asked]), 2 * positions(100).len());
    let other = Verb::new(&["sql", "@/dest", "SELECT count(*) AS n FROM runs"]);
    assert_eq!(kept.check(&changes, &[&other]), 0, "what is not asked is not read");
    assert_eq!(kept.check(&changes, &[&next, &full, &fold]), 0, "an export that needs no earlier receipt");
    // The way on is said, and is one.
    kept.flip(&changes[0], Some(1000));
    let message = kept.run(&verify()).expect_code(4).json();
    let help = message["error"]["help"].as_str().unwrap();
    let command = help.split('`').nth(1).unwrap_or_else(|| panic!("{help}")).replace('\'', "");
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!((words[0], words[1], words.last()), ("millrace", "export", Some(&"--full")), "{help}");
    Millrace::new().args(&words[1..]).run().expect_code(0);
    kept.run(&verify()).expect_code(0);
}

#[test]
fn of_records_and_plans() {
    let kept = Kept::at_rest();
    let (status, runs) = (Verb::new(&["status", "@/dest"]), Verb::new(&["runs", "@/dest"]));
    let apply = Verb::new(&["apply", "@/plan"]).leaves("dev-site");
    let records = kept.files("dest/_millrace/runs/", "run.json");
    assert!(kept.check(&records, &[&status, &runs]) >= (records.len() + 1) * positions(100).len());
    let mut plan = kept.files("plan/plan", ".json");
    plan.extend(kept.files("plan/round-1/", ".parquet"));
    assert_eq!(kept.check(&plan, &[&apply]), plan.len() * positions(100).len());
    let asked = Verb::new(&["sql", "@/plan", "SELECT key FROM plan"]);
    assert_eq!(kept.check(&plan, &[&asked]), plan.len() * positions(100).len());
}

#[test]
fn of_runs_that_did_not_finish() {
    let lake = Lake::named("orders").temp_copy();
    let kept = Kept::unfinished(&lake);
    let source = |label: &str| lake.file_url(&lake.commit(label).id);
    let export = |label: &'static str, options: &[&str]| {
        Verb::new(&[&["export", &source(label), "@/dest"], options].concat()).leaves(label)
    };
    let (again, other) = (export("day4", &[]), export("load", &[]));
    let plan = Verb::new(&["plan", &source("load"), "@/dest", "-o", "@/plan/another"]);
    let (anew, dropped) = (export("day4", &["--no-resume"]), export("load", &["--no-resume"]));
    let (full, instead) = (export("day4", &["--full"]), export("load", &["--full"]));
    let many = positions(100).len();
    // A journal that is dropped need not be read.
    let segments = kept.files("/journal/", ".parquet");
    let (anew_ends, dropped_ends) = (anew.must_end(), dropped.must_end());
    let noticed = kept.check(&segments, &[&again, &other, &plan, &anew_ends, &dropped_ends]);
    assert_eq!(noticed, segments.len() * 3 * many);
    // Without its plan nobody knows what a run did: everything is copied again.
    let mut files = kept.files("/plan/", "plan.json");
    files.extend(kept.files("/plan/round-1/", ".parquet"));
    let (full_ends, instead_ends) = (full.must_end(), instead.must_end());
    let noticed = kept.check(&files, &[&again, &other, &plan, &full_ends, &instead_ends]);
    assert_eq!(noticed, files.len() * 3 * many);
}
