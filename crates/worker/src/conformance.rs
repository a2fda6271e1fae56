//! What every [`Store`] must do: one suite, run against each kind by whoever has a server for it.
//!
//! Each check works below a prefix of its own and leaves nothing behind when it succeeds.

mod reads;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::store::{Body, FailureKind, Get, GetOptions, Put, PutOptions, Store, StoreError, StoreResult};

/// What a store did that it must not do.
pub type Failure = String;

type Check = Result<(), Failure>;

/// Fails a check with a sentence.
macro_rules! ensure {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}
use ensure;

/// Runs every check below `prefix` of the store (empty, or with a slash at its end).
///
/// # Errors
/// A thing that is wrong, with the name of the check.
pub async fn run(store: &Arc<dyn Store>, prefix: &str) -> Result<(), Failure> {
    match failures(store, prefix).await.pop_first() {
        Some((check, failure)) => Err(format!("{check}: {failure}")),
        None => Ok(()),
    }
}

/// Runs every check below `prefix`, and gives what is wrong by the name of the check.
pub async fn failures(store: &Arc<dyn Store>, prefix: &str) -> BTreeMap<&'static str, Failure> {
    let store = store.as_ref();
    let at = |name: &str| format!("{prefix}{name}/");
    let mut failures = BTreeMap::new();
    let mut named = |check, end: Check| {
        if let Err(failure) = end {
            failures.insert(check, failure);
        }
    };
    named("keys", Box::pin(reads::keys(store, &at("keys"))).await);
    named("missing objects", Box::pin(reads::missing(store, &at("missing"))).await);
    named("listing", Box::pin(reads::listing(store, &at("listing"))).await);
    named("pins and ranges", Box::pin(reads::pins(store, &at("pins"))).await);
    named("attributes", Box::pin(writes::attributes(store, &at("attributes"))).await);
    named("conditions", Box::pin(writes::conditions(store, &at("conditions"))).await);
    named("races", Box::pin(writes::races(store, &at("races"))).await);
    named("checksums", Box::pin(writes::checksums(store, &at("checksums"))).await);
    named("uploads", Box::pin(writes::uploads(store, &at("uploads"))).await);
    named("copies", Box::pin(writes::copies(store, &at("copies"))).await);
    named("sync", done(store.sync().await, "sync"));
    failures
}

/// The value of a request that must succeed.
fn done<T>(end: StoreResult<T>, what: &str) -> Result<T, Failure> {
    end.map_err(|error| format!("{what}: {} ({})", error.message, error.kind))
}

/// The request must fail, and for this reason.
fn refused<T>(end: StoreResult<T>, kind: FailureKind, what: &str) -> Check {
    match end {
        Ok(_) => Err(format!("{what} succeeded")),
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(format!("{what} failed as {}, not as {kind}: {}", error.kind, error.message)),
    }
}

async fn write(store: &dyn Store, key: &str, bytes: impl Into<Bytes> + Send) -> Result<Put, Failure> {
    done(store.put(key, bytes.into(), &PutOptions::default()).await, &format!("putting {key:?}"))
}

async fn read(store: &dyn Store, key: &str) -> Result<Vec<u8>, Failure> {
    let get = done(store.get(key, &GetOptions::default()).await, &format!("getting {key:?}"))?;
    bytes_of(get).await
}

async fn bytes_of(get: Get) -> Result<Vec<u8>, Failure> {
    let chunks: Vec<Bytes> = done(get.body.try_collect().await, "reading")?;
    Ok(chunks.concat())
}

async fn remove(store: &dyn Store, key: &str) -> Check {
    done(store.delete(key).await, &format!("deleting {key:?}"))
}

async fn is_there(store: &dyn Store, key: &str) -> Result<bool, Failure> {
    Ok(done(store.head(key).await, &format!("looking at {key:?}"))?.is_some())
}

/// A body in chunks of `chunk` bytes, ending in an error where one is given.
fn body_of(bytes: &[u8], chunk: usize, end: Option<StoreError>) -> Body {
    let chunks: Vec<StoreResult<Bytes>> = bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(futures::stream::iter(chunks.into_iter().chain(end.map(Err))))
}

/// Bytes that repeat late, so that parts in a wrong order are seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 251 + at) % 256).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests;
