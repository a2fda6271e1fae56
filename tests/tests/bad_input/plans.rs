//! Plans that cannot be applied, and destinations whose own documents are damaged: refused, with the file named and nothing
//! changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use millrace_tests::{lakes::Lake, run::Millrace, tree::edited};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{End, Untouched, refused};

/// Runs a command that must succeed.
#[track_caller]
fn run(words: &[&str]) {
    Millrace::new().args(words).run().expect_code(0);
}

/// A destination in a folder that holds `load` of `orders`, and a plan for `day4`.
struct Made {
    lake: Lake,
    folder: TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { lake: Lake::named("orders"), folder: tempfile::tempdir().unwrap() };
        run(&["export", &made.lake.file_url("v1"), &made.at("dest")]);
        run(&["plan", &made.lake.file_url("v2"), &made.at("dest"), "-o", &made.at("plan")]);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn plan_json(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("plan/plan.json")).unwrap()).unwrap()
    }

    fn change_plan(&self, change: impl FnOnce(&mut Value)) {
        let mut plan = self.plan_json();
        change(&mut plan);
        fs::write(self.path("plan/plan.json"), edited(&plan)).unwrap();
    }

    /// A shard of the plan's copies.
    fn shard(&self) -> (String, PathBuf) {
        let plan = self.plan_json();
        let file = plan["rounds"][1]["steps"][0]["shards"][0]["file"].as_str().unwrap().to_owned();
        (file.clone(), self.path("plan").join(file))
    }

    /// The plan is refused, and the destination stays as it is.
    #[track_caller]
    fn refuses(&self, end: End, said: &[&str], help: &str) {
        let dest = self.path("dest");
        let untouched = Untouched::new(&dest);
        refused(end, Millrace::new, &["apply", &self.at("plan")]).says(said).helps(&[help]);
        untouched.check();
    }
}

#[test]
fn a_plan_of_another_format_version() {
    let made = Made::new();
    made.change_plan(|plan| {
        plan["format"] = json!(7);
        plan["millrace"] = json!("9.9.9");
    });
    let said = format!("the plan file://{} has format 7 (written by millrace 9.9.9); this is millrace ", made.at("plan"));
    made.refuses(End::Usage, &[&said, "which reads format 1"], "make the plan again with this version");
    let words = ["sql", &made.at("plan"), "SELECT 1"];
    refused(End::Usage, Millrace::new, &words).says(&["has format 7"]).helps(&["make the plan again"]);
}

#[test]
fn a_plan_that_is_none() {
    let made = Made::new();
    for broken in ["", "{", "[]", "{\"format\": \"one\"}", "{}", "{\"format\": 1}"] {
        fs::write(made.path("plan/plan.json"), broken).unwrap();
        made.refuses(End::Usage, &["plan.json", &made.at("plan")], "make the plan again");
    }
    fs::remove_file(made.path("plan/plan.json")).unwrap();
    let said = format!("file://{} is no plan: it has no plan.json", made.at("plan"));
    made.refuses(End::Usage, &[&said], "give the folder that `millrace plan -o` wrote");
}

#[test]
fn a_plan_whose_destination_has_moved_on() {
    let made = Made::new();
    run(&["export", &made.lake.file_url("dev"), &made.at("dest")]);
    let load = format!("it was made for _millrace/receipts/00000001-{}", made.lake.commit("load").id);
    let dev = format!("and there is _millrace/receipts/00000002-{}", made.lake.commit("dev-site").id);
    let said = format!("file://{}/ has moved on since the plan was made", made.at("dest"));
    made.refuses(End::Guard, &[&said, &load, &dev], "make the plan again");
    let forced = ["apply", &made.at("plan"), "--force"];
    refused(End::Guard, Millrace::new, &forced).says(&["has moved on"]);
}

#[test]
fn a_plan_for_a_destination_that_is_empty_by_now() {
    let made = Made::new();
    fs::remove_dir_all(made.path("dest")).unwrap();
    refused(End::Guard, Millrace::new, &["apply", &made.at("plan")])
        .says(&["has moved on", "and there is nothing"])
        .helps(&["make the plan again"]);
    assert!(!made.path("dest").exists());
}

#[test]
fn a_plan_shard_that_was_changed_cut_or_lost() {
    let made = Made::new();
    let (name, file) = made.shard();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &[]] {
        fs::write(&file, damaged).unwrap();
        made.refuses(
            End::Usage,
            &[&format!("{name} was changed since the plan was made")],
            "a plan is applied exactly as it was made: make it again",
        );
    }
    fs::remove_file(&file).unwrap();
    made.refuses(End::Usage, &[&format!("{name} is missing")], "make it again");
    fs::write(&file, whole).unwrap();
    run(&["apply", &made.at("plan")]);
}

#[test]
fn a_plan_that_names_files_elsewhere() {
    let made = Made::new();
    for name in ["../../etc/passwd", "/etc/passwd", "round-1/../../x.parquet", "round-1/x.csv"] {
        made.change_plan(|plan| plan["rounds"][1]["steps"][0]["shards"][0]["file"] = json!(name));
        made.refuses(End::Usage, &["has a name that no plan gives"], "make it again");
    }
}

/// HEAD is spoiled: every verb that needs it refuses and names it.
#[track_caller]
fn head(made: &Made, body: &str, end: End, said: &str, help: &str) {
    let dest = made.path("dest");
    fs::write(dest.join("_millrace/HEAD.json"), body).unwrap();
    let untouched = Untouched::new(&dest);
    let (source, dest_url, plan) = (made.lake.file_url("v2"), made.at("dest"), made.at("plan"));
    for words in [&["export", source.as_str(), dest_url.as_str()][..], &["plan", &source, &dest_url], &["apply", &plan]] {
        refused(end, Millrace::new, words).says(&[&format!("file://{dest_url}/_millrace/HEAD.json"), said]).helps(&[help]);
    }
    untouched.check();
}

#[test]
fn a_mangled_head() {
    let made = Made::new();
    for (body, said) in [
        ("", "cannot be understood"),
        ("{\"format\": 1,", "cannot be understood"),
        ("not JSON", "cannot be understood"),
        ("[]", "cannot be understood"),
        ("{\"format\": 1}", "cannot be understood: missing field"),
        ("{\"format\": \"1\"}", "cannot be understood"),
    ] {
        head(&made, body, End::Corrupt, said, "move `_millrace/` aside and export with --full");
    }
}

#[test]
fn a_head_of_another_format_version() {
    let made = Made::new();
    head(
        &made,
        "{\"format\": 9}",
        End::Usage,
        "has format 9; this is millrace ",
        "use the version that exported here last, or a newer one",
    );
}

#[test]
fn a_head_that_names_a_receipt_which_is_gone() {
    let made = Made::new();
    let receipts = made.path("dest/_millrace/receipts");
    fs::remove_dir_all(&receipts).unwrap();
    // Whoever needs the receipts is told which one is missing: a run as well, before it changes anything.
    let words = ["sql", &made.at("dest"), "SELECT count(*) FROM receipts"];
    refused(End::Corrupt, Millrace::new, &words).says(&["_millrace/receipts/00000001-"]);
    let head = || serde_json::from_slice::<Value>(&fs::read(made.path("dest/_millrace/HEAD.json")).unwrap()).unwrap();
    let before = head();
    refused(End::Corrupt, Millrace::new, &["apply", &made.at("plan")])
        .says(&["_millrace/receipts/00000001-", "receipt.json is missing"])
        .helps(&["--full"]);
    let after = head();
    assert_eq!((&after["current"], &after["unfinished"]), (&before["current"], &before["unfinished"]), "no run was begun");
    // The remedy is one.
    run(&["export", &made.lake.file_url("v2"), &made.at("dest"), "--full"]);
    run(&["verify", &made.at("dest"), "--against", &made.lake.file_url("v2")]);
}

#[test]
fn the_plan_of_an_unfinished_run_that_is_damaged_or_gone() {
    let made = Made::new();
    // A run that fails in its first round leaves its plan behind.
    let copy = made.lake.temp_copy();
    let object =
        copy.objects("day4").into_iter().find(|object| object.path.ends_with("dt=2026-01-04/part-00000.parquet")).unwrap();
    let file = copy.namespace().join(object.physical_address.strip_prefix("s3://lake/orders/").unwrap());
    fs::remove_file(file).unwrap();
    let dest = made.at("fresh");
    Millrace::new().args(["export", &copy.file_url("v2"), &dest]).run().expect_code(1);
    let run = only_entry(&made.path("fresh/_millrace/runs"));
    let plan = run.join("plan/plan.json");
    let whole = fs::read(&plan).unwrap();
    for body in [&b"{}"[..], b""] {
        fs::write(&plan, body).unwrap();
        unfinished(&made, &copy.file_url("v2"), &run);
    }
    fs::remove_file(&plan).unwrap();
    unfinished(&made, &copy.file_url("v2"), &run);
    fs::write(&plan, whole).unwrap();
}

#[track_caller]
fn unfinished(made: &Made, source: &str, run: &Path) {
    let dest = made.path("fresh");
    let untouched = Untouched::new(&dest);
    let id = run.file_name().unwrap().to_str().unwrap();
    refused(End::Corrupt, Millrace::new, &["export", source, &made.at("fresh")])
        .says(&[&format!("the plan of the unfinished run {id} cannot be used"), "plan.json"])
        .helps(&["or export with --full"]);
    untouched.check();
}

fn only_entry(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    let first = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "one run was made");
    first
}

#[test]
fn a_place_where_no_plan_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("none").display().to_string();
    refused(End::Usage, Millrace::new, &["apply", &at])
        .says(&[&format!("file://{at} is no plan: it has no plan.json")])
        .helps(&["millrace plan -o"]);
    let s3 = millrace_tests::s3::S3Server::with_buckets(&["plans"]);
    refused(End::Usage, || Millrace::new().s3(&s3), &["apply", "s3://plans/none"]).says(&["s3://plans/none is no plan"]);
    refused(End::Unreachable, || Millrace::new().s3(&s3), &["apply", "s3://absent/none"])
        .says(&["s3://absent/none is not there"]);
}

#[test]
fn receipts_that_lost_their_rows() {
    let made = Made::new();
    let dest = made.at("dest");
    run(&["export", &made.lake.file_url("v2"), &dest]);
    let damaged = |said: &[&str]| {
        let report = Millrace::new().args(["--output", "json", "verify", &dest]).run().expect_code(4).json();
        let (message, help) = (report["error"]["message"].as_str().unwrap(), report["error"]["help"].as_str().unwrap());
        assert!(said.iter().all(|part| message.contains(part)), "{message}");
        assert!(help.contains("--full"), "{help}");
    };
    let receipts = made.path("dest/_millrace/receipts");
    let folders: Vec<PathBuf> = fs::read_dir(&receipts).unwrap().map(|one| one.unwrap().path()).collect();
    for folder in &folders {
        let file = folder.join("changes.parquet");
        let before = fs::read(&file).unwrap();
        let other = folders.iter().find(|one| *one != folder).unwrap().join("changes.parquet");
        fs::copy(other, &file).unwrap();
        damaged(&["changes.parquet is not what was written: it has", "bytes with SHA-256"]);
        fs::remove_file(&file).unwrap();
        damaged(&["changes.parquet is missing"]);
        fs::write(&file, before).unwrap();
    }
    let newest = folders.iter().max().unwrap().join("receipt.json");
    let before = fs::read(&newest).unwrap();
    let mut cut: Value = serde_json::from_slice(&before).unwrap();
    cut["previous"] = Value::Null;
    fs::write(&newest, edited(&cut)).unwrap();
    damaged(&["names no receipt before it"]);
    fs::write(&newest, before).unwrap();
    run(&["verify", &dest]);
}

#[test]
fn a_destination_that_was_moved_after_its_run_failed() {
    let made = Made::new();
    let copy = made.lake.temp_copy();
    let object = copy.objects("day4").into_iter().find(|o| o.path.ends_with("dt=2026-01-04/part-00000.parquet")).unwrap();
    let file = copy.namespace().join(object.physical_address.strip_prefix("s3://lake/orders/").unwrap());
    let bytes = fs::read(&file).unwrap();
    let (old, new) = (made.at("old"), made.at("new"));
    fs::remove_file(&file).unwrap();
    Millrace::new().args(["export", &copy.file_url("v2"), &old]).run().expect_code(1);
    fs::rename(&old, &new).unwrap();
    fs::write(&file, bytes).unwrap();
    run(&["export", &copy.file_url("v2"), &new]);
    assert!(!made.path("old").exists(), "nothing is written to where it was");
    run(&["verify", &new, "--against", &copy.file_url("v2")]);
}

#[test]
fn a_status_path_for_a_destination_that_has_its_own() {
    let made = Made::new();
    let (data, status) = (made.at("data"), made.at("status"));
    let (old, new) = (made.lake.file_url("v1"), made.lake.file_url("v2"));
    run(&["export", &old, &data, "--status-path", &status]);
    run(&["export", &new, &data]);
    for words in [
        &["export", &old, &data, "--status-path", &status][..],
        &["plan", &new, &data, "--status-path", &status, "-o", &made.at("p")],
    ] {
        refused(End::Guard, Millrace::new, words).says(&["has its own _millrace/HEAD.json"]);
    }
}

#[test]
fn a_plan_is_not_written_over_other_files() {
    let made = Made::new();
    let (own, source, dest) = (made.path("own"), made.lake.file_url("v2"), made.at("dest"));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("plan.json"), "{\"mine\": true}").unwrap();
    let untouched = Untouched::new(&own);
    refused(End::Usage, Millrace::new, &["plan", &source, &dest, "-o", &made.at("own")]).says(&["holds files and no plan"]);
    untouched.check();
    run(&["plan", &source, &dest, "-o", &made.at("plan")]);
    run(&["apply", &made.at("plan")]);
}
