//! The recorded exchanges of a lake (`api.jsonl`), found again by what was asked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use serde::Deserialize;
use serde_json::Value;

use super::{Asked, Reply};
use crate::{
    encoding::decode,
    lakes::{Commit, Lake, read_lines},
};

/// One exchange.
#[derive(Debug, Clone, Deserialize)]
struct Record {
    method: String,
    path: String,
    query: BTreeMap<String, Value>,
    auth: bool,
    request: Option<Value>,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    text: Option<String>,
}

impl Record {
    fn answers(&self, asked: &Asked) -> bool {
        let query: BTreeMap<String, String> = self.query.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        self.method == asked.method && decode(&self.path) == asked.path && self.auth == asked.signed_in && query == asked.query
    }

    /// The answer; none where the bytes were not recorded, only their digest.
    fn reply(&self) -> Option<Reply> {
        let body = match (&self.body, &self.text) {
            (Some(body), _) => serde_json::to_vec(body).unwrap(),
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => return None,
        };
        Some(Reply { status: self.status, headers: self.headers.clone(), body })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// All exchanges of a lake.
#[derive(Debug, Default)]
pub(crate) struct Records {
    records: Vec<Record>,
    /// How often each was asked for: the same call twice gets the first and then the second recorded answer.
    asked: Mutex<HashMap<String, usize>>,
}

impl Records {
    pub(crate) fn of(lake: &Lake) -> Self {
        let file = lake.dir().join("api.jsonl");
        let records = if file.exists() { read_lines(&file) } else { Vec::new() };
        Self { records, asked: Mutex::default() }
    }

    /// The commits in the answers: some are not in `lake.json`.
    pub(crate) fn commits(&self) -> impl Iterator<Item = Commit> {
        let bodies = self.records.iter().filter_map(|record| record.body.as_ref());
        let values = bodies.flat_map(|body| body["results"].as_array().into_iter().flatten().chain([body]));
        values.filter_map(|value| Commit::deserialize(value).ok())
    }

    /// The recorded answer to a call: of those with the same body if there are any, else of all with the same path
    /// and query; the next one each time, and the last one for ever.
    pub(crate) fn find(&self, asked: &Asked) -> Option<Reply> {
        let same: Vec<_> = self.records.iter().filter(|record| record.answers(asked)).collect();
        let exact: Vec<_> = same.iter().filter(|record| record.request == asked.json).copied().collect();
        let candidates = if exact.is_empty() { same } else { exact };
        let call = format!("{} {} {:?} {:?}", asked.method, asked.path, asked.query, asked.json);
        let mut counts = self.asked.lock().unwrap();
        let count = counts.entry(call).or_insert(0);
        let chosen = candidates.get(*count).or_else(|| candidates.last())?;
        *count += 1;
        chosen.reply()
    }
}
