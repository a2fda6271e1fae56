//! Lakes whose objects lie on web servers.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use millrace_tests::{
    run::{Millrace, User},
    s3::{Body, S3Server},
    tree::{data_only, folder_tree, md5_hex},
};

use crate::made::{MadeLake, Objects};

/// A web server of files, each at the MD5 of its bytes. It breaks off the first answer that is longer than 100,000 bytes.
struct Web {
    base: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn serving(objects: &Objects) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/files/", listener.local_addr().unwrap());
        let files: BTreeMap<_, _> = objects.values().map(|bytes| (md5_hex(bytes), bytes.clone())).collect();
        let (files, asked) = (Arc::new(Mutex::new(files)), Arc::new(Mutex::new(Vec::new())));
        let web = Self { base, files: Arc::clone(&files), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
                std::thread::spawn(move || answer(&stream, &files.lock().unwrap().clone(), &asked));
            }
        });
        web
    }
}

/// One request a connection.
fn answer(mut stream: &TcpStream, files: &BTreeMap<String, Vec<u8>>, asked: &Mutex<Vec<String>>) {
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(first) = lines.first() else { return };
    let header = |name: &str| {
        let line = lines.iter().find(|line| line.to_lowercase().starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let range = header("range:").map(|range| range.trim_start_matches("bytes=").to_owned());
    let said = format!("{} {}", first.rsplit_once(' ').unwrap().0, range.clone().unwrap_or_default());
    asked.lock().unwrap().push(said.trim().to_owned());
    let name = first.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
    let Some(bytes) = files.get(name) else {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    };
    let etag = format!("\"{}-{}\"", bytes.len(), &md5_hex(bytes)[..8]);
    if header("if-match:").is_some_and(|wanted| wanted != etag) {
        let _ = stream.write_all(b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let from = range.as_ref().map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    let (status, part) = match range {
        Some(_) => {
            (format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len()), &bytes[from..])
        }
        None => ("200 OK".to_owned(), &bytes[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\netag: {etag}\r\nlast-modified: Sat, 21 Nov 2026 00:00:00 GMT\r\ncontent-type: text/x-web\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        part.len()
    );
    let sent = if from == 0 && part.len() > 100_000 { &part[..50_000] } else { part };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

fn objects() -> Objects {
    let long = Body::sparse(300_000, 7).to_bytes().to_vec();
    [("_SUCCESS", Vec::new()), ("a/one", b"one".to_vec()), ("a/long", long), ("b/two", b"two".to_vec())]
        .map(|(key, bytes)| (key.to_owned(), bytes))
        .into()
}

#[test]
fn objects_of_a_web_server_are_copied_and_one_that_breaks_off_is_gone_on_with() {
    let objects = objects();
    let web = Web::serving(&objects);
    let lake = MadeLake::imported(&web.base, &[("main", &objects)]);
    let (user, server) = (User::default(), S3Server::with_buckets(&["dest"]));
    let folder = user.work().join("out");
    for to in [folder.display().to_string(), "s3://dest/out".to_owned()] {
        let run = Millrace::of(&user).s3(&server).args(["export", &lake.file_url("main"), &to, "--output", "json"]).run();
        assert_eq!(run.expect_code(0).json()["copied"], 4, "{to}");
    }
    assert_eq!(data_only(folder_tree(&folder)), objects);
    assert_eq!(data_only(server.snapshot().tree("dest", "out/")), objects);
    let asked = web.asked.lock().unwrap();
    assert!(asked.iter().all(|line| line.starts_with("GET ")), "nothing is looked at first: {asked:?}");
    assert_eq!(asked.iter().filter(|line| line.ends_with("50000-299999")).count(), 2, "{asked:?}");
    assert_eq!(asked.len(), 2 * 4 + 2, "{asked:?}");
}

#[test]
fn what_is_missing_or_of_another_size_on_a_web_server_fails_by_name() {
    let objects = objects();
    let web = Web::serving(&objects);
    let lake = MadeLake::imported(&web.base, &[("main", &objects)]);
    web.files.lock().unwrap().remove(&md5_hex(b"one"));
    web.files.lock().unwrap().insert(md5_hex(b"two"), b"longer".to_vec());
    let server = S3Server::with_buckets(&["dest"]);
    let run = Millrace::new().s3(&server).args(["export", &lake.file_url("main"), "s3://dest/out", "--output", "json"]).run();
    let outcome = run.expect_code(1);
    let report = outcome.json();
    let failures = report["failures"].as_array().unwrap();
    let of = |key: &str| {
        let found = failures.iter().find(|failure| failure["key"] == key).unwrap_or_else(|| panic!("{key}: {outcome}"));
        found["error"].as_str().unwrap()
    };
    assert!(of("a/one").contains("missing") && of("a/one").contains(&web.base), "{outcome}");
    assert!(of("b/two").contains("6 bytes") && of("b/two").contains('3'), "{outcome}");
    assert_eq!(server.keys("dest", "out/b/"), Vec::<String>::new());
}

#[test]
fn a_web_server_is_no_destination() {
    let lake = MadeLake::new(1000, &[("main", &objects())]);
    let outcome = Millrace::new().args(["export", &lake.file_url("main"), "http://127.0.0.1:1/out"]).run().expect_code(2);
    assert!(outcome.stderr.contains("is no destination") && outcome.stderr.contains("help: name a bucket"), "{outcome}");
}
