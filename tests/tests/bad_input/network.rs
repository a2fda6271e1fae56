//! Troubles on the way to a server: certificates, names, regions, proxies. Each is told with the setting that mends it, and that
//! setting mends it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use millrace_tests::{
    lakefs::FakeLakefs,
    lakes::Lake,
    run::Millrace,
    s3::S3Server,
    tls::{TlsFront, authority},
};

use super::{End, in_a_bucket, refused};

#[test]
fn a_certificate_of_an_authority_that_is_not_known() {
    let (s3, lake, url) = in_a_bucket("orders");
    let (front, served) = (TlsFront::of(&s3.endpoint()), FakeLakefs::start(&lake));
    let gate = TlsFront::of(&served.endpoint());
    let of = |name: &'static str| {
        let (front, gate) = (&front, &gate);
        let (s3, served) = (&s3, &served);
        move || {
            let command = Millrace::new().s3(s3).lakefs(served).env("AWS_ENDPOINT_URL", front.endpoint(name));
            command.env("LAKECTL_SERVER_ENDPOINT_URL", gate.endpoint(name))
        }
    };
    let (from, url) = (lake.file_url("v1"), format!("{url}?ref=v1"));
    let cases = [["export", &from, "s3://dest/x"], ["plan", &url, "memory://x"], ["export", "lakefs://orders/v1", "memory://x"]];
    for words in &cases {
        refused(End::Unreachable, of("localhost"), words).says(&["UnknownIssuer"]).helps(&["SSL_CERT_FILE"]);
        // Known, and for another name.
        let known = || of("127.0.0.1")().env("SSL_CERT_FILE", authority());
        refused(End::Unreachable, known, words).says(&["ertificate"]).helps(&["for another name"]);
    }
    // What the help says is enough, for every client.
    let trusting = || of("localhost")().env("SSL_CERT_FILE", authority());
    trusting().args(["export", &url, "s3://dest/a"]).run().expect_code(0);
    trusting().args(["export", "lakefs://orders/v1", "s3://dest/b"]).run().expect_code(0);
    assert_eq!(s3.keys("dest", "a/t").len(), s3.keys("dest", "b/t").len());
}

#[test]
fn a_server_that_speaks_no_tls() {
    let (s3, lake, url) = in_a_bucket("orders");
    let https = s3.endpoint().replace("http://", "https://");
    let command = || Millrace::new().s3(&s3).env("AWS_ENDPOINT_URL", &https);
    for words in [["export", &lake.file_url("v1"), "s3://dest/x"], ["plan", &format!("{url}?ref=v1"), "memory://x"]] {
        refused(End::Unreachable, command, &words).helps(&["speaks no TLS", "http://"]);
    }
}

#[test]
fn a_host_that_nobody_knows() {
    let lake = Lake::named("orders");
    let s3 = S3Server::with_buckets(&["dest"]);
    let command = || Millrace::new().s3(&s3).env("AWS_ENDPOINT_URL", "http://no-such-host.invalid:9000");
    for words in [["export", &lake.file_url("v1"), "s3://dest/x"], ["plan", "lake+s3://lake/x?ref=main", "memory://x"]] {
        refused(End::Unreachable, command, &words).helps(&["there is no host of that name"]);
    }
}

/// A server that answers every request alike.
fn always(status: &'static str, head: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut request = [0; 16 << 10];
                while matches!(stream.read(&mut request), Ok(read) if read > 0) {
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n{head}\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    endpoint
}

#[test]
fn a_bucket_in_another_region() {
    let lake = Lake::named("orders");
    let malformed = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization \
                     header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
    let moved = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to \
                 access must be addressed using the specified endpoint.</Message></Error>";
    for server in
        [always("400 Bad Request", "", malformed), always("301 Moved Permanently", "x-amz-bucket-region: eu-west-1\r\n", moved)]
    {
        let command = || {
            let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "us-east-1")];
            let keys = keys.map(|(name, value)| (name.to_owned(), value));
            Millrace::new().envs(keys).env("AWS_ENDPOINT_URL", &server)
        };
        refused(End::Unreachable, command, &["export", &lake.file_url("v1"), "s3://dest/x"]).says(&["s3://dest/x"]).helps(&[
            "the bucket is in eu-west-1",
            "AWS_REGION=eu-west-1",
            "region = \"eu-west-1\"",
        ]);
        let refusal = refused(End::Unreachable, command, &["plan", "lake+s3://lake/x?ref=main", "memory://x"]);
        refusal.says(&["s3://lake/x"]).helps(&["region", "AWS_REGION"]);
    }
}

#[test]
fn proxies_of_the_environment_are_used_and_named_when_they_fail() {
    let (s3, _, url) = in_a_bucket("orders");
    let url = format!("{url}?ref=v1");
    // To a proxy, requests name their server: this one takes them for its own.
    let through = |proxy: &str| {
        let store = ["--store", "prefix=s3://,endpoint=http://s3.invalid,path_style=true"];
        Millrace::new().s3(&s3).env("HTTP_PROXY", proxy).args(store).args(["export", &url, "s3://dest/x"])
    };
    through(&s3.endpoint()).run().expect_code(0);
    assert!(s3.keys("dest", "x/").len() > 10);
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let command = || Millrace::new().s3(&s3).env("HTTP_PROXY", &nobody);
    refused(End::Unreachable, command, &["plan", &url, "memory://x"]).helps(&["HTTP_PROXY", "NO_PROXY"]);
    let lake = Lake::named("orders");
    refused(End::Unreachable, command, &["export", &lake.file_url("v1"), "s3://dest/y"]).helps(&["HTTP_PROXY", "NO_PROXY"]);
    command().env("NO_PROXY", "127.0.0.1").args(["export", &url, "s3://dest/y"]).run().expect_code(0);
}
