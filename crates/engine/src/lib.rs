//! A run from start to end: base, plan, rounds with barriers, receipt, marker.
//!
//! ```text
//!  export ──▶ prepare (base ◀ HEAD, receipts) ──▶ run: rounds ──▶ receipt ──▶ HEAD ──▶ marker
//!  plan   ──▶ prepare ──▶ a folder                 ▲
//!  apply  ──────────────── the folder ─────────────┘
//! ```

pub mod base;
pub mod clock;
#[cfg(feature = "cluster")]
mod cluster;
mod control;
pub mod destination;
mod export;
mod failures;
pub mod guards;
pub mod head;
pub mod lake;
pub mod lease;
mod limits;
pub mod marker;
#[cfg(feature = "cluster")]
mod merges;
mod prepare;
pub mod progress;
pub mod receipt;
pub mod report;
pub mod request;
mod resume;
mod rounds;
mod run;
pub mod session;
mod settle;
mod there;
mod unfinished;
pub mod verify;

pub use control::{cancel, history, status, wait};
pub use export::{apply, export, plan};
pub use planner::overview::{DirectoryCounts, PlanOverview, PlannedRow};
pub use prepare::temporary;
pub use report::{RunReport, State};
#[cfg(feature = "cluster")]
pub use request::ClusterOptions;
pub use request::{Adopt, ApplyRequest, ExportRequest, Guards, MarkerOptions, MaxDelete, RunOptions, Source};
