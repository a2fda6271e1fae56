//! A lakeFS server for tests: it answers as a real one was recorded to, and computes from `lake.json` what was not
//! recorded: the repository, branches, tags, commits by any ref expression, the log, and the SSTables themselves.
//!
//! Calls that change something get their recorded answers (lake `writes`), and change nothing. What a test wants
//! otherwise it scripts with [`FakeLakefs::script`], or by moving branches ([`FakeLakefs::set_branch`]).

mod graph;
mod record;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::{Body, to_bytes};
use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{Request, Response, body::Incoming};
use serde_json::{Value, json};

use self::{
    graph::{Graph, NoCommit},
    record::Records,
};
use crate::{
    background::{Answer, Background, DropConnection},
    encoding::{decode, query_pairs},
    lakes::{Commit, Lake},
};

/// The access key of the one user.
pub const ACCESS_KEY: &str = "AKIAIOSFOLKFSSAMPLES";

/// Its secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A request that the server got.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// `GET`, …
    pub method: String,
    /// Below `/api/v1`, with its escapes resolved.
    pub path: String,
    /// The query, with its escapes resolved.
    pub query: BTreeMap<String, String>,
    /// Did it come with the right credentials?
    pub signed_in: bool,
    /// The body, where it is JSON.
    pub json: Option<Value>,
    /// The status of the answer.
    pub status: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        let headers = BTreeMap::from([("Content-Type".to_owned(), "application/json".to_owned())]);
        Self { status, headers, body: serde_json::to_vec(body).unwrap() }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }
}

#[derive(Debug)]
struct Script {
    method: String,
    path: String,
    left: usize,
    reply: Reply,
}

struct State {
    id: String,
    repository: Value,
    graph: Graph,
    records: Records,
    /// Off once a branch was moved: then what was recorded about refs is not true any more.
    refs_as_recorded: bool,
    metadata: PathBuf,
    broken: bool,
    scripts: Vec<Script>,
    log: Vec<Asked>,
    endpoint: String,
}

/// A running server. Dropping it stops it.
pub struct FakeLakefs {
    state: Arc<Mutex<State>>,
    background: Background,
}

impl fmt::Debug for FakeLakefs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeLakefs").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl FakeLakefs {
    /// Serves a lake.
    pub fn start(lake: &Lake) -> Self {
        let records = Records::of(lake);
        let commits = lake.info.commits.values().cloned().chain(records.commits());
        let commits = commits.map(|commit| (commit.id.clone(), commit));
        let graph = Graph { branches: lake.info.branches.clone(), tags: lake.info.tags.clone(), commits: commits.collect() };
        let state = Arc::new(Mutex::new(State {
            id: lake.name.clone(),
            repository: lake.info.repository.clone(),
            graph,
            records,
            refs_as_recorded: true,
            metadata: lake.namespace().join("_lakefs"),
            broken: false,
            scripts: Vec::new(),
            log: Vec::new(),
            endpoint: String::new(),
        }));
        let shared = Arc::clone(&state);
        let background = Background::start(0, Arc::new(move |request| Box::pin(serve(Arc::clone(&shared), request))));
        let server = Self { state, background };
        let endpoint = server.endpoint();
        server.lock().endpoint = endpoint;
        server
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// `http://127.0.0.1:PORT`, without `/api/v1`.
    pub fn endpoint(&self) -> String {
        self.background.endpoint()
    }

    /// What a process needs in its environment to use this server.
    pub fn env(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LAKECTL_SERVER_ENDPOINT_URL", self.endpoint()),
            ("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// While down, connections are closed without an answer.
    pub fn set_down(&self, down: bool) {
        self.background.set_down(down);
    }

    /// While broken, every answer is a 500.
    pub fn set_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    /// Says another storage namespace than the recorded one (`s3://lake/NAME`), such as `local://NAME`.
    pub fn set_storage_namespace(&self, namespace: &str) {
        self.lock().repository["storage_namespace"] = namespace.into();
    }

    /// Says a storage namespace that is nowhere, so that metadata can be had from this server only. Physical addresses
    /// stay what they are; to have a real namespace that cannot be read, deny it at the S3 server instead.
    pub fn hide_storage(&self) {
        let namespace = format!("s3://out-of-reach/{}", self.lock().id);
        self.set_storage_namespace(&namespace);
    }

    /// Moves a branch, or makes one. From then on nothing that was recorded about refs is answered.
    pub fn set_branch(&self, name: &str, commit: &str) {
        let mut state = self.lock();
        state.refs_as_recorded = false;
        state.graph.branches.insert(name.to_owned(), commit.to_owned());
    }

    /// Adds a commit.
    pub fn add_commit(&self, commit: Commit) {
        let mut state = self.lock();
        state.refs_as_recorded = false;
        state.graph.commits.insert(commit.id.clone(), commit);
    }

    /// The next `times` calls of that method and path (below `/api/v1`, escapes resolved) get this answer.
    pub fn script(&self, method: &str, path: &str, times: usize, status: u16, body: &Value) {
        let reply = Reply::json(status, body);
        self.lock().scripts.push(Script { method: method.to_owned(), path: path.to_owned(), left: times, reply });
    }

    /// Every request, in the order in which they were answered.
    pub fn log(&self) -> Vec<Asked> {
        self.lock().log.clone()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.lock().log.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), 16 << 20).await.map_err(|_| DropConnection)?;
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{ACCESS_KEY}:{SECRET_KEY}")));
    let header = head.headers.get("authorization");
    let mut asked = Asked {
        method: head.method.to_string(),
        path: decode(head.uri.path().strip_prefix("/api/v1").unwrap_or_else(|| head.uri.path())),
        query: query_pairs(head.uri.query().unwrap_or_default()),
        signed_in: header.is_some_and(|value| value.as_bytes() == expected.as_bytes()),
        json: serde_json::from_slice(&body).ok(),
        status: 0,
    };
    let mut state = lock(&state);
    let reply = state.reply(&asked);
    asked.status = reply.status;
    state.log.push(asked);
    drop(state);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).map_err(|_| DropConnection)
}

impl State {
    fn reply(&mut self, asked: &Asked) -> Reply {
        let scripted =
            self.scripts.iter_mut().find(|script| script.left > 0 && script.method == asked.method && script.path == asked.path);
        if let Some(script) = scripted {
            script.left -= 1;
            return script.reply.clone();
        }
        if self.broken {
            return Reply::error(500, "internal server error");
        }
        let segments: Vec<&str> = asked.path.trim_start_matches('/').splitn(6, '/').collect();
        let open = matches!(segments.as_slice(), ["healthcheck"] | ["presigned", _]);
        if !asked.signed_in && !open {
            return Reply::error(401, "error authenticating request");
        }
        if let Some(reply) = self.computed_first(asked, &segments) {
            return reply;
        }
        let about_refs = matches!(segments.get(2), Some(&("branches" | "commits" | "refs" | "tags")));
        if (self.refs_as_recorded || !about_refs)
            && let Some(reply) = self.records.find(asked)
        {
            return reply;
        }
        self.computed(asked, &segments)
    }

    /// What is better computed than taken from the record: it depends on settings, or its bytes were not recorded.
    fn computed_first(&self, asked: &Asked, segments: &[&str]) -> Option<Reply> {
        match segments {
            ["presigned", id] => Some(self.table(id)),
            ["repositories", id] if asked.method == "GET" && *id == self.id => Some(Reply::json(200, &self.repository)),
            ["repositories", id, "metadata", "object", kind, table] if *id == self.id => {
                Some(match (*kind, asked.query.get("presign").map(String::as_str)) {
                    ("range" | "meta_range", Some("true")) => self.redirect(table),
                    ("range" | "meta_range", _) => self.table(table),
                    _ => Reply::error(400, "invalid object type"),
                })
            }
            _ => None,
        }
    }

    fn table(&self, id: &str) -> Reply {
        let bytes = id.chars().all(|c| c.is_ascii_hexdigit()).then(|| fs::read(self.metadata.join(id)).ok()).flatten();
        bytes.map_or_else(
            || Reply::error(410, "No data"),
            |body| {
                let headers = BTreeMap::from([("Content-Type".to_owned(), "application/octet-stream".to_owned())]);
                Reply { status: 200, headers, body }
            },
        )
    }

    fn redirect(&self, id: &str) -> Reply {
        let location = format!("{}/api/v1/presigned/{id}", self.endpoint);
        Reply { status: 302, headers: BTreeMap::from([("Location".to_owned(), location)]), body: Vec::new() }
    }

    fn computed(&self, asked: &Asked, segments: &[&str]) -> Reply {
        if asked.method != "GET" {
            return Reply::error(501, "the fake server has no record of that call");
        }
        match segments {
            ["healthcheck"] => Reply { status: 204, headers: BTreeMap::new(), body: Vec::new() },
            ["config"] => Reply::json(200, &json!({ "storage_config": { "blockstore_type": "s3", "pre_sign_support": true } })),
            ["config", "version"] => Reply::json(200, &json!({ "version": "dev", "version_context": "lakeFS" })),
            ["repositories", id, ..] if *id != self.id => Reply::error(404, "repository not found"),
            ["repositories", _, "branches"] => page_of_refs(&self.graph.branches, &asked.query),
            ["repositories", _, "tags"] => page_of_refs(&self.graph.tags, &asked.query),
            ["repositories", _, "branches", name] => one_ref(&self.graph.branches, name, "branch not found"),
            ["repositories", _, "tags", name] => one_ref(&self.graph.tags, name, "tag not found"),
            ["repositories", _, "commits", reference] => match self.graph.resolve(reference) {
                Ok(commit) => Reply::json(200, &json!(commit)),
                Err(reason) => no_commit(reason),
            },
            ["repositories", _, "refs", reference, "commits"] => self.history(reference, &asked.query),
            ["repositories", _, "metadata", "range" | "meta_range", id] => {
                Reply::json(200, &json!({ "location": format!("_lakefs/{id}") }))
            }
            _ => Reply::error(501, "the fake server has no record of that call"),
        }
    }

    fn history(&self, reference: &str, query: &BTreeMap<String, String>) -> Reply {
        let commit = match self.graph.resolve(reference) {
            Ok(commit) => commit,
            Err(reason) => return no_commit(reason),
        };
        let first_parent = query.get("first_parent").is_some_and(|value| value == "true");
        let history = self.graph.history(commit, first_parent);
        let after = query.get("after").and_then(|after| history.iter().position(|commit| commit.id == *after));
        let rest: Vec<Value> = history[after.map_or(0, |at| at + 1)..].iter().map(|commit| json!(commit)).collect();
        page(&rest, query)
    }
}

fn no_commit(reason: NoCommit) -> Reply {
    match reason {
        NoCommit::NotFound => Reply::error(404, "commit not found"),
        NoCommit::Invalid => Reply::error(500, "ref: invalid value: validation error"),
    }
}

fn one_ref(refs: &BTreeMap<String, String>, name: &str, absent: &str) -> Reply {
    match refs.get(name) {
        Some(commit) => Reply::json(200, &json!({ "id": name, "commit_id": commit })),
        None => Reply::error(404, absent),
    }
}

fn page_of_refs(refs: &BTreeMap<String, String>, query: &BTreeMap<String, String>) -> Reply {
    let text = |name: &str| query.get(name).cloned().unwrap_or_default();
    let (prefix, after) = (text("prefix"), text("after"));
    let rest: Vec<Value> = refs
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && (after.is_empty() || **name > after))
        .map(|(name, commit)| json!({ "id": name, "commit_id": commit }))
        .collect();
    page(&rest, query)
}

/// The first of `rest`, as many as were asked for.
fn page(rest: &[Value], query: &BTreeMap<String, String>) -> Reply {
    let amount = query.get("amount").and_then(|amount| amount.parse().ok()).unwrap_or(100_usize).clamp(1, 1000);
    let results = &rest[..amount.min(rest.len())];
    let has_more = results.len() < rest.len();
    let next = results.last().filter(|_| has_more).map_or_else(|| json!(""), |last| last["id"].clone());
    Reply::json(
        200,
        &json!({
            "pagination": { "has_more": has_more, "max_per_page": 1000, "next_offset": next, "results": results.len() },
            "results": results,
        }),
    )
}
