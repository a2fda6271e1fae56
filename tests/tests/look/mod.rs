//! Looking into lakes, plans and destinations, through the binary: what is shown equals what a real lakeFS server showed,
//! by every way there is to the same lake.

mod bytes;
mod kept;
mod listings;
mod queries;
mod references;
mod shapes;
mod wide;

use std::path::Path;

use millrace_tests::{
    lakefs::FakeLakefs,
    lakes::Lake,
    run::{Millrace, Outcome},
    s3::S3Server,
};
use serde_json::Value;

/// The ways to one lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `lake+file://`: the namespace in a folder.
    Folder,
    /// `lake+s3://`: the namespace in a bucket.
    Bucket,
    /// `lakefs://`: a server, and the namespace in its bucket.
    Server,
    /// `lakefs://` with a namespace that is out of reach: everything comes through the server.
    ServerAlone,
}

/// A lake, and what must be up to go a way to it.
struct Door {
    lake: Lake,
    way: Way,
    s3: S3Server,
    server: FakeLakefs,
}

impl Door {
    fn open(name: &str, way: Way) -> Self {
        Self::of(Lake::named(name), way)
    }

    fn of(lake: Lake, way: Way) -> Self {
        let (s3, server) = (S3Server::start(), FakeLakefs::start(&lake));
        match way {
            Way::Folder => {}
            Way::Bucket | Way::Server => lake.load(&s3),
            Way::ServerAlone => server.hide_storage(),
        }
        Self { lake, way, s3, server }
    }

    /// The lake at a reference.
    fn url(&self, reference: &str) -> String {
        match self.way {
            Way::Folder => self.lake.file_url(reference),
            Way::Bucket => format!("lake+{}?ref={reference}", self.lake.storage_namespace()),
            Way::Server | Way::ServerAlone => self.lake.server_url(reference),
        }
    }

    /// A part of the lake at a reference.
    fn part(&self, reference: &str, prefix: &str) -> String {
        let separator = if matches!(self.way, Way::Folder | Way::Bucket) { "&prefix=" } else { "/" };
        format!("{}{separator}{prefix}", self.url(reference))
    }

    /// The lake at the commit with that label.
    fn at(&self, label: &str) -> String {
        self.url(&self.lake.commit(label).id)
    }

    /// Where the namespace lies, as this way shows it in addresses.
    fn storage(&self) -> String {
        match self.way {
            Way::Folder => format!("file://{}", self.lake.namespace().display()),
            Way::Bucket | Way::Server => self.lake.storage_namespace().to_owned(),
            Way::ServerAlone => format!("s3://out-of-reach/{}", self.lake.name),
        }
    }

    /// A command that reaches what there is on this way, and nothing else.
    fn command(&self, words: &[&str]) -> Millrace<'static> {
        let command = Millrace::new().args(words);
        match self.way {
            Way::Folder => command,
            Way::Bucket => command.s3(&self.s3),
            Way::Server | Way::ServerAlone => command.s3(&self.s3).lakefs(&self.server),
        }
    }

    /// Runs a command that must succeed.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Outcome {
        self.command(words).run().expect_code(0)
    }

    /// The JSON objects that a command prints.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Vec<Value> {
        let mut all = vec!["--output", "json"];
        all.extend(words);
        self.run(&all).json_lines()
    }

    /// The values of one field of the JSON objects that a command prints.
    #[track_caller]
    fn field(&self, name: &str, words: &[&str]) -> Vec<String> {
        self.json(words).iter().map(|line| line[name].as_str().unwrap().to_owned()).collect()
    }
}

/// The answer of `sql` about sources in files.
#[track_caller]
fn sql(source: &Path, query: &str) -> Vec<Value> {
    Millrace::new().args(["--output", "json", "sql", source.to_str().unwrap(), query]).run().expect_code(0).json_lines()
}
