//! `cat` gives the bytes of an object, wherever they lie and whatever the object is called.

use millrace_tests::{run::User, tree::Bodies};
use serde_json::json;

use super::{Door, Way};

#[test]
fn cat_writes_the_bytes_of_every_odd_key_to_stdout() {
    let door = Door::open("odd-keys", Way::Folder);
    let bodies = Bodies::of(&door.lake);
    for object in door.lake.objects("all") {
        let outcome = door.run(&["cat", &door.at("all"), &object.path]);
        assert_eq!(outcome.raw, bodies.body(&object).unwrap(), "{:?}", object.path);
    }
}

#[test]
fn cat_reads_a_table_from_the_bucket_by_every_way_that_knows_where_it_is() {
    let key = "tables/orders/dt=2026-01-02/part-00000.parquet";
    for way in [Way::Folder, Way::Bucket, Way::Server] {
        let door = Door::open("orders", way);
        let object = door.lake.objects("head").into_iter().find(|object| object.path == key).unwrap();
        let outcome = door.run(&["cat", &door.url("main"), key]);
        assert_eq!(outcome.raw, Bodies::of(&door.lake).body(&object).unwrap(), "{way:?}");
        assert_eq!(outcome.stderr, "", "{way:?}");
        assert!(door.s3.log().writes().is_empty());
    }
}

#[test]
fn cat_reads_imported_objects_from_the_buckets_in_which_they_are() {
    let door = Door::open("imported", Way::Server);
    let bodies = Bodies::of(&door.lake);
    let (mut native, mut foreign) = (0, 0);
    for object in door.lake.objects("head") {
        let outcome = door.run(&["cat", &door.url("main"), &object.path]);
        assert_eq!(outcome.raw, bodies.body(&object).unwrap(), "{:?}", object.path);
        *if object.physical_address.starts_with(door.lake.storage_namespace()) { &mut native } else { &mut foreign } += 1;
    }
    assert!(native > 0 && foreign > 50, "{native} native, {foreign} imported");
}

#[test]
fn cat_writes_a_file_whole_and_says_so_to_scripts() {
    let user = User::default();
    let door = Door::open("orders", Way::Bucket);
    let (key, url) = ("tables/customers/customers.csv", door.url("v1"));
    let command = |words: &[&str]| millrace_tests::run::Millrace::of(&user).s3(&door.s3).args(words);
    let object = door.lake.objects("load").into_iter().find(|object| object.path == key).unwrap();
    let body = Bodies::of(&door.lake).body(&object).unwrap();

    let outcome = command(&["cat", &url, key, "-o", "old.csv"]).run().expect_code(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert_eq!(std::fs::read(user.work().join("old.csv")).unwrap(), body);
    let outcome = command(&["--output", "json", "cat", &url, key, "-o", "again.csv"]).run().expect_code(0);
    assert_eq!(outcome.json(), json!({ "path": key, "size": body.len(), "etag": object.checksum, "file": "again.csv" }));
    assert_eq!(command(&["cat", &url, key, "-o", "-"]).run().expect_code(0).raw, body);
    let names: Vec<_> = std::fs::read_dir(user.work()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside the files: {names:?}");
}

#[test]
fn cat_names_an_object_that_is_not_there_or_lies_outside_the_prefix() {
    let door = Door::open("orders", Way::Folder);
    let outcome = door.command(&["cat", &door.url("main"), "tables"]).run().expect_code(2);
    assert!(outcome.stderr.starts_with("error: there is no object `tables` in lake+file://"), "{outcome}");
    assert!(outcome.stderr.contains("help: paths are those that `millrace ls` prints"), "{outcome}");
    let outcome = door.command(&["cat", &door.part("main", "site/"), "index.html"]).run().expect_code(2);
    assert!(outcome.stderr.contains("help: paths start at the root of the lake: did you mean `site/index.html`?"), "{outcome}");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn cat_refuses_bytes_that_are_not_the_commits() {
    let copy = millrace_tests::lakes::Lake::named("orders").temp_copy();
    let key = "site/index.html";
    let object = copy.objects("head").into_iter().find(|object| object.path == key).unwrap();
    let file = copy.namespace().join(object.physical_address.strip_prefix("s3://lake/orders/").unwrap());
    std::fs::write(&file, "overwritten since").unwrap();
    let outcome = millrace_tests::run::Millrace::new().args(["cat", &copy.file_url("main"), key]).run().expect_code(4);
    assert!(outcome.stderr.contains("`site/index.html` at file:///"), "{outcome}");
    assert!(outcome.stderr.contains("has 17 bytes, and the commit says 12"), "{outcome}");
    assert_eq!(outcome.stdout, "");
    std::fs::remove_file(&file).unwrap();
    let outcome = millrace_tests::run::Millrace::new().args(["cat", &copy.file_url("main"), key]).run().expect_code(4);
    assert!(outcome.stderr.contains("`site/index.html` at file:///"), "{outcome}");
}
