//! Filters, rounds, URLs and options that cannot be meant.

use millrace_tests::{lakes::Lake, run::Millrace};
use serde_json::json;

use super::{End, assert_no_writes, in_a_bucket, refused};

const CONDITION: &str = "it is a SQL condition over key, size, etag, mtime, content_type and metadata, such as";

/// An export and a plan with these options are refused before anything is asked of the destination's store.
#[track_caller]
fn options(given: &[&str], said: &[&str], help: &str) {
    let (s3, _, url) = in_a_bucket("orders");
    for verb in ["export", "plan"] {
        let source = format!("{url}?ref=main");
        let mut words = vec![verb, &source, "s3://dest/x"];
        words.extend(given);
        refused(End::Usage, || Millrace::new().s3(&s3), &words).says(said).helps(&[help]);
    }
    assert_no_writes(&s3);
}

#[test]
fn a_predicate_that_is_no_sql() {
    options(&["--where", "size <"], &["the predicate `size <` cannot be used", "Expected: an expression"], CONDITION);
    options(&["--where", "size > 1; DROP TABLE x"], &["the predicate `size > 1; DROP TABLE x` cannot be used"], CONDITION);
    options(&["--where", ""], &["the predicate `` cannot be used"], CONDITION);
}

#[test]
fn a_predicate_over_columns_that_are_not_there() {
    options(
        &["--where", "nope = 1"],
        &["the predicate `nope = 1` cannot be used", "nope", "key, size, etag, mtime, content_type, metadata"],
        CONDITION,
    );
    options(&["--where", "path = 'x'"], &["the predicate `path = 'x'` cannot be used"], CONDITION);
}

#[test]
fn a_predicate_that_is_not_the_same_each_time() {
    for call in ["random", "uuid"] {
        let predicate = format!("length({call}()::text) > 3");
        options(
            &["--where", &predicate],
            &[&format!("the predicate `{predicate}` calls {call}(), which answers anew each time")],
            "select by what the entries say",
        );
    }
}

#[test]
fn a_predicate_that_is_no_condition() {
    for (predicate, why) in [
        ("size + 1", "is not a condition: it does not yield true or false"),
        ("key", "is not a condition: it does not yield true or false"),
        ("count(*) > 1", "has count(), and it is asked of one object at a time"),
        ("size IN (SELECT 1)", "has a query inside, and it is asked of one object at a time"),
        ("key < 3 + 'x'", "cannot be used"),
    ] {
        options(&["--where", predicate], &[&format!("the predicate `{predicate}` {why}")], CONDITION);
    }
}

#[test]
fn a_predicate_that_fails_on_an_entry() {
    options(&["--where", "size / 0 > 1"], &["the predicate `size / 0 > 1` fails on an object: ", "Divide by zero"], CONDITION);
}

#[test]
fn a_glob_that_cannot_be_read() {
    let help = "`*` and `?` match within a segment, `**` across segments";
    for (option, glob) in [("--include", "a["), ("--exclude", "{a,b"), ("--round", "[z-a]")] {
        options(&[option, glob], &[&format!("the glob `{glob}` cannot be read: ")], help);
    }
    options(&["--round", "sql:nope = 1"], &["the predicate `nope = 1` cannot be used"], CONDITION);
    options(&["--round", "sql:random() > 1"], &["calls random()"], "select by what the entries say");
}

#[test]
fn a_marker_template_that_names_no_marker() {
    let (s3, _, url) = in_a_bucket("orders");
    for template in ["x", "EXPORT_{state}", "EXPORT_{commit}", "a/EXPORT_{commit}_{state}", "EXPORT_{commit}_{nope}_{state}"] {
        let words = ["export", &format!("{url}?ref=main"), "s3://dest/x", "--marker-template", template];
        refused(End::Usage, || Millrace::new().s3(&s3), &words)
            .says(&[&format!("the marker template `{template}` does not name status markers")])
            .helps(&["it begins with EXPORT_, ends in _{state}, holds {commit}"]);
    }
    assert_no_writes(&s3);
}

#[test]
fn a_scheme_that_is_not_known() {
    let lake = Lake::named("orders");
    let main = lake.file_url("main");
    for verb in ["export", "plan"] {
        refused(End::Usage, Millrace::new, &[verb, &main, "ftp://host/x"])
            .says(&["`ftp://host/x`: `ftp://` is not a kind of store that is known here"])
            .helps(&["use s3://, gs://, az://, file://, memory:// or a plain path"]);
        refused(End::Usage, Millrace::new, &[verb, "lake+ftp://host/x?ref=main", "memory://x"])
            .says(&["`lake+ftp://host/x?ref=main`", "`ftp://` is not a kind of store"]);
    }
    refused(End::Usage, Millrace::new, &["export", &main, "s3://"])
        .says(&["`s3://` names no bucket"])
        .helps(&["s3://BUCKET/PREFIX"]);
    refused(End::Usage, Millrace::new, &["export", &main, ""])
        .says(&["an empty location"])
        .helps(&["a URL such as s3://bucket/prefix"]);
    refused(End::Usage, Millrace::new, &["ls", "lake+https://host/x?ref=main"])
        .says(&["cannot be read over https://"])
        .helps(&["lakefs://REPO/REF"]);
}

#[test]
fn an_address_of_a_lake_that_is_none() {
    for (url, said, help) in [
        ("orders", "`orders` is no lake", "lakefs://REPO/REF"),
        ("lakefs://", "names no repository", "lakefs://REPO/REF"),
        ("lakefs://orders", "names no branch, tag or commit", "lakefs://orders/REF"),
        ("lakefs://orders//x", "names a prefix, but no branch, tag or commit", "lakefs://REPO/REF"),
        ("lakefs://orders/main?x=1", "a lakefs:// URL has no parameters", "lakefs://REPO/REF"),
        ("lake+s3://lake/orders", "names no branch, tag or commit", "?ref=REF"),
        (
            "lake+s3://lake/orders?reff=main",
            "the parameter `reff` is not known",
            "ref=REF, prefix=PREFIX, dump=FILE and metarange=ID",
        ),
        ("lake+s3://lake/orders?ref", "`ref` is no parameter", "ref=REF"),
        ("lake+s3://lake/orders?ref=a&ref=b", "says `ref` twice", "keep one"),
        ("lake+s3://lake/orders?ref=a&metarange=b", "names a metarange and a way to look for one", "not both"),
        ("lake+orders?ref=main", "names no kind of store", "lake+s3://BUCKET"),
    ] {
        refused(End::Usage, Millrace::new, &["ls", url]).says(&[said, url]).helps(&[help]);
    }
    refused(End::Usage, Millrace::new, &["export", "orders", "memory://x"])
        .says(&["`orders` is no lake"])
        .helps(&["lakefs://orders/REF", "--branch or --commit-id"]);
}

/// What clap itself refuses: the text is clap's, the JSON is an error object.
#[track_caller]
fn usage(words: &[&str], said: &str) {
    let shown = Millrace::new().args(words).run().expect_code(2);
    assert_eq!(shown.stdout, "", "{shown}");
    assert!(shown.stderr.starts_with("error: ") && shown.stderr.contains(said), "{shown}");
    assert!(shown.stderr.contains("--help"), "{shown}");
    let outcome = Millrace::new().args(["--output", "json"]).args(words).run().expect_code(2);
    let error = &outcome.json()["error"];
    assert_eq!(error["kind"], json!("usage"), "{outcome}");
    assert!(error["message"].as_str().unwrap().contains(said), "{outcome}");
    assert!(error["help"].as_str().unwrap().contains("--help"), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn words_that_no_command_knows() {
    usage(&["export", "lakefs://a/b", "s3://x", "--frobnicate"], "unexpected argument '--frobnicate'");
    usage(&["exprot", "lakefs://a/b", "s3://x"], "unrecognized subcommand 'exprot'");
    usage(&["export", "lakefs://a/b"], "<DEST>");
    usage(&["export", "lakefs://a/b", "s3://x", "s3://y"], "unexpected argument 's3://y'");
    usage(&["export", "lakefs://a/b", "s3://x", "--from", "a", "--full"], "cannot be used with");
    usage(&["export", "lakefs://a/b", "s3://x", "--preset", "nope"], "invalid value 'nope'");
    usage(&["export", "lakefs://a/b", "s3://x", "--concurrency", "0"], "use a number from 1 to 10000, or auto");
    usage(&["export", "lakefs://a/b", "s3://x", "--max-delete", "101%"], "use 0% to 100%");
    usage(&["export", "lakefs://a/b", "s3://x", "--max-delete", "lots"], "use a number of objects (1000) or a share (25%)");
    usage(&["export", "lakefs://a/b", "s3://x", "--timeout", "soon"], "write 30s, 10m or 1h");
    usage(&["ls"], "<LAKE>");
    let none = Millrace::new().run().expect_code(2);
    assert!(none.stderr.contains("Usage:") && none.stdout.is_empty(), "{none}");
}

#[test]
fn the_spark_exporters_words_do_not_contradict_ours() {
    let refusal = refused(End::Usage, Millrace::new, &["export", "lakefs://orders/main", "memory://x", "--branch", "dev"]);
    refusal.says(&["`lakefs://orders/main` names `main`, and --branch names `dev`"]).helps(&["leave --branch away"]);
    usage(&["export", "orders", "memory://x", "--branch", "a", "--commit-id", "b"], "cannot be used with");
    usage(&["export", "orders", "memory://x", "--branch", "a", "--full", "--prev-commit-id", "b"], "cannot be used with");
}
