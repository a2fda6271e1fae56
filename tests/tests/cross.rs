//! The S3 cases against servers of others: `tests/cross-check.sh` starts each and runs these.
//!
//! `MILLRACE_CROSS_ENDPOINT` is the server's URL, `MILLRACE_CROSS_KEY` and `MILLRACE_CROSS_SECRET` are credentials that may make
//! buckets. `MILLRACE_CROSS_DIFFERS` names the checks of the store suite that the server is known to fail, with commas; each of
//! them must fail, so that a server that learned better is noticed too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{Builder, ResponseChecksumValidation},
};
use futures::{StreamExt, stream};
use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome},
    s3::S3Server,
    tree::{data_only, expected_tree, md5_hex},
};
use planner::Location;
use worker::{CopySpec, Registry, RegistryOptions, RequestClass, StoreSettings, Variables, conformance};

use crate::copy::{PlanRow, pattern, run_rows};

const MIB: u64 = 1024 * 1024;

static BUCKETS: AtomicUsize = AtomicUsize::new(0);

/// Somebody else's server.
struct Other {
    endpoint: String,
    key: String,
    secret: String,
    client: Client,
}

impl Other {
    fn named() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/cross-check.sh"));
        let (endpoint, key) = (variable("MILLRACE_CROSS_ENDPOINT"), variable("MILLRACE_CROSS_KEY"));
        let secret = variable("MILLRACE_CROSS_SECRET");
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&endpoint)
            .force_path_style(true)
            // What a server keeps of an upload in parts is not looked at here.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .credentials_provider(Credentials::new(&key, &secret, None, None, "test"));
        Self { client: Client::from_conf(config.build()), endpoint, key, secret }
    }

    async fn bucket(&self) -> String {
        let name = format!("millrace-{}-{}", std::process::id(), BUCKETS.fetch_add(1, Ordering::Relaxed));
        self.client.create_bucket().bucket(&name).send().await.unwrap();
        name
    }

    async fn registry(&self) -> Arc<Registry> {
        let spec = format!("prefix=s3://,endpoint={},access_key_id_env=ID,secret_access_key_env=SECRET", self.endpoint);
        let (key, secret) = (self.key.clone(), self.secret.clone());
        let variables = Variables::new(move |name| match name {
            "ID" => Some(key.clone()),
            "SECRET" => Some(secret.clone()),
            _ => None,
        });
        let settings = vec![StoreSettings::parse_spec(&spec).unwrap()];
        Registry::load(RegistryOptions { settings, variables, ..RegistryOptions::default() }).await.unwrap()
    }

    /// A command that talks to it.
    fn millrace<'a>(&self) -> Millrace<'a> {
        let env = [
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", &"us-east-1".to_owned()),
        ];
        Millrace::new().envs(env.map(|(name, value)| (name.to_owned(), value.clone()))).env("AWS_EC2_METADATA_DISABLED", "true")
    }

    async fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> String {
        let put = self.client.put_object().bucket(bucket).key(key).content_type("text/x-cross").metadata("owner", "crm");
        let answer = put.body(bytes.into()).send().await.unwrap();
        answer.e_tag().unwrap().trim_matches('"').to_owned()
    }

    /// All keys and bytes below a prefix.
    async fn tree(&self, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let mut pages = self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
        }
        let read = |key: String| async move {
            let got = self.client.get_object().bucket(bucket).key(&key).send().await.unwrap();
            (key[prefix.len()..].to_owned(), got.body.collect().await.unwrap().to_vec())
        };
        stream::iter(keys).map(read).buffer_unordered(8).collect().await
    }

    /// Loads what lies in the buckets of a lake; the bucket `lake` becomes that one.
    async fn load(&self, lake: &Lake, bucket: &str) {
        let server = S3Server::start();
        lake.load(&server);
        for (key, object) in server.snapshot().bucket("lake").unwrap() {
            let mut put = self.client.put_object().bucket(bucket).key(key).set_content_type(object.content_type.clone());
            for (name, value) in &object.metadata {
                put = put.metadata(name, value);
            }
            put.body(object.bytes().into()).send().await.unwrap();
        }
    }
}

/// The checks of the store suite that the server is known to fail.
fn differs() -> BTreeSet<String> {
    let named = std::env::var("MILLRACE_CROSS_DIFFERS").unwrap_or_default();
    named.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn location(bucket: &str, prefix: &str) -> Location {
    Location::parse(&format!("s3://{bucket}/{prefix}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: tests/cross-check.sh"]
async fn the_server_does_what_all_stores_must() {
    let (other, registry) = (Other::named(), Other::named().registry().await);
    let known = differs();
    let bucket = other.bucket().await;
    let store = registry.open(&location(&bucket, "below/a prefix"), RequestClass::Control).unwrap();
    let failures = conformance::failures(&store, "deep/er/").await;
    let failed: BTreeSet<String> = failures.keys().map(|&check| check.to_owned()).collect();
    assert_eq!(failed, known, "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: tests/cross-check.sh"]
async fn every_commit_arrives() {
    let (other, lake) = (Other::named(), Lake::named("orders"));
    let (from, to) = (other.bucket().await, other.bucket().await);
    other.load(&lake, &from).await;
    let mut commits: Vec<_> = lake.info.commits.iter().filter(|(_, commit)| !commit.meta_range_id.is_empty()).collect();
    commits.sort_by_key(|(_, commit)| commit.generation);
    for (label, commit) in commits {
        let source = format!("lake+s3://{from}/{}?ref={}", lake.name, commit.id);
        let export =
            || other.millrace().args(["export", &source, &format!("s3://{to}/out"), "--force", "--output", "json"]).run();
        assert_eq!(export().expect_code(0).json()["failed"], 0, "{label}");
        assert_eq!(data_only(other.tree(&to, "out/").await), expected_tree(&lake, label), "{label}");
        assert_eq!(export().expect_code(0).json()["copied"], 0, "{label}");
    }
    let listed = lake.objects("load").len();
    assert!(listed > 0);
}

/// Each way that a large object goes: inside, inside in parts, up in parts, down.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: tests/cross-check.sh"]
async fn large_objects_go_every_way() {
    let (other, registry) = (Other::named(), Other::named().registry().await);
    let (from, to) = (other.bucket().await, other.bucket().await);
    let bytes = pattern(11 * 1024 * 1024 + 7, 3);
    let etag = other.put(&from, "large", bytes.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), &bytes).unwrap();
    let in_bucket = location(&from, "large").to_string();
    let on_disk = folder.path().join("large").display().to_string();
    let row = |source: &str, key: &str| PlanRow {
        action: "copy",
        key: key.to_owned(),
        source: Some(source.to_owned()),
        size: Some(bytes.len() as u64),
        etag: Some(etag.clone()),
        content_type: Some("text/x-cross"),
    };
    let parts = CopySpec {
        copy_in_parts_above: MIB,
        copy_part_size: 5 * MIB,
        multipart_threshold: MIB,
        part_size: 5 * MIB,
        ..CopySpec::new(location(&to, ""))
    };
    let whole = CopySpec { multipart_threshold: 1 << 40, ..CopySpec::new(location(&to, "")) };
    for (spec, source, key) in [
        (&whole, &in_bucket, "inside"),
        (&parts, &in_bucket, "inside-in-parts"),
        (&whole, &on_disk, "up"),
        (&parts, &on_disk, "up-in-parts"),
    ] {
        let end = run_rows(&registry, spec, &[row(source, key)]).await.remove(key).unwrap();
        assert!(end.ok, "{key}: {end:?}");
        let got = other.client.get_object().bucket(&to).key(key).send().await.unwrap();
        assert_eq!(got.content_type(), Some("text/x-cross"), "{key}");
        assert_eq!(md5_hex(&got.body.collect().await.unwrap().into_bytes()), md5_hex(&bytes), "{key}");
    }
    let down = CopySpec::new(Location::parse(&format!("{}/out/", folder.path().display())).unwrap());
    let end = run_rows(&registry, &down, &[row(&in_bucket, "down")]).await.remove("down").unwrap();
    assert!(end.ok && std::fs::read(folder.path().join("out/down")).unwrap() == bytes, "{end:?}");
    let uploads = other.client.list_multipart_uploads().bucket(&to).send().await.unwrap();
    assert!(uploads.uploads().is_empty(), "{uploads:?}");
    // An object that was overwritten since is not copied.
    other.put(&from, "large", b"another".to_vec()).await;
    for (spec, key) in [(&whole, "drifted"), (&parts, "drifted-in-parts")] {
        let end = run_rows(&registry, spec, &[row(&in_bucket, key)]).await.remove(key).unwrap();
        // Without pins the answered etag tells, or that there is too little for the parts.
        let kinds = if differs().contains("copies") { &["mismatch", "invalid", "other"][..] } else { &["changed"] };
        assert!(!end.ok && kinds.contains(&end.kind.as_str()), "{end:?}");
        assert!(other.tree(&to, key).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: tests/cross-check.sh"]
async fn deletes_go_by_the_thousand() {
    let (other, registry) = (Other::named(), Other::named().registry().await);
    let bucket = other.bucket().await;
    let keys: Vec<String> = (0..1100).map(|at| format!("old/{at:04} ü&<>+%")).collect();
    stream::iter(&keys).for_each_concurrent(16, async |key| drop(other.put(&bucket, key, b"x".to_vec()).await)).await;
    let row = |key: &String| PlanRow { action: "delete", key: key.clone(), ..PlanRow::default() };
    let mut rows: Vec<PlanRow> = keys.iter().map(row).collect();
    rows.push(row(&"never/there".to_owned()));
    let ends = run_rows(&registry, &CopySpec::new(location(&bucket, "")), &rows).await;
    assert!(ends.values().all(|end| end.ok), "{:?}", ends.values().find(|end| !end.ok));
    assert!(other.tree(&bucket, "").await.is_empty());
    assert_eq!(registry.requests().0, 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: tests/cross-check.sh"]
async fn what_is_wrong_is_told_with_a_remedy() {
    let (other, lake) = (Other::named(), Lake::named("orders"));
    let to = other.bucket().await;
    let said = |outcome: Outcome, parts: &[&str]| {
        let error = outcome.json()["error"].clone();
        let text = format!("{} {}", error["message"], error["help"]);
        assert!(parts.iter().all(|part| text.contains(part)), "{outcome}");
    };
    let export = |to: &str| other.millrace().args(["export", &lake.file_url("main"), to, "--output", "json"]);
    said(export("s3://millrace-is-not-there/x").run().expect_code(4), &["millrace-is-not-there", "create it"]);
    if std::env::var_os("MILLRACE_CROSS_UNSIGNED").is_none() {
        let run = export(&format!("s3://{to}/x")).env("AWS_SECRET_ACCESS_KEY", "wrong").run();
        said(run.expect_code(4), &[&format!("s3://{to}"), "credentials"]);
    }
}
