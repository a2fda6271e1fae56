//! Options that mean nothing, and places that something else is at: refused, whether or not there is anything to do.

use std::fs;

use millrace_tests::{lakes::Lake, run::Millrace, s3::S3Server};
use serde_json::Value;
use tempfile::TempDir;

use super::{End, Untouched, refused};

/// A destination at rest, and the lake that it is of.
struct At {
    lake: Lake,
    folder: TempDir,
}

impl At {
    fn rest() -> Self {
        let at = Self { lake: Lake::named("orders").clone(), folder: tempfile::tempdir().unwrap() };
        Millrace::new().args(["export", &at.source(), &at.dest()]).run().expect_code(0);
        at
    }

    fn source(&self) -> String {
        self.lake.file_url("v1")
    }

    fn dest(&self) -> String {
        self.folder.path().join("dest").display().to_string()
    }
}

#[test]
fn options_that_mean_nothing() {
    let at = At::rest();
    let (source, dest, fresh) = (at.source(), at.dest(), at.folder.path().join("fresh").display().to_string());
    let rest = at.folder.path().join("dest");
    let untouched = Untouched::new(&rest);
    let table: [(&[&str], &str); 12] = [
        (&["--include", ""], "an empty glob"),
        (&["--exclude", ""], "an empty glob"),
        (&["--round", ""], "an empty glob"),
        (&["--where", ""], "the predicate"),
        (&["--where", "count(*) > 1"], "has count(), and it is asked of one object at a time"),
        (&["--where", "size > (SELECT 1)"], "predicate"),
        (&["--done-file", "_DONE", "--done-prefix", ""], "--done-prefix is empty"),
        (&["--done-file", "", "--done-prefix", ".*"], "--done-file `` is no name"),
        (&["--done-file", "..", "--done-prefix", ".*"], "--done-file `..` is no name"),
        (&["--done-file", "_DONE/", "--done-prefix", ".*"], "--done-file `_DONE/` is no name"),
        (&["--done-file", "_millrace", "--done-prefix", ".*"], "keeps for itself"),
        (&["--done-file", "EXPORT_x_SUCCESS", "--done-prefix", ".*"], "keeps for itself"),
    ];
    for (options, said) in table {
        for place in [&dest, &fresh] {
            let refusal = refused(End::Usage, Millrace::new, &[&["export", &source, place], options].concat()).says(&[said]);
            assert!(!refusal.report.to_string().contains("Expr"), "text for developers: {}", refusal.report);
        }
    }
    let ended = Millrace::new().args(["export", &source, &dest, "--lease-ttl", "1ms"]).run().expect_code(2);
    assert!(ended.stderr.contains("less than a second"), "{ended}");
    untouched.check();
    assert!(!at.folder.path().join("fresh").exists());
}

#[test]
fn a_plan_is_kept_neither_in_the_lake_nor_at_its_destination() {
    let at = At::rest();
    let (lake, dest, source) = (at.lake.namespace().display().to_string(), at.dest(), at.lake.file_url("v2"));
    let table = [
        (lake.clone(), "holds the lake itself"),
        (format!("{lake}/_lakefs/plan"), "lies inside the lake's own data"),
        (dest.clone(), "which the plan is for"),
        (format!("{dest}/plan"), "which the plan is for"),
    ];
    let rest = at.folder.path().join("dest");
    let untouched = Untouched::new(&rest);
    for (into, said) in &table {
        refused(End::Guard, Millrace::new, &["plan", &source, &dest, "-o", into]).says(&[said]).helps(&["with -o"]);
    }
    untouched.check();
    let server = S3Server::with_buckets(&["plans"]);
    server.put("plans", "theirs/notes.txt", "not ours", None, &[]);
    let s3 = || Millrace::new().s3(&server);
    let words = |into: &'static str| ["plan", source.as_str(), dest.as_str(), "-o", into];
    refused(End::Usage, s3, &words("s3://plans/theirs")).says(&["s3://plans/theirs holds files and no plan"]);
    // An older plan makes way for a newer one.
    for _ in 0..2 {
        s3().args(words("s3://plans/ours")).run().expect_code(0);
    }
    s3().args(["apply", "s3://plans/ours"]).run().expect_code(0);
}

#[test]
fn a_folder_where_millrace_keeps_a_file() {
    let at = At::rest();
    let own = at.folder.path().join("dest/_millrace");
    let (source, dest) = (at.lake.file_url("v2"), at.dest());
    for name in ["HEAD.json", "lock"] {
        let _ = fs::remove_file(own.join(name));
        fs::create_dir(own.join(name)).unwrap();
        refused(End::Guard, Millrace::new, &["export", &source, &dest])
            .says(&[&format!("_millrace/{name} is a folder, and Millrace's own file must be there")])
            .helps(&["move it away"]);
        fs::remove_dir(own.join(name)).unwrap();
    }
    fs::remove_dir_all(own.join("tmp")).unwrap();
    fs::write(own.join("tmp"), "").unwrap();
    refused(End::Guard, Millrace::new, &["export", &source, &dest]).says(&["_millrace/tmp is a file"]).helps(&["move it away"]);
}

#[test]
fn in_the_background_there_may_be_nothing_to_do() {
    let at = At::rest();
    let (source, dest) = (at.source(), at.dest());
    let head: Value = serde_json::from_slice(&fs::read(at.folder.path().join("dest/_millrace/HEAD.json")).unwrap()).unwrap();
    let run = head["current"]["run"].as_str().unwrap();
    let ended = Millrace::new().args(["export", &source, &dest, "--detach"]).run().expect_code(0);
    assert_eq!(ended.stdout, format!("{run}\n"), "{ended}");
    let ended = Millrace::new().args(["--output", "json", "export", &source, &dest, "--detach"]).run().expect_code(0);
    assert_eq!((&ended.json()["run"], &ended.json()["state"]), (&head["current"]["run"], &"succeeded".into()), "{ended}");
    Millrace::new().args(["wait", &dest, run]).run().expect_code(0);
}

#[test]
fn the_destination_as_its_own_status_path_is_none() {
    let at = At::rest();
    let (source, dest) = (at.lake.file_url("v2"), at.dest());
    Millrace::new().args(["export", &source, &dest, "--status-path", &dest]).run().expect_code(0);
    let ended = Millrace::new().args(["--output", "json", "export", &source, &dest]).run().expect_code(0);
    assert_eq!(ended.json()["rounds"], serde_json::json!([]), "one and the same: {ended}");
    Millrace::new().args(["verify", &dest]).run().expect_code(0);
}
