//! The plan: an immutable table of actions in Parquet, and its table of contents `plan.json`.
//!
//! ```text
//! PLAN/plan.json                             format, lake, commits, destination, view, rounds, counts, digests
//! PLAN/round-0/retract-depth-00-00000.parquet   one shard: rows of ONE step
//! PLAN/round-1/copy-00000.parquet               the unit of scheduling, of retry and of the journal
//! ```
//! A round is a list of steps, a step a list of shards. Every step is a barrier. `plan.json` is written last: a folder
//! without it is no plan.

mod builder;
mod contents;
mod files;
mod read;
mod row;
mod shard;
mod write;

pub(crate) use builder::bare_metadata;
pub use contents::{Expects, PLAN_FORMAT, PlanBase, PlanFile, PlanSummary, Round, Shard, Step};
pub use read::{
    PLAN_FILE, check_format, fetch_plan, move_plan, read_plan, takes_a_plan, takes_a_plan_at, upload_file, upload_plan,
};
pub use row::{Action, ROW_SCHEMA, metadata_type, mtime_type};
pub(crate) use row::{Row, UNPLACED_SCHEMA};
pub use shard::shard_limit;
pub(crate) use write::{PlanWriter, StepKey};
