//! Merges of ranges on a cluster, for planning: parts of a difference are jobs, their rows are fetched in key order.
//!
//! ```text
//! parts ─▶ job of some parts ─▶ rows of each part, fetched as planning comes to it
//!             job of the next ones, meanwhile
//! ```
//! A part whose rows are lost, with the executor that had them, is merged again.

use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use planner::table::{MergePart, MergeTask, Merges, part_of};
use planner::{Error, ErrorKind, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use worker::cluster::{Cluster, CopyTask, JobState, MergeJob, Results};

use crate::cluster::asking::{self, Asking, STALLED, TRIES};
use crate::request::ClusterOptions;

/// Parts of a job.
const JOB: usize = 64;
/// Jobs at a time: one whose rows are fetched, and the next one.
const AHEAD: usize = 2;

/// Merges on a cluster.
#[derive(Debug, Clone)]
pub(crate) struct OnCluster(ClusterOptions);

impl OnCluster {
    pub(crate) fn new(options: &ClusterOptions) -> Self {
        Self(options.clone())
    }
}

impl Merges for OnCluster {
    fn merge(&self, task: MergeTask, parts: Vec<MergePart>) -> BoxStream<'static, Result<RecordBatch>> {
        let options = self.0.clone();
        let begin = async move {
            if task.storage.scheme() == planner::Scheme::Memory {
                return Err(Error::usage(format!("{}: what is in this process's memory is not on a cluster", task.storage))
                    .with_help("plan without --cluster"));
            }
            let cluster = Cluster::connect(&options.scheduler, &options.token, &options.tls).await?;
            let id = ulid::Ulid::new().to_string();
            let job = MergeJob { millrace: CopyTask::VERSION.to_owned(), id, merge: task };
            let jobs: Vec<Vec<MergePart>> = parts.chunks(JOB).map(<[MergePart]>::to_vec).collect();
            let rows =
                stream::iter(jobs).map(move |parts| Merging { cluster: cluster.clone(), job: job.clone(), parts }.merged());
            Ok(rows.buffered(AHEAD).try_flatten())
        };
        stream::once(begin).try_flatten().boxed()
    }
}

/// Some parts, and who merges them.
struct Merging {
    cluster: Cluster,
    job: MergeJob,
    parts: Vec<MergePart>,
}

impl Merging {
    /// Has them merged; their rows, part by part.
    async fn merged(self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let results = self.run(&self.parts).await?;
        let parts = 0..self.parts.len();
        let rows = stream::try_unfold((self, results, parts), |(this, results, mut parts)| async move {
            let Some(place) = parts.next() else { return Ok(None) };
            let rows = this.rows(&results, place).await?;
            Ok::<_, Error>(Some((stream::iter(rows.into_iter().map(Ok)), (this, results, parts))))
        });
        Ok(rows.try_flatten().boxed())
    }

    /// The rows of the part at `place`; merged again where nobody has them any more.
    async fn rows(&self, results: &Results, place: usize) -> Result<Vec<RecordBatch>> {
        let part = &self.parts[place];
        let of = |rows: Vec<RecordBatch>| match part_of(&rows)? {
            number if number == part.number => Ok(rows),
            number => Err(Error::bug(format!("part {number} came back for part {}", part.number))),
        };
        let mut fetched = self.cluster.fetch(results, place).await.and_then(of);
        for _ in 1..TRIES {
            match &fetched {
                Err(error) if error.kind() == ErrorKind::Unreachable => tracing::info!("a part is merged again: {error}"),
                _ => break,
            }
            let again = self.run(std::slice::from_ref(part)).await?;
            fetched = self.cluster.fetch(&again, 0).await.and_then(of);
        }
        fetched
    }

    /// Runs a job of `parts` to its end, again where the cluster fails.
    async fn run(&self, parts: &[MergePart]) -> Result<Results> {
        let mut tries = 0;
        loop {
            asking::executors(&self.cluster, &CancellationToken::new(), "plan without --cluster", || ()).await?;
            tries += 1;
            match self.job(parts).await {
                Err(error) if error.kind() == ErrorKind::Unreachable && tries < TRIES => {
                    tracing::info!("ranges are merged again: {error}");
                }
                Err(error) if error.help().is_none() => return Err(error.with_help("plan without --cluster")),
                ended => return ended,
            }
        }
    }

    async fn job(&self, parts: &[MergePart]) -> Result<Results> {
        let job = Running { cluster: &self.cluster, id: Some(self.cluster.submit_merge(&self.job, parts).await?) };
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        let bound = STALLED + Duration::from_secs(bytes >> 20);
        let (mut asking, since, never) = (Asking::default(), Instant::now(), CancellationToken::new());
        loop {
            match asking.next(&self.cluster, job.id.as_deref().unwrap_or_default(), &never).await? {
                Some(JobState::Running) if since.elapsed() >= bound => {
                    return Err(Error::unreachable(format!("the cluster merged nothing for {bound:?}")));
                }
                Some(JobState::Done(results)) => {
                    job.over();
                    return Ok(results);
                }
                Some(JobState::Failed(error)) => {
                    job.over();
                    return Err(error);
                }
                Some(JobState::Running) | None => {}
            }
        }
    }
}

/// A job that runs; it is cancelled when nobody waits for it any more.
struct Running<'a> {
    cluster: &'a Cluster,
    id: Option<String>,
}

impl Running<'_> {
    fn over(mut self) {
        self.id = None;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let cluster = self.cluster.clone();
            tokio::spawn(async move { cluster.cancel(&id).await });
        }
    }
}
