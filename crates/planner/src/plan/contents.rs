//! `plan.json`: what a plan is for, what it was made from, and which files it has.

use serde::{Deserialize, Serialize};

use super::row::Action;
use crate::location::Location;
use crate::view::View;

/// The format version of `plan.json` and its shards.
///
/// * 1: the first.
pub const PLAN_FORMAT: u32 = 1;

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number in the plan: each has its own.
    pub number: i32,
    /// Below the plan's folder.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Payload bytes of the rows to copy.
    pub bytes: u64,
    /// Payload bytes of the largest of them.
    pub largest: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// Rows of one action; the next step waits for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What the rows do.
    pub action: Action,
    /// The rows of a folder run one after another, as they stand in the only shard; when one fails, those after it are not
    /// tried. Else they run in any order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// Its files.
    pub shards: Vec<Shard>,
}

impl Step {
    /// Rows of all shards.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.shards.iter().map(|s| s.rows).sum()
    }
}

/// A barrier-ordered phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its number; 0 retracts.
    pub round: i32,
    /// `retract`, `data`, the pattern of `--round`, `take back`, the preset's own, `deletes`.
    pub name: String,
    /// In their order.
    pub steps: Vec<Step>,
    /// Rows that write an object.
    pub copied: u64,
    /// Rows that delete one.
    pub deleted: u64,
    /// Those of them, outside of round 0, whose object comes back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retracted: u64,
    /// Payload bytes of the rows to copy.
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Round {
    /// Rows of all steps.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.copied + self.deleted
    }
}

/// Counts of a plan. Totals leave out round 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Objects to write.
    pub copied: u64,
    /// Objects to delete.
    pub deleted: u64,
    /// Markers to retract.
    pub retracted: u64,
    /// Objects of the view that are not touched; `None` under a filter.
    pub unchanged: Option<u64>,
    /// Payload bytes to write.
    pub bytes: u64,
    /// Objects of the target's view: what is there after the run.
    pub objects: u64,
    /// Objects of the base's view: what is believed to be there before.
    #[serde(default)]
    pub base_objects: u64,
    /// Range files of both commits, each id once.
    pub ranges_total: u64,
    /// Range files read while planning.
    pub ranges_opened: u64,
    /// Markers looked up by an index and one block.
    pub looked_up: u64,
    /// Bytes of the lake's metadata read while planning.
    #[serde(default)]
    pub metadata_bytes: u64,
}

/// The commit that the destination is believed to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBase {
    /// 64 hex digits.
    pub commit: String,
    /// Its metarange.
    pub metarange: String,
    /// Said by hand (`--from`), not proved by a receipt.
    pub claimed: bool,
}

/// The state of the destination that a plan was made for; when it has moved on, the plan is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expects {
    /// The current receipt.
    pub receipt: Option<String>,
    /// Runs that changed the destination since and did not finish.
    pub unfinished: Vec<String>,
}

/// The table of contents of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// The version that made it.
    pub millrace: String,
    /// The id that its run will have.
    pub run: String,
    /// RFC 3339.
    pub created: String,
    /// The source as it was given.
    pub source: String,
    /// The lake's storage namespace: relative addresses lie below it.
    pub storage: Location,
    /// 64 hex digits.
    pub commit: String,
    /// Its metarange.
    pub metarange: String,
    /// What the difference was taken to.
    pub base: Option<PlanBase>,
    /// The commit was given by a branch's name.
    #[serde(default)]
    pub branch: bool,
    /// What the destination will be an export of.
    pub view: View,
    /// [`View::digest`].
    pub view_digest: String,
    /// Where to.
    pub destination: Location,
    /// Where status markers and `_millrace/` are, if not beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Location>,
    /// For which state of it.
    pub expects: Expects,
    /// The root of a chain that was said by hand and has no receipt yet: commit and metarange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<PlanBase>,
    /// Everything is written again.
    pub full: bool,
    /// In their order.
    pub rounds: Vec<Round>,
    /// Totals.
    pub summary: PlanSummary,
    /// Things a person should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl PlanFile {
    /// There is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rounds.iter().all(|r| r.rows() == 0)
    }

    /// Payload bytes of the largest object to copy.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.shards().map(|(_, _, shard)| shard.largest).max().unwrap_or_default()
    }

    /// All shards with their round and action.
    pub fn shards(&self) -> impl Iterator<Item = (&Round, &Step, &Shard)> {
        self.rounds.iter().flat_map(|r| r.steps.iter().flat_map(move |s| s.shards.iter().map(move |f| (r, s, f))))
    }
}
