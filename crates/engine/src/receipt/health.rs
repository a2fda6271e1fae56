//! Whether the receipts before the newest are still there: an export does not need them, and `verify`, a fold and an export whose
//! base is gone do. What is damaged is told before it is needed.
//!
//! # Cost
//! One listing, and the documents of the chain, side by side. The files beside them are not read: their lengths are in the
//! listing.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use planner::{Error, Result};

use super::Receipt;
use super::files::way_on;
use crate::destination::Destination;

const RECEIPTS: &str = "_millrace/receipts/";

/// Documents that are read at a time.
const READS: usize = 16;

/// Reads the chain that ends in the receipt `newest`: what a person should know of those before it.
///
/// # Errors
/// Those of the newest, which the next one goes on from. Whatever befalls the others is no reason to export nothing.
pub(crate) async fn check(destination: &Destination, newest: &str) -> Result<Option<String>> {
    let receipt = super::read(destination, newest).await?;
    if receipt.whole.is_some() || receipt.previous.is_none() {
        return Ok(None);
    }
    let trouble = match earlier(destination, &receipt).await {
        Ok(()) => return Ok(None),
        Err(error) => error,
    };
    Ok(Some(format!(
        "a receipt of an earlier export cannot be used: {}. This export does not need it; `millrace verify` does, and an export whose base is gone from the lake. {}",
        trouble.message(),
        way_on(destination, &receipt)
    )))
}

/// Reads what comes before the receipt `newest`.
async fn earlier(destination: &Destination, newest: &Receipt) -> Result<()> {
    let listed = destination.list(RECEIPTS).await?;
    let sizes: BTreeMap<&str, u64> = listed.iter().map(|one| (one.key.as_str(), one.size)).collect();
    let first = newest.chain.as_ref().map_or(0, |chain| chain.first);
    let earlier = listed.iter().filter_map(|one| one.key.strip_suffix("/receipt.json"));
    let earlier = earlier.filter(|folder| number(folder).is_some_and(|number| (first..newest.seq).contains(&number)));
    let folders: Vec<String> = earlier.map(str::to_owned).collect();
    let reads = folders.into_iter().map(|folder| async move {
        let read = super::read(destination, &folder).await;
        (folder, read)
    });
    let reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS);
    let documents: BTreeMap<String, Result<Receipt>> = reads.collect().await;
    walk(destination, newest, documents, &sizes)
}

/// The number of a receipt's folder.
fn number(folder: &str) -> Option<u64> {
    folder.strip_prefix(RECEIPTS)?.split_once('-')?.0.parse().ok()
}

/// From the newest back to the one that holds a whole state.
fn walk(
    destination: &Destination,
    newest: &Receipt,
    mut documents: BTreeMap<String, Result<Receipt>>,
    sizes: &BTreeMap<&str, u64>,
) -> Result<()> {
    let at = destination.status();
    let mut previous = newest.previous.clone();
    while let Some(folder) = previous {
        let missing = |name: &str| Err(Error::corrupt(format!("{at}{folder}/{name} is missing")));
        let Some(document) = documents.remove(&folder) else { return missing("receipt.json") };
        let receipt = document?;
        if let Some(file) = receipt.file() {
            let expected = receipt.files.get(file).map(|digest| digest.bytes);
            match sizes.get(format!("{folder}/{file}").as_str()) {
                None => return missing(file),
                Some(bytes) if expected.is_some_and(|expected| expected != *bytes) => {
                    let message = format!("{at}{folder}/{file} has {bytes} bytes instead of {}", expected.unwrap_or_default());
                    return Err(Error::corrupt(message));
                }
                Some(_) => {}
            }
        }
        previous = receipt.previous.clone().filter(|_| receipt.whole.is_none());
    }
    Ok(())
}
