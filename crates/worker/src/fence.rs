//! The fence: whether this process may still change the destination.
//!
//! # Consistency
//! A run holds a lease with a deadline. Every request that changes something asks the fence before it is sent, and is not
//! sent after the deadline or once the lease is lost; what was sent before cannot be called back. A request without an answer
//! is *in doubt* for as long as it may still be applied; whoever must not be overtaken by it waits until
//! [`Fence::doubt_left`] is zero.
//!
//! Time is the time since boot, which goes on while the machine sleeps: a laptop that wakes has no lease.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::store::{FailureKind, StoreError, StoreResult};

/// Milliseconds since boot, sleep included.
#[must_use]
pub fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

tokio::task_local! {
    static FENCE: Arc<Fence>;
}

/// Whether a holder may still write, and until when its requests may still be applied.
#[derive(Debug)]
pub struct Fence {
    /// Milliseconds since boot after which nothing is sent.
    deadline: AtomicU64,
    /// Milliseconds since boot until which an unanswered request may be applied.
    doubt: AtomicU64,
    /// Why nothing is sent any more.
    closed: OnceLock<String>,
}

impl Default for Fence {
    fn default() -> Self {
        Self { deadline: AtomicU64::new(u64::MAX), doubt: AtomicU64::new(0), closed: OnceLock::new() }
    }
}

impl Fence {
    /// Moves the deadline to `at`, in milliseconds since boot.
    pub fn extend(&self, at: u64) {
        self.deadline.store(at, Ordering::SeqCst);
    }

    /// Lets nothing through any more. The first reason stays.
    pub fn close(&self, why: impl Into<String>) {
        let _ = self.closed.set(why.into());
    }

    /// Why it was closed.
    #[must_use]
    pub fn why_closed(&self) -> Option<&str> {
        self.closed.get().map(String::as_str)
    }

    /// Whether a request may be sent now.
    ///
    /// # Errors
    /// [`FailureKind::Fenced`] when it may not.
    pub fn check(&self) -> StoreResult<()> {
        if let Some(why) = self.closed.get() {
            return Err(StoreError::new(FailureKind::Fenced, format!("nothing is sent any more: {why}")));
        }
        if since_boot() >= self.deadline.load(Ordering::SeqCst) {
            return Err(StoreError::new(FailureKind::Fenced, "the lease is over and could not be renewed in time"));
        }
        Ok(())
    }

    /// A request that may be applied until `longest` from now has no answer.
    pub fn doubt(&self, longest: Duration) {
        self.doubt.fetch_max(since_boot().saturating_add(millis(longest)), Ordering::SeqCst);
    }

    /// How long requests without an answer may still be applied.
    #[must_use]
    pub fn doubt_left(&self) -> Duration {
        Duration::from_millis(self.doubt.load(Ordering::SeqCst).saturating_sub(since_boot()))
    }

    /// Requests of `work` ask this fence.
    pub async fn scope<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        FENCE.scope(self, work).await
    }
}

/// Whether the running task may send a request that changes something; outside of a fence everything may.
pub(crate) fn check() -> StoreResult<()> {
    FENCE.try_with(|fence| fence.check()).unwrap_or(Ok(()))
}

/// The fence of the running task.
pub(crate) fn current() -> Option<Arc<Fence>> {
    FENCE.try_with(Arc::clone).ok()
}

/// Runs blocking work behind a fence: [`check`] works inside.
pub(crate) fn behind<T>(fence: Option<Arc<Fence>>, work: impl FnOnce() -> T) -> T {
    match fence {
        Some(fence) => FENCE.sync_scope(fence, work),
        None => work(),
    }
}

/// A request of the running task that changes something has no answer.
pub(crate) fn doubt(longest: Duration) {
    let _ = FENCE.try_with(|fence| fence.doubt(longest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_after_the_deadline_or_a_loss() {
        let fence = Fence::default();
        assert!(fence.check().is_ok());
        fence.extend(since_boot() + 60_000);
        assert!(fence.check().is_ok());
        fence.extend(since_boot());
        assert_eq!(fence.check().unwrap_err().kind, FailureKind::Fenced);
        fence.extend(u64::MAX);
        fence.close("run B took over");
        fence.close("again");
        assert_eq!(fence.why_closed(), Some("run B took over"));
        assert!(fence.check().unwrap_err().message.contains("run B"));
    }

    #[tokio::test]
    async fn tasks_ask_the_fence_that_they_run_in() {
        let fence = Arc::new(Fence::default());
        assert!(check().is_ok());
        fence.close("lost");
        assert!(Arc::clone(&fence).scope(async { check() }).await.is_err());
        Arc::clone(&fence).scope(async { doubt(Duration::from_secs(5)) }).await;
        assert!(fence.doubt_left() > Duration::from_secs(4));
        fence.doubt(Duration::ZERO);
        assert!(fence.doubt_left() > Duration::from_secs(4), "the latest counts");
    }
}
