//! Folders as destinations: what is left when there is no room, and what is gone after deletes.

use std::path::Path;

use millrace_tests::{
    run::{Millrace, Outcome, User, binary},
    s3::Body,
    tree::{data_only, folder_tree},
};

use crate::made::{MadeLake, Objects, objects};

/// Runs the binary where no file may be longer than 64 KiB, which the system tells in the same way as a full disk.
fn without_room(words: &[&str]) -> Outcome {
    let shell = Millrace::program(Path::new("/bin/sh"));
    shell.args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$@\"", "sh"]).arg(binary()).args(words).run()
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_half_is_left() {
    let mut all: Objects = objects(&[("_SUCCESS", ""), ("a/small", "1"), ("b/small", "2")]);
    all.insert("a/large".to_owned(), Body::sparse(1_000_000, 3).to_bytes().to_vec());
    let lake = MadeLake::new(1000, &[("main", &all)]);
    let user = User::default();
    let out = user.work().join("out");
    let words = ["export", &lake.file_url("main"), out.to_str().unwrap(), "--output", "json"];
    let outcome = without_room(&words).expect_code(1);
    let report = outcome.json();
    assert_eq!((&report["failed"], &report["failures"][0]["key"]), (&1.into(), &"a/large".into()), "{outcome}");
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("File too large"), "{outcome}");
    let there = folder_tree(&out);
    assert!(
        !there.keys().any(|key| key.ends_with("_SUCCESS") || key.contains("large") || key.contains("/tmp/")),
        "{:?}",
        there.keys()
    );
    assert_eq!(there["a/small"], b"1");
    // With room, the same command goes on.
    let again = Millrace::of(&user).args(words).run().expect_code(0);
    assert_eq!(again.json()["failed"], 0);
    assert_eq!(data_only(folder_tree(&out)), all);
}

#[test]
fn folders_go_with_their_last_object() {
    let before = objects(&[("a/b/c/one", "1"), ("a/b/two", "2"), ("a/b/d/three", "3"), ("z", "4")]);
    let after = objects(&[("a/b/two", "2"), ("z", "4")]);
    let none = objects(&[("z", "4")]);
    let lake = MadeLake::new(1000, &[("before", &before), ("after", &after), ("none", &none)]);
    let user = User::default();
    let out = user.work().join("out");
    for (label, there) in [("before", ["a", "a/b", "a/b/c", "a/b/d"].as_slice()), ("after", &["a", "a/b"]), ("none", &[])] {
        let words = ["export", &lake.file_url(&lake.commit(label).id), out.to_str().unwrap(), "--force"];
        Millrace::of(&user).args(words).run().expect_code(0);
        let folders = ["a", "a/b", "a/b/c", "a/b/d"].into_iter().filter(|folder| out.join(folder).is_dir());
        assert_eq!(folders.collect::<Vec<_>>(), there, "{label}");
    }
}
