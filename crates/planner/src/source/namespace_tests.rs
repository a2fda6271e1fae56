use std::sync::Arc;

use super::super::open;
use super::super::testing::{Lake, TestStores, copy_metadata};
use super::*;
use crate::ErrorKind;

const LAKES: [&str; 7] = ["orders", "churn", "imported", "odd-keys", "delta", "gateway", "writes"];

async fn source(lake: &Lake) -> NamespaceSource {
    NamespaceSource::open(&lake.namespace(), &TestStores).await.unwrap()
}

async fn failure(location: &str) -> Error {
    NamespaceSource::open(&Location::parse(location).unwrap(), &TestStores).await.unwrap_err()
}

#[tokio::test]
async fn every_commit_of_every_lake_resolves_by_its_id_and_by_its_beginning() {
    for name in LAKES {
        let lake = Lake::read(name);
        let source = source(&lake).await;
        for (id, json) in lake.commits() {
            let commit = source.resolve(&id).await.unwrap();
            let parents: Vec<String> = serde_json::from_value(json["parents"].clone()).unwrap();
            let metadata = serde_json::from_value(json["metadata"].clone()).unwrap();
            assert_eq!((&*commit.id, &commit.parents, &commit.metadata), (&*id, &parents, &metadata), "{name}");
            assert_eq!(commit.metarange, json["meta_range_id"], "{name} {id}");
            assert_eq!(
                (commit.created, commit.generation),
                (json["creation_date"].as_i64().unwrap(), json["generation"].as_i64().unwrap())
            );
            assert_eq!(
                (commit.committer.as_str(), commit.message.as_str()),
                (json["committer"].as_str().unwrap(), json["message"].as_str().unwrap())
            );
            assert_eq!(source.resolve(&id[..12]).await.unwrap(), commit, "{name} {id}");
            assert_eq!(source.commit(&id).await.unwrap(), commit, "{name} {id}");
            assert_eq!(source.resolve(&format!("{id}~0^0")).await.unwrap(), commit, "{name} {id}");
            for (nth, parent) in parents.iter().enumerate() {
                assert_eq!(source.resolve(&format!("{id}^{}", nth + 1)).await.unwrap().id, *parent, "{name} {id}");
            }
        }
    }
}

#[tokio::test]
async fn branches_and_tags_resolve_and_are_listed_in_order() {
    for name in LAKES {
        let lake = Lake::read(name);
        let source = source(&lake).await;
        let mut expected = Vec::new();
        for (map, kind) in [("branches", RefKind::Branch), ("tags", RefKind::Tag)] {
            for (name, commit) in lake.pairs(map) {
                assert_eq!(source.resolve(&name).await.unwrap().id, commit, "{name}");
                let at = source.resolve(&format!("{name}@")).await;
                assert_eq!(at.is_ok(), kind == RefKind::Branch, "{name}@");
                expected.push(Reference { kind, name, commit });
            }
        }
        assert_eq!(source.refs().await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn modifiers_go_back_along_parents() {
    let lake = Lake::read("orders");
    let source = source(&lake).await;
    let table = [
        ("main", "head"),
        ("main@", "head"),
        ("main~", "reverted"),
        ("main~1", "reverted"),
        ("main^", "reverted"),
        ("main~2", "merged"),
        ("main~2^1", "metadata-only"),
        ("main~2^2", "dev-site"),
        ("main~2^2~1", "day4"),
        ("main^^^^", "day4"),
        ("main~6", "empty"),
        ("v1", "load"),
        ("v2~1", "load"),
        ("release-2026-01", "day4"),
        ("emptied~1", "head"),
    ];
    for (expression, label) in table {
        assert_eq!(source.resolve(expression).await.unwrap().id, lake.id(label), "{expression}");
    }
    let head = lake.id("head");
    assert_eq!(source.resolve(&format!("{}~2^2", &head[..8])).await.unwrap().id, lake.id("dev-site"));
    assert_eq!(source.resolve("emptied").await.unwrap().metarange.len(), 64);
    assert_eq!(source.resolve("main~6").await.unwrap().metarange, "");
}

#[tokio::test]
async fn what_names_nothing_is_a_usage_error_that_says_why() {
    let lake = Lake::read("orders");
    let source = source(&lake).await;
    let table = [
        ("absent", "`absent` is no branch, tag or commit of the lake at file://"),
        ("bad ref", "no branch, tag or commit"),
        ("MAIN", "no branch, tag or commit"),
        ("ffffffff", "no branch, tag or commit"),
        ("4b", "more than one commit: 4b05819457f1c2f3, 4b9c6ced140c1c76"),
        ("main~99", "goes back past the first commit, which is 6 steps back"),
        ("main^2", "has 1 parent"),
        ("main~6^1", "has 0 parents"),
        ("v1@", "`v1` is no branch"),
        ("main$", "uncommitted"),
        ("", "no reference"),
    ];
    for (expression, why) in table {
        let error = source.resolve(expression).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{expression}: {error}");
        assert!(error.message().contains(why), "{expression}: {error}");
        assert!(error.help().is_some(), "{expression}");
    }
    let error = source.resolve(&"f".repeat(64)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("is not in the refs dump of 20"), "{error}");
}

#[tokio::test]
async fn the_age_of_the_dump_is_that_of_its_manifest_and_reading_it_counts_no_range() {
    let lake = Lake::read("orders");
    let source = source(&lake).await;
    let modified = std::fs::metadata(lake.folder.join("namespace/_lakefs/refs_manifest.json")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(source.refs_age(), i64::try_from(modified).ok());
    source.resolve("main~3").await.unwrap();
    source.refs().await.unwrap();
    let counts = source.namespace().counters().snapshot();
    assert_eq!(counts, graveler::Counts::default());
    assert_eq!(source.storage(), &lake.namespace());
    assert!(source.notes().is_empty());
}

#[tokio::test]
async fn a_missing_manifest_is_told_apart_from_a_missing_lake() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let error = failure(at).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("there is no lake at file://"), "{error}");
    assert!(failure(&format!("{at}/absent")).await.message().contains("there is no lake"));
    assert!(failure("s3://empty/ns").await.message().contains("there is no lake at s3://empty/ns"));

    copy_metadata(&Lake::read("orders"), dir.path());
    let error = failure(at).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("has no refs dump (_lakefs/refs_manifest.json)"), "{error}");
    let help = error.help().unwrap();
    for word in ["PUT", "/api/v1/repositories/REPO/refs/dump", "`lakectl refs-dump` leaves no manifest", "?dump=FILE"] {
        assert!(help.contains(word), "{help}");
    }

    std::fs::write(dir.path().join("_lakefs/refs_manifest.json"), "{}").unwrap();
    let error = failure(at).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("expected the JSON of a refs dump"), "{error}");
}

#[tokio::test]
async fn a_refusal_of_the_store_names_the_place_and_the_reason() {
    let error = failure("s3://denied/ns").await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("s3://denied/ns may not be read") && error.message().contains("AccessDenied"), "{error}");
    assert!(error.help().unwrap().contains("credentials"));
}

#[tokio::test]
async fn a_branch_that_moved_while_the_dump_was_written_is_a_matter_of_a_new_dump() {
    let (orders, churn) = (Lake::read("orders"), Lake::read("churn"));
    let dir = tempfile::tempdir().unwrap();
    copy_metadata(&orders, dir.path());
    copy_metadata(&churn, dir.path());
    let mut ids = orders.json["dump"].clone();
    ids["branches_meta_range_id"] = churn.json["dump"]["branches_meta_range_id"].clone();
    std::fs::write(dir.path().join("_lakefs/refs_manifest.json"), ids.to_string()).unwrap();
    let source = NamespaceSource::open(&Location::parse(dir.path().to_str().unwrap()).unwrap(), &TestStores).await.unwrap();
    assert_eq!(source.resolve("v1").await.unwrap().id, orders.id("load"));
    let error = source.resolve("main").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("which branch `main` points to, is not in the refs dump"), "{error}");
    assert!(error.help().unwrap().contains("refs/dump"));
}

#[tokio::test]
async fn a_dump_can_be_given_by_hand_as_ids_or_as_the_servers_answer() {
    let lake = Lake::read("orders");
    let dir = tempfile::tempdir().unwrap();
    copy_metadata(&lake, dir.path());
    let task = serde_json::json!({"id": "x", "done": true, "refs": lake.json["dump"]});
    for json in [lake.json["dump"].to_string(), task.to_string()] {
        let file = dir.path().join("my refs.json");
        std::fs::write(&file, json).unwrap();
        let url =
            format!("lake+file://{}?ref=main&dump={}", dir.path().display(), file.display().to_string().replace(' ', "%20"));
        let url = super::super::LakeUrl::parse(&url).unwrap();
        let source = open(&url, Arc::new(TestStores), &|_| None).await.unwrap();
        assert_eq!(source.resolve(url.require_reference().unwrap()).await.unwrap().id, lake.id("head"));
        assert!(source.refs_age().is_some());
    }
    for (file, why) in
        [("/nowhere/refs.json", "cannot be read"), (lake.folder.join("lake.json").to_str().unwrap(), "is no refs dump")]
    {
        let error = NamespaceSource::open_dump(&lake.namespace(), &TestStores, file).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.message().contains(why) && error.help().unwrap().contains("lakectl refs-dump"), "{error}");
    }
    let error = NamespaceSource::open_dump(&lake.namespace(), &TestStores, "s3://empty/dumps/refs.json").await.unwrap_err();
    assert!(error.message().contains("`s3://empty/dumps/refs.json` is not there"), "{error}");
}

#[tokio::test]
async fn a_bare_metarange_is_a_commit_without_an_id() {
    let lake = Lake::read("orders");
    let id = lake.commits()[&lake.id("head")]["meta_range_id"].as_str().unwrap().to_owned();
    let url = lake.url(&format!("metarange={id}"));
    let source = open(&url, Arc::new(TestStores), &|_| None).await.unwrap();
    let commit = source.resolve(url.require_reference().unwrap()).await.unwrap();
    assert_eq!((commit.id.as_str(), &commit.metarange), ("", &id));
    assert!(source.namespace().metarange(&id).await.unwrap().count() > 0);
    assert!(source.refs().await.unwrap().is_empty());
    assert_eq!(source.commit(&lake.id("head")).await.unwrap_err().kind(), ErrorKind::Usage);
    for (bad, why) in [("00".to_owned(), "is no metarange"), ("0".repeat(64), "has no metarange")] {
        let error = NamespaceSource::open_metarange(&lake.namespace(), &TestStores, &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.message().contains(why), "{error}");
    }
}
