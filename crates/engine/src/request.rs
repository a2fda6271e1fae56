//! What is asked of the engine: values that a command line, a daemon or a test fills in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use planner::round::PublishOrder;
use planner::source::{Commit, CommitSource};
use planner::{Location, RoundsSpec, SelectionSpec};
use serde::{Deserialize, Serialize};

use crate::lease::LeaseOptions;

/// A commit of a lake and the part of it that is meant.
#[derive(Debug, Clone)]
pub struct Source {
    /// As it was given, for people.
    pub text: String,
    /// Who knows the lake's commits.
    pub lake: Arc<dyn CommitSource>,
    /// The commit, resolved once.
    pub commit: Commit,
    /// The reference names a branch, so that it may have been moved back; false when the commit was given by its id.
    pub branch: bool,
    /// The part of the lake that is re-rooted; empty for all.
    pub prefix: String,
}

/// An export or a plan of one.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// What is exported.
    pub source: Source,
    /// Where to.
    pub destination: Location,
    /// `--status-path`: where status markers and `_millrace/` go; `None`: beside the data.
    pub status: Option<Location>,
    /// What of it.
    pub selection: SelectionSpec,
    /// In which rounds.
    pub rounds: RoundsSpec,
    /// The order that `rounds` names, where that is none of the presets.
    pub order: Option<Arc<dyn PublishOrder>>,
    /// `--from`: the commit that the destination is claimed to hold.
    pub from: Option<Commit>,
    /// `--full`: everything is copied again.
    pub full: bool,
    /// Keys of the destination whose state is unknown, whatever HEAD says: they are planned again.
    pub unknown: BTreeSet<String>,
    /// What is allowed.
    pub guards: Guards,
    /// Status markers.
    pub markers: MarkerOptions,
    /// How the run is done.
    pub run: RunOptions,
}

/// `--adopt`: what becomes of the keys that another view left at the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adopt {
    /// Another view is refused.
    #[default]
    No,
    /// The old keys stay and become foreign.
    Foreign,
    /// The old keys are taken over: what the new view lacks is deleted.
    Own,
}

/// `--max-delete`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum MaxDelete {
    /// At most so many objects.
    Count(u64),
    /// At most this share of what is there, in percent.
    Percent(f64),
}

/// What a run may do.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// More deletes than this are refused. `None`: half of what is there, once that is more than 100 objects, and never all.
    pub max_delete: Option<MaxDelete>,
    /// `--force`: go on where a guard that can be overridden says no.
    pub force: bool,
    /// Another view at the destination.
    pub adopt: Adopt,
    /// `--assume-empty`: the destination is not listed before a first export.
    pub assume_empty: bool,
}

/// Status markers at the destination.
#[derive(Debug, Clone)]
pub struct MarkerOptions {
    /// `--keep-success`: SUCCESS markers of other commits stay as history.
    pub keep_success: bool,
    /// `--marker-template`: `{commit}`, `{state}`, `{time}`.
    pub template: String,
}

impl Default for MarkerOptions {
    fn default() -> Self {
        Self { keep_success: false, template: "EXPORT_{commit}_{state}".to_owned() }
    }
}

/// How a run is done.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Objects in flight; `None` chooses.
    pub concurrency: Option<usize>,
    /// Longest time for one request.
    pub request_timeout: Option<Duration>,
    /// `--timeout`: the run is stopped after this.
    pub timeout: Option<Duration>,
    /// `--lease-ttl`: how long the destination stays this run's when it cannot say that it lives.
    pub lease_ttl: Option<Duration>,
    /// `--no-resume`: what an unfinished run did is not believed, and all of it is done again.
    pub no_resume: bool,
    /// `--on-drift take`: an imported object that was overwritten at its source is copied as it is now.
    pub take_drifted: bool,
    /// `--keep-receipts`: receipts and records of runs that stay.
    pub keep_receipts: u64,
    /// `--cluster`: the steps run on a cluster.
    #[cfg(feature = "cluster")]
    pub cluster: Option<ClusterOptions>,
    /// The cluster merges ranges for the plan, however few they are.
    #[cfg(feature = "cluster")]
    pub plan_there: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            lease_ttl: None,
            no_resume: false,
            concurrency: None,
            request_timeout: None,
            timeout: None,
            take_drifted: false,
            keep_receipts: crate::receipt::fold::DEFAULT_KEEP,
            #[cfg(feature = "cluster")]
            cluster: None,
            #[cfg(feature = "cluster")]
            plan_there: false,
        }
    }
}

/// A cluster to run on.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Its scheduler.
    pub scheduler: worker::cluster::Address,
    /// What the scheduler wants to hear.
    pub token: worker::cluster::Token,
    /// What is shown to the scheduler, and the scheduler must show.
    pub tls: worker::cluster::Tls,
}

impl RunOptions {
    /// How the lease is held.
    #[must_use]
    pub fn lease(&self) -> LeaseOptions {
        let default = LeaseOptions::default();
        LeaseOptions {
            ttl: self.lease_ttl.unwrap_or(default.ttl),
            longest: self.request_timeout.unwrap_or(default.longest),
            #[cfg(feature = "cluster")]
            shared: self.cluster.is_some(),
            #[cfg(not(feature = "cluster"))]
            shared: false,
        }
    }
}

/// An `apply` of a plan that was made before.
#[derive(Debug, Clone)]
pub struct ApplyRequest {
    /// The plan's folder.
    pub plan: Location,
    /// What is allowed; `adopt` and `assume_empty` were decided when the plan was made.
    pub guards: Guards,
    /// Status markers.
    pub markers: MarkerOptions,
    /// How the run is done.
    pub run: RunOptions,
}
