//! Copies through the binary: single keys that fail, stores that are not what they should be, credentials that expire.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
};

use millrace_tests::{
    lakes::Lake,
    run::{Millrace, Outcome, User},
    s3::{Fault, Rule, S3Server, Target},
    tree::md5_hex,
};

/// A lake in a bucket, and an empty bucket beside it.
fn bed() -> (S3Server, Lake) {
    let server = S3Server::with_buckets(&["dest"]);
    let lake = Lake::named("orders");
    lake.load(&server);
    (server, lake)
}

fn source(lake: &Lake) -> String {
    format!("lake+s3://lake/{}?ref=main", lake.name)
}

fn export<'a>(server: &S3Server, from: &str) -> Millrace<'a> {
    Millrace::new().s3(server).args(["export", from, "s3://dest/out", "--output", "json"])
}

/// Fails unless the run could not reach what it needs, and says what to look at.
#[track_caller]
fn out_of_reach(outcome: Outcome, said: &[&str], help: &[&str]) {
    let outcome = outcome.expect_code(4);
    let error = outcome.json()["error"].clone();
    for part in said {
        assert!(error["message"].as_str().unwrap().contains(part), "{part}: {outcome}");
    }
    for part in help {
        assert!(error["help"].as_str().is_some_and(|help| help.contains(part)), "{part}: {outcome}");
    }
}

#[test]
fn a_key_that_may_not_be_read_or_written_fails_alone() {
    let (server, lake) = bed();
    let all = Millrace::new().s3(&server).args(["export", &source(&lake), "s3://dest/first", "--output", "json"]).run();
    let copied = all.expect_code(0).json()["copied"].as_u64().unwrap();
    let keys: Vec<String> =
        server.keys("dest", "first/").into_iter().filter(|key| !key.contains("EXPORT_") && !key.contains("_millrace/")).collect();
    let denied = keys[keys.len() / 2].strip_prefix("first/").unwrap();
    server.deny(Target::on("CopyObject").bucket("dest").key(&format!("out/{denied}")));
    let outcome = export(&server, &source(&lake)).run().expect_code(1);
    let report = outcome.json();
    assert_eq!((report["failed"].as_u64(), report["state"].as_str()), (Some(1), Some("failed")), "{outcome}");
    assert_eq!(report["failures"][0]["key"].as_str(), Some(denied));
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("AccessDenied"), "{outcome}");
    // Later rounds wait for it, and nothing else does.
    assert!(report["copied"].as_u64().unwrap() + report["skipped"].as_u64().unwrap() == copied - 1, "{outcome}");
    server.clear_denials();
    assert_eq!(export(&server, &source(&lake)).run().expect_code(0).json()["failed"], 0);
}

#[test]
fn what_passes_is_not_seen_from_outside() {
    let faults = [
        Fault::error(403, "RequestTimeTooSkewed"),
        Fault::error(409, "OperationAborted"),
        Fault::error_in_200("InternalError"),
        Fault::Empty { applied: true },
        Fault::Reset { applied: true },
        Fault::NoEtag,
        Fault::WrongEtag,
        Fault::slow_down(),
    ];
    for fault in faults {
        let (server, lake) = bed();
        let rule = server.fault(Rule::new(Target::on("CopyObject").bucket("dest"), fault.clone()).every(3));
        let outcome = export(&server, &source(&lake)).arg("-v").run().expect_code(0);
        assert!(server.hits(rule) > 3, "{fault:?}: {outcome}");
        assert_eq!(outcome.json()["failed"], 0);
        // A store that asks for fewer requests gets fewer, and that is told.
        if fault == Fault::slow_down() {
            assert!(outcome.stderr.contains("the window has"), "{outcome}");
        }
    }
}

/// What stays wrong with one key fails that key, by name; its neighbours are copied, and nothing bad is there under its name.
#[test]
fn what_stays_fails_one_key_and_leaves_nothing_bad() {
    let faults = [
        Fault::error(500, "InternalError"),
        Fault::error(403, "AccessDenied"),
        Fault::error_in_200("InternalError"),
        Fault::Empty { applied: false },
        Fault::Reset { applied: false },
        Fault::FlipUnnoticed,
        Fault::WrongEtag,
        Fault::NoEtag,
    ];
    let tried = |fault: &Fault| {
        let (server, lake) = bed();
        let object = lake.objects("head").into_iter().find(|object| object.size_bytes > 100).unwrap();
        let key = format!("out/{}", object.path);
        server.fault(Rule::new(Target::on("CopyObject").bucket("dest").key(&key), fault.clone()));
        let outcome = export(&server, &source(&lake)).run().expect_code(1);
        let report = outcome.json();
        assert_eq!((&report["failed"], &report["state"]), (&1.into(), &"failed".into()), "{fault:?}: {outcome}");
        assert_eq!(report["failures"][0]["key"], object.path.as_str(), "{fault:?}");
        assert!(report["failures"][0]["error"].as_str().is_some_and(|error| !error.is_empty()), "{fault:?}: {outcome}");
        // What is there, if anything, is right: a good copy whose answers were wrong.
        let there = server.get("dest", &key).map(|object| md5_hex(&object.bytes()));
        assert!(there.is_none_or(|md5| md5 == object.checksum), "{fault:?}");
        assert!(server.keys("dest", "out/EXPORT_").iter().all(|key| key.ends_with("_FAILURE")), "{fault:?}");
        server.clear_faults();
        assert_eq!(export(&server, &source(&lake)).run().expect_code(0).json()["failed"], 0, "{fault:?}");
        assert_eq!(md5_hex(&server.get("dest", &key).unwrap().bytes()), object.checksum, "{fault:?}");
    };
    std::thread::scope(|threads| {
        for fault in &faults {
            threads.spawn(|| tried(fault));
        }
    });
}

#[test]
fn a_bucket_of_another_region() {
    for (status, code) in [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed")] {
        let (server, lake) = bed();
        server.fault(Rule::new(Target::on("*").bucket("dest"), Fault::error(status, code)));
        out_of_reach(export(&server, &source(&lake)).run(), &["s3://dest/out"], &["AWS_REGION", "region of the [[store]]"]);
    }
}

#[test]
fn an_endpoint_that_does_not_speak_tls() {
    let (server, lake) = bed();
    let endpoint = server.endpoint().replace("http://", "https://");
    let store = format!("prefix=s3://dest,endpoint={endpoint},path_style=true");
    let outcome = export(&server, &source(&lake)).args(["--store", &store]).run();
    out_of_reach(outcome, &["s3://dest/out"], &["AWS_ENDPOINT_URL", "endpoint"]);
}

/// Answers every request with a page.
fn a_web_server(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let page = "<html><body>Welcome to nginx!</body></html>";
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.read(&mut [0; 8192]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    endpoint
}

#[test]
fn an_endpoint_that_is_no_s3() {
    for status in ["200 OK", "404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let (server, lake) = bed();
        let store = format!("prefix=s3://dest,endpoint={},path_style=true", a_web_server(status));
        let outcome = export(&server, &source(&lake)).args(["--store", &store]).run();
        out_of_reach(outcome, &["s3://dest/out"], &["endpoint"]);
    }
}

#[test]
fn credentials_that_expire_are_renewed() {
    let (server, lake) = bed();
    let user = User::default();
    let (script, calls) = (user.home().join("credentials"), user.home().join("calls"));
    let (id, secret) = (millrace_tests::s3::ACCESS_KEY, millrace_tests::s3::SECRET_KEY);
    // Each call gives a token of its own.
    let text = format!(
        "#!/bin/sh\necho x >> {calls}\nn=$(wc -l < {calls})\necho '{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"{secret}\",\
         \"SessionToken\":\"'$n'\"}}'\n",
        calls = calls.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(user.home().join(".aws")).unwrap();
    let profile = format!("[default]\nregion = us-east-1\ncredential_process = {}\n", script.display());
    std::fs::write(user.home().join(".aws/config"), profile).unwrap();
    let run = |to: &str| {
        let command = Millrace::of(&user).s3(&server).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.args(["export", &source(&lake), to, "--output", "json"]).run()
    };
    run("s3://dest/plain").expect_code(0);
    let before = std::fs::read_to_string(&calls).unwrap().lines().count();
    server.latency(std::time::Duration::from_millis(300));
    let rule = server.fault(Rule::new(Target::on("CopyObject").prefix("out/"), Fault::error(400, "ExpiredToken")).first(3));
    let outcome = run("s3://dest/out").expect_code(0);
    assert_eq!((server.hits(rule), &outcome.json()["failed"]), (3, &0.into()));
    let after = std::fs::read_to_string(&calls).unwrap().lines().count();
    assert!(after > 2 * before, "{before}, then {after} calls");
}
