//! Steps on a cluster: submitted, watched, submitted again, cancelled.
//!
//! ```text
//! shards with rows to do ─▶ job ─▶ watched: journal, scheduler, stop ─▶ journal ─▶ outcomes
//!        ▲                                                     │
//!        └───────────── rows without an outcome ◀──────────────┘
//! ```
//! # Consistency
//! What a job says of itself is a hint. The journal at the destination is the truth: a step's outcomes are its rows joined with
//! it, and what has none is submitted again. Attempts of which nobody knows whether they ended are in doubt for as long as an
//! executor works without looking at the lease, and a request may go without an answer.

pub(crate) mod asking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use planner::plan::{PlanFile, Round, Shard, Step};
use planner::{Error, ErrorKind, Location, Result};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::Instant;
use worker::cluster::{Attempts, Cluster, CopyTask, JobState, LeaseSpec, ShardRows, ShardsTable};
use worker::journal::{Outcomes, replay};
use worker::{CopySpec, FailureKind, OUTCOME_SCHEMA, Registry, RequestClass, Store};

use crate::base::run_folder;
use crate::lease::Lease;
use crate::prepare::temporary;
use crate::progress::{Progress, RoundProgress};
use crate::request::ClusterOptions;
use asking::{Asking, PAUSE, STALLED, TRIES};

/// How often the journal is looked at.
const LOOKED: Duration = Duration::from_secs(2);
/// How long a stopped run waits for its tasks to end.
const GRACE: Duration = Duration::from_secs(6);

/// What a cluster is given to do.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub registry: &'a Arc<Registry>,
    pub lease: &'a Arc<Lease>,
    pub plan: &'a PlanFile,
    pub copy: CopySpec,
    /// The location that has `_millrace/`.
    pub control: Location,
    pub ttl: Duration,
}

/// A cluster that runs the steps of one plan.
#[derive(Debug)]
pub(crate) struct ClusterSession<'a> {
    cluster: Cluster,
    registry: &'a Arc<Registry>,
    lease: &'a Arc<Lease>,
    task: CopyTask,
    /// Where the plan's shards lie.
    folder: Location,
    journal: Arc<dyn Store>,
    spool: TempDir,
    known: Mutex<Known>,
    /// The longest that a request may go without an answer.
    longest: Duration,
}

/// What the journal and the marks told so far.
#[derive(Debug, Default)]
struct Known {
    outcomes: Arc<Outcomes>,
    /// Attempts whose doubts are taken care of.
    attempts: BTreeSet<String>,
    /// Rows and bytes done by the segments that were read for the running step.
    done: (u64, u64),
}

impl Known {
    /// To be added to; the step before this one has been read to its end.
    fn outcomes(&mut self) -> Result<&mut Outcomes> {
        Arc::get_mut(&mut self.outcomes).ok_or_else(|| Error::bug("the outcomes of the step before are still being read"))
    }
}

/// How a job ended.
enum Ended {
    /// By itself.
    Done,
    /// Not well; it may be tried again.
    Badly(Error),
    /// The run was stopped.
    Stopped,
}

impl<'a> ClusterSession<'a> {
    /// Connects to the scheduler.
    ///
    /// # Errors
    /// `Unreachable` where there is no scheduler, or none that gets executors; `Usage` for a destination that only this process
    /// has.
    pub(crate) async fn connect(options: &ClusterOptions, job: Job<'a>, progress: &dyn Progress) -> Result<Self> {
        let Job { registry, lease, plan, copy, control, ttl } = job;
        if plan.destination.scheme() == planner::Scheme::Memory {
            return Err(Error::usage(format!("{}: what is in this process's memory is not on a cluster", plan.destination))
                .with_help("run it without --cluster"));
        }
        let cluster = Cluster::connect(&options.scheduler, &options.token, &options.tls).await?;
        let longest = copy.longest_request(plan.largest());
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let folder = control.join(&format!("{}/plan", run_folder(&plan.run)));
        let lease_spec = LeaseSpec { control, generation: lease.generation(), ttl_ms };
        let task = CopyTask { millrace: CopyTask::VERSION.to_owned(), run: plan.run.clone(), copy, lease: lease_spec };
        let journal = registry.open(&task.journal(), RequestClass::Control)?;
        let spool = temporary()?;
        let mut known = Known::default();
        known.outcomes()?.refresh(&journal, spool.path()).await?;
        known.outcomes()?.forget_failures();
        // What an earlier driver lost sight of, its lease's successor waited for.
        let earlier = Attempts::read(registry, &task).await?;
        known.attempts = earlier.open.into_iter().chain(earlier.ended.into_keys()).collect();
        let known = Mutex::new(known);
        let session = Self { cluster, registry, lease, task, folder, journal, spool, known, longest };
        session.executors(progress).await?;
        Ok(session)
    }

    /// Waits until there is somebody to run what is submitted.
    async fn executors(&self, progress: &dyn Progress) -> Result<()> {
        let waiting = || progress.note("waiting for executors: the cluster has none");
        asking::executors(&self.cluster, self.lease.stop(), "run the same command without --cluster", waiting).await
    }

    /// Runs a step whose rows are `rows`; their outcomes. Of one that stopped or failed, those there are; then why it failed.
    ///
    /// # Errors
    /// The cluster's, or what a task ended by.
    pub(crate) async fn step(
        &self,
        (round, step): (&Round, &Step),
        rows: SendableRecordBatchStream,
        before: RoundProgress,
        progress: &dyn Progress,
    ) -> Result<SendableRecordBatchStream> {
        let mut known = self.known.lock().await;
        known.done = (0, 0);
        let told = |done: (u64, u64)| {
            let done = RoundProgress { done: before.done + done.0.min(step.rows()), bytes: before.bytes + done.1, ..before };
            progress.round_progress(round, done);
        };
        let ran = self.all(step, &mut known, (progress, &told)).await;
        self.settle(&mut known).await;
        if let Err(error) = &ran {
            // What was done until then counts.
            let read = known.outcomes()?.refresh(&self.journal, self.spool.path()).await;
            read.inspect_err(|unread| tracing::debug!("after {error}: {unread}")).ok();
        }
        let ended = stream::iter(ran.err().map(|error| Err(error.into())));
        let outcomes = replay(rows, Arc::clone(&known.outcomes)).map(|batch| without_undone(&batch?)).chain(ended);
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&OUTCOME_SCHEMA), outcomes)))
    }

    /// Submits a step's shards until all their rows have outcomes, or the run is stopped.
    async fn all(
        &self,
        step: &Step,
        known: &mut Known,
        (progress, told): (&dyn Progress, &(dyn Fn((u64, u64)) + Sync)),
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            let shards = left(step, known)?;
            if shards.is_empty() || self.lease.stop().is_cancelled() {
                return Ok(());
            }
            let before = undone(&shards, known)?;
            let ended = self.job(step, &shards, known, told).await?;
            known.outcomes()?.refresh(&self.journal, self.spool.path()).await?;
            let error = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Done => Error::unreachable("the cluster's job ended, and some of its rows have no outcome"),
                Ended::Badly(error) if matches!(error.kind(), ErrorKind::Usage | ErrorKind::Bug | ErrorKind::Corrupt) => {
                    return Err(error);
                }
                // What an executor lost is not lost here.
                Ended::Badly(error) => {
                    self.lease.check()?;
                    Error::unreachable(error.message())
                }
            };
            let after = undone(&left(step, known)?, known)?;
            tries = if after < before { 0 } else { tries + 1 };
            if after > 0 && tries >= TRIES {
                return Err(
                    error.with_help("run the same command again, with or without --cluster: what is done is not done again")
                );
            }
            if after > 0 {
                tracing::info!("{after} rows are submitted again: {error}");
                self.executors(progress).await?;
            }
        }
    }

    /// Runs one job to its end.
    async fn job(&self, step: &Step, shards: &[&Shard], known: &mut Known, told: &(dyn Fn((u64, u64)) + Sync)) -> Result<Ended> {
        let files = shards.iter().map(|shard| (shard.file.clone(), shard.file_bytes)).collect();
        let table = ShardsTable { rows: ShardRows::Plan, folder: self.folder.clone(), files };
        let name = format!("{} {}", self.task.run, step.action.as_str());
        let job = self.cluster.submit(&name, &self.task, &table).await?;
        let mut asking = Asking::default();
        let (mut looked, mut moved) = (Instant::now(), Instant::now());
        loop {
            match asking.next(&self.cluster, &job, self.lease.stop()).await? {
                Some(JobState::Running) => {}
                Some(JobState::Done(_)) => return Ok(Ended::Done),
                Some(JobState::Failed(error)) => return Ok(Ended::Badly(error)),
                None => {
                    self.cluster.cancel(&job).await?;
                    self.wait_for_attempts(known).await;
                    return Ok(Ended::Stopped);
                }
            }
            if looked.elapsed() >= LOOKED {
                looked = Instant::now();
                for segment in known.outcomes()?.refresh(&self.journal, self.spool.path()).await? {
                    let (rows, bytes) = Outcomes::done_in(&segment)?;
                    known.done = (known.done.0 + rows, known.done.1 + bytes);
                    moved = Instant::now();
                }
                told(known.done);
            }
            if moved.elapsed() >= STALLED + self.longest {
                self.cluster.cancel(&job).await?;
                let error = Error::unreachable(format!("the cluster did nothing for {:?}", STALLED + self.longest));
                return Ok(Ended::Badly(error));
            }
        }
    }

    /// Waits a while until the attempts of a cancelled job have ended.
    async fn wait_for_attempts(&self, known: &Known) {
        let since = Instant::now();
        while since.elapsed() < GRACE {
            match Attempts::read(self.registry, &self.task).await {
                Ok(attempts) if attempts.open.is_subset(&known.attempts) => return,
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// What attempts left in doubt is in doubt here: the lease waits for it before markers, and before it is let go.
    async fn settle(&self, known: &mut Known) {
        let lost = self.task.lease.window() + self.longest;
        match Attempts::read(self.registry, &self.task).await {
            Ok(attempts) => {
                for attempt in attempts.open {
                    if known.attempts.insert(attempt) {
                        self.lease.fence().doubt(lost);
                    }
                }
                for (attempt, doubt) in attempts.ended {
                    if known.attempts.insert(attempt) && !doubt.is_zero() {
                        self.lease.fence().doubt(doubt);
                    }
                }
            }
            Err(error) => {
                tracing::debug!("{error}");
                self.lease.fence().doubt(lost);
            }
        }
    }
}

/// The shards with rows that have no outcome.
fn left<'s>(step: &'s Step, known: &Known) -> Result<Vec<&'s Shard>> {
    let open = |shard: &&Shard| Ok(known.outcomes.of(shard.number)?.undone(rows_of(shard)) > 0);
    step.shards.iter().filter_map(|shard| open(&shard).map(|open| open.then_some(shard)).transpose()).collect()
}

fn rows_of(shard: &Shard) -> i32 {
    i32::try_from(shard.rows).unwrap_or(i32::MAX)
}

fn undone(shards: &[&Shard], known: &Known) -> Result<u64> {
    shards.iter().map(|shard| Ok(known.outcomes.of(shard.number)?.undone(rows_of(shard)))).sum()
}

/// Rows without an outcome are none of a step's outcomes.
fn without_undone(batch: &RecordBatch) -> datafusion::error::Result<RecordBatch> {
    let Some(kinds) = batch.column_by_name("error_kind") else { return Ok(batch.clone()) };
    let kinds = kinds.as_string::<i32>();
    let undone = [FailureKind::Undone, FailureKind::Fenced].map(FailureKind::as_str);
    let keep: BooleanArray = (0..kinds.len()).map(|i| Some(kinds.is_null(i) || !undone.contains(&kinds.value(i)))).collect();
    Ok(filter_record_batch(batch, &keep)?)
}
