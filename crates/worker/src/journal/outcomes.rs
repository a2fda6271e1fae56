//! Reading journals: what was done of a plan, shard by shard.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result as QueryResult;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use planner::{Error, Result};

use super::segment::{self, Entry, State, decode, is_whole, shards_of};
use crate::copy::{Done, Outcome, Row, Rows, outcome_batch};
use crate::store::{FailureKind, Store, StoreError};

/// Segments that are read at a time.
const READS: usize = 8;

/// An upload in parts that was begun and of which no outcome is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upload {
    /// Below the destination.
    pub key: String,
}

/// Segments of one or more journals, kept in a local folder.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// By shard; `None`: any shard.
    segments: HashMap<Option<i32>, Vec<PathBuf>>,
    /// Names that were read.
    read: HashSet<String>,
    /// Segments of which only what is done counts.
    past: HashSet<PathBuf>,
    /// The shard that was asked for last.
    last: std::sync::Mutex<Option<(i32, Arc<ShardOutcomes>)>>,
}

/// What is known of one shard's rows.
#[derive(Debug, Default)]
pub struct ShardOutcomes(HashMap<i32, Entry>);

impl Outcomes {
    /// Fetches all segments of the journal that `store` is, and that nobody writes any more, into the local `folder`.
    ///
    /// # Errors
    /// `Unreachable` where they cannot be read, `Corrupt` for a file that is no segment, and for a segment that was removed.
    pub async fn fetch(store: &Arc<dyn Store>, folder: &Path) -> Result<Self> {
        let mut outcomes = Self::default();
        outcomes.take(store, folder, &mut Err).await?;
        outcomes.removed(store.as_ref()).map_or(Ok(outcomes), Err)
    }

    /// The same of a journal that others may be writing: a listing that is made meanwhile may pass over a segment.
    ///
    /// # Errors
    /// As [`Outcomes::fetch`].
    pub async fn so_far(store: &Arc<dyn Store>, folder: &Path) -> Result<Self> {
        let mut outcomes = Self::default();
        outcomes.refresh(store, folder).await?;
        Ok(outcomes)
    }

    /// Why these are not all segments that were written, where that can be told.
    fn removed(&self, store: &dyn Store) -> Option<Error> {
        let missing = segment::removed(self.read.iter().map(String::as_str))?;
        let message = format!(
            "{}{missing}, a segment of a journal, is missing: later ones of the same attempt are there",
            store.location()
        );
        Some(
            Error::corrupt(message)
                .with_help("somebody removed it: restore it, or use --no-resume, and what that run has done is done again"),
        )
    }

    /// The same of a journal that may be damaged: what can be read of it, and why the rest cannot.
    ///
    /// # Errors
    /// `Unreachable` where segments cannot be fetched.
    pub async fn fetch_readable(store: &Arc<dyn Store>, folder: &Path) -> Result<(Self, Vec<Error>)> {
        let (mut outcomes, mut unreadable) = (Self::default(), Vec::new());
        outcomes
            .take(store, folder, &mut |error| {
                unreadable.push(error);
                Ok(())
            })
            .await?;
        // One that cannot be read is not missed once more.
        if unreadable.is_empty() {
            unreadable.extend(outcomes.removed(store.as_ref()));
        }
        Ok((outcomes, unreadable))
    }

    /// Fetches what was written since; the paths of the new segments.
    ///
    /// # Errors
    /// As [`Outcomes::fetch`].
    pub async fn refresh(&mut self, store: &Arc<dyn Store>, folder: &Path) -> Result<Vec<PathBuf>> {
        self.take(store, folder, &mut Err).await
    }

    /// Fetches new segments; `damaged` decides over one that cannot be understood.
    async fn take(
        &mut self,
        store: &Arc<dyn Store>,
        folder: &Path,
        damaged: &mut (dyn FnMut(Error) -> Result<()> + Send),
    ) -> Result<Vec<PathBuf>> {
        let at = store.location().clone();
        let failed = |e: StoreError, name: &str| e.into_error(&at, format!("{at}{name} cannot be read"));
        let (outcomes, mut fresh) = (self, Vec::new());
        let listed: Vec<_> = match store.list("").try_collect().await {
            Ok(listed) => listed,
            Err(StoreError { kind: FailureKind::NotFound, .. }) => Vec::new(),
            Err(error) => return Err(failed(error, "")),
        };
        let unread: Vec<_> =
            listed.into_iter().filter(|one| !outcomes.read.contains(&one.key) && !is_being_written(&one.key)).collect();
        let reads = futures::stream::iter(unread).map(|one| async move {
            let found = store.get_small(&one.key).await;
            (one.key, found)
        });
        let mut reads = reads.buffer_unordered(READS);
        while let Some((name, found)) = reads.next().await {
            // One that is gone meanwhile belonged to a run that has ended.
            let Some((bytes, _)) = found.map_err(|e| failed(e, &name))? else { continue };
            let shards = match understood(&name, &bytes) {
                Ok(shards) => shards,
                Err(why) => {
                    damaged(mangled(&format!("{at}{name}"), &why))?;
                    continue;
                }
            };
            let path = folder.join(name.replace('/', "_"));
            std::fs::write(&path, &bytes).map_err(|e| {
                Error::unreachable(format!("{}: {e}", path.display()))
                    .with_help("the temporary folder (TMPDIR) needs room and permission")
            })?;
            outcomes.read.insert(name);
            fresh.push(path.clone());
            match shards {
                None => outcomes.segments.entry(None).or_default().push(path),
                Some(shards) => {
                    for shard in shards {
                        outcomes.segments.entry(Some(shard)).or_default().push(path.clone());
                    }
                }
            }
        }
        *outcomes.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        Ok(fresh)
    }

    /// What failed so far is to be tried again: it is not known any more.
    pub fn forget_failures(&mut self) {
        self.past = self.segments.values().flatten().cloned().collect();
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Rows that a segment calls done, and their payload bytes.
    ///
    /// # Errors
    /// `Corrupt` for a segment that cannot be understood.
    pub fn done_in(segment: &Path) -> Result<(u64, u64)> {
        let done = entries(segment)?.into_iter().filter(|entry| entry.state == State::Done);
        Ok(done.fold((0, 0), |(rows, bytes), entry| (rows + 1, bytes + entry.bytes.unsigned_abs())))
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// What is known of a shard. The last one asked for is kept.
    ///
    /// # Errors
    /// `Corrupt` for a segment that cannot be understood.
    pub fn of(&self, shard: i32) -> Result<Arc<ShardOutcomes>> {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, found)) = last.as_ref().filter(|(number, _)| *number == shard) {
            return Ok(Arc::clone(found));
        }
        let mut found = ShardOutcomes::default();
        for path in [Some(shard), None].iter().filter_map(|key| self.segments.get(key)).flatten() {
            let past = self.past.contains(path);
            let counts = |entry: &Entry| entry.shard == shard && (!past || entry.state == State::Done);
            entries(path)?.into_iter().filter(counts).for_each(|entry| found.add(entry));
        }
        let found = Arc::new(found);
        *last = Some((shard, Arc::clone(&found)));
        Ok(found)
    }

    /// Uploads in parts without an outcome.
    ///
    /// # Errors
    /// `Corrupt` for a segment that cannot be understood.
    pub fn uploads(&self) -> Result<Vec<Upload>> {
        let mut open: HashMap<(i32, i32), String> = HashMap::new();
        let mut ended = Vec::new();
        let mut paths: Vec<&PathBuf> = self.segments.values().flatten().collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            for entry in entries(path)? {
                match (entry.state, &entry.texts[5]) {
                    (State::Uploading, Some(key)) => drop(open.insert((entry.shard, entry.row), key.clone())),
                    (State::Done, _) => ended.push((entry.shard, entry.row)),
                    _ => {}
                }
            }
        }
        for row in &ended {
            open.remove(row);
        }
        let mut uploads: Vec<Upload> = open.into_values().map(|key| Upload { key }).collect();
        uploads.sort();
        uploads.dedup();
        Ok(uploads)
    }
}

/// A file of a task's own folder that is not whole yet, on a file system.
fn is_being_written(key: &str) -> bool {
    format!("/{key}").contains("/_millrace/tmp/")
}

/// The shards of a segment of this name that is what was written; else why it is not.
fn understood(name: &str, bytes: &Bytes) -> std::result::Result<Option<Vec<i32>>, String> {
    let shards = shards_of(name).map_err(|()| "its name is not that of a segment".to_owned())?;
    if !is_whole(name, bytes) {
        return Err("it has another checksum than its name says".to_owned());
    }
    decode(bytes.clone())?;
    Ok(shards)
}

fn entries(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path).map_err(|e| {
        Error::unreachable(format!("{}: {e}", path.display()))
            .with_help("the temporary folder (TMPDIR) must keep what a run puts there")
    })?;
    decode(Bytes::from(bytes)).map_err(|why| mangled(&path.display().to_string(), &why))
}

fn mangled(file: &str, why: &str) -> Error {
    Error::corrupt(format!("{file} is no segment of a journal: {why}"))
        .with_help("somebody changed it: restore it, or use --no-resume, and what that run has done is done again")
}

impl ShardOutcomes {
    fn add(&mut self, entry: Entry) {
        // A row that was done is done, whatever another attempt says.
        let known = self.0.get(&entry.row).is_some_and(|known| known.state == State::Done);
        if !known {
            self.0.insert(entry.row, entry);
        }
    }

    /// Of `rows` rows, those that have no outcome that counts: nobody did them, or nobody could.
    #[must_use]
    pub fn undone(&self, rows: i32) -> u64 {
        (0..rows).filter(|row| self.end(*row).is_err_and(|e| matches!(e.kind, FailureKind::Undone | FailureKind::Fenced))).count()
            as u64
    }

    /// How a row that is done was done.
    pub(crate) fn done(&self, row: i32) -> Option<Done> {
        let entry = self.0.get(&row).filter(|entry| entry.state == State::Done)?;
        let [etag, checksum, proof, ..] = entry.texts.clone();
        Some(Done { bytes: entry.bytes.unsigned_abs(), etag, checksum, proof: proof.map(Cow::Owned) })
    }

    fn end(&self, row: i32) -> std::result::Result<Done, StoreError> {
        if let Some(done) = self.done(row) {
            return Ok(done);
        }
        let failed = self.0.get(&row).filter(|entry| entry.state == State::Failed);
        let kind = failed.and_then(|entry| FailureKind::parse(entry.texts[3].as_deref()?)).unwrap_or(FailureKind::Undone);
        let message = failed.and_then(|entry| entry.texts[4].clone()).unwrap_or_else(|| "it has no outcome".to_owned());
        Err(StoreError::new(kind, message))
    }
}

/// Plan rows in, their outcomes by `outcomes` out; a row without one fails with [`FailureKind::Undone`]. Nothing is done.
pub fn replay(rows: SendableRecordBatchStream, outcomes: Arc<Outcomes>) -> BoxStream<'static, QueryResult<RecordBatch>> {
    rows.and_then(move |batch| {
        let outcomes = Arc::clone(&outcomes);
        async move {
            let rows = Rows::try_new(&batch)?;
            let mut ends = Vec::with_capacity(rows.len());
            for at in 0..rows.len() {
                let row = Row::new(Arc::clone(&rows), at);
                let (shard, number) = row.place();
                let end = outcomes.of(shard)?.end(number);
                ends.push(Outcome { row, end, replayed: true });
            }
            outcome_batch(&ends)
        }
    })
    .boxed()
}
