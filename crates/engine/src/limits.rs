//! How long a verb takes, what it costs, and what ends it before its time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use planner::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use crate::lease::CancelFile;
use crate::report::{RequestCounts, RunReport, State};

/// How long a verb that must stop may take to end: rows in flight, then the journal, the record and the lease. A service
/// manager or a container's runtime that asked it to stop kills it after ten seconds, as a rule.
const DRAIN: Duration = Duration::from_secs(9);

/// Times and requests of one verb, and its end: somebody asked for it, or the allowed time is over.
#[derive(Debug)]
pub(crate) struct Clock<'a> {
    started: Instant,
    registry: &'a Arc<Registry>,
    requests: (u64, u64),
    asked: CancellationToken,
    stop: CancellationToken,
    timeout: Option<Duration>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

impl<'a> Clock<'a> {
    /// Begins to count. `asked` is cancelled by whoever wants the verb to stop; after `timeout` it stops as well.
    pub(crate) fn start(registry: &'a Arc<Registry>, asked: &CancellationToken, timeout: Option<Duration>) -> Self {
        let stop = asked.child_token();
        let timer = timeout.map(|limit| {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                stop.cancel();
            })
        });
        let requests = registry.requests();
        Self { started: Instant::now(), registry, requests, asked: asked.clone(), stop, timeout, timer }
    }

    /// Cancelled when the verb must stop.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Does what holds nothing and changes nothing, unless the verb must stop.
    ///
    /// # Errors
    /// Those of `work`; `Interrupted`.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::new(ErrorKind::Interrupted, "the run was stopped before it began")
                .with_help("run the same command again")),
            done = work => done,
        }
    }

    /// Does the work of a verb, which once it must stop has a bounded time to come to an end.
    ///
    /// # Errors
    /// Those of `work`; `Interrupted` where it did not end in time: then nobody let go of a lease that it had.
    pub(crate) async fn bounded(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let overdue = async {
            self.stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            biased;
            done = work => done,
            () = overdue => {
                tracing::warn!(
                    "the run did not end within {DRAIN:?} of the stop: a lease that it holds is not released, and the next run waits for it"
                );
                Err(self.stopped())
            }
        }
    }

    pub(crate) fn planned(&self, report: &mut RunReport) {
        report.plan_ms = millis(self.started);
    }

    /// Closes a report: what it ended by, how long it took, what it cost.
    pub(crate) fn end(&self, report: &mut RunReport, done: Result<()>) {
        let timed_out = self.stop.is_cancelled() && !self.asked.is_cancelled();
        let done = done.map_err(|e| if timed_out && e.kind() == ErrorKind::Interrupted { self.stopped() } else { e });
        match done {
            // After the commit point the export stands, whatever came after it.
            Err(error) if report.state == State::Succeeded => report.error = Some((&error).into()),
            Err(error) => report.fail(&error),
            Ok(()) => {}
        }
        if report.state == State::Cancelled && report.error.is_none() {
            report.fail(&self.stopped());
        }
        self.stamp(report);
    }

    /// Why the verb stopped.
    pub(crate) fn stopped(&self) -> Error {
        let error = match self.timeout.filter(|_| !self.asked.is_cancelled()) {
            Some(limit) => Error::new(ErrorKind::TimedOut, format!("the {limit:?} that --timeout allows are over")),
            None => Error::new(ErrorKind::Interrupted, "the run was stopped"),
        };
        error.with_help("run the same command again: what is left will be done")
    }

    /// How long it took so far, and what it cost.
    pub(crate) fn stamp(&self, report: &mut RunReport) {
        report.elapsed_ms = millis(self.started);
        let (data, control) = self.registry.requests();
        report.requests = RequestCounts { data: data - self.requests.0, control: control - self.requests.1 };
        report.update_time = crate::clock::now();
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

/// Somebody asked the run to stop.
pub(crate) fn cancelled(cancel: &CancelFile) -> Error {
    Error::new(ErrorKind::Interrupted, format!("cancelled by {} at {}", cancel.by, cancel.time))
        .with_help("run the same command again: what is left will be done")
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
