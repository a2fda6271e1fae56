//! Metadata of a lake that is damaged or gone: the file is named, and the place in it, whichever way it is read.

use std::{fs, path::PathBuf};

use millrace_tests::{
    lakefs::FakeLakefs,
    lakes::{Lake, TempLake},
    run::Millrace,
    s3::S3Server,
};

use super::{End, assert_no_writes, refused};

/// A lake one of whose files is spoiled, behind a bucket and a server that hands out what is in it.
struct Spoiled {
    lake: TempLake,
    s3: S3Server,
    server: FakeLakefs,
    /// The id of the spoiled file.
    id: String,
}

impl Spoiled {
    fn new(id: String, spoil: impl Fn(PathBuf)) -> Self {
        let lake = Lake::named("orders").temp_copy();
        spoil(lake.namespace().join("_lakefs").join(&id));
        let s3 = S3Server::with_buckets(&["dest"]);
        lake.load(&s3);
        s3.clear_log();
        let server = FakeLakefs::start(&lake);
        Self { lake, s3, server, id }
    }

    /// Every way to the lake refuses, and says the same of the file.
    #[track_caller]
    fn refused_by_every_way(&self, end: End, said: &[&str], help: &str) {
        let command = || Millrace::new().s3(&self.s3).lakefs(&self.server);
        let check = |url: &str| {
            for words in [&["export", url, "s3://dest/x"][..], &["plan", url, "s3://dest/x"]] {
                let refusal = refused(end, command, words).says(said).says(&[&format!("_lakefs/{}", self.id)]).helps(&[help]);
                assert_eq!(refusal.report["commit"], self.lake.commit("head").id.as_str());
            }
            let outcome = command().args(["ls", url]).run().expect_code(4);
            assert!(said.iter().all(|said| outcome.stderr.contains(said)), "{outcome}");
        };
        check(&self.lake.file_url("main"));
        check("lake+s3://lake/orders?ref=main");
        check("lakefs://orders/main");
        assert_no_writes(&self.s3);
    }
}

fn of_main() -> String {
    Lake::named("orders").commit("head").meta_range_id.clone()
}

/// The largest range of `main`; it has several blocks.
fn a_range() -> String {
    let lake = Lake::named("orders");
    let folder = lake.namespace().join("_lakefs");
    let metarange = fs::read(folder.join(of_main())).unwrap();
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    // Ranges are named in their metarange, in plain text.
    let named = |name: &str| metarange.windows(name.len()).any(|window| window == name.as_bytes());
    let mut ranges: Vec<_> = files.filter(|file| named(file.file_name().to_str().unwrap())).collect();
    ranges.sort_by_key(|file| std::cmp::Reverse((file.metadata().unwrap().len(), file.file_name())));
    ranges[0].file_name().into_string().unwrap()
}

fn flip(at: usize) -> impl Fn(PathBuf) {
    move |file| {
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn a_flipped_byte_in_a_range() {
    Spoiled::new(a_range(), flip(100)).refused_by_every_way(
        End::Corrupt,
        &["at byte 0: expected a block of", "with checksum", ", found "],
        "restore the file from a copy of the namespace",
    );
}

#[test]
fn a_flipped_byte_in_the_metarange() {
    Spoiled::new(of_main(), flip(100)).refused_by_every_way(
        End::Corrupt,
        &["at byte 0: expected a block of", "with checksum"],
        "restore the file from a copy of the namespace",
    );
}

#[test]
fn a_range_that_was_cut() {
    let cut = |file: PathBuf| {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    };
    Spoiled::new(a_range(), cut).refused_by_every_way(
        End::Corrupt,
        &["expected"],
        "restore the file from a copy of the namespace",
    );
}

#[test]
fn an_empty_range() {
    let empty = |file: PathBuf| fs::write(file, "").unwrap();
    Spoiled::new(a_range(), empty).refused_by_every_way(
        End::Corrupt,
        &["expected"],
        "restore the file from a copy of the namespace",
    );
}

#[test]
fn a_range_that_is_gone() {
    let gone = |file: PathBuf| fs::remove_file(file).unwrap();
    Spoiled::new(a_range(), gone).refused_by_every_way(
        End::Corrupt,
        &["expected a file, found none"],
        "garbage-collected are gone for good",
    );
}

#[test]
fn a_metarange_that_is_gone() {
    let gone = |file: PathBuf| fs::remove_file(file).unwrap();
    let spoiled = Spoiled::new(of_main(), gone);
    for url in [spoiled.lake.file_url("main"), "lake+s3://lake/orders?ref=main".to_owned(), "lakefs://orders/main".to_owned()] {
        let command = || Millrace::new().s3(&spoiled.s3).lakefs(&spoiled.server);
        refused(End::Corrupt, command, &["export", &url, "s3://dest/x"]).says(&[&spoiled.id]).helps(&["garbage-collected"]);
    }
    assert_no_writes(&spoiled.s3);
}

#[test]
fn a_damaged_range_that_a_plan_does_not_need_is_no_hindrance() {
    // `load` → `day4` opens two ranges; this is another one.
    let spoiled = Spoiled::new(a_range(), flip(100));
    let day4 = spoiled.lake.commit("day4").id.clone();
    let words = ["plan", &format!("lake+s3://lake/orders?ref={day4}"), "s3://dest/x", "--from", &spoiled.lake.commit("load").id];
    let outcome = Millrace::new().s3(&spoiled.s3).args(["--output", "json"]).args(words).run().expect_code(0);
    assert_eq!(outcome.json()["ranges"]["opened"], 2, "{outcome}");
    assert_no_writes(&spoiled.s3);
}
