//! One row: copy, delete or retract one object.
//!
//! # Consistency
//! A copy is pinned to the entry's etag. A pin that does not hold is looked at once ([`Entry::is_still`]): the committed
//! object under another etag is pinned to that one, anything else is a changed source.

use std::sync::Arc;
use std::time::Duration;

use planner::Location;
use planner::plan::Action;

use super::check::Entry;
use super::route::{Facts, Route};
use super::row::{Done, Row};
use super::{CopySpec, DEFAULT_PARTS_IN_FLIGHT, OnDrift};
use crate::Registry;
use crate::retry::{Repeat, Retry};
use crate::store::{
    Attributes, CopyOptions, FailureKind, GetOptions, Head, RequestClass, SourceObject, Store, StoreError, StoreResult,
    UploadOptions, etag_md5,
};

/// Streams are tried again as a whole when they break off; the requests in them have their own tries.
const STREAM_TRIES: u32 = 2;

/// The proof of a copy of something else than what was committed ([`OnDrift::Take`]).
const DRIFTED: &str = "drifted";

/// Does rows at one destination.
#[derive(Debug)]
pub(super) struct Copier {
    registry: Arc<Registry>,
    destination: Arc<dyn Store>,
    spec: CopySpec,
}

/// A source that was found: its store, its key there, its URL.
struct Source {
    store: Arc<dyn Store>,
    key: String,
    location: Location,
}

/// One way of reading a source: pinned or not, and of what size.
struct Reading<'a> {
    source: &'a Source,
    pin: Option<&'a str>,
    size: u64,
}

impl Copier {
    pub(super) fn new(registry: Arc<Registry>, spec: CopySpec) -> planner::Result<Self> {
        let timeout = Duration::from_millis(spec.request_timeout_ms);
        let destination = registry.open_within(&spec.destination, RequestClass::Data, timeout)?;
        Ok(Self { registry, destination, spec })
    }

    /// Does one row. Twice is the same as once.
    pub(super) async fn run(&self, row: &Row) -> StoreResult<Done> {
        match row.action() {
            Some(Action::Copy) => self.copy(row).await,
            Some(Action::Delete | Action::Retract) => self.destination.delete(row.key()).await.map(|()| Done::default()),
            None => Err(StoreError::new(FailureKind::Other, "the plan's action is not known here")),
        }
    }

    async fn copy(&self, row: &Row) -> StoreResult<Done> {
        let source = self.source(row)?;
        let own_data = self.spec.is_own_data(&source.location);
        let entry = Entry { etag: row.etag(), size: row.size(), own_data };
        let pin = entry.etag.filter(|_| source.store.capabilities().pins_by_entry_etag);
        let first = Reading { source: &source, pin, size: entry.size.unwrap_or_default() };
        let end = match self.read(row, &entry, &first).await {
            Err(error) if matches!(error.kind, FailureKind::Precondition | FailureKind::Changed) => {
                self.after_drift(row, &entry, &source, error).await
            }
            end => end,
        };
        end.map_err(|error| match error.kind {
            FailureKind::NotFound => {
                StoreError::new(FailureKind::NotFound, format!("the source {} of `{}` is missing", source.location, row.key()))
            }
            _ => error,
        })
    }

    fn source(&self, row: &Row) -> StoreResult<Source> {
        let of_plan = |error: planner::Error| StoreError::new(FailureKind::Other, error.to_string());
        let address = row.source().ok_or_else(|| StoreError::new(FailureKind::Other, "the plan names no source"))?;
        let location = Location::parse(address).map_err(of_plan)?;
        let timeout = Duration::from_millis(self.spec.request_timeout_ms);
        let (store, key) = self.registry.source_within(&location, timeout).map_err(of_plan)?;
        Ok(Source { store, key, location })
    }

    /// The source is not what was pinned: one look at it decides.
    async fn after_drift(&self, row: &Row, entry: &Entry<'_>, source: &Source, error: StoreError) -> StoreResult<Done> {
        let Some(head) = source.store.head(&source.key).await? else {
            return Err(StoreError::new(FailureKind::NotFound, "missing"));
        };
        let is_still = entry.is_still(&head);
        if !is_still && self.spec.on_drift == OnDrift::Fail {
            return Err(changed(entry, source, &head, &error));
        }
        let again = Reading { source, pin: head.etag.as_deref(), size: head.size };
        let end = self.read(row, &Entry { size: Some(head.size), ..*entry }, &again).await;
        let done = end.map_err(|error| match error.kind {
            FailureKind::Precondition => changed(entry, source, &head, &error),
            _ => error,
        })?;
        Ok(if is_still { done } else { Done { proof: Some(DRIFTED), ..done } })
    }

    /// Copies by the best route.
    async fn read(&self, row: &Row, entry: &Entry<'_>, reading: &Reading<'_>) -> StoreResult<Done> {
        let source = reading.source;
        let facts = Facts {
            source: source.store.access(),
            destination: self.destination.access(),
            can: self.destination.capabilities(),
            size: reading.size,
            multipart_threshold: self.spec.multipart_threshold,
        };
        match facts.route() {
            Route::ServerSide => match self.copy_inside(row, reading).await {
                Err(error)
                    if matches!(error.kind, FailureKind::Denied | FailureKind::NotFound) && facts.streams_after_refusal() =>
                {
                    self.stream(row, entry, reading, &facts).await
                }
                end => end,
            },
            Route::StreamSingle | Route::StreamMultipart => self.stream(row, entry, reading, &facts).await,
        }
    }

    async fn copy_inside(&self, row: &Row, reading: &Reading<'_>) -> StoreResult<Done> {
        let source = reading.source;
        let mut replace = row.attributes();
        if let Some(said) = replace.as_mut().filter(|_| self.keeps_headers(source)) {
            let head = source.store.head(&source.key).await?;
            said.headers = head.map(|head| head.attributes.headers).unwrap_or_default();
        }
        let if_match = reading.pin.map(str::to_owned);
        let from = SourceObject { location: source.object(), if_match, size: reading.size };
        let put = self.destination.copy_from(&from, row.key(), &CopyOptions { replace }).await?;
        let proof = match (reading.pin, &put.etag) {
            (Some(_), _) => Some("etag"),
            // Without a pin only a store that compared the size has checked anything.
            (None, None) => Some("size"),
            (None, Some(_)) => None,
        };
        Ok(Done { bytes: put.bytes, etag: put.etag, checksum: None, proof })
    }

    async fn stream(&self, row: &Row, entry: &Entry<'_>, reading: &Reading<'_>, facts: &Facts<'_>) -> StoreResult<Done> {
        let bytes = facts.streamed().buffer_bytes(facts, self.spec.part_size, DEFAULT_PARTS_IN_FLIGHT);
        let _held = self.registry.buffers().take(bytes).await;
        let retry = Retry { tries: STREAM_TRIES, ..Retry::default() };
        retry.run(Repeat::Safe, || self.stream_once(row, entry, reading)).await
    }

    async fn stream_once(&self, row: &Row, entry: &Entry<'_>, reading: &Reading<'_>) -> StoreResult<Done> {
        let source = reading.source;
        let asked = GetOptions { if_match: reading.pin.map(str::to_owned), range: None };
        let get = source.store.get(&source.key, &asked).await?;
        if let Some(size) = entry.size.filter(|size| *size != get.size) {
            let message = format!("{} has {} bytes, the commit says {size}", source.location, get.size);
            return Err(StoreError::new(FailureKind::Changed, message));
        }
        let source_md5 = get.etag.as_deref().filter(|_| get.etag_is_md5).and_then(etag_md5);
        let attributes = match row.attributes() {
            Some(said) if self.keeps_headers(source) => Attributes { headers: get.attributes.headers, ..said },
            Some(said) => said,
            None => get.attributes,
        };
        let options = UploadOptions {
            attributes,
            expect_md5: source_md5,
            multipart_threshold: self.spec.multipart_threshold,
            part_size: self.spec.part_size,
            parts_in_flight: DEFAULT_PARTS_IN_FLIGHT,
        };
        let put = self.destination.upload(row.key(), get.body, get.size, &options).await?;
        let proof = Some(entry.proof_of_stream(&put, source_md5.is_some()));
        let checksum = put.md5.map(|md5| format!("md5:{}", hex::encode(md5)));
        Ok(Done { bytes: put.bytes, etag: put.etag, checksum, proof })
    }

    fn keeps_headers(&self, source: &Source) -> bool {
        self.destination.capabilities().keep_headers || source.store.capabilities().keep_headers
    }
}

impl Source {
    /// Where the object lies once `local://` is resolved.
    fn object(&self) -> Location {
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
