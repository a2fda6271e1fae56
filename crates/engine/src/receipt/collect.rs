//! Collecting what nobody needs any more: receipts before the chain's first, and the records of old runs.
//!
//! Runs after HEAD has changed. What cannot be removed stays and is no harm.

use planner::Result;
use worker::store::Deletion;

use crate::destination::Destination;
use crate::head::HeadFile;

const RECEIPTS: &str = "_millrace/receipts/";
const RUNS: &str = "_millrace/runs/";

/// Removes receipts and records of runs beyond the newest `keep`. Receipts from number `first` on are the chain's and stay,
/// and so do unfinished runs.
///
/// # Errors
/// The store's, of listing.
pub async fn collect(destination: &Destination, head: &HeadFile, first: u64, keep: u64) -> Result<()> {
    let receipts = keys(destination, RECEIPTS).await?;
    let runs = keys(destination, RUNS).await?;
    let mut gone: Vec<Deletion> = Vec::new();
    for (prefix, keys, stale) in [
        (RECEIPTS, &receipts, stale_receipts(&folders(&receipts, RECEIPTS), head, first, keep)),
        (RUNS, &runs, stale_runs(&folders(&runs, RUNS), head, keep)),
    ] {
        gone.extend(keys.iter().filter(|k| folder_of(k, prefix).is_some_and(|f| stale.contains(&f))).map(Deletion::of));
    }
    gone.extend(runs.iter().filter(|key| is_settled(key, head)).map(Deletion::of));
    if gone.is_empty() {
        return Ok(());
    }
    gone.sort_by(|a, b| a.key.cmp(&b.key));
    gone.dedup();
    // The document of a receipt goes last: a folder without one is no receipt.
    gone.sort_by_key(|d| d.key.ends_with("/receipt.json"));
    for (one, end) in gone.iter().zip(destination.control().delete_many(&gone).await) {
        if let Err(error) = end {
            tracing::warn!("{} cannot be removed: {error}", one.key);
        }
    }
    Ok(())
}

/// Plan, journal or attempts of a run that nobody goes on with: its record alone is kept.
fn is_settled(key: &str, head: &HeadFile) -> bool {
    let Some((run, rest)) = key.strip_prefix(RUNS).and_then(|key| key.split_once('/')) else { return false };
    let open = head.unfinished.iter().any(|one| one == run);
    !open && ["plan/", "journal/", "attempts/"].iter().any(|folder| rest.starts_with(folder))
}

async fn keys(destination: &Destination, prefix: &str) -> Result<Vec<String>> {
    Ok(destination.list(prefix).await?.into_iter().map(|one| one.key).collect())
}

fn folder_of<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.split_once('/').map(|(folder, _)| folder)
}

/// The folders of keys below `prefix`, sorted, each once.
fn folders<'a>(keys: &'a [String], prefix: &str) -> Vec<&'a str> {
    let mut all: Vec<&str> = keys.iter().filter_map(|k| folder_of(k, prefix)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Receipts that go: older than the newest `keep` and than the chain. Those that are newer than HEAD are another's work, and
/// names that are none of ours stay.
fn stale_receipts<'a>(folders: &[&'a str], head: &HeadFile, first: u64, keep: u64) -> Vec<&'a str> {
    let oldest = (head.seq + 1).saturating_sub(keep.max(1)).min(first);
    let seq = |folder: &str| folder.split_once('-').and_then(|(seq, _)| seq.parse::<u64>().ok());
    folders.iter().copied().filter(|f| seq(f).is_some_and(|seq| seq < oldest)).collect()
}

/// Runs that go: older than the newest `keep`, and neither unfinished nor HEAD's own. Their ids sort by time.
fn stale_runs<'a>(folders: &[&'a str], head: &HeadFile, keep: u64) -> Vec<&'a str> {
    let newer = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
    let old = folders.len().saturating_sub(newer);
    let needed = |run: &str| head.unfinished.iter().any(|r| r == run) || head.current.as_ref().is_some_and(|c| c.run == run);
    folders[..old].iter().copied().filter(|run| !needed(run) && ulid::Ulid::from_string(run).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(seq: u64, unfinished: &[&str]) -> HeadFile {
        HeadFile { seq, unfinished: unfinished.iter().map(|r| (*r).to_owned()).collect(), ..HeadFile::default() }
    }

    #[test]
    fn receipts_of_the_chain_and_the_newest_stay() {
        let folders = ["00000001-c-r", "00000002-c-r", "00000003-c-r", "00000004-c-r", "00000005-c-r", "notes"];
        assert_eq!(stale_receipts(&folders, &head(4, &[]), 4, 2), ["00000001-c-r", "00000002-c-r"]);
        assert_eq!(stale_receipts(&folders, &head(4, &[]), 2, 2), ["00000001-c-r"]);
        assert_eq!(stale_receipts(&folders, &head(4, &[]), 4, 30), Vec::<&str>::new());
        assert_eq!(stale_receipts(&folders, &head(4, &[]), 4, 0), ["00000001-c-r", "00000002-c-r", "00000003-c-r"]);
    }

    #[test]
    fn runs_that_did_not_finish_stay() {
        let runs: Vec<String> = (1..=5).map(|i| ulid::Ulid::from_parts(i, 0).to_string()).collect();
        let folders: Vec<&str> = runs.iter().map(String::as_str).collect();
        assert_eq!(stale_runs(&folders, &head(1, &[folders[1]]), 2), [folders[0], folders[2]]);
        assert_eq!(stale_runs(&folders, &head(1, &[]), 5), Vec::<&str>::new());
    }
}
