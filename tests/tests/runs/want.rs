//! What a destination must hold: the rules of a view on plain maps.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::made::Objects;

/// What is selected of a commit, as options and as a function of key and bytes.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) options: &'static [&'static str],
    selects: fn(&str, &[u8]) -> bool,
}

/// The selections of these tests; the first is everything.
pub(crate) const FILTERS: [Filter; 6] = [
    Filter { options: &[], selects: |_, _| true },
    Filter { options: &["--exclude", "a/x/**"], selects: |key, _| !key.starts_with("a/x/") },
    Filter { options: &["--include", "a/**"], selects: |key, _| key.starts_with("a/") },
    Filter { options: &["--where", "size <> 3"], selects: |_, body| body.len() != 3 },
    Filter { options: &["--exclude", "a/1"], selects: |key, _| key != "a/1" },
    Filter { options: &["--exclude", "a/x/_SUCCESS"], selects: |key, _| key != "a/x/_SUCCESS" },
];

/// The part of a commit that an export is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    /// The commit's label.
    pub(crate) label: &'static str,
    /// A number in [`FILTERS`].
    pub(crate) filter: usize,
    /// What is re-rooted; empty or with a slash at its end.
    pub(crate) prefix: &'static str,
    /// Are `_SUCCESS` objects markers, or data like others?
    pub(crate) markers: bool,
}

impl Want {
    /// All of a commit.
    pub(crate) fn all(label: &'static str) -> Self {
        Self { label, filter: 0, prefix: "", markers: true }
    }

    /// A selection of a commit.
    pub(crate) fn filtered(label: &'static str, filter: usize) -> Self {
        Self { filter, ..Self::all(label) }
    }

    /// The options that ask for it, without the prefix, which is part of the source.
    pub(crate) fn options(&self) -> Vec<&'static str> {
        let preset: &[&str] = if self.markers { &[] } else { &["--preset", "none"] };
        [FILTERS[self.filter].options, preset].concat()
    }

    /// Is that the view that a HEAD or a receipt names?
    pub(crate) fn is_named_by(&self, view: &Value) -> bool {
        let given = |name: &str| -> Vec<&str> {
            FILTERS[self.filter].options.chunks(2).filter(|pair| pair[0] == name).map(|pair| pair[1]).collect()
        };
        view["selection"]["include"] == json!(given("--include"))
            && view["selection"]["exclude"] == json!(given("--exclude"))
            && view["selection"]["where"] == given("--where").first().map_or(Value::Null, |text| json!(text))
            && view["prefix"] == self.prefix
            && view["rounds"]["preset"] == if self.markers { "spark" } else { "none" }
    }

    /// What it is of a commit with these objects.
    pub(crate) fn of(&self, commit: &Objects) -> Objects {
        let inside: Objects =
            commit.iter().filter_map(|(key, body)| Some((key.strip_prefix(self.prefix)?.to_owned(), body.clone()))).collect();
        let selects = |key: &String, body: &[u8]| (FILTERS[self.filter].selects)(&format!("{}{key}", self.prefix), body);
        let held = |marker: &str| inside.iter().any(|(key, body)| is_below(key, marker) && !selects(key, body));
        let wanted = |key: &String, body: &[u8]| selects(key, body) && !(self.markers && is_marker(key) && held(key));
        inside.iter().filter(|(key, body)| wanted(key, body)).map(|(key, body)| (key.clone(), body.clone())).collect()
    }
}

/// What a plan does, by the rules on plain maps: markers that go, objects that come, objects that go, markers that come.
pub(crate) type Plan = [BTreeSet<String>; 4];

/// The plan between two views, where everything is known.
pub(crate) fn plan(base: &Objects, target: &Objects, full: bool) -> Plan {
    let all = || base.keys().chain(target.keys());
    let mut changed: BTreeSet<&String> = all().filter(|key| base.get(*key) != target.get(*key)).collect();
    if full {
        changed.extend(target.keys());
    }
    let hit = |marker: &str| changed.contains(&marker.to_owned()) || changed.iter().any(|key| is_below(key, marker));
    let retract: BTreeSet<String> = all().filter(|key| is_marker(key) && hit(key)).cloned().collect();
    let data = |there: bool| changed.iter().filter(move |key| !is_marker(key) && target.contains_key(**key) == there);
    let (copies, deletes) = (data(true).map(|key| (*key).clone()).collect(), data(false).map(|key| (*key).clone()).collect());
    let publish = target.keys().filter(|key| is_marker(key) && retract.contains(*key)).cloned().collect();
    [retract, copies, deletes, publish]
}

/// Does a key speak for everything below its directory?
pub(crate) fn is_marker(key: &str) -> bool {
    key == "_SUCCESS" || key.ends_with("/_SUCCESS")
}

/// Does a marker speak for that key?
pub(crate) fn is_below(key: &str, marker: &str) -> bool {
    key != marker && key.starts_with(&marker[..marker.len() - "_SUCCESS".len()])
}

#[test]
fn a_marker_whose_directory_is_not_selected_as_a_whole_is_held_back() {
    let commit = crate::made::objects(&[("_SUCCESS", ""), ("a/1", "1"), ("a/_SUCCESS", ""), ("a/x/1", "1"), ("b/_SUCCESS", "")]);
    let keys = |want: Want| want.of(&commit).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(Want::filtered("A", 1)), ["a/1", "b/_SUCCESS"]);
    assert_eq!(keys(Want { markers: false, ..Want::filtered("A", 1) }), ["_SUCCESS", "a/1", "a/_SUCCESS", "b/_SUCCESS"]);
    assert_eq!(keys(Want { prefix: "a/", ..Want::all("A") }), ["1", "_SUCCESS", "x/1"]);
    assert_eq!(keys(Want { prefix: "a/", ..Want::filtered("A", 4) }), ["x/1"]);
}
