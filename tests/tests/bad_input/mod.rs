//! Bad input through the binary: what is wrong is named, where, and what to do about it; the exit code is that of the
//! table of ends; scripts get the same as JSON; and nothing was written.

mod damage;
mod destinations;
mod destruction;
mod expressions;
mod flips;
mod keys;
mod machine;
mod names;
mod network;
mod plans;
mod reach;
mod secrets;
mod settings;
mod words;

use std::{collections::BTreeMap, path::Path};

use millrace_tests::{lakes::Lake, run::Millrace, s3::S3Server};
use serde_json::Value;

/// Which end a command comes to, as the table of ends has it: exit code, kind of error, state of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Usage,
    Guard,
    Unreachable,
    Corrupt,
}

impl End {
    fn code(self) -> i32 {
        match self {
            Self::Usage => 2,
            Self::Guard => 3,
            Self::Unreachable | Self::Corrupt => 4,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Guard => "guard",
            Self::Unreachable => "unreachable",
            Self::Corrupt => "corrupt",
        }
    }

    fn state(self) -> &'static str {
        if self.code() == 4 { "failed" } else { "refused" }
    }
}

/// What a refused command said.
#[derive(Debug)]
struct Refusal {
    message: String,
    help: String,
    /// What `--output json` printed.
    report: Value,
}

/// Runs a command that must come to that end before it changes anything, once for people and once for scripts.
#[track_caller]
fn refused<'a>(end: End, command: impl Fn() -> Millrace<'a>, words: &[&str]) -> Refusal {
    let outcome = command().args(["--output", "json"]).args(words).run().expect_code(end.code());
    let report = outcome.json();
    let text = |name: &str| report["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {outcome}")).to_owned();
    let (message, help) = (text("message"), text("help"));
    assert_eq!(text("kind"), end.kind(), "{outcome}");
    if matches!(words[0], "export" | "plan" | "apply") {
        is_a_run_that_did_nothing(&report, end);
    } else {
        assert_eq!(report.as_object().unwrap().len(), 1, "an error and nothing else: {report}");
    }

    let shown = command().args(words).run().expect_code(end.code());
    assert_eq!(shown.stdout, "", "{shown}");
    let told = shown.stderr.find("error: ").map(|at| shown.stderr[at..].to_owned()).unwrap_or_default();
    // The same, but for what lies deepest: of a lost connection no two tell alike.
    let head = without_numbers(&message.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": "));
    assert!(without_numbers(&told).starts_with(&format!("error: {head}")), "{head}\n{shown}");
    assert!(told.ends_with(&format!("\nhelp: {help}\n")), "{help}\n{shown}");
    Refusal { message, help, report }
}

/// The words that two runs of one command have in common: times, ports and the ids of runs are not among them.
fn without_numbers(text: &str) -> String {
    let word = |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Every refusal of a run is the whole run object, with an error.
fn is_a_run_that_did_nothing(report: &Value, end: End) {
    assert_eq!(report["state"], end.state(), "{report}");
    for count in ["copied", "deleted", "retracted", "failed", "skipped", "bytes"] {
        assert_eq!(report[count], 0, "{count}: {report}");
    }
    for field in ["run", "update_time", "source", "destination"] {
        assert!(report[field].is_string(), "{field}: {report}");
    }
    for field in ["commit", "base", "unchanged", "receipt", "marker", "elapsed_ms", "plan_ms"] {
        assert!(report.get(field).is_some(), "{field}: {report}");
    }
    assert!(report["receipt"].is_null() && report["marker"].is_null(), "{report}");
    assert!(report["requests"]["data"] == 0 && report["ranges"]["total"].is_u64() && report["rounds"].is_array(), "{report}");
}

impl Refusal {
    /// The message holds each of these.
    #[track_caller]
    fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.message.contains(part), "{part:?} is not in: {}", self.message);
        }
        self
    }

    /// The help holds each of these.
    #[track_caller]
    fn helps(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.help.contains(part), "{part:?} is not in: {}", self.help);
        }
        self
    }
}

/// A folder that must stay as it is.
struct Untouched<'a> {
    folder: &'a Path,
    before: BTreeMap<String, Vec<u8>>,
}

impl<'a> Untouched<'a> {
    fn new(folder: &'a Path) -> Self {
        Self { folder, before: everything(folder) }
    }

    #[track_caller]
    fn check(&self) {
        let after = everything(self.folder);
        let names = |tree: &BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&self.before), names(&after), "{}", self.folder.display());
        assert!(self.before == after, "a file below {} has changed", self.folder.display());
    }
}

/// Files and folders; those of nothing are none.
fn everything(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_dir() && !path.is_symlink() {
                all.insert(format!("{name}/"), Vec::new());
                folders.push(path);
            } else {
                all.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    all
}

/// A lake in its bucket, and an empty bucket `dest`.
fn in_a_bucket(name: &str) -> (S3Server, Lake, String) {
    let (server, lake) = (S3Server::with_buckets(&["dest"]), Lake::named(name));
    lake.load(&server);
    let url = format!("lake+{}", lake.storage_namespace());
    (server, lake, url)
}

/// Nothing was written through that server since its log was cleared, nor tried.
#[track_caller]
fn assert_no_writes(server: &S3Server) {
    let writes = server.log().filter(millrace_tests::s3::Op::is_write);
    assert!(writes.is_empty(), "{writes}");
}
