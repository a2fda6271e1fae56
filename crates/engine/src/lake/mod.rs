//! The embedded lake: a lake without a server, in lakeFS's own layout.
//!
//! ```text
//! _lakefs/millrace.json        the mark: this lake is Millrace's, and of which format
//! _lakefs/refs_manifest.json   which dumps of commits, branches and tags count
//! _lakefs/<id>                 ranges and metaranges of commits and of those dumps, named by their content
//! data/<partition>/<id>        objects, never overwritten
//! ```
//!
//! # Consistency
//! The manifest is the one object that is ever changed, by conditional put, and everything it names was stored before. A writer
//! that lost the race looks again: if its branch stands where it stood, it changes the refs that are there now, else it says
//! who was faster. The manifest holds no date: equal manifests mean equal refs, so that an etag that comes back does no harm.
//!
//! # Retries
//! A conditional put is never sent twice. After an answer that did not come, the lake is read: a commit that is in it has counted.
//!
//! # Crash consistency
//! Killed at any point, the lake is at the old or the new commit. What was stored and is named by nothing stays as litter.
//!
//! # Cancellation
//! Every function here may be dropped at any point: as if killed.

mod ancestor;
mod commit;
mod compare;
mod content;
mod files;
mod init;
mod mark;
mod merge;
mod names;
mod refs;
mod report;
mod sink;
mod store;

use std::collections::BTreeMap;

use graveler::{CommitData, Timestamp};
use planner::Location;

pub use self::commit::commit;
pub use self::init::init;
pub use self::mark::{MARK_FORMAT, MARK_KEY, Mark};
pub use self::merge::merge;
pub use self::refs::{create_ref, delete_ref};
pub use self::report::{CommitReport, InitReport, LakeState, MergeReport, RefReport};
pub use graveler::Strategy;

/// What is said of a new commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitWords {
    /// The message; of a merge, none means the usual one.
    pub message: Option<String>,
    /// Pairs of the commit's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// Who commits.
    pub committer: String,
}

/// `lake commit`.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The lake.
    pub lake: Location,
    /// The branch that gets the commit.
    pub branch: String,
    /// The files.
    pub folder: Location,
    /// The part of the branch that becomes equal to the folder: everything below it; empty for all.
    pub prefix: String,
    /// What is said of the commit.
    pub words: CommitWords,
    /// Commit even when nothing differs.
    pub allow_empty: bool,
    /// Files that are read at once; `None` chooses.
    pub concurrency: Option<usize>,
}

/// `lake merge`.
#[derive(Debug, Clone)]
pub struct MergeRequest {
    /// The lake.
    pub lake: Location,
    /// The reference that is merged.
    pub source: String,
    /// The branch that it is merged into.
    pub branch: String,
    /// What is said of the commit.
    pub words: CommitWords,
    /// Who is right where both sides changed a key; without one such keys are conflicts.
    pub strategy: Option<Strategy>,
}

/// The version of commits today: the first parent of a merge is its destination.
const COMMIT_VERSION: i32 = 1;

/// A commit of now with its id.
fn new_commit(words: &CommitWords, message: String, metarange: &str, parents: &[&CommitData]) -> CommitData {
    let now = chrono::Utc::now();
    let nanos = i32::try_from(now.timestamp_subsec_nanos()).unwrap_or_default();
    let mut commit = CommitData {
        id: String::new(),
        committer: words.committer.clone(),
        message,
        creation_date: Some(Timestamp { seconds: now.timestamp(), nanos }),
        meta_range_id: metarange.to_owned(),
        metadata: words.metadata.clone(),
        parents: parents.iter().map(|parent| parent.id.clone()).collect(),
        version: COMMIT_VERSION,
        generation: parents.iter().map(|parent| parent.generation).max().unwrap_or_default().saturating_add(1),
    };
    commit.id = graveler::ident::commit_id(&commit);
    commit
}
