//! The recorded lakes can be read, and hold what their listings say.

use std::collections::BTreeSet;

use millrace_tests::{
    inventory,
    lakes::{ALL, Lake},
    s3::S3Server,
    tree::{Bodies, data_only, expected_tree, folder_tree, md5_hex},
};

#[test]
fn every_listed_object_has_its_bytes_unless_its_source_is_gone() {
    let mut gone = BTreeSet::new();
    for name in ALL {
        let lake = Lake::named(name);
        let bodies = Bodies::of(&lake);
        for label in lake.info.commits.keys() {
            for object in lake.objects(label) {
                let Some(body) = bodies.body(&object) else {
                    gone.insert((name, label.clone(), object.path));
                    continue;
                };
                assert_eq!(body.len() as u64, object.size_bytes, "{name} {label} {}", object.path);
                if name != "gateway" && !object.checksum.contains('-') {
                    assert_eq!(md5_hex(&body), object.checksum, "{name} {label} {}", object.path);
                }
            }
        }
    }
    let of = |name: &str, label: &str| gone.iter().filter(|gone| gone.0 == name && gone.1 == label).count();
    assert_eq!(of("imported", "import-1"), 20, "15 deleted, 5 overwritten");
    assert_eq!(of("writes", "three"), 1, "staged by its address");
    assert_eq!(gone.len(), 21 + of("writes", "head"), "{gone:?}");
}

#[test]
fn a_diff_is_the_same_in_both_directions() {
    for name in ALL {
        let lake = Lake::named(name);
        for (left, right) in lake.recorded_diffs() {
            let paths = |label: &str| lake.objects(label).into_iter().map(|object| object.path).collect::<BTreeSet<_>>();
            let (old, new) = (paths(&left), paths(&right));
            let of_kind = |lines: Vec<millrace_tests::lakes::DiffLine>, kind: &str| -> BTreeSet<String> {
                lines.into_iter().filter(|line| line.kind == kind).map(|line| line.path).collect()
            };
            assert_eq!(of_kind(lake.diff(&left, &right), "added"), &new - &old, "{name} {left}..{right}");
            assert_eq!(of_kind(lake.diff(&right, &left), "added"), &old - &new, "{name} {right}..{left}");
        }
    }
}

#[test]
fn a_loaded_lake_lies_as_in_the_real_store() {
    let server = S3Server::start();
    for name in ALL {
        Lake::named(name).load(&server);
    }
    let orders = Lake::named("orders");
    assert_eq!(server.snapshot().tree("lake", "orders/"), folder_tree(&orders.namespace()));
    let gateway = Lake::named("gateway");
    for (key, etag) in gateway.store_etags() {
        assert_eq!(server.get("lake", &key).unwrap().etag, etag);
    }
    for source in Lake::named("imported").sources() {
        let object = server.get(&source.bucket, &source.key).unwrap();
        assert_eq!((&object.etag, &object.content_type), (&source.etag, &source.content_type));
    }
}

#[test]
fn the_expected_tree_of_an_example_has_its_markers() {
    let lake = Lake::named("orders");
    let tree = expected_tree(&lake, "day4");
    assert_eq!(tree.len(), lake.objects("day4").len());
    assert!(tree.keys().any(|key| key.ends_with("/_SUCCESS")));
    assert_eq!(data_only(tree.clone()), tree);
    let example = lake.dir().ancestors().nth(4).unwrap().join("examples/orders");
    assert_eq!(folder_tree(&example), folder_tree(&lake.namespace()));
    let copy = lake.temp_copy();
    std::fs::remove_dir_all(copy.namespace().join("data")).unwrap();
    assert!(lake.namespace().join("data").exists());
}

#[test]
fn inventories_fill_their_buckets() {
    let server = S3Server::start();
    inventory::load_deliveries(&server);
    let expected = inventory::expected();
    for day in [1, 2] {
        inventory::load_day(&server, day);
        assert_eq!(server.keys(inventory::LISTED_BUCKET, "").len() as u64, expected[format!("day{day}")].as_u64().unwrap());
    }
    assert!(!server.keys(inventory::INVENTORY_BUCKET, "adopted/daily/").is_empty());
    for object in inventory::objects(1) {
        assert_eq!((object.size, object.etag), (object.body.len() as u64, md5_hex(object.body.as_bytes())));
    }
}

#[test]
fn the_wide_lake_is_read_where_it_is_found() {
    if let Some(lake) = Lake::wide() {
        assert!(lake.info.commits.len() > 1);
    }
}
