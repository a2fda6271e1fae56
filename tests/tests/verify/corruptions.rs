//! A hundred random corruptions of each kind: which are found by listing, and which only by reading.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{equal, found, stage, verify};
use crate::export::{BUCKET, Effect, PREFIX, Place, Stage, keys_of};

/// How many of each kind.
const MANY: usize = 100;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    /// Takes so many of the keys away and gives them.
    fn take(&mut self, keys: &mut Vec<String>) -> BTreeSet<String> {
        (0..MANY).map(|_| keys.swap_remove(self.below(keys.len()))).collect()
    }
}

/// The bytes of an object, seen and changed behind Millrace's back.
fn change(stage: &Stage, key: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let path = stage.folder_path("out").join(key);
    let body = match stage.to() {
        Place::Folder => fs::read(&path).unwrap_or_default(),
        Place::Bucket => stage.server.get(BUCKET, &format!("{PREFIX}{key}")).map(|o| o.bytes().to_vec()).unwrap_or_default(),
    };
    match (change(body), stage.to()) {
        (Some(body), Place::Folder) => fs::write(path, body).unwrap(),
        (None, Place::Folder) => fs::remove_file(path).unwrap(),
        (Some(body), Place::Bucket) => {
            stage.server.put(BUCKET, &format!("{PREFIX}{key}"), body, None, &[]);
        }
        (None, Place::Bucket) => stage.server.delete(BUCKET, &format!("{PREFIX}{key}")),
    }
}

/// The same for many objects.
fn change_all(stage: &Stage, keys: &BTreeSet<String>, with: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) {
    for key in keys {
        change(stage, key, |body| with(key, body));
    }
}

fn delete(stage: &Stage, keys: &BTreeSet<String>) {
    change_all(stage, keys, |_, _| None);
}

fn flip(stage: &Stage, keys: &BTreeSet<String>) {
    change_all(stage, keys, |_, mut body| {
        body[0] ^= 1;
        Some(body)
    });
}

fn lengthen(stage: &Stage, keys: &BTreeSet<String>) {
    change_all(stage, keys, |_, mut body| {
        body.push(b'!');
        Some(body)
    });
}

fn leave_over(stage: &Stage, keys: &BTreeSet<String>) {
    change_all(stage, keys, |_, _| Some(b"left".to_vec()));
}

/// What was done to which keys.
#[derive(Default)]
struct Done {
    missing: BTreeSet<String>,
    longer: BTreeSet<String>,
    flipped: BTreeSet<String>,
    left_over: BTreeSet<String>,
}

impl Done {
    fn all(&self) -> BTreeSet<String> {
        [&self.missing, &self.longer, &self.flipped, &self.left_over].into_iter().flatten().cloned().collect()
    }
}

fn names(report: &Value, kind: &str, keys: &BTreeSet<String>) {
    assert_eq!(&found(report, kind), keys, "{kind}");
}

/// Corrupts kind by kind; each is found alone, before the next comes. `by`: the options with which a flip is found.
fn corrupt_and_find(stage: &Stage, by: &[&str]) -> Done {
    let mut random = Random(42);
    let mut keys: Vec<String> = stage.data().into_keys().collect();
    let there: BTreeSet<String> = keys.iter().cloned().collect();
    let mut gone: Vec<String> = stage.expected("before").into_keys().filter(|key| !there.contains(key)).collect();
    let mut done = Done { missing: random.take(&mut keys), ..Done::default() };
    let pristine = stage.data();
    let restore = |keys: &BTreeSet<String>| change_all(stage, keys, |key, _| pristine.get(key).cloned());
    delete(stage, &done.missing);
    let report = verify(stage, &[]).expect_code(1).json();
    names(&report, "missing", &done.missing);
    assert_eq!((&report["missing"], &report["differences"]), (&MANY.into(), &MANY.into()));
    restore(&done.missing);
    done.longer = random.take(&mut keys);
    lengthen(stage, &done.longer);
    let report = verify(stage, &[]).expect_code(1).json();
    names(&report, "changed", &done.longer);
    restore(&done.longer);
    done.flipped = random.take(&mut keys);
    flip(stage, &done.flipped);
    let report = verify(stage, by).expect_code(1).json();
    names(&report, "changed", &done.flipped);
    assert_eq!(report["differences"], MANY, "{report}");
    restore(&done.flipped);
    done.left_over = random.take(&mut gone);
    leave_over(stage, &done.left_over);
    let report = verify(stage, &[]).expect_code(1).json();
    names(&report, "left_over", &done.left_over);
    delete(stage, &done.left_over);
    assert_eq!(stage.data(), pristine);
    equal(stage, by);
    // Now all at once.
    delete(stage, &done.missing);
    lengthen(stage, &done.longer);
    flip(stage, &done.flipped);
    leave_over(stage, &done.left_over);
    stage.put_foreign("somebody/else.txt", "not ours");
    done
}

/// Everything is found at once, mended, and nothing else was touched.
fn repaired(stage: &Stage, options: &[&str], done: &Done) -> Value {
    let report = verify(stage, options).expect_code(0).json();
    assert_eq!(report["state"], "repaired", "{report}");
    let counts = ["missing", "changed", "left_over", "extra", "unreadable", "foreign"].map(|k| report[k].as_u64().unwrap());
    assert_eq!(counts, [100, 200, 100, 0, 0, 1], "{report}");
    let (copied, deleted) = (&report["repair"]["copied"], &report["repair"]["deleted"]);
    assert_eq!((copied, deleted), (&300.into(), &100.into()), "{report}");
    let mut expected = stage.expected("after");
    expected.insert("somebody/else.txt".to_owned(), b"not ours".to_vec());
    assert_eq!(stage.data(), expected);
    stage.assert_success("after");
    assert_eq!(done.all().len(), 400);
    report
}

#[test]
fn in_a_bucket_a_listing_finds_all_of_them_and_repair_mends_just_those() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    equal(&stage, &["--against", &stage.source("after")]);
    let done = corrupt_and_find(&stage, &[]);
    stage.server.clear_log();
    repaired(&stage, &["--repair"], &done);
    let effects: Vec<Effect> = stage.effects().into_iter().filter(|e| !e.is_own()).collect();
    assert_eq!(keys_of(&effects), done.all().iter().collect::<Vec<_>>());
    let deleted: BTreeSet<String> = effects.iter().filter(|e| !e.is_write()).map(|e| e.key().to_owned()).collect();
    assert_eq!(deleted, done.left_over);
    equal(&stage, &["--deep"]);
}

#[test]
fn in_a_folder_a_flip_of_equal_size_is_found_by_reading_only() {
    let (stage, _lake) = stage(Place::Folder, Place::Folder);
    let done = corrupt_and_find(&stage, &["--deep"]);
    let report = verify(&stage, &[]).expect_code(1).json();
    assert_eq!((&report["changed"], &report["missing"]), (&100.into(), &100.into()), "a listing cannot see flips: {report}");
    let before = stage.stamps();
    repaired(&stage, &["--deep", "--repair", "--against", &stage.source("after")], &done);
    assert_eq!(crate::export::changed_keys(&before, &stage.stamps()), done.all());
    equal(&stage, &["--deep"]);
}

#[test]
fn bytes_that_passed_through_are_compared_with_their_checksums() {
    let (stage, _lake) = stage(Place::Folder, Place::Bucket);
    let report = equal(&stage, &["--deep", "--concurrency", "3"]);
    assert_eq!((&report["objects"], &report["unproved"]), (&800.into(), &0.into()), "{report}");
    assert!(report["bytes"].as_u64().unwrap() > 800 && report["requests"]["data"] == 800, "{report}");
}

#[test]
fn people_see_a_table() {
    let (stage, _lake) = stage(Place::Bucket, Place::Bucket);
    let gone = stage.data().into_keys().next().unwrap();
    change(&stage, &gone, |_| None);
    let outcome = millrace_tests::run::Millrace::of(&stage.user)
        .s3(&stage.server)
        .args(["verify", &stage.destination()])
        .run()
        .expect_code(1);
    assert!(outcome.stdout.contains(&format!("missing     {gone}")), "{outcome}");
    assert!(outcome.stdout.contains("Different: 1 object in"), "{outcome}");
}
