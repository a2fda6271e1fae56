//! Listing: a walk that follows no link and enters only what the prefix names.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, statat};
use tokio::sync::mpsc::Sender;

use super::tree::{Tree, failure, split};
use crate::store::{Listed, StoreError, StoreResult};

/// Sends every file whose key starts with `prefix`, until the receiver is gone.
pub(super) fn walk(tree: &Arc<Tree>, prefix: &str, found: &Sender<StoreResult<Listed>>) {
    let (folder, start) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    // No file lies below a folder that cannot be named.
    if !folder.is_empty() && split(folder).is_err() {
        return;
    }
    let mut folders = vec![folder.to_owned()];
    let mut start = start;
    while let Some(folder) = folders.pop() {
        match read(tree, &folder, start, &mut folders, found) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => drop(found.blocking_send(Err(error))),
        }
        // Below the first folder everything has the prefix.
        start = "";
    }
}

/// Reads one folder; false when nobody listens any more.
fn read(
    tree: &Tree,
    folder: &str,
    start: &str,
    folders: &mut Vec<String>,
    found: &Sender<StoreResult<Listed>>,
) -> StoreResult<bool> {
    let context = |error: rustix::io::Errno| -> StoreError { failure(error).context(format!("listing `{folder}`")) };
    let Some(entries) = tree.within(folder, false, |folder| Ok((Dir::read_from(folder)?, rustix::io::dup(folder)?)))? else {
        return Ok(true);
    };
    let (entries, handle) = entries.map_err(context)?;
    for entry in entries {
        let entry = entry.map_err(context)?;
        let Ok(name) = entry.file_name().to_str() else {
            tracing::warn!(folder, name = ?entry.file_name(), "a file's name is no UTF-8: it is passed over");
            continue;
        };
        if matches!(name, "." | "..") || !name.starts_with(start) {
            continue;
        }
        let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if entry.file_type() == FileType::Directory {
            folders.push(key);
            continue;
        }
        // Some file systems leave the kind out of the entry; the size is asked for anyway.
        let Ok(found_there) = statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(found_there.st_mode) {
            FileType::Directory => folders.push(key),
            FileType::RegularFile => {
                let size = u64::try_from(found_there.st_size).unwrap_or_default();
                let listed =
                    Listed { key, size, etag: None, modified: modified(found_there.st_mtime, found_there.st_mtime_nsec) };
                if found.blocking_send(Ok(listed)).is_err() {
                    return Ok(false);
                }
            }
            _ => {}
        }
    }
    Ok(true)
}

/// The moment that a file's status tells; `None` where no clock can show it.
fn modified(seconds: impl TryInto<i64>, nanos: impl TryInto<u64>) -> Option<SystemTime> {
    let (seconds, nanos) = (seconds.try_into().ok()?, Duration::from_nanos(nanos.try_into().ok()?));
    let whole = Duration::from_secs(i64::unsigned_abs(seconds));
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    at?.checked_add(nanos)
}
