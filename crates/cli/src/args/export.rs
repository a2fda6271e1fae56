//! `export`, `plan`, `apply`, and the groups of options they share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use engine::{Adopt, Guards, MarkerOptions, MaxDelete, RunOptions};
use planner::{DoneSpec, Preset, RoundsSpec, SelectionSpec};

use super::values::{self, Concurrency};

/// `export SOURCE DEST`.
#[derive(Debug, Args)]
#[command(
    mut_arg("dry_run", |a| a.hide(false)),
    after_help = "Examples:
  millrace export lakefs://orders/main s3://mirror/orders
  millrace export 'lake+file:///srv/lake/orders?ref=v2' /srv/orders --dry-run
  millrace export lakefs://orders/main/tables/orders/ s3://mirror/orders --preset delta
  millrace export lakefs://orders/main s3://mirror/csv --where \"key LIKE '%.csv' AND size < 1000000\"

The Spark exporter's own words are understood as well; without --prev-commit-id they mean --full:
  millrace export orders s3a://mirror/orders --branch main --prev-commit-id 4f3a…"
)]
pub(crate) struct ExportArgs {
    /// The commit and the part of it: `lakefs://REPO/REF[/PREFIX/]` or `lake+…?ref=REF[&prefix=PREFIX/]`
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Where to: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///DIR` or a plain path
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) rounds: RoundArgs,
    #[command(flatten)]
    pub(crate) status: StatusArgs,
    #[command(flatten)]
    pub(crate) markers: MarkerArgs,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) spark: SparkArgs,
}

/// `plan SOURCE DEST`.
#[derive(Debug, Args)]
#[command(after_help = "Without -o the plan is kept in your cache directory; where is printed.

Examples:
  millrace plan lakefs://orders/main s3://mirror/orders
  millrace plan lakefs://orders/main s3://mirror/orders -o s3://plans/orders-42
  millrace sql s3://plans/orders-42 \"SELECT key FROM plan WHERE action = 'delete'\"")]
pub(crate) struct PlanArgs {
    /// The commit and the part of it: `lakefs://REPO/REF[/PREFIX/]` or `lake+…?ref=REF[&prefix=PREFIX/]`
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// What the plan is for
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(crate) cluster: super::cluster::OnClusterArgs,
    /// The folder to write the plan to, in any store
    #[arg(short = 'o', value_name = "PLAN")]
    pub(crate) plan: Option<String>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) rounds: RoundArgs,
    #[command(flatten)]
    pub(crate) status: StatusArgs,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
}

/// `apply PLAN`.
#[derive(Debug, Args)]
#[command(after_help = "A plan whose destination has moved on since is refused.

Example:
  millrace apply s3://plans/orders-42 --concurrency 64 --timeout 1h")]
pub(crate) struct ApplyArgs {
    /// The plan's folder
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
    #[command(flatten)]
    pub(crate) markers: MarkerArgs,
    #[command(flatten)]
    pub(crate) guards: RunGuardArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What of the commit, and compared with what.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectionArgs {
    /// Take this commit for what the destination holds
    #[arg(long, value_name = "REF", conflicts_with_all = ["full", "adopt"])]
    pub(crate) from: Option<String>,

    /// Copy everything again, and delete what the receipt lists and the commit no longer has
    #[arg(long)]
    pub(crate) full: bool,

    /// Only keys that match (repeatable: one must match)
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,

    /// No keys that match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,

    /// Only objects of which this is true: over `key, size, etag, mtime, content_type, metadata`
    #[arg(long = "where", value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) predicate: Option<String>,

    /// Show the plan and stop
    #[arg(long, hide = true)]
    pub(crate) dry_run: bool,
}

impl SelectionArgs {
    /// As planning wants it.
    pub(crate) fn spec(&self) -> SelectionSpec {
        SelectionSpec {
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            predicate: self.predicate.clone(),
            now: None,
        }
    }
}

/// In which order.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rounds")]
pub(crate) struct RoundArgs {
    /// What is published last, and what is deleted when
    #[arg(long, value_enum, value_name = "PRESET", default_value_t)]
    pub(crate) preset: PresetName,

    /// A round of its own after the rest of the data: GLOB or sql:PREDICATE (repeatable, in order)
    #[arg(long = "round", value_name = "GLOB")]
    pub(crate) rounds: Vec<String>,

    /// Leave the markers of changed directories in place while their data changes
    #[arg(long)]
    pub(crate) keep_markers: bool,

    /// An empty object of this name is written last in each folder that changed and matches --done-prefix
    #[arg(long, value_name = "NAME", requires = "done_prefix")]
    pub(crate) done_file: Option<String>,

    /// Which folders get one: a regular expression over the whole folder, such as 'tables/[^/]+/dt=[^/]+'
    #[arg(long, value_name = "REGEX", requires = "done_file")]
    pub(crate) done_prefix: Option<String>,
}

impl RoundArgs {
    /// As planning wants it.
    pub(crate) fn spec(&self) -> RoundsSpec {
        let preset = match self.preset {
            PresetName::Spark => Preset::Spark,
            PresetName::Delta => Preset::Delta,
            PresetName::Iceberg => Preset::Iceberg,
            PresetName::Hudi => Preset::Hudi,
            PresetName::Site => Preset::Site,
            PresetName::None => Preset::None,
        };
        let both = self.done_file.clone().zip(self.done_prefix.clone());
        let done = both.map(|(name, prefix)| DoneSpec { name, prefix });
        RoundsSpec { preset, rounds: self.rounds.clone(), keep_markers: self.keep_markers, done }
    }
}

/// `--preset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PresetName {
    /// `_SUCCESS` markers are deleted before and written after everything they cover
    #[default]
    Spark,
    /// Delta Lake: data, log entries by version, `_last_checkpoint`, deletes
    Delta,
    /// Apache Iceberg: data and manifests, `*.metadata.json`, version-hint.text, deletes
    Iceberg,
    /// Apache Hudi: data, timelines by instant, hoodie.properties, deletes
    Hudi,
    /// A web site: assets, pages, index pages and site maps, deletes
    Site,
    /// All keys are data
    None,
}

/// Status markers at the destination.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Markers")]
pub(crate) struct MarkerArgs {
    /// Keep the SUCCESS markers of other commits as history
    #[arg(long)]
    pub(crate) keep_success: bool,

    /// How status markers are called: {commit}, {state} and {time} are filled in [default: EXPORT_{commit}_{state}]
    #[arg(long, value_name = "NAME")]
    pub(crate) marker_template: Option<String>,
}

impl MarkerArgs {
    /// As the engine wants it.
    pub(crate) fn options(&self) -> MarkerOptions {
        let default = MarkerOptions::default();
        MarkerOptions { keep_success: self.keep_success, template: self.marker_template.clone().unwrap_or(default.template) }
    }
}

/// Where status markers go.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Markers")]
pub(crate) struct StatusArgs {
    /// Where status markers and _millrace/ go instead of beside the data; give it to every export there
    #[arg(long, value_name = "LOCATION")]
    pub(crate) status_path: Option<String>,
}

/// What stops a run that looks wrong.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Guards")]
pub(crate) struct RunGuardArgs {
    /// Refuse more deletes than this: objects, or a share of what is there [default: 50% once that is over 100 objects]
    #[arg(long, value_name = "N|P%", value_parser = values::max_delete)]
    pub(crate) max_delete: Option<MaxDelete>,

    /// Go on where a guard that can be overridden says no
    #[arg(long)]
    pub(crate) force: bool,
}

impl RunGuardArgs {
    /// As the engine wants it.
    pub(crate) fn guards(&self) -> Guards {
        Guards { max_delete: self.max_delete, force: self.force, ..Guards::default() }
    }
}

/// What stops an export that looks wrong.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Guards")]
pub(crate) struct GuardArgs {
    #[command(flatten)]
    run: RunGuardArgs,

    /// Take a destination that holds another prefix or lake; its keys stay, or with =own are taken over
    #[arg(long, value_enum, value_name = "own", num_args = 0..=1, require_equals = true, default_missing_value = "foreign",
          hide_possible_values = true)]
    pub(crate) adopt: Option<AdoptName>,

    /// Do not list the destination before a first export
    #[arg(long)]
    pub(crate) assume_empty: bool,
}

/// `--adopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdoptName {
    /// The old keys stay.
    #[value(hide = true)]
    Foreign,
    /// The old keys are taken over.
    Own,
}

impl GuardArgs {
    /// As the engine wants it.
    pub(crate) fn guards(&self) -> Guards {
        Guards {
            adopt: match self.adopt {
                None => Adopt::No,
                Some(AdoptName::Foreign) => Adopt::Foreign,
                Some(AdoptName::Own) => Adopt::Own,
            },
            assume_empty: self.assume_empty,
            ..self.run.guards()
        }
    }
}

/// How a run is done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    /// Objects in flight
    #[arg(long, value_name = "N|auto", value_parser = values::concurrency)]
    pub(crate) concurrency: Option<Concurrency>,

    /// Stop after this time (1h, 90s); the same command goes on later
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,

    /// Longest time for one request [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) request_timeout: Option<Duration>,

    /// How long the destination stays this run's when it cannot say that it lives [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::lease_ttl)]
    pub(crate) lease_ttl: Option<Duration>,

    /// Go on in the background; prints the run's id
    #[arg(long)]
    pub(crate) detach: bool,

    /// Do again what an unfinished run has done already
    #[arg(long)]
    pub(crate) no_resume: bool,

    /// What to do with an imported object that was overwritten at its source since the commit
    #[arg(long, value_enum, value_name = "fail|take", default_value_t, hide_possible_values = true)]
    pub(crate) on_drift: OnDrift,

    /// Receipts and records of runs that stay at the destination
    #[arg(long, value_name = "N", default_value_t = engine::receipt::fold::DEFAULT_KEEP,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keep_receipts: u64,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub(crate) cluster: super::cluster::OnClusterArgs,
}

/// `--on-drift`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDrift {
    /// It is a failed object.
    #[default]
    Fail,
    /// What is there now is copied, and the receipt says so.
    Take,
}

impl RunArgs {
    /// As the engine wants it.
    pub(crate) fn options(&self) -> planner::Result<RunOptions> {
        Ok(RunOptions {
            concurrency: self.concurrency.and_then(|c| c.0),
            request_timeout: self.request_timeout,
            timeout: self.timeout,
            lease_ttl: self.lease_ttl,
            no_resume: self.no_resume,
            take_drifted: self.on_drift == OnDrift::Take,
            keep_receipts: self.keep_receipts,
            #[cfg(feature = "cluster")]
            cluster: self.cluster.options()?,
            #[cfg(feature = "cluster")]
            plan_there: false,
        })
    }
}

/// The Spark exporter's own words.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The Spark exporter's words")]
pub(crate) struct SparkArgs {
    /// Export this branch; SOURCE is the repository
    #[arg(long, value_name = "BRANCH", conflicts_with_all = ["commit_id", "from", "full"])]
    pub(crate) branch: Option<String>,

    /// Export this commit; SOURCE is the repository
    #[arg(long, alias = "commit_id", value_name = "COMMIT", conflicts_with_all = ["from", "full"])]
    pub(crate) commit_id: Option<String>,

    /// The commit that the destination holds (with --branch)
    #[arg(long, alias = "prev_commit_id", value_name = "COMMIT", requires = "branch", conflicts_with_all = ["commit_id", "from", "full", "adopt"])]
    pub(crate) prev_commit_id: Option<String>,
}
