//! The guard against self-destruction: no export writes or deletes where a lake, or what was imported into it, lies.

use std::path::Path;

use millrace_tests::{lakefs::FakeLakefs, lakes::Lake, run::Millrace};

use super::{End, Untouched, assert_no_writes, in_a_bucket, refused};

const HELP: &str = "choose another destination";

#[test]
fn a_destination_that_holds_the_lake_or_lies_in_its_data() {
    let (s3, lake, url) = in_a_bucket("orders");
    let server = FakeLakefs::start(&lake);
    let command = || Millrace::new().s3(&s3).lakefs(&server);
    for url in [format!("{url}?ref=main"), "lakefs://orders/main".to_owned()] {
        for (destination, why) in [
            ("s3://lake/orders", "holds the lake itself"),
            ("s3://lake/orders/", "holds the lake itself"),
            ("s3a://lake", "holds the lake itself"),
            ("s3://lake/orders/data", "holds the lake itself"),
            ("s3://lake/orders/data/x/y", "lies inside the lake's own data"),
            ("s3://lake/orders/_lakefs", "holds the lake itself"),
            ("s3://lake/orders/_lakefs/x", "lies inside the lake's own data"),
        ] {
            for words in [&["export", url.as_str(), destination][..], &["plan", &url, destination]] {
                refused(End::Guard, command, words)
                    .says(&[destination.trim_start_matches("s3a"), why, "s3://lake/orders"])
                    .helps(&[HELP]);
            }
            // No flag overrides it.
            let forced = ["export", url.as_str(), destination, "--force", "--assume-empty", "--full", "--max-delete", "100%"];
            refused(End::Guard, command, &forced).says(&[why]);
        }
    }
    assert_no_writes(&s3);
    assert_eq!(s3.keys("lake", "orders/").len(), millrace_tests::tree::folder_tree(&lake.namespace()).len());
}

#[test]
fn a_destination_beside_the_lake_is_none_of_its_business() {
    let (s3, _, url) = in_a_bucket("delta");
    let before = s3.snapshot().tree("lake", "delta/");
    Millrace::new().s3(&s3).args(["export", &format!("{url}?ref=main"), "s3://lake/delta2"]).run().expect_code(0);
    assert!(s3.snapshot().tree("lake", "delta/") == before);
    assert!(!s3.keys("lake", "delta2/").is_empty());
}

#[test]
fn one_store_is_known_under_two_endpoints() {
    let (s3, _, url) = in_a_bucket("orders");
    let alias = s3.endpoint().replace("127.0.0.1", "localhost");
    let store = format!("prefix=s3://lake/orders/out,endpoint={alias},path_style=true");
    // By another endpoint the same bucket is the same bucket.
    let words =
        ["export", &format!("{url}?ref=main"), "s3://lake/orders/data/out", "--store", &store.replace("/out", "/data/out")];
    refused(End::Guard, || Millrace::new().s3(&s3), &words).says(&["lies inside the lake's own data"]).helps(&[HELP]);
    assert_no_writes(&s3);
}

#[test]
fn the_same_in_folders_also_through_links() {
    let copy = Lake::named("orders").temp_copy();
    let folder = tempfile::tempdir().unwrap();
    let link = |name: &str, to: &Path| {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(to, &link).unwrap();
        link.display().to_string()
    };
    let namespace = copy.namespace();
    let below = |name: &str| namespace.join(name).display().to_string();
    let untouched = Untouched::new(copy.dir());
    let inside = "lies inside the lake's own data";
    for (destination, why) in [
        (below(""), "holds the lake itself"),
        (copy.dir().display().to_string(), "holds the lake itself"),
        ("/".to_owned(), "holds the lake itself"),
        (below("data"), "holds the lake itself"),
        (below("data/new/deep"), inside),
        (below("_lakefs/new"), inside),
        (format!("file://{}", below("data/../data/x")), inside),
        (link("namespace", &namespace), "holds the lake itself"),
        (link("data", &namespace.join("data")), "holds the lake itself"),
        (format!("{}/new", link("data2", &namespace.join("data"))), inside),
    ] {
        refused(End::Guard, Millrace::new, &["export", &copy.file_url("main"), &destination, "--force"])
            .says(&[why, &namespace.display().to_string()])
            .helps(&[HELP]);
    }
    // And the lake itself by a link.
    let url = format!("lake+file://{}?ref=main", link("lake", &namespace));
    refused(End::Guard, Millrace::new, &["export", &url, &below("data/x")]).says(&[inside]);
    untouched.check();
}

#[test]
fn the_bucket_of_an_imported_object() {
    let (s3, lake, url) = in_a_bucket("imported");
    let url = format!("{url}?ref=main");
    let before = s3.snapshot();
    let objects = lake.objects("head");
    let foreign: Vec<_> =
        objects.iter().filter(|object| !object.physical_address.starts_with(lake.storage_namespace())).collect();
    let address = &foreign[0].physical_address;
    let (bucket, key) = address.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let folder = key.rsplit_once('/').unwrap().0;
    for destination in [format!("s3://{bucket}"), format!("s3://{bucket}/{folder}")] {
        for options in [&[][..], &["--force", "--full"]] {
            let mut words = vec!["export", &url, &destination];
            words.extend(options);
            let refusal = refused(End::Guard, || Millrace::new().s3(&s3), &words)
                .says(&[
                    "the export would overwrite or delete the lake's own objects",
                    &format!("`{}` is stored at s3://{bucket}/", foreign[0].path),
                ])
                .says(&["below the destination", "Nothing was written."])
                .helps(&["choose a destination that does not hold the lake's data, nor objects that were imported into it"]);
            assert_eq!(refusal.message.lines().filter(|line| line.starts_with("  `")).count(), 10, "{}", refusal.message);
            assert!(refusal.message.contains("  … and "), "{}", refusal.message);
        }
    }
    assert_no_writes(&s3);
    assert!(s3.snapshot().differences(&before).is_empty());
}

#[test]
fn an_imported_object_that_only_the_base_has() {
    // Between the imports some objects went: their bytes are still where they were imported from.
    let (s3, lake, url) = in_a_bucket("imported");
    let gone = lake.diff("import-1", "import-2").into_iter().find(|line| line.kind == "removed").unwrap().path;
    let object = lake.objects("import-1").into_iter().find(|object| object.path == gone).unwrap();
    let (bucket, key) = object.physical_address.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let destination = format!("s3://{bucket}/{}", key.rsplit_once('/').unwrap().0);
    let (old, new) = (&lake.commit("import-1").id, &lake.commit("import-2").id);
    let words = ["export", &format!("{url}?ref={new}"), &destination, "--from", old, "--include", &format!("/{gone}"), "--force"];
    refused(End::Guard, || Millrace::new().s3(&s3), &words)
        .says(&[&format!("`{gone}` is stored at s3://{bucket}/"), "below the destination"]);
    assert_no_writes(&s3);
}
