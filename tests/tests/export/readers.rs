//! Readers of tables and sites as they are at one moment: what they are told, or what stops them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Tree;

/// What a table's reader is told: the files that make it up. `None`: there is no table.
pub(super) type State = Option<BTreeSet<String>>;

/// The entries directly in a folder, by name.
fn names<'a>(tree: &'a Tree, folder: &str) -> BTreeMap<&'a str, &'a [u8]> {
    let entry = |(key, body): (&'a String, &'a Vec<u8>)| Some((key.strip_prefix(folder)?, body.as_slice()));
    tree.iter().filter_map(entry).filter(|(name, _)| !name.contains('/')).collect()
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn all_there(tree: &Tree, table: &str, files: &BTreeSet<String>) -> Result<(), String> {
    match files.iter().find(|file| !tree.contains_key(&format!("{table}{file}"))) {
        Some(file) => Err(format!("{table}{file} is named and is not there")),
        None => Ok(()),
    }
}

/// Reads a Delta table: the checkpoint that counts and every commit after it, none missing; all files that are named.
///
/// A commit is lines of `add` and `remove`; a checkpoint, here, a list of the files.
pub(super) fn delta(tree: &Tree, table: &str) -> Result<State, String> {
    let log = names(tree, &format!("{table}_delta_log/"));
    let version = |name: &str, kind: &str| name.strip_suffix(kind).filter(|v| v.len() == 20)?.parse::<u64>().ok();
    let of = |kind: &str| log.iter().filter_map(|(name, body)| Some((version(name, kind)?, *body))).collect::<BTreeMap<_, _>>();
    let (commits, checkpoints) = (of(".json"), of(".checkpoint.parquet"));
    if let Some(pointer) = log.get("_last_checkpoint") {
        let named = json(pointer)["version"].as_u64().unwrap();
        if !checkpoints.contains_key(&named) {
            return Err(format!("{table}: _last_checkpoint names {named}, which is not there"));
        }
    }
    let (mut files, mut next) = match checkpoints.last_key_value() {
        Some((version, body)) => (texts(&json(body)), version + 1),
        None if commits.is_empty() => return Ok(None),
        None => (BTreeSet::new(), 0),
    };
    for (version, body) in commits.range(next..) {
        if *version != next {
            return Err(format!("{table}: there is no commit {next}, and there is {version}"));
        }
        for action in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json) {
            let path = |verb: &str| action[verb]["path"].as_str().map(str::to_owned);
            files.extend(path("add"));
            path("remove").inspect(|path| assert!(files.remove(path), "{table}: {version} removes {path}"));
        }
        next += 1;
    }
    all_there(tree, table, &files)?;
    Ok(Some(files))
}

/// Reads an Iceberg table as a Hadoop catalog does: from the version that the hint names forward, or the newest one.
///
/// A version's metadata is, here, a list of its files.
pub(super) fn iceberg(tree: &Tree, table: &str) -> Result<State, String> {
    let folder = names(tree, &format!("{table}metadata/"));
    let version = |name: &str| name.strip_prefix('v')?.strip_suffix(".metadata.json")?.parse::<u64>().ok();
    let versions: BTreeMap<_, _> = folder.iter().filter_map(|(name, body)| Some((version(name)?, *body))).collect();
    let newest = match folder.get("version-hint.text") {
        Some(hint) => {
            let hint = String::from_utf8_lossy(hint).parse::<u64>().unwrap();
            let named =
                versions.get_key_value(&hint).ok_or_else(|| format!("{table}: the hint names {hint}, which is not there"))?;
            (hint + 1..).map_while(|next| versions.get_key_value(&next)).last().or(Some(named))
        }
        None => versions.last_key_value(),
    };
    let Some((_, body)) = newest else { return Ok(None) };
    let files = texts(&json(body));
    all_there(tree, table, &files)?;
    Ok(Some(files))
}

/// Reads a Hudi table: of each file group the newest slice whose instant is completed, or older than the timeline.
/// Every slice that a completed instant names is there, unless a newer one of its group is; the metadata table knows it too.
///
/// An instant that is completed is, here, a list of the slices that it wrote: `<group>_<instant>.parquet`.
pub(super) fn hudi(tree: &Tree, table: &str) -> Result<State, String> {
    if !tree.contains_key(&format!("{table}.hoodie/hoodie.properties")) {
        return Ok(None);
    }
    let completed = |folder: String, kind: &str| {
        let log = names(tree, &folder).into_iter();
        let instants = log.filter_map(|(name, body)| Some((name.strip_suffix(kind)?.to_owned(), texts(&json(body)))));
        instants.collect::<BTreeMap<_, _>>()
    };
    let commits = completed(format!("{table}.hoodie/"), ".commit");
    let known = completed(format!("{table}.hoodie/metadata/.hoodie/"), ".deltacommit");
    let Some(first) = commits.keys().next() else { return Ok(Some(BTreeSet::new())) };
    let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
    for name in names(tree, table).into_keys() {
        let (group, instant) = name.strip_suffix(".parquet").and_then(|stem| stem.split_once('_')).unwrap();
        if instant < first.as_str() || commits.contains_key(instant) {
            let slice = newest.entry(group).or_insert(name);
            *slice = name.max(slice);
        }
    }
    for (instant, slices) in &commits {
        if !known.contains_key(instant) && known.keys().next().is_some_and(|oldest| oldest <= instant) {
            return Err(format!("{table}: the metadata table does not know {instant}, which is completed"));
        }
        for slice in slices {
            let group = slice.split_once('_').unwrap().0;
            if newest.get(group).is_none_or(|newest| *newest < slice.as_str()) {
                return Err(format!("{table}{slice} is named by {instant} and is not there, nor a newer one"));
            }
        }
    }
    for log in known.values() {
        all_there(tree, &format!("{table}.hoodie/metadata/files/"), log)?;
    }
    Ok(Some(newest.into_values().map(str::to_owned).collect()))
}

/// Walks a site: whatever a page links to is there. A page is, here, a list of keys.
pub(super) fn site(tree: &Tree) -> Result<(), String> {
    for (page, body) in tree.iter().filter(|(key, _)| key.strip_suffix(".html").is_some()) {
        if let Some(link) = texts(&json(body)).iter().find(|link| !tree.contains_key(*link)) {
            return Err(format!("{page} links to {link}, which is not there"));
        }
    }
    Ok(())
}
