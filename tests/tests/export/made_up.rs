//! Lakes made up for the purpose: files that become folders and back, and trees of nested markers that change at random,
//! with selections that change and sources that go missing on the way.

use std::collections::BTreeSet;

use millrace_tests::{run::Outcome, tree::data_only};

use super::{
    Place, Stage,
    invariants::{Watch, export_watched, looks},
    is_marker,
};
use crate::made::{MadeLake, Objects, objects};

#[test]
fn a_file_becomes_a_folder_and_back() {
    let file = objects(&[("_SUCCESS", ""), ("a", "file"), ("a-b", "beside"), ("z", "last")]);
    let folder = objects(&[
        ("_SUCCESS", ""),
        ("a-b", "beside"),
        ("a/_SUCCESS", ""),
        ("a/b", "below"),
        ("a/c/d", "deep"),
        ("z", "changed"),
    ]);
    let deeper = objects(&[("a-b", "changed"), ("a/b/c/d", "deeper"), ("a/c", "shallow"), ("z/z/z", "file no more")]);
    let commits = [("file", &file), ("folder", &folder), ("deeper", &deeper), ("gone", &Objects::new())];
    for entries_a_range in [1, 1000] {
        let lake = MadeLake::new(entries_a_range, &commits);
        for (from, to) in [(Place::Folder, Place::Folder), (Place::Bucket, Place::Folder), (Place::Bucket, Place::Bucket)] {
            let stage = Stage::of(lake.clone(), from, to);
            for label in ["file", "folder", "file", "deeper", "folder", "deeper", "file", "gone", "deeper"] {
                stage.exported(label, &["--force"]);
                assert_eq!(stage.data(), stage.expected(label), "{label}");
                stage.assert_success(label);
            }
        }
    }
}

#[test]
fn folders_of_nothing_but_folders_make_way() {
    let commit = objects(&[("a/b", "file"), ("c", "file"), ("d", "file")]);
    let lake = MadeLake::new(1000, &[("commit", &commit)]);
    for from in [Place::Folder, Place::Bucket] {
        let stage = Stage::of(lake.clone(), from, Place::Folder);
        let root = std::path::PathBuf::from(stage.destination().trim_start_matches("file://"));
        for folder in ["a/b/x/y", "a/b/z", "c"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        stage.exported("commit", &[]);
        assert_eq!(stage.data(), commit, "{from:?}");
    }
    // One that holds a file is somebody's.
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Folder);
    let root = std::path::PathBuf::from(stage.destination().trim_start_matches("file://"));
    std::fs::create_dir_all(root.join("d/e")).unwrap();
    std::fs::write(root.join("d/e/mine"), "x").unwrap();
    let refused = stage.export("commit", &[]).expect_code(3).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("`d` is a folder at the destination"), "{refused}");
    assert_eq!(std::fs::read(root.join("d/e/mine")).unwrap(), b"x");
}

#[test]
fn a_file_beside_a_folder_of_the_same_name_is_for_buckets_only() {
    let both = objects(&[("a", "file"), ("a.txt", "between"), ("a/b", "below")]);
    let lake = MadeLake::new(1000, &[("both", &both)]);
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Bucket);
    stage.exported("both", &[]);
    assert_eq!(stage.data(), both);
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Folder);
    let refused = stage.export("both", &[]).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`a` is a file and `a/b` needs it to be a folder"), "{message}");
    assert!(stage.tree().is_empty());
}

#[test]
fn a_folder_with_a_done_file_becomes_a_file_and_back() {
    let file = objects(&[("a", "file"), ("z", "1")]);
    let folder = objects(&[("a/b", "below"), ("z", "1")]);
    let lake = MadeLake::new(1000, &[("file", &file), ("folder", &folder)]);
    let stage = Stage::of(lake.clone(), Place::Bucket, Place::Folder);
    for label in ["folder", "file", "folder"] {
        stage.exported(label, &["--done-file", "_DONE", "--done-prefix", "a"]);
        let data: Objects = stage.data().into_iter().filter(|(key, _)| !key.ends_with("_DONE")).collect();
        assert_eq!(data, stage.expected(label), "{label}");
        stage.assert_success(label);
    }
}

#[test]
fn a_collision_with_what_did_not_change_is_seen_too() {
    let before = objects(&[("a", "file"), ("a-", "beside"), ("b", "1")]);
    let below = objects(&[("a-", "beside"), ("a/b", "below"), ("b", "1")]);
    let both = objects(&[("a", "file"), ("a-", "beside"), ("a/b", "below"), ("b", "1")]);
    for entries_a_range in [1, 1000] {
        let lake = MadeLake::new(entries_a_range, &[("before", &before), ("below", &below), ("both", &both)]);
        for first in ["before", "below"] {
            for preset in ["spark", "none"] {
                let stage = Stage::of(lake.clone(), Place::Folder, Place::Folder);
                stage.exported(first, &["--force", "--preset", preset]);
                let stamps = stage.stamps();
                let refused = stage.export("both", &["--preset", preset]).expect_code(3).json();
                let message = refused["error"]["message"].as_str().unwrap();
                assert!(message.contains("`a` is a file "), "{first} {preset}: {message}");
                assert_eq!(message.lines().count(), 3, "named once: {message}");
                assert_eq!(stage.stamps(), stamps);
            }
        }
    }
}

/// Numbers that are the same each time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const DIRECTORIES: [&str; 9] = ["", "a-/", "a/", "a/b/", "a/b/c/", "a/b/c/d/", "b/", "b/_SUCCESS-/", "c/c/"];
const NAMES: [&str; 4] = ["_SUCCESS", "b", "x", "~"];

/// A tree of nested markers: an earlier one, edited.
fn edited(random: &mut Random, tree: &Objects, files_only: bool) -> Objects {
    let mut tree = tree.clone();
    for _ in 0..random.below(8) {
        let key = format!("{}{}", random.pick(&DIRECTORIES), random.pick(&NAMES));
        let text = if is_marker(&key) && random.chance(80) { String::new() } else { random.below(3).to_string() };
        if random.chance(35) {
            tree.remove(&key)
        } else {
            tree.insert(key, text.into_bytes())
        };
    }
    if files_only {
        // A folder cannot hold `a` beside `a/b`.
        let folders: BTreeSet<_> =
            tree.keys().flat_map(|key| key.match_indices('/').map(|(at, _)| key[..at].to_owned())).collect();
        tree.retain(|key, _| !folders.contains(key));
    }
    tree
}

/// A lake of five such commits.
pub(super) fn random_lake(seed: u64, files_only: bool) -> (MadeLake, Random) {
    let mut random = Random(seed);
    let mut trees = Vec::new();
    let mut tree = Objects::new();
    for _ in 0..5 {
        for _ in 0..3 {
            tree = edited(&mut random, &tree, files_only);
        }
        trees.push(tree.clone());
    }
    let commits: Vec<_> = LABELS.into_iter().zip(&trees).collect();
    (MadeLake::new(1 + seed % 4 * 3, &commits), random)
}

pub(super) const LABELS: [&str; 5] = ["0", "1", "2", "3", "4"];
const SELECTIONS: [&[&str]; 6] = [
    &[],
    &[],
    &["--exclude", "a/b/**"],
    &["--include", "a/**", "--include", "b/**"],
    &["--where", "key NOT LIKE '%x'"],
    &["--exclude", "_SUCCESS"],
];

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn random_trees_of_nested_markers_keep_their_promises_at_every_step() {
    for seed in 1..=4 {
        let (lake, mut random) = random_lake(seed, false);
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        let mut before = *random.pick(&LABELS);
        stage.exported(before, &["--force"]);
        let watch = Watch::start(&stage);
        for _ in 0..4 {
            let (label, selection) = (*random.pick(&LABELS), *random.pick(&SELECTIONS));
            println!("seed {seed}: {before} → {label} {selection:?}");
            export_watched(&stage, &watch, before, (label, &[&["--force"], selection].concat()));
            before = label;
        }
    }
}

/// Exports while an object of the lake is away, if it has one of that name.
fn export_without(stage: &Stage, lost: &str, label: &str, options: &[&str]) -> Outcome {
    let object = stage.server.get("lake", lost);
    stage.server.delete("lake", lost);
    let outcome = stage.export(label, options);
    if let Some(object) = object {
        stage.server.put_object("lake", lost, (*object).clone());
    }
    outcome
}

#[test]
fn random_trees_keep_their_promises_when_sources_go_missing_and_come_back() {
    let mut failed = 0;
    for seed in 11..=15 {
        let (lake, mut random) = random_lake(seed, false);
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        let bodies = stage.server.keys("lake", "made/data/");
        let watch = Watch::start(&stage);
        watch.between(LABELS.iter().map(|label| looks(&stage, label)).collect());
        for _ in 0..5 {
            let (label, lost) = (*random.pick(&LABELS), random.pick(&bodies));
            let outcome = export_without(&stage, lost, label, &["--force", "--concurrency", "16"]);
            assert!(outcome.code == 0 || outcome.code == 1, "seed {seed}: {outcome}");
            failed += outcome.code;
            let there: Vec<_> = stage.status_markers().into_keys().collect();
            let kind = if outcome.code == 0 { "SUCCESS" } else { "FAILURE" };
            assert_eq!(there, [format!("EXPORT_{}_{kind}", lake.commit(label).id)], "seed {seed}");
        }
        let label = *random.pick(&LABELS);
        stage.exported(label, &["--force"]);
        assert_eq!(stage.data(), stage.expected(label), "seed {seed}");
        stage.assert_success(label);
        stage.server.assert_no_violations();
    }
    assert!(failed >= 5, "{failed} exports failed");
}

/// What is asked for may change while a destination is in pieces.
const OPTIONS: [&[&str]; 9] = [
    &[],
    &["--full"],
    &["--keep-markers"],
    &["--preset", "none"],
    &["--preset", "none", "--exclude", "a/b/**"],
    &["--round", "x"],
    &["--include", "a/**", "--include", "b/**"],
    &["--where", "key NOT LIKE '%x'", "--keep-markers"],
    &["--exclude", "_SUCCESS", "--full"],
];

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn whatever_failed_before_the_next_success_is_what_a_fresh_export_gives() {
    let mut failed = 0;
    for seed in 31..=35 {
        let (lake, mut random) = random_lake(seed, false);
        let stage = Stage::of(lake.clone(), Place::Bucket, Place::Bucket);
        let bodies = stage.server.keys("lake", "made/data/");
        for step in 0..7 {
            let (label, options) = (*random.pick(&LABELS), [&["--force"], *random.pick(&OPTIONS)].concat());
            let lost = if step < 6 { random.pick(&bodies).as_str() } else { "nothing" };
            let outcome = export_without(&stage, lost, label, &options);
            println!("seed {seed}: {label} {options:?}: {}", outcome.code);
            assert!(outcome.code == 0 || (outcome.code == 1 && step < 6), "{outcome}");
            failed += outcome.code;
            if outcome.code == 0 {
                let fresh = format!("fresh-{step}");
                stage.export_to(label, &fresh, &options).expect_code(0);
                assert_eq!(stage.data(), data_only(stage.tree_of(&fresh)));
                stage.assert_success(label);
            }
        }
    }
    assert!(failed >= 5, "{failed} exports failed");
}

#[test]
#[expect(clippy::print_stdout, reason = "the steps before a failure must be seen")]
fn random_trees_arrive_in_folders() {
    for seed in 21..=23 {
        let (lake, mut random) = random_lake(seed, true);
        let stage = Stage::of(lake.clone(), Place::Folder, Place::Folder);
        for step in 0..4 {
            let (label, selection) = (*random.pick(&LABELS), *random.pick(&SELECTIONS));
            println!("seed {seed}: {label} {selection:?}");
            let options = [&["--force"], selection].concat();
            stage.exported(label, &options);
            let fresh = format!("fresh-{step}");
            stage.export_to(label, &fresh, &options).expect_code(0);
            assert_eq!(stage.data(), data_only(stage.tree_of(&fresh)), "seed {seed}: {label} {selection:?}");
            stage.assert_success(label);
        }
    }
}
