//! Kills of exports to folders: at any request to the source, and at any instant.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use millrace_tests::{
    s3::{Fate, Fault, Rule, Target, Victim},
    tree::is_reserved,
};

use super::{Bed, Random, fixed_commits, rounds, want::Want};
use crate::{export::Place, made::Objects};

/// The files below a folder while somebody writes there; none when it could not be read as it was.
fn files(root: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let path = entry.ok()?.path();
            let kind = fs::symlink_metadata(&path).ok()?;
            if kind.is_dir() {
                if !path.ends_with("_millrace") {
                    folders.push(path);
                }
            } else {
                let key = path.strip_prefix(root).unwrap().to_str()?.to_owned();
                files.insert(key, fs::read(&path).ok()?);
            }
        }
    }
    Some(files)
}

/// Which SUCCESS is there: name, inode and time.
fn success(root: &Path) -> Option<(String, u64, i64)> {
    let mut entries = fs::read_dir(root).ok()?.filter_map(Result::ok);
    entries.find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let meta = entry.metadata().ok()?;
        (is_reserved(&name) && name.ends_with("_SUCCESS")).then(|| (name, meta.ino(), meta.mtime_nsec()))
    })
}

/// Looks at a folder again and again; what SUCCESS stood over something else.
fn watch(root: &Path, views: &[(String, Objects)], stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut looks, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
        let Some(before) = success(root) else { continue };
        let Some(files) = files(root) else { continue };
        if success(root).as_ref() != Some(&before) {
            continue;
        }
        looks += 1;
        let data: Objects = files.into_iter().filter(|(key, _)| !is_reserved(key) && !key.starts_with('.')).collect();
        if !views.iter().any(|(name, view)| *name == before.0 && *view == data) {
            wrong.push(format!("{} stands over {:?}", before.0, data.keys().collect::<Vec<_>>()));
        }
    }
    (looks, wrong)
}

/// One export killed, and then the same command; the folder is watched all the time.
fn killed(seed: u64, kill: impl FnOnce(&Bed, &mut Random)) {
    let mut random = Random::new(seed);
    let bed = Bed::new(fixed_commits(20), Place::Folder);
    let (base, next) = *random.pick(&[("A", "B"), ("B", "A"), ("C", "B"), ("A", "A2")]);
    bed.exported(Want::all(base), &[]);
    let root = PathBuf::from(bed.stage.destination().strip_prefix("file://").unwrap());
    let views: Vec<(String, Objects)> = ["A", "B", "C", "A2"]
        .into_iter()
        .map(|label| (crate::export::success(&bed.stage.lake.commit(label).id), bed.objects(Want::all(label))))
        .collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&root, &views, &stop));
        kill(&bed, &mut random);
        let victim = bed.stage.head();
        // The same, or the base again, or something else.
        let then = *random.pick(&[next, next, base, "C"]);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bed.exported(Want::all(then), &[])));
        stop.store(true, Ordering::SeqCst);
        let (looks, wrong) = watching.join().unwrap();
        assert!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n"));
        assert!(ended.is_ok(), "seed {seed}: {base} → {next} killed, then {then}; HEAD was {victim}");
        assert!(looks > 0, "nobody looked");
    });
    let temporary: Vec<_> =
        files(&root).unwrap().into_keys().filter(|key| key.contains(".tmp") || key.contains(".millrace")).collect();
    assert_eq!(temporary, Vec::<String>::new(), "seed {seed}");
    // What a kill left that came before its run had the lease is removed by the next run that has something to do.
    bed.exported(Want::all("D"), &[]);
    assert_eq!(left_over(&root), Vec::<PathBuf>::new(), "seed {seed}");
}

/// Files that never got their names, and folders of runs with nothing in them.
fn left_over(root: &Path) -> Vec<PathBuf> {
    let (mut left, mut folders) = (Vec::new(), vec![root.join("_millrace")]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        if folder.ends_with("_millrace/tmp") {
            left.extend(entries);
        } else if entries.is_empty() {
            left.push(folder);
        } else {
            folders.extend(entries.into_iter().filter(|path| path.is_dir()));
        }
    }
    left
}

#[test]
fn a_large_copy_that_is_killed_leaves_nothing_behind() {
    let large = vec![7; 6 << 20];
    let commit = Objects::from([("large".to_owned(), large), ("small".to_owned(), b"1".to_vec())]);
    let bed = Bed::at(vec![("A", commit)], Place::Bucket, Place::Folder);
    let root = PathBuf::from(bed.stage.destination().strip_prefix("file://").unwrap());
    bed.stage.server.fault(Rule::new(Target::on("GetObject"), Fault::StallBody { after: 4 << 20 }));
    let running = bed.export(Want::all("A"), &["--request-timeout", "30s"]).spawn();
    let begun = || -> u64 {
        let there = fs::read_dir(root.join("_millrace/tmp")).into_iter().flatten();
        there.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).max().unwrap_or_default()
    };
    super::two::until("it copies", || begun() > 1 << 20);
    running.kill();
    bed.stage.server.clear_faults();
    assert!(left_over(&root).len() > 1 || begun() > 1 << 20, "a kill leaves what was being written");
    bed.exported(Want::all("A"), &[]);
    assert_eq!(left_over(&root), Vec::<PathBuf>::new());
}

fn at_a_request(seed: u64) {
    killed(seed, |bed, random| {
        let victim = Victim::default();
        let server = &bed.stage.server;
        server.fault(Rule::new(Target::on("*").bucket("lake"), Fault::kill(&victim, Fate::Lost)).nth(1 + random.below(40)));
        let label = *random.pick(&["A", "B"]);
        let running = bed.export(Want::all(label), &["--full"]).spawn();
        victim.is(running.id());
        running.wait();
        server.clear_faults();
    });
}

fn at_an_instant(seed: u64) {
    killed(seed, |bed, random| {
        let label = *random.pick(&["A", "B"]);
        let running = bed.export(Want::all(label), &["--full"]).spawn();
        thread::sleep(Duration::from_millis(20 + random.below(250)));
        running.kill();
    });
}

#[test]
fn an_export_to_a_folder_is_killed() {
    let next = std::sync::atomic::AtomicU64::new(0);
    let many = rounds(14, 300);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= many {
                        break;
                    }
                    if seed.is_multiple_of(2) { at_a_request(seed) } else { at_an_instant(seed) }
                }
            });
        }
    });
}
