//! Secrets are in nothing that is printed or written: not in results, logs, errors, plans, receipts, run records.

use std::{fs, path::Path};

use millrace_tests::{
    lakefs::{self, FakeLakefs},
    lakes::Lake,
    run::{Millrace, Outcome, User},
    s3::{KeyPair, S3Server, Target},
};

use super::everything;

const STORE_SECRET: &str = "PLANTED-secret-of-the-environment";
const MIRROR_SECRET: &str = "PLANTED-secret-of-the-mirror";
const TOKEN: &str = "PLANTED-token-of-a-session";

/// A lake behind a server, a mirror with credentials of its own, and a user who has told all of them.
struct Planted {
    s3: S3Server,
    server: FakeLakefs,
    user: User,
    folder: tempfile::TempDir,
}

impl Planted {
    fn new() -> Self {
        let lake = Lake::named("orders");
        let s3 = S3Server::with_buckets(&["dest"]);
        lake.load(&s3);
        s3.add_key(KeyPair::new("planted", STORE_SECRET));
        s3.add_key(KeyPair::new("mirror", MIRROR_SECRET));
        let user = User::default();
        let settings = format!(
            "[[store]]\nprefix = \"s3://dest\"\nendpoint = \"{}\"\npath_style = true\naccess_key_id_env = \"MIRROR_KEY\"\n\
             secret_access_key_env = \"MIRROR_SECRET\"\n",
            s3.endpoint()
        );
        fs::write(user.work().join("millrace.toml"), settings).unwrap();
        Self { s3, server: FakeLakefs::start(&lake), user, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self) -> Millrace<'_> {
        let pairs = [("MIRROR_KEY", "mirror"), ("MIRROR_SECRET", MIRROR_SECRET)];
        let command = Millrace::of(&self.user).envs(self.s3.env_as("planted")).lakefs(&self.server);
        pairs.into_iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command as loudly as it can be run, and searches what it says.
    #[track_caller]
    fn quiet_about_secrets(&self, code: i32, words: &[&str]) -> Outcome {
        let mut last = None;
        for format in ["text", "json"] {
            let command = self.command().args(["-vvv", "--log-format", format, "--output", format]);
            let outcome = command.args(words).run().expect_code(code);
            assert!(!outcome.stderr.is_empty(), "a loud command that logs nothing proves nothing: {words:?}");
            no_secret(&outcome.stdout, &format!("stdout of {words:?}"));
            no_secret(&outcome.stderr, &format!("stderr of {words:?}"));
            last = Some(outcome);
        }
        last.unwrap()
    }
}

#[track_caller]
fn no_secret(text: &str, place: &str) {
    for secret in [STORE_SECRET, MIRROR_SECRET, TOKEN, lakefs::SECRET_KEY] {
        assert!(!text.contains(secret), "{secret} is in {place}:\n{text}");
    }
    // Neither in the form in which it is sent.
    assert!(!text.contains("Basic QUtJQUl"), "the lakeFS credentials are in {place}:\n{text}");
}

#[track_caller]
fn no_secret_below(folder: &Path) {
    let files = everything(folder);
    assert!(!files.is_empty(), "{}", folder.display());
    for (name, body) in files {
        no_secret(&String::from_utf8_lossy(&body), &name);
    }
}

#[test]
fn no_secret_is_printed_or_written_by_any_command() {
    let planted = Planted::new();
    planted.quiet_about_secrets(0, &["refs", "lakefs://orders"]);
    planted.quiet_about_secrets(0, &["ls", "lakefs://orders/main"]);
    planted.quiet_about_secrets(0, &["export", "lakefs://orders/v1", "s3://dest/x"]);
    planted.quiet_about_secrets(0, &["plan", "lakefs://orders/v2", "s3://dest/x", "-o", &planted.path("plan")]);
    planted.quiet_about_secrets(0, &["apply", &planted.path("plan")]);
    planted.quiet_about_secrets(0, &["runs", "s3://dest/x"]);
    planted.quiet_about_secrets(0, &["sql", "s3://dest/x", "SELECT * FROM runs"]);
    planted.quiet_about_secrets(0, &["export", "lakefs://orders/v1", &planted.path("copy")]);
    no_secret_below(planted.folder.path());
    let tree = planted.s3.snapshot().tree("dest", "");
    assert!(tree.keys().any(|key| key.contains("_millrace/receipts/")), "{:?}", tree.keys());
    for (key, body) in tree {
        no_secret(&String::from_utf8_lossy(&body), &key);
    }
}

#[test]
fn no_secret_is_told_by_errors() {
    let planted = Planted::new();
    planted.quiet_about_secrets(2, &["export", "lakefs://absent/main", "s3://dest/x"]);
    planted.quiet_about_secrets(3, &["export", "lakefs://orders/main", "s3://lake/orders"]);
    planted.s3.deny(Target::on("write").bucket("dest"));
    planted.quiet_about_secrets(4, &["export", "lakefs://orders/main", "s3://dest/x"]);
    planted.s3.deny(Target::on("read").bucket("lake"));
    planted.quiet_about_secrets(4, &["export", "lake+s3://lake/orders?ref=main", "s3://dest/x"]);
    planted.server.set_broken(true);
    planted.quiet_about_secrets(4, &["ls", "lakefs://orders/main"]);
}

#[test]
fn a_failed_run_leaves_no_secret_in_its_record_and_its_marker() {
    let planted = Planted::new();
    let object = Lake::named("orders").objects("load").into_iter().find(|object| object.path.ends_with("customers.csv")).unwrap();
    planted.s3.delete("lake", object.physical_address.strip_prefix("s3://lake/").unwrap());
    planted.quiet_about_secrets(1, &["export", "lakefs://orders/v1", "s3://dest/x"]);
    let tree = planted.s3.snapshot().tree("dest", "");
    assert!(tree.keys().any(|key| key.ends_with("_FAILURE")), "{:?}", tree.keys());
    for (key, body) in tree {
        no_secret(&String::from_utf8_lossy(&body), &key);
    }
}

#[test]
fn a_session_token_and_a_password_in_an_endpoint_stay_unsaid() {
    let planted = Planted::new();
    let token = planted.command().env("AWS_SESSION_TOKEN", TOKEN).env("MIRROR_TOKEN", TOKEN);
    let outcome = token.args(["-vvv", "export", "lakefs://orders/v1", &planted.path("copy")]).run();
    no_secret(&format!("{outcome}"), "the output");
    let url = planted.s3.endpoint().replace("http://", &format!("http://user:{TOKEN}@"));
    let spec = format!("prefix=s3://other,endpoint={url}");
    let words = ["-vvv", "export", "lakefs://orders/v1", "s3://other/x"];
    for (command, said) in [
        (planted.command().env("AWS_ENDPOINT_URL", &url), "the endpoint of a store holds a name, a password or a query"),
        (planted.command().env("LAKECTL_SERVER_ENDPOINT_URL", &url), "lakeFS server"),
        (planted.command().args(["--store", &spec]), "[[store]] with prefix `s3://other`: the endpoint of a store holds a name"),
    ] {
        let outcome = command.args(words).run().expect_code(2);
        assert!(outcome.stderr.contains("error: ") && outcome.stderr.contains(said), "{outcome}");
        no_secret(&format!("{outcome}"), "the output");
    }
}
