//! One row: copy, delete or retract one object.
//!
//! # Consistency
//! A copy is pinned to the entry's etag. A pin that does not hold is looked at once ([`Entry::is_still`]): the committed
//! object under another etag is pinned to that one, anything else is a changed source.
//!
//! # Retries
//! A row has one budget ([`Budget`]). Requests are tried again from it by the stores, bodies from where they broke off, and
//! the object from its start where bytes were wrong or the store forgot its parts.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use planner::Location;
use planner::plan::Action;

use super::check::Entry;
use super::exec::Shared;
use super::route::{Facts, Route};
use super::row::{Done, Row};
use super::{CopySpec, Ledger, OnDrift};
use crate::Registry;
use crate::retry::{Allowance, Budget, Repeat, Retry};
use crate::store::digest::ExpectedParts;
use crate::store::{Expected, FailureKind, Head, PutOptions, RequestClass, Store, StoreError, StoreResult};

/// The proof of a copy of something else than what was committed ([`OnDrift::Take`]).
const DRIFTED: &str = "drifted";

/// Does rows at one destination.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) registry: Arc<Registry>,
    pub(super) destination: Arc<dyn Store>,
    pub(super) spec: CopySpec,
    retries: Arc<Allowance>,
    ledger: Ledger,
    /// The destination refused conditional deletes. Shared by all that copy there.
    pub(super) takes_no_conditions: Arc<AtomicBool>,
}

/// A source that was found: its store, its key there, its URL.
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) key: String,
    pub(super) location: Location,
}

/// One way of reading a source: pinned or not, and of what size.
pub(super) struct Reading<'a> {
    pub(super) source: &'a Source,
    pub(super) pin: Option<&'a str>,
    /// It was looked at, and the pin says nothing of the bytes.
    pub(super) is_opaque: bool,
    pub(super) size: u64,
}

/// What the attempts of one row know of its source.
pub(super) struct Known<'a> {
    pub(super) entry: Entry<'a>,
    /// What was found when the pin did not hold.
    head: Mutex<Option<Head>>,
    /// What an etag says of the bytes. Kept, because two readings of them are compared.
    expected: Mutex<Option<(String, Expected)>>,
}

impl<'a> Known<'a> {
    fn new(entry: Entry<'a>) -> Self {
        Self { entry, head: Mutex::default(), expected: Mutex::default() }
    }

    /// What an etag of the source says of its bytes.
    pub(super) fn expected(&self, etag: &str, size: u64) -> Expected {
        let mut kept = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((of, expected)) if of == etag => expected.clone(),
            _ => {
                let expected = Expected::of_etag(etag, size);
                *kept = Some((etag.to_owned(), expected.clone()));
                expected
            }
        }
    }

    /// The sum of parts of a size that was guessed did not fit: the store may know the size.
    async fn ask_parts(&self, source: &Source) {
        let kept = self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((etag, expected)) = kept else { return };
        let Some(parts) = expected.parts.as_ref().filter(|parts| !parts.is_certain) else { return };
        // Without an answer the guess stands, and two readings that agree are believed.
        if let Ok(Some(part_size)) = source.store.part_size(&source.key, &etag).await {
            let parts = Some(ExpectedParts { part_size, is_certain: true, ..parts.clone() });
            let mut kept = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some((etag, Expected { parts, ..expected }));
        }
    }

    /// The size that the source must have: what was found, or else the commit's.
    pub(super) fn size(&self) -> Option<u64> {
        self.head().map(|head| head.size).or(self.entry.size)
    }

    fn head(&self) -> Option<Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn found(&self, head: &Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head.clone());
    }
}

impl Copier {
    pub(super) fn new(registry: Arc<Registry>, spec: CopySpec, shared: &Shared) -> planner::Result<Self> {
        let destination = registry.open_within(&spec.destination, RequestClass::Data, spec.bounds())?;
        let (retries, ledger) = (Arc::clone(&shared.retries), shared.ledger.clone());
        Ok(Self { registry, destination, spec, retries, ledger, takes_no_conditions: Arc::clone(&shared.takes_no_conditions) })
    }

    /// Does `work` behind the run's fence.
    pub(super) async fn fenced<T>(&self, work: impl Future<Output = T>) -> T {
        let work = Box::pin(work);
        match &self.ledger.fence {
            Some(fence) => Arc::clone(fence).scope(work).await,
            None => work.await,
        }
    }

    /// A journal tells of objects only once they are durable, and syncs them together before.
    pub(super) fn syncs_later(&self) -> bool {
        self.ledger.journal.is_some()
    }

    /// Before an upload in parts is created, it is written down.
    pub(super) async fn intend(&self, row: &Row) -> StoreResult<()> {
        let (shard, number) = row.place();
        match &self.ledger.journal {
            Some(journal) => journal.intend(shard, number, row.key()).await,
            None => Ok(()),
        }
    }

    /// Does one row. Twice is the same as once.
    pub(super) async fn run(&self, row: &Row) -> StoreResult<Done> {
        match row.action() {
            Some(Action::Copy) => self.copy(row).await,
            Some(Action::Delete | Action::Retract) => {
                let end = self.delete_many(std::slice::from_ref(row)).await.pop();
                end.unwrap_or_else(|| Err(StoreError::new(FailureKind::Undone, "the store did not say what became of it")))
            }
            None => Err(StoreError::new(FailureKind::Other, "the plan's action is not known here")),
        }
    }

    /// The budget of an object that takes so many requests.
    pub(super) fn budget(&self, requests: u64) -> Budget {
        Budget::new(self.spec.retry, requests, Arc::clone(&self.retries))
    }

    /// Requests that a copy takes, roughly.
    fn requests(&self, source: &Source, size: u64) -> u64 {
        match self.facts(source, size).route() {
            Route::ServerSide if size > self.spec.copy_in_parts_above => size / self.spec.copy_part_size.max(1),
            Route::StreamMultipart => size / self.spec.part_size.max(1),
            Route::ServerSide | Route::StreamSingle => 1,
        }
    }

    fn facts<'a>(&'a self, source: &'a Source, size: u64) -> Facts<'a> {
        Facts {
            source: source.store.access(),
            destination: self.destination.access(),
            can: self.destination.capabilities(),
            size,
            multipart_threshold: self.spec.multipart_threshold,
        }
    }

    /// An object of Millrace's own that has no source: it is empty.
    async fn put_empty(&self, row: &Row) -> StoreResult<Done> {
        let put = self.budget(1).scope(self.destination.put(row.key(), Bytes::new(), &PutOptions::default())).await?;
        Ok(Done { etag: put.etag, ..Done::default() })
    }

    async fn copy(&self, row: &Row) -> StoreResult<Done> {
        if row.source().is_none() && row.size() == Some(0) {
            return self.put_empty(row).await;
        }
        let source = self.source(row)?;
        let own_data = self.spec.is_own_data(&source.location);
        let known = Known::new(Entry { etag: row.etag(), size: row.size(), own_data });
        let attempt = || async {
            let end = self.attempt(row, &known, &source).await;
            if end.as_ref().is_err_and(|error| error.kind == FailureKind::Mismatch) {
                known.ask_parts(&source).await;
            }
            end
        };
        let budget = self.budget(self.requests(&source, row.size().unwrap_or_default()));
        let end = budget.scope(Retry::default().run(Repeat::Object, attempt)).await;
        end.map_err(|error| match error.kind {
            FailureKind::NotFound => {
                StoreError::new(FailureKind::NotFound, format!("the source {} of `{}` is missing", source.location, row.key()))
            }
            _ => error,
        })
    }

    async fn attempt(&self, row: &Row, known: &Known<'_>, source: &Source) -> StoreResult<Done> {
        if let Some(head) = known.head() {
            return self.read_found(row, known, source, &head).await;
        }
        let pin = known.entry.etag.filter(|_| source.store.capabilities().pins_by_entry_etag);
        let is_opaque = !source.store.capabilities().etag_is_md5;
        let first = Reading { source, pin, is_opaque, size: known.entry.size.unwrap_or_default() };
        match self.read(row, known, &first).await {
            Err(error) if matches!(error.kind, FailureKind::Precondition | FailureKind::Changed) => {
                self.after_drift(row, known, source, error).await
            }
            end => end,
        }
    }

    fn source(&self, row: &Row) -> StoreResult<Source> {
        let of_plan = |error: planner::Error| StoreError::new(FailureKind::Other, error.to_string());
        let address = row.source().ok_or_else(|| StoreError::new(FailureKind::Other, "the plan names no source"))?;
        let location = Location::parse(address).map_err(of_plan)?;
        let (store, key) = self.registry.source_within(&location, self.spec.bounds()).map_err(of_plan)?;
        Ok(Source { store, key, location })
    }

    /// The source is not what was pinned: one look at it decides.
    async fn after_drift(&self, row: &Row, known: &Known<'_>, source: &Source, error: StoreError) -> StoreResult<Done> {
        let Some(head) = source.store.head(&source.key).await? else {
            return Err(StoreError::new(FailureKind::NotFound, "missing"));
        };
        if !known.entry.is_still(&head) {
            let changed = changed(&known.entry, source, &head, &error);
            match self.spec.on_drift {
                OnDrift::Fail => return Err(changed),
                // Nobody overwrites those: it is damaged.
                OnDrift::Take if known.entry.own_data => {
                    return Err(changed.context("in the lake's own data/ nothing is taken that drifted"));
                }
                OnDrift::Take => {}
            }
        }
        known.found(&head);
        self.read_found(row, known, source, &head).await
    }

    /// Reads what was found, and nothing else.
    async fn read_found(&self, row: &Row, known: &Known<'_>, source: &Source, head: &Head) -> StoreResult<Done> {
        // An etag of parts says something unless the store makes etags of something else.
        let in_parts = head.etag.as_deref().is_some_and(|etag| etag.contains('-'));
        let is_opaque = !(head.etag_is_md5 || in_parts && source.store.capabilities().etag_is_md5);
        let reading = Reading { source, pin: head.etag.as_deref(), is_opaque, size: head.size };
        let done = self.read(row, known, &reading).await.map_err(|error| match error.kind {
            FailureKind::Precondition => changed(&known.entry, source, head, &error),
            _ => error,
        })?;
        Ok(if known.entry.is_still(head) { done } else { Done { proof: Some(DRIFTED.into()), ..done } })
    }

    /// Copies by the best route.
    async fn read(&self, row: &Row, known: &Known<'_>, reading: &Reading<'_>) -> StoreResult<Done> {
        let source = reading.source;
        let facts = self.facts(source, reading.size);
        match facts.route() {
            Route::ServerSide => match self.copy_inside(row, known, reading).await {
                Err(error)
                    if matches!(error.kind, FailureKind::Denied | FailureKind::NotFound) && facts.streams_after_refusal() =>
                {
                    self.stream(row, known, reading, &facts).await
                }
                end => end,
            },
            Route::StreamSingle | Route::StreamMultipart => self.stream(row, known, reading, &facts).await,
        }
    }

    pub(super) fn keeps_tags(&self, source: &Source) -> bool {
        self.destination.capabilities().keep_tags || source.store.capabilities().keep_tags
    }

    pub(super) fn keeps_headers(&self, source: &Source) -> bool {
        self.destination.capabilities().keep_headers || source.store.capabilities().keep_headers
    }
}

impl Source {
    /// Where the object lies once `local://` is resolved.
    pub(super) fn object(&self) -> Location {
        let root = self.store.location();
        Location::new(root.scheme(), root.bucket(), self.key.clone())
    }
}

fn changed(entry: &Entry<'_>, source: &Source, head: &Head, error: &StoreError) -> StoreError {
    let said = |etag: Option<&str>, size: Option<u64>| {
        let size = size.map_or_else(|| "unknown size".to_owned(), |size| format!("{size} bytes"));
        format!("etag {}, {size}", etag.unwrap_or("unknown"))
    };
    let (was, is) = (said(entry.etag, entry.size), said(head.etag.as_deref(), Some(head.size)));
    let message = format!("{} was overwritten since the commit ({was}; now {is}): {}", source.location, error.message);
    StoreError::new(FailureKind::Changed, message)
}
