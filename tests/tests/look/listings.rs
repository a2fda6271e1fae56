//! `ls` and `diff` equal what the server listed, for every recorded commit and pair, by every way.

use millrace_tests::lakes::{ALL, DiffLine, Lake, ListedObject};
use serde_json::{Value, json};

use super::{Door, Way};

/// A line of `ls` as the recorded listing has it. Where the server cut the address at a `?`, so is ours.
fn as_recorded(line: &Value, door: &Door, listed: &ListedObject) -> Value {
    let mut line = line.clone();
    let address = line["address"].as_str().unwrap_or_else(|| panic!("no address: {line}")).to_owned();
    if let Some((cut, _)) = address.split_once('?') {
        let source = millrace_tests::tree::Bodies::of(&door.lake).source(listed).cloned();
        let source = source.unwrap_or_else(|| panic!("{address} is not the whole address of a known object"));
        assert_eq!(address, format!("s3://{}/{}", source.bucket, source.key));
        line["address"] = cut.into();
    }
    line
}

fn recorded(door: &Door, listed: &ListedObject) -> Value {
    let address = match listed.physical_address.strip_prefix(door.lake.storage_namespace()) {
        Some(rest) => format!("{}{rest}", door.storage()),
        None => listed.physical_address.clone(),
    };
    json!({
        "path": listed.path,
        "size": listed.size_bytes,
        "etag": listed.checksum,
        "mtime": listed.mtime,
        "content_type": listed.content_type,
        "metadata": listed.metadata,
        "address": address,
    })
}

fn listings_are_the_servers(way: Way) {
    let mut listings = 0;
    for name in ALL {
        let door = Door::open(name, way);
        for label in door.lake.info.commits.keys().filter(|label| is_listed(&door.lake, label)) {
            let expected = door.lake.objects(label);
            let lines = door.json(&["ls", &door.at(label)]);
            assert_eq!(lines.len(), expected.len(), "{name} {label}");
            for (line, listed) in lines.iter().zip(&expected) {
                assert_eq!(as_recorded(line, &door, listed), recorded(&door, listed), "{name} {label}");
            }
            listings += 1;
        }
    }
    assert_eq!(listings, 45, "every recorded listing was compared");
}

fn is_listed(lake: &Lake, label: &str) -> bool {
    lake.dir().join("expected").join(format!("{label}.objects.jsonl")).exists()
}

fn differences_are_the_servers(way: Way) {
    let mut pairs = 0;
    for name in ALL {
        let door = Door::open(name, way);
        for (left, right) in door.lake.recorded_diffs() {
            differs_as_recorded(&door, &left, &right);
            differs_as_recorded(&door, &right, &left);
            pairs += 1;
        }
    }
    assert_eq!(pairs, 57, "every recorded pair was compared");
}

fn differs_as_recorded(door: &Door, left: &str, right: &str) {
    let expected = door.lake.diff(left, right);
    let lines = door.json(&["diff", &door.at(left), &door.at(right)]);
    let mut found: Vec<DiffLine> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let unknown = expected.get(at).is_some_and(|expected| expected.size_bytes.is_none());
        let size_bytes = line["size"].as_u64().filter(|_| !unknown);
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        found.push(DiffLine { path: text("path"), kind: text("type"), size_bytes });
    }
    assert_eq!(found, expected, "{} {left}..{right}", door.lake.name);
}

#[test]
fn ls_of_every_recorded_commit_in_a_folder_is_what_the_server_listed() {
    listings_are_the_servers(Way::Folder);
}

#[test]
fn ls_of_every_recorded_commit_in_a_bucket_is_what_the_server_listed() {
    listings_are_the_servers(Way::Bucket);
}

#[test]
fn ls_of_every_recorded_commit_of_a_server_is_what_the_server_listed() {
    listings_are_the_servers(Way::Server);
}

#[test]
fn ls_of_every_recorded_commit_is_the_same_when_only_the_server_can_be_read() {
    listings_are_the_servers(Way::ServerAlone);
}

#[test]
fn diff_of_every_recorded_pair_in_a_folder_is_the_servers_in_both_directions() {
    differences_are_the_servers(Way::Folder);
}

#[test]
fn diff_of_every_recorded_pair_in_a_bucket_is_the_servers_in_both_directions() {
    differences_are_the_servers(Way::Bucket);
}

#[test]
fn diff_of_every_recorded_pair_of_a_server_is_the_servers_in_both_directions() {
    differences_are_the_servers(Way::Server);
}

#[test]
fn diff_of_every_recorded_pair_is_the_same_when_only_the_server_can_be_read() {
    differences_are_the_servers(Way::ServerAlone);
}

#[test]
fn metadata_is_read_from_the_namespace_and_through_the_server_only_where_that_is_out_of_reach() {
    let tables = |door: &Door| door.server.log().iter().filter(|asked| asked.path.contains("/metadata/")).count();
    let near = Door::open("orders", Way::Server);
    near.run(&["ls", &near.url("main")]);
    assert_eq!(tables(&near), 0, "{:?}", near.server.log());
    assert!(!near.s3.log().for_prefix("lake", "orders/_lakefs/").is_empty());
    assert!(near.s3.log().writes().is_empty());

    let far = Door::open("orders", Way::ServerAlone);
    let outcome = far.run(&["ls", &far.url("main")]);
    assert!(tables(&far) > 2, "{:?}", far.server.log());
    assert_eq!(outcome.stdout.lines().count(), far.lake.objects("head").len());
}

#[test]
fn uncommitted_objects_of_a_branch_are_not_listed() {
    // What was uploaded to `main` and never committed.
    const UNCOMMITTED: &str = "data/ft77779ksdubsq286860/dc08us1ksdubsq286edg";
    for way in [Way::Folder, Way::Bucket, Way::Server, Way::ServerAlone] {
        let door = Door::open("orders", way);
        assert!(door.lake.namespace().join(UNCOMMITTED).is_file());
        let expected: Vec<_> = door.lake.objects("head").into_iter().map(|object| object.path).collect();
        for reference in ["main", "main@"] {
            assert_eq!(door.field("path", &["ls", &door.url(reference)]), expected, "{way:?}");
            let addresses = door.field("address", &["ls", &door.url(reference)]);
            assert!(!addresses.iter().any(|address| address.ends_with(UNCOMMITTED)), "{way:?}");
        }
    }
}
