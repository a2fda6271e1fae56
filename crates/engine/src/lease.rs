//! The lease: one writer at a time.
//!
//! ```text
//! acquire ──▶ HEAD: lease {run, generation, counter} ──▶ renewed every few seconds ──▶ release
//!                 held by another: watched until it moves (refused) or stays put for its time (taken over)
//! ```
//! # Consistency
//! The lease stands in HEAD and changes by conditional put only; every change has a new nonce, so that a holder recognises
//! its own write when the answer was lost. Nobody compares wall clocks: a taker watches HEAD on its own clock, for the
//! holder's time and its longest request; a holder counts its time from before the request that renewed it, and its
//! [`Fence`] lets nothing through after that.

mod document;
mod probe;
mod take;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use planner::{Error, Result};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use worker::Fence;
use worker::fence::since_boot;

pub use document::{CancelFile, DoubtFile, Holder, LeaseFile};
pub(crate) use take::held;
pub use take::watch;

use crate::destination::Destination;
use crate::head::{Head, HeadFile};

/// Tries of one change of HEAD, for answers that are lost and changes of others that do no harm.
const TRIES: u32 = 6;
/// A holder renews at least so often: so long a waiting run needs to see that it is alive, and a cancelled one to hear of it.
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// How a lease is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOptions {
    /// `--lease-ttl`: how long a lease holds without being renewed.
    pub ttl: Duration,
    /// The longest that a request of the holder may go without an answer.
    pub longest: Duration,
    /// Others work under it as well: that the holder's process is gone proves nothing.
    pub shared: bool,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_mins(1), longest: Duration::from_secs(30), shared: false }
    }
}

/// A lease that is held. It is renewed by a task of its own until it is released or dropped.
#[derive(Debug)]
pub struct Lease {
    destination: Destination,
    fence: Arc<Fence>,
    head: Mutex<Head>,
    generation: u64,
    ttl: Duration,
    longest_ms: AtomicU64,
    /// Cancelled when the lease is lost, or when somebody asks the run to stop.
    stop: CancellationToken,
    cancelled: std::sync::Mutex<Option<CancelFile>>,
    renewing: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Lease {
    fn new(destination: &Destination, head: Head, options: LeaseOptions, issued: u64, stop: CancellationToken) -> Arc<Self> {
        let fence = Arc::new(Fence::default());
        let lease = Self {
            destination: destination.clone(),
            fence,
            generation: head.file.generation,
            head: Mutex::new(head),
            ttl: options.ttl,
            longest_ms: AtomicU64::new(millis(options.longest)),
            stop,
            cancelled: std::sync::Mutex::default(),
            renewing: std::sync::Mutex::default(),
        };
        lease.held_since(issued);
        let lease = Arc::new(lease);
        let weak = Arc::downgrade(&lease);
        let every = (options.ttl / 3).min(RENEWED_EVERY);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(lease) = weak.upgrade() else { return };
                if let Err(error) = lease.change(|_| {}).await
                    && lease.fence.why_closed().is_some()
                {
                    tracing::warn!("{error}");
                    return;
                }
            }
        });
        *lock(&lease.renewing) = Some(task);
        lease
    }

    fn held_since(&self, issued: u64) {
        self.fence.extend(issued.saturating_add(millis(self.ttl)));
    }

    /// What every request of the holder asks.
    #[must_use]
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// The number that tells this holder from all others.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Cancelled when the run must stop: the lease is lost, or somebody asked for it.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// HEAD as it was last read or written.
    pub async fn head(&self) -> HeadFile {
        self.head.lock().await.file.clone()
    }

    /// What a person should know where the server does not see to it that there is one writer.
    pub async fn weakness(&self) -> Option<String> {
        probe::weakness(&self.head.lock().await.file, &self.destination)
    }

    /// Who asked the run to stop.
    #[must_use]
    pub fn cancelled(&self) -> Option<CancelFile> {
        lock(&self.cancelled).clone()
    }

    /// Fails when the lease is lost.
    ///
    /// # Errors
    /// `Guard`.
    pub fn check(&self) -> Result<()> {
        self.fence.check().map_err(|e| e.into_error(self.destination.status(), self.destination.location()))
    }

    /// Changes HEAD, which renews the lease.
    ///
    /// # Errors
    /// `Guard` when the lease is lost, the store's otherwise.
    pub async fn change(&self, change: impl Fn(&mut HeadFile) + Send) -> Result<()> {
        let mut head = self.head.lock().await;
        let mut last = None;
        let mut body = head.with(|file| self.renew(file, &change));
        for tried in 0..TRIES {
            self.check()?;
            let issued = since_boot();
            match head.put(&self.destination, &body).await {
                Ok(now) if now.has_version() => {
                    *head = now;
                    self.held_since(issued);
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) => last = Some(error),
            }
            // The answer was lost, says no, or has no etag: what is there now decides.
            let now = match Head::read(&self.destination).await {
                Ok(now) => now,
                Err(error) => {
                    tracing::debug!("{error}");
                    tokio::time::sleep(Duration::from_millis(100 << tried)).await;
                    continue;
                }
            };
            if now.file.nonce == body.nonce {
                *head = now;
                self.held_since(issued);
                return Ok(());
            }
            if !now.is_version_of(&head) {
                self.adopt(&now)?;
                *head = now;
                body = head.with(|file| self.renew(file, &change));
            }
        }
        let what = format!("{} cannot be written", crate::head::HEAD_KEY);
        Err(match last {
            Some(error) => self.destination.failed(error, what),
            None => Error::unreachable(format!("{}: {what}", self.destination.location())),
        })
    }

    fn renew(&self, file: &mut HeadFile, change: impl Fn(&mut HeadFile)) {
        change(file);
        if let Some(lease) = &mut file.lease {
            lease.counter += 1;
            lease.longest_ms = self.longest_ms.load(Ordering::SeqCst);
        }
    }

    /// Somebody else changed HEAD: asked this run to stop, or took the lease.
    fn adopt(&self, now: &Head) -> Result<()> {
        let mine = now.file.lease.as_ref().filter(|_| now.file.generation == self.generation);
        let Some(lease) = mine else {
            let who = now.file.lease.as_ref().map_or_else(|| "another run".to_owned(), LeaseFile::shown);
            let error = Error::guard(format!("{}: the lease is lost to {who}", self.destination.location()))
                .with_help(format!(
                    "this run stood still, or could not reach the store, for longer than --lease-ttl: wait for the other one by `millrace wait {0}`, then run the same command again: it does what is left",
                    self.destination.status()
                ));
            self.fence.close(error.message());
            self.stop.cancel();
            return Err(error);
        };
        if let Some(cancel) = &lease.cancel {
            lock(&self.cancelled).get_or_insert_with(|| cancel.clone());
            self.stop.cancel();
        }
        Ok(())
    }

    /// From now on requests may take so long.
    pub fn allow(&self, longest: Duration) {
        self.longest_ms.fetch_max(millis(longest), Ordering::SeqCst);
    }

    /// Waits until no request without an answer can be applied any more; false when the run is to stop before. Says so where
    /// that takes a while.
    pub async fn settled(&self, note: impl Fn(&str)) -> bool {
        let left = self.fence.doubt_left();
        if left.is_zero() {
            return true;
        }
        if left > Duration::from_millis(500) {
            note(&format!("waiting {:.0} s: requests without an answer may still be applied", left.as_secs_f64().ceil()));
        }
        tokio::select! {
            () = tokio::time::sleep(left) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Lets go. Requests without an answer are left to whoever comes next, who waits for them.
    ///
    /// # Errors
    /// `Guard` when the lease was lost before, the store's.
    pub async fn release(&self) -> Result<()> {
        if let Some(task) = lock(&self.renewing).take() {
            task.abort();
        }
        if self.fence.why_closed().is_some() {
            return Ok(());
        }
        let left = self.fence.doubt_left();
        let doubt = (left > Duration::ZERO).then(|| DoubtFile::lasting(left));
        let end = self.change(|file| {
            file.lease = None;
            file.doubt.clone_from(&doubt);
        });
        let end = end.await;
        self.fence.close("the lease was released");
        end
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.renewing).take() {
            task.abort();
        }
        self.fence.close("the run has ended");
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
