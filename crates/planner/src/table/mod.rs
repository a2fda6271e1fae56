//! Lakes as tables: what a commit holds, and what differs between two.
//!
//! ```text
//! metaranges ──▶ clusters of ranges that differ ──▶ merge of each cluster ──▶ batches, in key order
//!                 (equal range ids are dropped)      (raw byte order,
//!                                                     identities compared as stored)
//! ```
//! Cost follows what differs: a range that both commits share is not opened, whatever its size.

mod bounds;
mod cluster;
mod diff;
mod elsewhere;
mod functions;
mod lookup;
mod merge;
mod objects;
mod scan;
mod stream;

pub use cluster::{Clusters, Mode};
pub use diff::{DIFF_SCHEMA, diff};
pub use elsewhere::{Elsewhere, MERGED_SCHEMA, MergePart, MergeTask, Merges, merge_part, part_of};
pub use functions::register;
pub use lookup::{Lookup, lookup};
pub use merge::DiffBatch;
pub use objects::objects;
pub use stream::{DiffOptions, diff_stream};
