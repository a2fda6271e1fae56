//! How long a verb takes, what it costs, and what ends it before its time.

use std::sync::Arc;
use std::time::Instant;

use planner::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use crate::lease::CancelFile;
use crate::report::{RequestCounts, RunReport, State};
use crate::request::RunOptions;

/// Times and requests of one verb.
#[derive(Debug)]
pub(crate) struct Clock<'a> {
    started: Instant,
    registry: &'a Arc<Registry>,
    requests: (u64, u64),
}

impl<'a> Clock<'a> {
    pub(crate) fn start(registry: &'a Arc<Registry>) -> Self {
        Self { started: Instant::now(), registry, requests: registry.requests() }
    }

    pub(crate) fn planned(&self, report: &mut RunReport) {
        report.plan_ms = millis(self.started);
    }

    /// Closes a report: what it ended by, how long it took, what it cost.
    pub(crate) fn end(&self, report: &mut RunReport, done: Result<()>, limited: &Limited, asked: &CancellationToken) {
        let timed_out = limited.stop.is_cancelled() && !asked.is_cancelled();
        let done = done.map_err(|e| if timed_out && e.kind() == ErrorKind::Interrupted { limited.timed_out() } else { e });
        match done {
            // After the commit point the export stands, whatever came after it.
            Err(error) if report.state == State::Succeeded => report.error = Some((&error).into()),
            Err(error) => report.fail(&error),
            Ok(()) => {}
        }
        if report.state == State::Cancelled && report.error.is_none() {
            report.fail(&if asked.is_cancelled() { interrupted() } else { limited.timed_out() });
        }
        self.stamp(report);
    }

    /// How long it took so far, and what it cost.
    pub(crate) fn stamp(&self, report: &mut RunReport) {
        report.elapsed_ms = millis(self.started);
        let (data, control) = self.registry.requests();
        report.requests = RequestCounts { data: data - self.requests.0, control: control - self.requests.1 };
        report.update_time = crate::clock::now();
    }
}

/// Somebody asked the run to stop.
pub(crate) fn cancelled(cancel: &CancelFile) -> Error {
    Error::new(ErrorKind::Interrupted, format!("cancelled by {} at {}", cancel.by, cancel.time))
        .with_help("run the same command again: what is left will be done")
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "the run was stopped").with_help("run the same command again: what is left will be done")
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A token that is also cancelled when the allowed time is over.
pub(crate) struct Limited {
    /// Cancelled by whoever may, or by the time.
    pub stop: CancellationToken,
    timeout: Option<std::time::Duration>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

impl Limited {
    pub(crate) fn start(stop: &CancellationToken, options: &RunOptions) -> Self {
        let stop = stop.child_token();
        let timer = options.timeout.map(|limit| {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(limit).await;
                stop.cancel();
            })
        });
        Self { stop, timeout: options.timeout, timer }
    }

    fn timed_out(&self) -> Error {
        let limit = self.timeout.unwrap_or_default();
        Error::new(ErrorKind::TimedOut, format!("the {limit:?} that --timeout allows are over"))
            .with_help("run the same command again: what is left will be done")
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}
