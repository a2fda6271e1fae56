//! The journal of a run: the outcome of every row, kept at the destination while the run goes on.
//!
//! ```text
//! _millrace/runs/<run>/journal/<shards>-<attempt>-<n>-<checksum>.parquet      e.g. 3.4-9f2c…-00007-51c3….parquet
//! ```
//! # Crash consistency
//! Outcomes are written at least every second, a segment at a time; a segment is there whole or not at all. Its name holds
//! the shards that it has rows of, a random id of the attempt, so that two attempts never overwrite each other, its number in
//! the attempt, so that one that was removed is missed, and the CRC-64 checksum of its bytes, so that one that was changed is not
//! believed. Outcomes that were not written yet are lost with the
//! process: their rows are done again, and done twice is done once. Before outcomes are written, what they tell of is made
//! durable.
//!
//! An upload in parts is written down before it is created, so that whoever comes after finds and ends it.

mod outcomes;
mod segment;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use planner::Location;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify};

pub use outcomes::{Outcomes, ShardOutcomes, Upload, replay};
pub use segment::{Entry, JOURNAL_SCHEMA, State};

use crate::store::{Attributes, PutOptions, Store, StoreError, StoreResult};
use crate::{Fence, stop};

/// How long outcomes wait to be written.
const EVERY: Duration = Duration::from_secs(1);
/// Outcomes that are written without waiting.
const MANY: usize = 50_000;
/// Failed writes one after the other that end the run.
const PATIENCE: u32 = 3;

/// Where a journal is, and whose: what an executor must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JournalSpec {
    /// Its folder.
    pub folder: Location,
    /// The generation of the lease under which it is written.
    pub generation: u64,
}

/// A journal that is being written by one attempt.
#[derive(Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    data: Arc<dyn Store>,
    generation: u64,
    attempt: String,
    fence: Option<Arc<Fence>>,
    number: AtomicU32,
    pending: std::sync::Mutex<Vec<Entry>>,
    /// One write at a time; failed ones in a row.
    writing: Mutex<u32>,
    broken: std::sync::Mutex<Option<StoreError>>,
    written: Notify,
}

impl Journal {
    /// A journal in the folder that `store` is, of what is done at `data`. A task writes it every second until the journal is
    /// dropped.
    pub fn start(store: Arc<dyn Store>, data: Arc<dyn Store>, generation: u64, fence: Option<Arc<Fence>>) -> Arc<Self> {
        let attempt = format!("{:016x}", rand::rng().random::<u64>());
        let journal = Arc::new(Self {
            store,
            data,
            generation,
            attempt,
            fence,
            number: AtomicU32::new(0),
            pending: std::sync::Mutex::default(),
            writing: Mutex::new(0),
            broken: std::sync::Mutex::default(),
            written: Notify::new(),
        });
        let weak = Arc::downgrade(&journal);
        tokio::spawn(async move {
            let mut every = tokio::time::interval(EVERY);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let Some(journal) = weak.upgrade() else { return };
                // What it fails with is kept, and told by whoever asks next.
                let _ = journal.flush().await;
            }
        });
        journal
    }

    /// Takes an outcome. It is durable after the next [`Journal::flush`], within about a second.
    pub fn record(&self, entry: Entry) {
        self.lock().push(entry);
    }

    /// Outcomes wait that are too many to be left to the next second.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().len() >= MANY
    }

    /// Writes down that `key` is about to be uploaded in parts; durable on return.
    ///
    /// # Errors
    /// The store's.
    pub async fn intend(&self, shard: i32, row: i32, key: &str) -> StoreResult<()> {
        self.record(Entry::upload(shard, row, key));
        self.flush().await
    }

    /// Writes everything that waits; durable on return. Entries that come in while another write goes on go together.
    ///
    /// # Errors
    /// The store's; nothing is lost, the next call tries again.
    pub async fn flush(&self) -> StoreResult<()> {
        let mut failed = self.writing.lock().await;
        let entries = std::mem::take(&mut *self.lock());
        if entries.is_empty() {
            return Ok(());
        }
        let end = self.write(&entries).await;
        if let Err(error) = &end {
            let mut pending = self.lock();
            let newer = std::mem::replace(&mut *pending, entries);
            pending.extend(newer);
            *failed += 1;
            if *failed >= PATIENCE || error.kind == crate::FailureKind::Fenced {
                self.broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error.clone());
            }
        } else {
            *failed = 0;
            self.written.notify_waiters();
        }
        end
    }

    /// Why it cannot be written, when that was tried in vain again and again.
    #[must_use]
    pub fn broken(&self) -> Option<StoreError> {
        self.broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    async fn write(&self, entries: &[Entry]) -> StoreResult<()> {
        self.data.sync().await?;
        let body = segment::encode(entries, self.generation)?;
        // Taken only when it was written, so that no number is missing but of a segment that somebody removed.
        let number = self.number.load(Ordering::Relaxed);
        let name = segment::name(entries, &self.attempt, number, &body);
        let options =
            PutOptions { attributes: Attributes::content_type("application/vnd.apache.parquet"), ..PutOptions::default() };
        // An upload that is written down writes what others did as well.
        let put = stop::regardless(self.store.put(&name, body, &options));
        match &self.fence {
            Some(fence) => Arc::clone(fence).scope(put).await,
            None => put.await,
        }?;
        self.number.store(number + 1, Ordering::Relaxed);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
