//! A run from start to end: base, plan, rounds with barriers, receipt, marker.

pub mod progress;
pub mod report;
pub mod request;

pub use report::{RunReport, State};
pub use request::{Adopt, ApplyRequest, ExportRequest, Guards, MarkerOptions, MaxDelete, RunOptions, Source};
