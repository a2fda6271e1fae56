//! Troubles of this machine: the temporary folder, permissions, file systems that are full or read-only. Each is told with the
//! place and with what to do about it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use millrace_tests::{
    disk::{SmallDisk, without_powers},
    lakes::Lake,
    run::Millrace,
};

use super::{End, Untouched, refused};
use crate::made::{MadeLake, Objects};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_temporary_folder_that_is_not_there_or_not_for_this_user() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let (out, tmp) = (folder.path().join("out"), folder.path().join("tmp"));
    let words = ["export", &lake.file_url("v1"), out.to_str().unwrap()];
    let says = ["no temporary folder can be made"];
    refused(End::Unreachable, || Millrace::new().env("TMPDIR", &tmp), &words).says(&says).helps(&["TMPDIR"]);
    refused(End::Unreachable, || Millrace::new().env("TMPDIR", &tmp), &[words[0], words[1], words[2], "--dry-run"])
        .says(&says)
        .helps(&["TMPDIR"]);
    fs::write(&tmp, "a file").unwrap();
    refused(End::Unreachable, || Millrace::new().env("TMPDIR", &tmp), &words).says(&says).helps(&["TMPDIR"]);
    fs::remove_file(&tmp).unwrap();
    fs::create_dir(&tmp).unwrap();
    mode(&tmp, 0o555);
    let Some(_) = without_powers() else { return };
    refused(End::Unreachable, || without_powers().unwrap().env("TMPDIR", &tmp), &words)
        .says(&[says[0], "Permission denied"])
        .helps(&["TMPDIR"]);
    assert!(!out.exists());
}

/// A lake whose plan takes some room.
fn large() -> MadeLake {
    let objects: Objects = (0..6000).map(|n| (format!("many/{:x}/{n:05}", n * 7919 % 6007), vec![1])).collect();
    MadeLake::new(1000, &[("all", &objects)])
}

#[test]
fn a_temporary_folder_that_is_full() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let (lake, folder) = (large(), tempfile::tempdir().unwrap());
    let out = folder.path().join("out");
    let words = ["export", &lake.file_url("main"), out.to_str().unwrap()];
    refused(End::Unreachable, || Millrace::new().env("TMPDIR", disk.path()), &words)
        .says(&["No space left on device"])
        .helps(&["TMPDIR"]);
    assert!(!out.join("_millrace/HEAD.json").exists());
    disk.grow(64 * 1024);
    Millrace::new().env("TMPDIR", disk.path()).args(words).run().expect_code(0);
}

#[test]
fn a_lake_in_a_folder_that_this_user_may_not_read() {
    let lake = Lake::named("orders").temp_copy();
    let metadata = lake.namespace().join("_lakefs");
    let url = lake.file_url("main");
    let Some(_) = without_powers() else { return };
    let files: Vec<_> = fs::read_dir(&metadata).unwrap().map(|file| file.unwrap().path()).collect();
    mode(&metadata, 0o000);
    for words in [&["ls", url.as_str()][..], &["export", &url, "memory://x"]] {
        refused(End::Unreachable, || without_powers().unwrap(), words)
            .says(&["the lake at file://", "may not be used by this user", "Permission denied"])
            .helps(&["permissions"]);
    }
    mode(&metadata, 0o755);
    files.iter().filter(|file| !file.to_string_lossy().contains("refs")).for_each(|file| mode(file, 0o000));
    refused(End::Unreachable, || without_powers().unwrap(), &["ls", &url])
        .says(&["_lakefs/", "the file system refuses", "Permission denied"])
        .helps(&["permissions"]);
    for file in &files {
        mode(file, 0o644);
    }
}

#[test]
fn a_destination_in_a_folder_that_this_user_may_not_write() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let Some(_) = without_powers() else { return };
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    mode(&out, 0o555);
    let untouched = Untouched::new(folder.path());
    let at = out.display().to_string();
    let words = ["export", &lake.file_url("v1"), &at];
    refused(End::Unreachable, || without_powers().unwrap(), &words)
        .says(&[&at, "Permission denied"])
        .helps(&[&format!("check the permissions of {at}/")]);
    // Nor below it, nor where a plan is to be kept.
    let below = format!("{at}/deep/er");
    refused(End::Unreachable, || without_powers().unwrap(), &["export", &lake.file_url("v1"), &below])
        .says(&[&below, "Permission denied"])
        .helps(&["check the permissions of"]);
    refused(
        End::Unreachable,
        || without_powers().unwrap(),
        &["plan", &lake.file_url("v1"), "memory://x", "-o", &format!("{at}/plan")],
    )
    .says(&[&format!("{at}/plan"), "Permission denied"])
    .helps(&["-o"]);
    untouched.check();
    mode(&out, 0o000);
    refused(End::Unreachable, || without_powers().unwrap(), &words).says(&[&at]).helps(&["permissions"]);
    mode(&out, 0o755);
}

#[test]
fn a_destination_on_a_file_system_that_is_read_only() {
    let Some(disk) = SmallDisk::mount(8192) else { return };
    let lake = Lake::named("orders");
    let out = disk.path().join("out").display().to_string();
    Millrace::new().args(["export", &lake.file_url("v1"), &out]).run().expect_code(0);
    disk.read_only();
    let untouched = Untouched::new(disk.path());
    let fresh = disk.path().join("new").display().to_string();
    for to in [&out, &fresh] {
        refused(End::Unreachable, Millrace::new, &["export", &lake.file_url("v2"), to])
            .says(&[to, "Read-only file system"])
            .helps(&["mounted read-only"]);
    }
    let there = disk.path().join("lake").display().to_string();
    refused(End::Unreachable, Millrace::new, &["lake", "init", &format!("lake+file://{there}")])
        .says(&[&there, "Read-only file system"])
        .helps(&["mounted read-only"]);
    // What only reads goes on.
    Millrace::new().args(["verify", &out]).run().expect_code(0);
    Millrace::new().args(["plan", &lake.file_url("v2"), &out]).run().expect_code(0);
    untouched.check();
}
