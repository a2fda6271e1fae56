//! Who may come in, and what is told to whom: tokens, versions, secrets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use millrace_tests::{
    cluster::{Cluster, ClusterOptions, certificates, get},
    run::Millrace,
    s3::KeyPair,
};
use planner::Location;
use worker::{
    CopySpec,
    cluster::{Address, CopyTask, LeaseSpec, ShardRows, ShardsTable, Tls, Token},
};

use crate::export::{BUCKET, Stage};

const TOKEN: &str = "PLANTED-token-of-the-cluster";
const SECRET: &str = "PLANTED-secret-of-an-executor";

#[test]
fn a_scheduler_with_a_token_lets_nobody_else_in() {
    let stage = Stage::s3("orders");
    let options = ClusterOptions { token: Some(TOKEN.to_owned()), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(stage.server.env(), 1, options);
    let export =
        || stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).args(["--cluster", &cluster.url()]);
    let refused = export().run().expect_code(4);
    let error = &refused.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("token"), "{refused}");
    assert!(error["help"].as_str().unwrap().contains("MILLRACE_CLUSTER_TOKEN"), "{refused}");
    assert!(stage.data().is_empty());
    // A secret that did not arrive is not the same as none.
    let nothing = export().env("MILLRACE_CLUSTER_TOKEN", "").run().expect_code(2);
    assert!(
        nothing.stderr.contains("MILLRACE_CLUSTER_TOKEN holds no token") || nothing.stdout.contains("holds no token"),
        "{nothing}"
    );
    let other = export().env("MILLRACE_CLUSTER_TOKEN", "WRONG-token").run().expect_code(4);
    assert!(!other.stderr.contains("WRONG") && !other.stdout.contains("WRONG"), "{other}");
    export().env("MILLRACE_CLUSTER_TOKEN", TOKEN).run().expect_code(0);
    assert_eq!(stage.data(), stage.expected("load"));
    // Who does not get in takes nothing away.
    let next = stage.millrace("export").arg(stage.source("day4")).arg(stage.destination()).args(["--cluster", &cluster.url()]);
    next.env("MILLRACE_CLUSTER_TOKEN", "WRONG-token").run().expect_code(4);
    stage.assert_success("load");
    // An executor without it is not let in.
    let executor = Millrace::new().s3(&stage.server).args(["executor", "--scheduler", &cluster.url(), "--port", "19990"]);
    let outcome = executor.run().expect_code(4);
    assert!(outcome.stderr.contains("token"), "{outcome}");
}

#[test]
fn what_is_no_scheduler_is_not_waited_for() {
    let stage = Stage::s3("orders");
    let cluster = Cluster::start(&stage.server, 1);
    let health = cluster.executors[0].port + 2;
    let store: u16 = stage.server.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    for port in [store, health] {
        let to = format!("df://127.0.0.1:{port}");
        let export = stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).args(["--cluster", &to]);
        let refused = export.run().expect_code(4).json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("what answers there is none"), "{refused}");
        assert!(refused["error"]["help"].as_str().unwrap().contains("check host and port"), "{refused}");
    }
    assert!(stage.data().is_empty());
}

#[test]
fn an_executor_with_a_token_works_for_nobody_else() {
    let stage = Stage::s3("orders");
    let env = vec![("MILLRACE_CLUSTER_TOKEN".to_owned(), TOKEN.to_owned())];
    let cluster = Cluster::start_with(stage.server.env(), 1, ClusterOptions { env, ..ClusterOptions::default() });
    let plan = || {
        let plan = stage.millrace("plan").arg(stage.source("load")).arg(stage.destination()).args(["--cluster", &cluster.url()]);
        plan.args(["-o", &stage.place("plans/1")])
    };
    let export =
        || stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).args(["--cluster", &cluster.url()]);
    // The scheduler asks for none here.
    for refused in [plan().run(), export().run(), export().env("MILLRACE_CLUSTER_TOKEN", "WRONG").run()] {
        let refused = refused.expect_code(4);
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("MILLRACE_CLUSTER_TOKEN"), "{refused}");
    }
    assert!(stage.data().is_empty());
    plan().env("MILLRACE_CLUSTER_TOKEN", TOKEN).run().expect_code(0);
    export().env("MILLRACE_CLUSTER_TOKEN", TOKEN).run().expect_code(0);
    assert_eq!(stage.data(), stage.expected("load"));
}

#[test]
fn with_tls_only_who_has_a_certificate_of_the_cluster_gets_in_anywhere() {
    let stage = Stage::s3("orders");
    let options =
        ClusterOptions { tls: Some(certificates("cluster")), token: Some(TOKEN.to_owned()), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(stage.server.env(), 2, options);
    let export = || {
        let export =
            stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).args(["--cluster", &cluster.url()]);
        export.env("MILLRACE_CLUSTER_TOKEN", TOKEN)
    };
    let without = export().run().expect_code(4);
    assert!(without.json()["error"]["message"].as_str().unwrap().contains("cannot be reached"), "{without}");
    let other = export().arg("--cluster-tls").arg(certificates("other")).run().expect_code(4);
    let error = &other.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("TLS"), "{other}");
    assert!(error["help"].as_str().unwrap().contains("--cluster-tls"), "{other}");
    let missing = export().arg("--cluster-tls").arg(stage.folder_path("nowhere")).run().expect_code(2);
    assert!(missing.json()["error"]["message"].as_str().unwrap().contains("tls.crt"), "{missing}");
    let executor = Millrace::new().s3(&stage.server).args(["executor", "--scheduler", &cluster.url(), "--port", "19970"]);
    executor.arg("--tls").arg(certificates("other")).env("MILLRACE_CLUSTER_TOKEN", TOKEN).run().expect_code(4);
    assert!(stage.data().is_empty());
    for executor in &cluster.executors {
        // Who speaks plainly to the ports for results and tasks is told nothing that it understands.
        for port in [executor.port, executor.port + 1] {
            assert!(speak(port).iter().all(|byte| *byte != 0), "a frame with settings begins with zeros");
        }
    }
    export().env("MILLRACE_CLUSTER_TLS", certificates("cluster")).run().expect_code(0);
    assert_eq!(stage.data(), stage.expected("load"));
    stage.assert_success("load");
}

/// The first bytes that a port answers to who speaks HTTP/2 without TLS.
fn speak(port: u16) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = vec![0; 2];
    let read = stream.read(&mut answer).unwrap_or(0);
    answer.truncate(read);
    answer
}

#[test]
fn no_secret_is_in_plans_logs_or_answers() {
    let stage = Stage::s3("orders");
    stage.server.add_key(KeyPair::new("planted", SECRET));
    let mut env = stage.server.env();
    for (name, value) in &mut env {
        match name.as_str() {
            "AWS_ACCESS_KEY_ID" => "planted".clone_into(value),
            "AWS_SECRET_ACCESS_KEY" => SECRET.clone_into(value),
            _ => {}
        }
    }
    let args = vec!["-vvv".to_owned()];
    let mut cluster =
        Cluster::start_with(env, 1, ClusterOptions { token: Some(TOKEN.to_owned()), args, ..ClusterOptions::default() });
    let export = stage.millrace("export").arg(stage.source("load")).arg(stage.destination()).arg("-vvv");
    let outcome = export.args(["--cluster", &cluster.url()]).env("MILLRACE_CLUSTER_TOKEN", TOKEN).run().expect_code(0);
    let used = stage.server.log().filter(|op| op.access_key.as_deref() == Some("planted"));
    assert!(used.of("CopyObject").len() > 300, "the executor copied with its own credentials");
    let mut said = vec![("the command", format!("{}{}", outcome.stdout, outcome.stderr))];
    for path in ["/api/jobs", "/api/executors", "/api/job/x/config", "/api/state", "/readyz", "/healthz", "/"] {
        said.push((path, get(cluster.scheduler.as_ref().unwrap().port, path).unwrap().1));
    }
    let [scheduler, executor] = [cluster.scheduler.take().unwrap(), cluster.executors.remove(0)].map(|role| role.process.kill());
    assert!(scheduler.stderr.len() > 1000 && executor.stderr.len() > 1000, "loud processes that log nothing prove nothing");
    said.extend([("the scheduler", scheduler.stderr), ("the executor", executor.stderr)]);
    for key in stage.server.keys(BUCKET, "") {
        let body = stage.server.get(BUCKET, &key).unwrap().bytes();
        assert!(!String::from_utf8_lossy(&body).contains("PLANTED"), "{key}");
    }
    for (who, text) in said {
        let line = text.lines().find(|line| line.contains("PLANTED"));
        assert!(line.is_none(), "{who}: {}", line.unwrap_or_default());
    }
}

#[test]
fn another_version_is_refused_with_both_named() {
    let stage = Stage::s3("orders");
    let cluster = Cluster::start(&stage.server, 0);
    let destination = Location::parse(&stage.destination()).unwrap();
    let lease = LeaseSpec { control: destination.clone(), generation: 1, ttl_ms: 1000 };
    let copy = CopySpec::new(destination.clone());
    let task = CopyTask { millrace: "99.1.2".to_owned(), run: "R".to_owned(), copy, lease };
    let shards =
        ShardsTable { rows: ShardRows::Plan, folder: destination, files: vec![("round-1/copy-00000.parquet".to_owned(), 1)] };
    let address = Address::parse(&cluster.url()).unwrap();
    let submitted = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = worker::cluster::Cluster::connect(&address, &Token::default(), &Tls::default()).await.unwrap();
        client.submit("of the future", &task, &shards).await
    });
    let error = submitted.unwrap_err();
    assert_eq!(error.kind(), planner::ErrorKind::Usage);
    let both = error.message().contains("99.1.2") && error.message().contains(CopyTask::VERSION);
    assert!(both && error.help().is_some(), "{error}");
}

#[test]
fn who_listens_everywhere_must_say_how_it_is_reached() {
    let outcome = Millrace::new().args(["scheduler", "--bind", "0.0.0.0", "--port", "19980"]).run().expect_code(2);
    assert!(outcome.stderr.contains("--external-host"), "{outcome}");
    let outcome = Millrace::new().args(["executor", "--scheduler", "somewhere:1"]).run().expect_code(2);
    assert!(outcome.stderr.contains("df://HOST"), "{outcome}");
}
