//! Every fault is seen by the client, and does to the store what it says.

use std::time::{Duration, Instant};

use aws_sdk_s3::{Client, primitives::ByteStream};
use millrace_tests::s3::{Fault, Rule, RuleId, S3Server, Target};

use crate::sdk::{client, error_code, impatient_client};

fn bed() -> (S3Server, Client) {
    let server = S3Server::start();
    server.put("src", "k", "0123456789", None, &[]);
    server.create_bucket("box");
    let client = client(&server);
    (server, client)
}

fn script(server: &S3Server, operation: &str, fault: Fault) -> RuleId {
    server.clear_faults();
    server.fault(Rule::new(Target::on(operation), fault))
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "waited for nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn put(client: &Client, key: &str) -> Result<String, String> {
    let sent = client.put_object().bucket("box").key(key).body(ByteStream::from_static(b"body")).send().await;
    sent.map(|sent| sent.e_tag.unwrap_or_default()).map_err(|error| error_code(&error))
}

async fn copy(client: &Client, key: &str) -> Result<Option<String>, String> {
    let sent = client.copy_object().bucket("box").key(key).copy_source("src/k").send().await;
    sent.map(|sent| sent.copy_object_result.and_then(|result| result.e_tag)).map_err(|error| error_code(&error))
}

async fn get(client: &Client, patience: Duration) -> Result<Vec<u8>, String> {
    let answer = client.get_object().bucket("src").key("k").send().await.map_err(|error| format!("{error:?}"))?;
    let body = tokio::time::timeout(patience, answer.body.collect()).await;
    Ok(body.map_err(|_| "stalled".to_owned())?.map_err(|error| error.to_string())?.to_vec())
}

#[tokio::test]
async fn errors_come_before_or_after_the_effect() {
    let (server, client) = bed();
    for (status, name) in [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (403, "AccessDenied")] {
        script(&server, "PutObject", Fault::error(status, name));
        assert_eq!(put(&client, "no").await, Err(name.to_owned()));
    }
    script(&server, "CopyObject", Fault::error_in_200("InternalError"));
    assert_eq!(copy(&client, "no").await, Err("InternalError".to_owned()));
    assert_eq!(server.keys("box", ""), Vec::<String>::new());
    script(&server, "write", Fault::error_but_applied(500, "InternalError"));
    assert_eq!(put(&client, "yes").await, Err("InternalError".to_owned()));
    assert_eq!(server.keys("box", ""), ["yes"]);
    let last = server.log().last().cloned().unwrap();
    assert_eq!((last.applied, last.status, last.code.as_deref()), (true, 500, Some("InternalError")));
}

#[tokio::test]
async fn an_empty_answer_and_wrong_or_absent_etags() {
    let (server, client) = bed();
    script(&server, "CopyObject", Fault::Empty { applied: false });
    assert_eq!(copy(&client, "no").await, Ok(None), "which the client takes for success");
    assert_eq!(server.keys("box", ""), Vec::<String>::new());
    script(&server, "CopyObject", Fault::NoEtag);
    assert_eq!(copy(&client, "yes").await, Ok(None));
    script(&server, "PutObject", Fault::WrongEtag);
    assert_eq!(put(&client, "put").await, Ok(format!("\"{}\"", "0".repeat(32))));
    script(&server, "PutObject", Fault::Kms);
    let etag = put(&client, "kms").await.unwrap();
    let object = server.get("box", "kms").unwrap();
    assert_eq!(etag, format!("\"{}\"", object.etag));
    assert_ne!(object.etag, object.body.etag());
    let head = client.head_object().bucket("box").key("kms").send().await.unwrap();
    assert_eq!(head.server_side_encryption().map(aws_sdk_s3::types::ServerSideEncryption::as_str), Some("aws:kms"));
    server.clear_faults();
    server.encrypt("box");
    assert_ne!(copy(&client, "kms-2").await.unwrap().unwrap(), format!("\"{}\"", server.get("src", "k").unwrap().etag));
}

#[tokio::test]
async fn lost_requests_lost_acknowledgements_and_silence() {
    let (server, client) = bed();
    script(&server, "PutObject", Fault::Reset { applied: false });
    assert_eq!(put(&client, "no").await, Err("no answer".to_owned()));
    assert_eq!(server.keys("box", ""), Vec::<String>::new());
    script(&server, "PutObject", Fault::Reset { applied: true });
    assert_eq!(put(&client, "yes").await, Err("no answer".to_owned()));
    assert_eq!(server.keys("box", ""), ["yes"]);
    script(&server, "PutObject", Fault::Stall { applied: true });
    let silent = put(&impatient_client(&server, Duration::from_secs(2)), "silent").await;
    assert_eq!(silent, Err("no answer".to_owned()));
    until(|| server.keys("box", "") == ["silent", "yes"]).await;
    assert_eq!(server.log().last().unwrap().status, 0);
}

#[tokio::test]
async fn a_delayed_request_is_applied_although_nobody_waits_for_it() {
    let (server, client) = bed();
    let delayed = script(&server, "PutObject", Fault::Delay(Duration::from_millis(500)));
    tokio::select! {
        answer = put(&client, "late") => panic!("answered: {answer:?}"),
        () = until(|| server.hits(delayed) == 1) => {}
    }
    assert_eq!(server.keys("box", ""), Vec::<String>::new());
    until(|| server.keys("box", "") == ["late"]).await;
}

#[tokio::test]
async fn bodies_are_cut_stopped_and_flipped() {
    let (server, client) = bed();
    script(&server, "GetObject", Fault::Truncate { after: 4 });
    assert!(get(&client, Duration::from_mins(1)).await.is_err_and(|error| error != "stalled"));
    assert_eq!(server.log().last().unwrap().sent, 4);
    script(&server, "GetObject", Fault::StallBody { after: 4 });
    assert_eq!(get(&client, Duration::from_millis(300)).await, Err("stalled".to_owned()));
    script(&server, "GetObject", Fault::FlipAnswer);
    assert_eq!(get(&client, Duration::from_mins(1)).await, Ok(b"0123446789".to_vec()));

    script(&server, "PutObject", Fault::FlipArrival);
    assert_eq!(put(&client, "refused").await, Err("BadDigest".to_owned()));
    script(&server, "PutObject", Fault::FlipAtRest);
    let etag = put(&client, "rotten").await.unwrap();
    let object = server.get("box", "rotten").unwrap();
    assert_eq!(etag, format!("\"{}\"", object.etag));
    assert_ne!(object.etag, object.body.etag());
    assert_eq!(server.keys("box", ""), ["rotten"]);
}

#[tokio::test]
async fn rules_say_which_requests_and_how_often() {
    let (server, client) = bed();
    let second = server.fault(Rule::new(Target::on("PutObject").bucket("box").prefix("p/"), Fault::slow_down()).nth(2));
    let exact = server.fault(Rule::new(Target::on("*").key("x"), Fault::slow_down()).first(1));
    let mut failed = Vec::new();
    for key in ["p/1", "q", "p/2", "p/3", "x", "x"] {
        failed.push(put(&client, key).await.is_err());
    }
    assert_eq!(failed, [false, false, true, false, true, false]);
    assert_eq!((server.hits(second), server.hits(exact)), (1, 1));

    server.clear_faults();
    let some = server.fault(Rule::new(Target::on("PutObject"), Fault::slow_down()).chance(500, 42));
    for _ in 0..100 {
        let _ = put(&client, "chance").await;
    }
    assert!((30..70).contains(&server.hits(some)), "{}", server.hits(some));
    server.clear_faults();
    server.latency(Duration::from_millis(50));
    let started = Instant::now();
    put(&client, "slow").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
    server.set_down(true);
    assert_eq!(put(&client, "down").await, Err("no answer".to_owned()));
}
