use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use graveler::FileKind;
use serde_json::json;

use super::super::testing::{Answer, KEY, Lake, SECRET, Server, TestStores};
use super::super::{LakeUrl, log, open};
use super::*;
use crate::ErrorKind;

fn options(metadata: MetadataRoute) -> ServerOptions {
    let client = ClientOptions { pause: Duration::from_millis(1), ..ClientOptions::default() };
    ServerOptions { metadata, client }
}

async fn try_open(server: &Server, repository: &str, metadata: MetadataRoute) -> Result<ServerSource> {
    ServerSource::open(server.settings(), repository, &TestStores, options(metadata)).await
}

async fn orders() -> (Lake, Server, ServerSource) {
    let server = Server::of_lake("orders").await;
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    (Lake::read("orders"), server, source)
}

/// A server whose repository lies at `storage`, and that hands out the metadata files of `orders`.
async fn elsewhere(storage: &'static str) -> Server {
    Server::start(move |heard| {
        if heard.path == "/repositories/orders" {
            return Some(Answer::json(200, &json!({"id": "orders", "storage_namespace": storage})));
        }
        let file = Lake::read("orders").folder.join("namespace/_lakefs").join(heard.path.rsplit('/').next().unwrap());
        Some(match std::fs::read(file) {
            Ok(bytes) if heard.path.contains("/metadata/object/") => Answer(200, "application/octet-stream", bytes),
            _ => Answer::json(410, &json!({"message": "No data"})),
        })
    })
    .await
}

#[tokio::test]
async fn recorded_expressions_resolve_as_the_server_resolved_them() {
    let (lake, server, source) = orders().await;
    let head = lake.id("head");
    for (expression, label) in
        [("main", "head"), ("main@", "head"), ("main~1", "reverted"), (&*head, "head"), (&head[..12], "head")]
    {
        let commit = source.resolve(expression).await.unwrap();
        assert_eq!(commit.id, lake.id(label), "{expression}");
        assert_eq!(commit.metarange, lake.commits()[&commit.id]["meta_range_id"], "{expression}");
        assert_eq!((commit.committer.as_str(), commit.created), ("admin", 1_795_198_832));
    }
    assert!(server.paths().contains(&"/repositories/orders/commits/main%40".to_owned()));
    assert_eq!(source.storage().to_string(), "s3://lake/orders");
    let agent = server.heard()[0].headers["user-agent"].clone();
    assert_eq!(agent, format!("millrace/{}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn what_the_server_does_not_know_is_a_usage_error() {
    let (_, server, source) = orders().await;
    for (expression, why) in [
        ("absent", "`absent` is no branch, tag or commit of repository `orders`"),
        ("main~99", "no branch, tag or commit"),
        ("bad ref", "no branch, tag or commit"),
        ("..", "no branch, tag or commit"),
        ("main^2", "`main^2` means nothing in repository `orders`"),
        ("main~x", "`x` after `~`"),
    ] {
        let error = source.resolve(expression).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{expression}: {error}");
        assert!(error.message().contains(why), "{expression}: {error}");
        assert!(error.help().is_some(), "{expression}");
    }
    let asked = server.paths().iter().filter(|path| path.ends_with("/main%5E2")).count();
    assert_eq!(asked, 1, "a validation error is final although it comes as a 500");
    let error = try_open(&server, "absent", MetadataRoute::Auto).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("repository `absent` is not on the lakeFS server at http://127.0.0.1"), "{error}");
}

#[tokio::test]
async fn uncommitted_data_is_refused_without_asking_the_server() {
    let (_, server, source) = orders().await;
    let before = server.heard().len();
    assert_eq!(source.resolve("main$").await.unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(server.heard().len(), before);
}

#[tokio::test]
async fn refused_credentials_are_out_of_reach_and_are_not_shown() {
    let server = Server::of_lake("orders").await;
    let settings = LakefsSettings { secret: "wrong-hush".into(), ..server.settings() };
    let error = ServerSource::open(settings, "orders", &TestStores, options(MetadataRoute::Auto)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("refuses the credentials (access key id from the test)"), "{error}");
    assert!(!format!("{error:?}").contains("hush"));
    assert_eq!(server.heard().len(), 1, "a 401 is not tried again");
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    assert!(!format!("{source:?}").contains(SECRET));
}

#[tokio::test]
async fn a_forbidden_repository_is_out_of_reach_and_named() {
    let server = Server::start(|_| Some(Answer::json(403, &json!({"message": "insufficient permissions"})))).await;
    let error = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("repository `orders`: insufficient permissions"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_is_no_lakefs_is_named() {
    let page = b"<html>nginx</html>".to_vec();
    for (answer, why) in [
        (Answer(200, "text/html", page.clone()), "answers 200 with text/html"),
        (Answer(404, "text/html", page), "answers 404 with text/html"),
        (Answer::json(200, &json!({"hello": "world"})), "missing field `storage_namespace`"),
        (Answer(302, "text/html", Vec::new()), "points to `https://elsewhere/login`"),
    ] {
        let server = Server::start(move |_| Some(answer.clone())).await;
        let error = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.message().contains("is no lakeFS server") && error.message().contains(why), "{error}");
        assert!(error.message().contains(&server.endpoint), "{error}");
    }
    let settings = LakefsSettings { endpoint: "http://127.0.0.1:1/".to_owned(), ..Server::of_lake("orders").await.settings() };
    let error = ServerSource::open(settings, "orders", &TestStores, options(MetadataRoute::Auto)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("http://127.0.0.1:1 does not answer") && error.message().contains("refused"), "{error}");
}

#[tokio::test]
async fn throttling_a_broken_answer_and_a_broken_connection_are_tried_again() {
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |_| match turn.fetch_add(1, Ordering::Relaxed) {
        0 => Some(Answer::json(429, &json!({"message": "slow down"}))),
        1 => Some(Answer(503, "text/html", Vec::new())),
        2 => None,
        _ => Some(Answer::json(200, &json!({"storage_namespace": "s3://lake/orders/"}))),
    })
    .await;
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    assert_eq!(source.storage().to_string(), "s3://lake/orders");
    assert_eq!(server.heard().len(), 4);

    let server = Server::start(|_| Some(Answer::json(500, &json!({"message": "branch is locked, try again later"})))).await;
    let error = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (ErrorKind::Unreachable, 4));
    assert!(error.message().contains("answers 500") && error.message().contains("try again later"), "{error}");
}

#[tokio::test]
async fn lists_are_read_page_by_page_branches_first() {
    let (lake, server, source) = orders().await;
    let refs = source.refs().await.unwrap();
    let names: Vec<_> = refs.iter().map(|r| (r.kind, r.name.as_str())).collect();
    let branches = ["dev", "emptied", "main", "release-2026-01"].map(|name| (RefKind::Branch, name));
    let tags = ["v1", "v2"].map(|name| (RefKind::Tag, name));
    assert_eq!(names, [&branches[..], &tags[..]].concat());
    assert_eq!(refs[2].commit, lake.id("head"));
    let lists: Vec<_> = server.heard().into_iter().filter(|heard| heard.path.ends_with("/branches")).collect();
    assert_eq!(lists.len(), 4);
    assert!(lists.iter().all(|heard| heard.query["amount"] == "1000"));
    assert_eq!(lists[1].query["after"], "dev");
}

#[tokio::test]
async fn a_list_that_goes_round_in_circles_is_an_error() {
    let server = Server::start(|heard| {
        let page = json!({"pagination": {"has_more": true, "next_offset": "a"}, "results": [{"id": "a", "commit_id": "c"}]});
        let repository = json!({"storage_namespace": "s3://lake/orders"});
        Some(Answer::json(200, if heard.path.ends_with("/orders") { &repository } else { &page }))
    })
    .await;
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    assert_eq!(source.refs().await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn metadata_is_read_from_the_namespace_where_that_is_in_reach() {
    let (lake, server, source) = orders().await;
    let commit = source.resolve("main").await.unwrap();
    let metarange = source.namespace().metarange(&commit.metarange).await.unwrap();
    let objects = source.namespace().records(&metarange).try_collect::<Vec<_>>().await.unwrap();
    let expected = std::fs::read_to_string(lake.folder.join("expected/head.objects.jsonl")).unwrap();
    assert_eq!(objects.len(), expected.lines().count());
    assert!(!server.paths().iter().any(|path| path.contains("/metadata/")));
    assert!(source.notes().is_empty());
}

#[tokio::test]
async fn the_server_hands_out_metadata_where_the_namespace_is_out_of_reach() {
    let lake = Lake::read("orders");
    let id = lake.commits()[&lake.id("head")]["meta_range_id"].as_str().unwrap().to_owned();
    for (storage, why) in [
        ("s3://denied/orders", "AccessDenied"),
        ("s3://empty/orders", "found none in the store"),
        ("s3://nokey/orders", "no credentials for s3://nokey/orders"),
        ("local://orders", "no credentials for local://"),
    ] {
        let server = elsewhere(storage).await;
        let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
        assert!(source.notes().is_empty(), "nothing was read yet");
        let metarange = source.namespace().metarange(&id).await.unwrap();
        let objects = source.namespace().records(&metarange).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(objects.len() as u64, metarange.count());
        let key = &objects[3].key;
        assert!(source.namespace().lookup(&metarange, key).await.unwrap().is_some());
        let notes = source.notes();
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains(&format!("through the lakeFS server at {}", server.endpoint)) && notes[0].contains(why),
            "{notes:?}"
        );
    }
}

#[tokio::test]
async fn when_both_ways_fail_the_error_says_what_failed_on_each() {
    let server = elsewhere("s3://denied/orders").await;
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    let error = Error::from(source.namespace().metarange(&"0".repeat(64)).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    for word in ["AccessDenied", "nor can the lakeFS server", "No data", "s3://denied/orders/_lakefs/000"] {
        assert!(error.message().contains(word), "{error}");
    }
    // Missing on both sides is a gap in the lake, not a matter of reach.
    let server = elsewhere("s3://empty/orders").await;
    let source = try_open(&server, "orders", MetadataRoute::Auto).await.unwrap();
    let error = Error::from(source.namespace().metarange(&"0".repeat(64)).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_way_can_be_forced() {
    let lake = Lake::read("orders");
    let id = lake.commits()[&lake.id("head")]["meta_range_id"].as_str().unwrap().to_owned();
    let server = Server::of_lake("orders").await;
    let source = try_open(&server, "orders", MetadataRoute::Api).await.unwrap();
    source.namespace().metarange(&id).await.unwrap();
    assert!(server.paths().iter().any(|path| path.contains("/metadata/object/meta_range/")));
    assert!(source.notes().is_empty());

    for storage in ["s3://denied/orders", "s3://nokey/orders"] {
        let server = elsewhere(storage).await;
        let source = try_open(&server, "orders", MetadataRoute::Namespace).await.unwrap();
        assert_eq!(Error::from(source.namespace().metarange(&id).await.unwrap_err()).kind(), ErrorKind::Unreachable);
        assert_eq!(server.heard().len(), 1, "the server is not asked for files");
    }
}

#[tokio::test]
async fn an_opened_file_is_fetched_once_for_all_who_read_it() {
    let lake = Lake::read("orders");
    let id = lake.commits()[&lake.id("head")]["meta_range_id"].as_str().unwrap().to_owned();
    let server = Server::of_lake("orders").await;
    let source = try_open(&server, "orders", MetadataRoute::Api).await.unwrap();
    let files = source.namespace().files();
    let (one, two) = tokio::join!(files.open(&id, FileKind::Metarange), files.open(&id, FileKind::Metarange));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (a, b) = tokio::join!(one.read_tail(53), two.read_at(0..10));
    assert_eq!(a.unwrap().0, one.size().await.unwrap());
    assert_eq!(b.unwrap().len(), 10);
    assert_eq!(server.paths().iter().filter(|path| path.contains("/metadata/object/")).count(), 1);
}

#[tokio::test]
async fn a_walk_through_the_history_is_read_ahead() {
    let server = Server::of_lake("churn").await;
    let source: Arc<dyn CommitSource> = Arc::new(try_open(&server, "churn", MetadataRoute::Auto).await.unwrap());
    let head = source.resolve("main").await.unwrap();
    let commits = log(Arc::clone(&source), head, false).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(commits.len(), 13);
    let requests = server.paths().len();
    assert!(requests <= 7, "{requests} requests for 13 commits");
    assert_eq!(source.commit("c0ff").await.unwrap_err().kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn a_url_opens_the_server_that_the_environment_names() {
    let server = Server::of_lake("orders").await;
    let env = |name: &str| match name {
        "LAKEFS_ENDPOINT" => Some(format!("{}/api/v1/", server.endpoint)),
        "LAKEFS_ACCESS_KEY_ID" => Some(KEY.to_owned()),
        "LAKEFS_SECRET_ACCESS_KEY" => Some(SECRET.to_owned()),
        _ => None,
    };
    let url = LakeUrl::parse("lakefs://orders/main~1/site/").unwrap();
    let source = open(&url, Arc::new(TestStores), &env).await.unwrap();
    let commit = source.resolve(url.require_reference().unwrap()).await.unwrap();
    assert_eq!(commit.id, Lake::read("orders").id("reverted"));
    let error = open(&url, Arc::new(TestStores), &|_| None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.help().unwrap().contains("~/.lakectl.yaml"));
}
