//! The one retry loop of all stores.
//!
//! # Overview
//! The SDK's own retries are off. A request is tried at most [`Retry::tries`] times, with a wait between that doubles and is
//! drawn at random from its upper half. Only failures that may pass are tried again, and only requests that are safe to repeat.
//!
//! # Retries
//! A request whose answer got lost may have been applied. A conditional put is therefore repeated after failures only that
//! surely happened before the store looked at it ([`FailureKind::Throttled`]).

use std::future::Future;
use std::time::Duration;

use rand::Rng;

use crate::store::{FailureKind, StoreResult};

/// Whether a request may be sent again after an answer that did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is the same as once.
    Safe,
    /// Only when the first one was surely not applied.
    IfNotApplied,
}

impl Repeat {
    fn allows(self, kind: FailureKind) -> bool {
        match self {
            Self::Safe => kind.is_retryable(),
            Self::IfNotApplied => kind == FailureKind::Throttled,
        }
    }
}

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub tries: u32,
    /// The longest wait before the second attempt; it doubles from there.
    pub first_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 3, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(5) }
    }
}

impl Retry {
    /// Runs `attempt` until it succeeds, fails for good, or has had its tries. The last failure is returned.
    pub async fn run<T, F, Fut>(&self, repeat: Repeat, mut attempt: F) -> StoreResult<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            match attempt().await {
                Err(error) if tried < self.tries && repeat.allows(error.kind) => {
                    tracing::debug!(tried, kind = error.kind.as_str(), "retrying: {}", error.message);
                    tokio::time::sleep(self.wait(tried, error.kind)).await;
                }
                end => return end,
            }
        }
    }

    fn wait(&self, tried: u32, kind: FailureKind) -> Duration {
        let factor = if kind == FailureKind::Throttled { 4 } else { 1 };
        let longest = self.first_wait.saturating_mul(factor << (tried - 1).min(16)).min(self.longest_wait);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::StoreError;

    async fn tries(repeat: Repeat, kind: FailureKind) -> u32 {
        let count = AtomicU32::new(0);
        let retry = Retry { first_wait: Duration::from_millis(1), ..Retry::default() };
        let end: StoreResult<()> = retry
            .run(repeat, || {
                count.fetch_add(1, Ordering::Relaxed);
                async { Err(StoreError::new(kind, "no")) }
            })
            .await;
        assert_eq!(end.unwrap_err().kind, kind);
        count.into_inner()
    }

    #[tokio::test]
    async fn only_what_may_pass_and_may_be_repeated_is_tried_again() {
        assert_eq!(tries(Repeat::Safe, FailureKind::Unavailable).await, 3);
        assert_eq!(tries(Repeat::Safe, FailureKind::Denied).await, 1);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::Unavailable).await, 1);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::TimedOut).await, 1);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::Throttled).await, 3);
    }
}
