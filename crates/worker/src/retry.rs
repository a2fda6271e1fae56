//! The one retry loop of all stores, and the budgets that bound it.
//!
//! # Overview
//! The SDK's own retries are off. A row of a plan has a [`Budget`]: so many retries for its object, more for one of many
//! parts, and none is given back, so that an object that fails again and again comes to an end. They are taken also from an
//! allowance of the whole run, so that a store that is gone is not asked ten times for each of a million objects; there every
//! request that succeeds gives one back. The budget travels with the row's task ([`Budget::scope`]); requests outside of a
//! row have the tries of [`Retry::default`].
//!
//! # Retries
//! The wait doubles, is drawn at random from its upper half, and is never shorter than the store asked for. While the store
//! answers others of the run, a failure is one request's bad luck, and the first waits are short: of a million requests of
//! which one in five fails, some fail seven times, and the run's end would wait for them. Only failures that may pass are
//! tried again, and only requests that are safe to repeat: one whose answer got lost may have been applied.
//! A row whose run was stopped is not tried again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::stop;
use crate::store::{FailureKind, StoreError, StoreResult};

/// However long a store asks to be left alone, it is asked again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Failures of a run in a row up to which its store is taken for one that answers.
const BAD_LUCK: u32 = 4;
/// Waits that do not double yet where the store answers others.
const SHORT_WAITS: u32 = 2;

tokio::task_local! {
    static BUDGET: Budget;
}

/// What may be done again after which failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A request that done twice is done once.
    Safe,
    /// A request that is repeated only when the first one was surely not applied.
    IfNotApplied,
    /// A whole object, from its start.
    Object,
}

impl Repeat {
    fn allows(self, kind: FailureKind) -> bool {
        match self {
            Self::Safe => kind.is_retryable(),
            Self::IfNotApplied => kind.is_surely_not_applied(),
            Self::Object => kind.is_retryable() || kind == FailureKind::NoUpload,
        }
    }
}

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub tries: u32,
    /// The longest wait before the second attempt; it doubles from there.
    pub first_wait: Duration,
    /// No wait is longer, but for those that the store asks for.
    pub longest_wait: Duration,
}

/// Of a request outside of a row.
impl Default for Retry {
    fn default() -> Self {
        Self { tries: 3, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(5) }
    }
}

impl Retry {
    /// Of an object: at one failure in five all objects of a million are done.
    #[must_use]
    pub fn of_objects() -> Self {
        Self { tries: 10, first_wait: Duration::from_millis(50), longest_wait: Duration::from_secs(2) }
    }

    /// Runs `attempt` until it succeeds, fails for good, or has had its tries. The last failure is returned.
    pub async fn run<T, F, Fut>(&self, repeat: Repeat, mut attempt: F) -> StoreResult<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let budget = Budget::current();
        let mut tried = 0;
        loop {
            tried += 1;
            match attempt().await {
                Ok(done) => {
                    if let Some(budget) = &budget {
                        budget.0.run.give_back();
                    }
                    return Ok(done);
                }
                Err(error) if !repeat.allows(error.kind) => return Err(error),
                Err(error) => {
                    let wait = match &budget {
                        Some(budget) => budget.take().then(|| budget.wait(tried, &error)),
                        None => (tried < self.tries).then(|| self.wait(tried, &error)),
                    };
                    let Some(wait) = wait else { return Err(after(error, tried, budget.as_ref())) };
                    tracing::debug!(tried, kind = error.kind.as_str(), "retrying in {wait:?}: {}", error.message);
                    if !stop::pause(wait).await {
                        return Err(after(error, tried, None));
                    }
                }
            }
        }
    }

    fn wait(&self, tried: u32, error: &StoreError) -> Duration {
        let factor = if error.kind == FailureKind::Throttled { 2 } else { 1 };
        let longest = self.first_wait.saturating_mul(factor << (tried - 1).min(16)).min(self.longest_wait * factor);
        let asked = error.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0)).max(asked)
    }
}

/// Waits for the `tried`th retry of something that is not a request of its own, such as the rest of a body. False when no
/// retries are left, outside of a row, or when the run is to stop.
pub(crate) async fn again(tried: u32, error: &StoreError) -> bool {
    let wait = Budget::current().filter(Budget::take).map(|budget| budget.wait(tried.max(1), error));
    let Some(wait) = wait else { return false };
    tracing::debug!(tried, kind = error.kind.as_str(), "going on in {wait:?}: {}", error.message);
    stop::pause(wait).await
}

/// Says how often something was tried, once.
fn after(error: StoreError, tried: u32, budget: Option<&Budget>) -> StoreError {
    if tried < 2 {
        return error;
    }
    let spent = budget.is_some_and(|budget| budget.0.run.is_spent());
    let spent = if spent { ", and the retries of the run are used up" } else { "" };
    StoreError { message: format!("{} (tried {tried} times{spent})", error.message), ..error }
}

/// So many retries, shared by whoever holds it.
#[derive(Debug)]
pub struct Allowance {
    left: AtomicU32,
    most: u32,
    /// What was taken since the last success.
    in_a_row: AtomicU32,
}

impl Allowance {
    /// One of `most` retries.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { left: AtomicU32::new(most), most, in_a_row: AtomicU32::new(0) }
    }

    fn take(&self) -> bool {
        self.in_a_row.fetch_add(1, Ordering::Relaxed);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        // Read first: in a run without failures nobody writes here.
        if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        if self.left.load(Ordering::Relaxed) < self.most {
            let more = |left: u32| (left < self.most).then_some(left + 1);
            let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

/// The retries of one object. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    object: Allowance,
    run: Arc<Allowance>,
    retry: Retry,
}

impl Budget {
    /// A fresh budget of an object that takes so many requests, within the allowance of its run.
    #[must_use]
    pub fn new(retry: Retry, requests: u64, run: Arc<Allowance>) -> Self {
        // At one failure in three an object of many parts is done as well.
        let more = u32::try_from(requests / 2).unwrap_or(u32::MAX);
        let object = Allowance::new(retry.tries.saturating_sub(1).saturating_add(more));
        Self(Arc::new(Shared { object, run, retry }))
    }

    /// Whatever is tried again within `work` is taken from this budget.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        BUDGET.scope(self, work).await
    }

    fn current() -> Option<Self> {
        BUDGET.try_with(Self::clone).ok()
    }

    /// How long the `tried`th failure is waited out.
    fn wait(&self, tried: u32, error: &StoreError) -> Duration {
        let is_bad_luck = self.0.run.in_a_row.load(Ordering::Relaxed) <= BAD_LUCK;
        self.0.retry.wait(if is_bad_luck { tried.saturating_sub(SHORT_WAITS).max(1) } else { tried }, error)
    }

    fn take(&self) -> bool {
        if !self.0.object.take() {
            return false;
        }
        let granted = self.0.run.take();
        if !granted {
            self.0.object.give_back();
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(tries: u32) -> Retry {
        Retry { tries, first_wait: Duration::from_millis(1), longest_wait: Duration::from_millis(2) }
    }

    async fn tries(repeat: Repeat, kind: FailureKind) -> u32 {
        let count = AtomicU32::new(0);
        let end: StoreResult<()> = quick(3)
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
        assert_eq!(tries(Repeat::Safe, FailureKind::NotFound).await, 1);
        assert_eq!(tries(Repeat::Safe, FailureKind::NoUpload).await, 1);
        assert_eq!(tries(Repeat::Object, FailureKind::NoUpload).await, 3);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::Unavailable).await, 1);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::TimedOut).await, 1);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::Throttled).await, 3);
        assert_eq!(tries(Repeat::IfNotApplied, FailureKind::Transient).await, 3);
    }

    #[tokio::test]
    async fn nested_loops_of_an_object_share_one_budget() {
        let budget = Budget::new(quick(4), 1, Arc::new(Allowance::new(100)));
        let count = budget
            .scope(async {
                let count = AtomicU32::new(0);
                let end: StoreResult<()> = Retry::default()
                    .run(Repeat::Object, || async { Retry::default().run(Repeat::Safe, || async { fail(&count) }).await })
                    .await;
                assert!(end.unwrap_err().message.contains("tried"));
                count.into_inner()
            })
            .await;
        assert_eq!(count, 4);
    }

    fn fail(count: &AtomicU32) -> StoreResult<()> {
        count.fetch_add(1, Ordering::Relaxed);
        Err(StoreError::new(FailureKind::Unavailable, "no"))
    }

    #[tokio::test]
    async fn a_dead_store_is_not_asked_ten_times_for_each_object() {
        let (run, count) = (Arc::new(Allowance::new(20)), AtomicU32::new(0));
        let mut last = String::new();
        for _ in 0..100 {
            let retry = Retry::default();
            let request = retry.run(Repeat::Safe, || async { fail(&count) });
            last = Budget::new(quick(10), 1, Arc::clone(&run)).scope(request).await.unwrap_err().message;
        }
        assert_eq!(count.into_inner(), 120);
        assert_eq!(last, "no");
        // What succeeds gives back, up to the allowance.
        Budget::new(quick(2), 1, Arc::clone(&run)).scope(Retry::default().run(Repeat::Safe, || async { Ok(()) })).await.unwrap();
        assert_eq!(run.left.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_succeeds_within_an_object_that_fails_does_not_keep_it_going() {
        let (budget, count) = (Budget::new(quick(4), 10, Arc::new(Allowance::new(100))), AtomicU32::new(0));
        let retry = Retry::default();
        let end = budget.scope(retry.run(Repeat::Object, || async {
            Retry::default().run(Repeat::Safe, || async { Ok(()) }).await?;
            fail(&count)
        }));
        end.await.unwrap_err();
        assert_eq!(count.into_inner(), 9);
    }

    #[test]
    fn waits_are_short_while_the_store_answers_others() {
        let retry = Retry { tries: 10, first_wait: Duration::from_millis(100), longest_wait: Duration::from_mins(1) };
        let (run, error) = (Arc::new(Allowance::new(100)), StoreError::new(FailureKind::Unavailable, "no"));
        let budget = Budget::new(retry, 1, Arc::clone(&run));
        let wait = |tried| budget.wait(tried, &error).as_millis();
        assert!(wait(3) <= 100 && wait(4) > 100 && wait(4) <= 200);
        // Nobody else was answered for a while.
        assert!((0..=BAD_LUCK).all(|_| budget.take()));
        assert!(wait(1) <= 100 && wait(3) > 200 && wait(3) <= 400);
        run.give_back();
        assert!(wait(3) <= 100);
    }

    #[test]
    fn a_wait_is_as_long_as_the_store_asks() {
        let retry = quick(3);
        let mut error = StoreError::new(FailureKind::Throttled, "SlowDown");
        assert!((1..=60).all(|tried| retry.wait(tried, &error) <= Duration::from_millis(4)));
        error.retry_after = Some(Duration::from_secs(7));
        assert_eq!(retry.wait(1, &error), Duration::from_secs(7));
        error.retry_after = Some(Duration::from_hours(7));
        assert_eq!(retry.wait(1, &error), LONGEST_RETRY_AFTER);
    }
}
