//! A **view**: what a destination is an export *of*. Two exports with equal views but other commits differ by a diff of the
//! two commits; any other difference needs both views in full.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Which lake, part and selection a destination holds, and how it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The lake's storage namespace, as a canonical URL: the identity of the lake.
    pub lake: String,
    /// The part of the lake that is re-rooted at the destination; empty for all of it.
    pub prefix: String,
    /// What is selected of it.
    pub selection: SelectionSpec,
    /// Preset and rounds.
    pub rounds: RoundsSpec,
}

/// `--include`, `--exclude`, `--where`, as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionSpec {
    /// Globs of which one must match; none selects all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of which none may match.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A SQL predicate over `key, size, etag, mtime, content_type, metadata`.
    #[serde(default, rename = "where")]
    pub predicate: Option<String>,
    /// What `now()` means, RFC 3339: frozen when the plan is made, only set when the predicate uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

impl SelectionSpec {
    /// Everything is selected.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.predicate.is_none()
    }
}

impl std::fmt::Display for SelectionSpec {
    /// As it would be typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let include = self.include.iter().map(|g| format!("--include '{g}'"));
        let exclude = self.exclude.iter().map(|g| format!("--exclude '{g}'"));
        let predicate = self.predicate.iter().map(|p| format!("--where '{p}'"));
        f.write_str(&include.chain(exclude).chain(predicate).collect::<Vec<_>>().join(" "))
    }
}

/// A preset and the rounds that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundsSpec {
    /// The preset's name.
    pub preset: Preset,
    /// `--round` patterns in their order: a glob, or `sql:` and a predicate.
    #[serde(default)]
    pub rounds: Vec<String>,
    /// `--keep-markers`: nothing is retracted.
    #[serde(default)]
    pub keep_markers: bool,
    /// `--done-file` and `--done-prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<DoneSpec>,
}

/// An empty object of Millrace's own that is written last in each matching folder that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneSpec {
    /// Its name in the folder.
    pub name: String,
    /// A regular expression that a folder's whole key, without the slash at its end, must match.
    pub prefix: String,
}

impl Default for RoundsSpec {
    fn default() -> Self {
        Self { preset: Preset::Spark, rounds: Vec::new(), keep_markers: false, done: None }
    }
}

/// The name of an order in which keys are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Preset {
    /// `_SUCCESS` markers are retracted first and written last.
    Spark,
    /// Delta Lake: data, the log version by version, `_last_checkpoint`, deletes.
    Delta,
    /// Apache Iceberg: data and manifests, `*.metadata.json`, `version-hint.text`, deletes.
    Iceberg,
    /// Apache Hudi: data, the timelines by instant, `hoodie.properties`, deletes.
    Hudi,
    /// A web site: assets, pages, what leads to them, deletes.
    Site,
    /// No markers: all keys are data.
    None,
    /// An order of somebody's own, by its name: see [`crate::round::PublishOrder`].
    Own(String),
}

impl View {
    /// SHA-256 of the canonical form, in hex: equal digests, equal views.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.lake, &self.prefix] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let rest = serde_json::json!([self.selection, self.rounds]).to_string();
        hash.update(rest);
        hex::encode(hash.finalize())
    }

    /// Lake and prefix are the same, whatever is selected of them.
    #[must_use]
    pub fn same_root(&self, other: &Self) -> bool {
        self.lake == other.lake && self.prefix == other.prefix
    }
}
