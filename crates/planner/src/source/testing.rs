//! What the tests of sources share: real lakes, stores that hold or refuse them, and a lakeFS server that answers as the
//! real one was heard to answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{LakeUrl, LakefsSettings};
use crate::error::{Error, Result};
use crate::location::{Location, Scheme};
use crate::stores::{KeyRules, MetadataStore, Stores};

/// A real lake of `tests/data/lakes`.
pub(super) struct Lake {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) json: Value,
}

impl Lake {
    pub(super) fn read(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/lakes").join(name).canonicalize().unwrap();
        let json = serde_json::from_slice(&std::fs::read(folder.join("lake.json")).unwrap()).unwrap();
        Self { name: name.to_owned(), folder, json }
    }

    pub(super) fn namespace(&self) -> Location {
        Location::parse(self.folder.join("namespace").to_str().unwrap()).unwrap()
    }

    pub(super) fn url(&self, query: &str) -> LakeUrl {
        LakeUrl::parse(&format!("lake+file://{}?{query}", self.folder.join("namespace").display())).unwrap()
    }

    /// Pairs of a map of `lake.json`, such as `branches`.
    pub(super) fn pairs(&self, map: &str) -> Vec<(String, String)> {
        let pairs = self.json[map].as_object().unwrap().iter();
        pairs.map(|(name, id)| (name.clone(), id.as_str().unwrap().to_owned())).collect()
    }

    /// The id behind a label.
    pub(super) fn id(&self, label: &str) -> String {
        self.json["labels"][label].as_str().unwrap().to_owned()
    }

    /// All commits as the server shows them, by id.
    pub(super) fn commits(&self) -> HashMap<String, Value> {
        let commits = self.json["commits"].as_object().unwrap().values();
        commits.map(|commit| (commit["id"].as_str().unwrap().to_owned(), commit.clone())).collect()
    }
}

/// Copies the metadata files of a lake into a folder, without its manifest.
pub(super) fn copy_metadata(lake: &Lake, to: &std::path::Path) {
    std::fs::create_dir_all(to.join("_lakefs")).unwrap();
    for file in std::fs::read_dir(lake.folder.join("namespace/_lakefs")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() && file.file_name() != "refs_manifest.json" {
            std::fs::copy(file.path(), to.join("_lakefs").join(file.file_name())).unwrap();
        }
    }
}

/// Stores of this machine; `s3://lake/NAME` is a lake of the tests, `s3://denied` refuses, `s3://nokey` has no settings.
#[derive(Debug)]
pub(super) struct TestStores;

impl Stores for TestStores {
    fn metadata(&self, location: &Location) -> Result<MetadataStore> {
        let local = || Arc::new(LocalFileSystem::new());
        let at = |store: Arc<dyn ObjectStore>, path: &str| Ok(MetadataStore { store, prefix: Path::parse(path).unwrap() });
        match (location.scheme(), location.bucket()) {
            (Scheme::File, _) => at(local(), location.path()),
            (Scheme::S3, "lake") => at(local(), Lake::read(location.path()).namespace().path()),
            (Scheme::S3, "empty") => at(Arc::new(InMemory::new()), location.path()),
            (Scheme::S3, "denied") => at(Arc::new(Denying), location.path()),
            _ => Err(Error::usage(format!("no credentials for {location}"))),
        }
    }

    fn identity(&self, location: &Location) -> String {
        location.to_string()
    }

    fn key_rules(&self, _: &Location) -> KeyRules {
        KeyRules::default()
    }
}

/// A store that refuses everything.
#[derive(Debug)]
struct Denying;

impl std::fmt::Display for Denying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Denying")
    }
}

fn denied(path: &Path) -> object_store::Error {
    object_store::Error::PermissionDenied { path: path.to_string(), source: "AccessDenied: not for you".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Denying {
    async fn put_opts(&self, path: &Path, _: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        Err(denied(path))
    }

    async fn put_multipart_opts(&self, path: &Path, _: PutMultipartOptions) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(denied(path))
    }

    async fn get_opts(&self, path: &Path, _: GetOptions) -> object_store::Result<GetResult> {
        Err(denied(path))
    }

    fn delete_stream(
        &self,
        paths: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        paths
    }

    fn list(&self, prefix: Option<&Path>) -> futures::stream::BoxStream<'static, object_store::Result<ObjectMeta>> {
        let error = denied(&prefix.cloned().unwrap_or_default());
        Box::pin(futures::stream::once(async { Err(error) }))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        Err(denied(&prefix.cloned().unwrap_or_default()))
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(denied(from))
    }
}

/// A request as the server heard it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// The path with its escapes, below `/api/v1`.
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HashMap<String, String>,
}

/// What it answers: status, content type, body.
#[derive(Debug, Clone)]
pub(super) struct Answer(pub(super) u16, pub(super) &'static str, pub(super) Vec<u8>);

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self(status, "application/json", body.to_string().into_bytes())
    }
}

/// A server on the loopback. It ends with the test's runtime.
pub(super) struct Server {
    pub(super) endpoint: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Heard) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (log, answer) = (Arc::clone(&heard), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self { endpoint, heard }
    }

    /// A server that knows one lake: recorded exchanges first, else what `lake.json` and the namespace hold.
    pub(super) async fn of_lake(name: &str) -> Self {
        let lake = Lake::read(name);
        let recorded = Recorded::read(&lake);
        Self::start(move |heard| Some(recorded.answer(heard, &lake))).await
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.path).collect()
    }

    pub(super) fn settings(&self) -> LakefsSettings {
        LakefsSettings {
            endpoint: self.endpoint.clone(),
            access_key_id: KEY.to_owned(),
            secret: SECRET.into(),
            origin: "the test".to_owned(),
        }
    }
}

pub(super) const KEY: &str = "AKIATEST";
pub(super) const SECRET: &str = "hush-hush";

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<Heard>>>, answer: Arc<impl Fn(&Heard) -> Option<Answer> + Send + Sync>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let request = parse(&String::from_utf8(head).unwrap());
    log.lock().unwrap().push(request.clone());
    // Without an answer the connection breaks off.
    let Some(Answer(status, content_type, body)) = answer(&request) else { return };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Location: https://elsewhere/login?token=hush\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

fn parse(head: &str) -> Heard {
    let mut lines = head.split("\r\n");
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let headers = lines.filter_map(|line| line.split_once(": "));
    Heard {
        path: path.strip_prefix("/api/v1").unwrap_or(path).to_owned(),
        query: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        headers: headers.map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect(),
    }
}

/// The recorded exchanges of a lake, by path and whether credentials were sent.
struct Recorded(HashMap<(String, bool), Value>);

impl Recorded {
    fn read(lake: &Lake) -> Self {
        let text = std::fs::read_to_string(lake.folder.join("api.jsonl")).unwrap();
        let exchanges = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let plain = exchanges.filter(|e| e["method"] == "GET" && e["query"].as_object().is_some_and(serde_json::Map::is_empty));
        let keyed = plain.map(|e| ((e["path"].as_str().unwrap().to_owned(), e["auth"].as_bool().unwrap()), e));
        Self(keyed.collect())
    }

    fn answer(&self, heard: &Heard, lake: &Lake) -> Answer {
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("{KEY}:{SECRET}"));
        let known = heard.headers.get("authorization").is_some_and(|sent| *sent == format!("Basic {expected}"));
        if !known {
            return Answer::json(401, &self.0[&(format!("/repositories/{}", lake.name), false)]["body"]);
        }
        let exchange = self.0.get(&(heard.path.clone(), true));
        match exchange.filter(|e| e.get("body").is_some()) {
            Some(e) => Answer::json(u16::try_from(e["status"].as_u64().unwrap()).unwrap(), &e["body"]),
            None => unrecorded(heard, lake),
        }
    }
}

/// Lists one name a page, gives commits by their ids, and hands out metadata files.
fn unrecorded(heard: &Heard, lake: &Lake) -> Answer {
    let parts: Vec<_> = heard.path.split('/').skip(3).collect();
    match parts[..] {
        [list @ ("branches" | "tags")] => {
            let after = heard.query.get("after").cloned().unwrap_or_default();
            let rest: Vec<_> = lake.pairs(list).into_iter().filter(|(name, _)| *name > after).collect();
            let first: Vec<_> = rest.iter().take(1).map(|(name, id)| serde_json::json!({"id": name, "commit_id": id})).collect();
            let next = if rest.len() > 1 { rest[0].0.as_str() } else { "" };
            Answer::json(
                200,
                &serde_json::json!({"pagination": {"has_more": rest.len() > 1, "next_offset": next}, "results": first}),
            )
        }
        ["commits", id] if lake.commits().contains_key(id) => Answer::json(200, &lake.commits()[id]),
        ["refs", id, "commits"] => {
            let commits = lake.commits();
            let (mut results, mut next) = (Vec::new(), commits.get(id));
            while let Some(commit) = next {
                results.push(commit.clone());
                next = commit["parents"].get(0).and_then(|parent| commits.get(parent.as_str().unwrap()));
            }
            Answer::json(200, &serde_json::json!({"pagination": {"has_more": false, "next_offset": ""}, "results": results}))
        }
        ["metadata", "object", _, id] => match std::fs::read(lake.folder.join("namespace/_lakefs").join(id)) {
            Ok(bytes) => Answer(200, "application/octet-stream", bytes),
            Err(_) => Answer::json(410, &serde_json::json!({"message": "No data"})),
        },
        _ => Answer::json(404, &serde_json::json!({"message": "not found"})),
    }
}
