//! What comparisons on a cluster left behind that were killed: shards and results that nobody reads any more.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use planner::Result;
use worker::store::Listed;

use crate::destination::Destination;

/// The folder of all comparisons, below the status path.
pub(crate) const FOLDER: &str = "_millrace/verify/";

/// One in whose folder nothing was written for so long is over: one that goes on writes all the time.
const OVER: Duration = Duration::from_hours(24);

/// Removes what comparisons left that are over, by the store's own clock: `newest` is a key there that was written just now.
/// What stays is no harm.
pub(crate) async fn sweep(destination: &Destination, newest: &str) {
    if let Err(error) = try_sweep(destination, newest).await {
        tracing::warn!("{FOLDER}: what killed comparisons left cannot be removed: {error}");
    }
}

async fn try_sweep(destination: &Destination, newest: &str) -> Result<()> {
    let listed = destination.list(FOLDER).await?;
    if listed.is_empty() {
        return Ok(());
    }
    let Some(now) = destination.list(newest).await?.iter().filter_map(|one| one.modified).max() else { return Ok(()) };
    for folder in over(&listed, now) {
        tracing::info!("{folder} is of a comparison that was killed, and goes");
        destination.delete_all_but(&folder, "").await?;
    }
    Ok(())
}

/// The folders in which nothing was written lately.
fn over(listed: &[Listed], now: SystemTime) -> Vec<String> {
    let mut folders: BTreeMap<&str, bool> = BTreeMap::new();
    for one in listed {
        let Some((id, _)) = one.key.strip_prefix(FOLDER).and_then(|rest| rest.split_once('/')) else { continue };
        let age = one.modified.and_then(|modified| now.duration_since(modified).ok());
        *folders.entry(id).or_insert(true) &= age.is_some_and(|age| age >= OVER);
    }
    folders.into_iter().filter(|(_, over)| *over).map(|(id, _)| format!("{FOLDER}{id}/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_anything_new_are_over() {
        let now = SystemTime::now();
        let one = |key: &str, hours: Option<u64>| Listed {
            key: format!("{FOLDER}{key}"),
            size: 1,
            etag: None,
            modified: hours.map(|hours| now - Duration::from_hours(hours)),
        };
        let listed = [
            one("A/shards/000000.parquet", Some(30)),
            one("A/results/0-x.json", Some(29)),
            one("B/shards/000000.parquet", Some(30)),
            one("B/results/0-x.json", Some(1)),
            one("C/shards/000000.parquet", None),
            one("stray", Some(90)),
        ];
        assert_eq!(over(&listed, now), [format!("{FOLDER}A/")]);
        assert!(over(&listed, now - Duration::from_hours(40)).is_empty(), "a clock that is behind removes nothing");
    }
}
