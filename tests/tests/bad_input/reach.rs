//! Servers, credentials and buckets that are out of reach.

use millrace_tests::{
    lakefs::{FakeLakefs, SECRET_KEY},
    lakes::Lake,
    run::{Millrace, User},
    s3::{KeyPair, Permission, S3Server, Target},
};
use serde_json::json;

use super::{End, assert_no_writes, in_a_bucket, refused};

/// Nothing listens there: the port was free a moment ago.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn no_lakefs_credentials_at_all() {
    let command = || Millrace::new().env("AWS_REGION", "us-east-1");
    for words in [&["export", "lakefs://orders/main", "memory://x"][..], &["ls", "lakefs://orders/main"]] {
        refused(End::Usage, command, words)
            .says(&["the lakeFS server's endpoint and access key id and secret access key are not set"])
            .helps(&["LAKECTL_SERVER_ENDPOINT_URL", "LAKEFS_ENDPOINT", "lakectl config", "~/.lakectl.yaml"]);
    }
    let some = || command().env("LAKEFS_ENDPOINT", "http://127.0.0.1:1").env("LAKEFS_ACCESS_KEY_ID", "AKIA");
    refused(End::Usage, some, &["ls", "lakefs://orders/main"])
        .says(&["the lakeFS server's secret access key is not set"])
        .helps(&["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"]);
}

#[test]
fn wrong_lakefs_credentials() {
    let (s3, lake, _) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server).env("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "not-the-secret");
    for words in [
        &["export", "lakefs://orders/main", "s3://dest/x"][..],
        &["plan", "lakefs://orders/main", "s3://dest/x"],
        &["ls", "lakefs://orders/main"],
    ] {
        refused(End::Unreachable, command, words)
            .says(&[&format!("lakeFS at {} refuses the credentials", server.endpoint()), "LAKECTL_CREDENTIALS_ACCESS_KEY_ID"])
            .helps(&["check the access key id and the secret access key, and that they belong to this server"]);
    }
    assert_no_writes(&s3);
    assert!(server.log().iter().all(|asked| !asked.signed_in && asked.status == 401), "{:?}", server.log());
}

#[test]
fn a_lakectl_configuration_that_cannot_be_read() {
    let user = User::default();
    std::fs::write(user.home().join(".lakectl.yaml"), "credentials: [no-end-of-the-secret\n").unwrap();
    let refusal = refused(End::Usage, || Millrace::of(&user), &["ls", "lakefs://orders/main"])
        .says(&[&format!("`{}` is no YAML at line", user.home().join(".lakectl.yaml").display())])
        .helps(&["lakectl config"]);
    assert!(!format!("{refusal:?}").contains("no-end-of-the-secret"), "{refusal:?}");
}

#[test]
fn a_lakefs_server_that_is_not_there() {
    let (s3, lake, _) = in_a_bucket("orders");
    let (down, closed) = (FakeLakefs::start(&lake), nowhere());
    let words = ["export", "lakefs://orders/main", "s3://dest/x"];
    refused(End::Unreachable, || Millrace::new().s3(&s3).lakefs(&down).env("LAKECTL_SERVER_ENDPOINT_URL", &closed), &words)
        .says(&[&format!("the lakeFS server at {closed} does not answer")])
        .helps(&["check that the server runs", "endpoint"]);
    // One that takes the connection and says nothing.
    down.set_down(true);
    let outcome = Millrace::new().s3(&s3).lakefs(&down).args(words).run().expect_code(4);
    assert!(outcome.stderr.contains(&format!("the lakeFS server at {} does not answer", down.endpoint())), "{outcome}");
    assert_no_writes(&s3);
}

#[test]
fn a_lakefs_server_that_only_fails() {
    let (s3, lake, _) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    server.set_broken(true);
    refused(End::Unreachable, || Millrace::new().s3(&s3).lakefs(&server), &["export", "lakefs://orders/main", "s3://dest/x"])
        .says(&[&format!("lakeFS at {} answers 500 for repository `orders`: internal server error", server.endpoint())])
        .helps(&["look into the server's log"]);
    assert_no_writes(&s3);
}

#[test]
fn an_endpoint_that_is_no_lakefs() {
    let (s3, lake, _) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server).env("LAKECTL_SERVER_ENDPOINT_URL", s3.endpoint());
    refused(End::Unreachable, command, &["export", "lakefs://orders/main", "s3://dest/x"])
        .says(&[&format!("what answers at {} is no lakeFS server", s3.endpoint())])
        .helps(&["give the server's own URL as the endpoint"]);
    for bad in ["lakefs.example.com", "ftp://lakefs", "http://user:hush@lakefs"] {
        let command = || Millrace::new().lakefs(&server).env("LAKECTL_SERVER_ENDPOINT_URL", bad);
        let refusal = refused(End::Usage, command, &["ls", "lakefs://orders/main"]).helps(&["https://lakefs.example.com"]);
        assert!(!format!("{refusal:?}").contains("hush"), "{refusal:?}");
    }
    assert_no_writes(&s3);
}

#[test]
fn a_namespace_that_may_not_be_read() {
    let (s3, lake, url) = in_a_bucket("orders");
    s3.deny(Target::on("read").bucket("lake"));
    let url = format!("{url}?ref=main");
    for words in [&["export", url.as_str(), "s3://dest/x"][..], &["ls", &url], &["refs", &url]] {
        refused(End::Unreachable, || Millrace::new().s3(&s3), words)
            .says(&["the lake at s3://lake/orders", "may not be read"])
            .helps(&["check the store's credentials"]);
    }
    // With a server there is another way to the metadata; without it, both refusals are told.
    let server = FakeLakefs::start(&lake);
    let table = format!("/repositories/orders/metadata/object/meta_range/{}", lake.commit("head").meta_range_id);
    server.script("GET", &table, 100, 403, &json!({ "message": "not allowed to fs:ReadObject" }));
    refused(End::Unreachable, || Millrace::new().s3(&s3).lakefs(&server), &["export", "lakefs://orders/main", "s3://dest/x"])
        .says(&["s3://lake/orders", "the storage namespace cannot be read", &server.endpoint(), "not allowed to fs:ReadObject"])
        .helps(&["credentials"]);
    assert_no_writes(&s3);
}

#[test]
fn data_that_may_not_be_read_fails_the_run_as_out_of_reach() {
    let (s3, _, url) = in_a_bucket("orders");
    s3.deny(Target::on("read").bucket("lake").prefix("orders/data/"));
    s3.deny(Target::on("CopyObject").bucket("dest"));
    let words = ["--output", "json", "export", &format!("{url}?ref=v1"), "s3://dest/x"];
    let outcome = Millrace::new().s3(&s3).args(words).run().expect_code(4);
    let report = outcome.json();
    assert_eq!((&report["state"], &report["copied"]), (&json!("failed"), &json!(0)), "{report}");
    assert!(report["error"]["help"].as_str().unwrap().contains("s3://lake"), "{report}");
    let keys = s3.keys("dest", "x/");
    assert!(!keys.iter().any(|key| key.ends_with("_SUCCESS")), "{keys:?}");
}

#[test]
fn wrong_credentials_of_a_store() {
    let (s3, lake, url) = in_a_bucket("orders");
    s3.add_key(KeyPair::new("reader", "of-the-lake-only").allow("lake", Permission::Read));
    let url = format!("{url}?ref=main");
    let unknown = || Millrace::new().s3(&s3).env("AWS_ACCESS_KEY_ID", "nobody");
    refused(End::Unreachable, unknown, &["export", &url, "s3://dest/x"])
        .says(&["the lake at s3://lake/orders"])
        .helps(&["credentials"]);
    let wrong = || Millrace::new().s3(&s3).env("AWS_SECRET_ACCESS_KEY", "not-the-secret");
    refused(End::Unreachable, wrong, &["export", &lake.file_url("main"), "s3://dest/x"]).says(&["s3://dest/x"]).helps(&[
        "credentials for s3://dest",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "[[store]]",
    ]);
    let none = || Millrace::new().s3(&s3).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    refused(End::Unreachable, none, &["export", &lake.file_url("main"), "s3://dest/x"])
        .says(&["s3://dest/x"])
        .helps(&["AWS_PROFILE", "AWS_ACCESS_KEY_ID"]);
    let reader = || Millrace::new().envs(s3.env_as("reader"));
    refused(End::Unreachable, reader, &["export", &url, "s3://dest/x"])
        .says(&["s3://dest/x"])
        .helps(&["credentials for s3://dest"]);
    let tried = s3.log().filter(|op| op.is_write() && op.status < 300);
    assert!(tried.is_empty(), "{tried}");
    let secrets = [SECRET_KEY, "not-the-secret", "of-the-lake-only"];
    let said = Millrace::new().envs(s3.env_as("reader")).args(["-vvv", "export", &url, "s3://dest/x"]).run().expect_code(4);
    for secret in secrets {
        assert!(!format!("{said}").contains(secret), "{secret}");
    }
}

#[test]
fn a_store_that_is_not_there() {
    let lake = Lake::named("orders");
    let s3 = S3Server::with_buckets(&["dest"]);
    let closed = nowhere();
    let command = || Millrace::new().s3(&s3).env("AWS_ENDPOINT_URL", &closed);
    refused(End::Unreachable, command, &["export", &lake.file_url("main"), "s3://dest/x"]).says(&["s3://dest/x"]).helps(&[
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "s3://dest",
    ]);
    refused(End::Unreachable, command, &["ls", "lake+s3://lake/orders?ref=main"])
        .says(&["the lake at s3://lake/orders cannot be read"])
        .helps(&["endpoint"]);
}

#[test]
fn buckets_that_are_not_there() {
    let (s3, _, url) = in_a_bucket("orders");
    let words = ["export", &format!("{url}?ref=main"), "s3://absent/x"];
    refused(End::Unreachable, || Millrace::new().s3(&s3), &words)
        .says(&["s3://absent/x"])
        .helps(&["check the spelling of s3://absent, or create it"]);
    refused(End::Unreachable, || Millrace::new().s3(&s3), &["runs", "s3://absent/x"]).helps(&["s3://absent"]);
    assert_no_writes(&s3);
}

#[test]
fn a_bucket_that_is_not_there_is_no_plan_and_no_destination_that_was_emptied() {
    let s3 = S3Server::with_buckets(&["there"]);
    let command = || Millrace::new().s3(&s3);
    for words in [&["apply", "s3://nowhere/plan"][..], &["sql", "s3://nowhere/plan", "SELECT 1"]] {
        refused(End::Unreachable, command, words)
            .says(&["s3://nowhere/plan", "is not there"])
            .helps(&["check the name, the bucket"]);
    }
    refused(End::Usage, command, &["apply", "s3://there/plan"]).says(&["s3://there/plan is no plan"]);
    refused(End::Usage, command, &["sql", "s3://there/plan", "SELECT 1"]).says(&["neither a plan nor a destination"]);
    s3.deny(Target::on("read").bucket("there"));
    for words in [&["apply", "s3://there/plan"][..], &["sql", "s3://there/plan", "SELECT 1"]] {
        refused(End::Unreachable, command, words).says(&["s3://there/plan", "may not be read"]).helps(&["credentials"]);
    }
}

#[test]
fn words_that_mean_nothing_together_are_refused() {
    let lake = Lake::named("orders");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    for words in [
        &["apply", &out, "--adopt"][..],
        &["apply", &out, "--assume-empty"],
        &["export", &lake.file_url("v2"), &out, "--from", "v1", "--adopt"],
        &["plan", &lake.file_url("v2"), &out, "--from", "v1", "--adopt=own"],
    ] {
        let outcome = Millrace::new().args(words).run().expect_code(2);
        assert!(outcome.stderr.contains("--adopt") || outcome.stderr.contains("--assume-empty"), "{outcome}");
    }
}
