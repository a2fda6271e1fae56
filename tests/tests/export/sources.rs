//! What of a lake is exported: committed objects only, imported ones as well, each under its own metadata.

use std::{collections::BTreeSet, fs};

use millrace_tests::{
    lakefs::FakeLakefs,
    lakes::ListedObject,
    run::Millrace,
    s3::Object,
    tree::{Bodies, md5_hex},
};

use super::{BUCKET, PREFIX, Place, Stage};
use crate::made::{MadeLake, objects};

/// What became of the objects of `import-1` at their sources: overwritten there, or gone.
fn drifted(stage: &Stage) -> (Vec<ListedObject>, Vec<ListedObject>) {
    let bodies = Bodies::of(&stage.lake);
    let changed = stage.lake.objects("import-1").into_iter().filter(|object| bodies.body(object).is_none());
    changed.partition(|object| bodies.source(object).is_some())
}

fn paths(objects: &[ListedObject]) -> Vec<&str> {
    objects.iter().map(|object| object.path.as_str()).collect()
}

#[test]
fn an_uncommitted_object_is_not_exported() {
    let stage = Stage::s3("orders");
    let lakefs = FakeLakefs::start(&stage.lake);
    let uncommitted = stage.server.snapshot();
    let uncommitted: Vec<_> = uncommitted
        .keys("lake", "orders/data/")
        .filter(|key| &uncommitted.get("lake", key).unwrap().bytes()[..] == b"uncommitted")
        .collect();
    assert_eq!(uncommitted.len(), 1, "the lake has one");
    for source in ["lakefs://orders/main".to_owned(), stage.source_at("main")] {
        stage.server.clear_log();
        let export = stage.millrace("export").lakefs(&lakefs).args([&source, &stage.place("main")]).arg("--force");
        let report = export.run().expect_code(0).json();
        assert_eq!(report["commit"], stage.lake.commit("head").id.as_str());
        assert_eq!(millrace_tests::tree::data_only(stage.tree_of("main")), stage.expected("head"));
        assert_eq!(stage.server.log().for_prefix("lake", uncommitted[0]).len(), 0);
    }
}

#[test]
fn imported_objects_are_exported_with_odd_source_keys_and_multipart_etags() {
    for from in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("imported", from, Place::Bucket);
        let report = stage.exported("head", &[]);
        assert_eq!((&report["copied"], &report["failed"]), (&150.into(), &0.into()));
        assert_eq!(stage.data(), stage.expected("head"));
        let bodies = Bodies::of(&stage.lake);
        for object in stage.lake.objects("head") {
            let stored = stage.server.get(BUCKET, &format!("{PREFIX}{}", object.path)).unwrap();
            // An import says nothing of content types and metadata: what the source has is kept.
            let source = bodies.source(&object).map(|source| (&source.content_type, &source.metadata));
            let said = source.unwrap_or((&object.content_type, &object.metadata));
            assert_eq!((&stored.content_type, &stored.metadata), said, "{}", object.path);
        }
        stage.assert_success("head");
    }
}

#[test]
fn imported_objects_are_exported_to_folders() {
    let stage = Stage::new("imported", Place::Bucket, Place::Folder);
    let refused = stage.export("head", &[]).expect_code(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("`odd/a//b.txt`") && message.contains("`odd/dir/`"), "{message}");
    assert!(stage.tree().is_empty(), "nothing was written");
    stage.exported("head", &["--exclude", "odd/a//b.txt", "--exclude", "odd/dir/"]);
    let mut expected = stage.expected("head");
    expected.retain(|key, _| key != "odd/a//b.txt" && key != "odd/dir/");
    assert_eq!(stage.data(), expected);
}

#[test]
fn an_object_that_was_overwritten_at_its_source_fails_by_name() {
    let stage = Stage::s3("imported");
    let (overwritten, gone) = drifted(&stage);
    assert_eq!((overwritten.len(), gone.len()), (5, 15), "the lake has both");
    let report = stage.export("import-1", &[]).expect_code(1).json();
    let objects = stage.lake.objects("import-1");
    assert_eq!((&report["failed"], &report["copied"]), (&20.into(), &(objects.len() - 20).into()));
    let failures = report["failures"].as_array().unwrap();
    for (lost, words) in [(&overwritten, "was overwritten since the commit (etag "), (&gone, "is missing")] {
        for object in lost {
            let failure = failures.iter().find(|failure| failure["key"] == object.path.as_str()).unwrap();
            assert_eq!(failure["source"], object.physical_address.as_str());
            assert!(failure["error"].as_str().unwrap().contains(words), "{failure}");
        }
    }
    let done = objects.iter().filter(|object| !overwritten.contains(object) && !gone.contains(object));
    assert_eq!(stage.data().into_keys().collect::<Vec<_>>(), done.map(|object| object.path.as_str()).collect::<Vec<_>>());
}

#[test]
fn on_request_what_is_at_the_source_now_is_taken_and_the_receipt_says_so() {
    let stage = Stage::s3("imported");
    let (overwritten, gone) = drifted(&stage);
    for object in &gone {
        let (bucket, key) = stage.source_object("import-1", &object.path);
        stage.server.put(&bucket, &key, "something quite different", None, &[]);
    }
    stage.export("import-1", &[]).expect_code(1);
    stage.exported("import-1", &["--on-drift", "take"]);
    let taken: BTreeSet<_> = paths(&overwritten).into_iter().chain(paths(&gone)).collect();
    let query = "SELECT key, size, etag, stored_etag, proof FROM receipts";
    let rows = stage.millrace("sql").args([&stage.destination(), query]).run().expect_code(0).json_lines();
    let (objects, tree) = (stage.lake.objects("import-1"), stage.data());
    assert_eq!((rows.len(), tree.len()), (objects.len(), objects.len()));
    for row in rows {
        let key = row["key"].as_str().unwrap();
        let entry = objects.iter().find(|object| object.path == key).unwrap();
        let source = entry.physical_address.strip_prefix("s3://raw/");
        let now = stage.server.get(BUCKET, &format!("{PREFIX}{key}")).unwrap();
        if let Some(source) = source.and_then(|key| stage.server.get("raw", key)) {
            assert_eq!(tree[key], source.bytes(), "{key}");
        }
        assert_eq!((&row["size"], &row["stored_etag"]), (&tree[key].len().into(), &now.etag.as_str().into()), "{row}");
        assert_eq!(row["etag"], entry.checksum.as_str());
        assert_eq!(row["proof"] == "drifted", taken.contains(key), "{row}");
    }
    // Right by the receipts, not by the commit; mended when the sources are what they were.
    let verify = |options: &[&str]| stage.millrace("verify").arg(stage.destination()).args(options).run();
    let report = verify(&[]).expect_code(0).json();
    assert_eq!((&report["drifted"], &report["differences"]), (&taken.len().into(), &0.into()), "{report}");
    let source = stage.source("import-1");
    let report = verify(&["--against", &source]).expect_code(1).json();
    assert_eq!((&report["changed"], &report["differences"]), (&taken.len().into(), &taken.len().into()), "{report}");
    assert!(report["found"][0]["found"].as_str().unwrap().contains("taken by --on-drift take"), "{report}");
}

#[test]
fn what_was_taken_is_mended_when_its_source_is_back() {
    let tree = objects(&[("a", "committed"), ("b", "stays")]);
    let lake = MadeLake::imported("s3://raw/in/", &[("only", &tree)]);
    let stage = Stage::of(lake.clone(), Place::Folder, Place::Bucket);
    stage.server.create_bucket("raw");
    let put = |committed: &str, now: &str| {
        stage.server.put("raw", &format!("in/{}", md5_hex(committed.as_bytes())), now.to_owned(), None, &[]);
    };
    put("stays", "stays");
    put("committed", "overwritten since");
    stage.exported("only", &["--on-drift", "take"]);
    assert_eq!(stage.data()["a"], b"overwritten since");
    assert_eq!(stage.exported("only", &[])["copied"], 0, "the commit says nothing new");
    let source = stage.source("only");
    let repair = || stage.millrace("verify").args([&stage.destination(), "--against", &source, "--repair"]).run();
    let report = repair().expect_code(1).json();
    assert!(report["repair"]["failures"][0]["error"].as_str().unwrap().contains("was overwritten since the commit"), "{report}");
    put("committed", "committed");
    assert_eq!(stage.exported("only", &[])["copied"], 1, "the run goes on");
    assert_eq!(stage.data(), tree);
    put("committed", "overwritten again");
    stage.exported("only", &["--on-drift", "take", "--full"]);
    assert_ne!(stage.data(), tree);
    put("committed", "committed");
    assert_eq!(repair().expect_code(0).json()["state"], "repaired");
    assert_eq!(stage.data(), tree);
    let report = stage.millrace("verify").args([&stage.destination(), "--against", &source]).run().expect_code(0).json();
    assert_eq!(report["drifted"], serde_json::Value::Null, "{report}");
}

#[test]
fn an_import_is_exported_over_the_commit_before_it_and_back() {
    let stage = Stage::s3("imported");
    stage.exported("native", &[]);
    assert_eq!(stage.data(), stage.expected("native"));
    for label in ["import-2", "import-foo", "head", "native"] {
        stage.exported(label, &["--force"]);
        assert_eq!(stage.data(), stage.expected(label), "{label}");
    }
}

#[test]
fn objects_uploaded_through_the_gateway_arrive_under_their_own_metadata() {
    for from in [Place::Folder, Place::Bucket] {
        let stage = Stage::new("gateway", from, Place::Bucket);
        stage.exported("through-the-gateway", &[]);
        assert_eq!(stage.data(), stage.expected("through-the-gateway"));
        let metadata = |key: &str| stage.server.get(BUCKET, &format!("{PREFIX}{key}")).unwrap().metadata.clone();
        let pairs =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(metadata("one-part.bin"), pairs(&[("parts", "1")]));
        assert_eq!(metadata("two-parts.bin"), pairs(&[("parts", "2")]));
        assert_eq!(metadata("single.txt"), pairs(&[("n", "1"), ("owner", "Crm")]));
        let types = ["one-part.bin", "single.txt"].map(|key| stage.server.get(BUCKET, &format!("{PREFIX}{key}")).unwrap());
        let types = types.map(|object| object.content_type.clone().unwrap());
        assert_eq!(types, ["application/x-parts", "text/plain"]);
    }
}

#[test]
fn between_buckets_objects_uploaded_in_parts_are_copied_by_the_store_after_one_look() {
    let stage = Stage::s3("gateway");
    let report = stage.exported("through-the-gateway", &[]);
    let log = stage.server.log().for_prefix("lake", "gateway/data/");
    // The two uploads in parts have another etag in the store than in the commit: a refused pin, a look, and a copy.
    let counts: Vec<_> = log.counts().into_iter().collect();
    assert_eq!(counts, [("CopyObject".to_owned(), 5), ("HeadObject".to_owned(), 2)], "{log}");
    assert_eq!(log.of("CopyObject").writes().len(), 3);
    // On a cluster a report counts the command's own requests.
    assert_eq!(report["requests"]["data"], if stage.cluster.is_none() { 7 } else { 0 });
}

#[test]
fn an_object_of_another_size_is_not_taken_for_the_committed_one() {
    let stage = Stage::s3("gateway");
    let (bucket, key) = stage.source_object("through-the-gateway", "two-parts.bin");
    stage.server.put_object(&bucket, &key, Object::new("shorter").with_etag("04bd412adf17ddfa6ff3c63374f841c8-2"));
    let report = stage.export("through-the-gateway", &[]).expect_code(1).json();
    assert_eq!(report["failures"][0]["key"], "two-parts.bin");
    assert_eq!(stage.data().into_keys().collect::<Vec<_>>(), ["one-part.bin", "single.txt"]);
}

#[test]
fn a_plain_path_is_a_destination_as_well() {
    let stage = Stage::new("orders", Place::Folder, Place::Folder);
    let folder = tempfile::tempdir().unwrap();
    let export = Millrace::new().current_dir(folder.path()).args(["export", &stage.source("load"), "here/and there"]);
    export.run().expect_code(0);
    let tree = millrace_tests::tree::folder_tree(&folder.path().join("here/and there"));
    assert_eq!(millrace_tests::tree::data_only(tree), stage.expected("load"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
