//! What is refused: with a reason, what to do about it, and the lake as it was.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome},
    s3::{Fault, Rule, Target},
    tree::folder_tree,
};

use super::{BOTH, BUCKET, Bed, PREFIX, Place, listed};

/// Fails unless the command ended with this code, said this, and told what to do.
#[track_caller]
fn refused(outcome: Outcome, code: i32, said: &str) {
    let outcome = outcome.expect_code(code);
    let error = &outcome.json()["error"];
    assert!(error["message"].as_str().unwrap().contains(said), "{outcome}");
    assert!(error["help"].is_string(), "{outcome}");
}

#[test]
fn a_lake_is_made_once() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let before = bed.stored();
        refused(bed.lake("init", &bed.url("")).run(), 3, "there is a lake at");
        assert_eq!(bed.stored(), before);
    }
}

#[test]
fn a_servers_namespace_is_read_and_never_written() {
    let bed = Bed::new(Place::Folder);
    let lake = Lake::named("orders").temp_copy();
    let folder = bed.files("files", &[("a", "1")]);
    let url = lake.file_url("main");
    let before = folder_tree(&lake.namespace());
    let all = |said: &str| {
        refused(bed.lake("init", url.split('?').next().unwrap()).run(), 3, if said == "master" { "holds a lake" } else { said });
        refused(bed.lake("commit", &url).args([&folder, "-m", "m"]).run(), 3, said);
        refused(bed.lake("branch", &url).arg("new").run(), 3, said);
        refused(bed.lake("tag", &url).arg("new").run(), 3, said);
        refused(bed.lake("merge", &url).arg("dev").run(), 3, said);
    };
    all("a lakeFS server manages");
    assert_eq!(folder_tree(&lake.namespace()), before);
    fs::remove_file(lake.namespace().join("_lakefs/dummy")).unwrap();
    refused(bed.lake("init", url.split('?').next().unwrap()).run(), 3, "holds a lake of a lakeFS server");
    refused(bed.lake("commit", &url).args([&folder, "-m", "m"]).run(), 3, "Millrace did not make the lake");
    bed.millrace(&["ls", &url]).run().expect_code(0);
    // Files of a lake without anything that says whose it is.
    fs::remove_file(lake.namespace().join("_lakefs/refs_manifest.json")).unwrap();
    refused(bed.lake("init", url.split('?').next().unwrap()).run(), 3, "that Millrace did not make");
    refused(bed.lake("init", "lakefs://orders").run(), 2, "a lakeFS server");
}

#[test]
fn a_lake_that_was_restored_into_a_server_is_the_servers() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        bed.commit("main", &[("a", "1")]);
        // The server's dump names the same refs, without Millrace's stamp.
        let mut manifest: serde_json::Value = serde_json::from_slice(&bed.manifest()).unwrap();
        manifest.as_object_mut().unwrap().remove("millrace");
        bed.store("_lakefs/refs_manifest.json", &manifest.to_string());
        let folder = bed.files("files", &[("b", "1")]);
        refused(bed.commit_of("main", &folder, "m").run(), 3, "the server is the master now");
        assert_eq!(bed.ls("main"), listed(&[("a", "1")]), "reading goes on");
    }
}

#[test]
fn a_newer_format_is_told_as_such() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        bed.commit("main", &[("a", "1")]);
        let folder = bed.files("files", &[("b", "1")]);
        let mark = String::from_utf8(bed.stored()["_lakefs/millrace.json"].clone()).unwrap();
        bed.store("_lakefs/millrace.json", &mark.replace("\"format\": 1", "\"format\": 2"));
        refused(bed.commit_of("main", &folder, "m").run(), 2, "has format 2");
        bed.store("_lakefs/millrace.json", &mark);
        let manifest = String::from_utf8(bed.manifest()).unwrap();
        bed.store("_lakefs/refs_manifest.json", &manifest.replace("\"format\": 1", "\"format\": 7"));
        refused(bed.commit_of("main", &folder, "m").run(), 2, "has format 7");
        refused(bed.millrace(&["ls", &bed.url("main")]).run(), 2, "has format 7");
        refused(bed.lake("init", &bed.url("")).run(), 2, "has format 7");
    }
}

#[test]
fn names_that_mean_nothing_or_cannot_be_are_refused() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", &[("a", "1")]);
    bed.lake("tag", &bed.url("main")).arg("v1").run().expect_code(0);
    let before = bed.stored();
    let folder = bed.files("files", &[("b", "1")]);
    let commit = |reference: &str| bed.commit_of(reference, &folder, "m").run();
    refused(commit("nowhere"), 2, "`nowhere` is no branch");
    refused(commit("v1"), 2, "`v1` is a tag");
    refused(commit("main~1"), 2, "is no branch");
    refused(commit(""), 2, "names no branch, tag or commit");
    for name in ["a/b", "a.b", "ü", ""] {
        refused(bed.lake("branch", &bed.url("main")).arg(name).run(), 2, "is no name for a branch");
    }
    for name in ["a b", "a..b", "x.lock", "a/b", "main~1"] {
        refused(bed.lake("tag", &bed.url("main")).arg(name).run(), 2, "is no name for a tag");
    }
    refused(bed.lake("branch", &bed.url("main")).arg("main").run(), 2, "there is a branch `main` already");
    refused(bed.lake("branch", &bed.url("main")).arg("v1").run(), 2, "there is a tag `v1` already");
    refused(bed.lake("tag", &bed.url("main")).arg("v1").run(), 2, "there is a tag `v1` already");
    refused(bed.lake("branch", &bed.url("nowhere")).arg("x").run(), 2, "nowhere");
    refused(bed.lake("branch", &bed.url("")).args(["main", "-d"]).run(), 3, "default branch");
    refused(bed.lake("tag", &bed.url("")).args(["v9", "-d"]).run(), 2, "there is no tag `v9`");
    refused(bed.lake("init", &format!("lake+file://{}?ref=a.b", bed.path("new").display())).run(), 2, "is no name for a branch");
    assert!(!bed.path("new").exists());
    assert_eq!(bed.stored(), before);
}

#[test]
fn an_empty_folder_empties_no_branch_unless_that_is_said() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        let folder = bed.files("files", &[]);
        // There is nothing to lose yet.
        let report = bed.commit_of("main", &folder, "m").run().expect_code(0).json();
        assert_eq!(report["state"], "unchanged");
        bed.commit("main", &[("a", "1"), ("t/b", "2"), ("t/c", "3")]);
        let before = bed.stored();
        let folder = bed.files("files", &[("deep/EXPORT_x_SUCCESS", "a file, but no longer here")]);
        fs::remove_file(bed.path("files/deep/EXPORT_x_SUCCESS")).unwrap();
        refused(
            bed.commit_of("main", &folder, "m").run(),
            3,
            "holds no files: the commit would remove all 3 objects of branch `main`",
        );
        let part = bed.commit_of("main", &folder, "m").args(["--prefix", "t"]).run();
        refused(part, 3, "all 2 objects of branch `main` below `t/`");
        // What an export leaves beside its data is none of it.
        fs::write(bed.path("files/EXPORT_x_SUCCESS"), "").unwrap();
        refused(bed.commit_of("main", &folder, "m").run(), 3, "holds no files");
        assert_eq!(bed.stored(), before, "{place:?}");
        bed.commit_of("main", &folder, "m").args(["--prefix", "t", "--allow-empty"]).run().expect_code(0);
        assert_eq!(bed.ls("main"), listed(&[("a", "1")]));
    }
}

#[test]
fn no_lake_is_made_where_exports_go() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        bed.commit("main", &[("a", "1")]);
        let (out, scheme) = match place {
            Place::Folder => (bed.path("out").display().to_string(), "file://"),
            Place::Bucket => ("landing/out".to_owned(), "s3://"),
        };
        bed.millrace(&["export", &bed.url("main"), &format!("{scheme}{out}")]).run().expect_code(0);
        let before = (bed.server.snapshot().tree("landing", ""), folder_tree(bed.dir.path()));
        for below in ["", "/part", "/part/of/it"] {
            let outcome = bed.lake("init", &format!("lake+{scheme}{out}{below}")).run();
            refused(outcome, 3, "would lie in the destination of an export");
        }
        assert_eq!((bed.server.snapshot().tree("landing", ""), folder_tree(bed.dir.path())), before, "{place:?}");
        bed.lake("init", &format!("lake+{scheme}{out}side")).run().expect_code(0);
    }
}

#[test]
fn there_must_be_a_lake_a_folder_and_a_message() {
    for place in BOTH {
        let bed = Bed::new(place);
        let folder = bed.files("files", &[("b", "1")]);
        refused(bed.commit_of("main", &folder, "m").run(), 4, "there is no lake at");
        assert!(bed.stored_or_nothing());
        bed.lake("init", &bed.url("")).run().expect_code(0);
        let before = bed.stored();
        refused(bed.commit_of("main", &bed.path("nowhere").display().to_string(), "m").run(), 2, "there is no folder");
        refused(bed.commit_of("main", &format!("{folder}/b"), "m").run(), 2, "is a file, not a folder");
        refused(bed.commit_of("main", "s3://landing/nothing", "m").run(), 2, "there is no folder");
        refused(bed.commit_of("main", "s3://nowhere/x", "m").run(), 4, "cannot be listed");
        refused(bed.commit_of("main", &folder, " ").run(), 2, "needs a message");
        let twice = bed.commit_of("main", &folder, "m").args(["--meta", "a=1", "--meta", "a=2"]).run();
        refused(twice, 2, "twice");
        bed.commit_of("main", &folder, "m").args(["--meta", "a"]).run().expect_code(2);
        assert_eq!(bed.stored(), before);
    }
}

impl Bed {
    fn stored_or_nothing(&self) -> bool {
        match self.place {
            Place::Folder => !self.path("lake").exists(),
            Place::Bucket => self.stored().is_empty(),
        }
    }
}

#[test]
fn what_is_no_regular_file_is_refused_by_name() {
    let bed = Bed::with_lake(Place::Folder);
    let folder = bed.files("files", &[("d/a", "1")]);
    let at = |name: &str| Path::new(&folder).join(name);
    std::os::unix::fs::symlink("a", at("d/link")).unwrap();
    let made = Millrace::program(Path::new("/bin/sh")).args(["-c", "mkfifo \"$0\""]).arg(at("pipe")).run();
    assert_eq!(made.code, 0, "{made}");
    let before = bed.stored();
    let outcome = bed.commit_of("main", &folder, "m").run();
    assert!(outcome.stdout.contains("`pipe` is neither a file nor a folder"), "{outcome}");
    refused(outcome, 2, "`d/link` is a symbolic link");
    let long = format!("{0}/{0}/{0}/{0}/{0}/x", "n".repeat(210));
    let folder = bed.files("long", &[(&long, "1")]);
    refused(bed.commit_of("main", &folder, "m").run(), 2, "more than 1,024 bytes");
    assert_eq!(bed.stored(), before);
}

#[test]
fn a_lake_is_not_committed_into_itself() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", &[("a", "1")]);
    for folder in [bed.path("lake"), bed.dir.path().to_owned(), bed.path("lake/data")] {
        refused(bed.commit_of("main", folder.to_str().unwrap(), "m").run(), 3, "the lake");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_the_commit() {
    for place in BOTH {
        let bed = Bed::with_lake(place);
        bed.commit("main", &[("a", "1")]);
        let before = bed.stored();
        let folder = bed.files("files", &[("a", "2"), ("b", "3")]);
        let moving = Path::new(&folder).join("moving");
        fs::write(&moving, vec![7; 24 << 20]).unwrap();
        let done = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            // Somebody writes to it all the time.
            scope.spawn(|| {
                let mut file = fs::File::options().append(true).open(&moving).unwrap();
                while !done.load(Ordering::Relaxed) {
                    file.write_all(b"x").unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let outcome = bed.commit_of("main", &folder, "m").run();
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let outcome = outcome.expect_code(1);
        let report = outcome.json();
        assert_eq!((&report["state"], &report["failed"]), (&"failed".into(), &1.into()), "{outcome}");
        assert_eq!(report["failures"][0]["key"], "moving");
        assert!(report["failures"][0]["error"].as_str().unwrap().contains("was written to while"), "{outcome}");
        assert_eq!(bed.stored(), before, "{place:?}: the lake is as it was, and what was copied is taken back");
        bed.commit_of("main", &folder, "m").run().expect_code(0);
    }
}

#[test]
fn a_store_that_takes_nothing_leaves_the_lake_as_it_was() {
    let bed = Bed::with_lake(Place::Bucket);
    bed.commit("main", &[("a", "1")]);
    let before = bed.stored();
    let folder = bed.files("files", &[("b", "1"), ("c", "2")]);
    for part in ["data/", "_lakefs/"] {
        bed.server.deny(Target::on("PutObject").bucket(BUCKET).prefix(&format!("{PREFIX}/{part}")));
        refused(bed.commit_of("main", &folder, "m").run(), 4, "cannot be written");
        bed.server.clear_denials();
        assert_eq!(bed.manifest(), before["_lakefs/refs_manifest.json"]);
        assert_eq!(bed.ls("main"), listed(&[("a", "1")]));
    }
    bed.server.fault(Rule::new(Target::on("PutObject").bucket(BUCKET), Fault::error(507, "InsufficientStorage")));
    let outcome = bed.commit_of("main", &folder, "m").run().expect_code(4);
    assert!(outcome.json()["error"]["help"].as_str().unwrap().contains("make room"), "{outcome}");
    bed.server.clear_faults();
    assert_eq!(bed.ls("main"), listed(&[("a", "1")]));
    bed.commit_of("main", &folder, "m").run().expect_code(0);
}

#[test]
fn a_folder_that_takes_nothing_leaves_the_lake_as_it_was() {
    let bed = Bed::with_lake(Place::Folder);
    // As root, permissions stop nobody: something stands where the objects must go.
    fs::write(bed.path("lake/data"), "in the way").unwrap();
    let folder = bed.files("files", &[("b", "1")]);
    let outcome = bed.commit_of("main", &folder, "m").run();
    assert!(matches!(outcome.code, 2 | 4), "{outcome}");
    assert!(outcome.json()["error"]["message"].as_str().unwrap().contains("is a file where a folder must be"), "{outcome}");
    assert_eq!(bed.ls("main"), listed(&[]));
}

#[test]
fn a_damaged_mark_or_a_lost_one_is_told() {
    let bed = Bed::with_lake(Place::Folder);
    let folder = bed.files("files", &[("b", "1")]);
    bed.store("_lakefs/millrace.json", "{");
    refused(bed.commit_of("main", &folder, "m").run(), 4, "cannot be understood");
    fs::remove_file(bed.path("lake/_lakefs/millrace.json")).unwrap();
    refused(bed.commit_of("main", &folder, "m").run(), 3, "has lost its mark");
}

/// Runs the binary where no file may grow beyond so many KiB, which is told as a full disk is.
fn without_room(kib: u32, words: &[&str]) -> Outcome {
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
    let shell = Millrace::program(Path::new("/bin/sh")).args(["-c", &script, "sh"]);
    shell.arg(millrace_tests::run::binary()).args(["--output", "json"]).args(words).run()
}

#[test]
fn a_file_that_does_not_fit_fails_the_commit_and_leaves_the_lake_as_it_was() {
    let bed = Bed::with_lake(Place::Folder);
    bed.commit("main", &[("a", "1")]);
    let before = bed.stored();
    let folder = bed.files("files", &[("a", "2"), ("b", "3")]);
    fs::write(Path::new(&folder).join("large"), vec![7; 200 << 10]).unwrap();
    let url = bed.url("main");
    let words = ["lake", "commit", &url, &folder, "-m", "m"];
    // Room for the small objects and not for the large one; then for no object; then not even for a metadata file.
    for kib in [100, 1, 0] {
        let outcome = without_room(kib, &words);
        assert!(matches!(outcome.code, 1 | 4), "{kib} KiB: {outcome}");
        let report = outcome.json();
        let said = report["failures"][0]["error"].as_str().or_else(|| report["error"]["message"].as_str()).unwrap_or_default();
        assert!(said.contains("File too large") || said.contains("room"), "{kib} KiB: {outcome}");
        let after = bed.stored();
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{kib} KiB: {outcome}");
        assert!(after == before, "{kib} KiB: nothing changed");
    }
    bed.commit_of("main", &folder, "m").run().expect_code(0);
    assert_eq!(bed.log("main").len(), 3);
}

#[test]
fn keys_that_an_object_of_a_lake_cannot_have_are_refused_by_name() {
    let bed = Bed::with_lake(Place::Bucket);
    bed.commit("main", &[("a", "1")]);
    let before = bed.stored();
    let put = |key: &str| drop(bed.server.put("landing", key, "1", None, &[]));
    put("one/x");
    let long = "k".repeat(1_000);
    put(&format!("two/{long}"));
    // A key of the folder's own name with a slash is that of a folder's marker: without the folder, it is empty.
    put("three/");
    put("three/x");
    bed.commit_of("main", "s3://landing/one", "m").args(["--prefix", "p/"]).run().expect_code(0);
    let with_one = bed.stored();
    assert_ne!(with_one, before);
    let prefix = format!("{}/", "p".repeat(30));
    let outcome = bed.commit_of("main", "s3://landing/two", "m").args(["--prefix", &prefix]).run();
    refused(outcome, 2, "more than 1,024 bytes");
    assert_eq!(bed.stored(), with_one);
    let report = bed.commit_of("main", "s3://landing/three", "m").run().expect_code(0).json();
    assert!(report["added"] == 1, "{report}");
    assert_eq!(bed.ls("main"), listed(&[("x", "1")]));
}

#[test]
fn an_object_that_is_overwritten_while_it_is_copied_fails_the_commit() {
    let bed = Bed::with_lake(Place::Bucket);
    bed.commit("main", &[("a", "1")]);
    let before = bed.stored();
    bed.server.put("landing", "in/moving", "old", None, &[]);
    bed.server.put("landing", "in/still", "1", None, &[]);
    // It was listed, and when it is read somebody has put another object there.
    let rule = bed.server.fault(
        Rule::new(Target::on("GetObject").bucket("landing").key("in/moving"), Fault::Delay(Duration::from_secs(2))).nth(1),
    );
    let mut running = bed.commit_of("main", "s3://landing/in", "m").spawn();
    while bed.server.hits(rule) == 0 && !running.has_ended() {
        std::thread::sleep(Duration::from_millis(5));
    }
    bed.server.put("landing", "in/moving", "new and longer", None, &[]);
    let outcome = running.wait().expect_code(1);
    let report = outcome.json();
    assert_eq!((&report["state"], &report["failed"]), (&"failed".into(), &1.into()), "{outcome}");
    assert_eq!(report["failures"][0]["key"], "moving", "{outcome}");
    assert_eq!(bed.stored(), before, "what was copied is taken back");
    bed.server.clear_faults();
    bed.commit_of("main", "s3://landing/in", "m").run().expect_code(0);
    assert_eq!(bed.ls("main"), listed(&[("moving", "new and longer"), ("still", "1")]));
}

/// A file system of one MiB, which only this shell and what it starts can see.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=1m none "$LAKE" || exit 99
    "$MILLRACE" lake init "lake+file://$LAKE" || exit 98
    "$MILLRACE" lake commit "lake+file://$LAKE?ref=main" "$SMALL" -m small || exit 97
    "$MILLRACE" lake commit "lake+file://$LAKE?ref=main" "$LARGE" -m large
    echo "code $?"
    "$MILLRACE" ls "lake+file://$LAKE?ref=main" || exit 96
    "$MILLRACE" lake commit "lake+file://$LAKE?ref=main" "$SMALL/d" -m again || exit 95
"#;

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
fn a_full_disk_leaves_the_lake_as_it_was() {
    let bed = Bed::new(Place::Folder);
    let (small, large) = (bed.files("small", &[("d/a", "1")]), bed.files("large", &[("d/b", "2")]));
    fs::write(bed.path("large/c"), vec![7; 2 << 20]).unwrap();
    fs::create_dir(bed.path("lake")).unwrap();
    let shell = Millrace::program(Path::new("unshare")).args(["-rm", "/bin/sh", "-c", SMALL_DISK]);
    let outcome = shell
        .env("MILLRACE", millrace_tests::run::binary())
        .env("LAKE", bed.path("lake"))
        .env("SMALL", small)
        .env("LARGE", large)
        .run();
    if outcome.code == 99 || outcome.stderr.starts_with("unshare") {
        println!("skipped: a small file system cannot be mounted here");
        return;
    }
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(outcome.stdout.contains("code 4"), "{outcome}");
    assert!(outcome.stderr.contains("make room"), "{outcome}");
    assert!(outcome.stdout.contains("d/a") && !outcome.stdout.contains("d/b"), "{outcome}");
}
