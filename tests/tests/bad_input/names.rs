//! Names that mean nothing: repositories, refs, prefixes, lakes, refs dumps.

use millrace_tests::{lakefs::FakeLakefs, lakes::Lake, run::Millrace};
use serde_json::Value;

use super::{End, Untouched, assert_no_writes, in_a_bucket, refused};

#[test]
fn a_repository_that_is_not_on_the_server() {
    let (s3, lake, _) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    for words in
        [&["export", "lakefs://absent/main", "s3://dest/x"][..], &["ls", "lakefs://absent/main"], &["refs", "lakefs://absent"]]
    {
        let place = server.endpoint();
        refused(End::Usage, command, words)
            .says(&[&format!("repository `absent` is not on the lakeFS server at {place}"), "not found"])
            .helps(&["check the name (`lakectl repo list`)", "endpoint"]);
    }
    assert_no_writes(&s3);
}

#[test]
fn a_ref_that_is_not_in_the_lake() {
    let (s3, lake, bucket) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    let by_server = ["export", "lakefs://orders/nope", "s3://dest/x"];
    refused(End::Usage, command, &by_server)
        .says(&["`nope` is no branch, tag or commit of repository `orders`"])
        .helps(&["`millrace refs lakefs://orders` lists branches and tags"]);
    let folder = lake.file_url("nope");
    for url in [&format!("{bucket}?ref=nope"), &folder] {
        for words in
            [&["export", url.as_str(), "s3://dest/x"][..], &["plan", url, "s3://dest/x"], &["ls", url], &["cat", url, "k"]]
        {
            let place = url.trim_start_matches("lake+").trim_end_matches("?ref=nope");
            refused(End::Usage, command, words)
                .says(&["`nope` is no branch, tag or commit of the lake at", place])
                .helps(&["`millrace refs` lists branches and tags", "before the next dump"]);
        }
    }
    assert_no_writes(&s3);
}

#[test]
fn a_step_that_leads_nowhere() {
    let (s3, lake, bucket) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    for (reference, said, help) in [
        ("main~99", "`main~99` goes back past the first commit, which is 6 steps back", "`millrace log` lists the commits"),
        (
            "main^2",
            "`main^2`: commit c0ff4cf3370d6816ac5f3db6fb8f812ebab3a778ea1a4ea9cac8b12c481d1b07 has 1 parent",
            "`^N` counts parents from 1",
        ),
        ("v1@", "`v1@`: `v1` is no branch, and `@` is for branches", "leave out the `@`"),
        ("main~x", "`main~x` is no reference: `x` after `~` is no number", "write a branch, a tag or a commit"),
    ] {
        let words = ["export", &format!("{bucket}?ref={reference}"), "s3://dest/x"];
        refused(End::Usage, command, &words).says(&[said]).helps(&[help]);
    }
    for reference in ["main~99", "main^2", "main~x"] {
        refused(End::Usage, command, &["export", &lake.server_url(reference), "s3://dest/x"]).says(&[reference]);
    }
    assert_no_writes(&s3);
}

#[test]
fn the_beginning_of_more_than_one_commit() {
    // Two commits of this lake begin with the same two digits.
    let lake = Lake::named("churn");
    let first: Vec<_> = lake.info.commits.values().map(|commit| commit.id[..1].to_owned()).collect();
    let twice = first.iter().find(|digit| first.iter().filter(|other| other == digit).count() > 1).unwrap();
    let refusal = refused(End::Usage, Millrace::new, &["ls", &lake.file_url(twice)]);
    refusal.says(&[&format!("`{twice}` is the beginning of more than one commit: ")]).helps(&["write more digits"]);
}

#[test]
fn a_base_that_is_not_in_the_lake() {
    let (s3, _, bucket) = in_a_bucket("orders");
    let words = ["export", &format!("{bucket}?ref=main"), "s3://dest/x", "--from", "nope"];
    refused(End::Usage, || Millrace::new().s3(&s3), &words).says(&["the base of the export: `nope` is no branch, tag or commit"]);
    assert_no_writes(&s3);
}

#[test]
fn a_prefix_below_which_the_commit_has_nothing() {
    let (s3, lake, bucket) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    let urls = [
        format!("{bucket}?ref=main&prefix=tabl"),
        format!("{}&prefix=tabl", lake.file_url("main")),
        lake.server_url("main/tabl"),
    ];
    for url in &urls {
        let commit = &lake.commit("head").id[..12];
        for verb in ["export", "plan"] {
            refused(End::Usage, command, &[verb, url, "s3://dest/x"])
                .says(&[&format!("commit {commit} has nothing at `tabl`")])
                .helps(&["prefixes match whole segments", "millrace ls"]);
        }
        refused(End::Usage, command, &["ls", url]).says(&["there is nothing at `tabl` in", url]).helps(&["never foobar"]);
    }
    assert_no_writes(&s3);
}

#[test]
fn a_place_where_no_lake_is() {
    let (s3, _, _) = in_a_bucket("orders");
    let folder = tempfile::tempdir().unwrap();
    let command = || Millrace::new().s3(&s3);
    let empty = format!("lake+file://{}?ref=main", folder.path().display());
    for (url, place) in [(empty.as_str(), folder.path().to_str().unwrap()), ("lake+s3://lake/none?ref=main", "s3://lake/none")] {
        refused(End::Unreachable, command, &["export", url, "s3://dest/x"])
            .says(&["there is no lake at", place, "nothing lies below _lakefs/"])
            .helps(&["`lakectl repo list`", "bucket"]);
    }
    refused(End::Unreachable, command, &["export", "lake+s3://absent/orders?ref=main", "s3://dest/x"])
        .says(&["s3://absent/orders"]);
    assert_no_writes(&s3);
}

#[test]
fn a_namespace_without_a_refs_manifest() {
    let copy = Lake::named("orders").temp_copy();
    std::fs::remove_file(copy.namespace().join("_lakefs/refs_manifest.json")).unwrap();
    let untouched = Untouched::new(copy.dir());
    let (s3, _, bucket) = in_a_bucket("orders");
    s3.delete("lake", "orders/_lakefs/refs_manifest.json");
    for url in [copy.file_url("main"), format!("{bucket}?ref=main")] {
        let place = url.trim_start_matches("lake+").trim_end_matches("?ref=main");
        for words in [&["export", url.as_str(), "s3://dest/x"][..], &["refs", &url], &["log", &url]] {
            // How to make one, and that the command which looks as if it did does not.
            refused(End::Unreachable, || Millrace::new().s3(&s3), words)
                .says(&[&format!("the lake at {place} has no refs dump (_lakefs/refs_manifest.json)")])
                .helps(&[
                    "let the server write a new dump: `curl -u KEY:SECRET -X PUT https://LAKEFS/api/v1/repositories/REPO/refs/dump`",
                    "`lakectl refs-dump` leaves no manifest in the namespace",
                    "?dump=FILE",
                ]);
        }
    }
    assert_no_writes(&s3);
    untouched.check();
}

#[test]
fn a_refs_manifest_that_is_none() {
    let copy = Lake::named("orders").temp_copy();
    for broken in ["{", "[]", "{\"commits_meta_range_id\": \"xyz\"}"] {
        std::fs::write(copy.namespace().join("_lakefs/refs_manifest.json"), broken).unwrap();
        refused(End::Corrupt, Millrace::new, &["export", &copy.file_url("main"), "memory://x"])
            .says(&[&format!("file://{}/_lakefs/refs_manifest.json", copy.namespace().display()), "expected"])
            .helps(&["let the server write a new dump", "refs/dump"]);
    }
}

#[test]
fn a_commit_that_is_newer_than_the_dump() {
    let (s3, _, bucket) = in_a_bucket("orders");
    let absent = "ab".repeat(32);
    let words = ["export", &format!("{bucket}?ref={absent}"), "s3://dest/x"];
    refused(End::Unreachable, || Millrace::new().s3(&s3), &words)
        .says(&[
            &format!("commit {absent} is not in the refs dump of "),
            " UTC of the lake at s3://lake/orders",
            "made while the dump was written, or later",
        ])
        .helps(&["let the server write a new dump", "/refs/dump"]);
    let server = FakeLakefs::start(&Lake::named("orders"));
    let words = ["export", &format!("lakefs://orders/{absent}"), "s3://dest/x"];
    refused(End::Usage, || Millrace::new().s3(&s3).lakefs(&server), &words)
        .says(&[&format!("`{absent}` is no branch, tag or commit")]);
    assert_no_writes(&s3);
}

#[test]
fn a_dump_that_is_none_or_is_not_there() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.json");
    let url = format!("{}&dump={}", lake.file_url("main"), file.display());
    refused(End::Usage, Millrace::new, &["export", &url, "memory://x"])
        .says(&[&format!("the refs dump `{}` cannot be read", file.display())])
        .helps(&["save what `lakectl refs-dump lakefs://REPO` prints"]);
    std::fs::write(&file, "{\"branches\": 3}").unwrap();
    refused(End::Usage, Millrace::new, &["export", &url, "memory://x"])
        .says(&[&format!("`{}` is no refs dump", file.display())])
        .helps(&["save what `lakectl refs-dump lakefs://REPO` prints"]);
    // A dump of another lake names tables that are not here.
    let other: Value =
        serde_json::from_slice(&std::fs::read(Lake::named("delta").namespace().join("_lakefs/refs_manifest.json")).unwrap())
            .unwrap();
    std::fs::write(&file, other.to_string()).unwrap();
    refused(End::Corrupt, Millrace::new, &["export", &url, "memory://x"]).says(&["expected a file, found none in the store"]);
}

#[test]
fn a_metarange_that_is_none_or_is_not_there() {
    let lake = Lake::named("orders");
    let url = |id: &str| format!("lake+file://{}?metarange={id}", lake.namespace().display());
    refused(End::Usage, Millrace::new, &["export", &url("00"), "memory://x"])
        .says(&["`00` is no metarange: an id has 64 digits"])
        .helps(&["--show-meta-range-id"]);
    let absent = "ab".repeat(32);
    refused(End::Usage, Millrace::new, &["export", &url(&absent), "memory://x"])
        .says(&[&format!("the lake at file://{} has no metarange {absent}", lake.namespace().display())])
        .helps(&["check the id and the namespace"]);
}
