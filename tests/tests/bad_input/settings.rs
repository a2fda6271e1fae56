//! `millrace.toml` and `--store`: mistakes are named by file, line and key, and never by their value.

use std::fs;

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, User},
};

use super::{End, refused};

/// A settings file in the working directory is refused by every command.
#[track_caller]
fn file(text: &str, said: &[&str], help: &str) {
    let user = User::default();
    fs::write(user.work().join("millrace.toml"), text).unwrap();
    let lake = Lake::named("orders").file_url("main");
    for words in [&["ls", lake.as_str()][..], &["export", &lake, "memory://x"], &["runs", "memory://x"]] {
        let refusal = refused(End::Usage, || Millrace::of(&user), words).says(&["millrace.toml"]).says(said).helps(&[help]);
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

#[test]
fn a_settings_file_that_is_no_toml() {
    file("[[store]\n", &["line 1: "], "[[store]] prefix =");
    file("[[store]]\nprefix = \"s3://a\"\nregion = hunter2\n", &["line 3: "], "[[store]] prefix =");
}

#[test]
fn a_settings_file_with_keys_that_are_not_known() {
    file("[[store]]\nprefix = \"s3://a\"\n\nendpiont = \"x\"\n", &["line 4: unknown key `endpiont`"], "endpoint");
    file("concurrency = 3\n", &["line 1: unknown key `concurrency`"], "known keys are store");
    // A secret has no place there, and is not repeated.
    file(
        "[[store]]\nprefix = \"s3://a\"\nsecret_access_key = \"hunter2\"\n",
        &["line 3: unknown key `secret_access_key`"],
        "secret_access_key_env",
    );
}

#[test]
fn a_settings_file_with_values_of_the_wrong_kind() {
    file(
        "[[store]]\nprefix = \"s3://a\"\npath_style = \"hunter2\"\n",
        &["line 3: a value of the wrong kind, expected a boolean"],
        "[[store]]",
    );
    file("[[store]]\nregion = \"x\"\n", &["line 1: missing key `prefix`"], "[[store]] prefix =");
    file("[[store]]\nprefix = \"ftp://a\"\n", &["[[store]] prefix", "`ftp://`"], "use s3://");
    file("[[store]]\nprefix = \"s3://a\"\nendpoint = \"hunter2\"\n", &["the endpoint is no http or https URL"], "https://HOST");
    file(
        "[[store]]\nprefix = \"s3://a\"\naccess_key_id_env = \"A\"\n",
        &["access_key_id_env and secret_access_key_env belong together"],
        "give the names of two variables, or neither",
    );
    file("[[store]]\nprefix = \"s3://a\"\npath = \"/x\"\n", &["`path` belongs to local:// only"], "remove it");
}

#[test]
fn a_settings_file_that_was_named_and_is_not_there() {
    let lake = Lake::named("orders").file_url("main");
    refused(End::Usage, || Millrace::new().args(["--config", "/nowhere/x.toml"]), &["ls", &lake])
        .says(&["--config: there is no file /nowhere/x.toml"])
        .helps(&["[[store]] prefix ="]);
}

#[test]
fn the_users_own_settings_file_is_read_where_there_is_none_in_the_working_directory() {
    let user = User::default();
    let folder = user.home().join(".config/millrace");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("millrace.toml"), "nope = 1\n").unwrap();
    let lake = Lake::named("orders").file_url("main");
    refused(End::Usage, || Millrace::of(&user), &["ls", &lake])
        .says(&[".config/millrace/millrace.toml", "line 1: unknown key `nope`"]);
    fs::write(user.work().join("millrace.toml"), "").unwrap();
    Millrace::of(&user).args(["ls", &lake]).run().expect_code(0);
}

#[test]
fn a_store_on_the_command_line_that_cannot_be_meant() {
    let lake = Lake::named("orders").file_url("main");
    for (spec, said) in [
        ("prefix=s3://a,hunter2", "--store: a part of it is not NAME=VALUE"),
        ("prefix=s3://a,secret_access_key=hunter2", "unknown field `secret_access_key`"),
        ("endpoint=http://x", "missing field `prefix`"),
        ("prefix=s3://a,path_style=hunter2", "a value is of the wrong kind"),
        ("prefix=s3://a,region=x,region=y", "`region` is given twice"),
        ("prefix=s3://a,endpoint=hunter2", "the endpoint is no http or https URL"),
        ("prefix=s3://a,anonymous=true,profile=p", "exclude each other"),
    ] {
        let refusal = refused(End::Usage, || Millrace::new().args(["--store", spec]), &["ls", &lake]).says(&[said]);
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
        assert!(!refusal.help.is_empty());
    }
}

#[test]
fn a_local_block_store_that_nobody_said_where_it_lies() {
    let lake = Lake::named("orders");
    let server = millrace_tests::lakefs::FakeLakefs::start(&lake);
    server.set_storage_namespace("local://orders");
    let words = ["export", "lakefs://orders/main", "local://mirror/x"];
    refused(End::Usage, || Millrace::new().lakefs(&server), &words)
        .says(&["local://", "where lakeFS's local block store lies is not known"])
        .helps(&["add a [[store]] table with prefix = \"local://\" and path ="]);
}

#[test]
fn variables_that_settings_name_and_nobody_set() {
    let lake = Lake::named("orders");
    let spec = "prefix=s3://dest,endpoint=http://127.0.0.1:1,region=x,access_key_id_env=MY_KEY,secret_access_key_env=MY_SECRET";
    refused(End::Unreachable, || Millrace::new().args(["--store", spec]), &["export", &lake.file_url("main"), "s3://dest/x"])
        .says(&["the variable MY_KEY holds no credentials for s3://dest"])
        .helps(&["set MY_KEY, or change the [[store]] table with prefix = \"s3://dest\""]);
}
