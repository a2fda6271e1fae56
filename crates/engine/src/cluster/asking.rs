//! How long a cluster is waited for, whatever it does: for its executors, for its scheduler, for a sign of life.

use std::time::Duration;

use planner::{Error, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use worker::cluster::{Cluster, JobState};

/// How often a job is asked how it does: at first, and at most.
const ASKED: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long a cluster may have no executors.
const NO_EXECUTORS: Duration = Duration::from_mins(1);
/// How long a scheduler may be out of reach.
const NO_SCHEDULER: Duration = Duration::from_secs(10);
/// A job from which nothing is heard for so long hangs; what its largest piece takes is added.
pub(crate) const STALLED: Duration = Duration::from_mins(2);
/// Jobs without any result that end the work.
pub(crate) const TRIES: u32 = 3;
/// The time between two looks at something that changes slowly.
pub(crate) const PAUSE: Duration = ASKED.1;

/// Waits until the cluster has executors, or `stop` is cancelled. `waiting` is called once, where there are none at first.
/// `without` says how to do the same without a cluster.
///
/// # Errors
/// `Unreachable` where none come, or the scheduler does not answer.
pub(crate) async fn executors(cluster: &Cluster, stop: &CancellationToken, without: &str, waiting: impl FnOnce()) -> Result<()> {
    let (since, mut waiting) = (Instant::now(), Some(waiting));
    while !cluster.has_executors().await? {
        if since.elapsed() >= NO_EXECUTORS {
            return Err(Error::unreachable(format!("the scheduler at {} has no executors", cluster.address()))
                .with_help(format!("start some (millrace executor --scheduler …), or {without}")));
        }
        if let Some(say) = waiting.take() {
            say();
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

/// Asks how a job does, less and less often.
#[derive(Debug)]
pub(crate) struct Asking {
    wait: Duration,
    answered: Instant,
}

impl Default for Asking {
    fn default() -> Self {
        Self { wait: ASKED.0, answered: Instant::now() }
    }
}

impl Asking {
    /// Waits, and asks. A scheduler that does not answer for a moment leaves the job running. `None`: `stop` is cancelled.
    ///
    /// # Errors
    /// The scheduler is out of reach for longer.
    pub(crate) async fn next(&mut self, cluster: &Cluster, job: &str, stop: &CancellationToken) -> Result<Option<JobState>> {
        tokio::select! {
            () = tokio::time::sleep(self.wait) => {}
            () = stop.cancelled() => return Ok(None),
        }
        self.wait = (self.wait * 2).min(ASKED.1);
        match cluster.state(job).await {
            Ok(state) => {
                self.answered = Instant::now();
                Ok(Some(state))
            }
            Err(error) if self.answered.elapsed() >= NO_SCHEDULER => Err(error),
            Err(error) => {
                tracing::debug!("{error}");
                Ok(Some(JobState::Running))
            }
        }
    }
}
