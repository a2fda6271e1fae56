//! A folder and what lies below it, opened segment by segment and never through a symbolic link.
//!
//! # Overview
//! Every folder is opened from its parent's descriptor with `O_NOFOLLOW`. Whoever can write below the root can thus not
//! lead a write out of it by a link. The root itself is opened as it was named, links and all. Open folders are kept; one
//! that turns out to be gone (another row pruned it) empties the cache and the step is done again.
//!
//! # Crash consistency
//! Folders whose entries changed are remembered until [`Tree::sync`], and so is that files were written which are to become
//! durable then. A failure to do so is for good: the system tells it once, and not whose bytes are lost.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::together;
use crate::store::{FailureKind, StoreError, StoreResult};

/// Millrace's own folder below a root.
pub(super) const OWN: &str = "_millrace";
/// Where files lie until they are whole.
pub(super) const TMP: &str = "_millrace/tmp";

const KEPT_FOLDERS: usize = 256;
const REMEMBERED_FOLDERS: usize = 4096;
/// How often a step is done again because a folder vanished under it.
const AGAIN: usize = 16;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One root, shared by every store below it.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    folders: Mutex<HashMap<String, Arc<OwnedFd>>>,
    unsynced: Mutex<Unsynced>,
    /// Held while changes become durable: whoever asks meanwhile must not be told that theirs are.
    syncing: Mutex<()>,
    /// The root, where one call makes all files durable. Kept open: it tells of what failed since it was opened.
    together: OnceLock<Option<OwnedFd>>,
    /// Why files that were to become durable may be lost.
    lost: OnceLock<StoreError>,
    /// Copies at once that wait for no disk.
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct Unsynced {
    folders: BTreeSet<String>,
    /// There were more than are remembered one by one.
    many: bool,
}

/// A folder in the way of becoming a descriptor.
enum Opened {
    Kept(Arc<OwnedFd>),
    Fresh(Arc<OwnedFd>),
    Missing,
}

impl Tree {
    /// The tree below `root`, which is made with the first write.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            root,
            folders: Mutex::default(),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            together: OnceLock::new(),
            lost: OnceLock::new(),
            turns: Semaphore::new(cores * 2),
        }
    }

    pub(super) fn root(&self) -> &PathBuf {
        &self.root
    }

    /// Runs `step` in the folder `parent`, which is made where it is missing and `create` says so. `None` when the folder,
    /// or what `step` looks for in it, is not there.
    pub(super) fn within<T>(
        &self,
        parent: &str,
        create: bool,
        step: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> StoreResult<Option<rustix::io::Result<T>>> {
        for _ in 0..AGAIN {
            let (folder, kept) = match self.folder(parent, create)? {
                Opened::Kept(folder) => (folder, true),
                Opened::Fresh(folder) => (folder, false),
                Opened::Missing if create => continue,
                Opened::Missing => return Ok(None),
            };
            match step(&folder) {
                // The folder may have been removed since it was opened; then it is to be opened, or made, again.
                Err(Errno::NOENT) if kept || create => self.forget_all(),
                Err(Errno::NOENT) => return Ok(None),
                end => return Ok(Some(end)),
            }
        }
        if create {
            let message = format!("the folder `{parent}` vanishes as often as it is made");
            return Err(StoreError::new(FailureKind::Unavailable, message));
        }
        Ok(None)
    }

    fn folder(&self, path: &str, create: bool) -> StoreResult<Opened> {
        if let Some(kept) = self.folders().get(path) {
            return Ok(Opened::Kept(Arc::clone(kept)));
        }
        let opened = if path.is_empty() {
            self.open_root(create)?
        } else {
            let (up, name) = path.rsplit_once('/').unwrap_or(("", path));
            match self.folder(up, create)? {
                Opened::Missing => None,
                Opened::Kept(up_folder) | Opened::Fresh(up_folder) => self.open_child(&up_folder, up, name, create)?,
            }
        };
        let Some(opened) = opened.map(Arc::new) else {
            // A kept ancestor may be a folder that is gone.
            self.forget_all();
            return Ok(Opened::Missing);
        };
        let mut folders = self.folders();
        if folders.len() >= KEPT_FOLDERS {
            folders.clear();
        }
        folders.insert(path.to_owned(), Arc::clone(&opened));
        Ok(Opened::Fresh(opened))
    }

    fn open_root(&self, create: bool) -> StoreResult<Option<OwnedFd>> {
        let at = self.root.display();
        if create {
            std::fs::create_dir_all(&self.root).map_err(|error| io_failure(&error).context(format!("making the folder {at}")))?;
        }
        match rustix::fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(root) => Ok(Some(root)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => {
                Err(StoreError::new(FailureKind::NoBucket, format!("{at} is not a folder: it or one above it is a file")))
            }
            Err(error) => Err(failure(error).context(format!("opening {at}"))),
        }
    }

    fn open_child(&self, up: &OwnedFd, up_path: &str, name: &str, create: bool) -> StoreResult<Option<OwnedFd>> {
        loop {
            match openat(up, name, FOLDER, Mode::empty()) {
                Ok(folder) => return Ok(Some(folder)),
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) => match mkdirat(up, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) => self.changed(up_path),
                    Err(Errno::EXIST) => {}
                    Err(Errno::NOENT) => return Ok(None),
                    Err(error) => return Err(failure(error).context(format!("making the folder `{}`", joined(up_path, name)))),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => return self.in_the_way(up, up_path, name, create),
                Err(error) => return Err(failure(error).context(format!("opening the folder `{}`", joined(up_path, name)))),
            }
        }
    }

    /// What stands where a folder must be.
    fn in_the_way(&self, up: &OwnedFd, up_path: &str, name: &str, create: bool) -> StoreResult<Option<OwnedFd>> {
        let path = joined(up_path, name);
        let root = self.root.display();
        match statat(up, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Symlink) => {
                let message = format!("`{path}` below {root} is a symbolic link, and links are not followed there");
                Err(StoreError::new(FailureKind::BadKey, message))
            }
            // To a reader, nothing lies below a file.
            _ if !create => Ok(None),
            _ => {
                let message = format!("`{path}` below {root} is a file where a folder must be");
                Err(StoreError::new(FailureKind::BadKey, message))
            }
        }
    }

    /// Removes the empty folders from `folder` upwards; never the root, never Millrace's own.
    pub(super) fn prune(&self, folder: &str) {
        let mut at = folder;
        while !at.is_empty() && at != OWN && at != TMP {
            let (up, name) = at.rsplit_once('/').unwrap_or(("", at));
            let removed = self.within(up, false, |up| unlinkat(up, name, AtFlags::REMOVEDIR));
            // Not empty, or not ours to remove: either way it stays, and so do its parents.
            if !matches!(removed, Ok(Some(Ok(())))) {
                return;
            }
            self.folders().remove(at);
            self.changed(up);
            at = up;
        }
    }

    /// Remembers that entries of `folder` changed.
    pub(super) fn changed(&self, folder: &str) {
        let mut unsynced = self.unsynced();
        if unsynced.folders.len() >= REMEMBERED_FOLDERS {
            unsynced.many = true;
        } else if !unsynced.folders.contains(folder) {
            unsynced.folders.insert(folder.to_owned());
        }
    }

    /// Whether [`Tree::sync`] makes files durable as well. To be asked before they are written.
    pub(super) fn syncs_together(&self) -> bool {
        let open = || self.open_root(true).ok().flatten().filter(together::is_possible);
        self.together.get_or_init(open).is_some()
    }

    /// Waits for a turn to copy, where copies only keep the cores busy.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let busy = self.together.get().is_some_and(Option::is_some);
        if busy { self.turns.acquire().await.ok() } else { None }
    }

    /// Remembers that a file was written and is not durable.
    pub(super) fn written(&self) {
        self.unsynced().many = true;
    }

    /// Nothing waits to become durable, and nothing was lost: a tree that is opened anew knows as much.
    pub(crate) fn is_at_rest(&self) -> bool {
        let unsynced = self.unsynced();
        unsynced.folders.is_empty() && !unsynced.many && self.lost.get().is_none()
    }

    /// Makes all changes of folders durable, and the files that were left to it.
    pub(crate) fn sync(&self) -> StoreResult<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = self.lost.get() {
            return Err(error.clone());
        }
        let Unsynced { folders, many } = std::mem::take(&mut *self.unsynced());
        let end = match self.together.get() {
            Some(Some(root)) if many => Ok(Some(sync_file_system(root))),
            _ if many => self.within("", false, sync_file_system),
            _ => folders.iter().try_for_each(|folder| self.sync_folder(folder)).map(|()| None),
        };
        let error = match end {
            Ok(None | Some(Ok(()))) => return Ok(()),
            Ok(Some(Err(error))) => {
                let error = failure(error).context("making changes durable");
                if self.syncs_together() {
                    let _ = self.lost.set(error.clone());
                }
                error
            }
            Err(error) => error,
        };
        // What was not synced is still to be: the next call must not believe otherwise.
        self.unsynced().many = true;
        Err(error)
    }

    pub(super) fn sync_folder(&self, folder: &str) -> StoreResult<()> {
        match self.within(folder, false, |folder| rustix::fs::fsync(folder))? {
            // A folder that is gone has nothing to lose.
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failure(error).context(format!("making changes of `{folder}` durable"))),
        }
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<String, Arc<OwnedFd>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_all(&self) {
        self.folders().clear();
    }
}

#[cfg(target_os = "linux")]
fn sync_file_system(root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::syncfs(root)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_root: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

fn joined(up: &str, name: &str) -> String {
    if up.is_empty() { name.to_owned() } else { format!("{up}/{name}") }
}

/// Folder and name of a key that a file system can hold as it is.
pub(super) fn split(key: &str) -> StoreResult<(&str, &str)> {
    let bad =
        |why: &str| Err(StoreError::new(FailureKind::BadKey, format!("no file can be named `{}`: {why}", key.escape_debug())));
    if key.is_empty() {
        return bad("the key is empty");
    }
    for segment in key.split('/') {
        match segment {
            "" => return bad("it has an empty segment, or a slash at its start or end"),
            "." | ".." => return bad("it has a `.` or `..` segment"),
            long if long.len() > 255 => return bad("a segment is longer than 255 bytes"),
            nul if nul.contains('\0') => return bad("it holds a NUL"),
            _ => {}
        }
    }
    Ok(key.rsplit_once('/').unwrap_or(("", key)))
}

/// The failure behind an error of the operating system.
pub(super) fn failure(error: Errno) -> StoreError {
    let kind = match error {
        Errno::NOENT => FailureKind::NotFound,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FailureKind::Full,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => FailureKind::Denied,
        Errno::NAMETOOLONG | Errno::ILSEQ | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => FailureKind::BadKey,
        Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM => FailureKind::Throttled,
        Errno::STALE | Errno::TIMEDOUT | Errno::INTR => FailureKind::Unavailable,
        _ => FailureKind::Other,
    };
    StoreError::new(kind, std::io::Error::from(error).to_string())
}

pub(super) fn io_failure(error: &std::io::Error) -> StoreError {
    match Errno::from_io_error(error) {
        Some(errno) => failure(errno),
        None => StoreError::new(FailureKind::Other, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_for_now_is_synced_with_the_rest_and_a_loss_is_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path().join("root"));
        let together = tree.syncs_together();
        assert_eq!(together, tree.together.get().is_some_and(Option::is_some));
        assert!(dir.path().join("root").is_dir(), "what failed before it was opened would not be told");
        tree.written();
        tree.changed("");
        assert!(tree.unsynced().many);
        tree.sync().unwrap();
        assert!(!tree.unsynced().many && tree.unsynced().folders.is_empty());
        let lost = StoreError::new(FailureKind::Other, "input/output error");
        tree.lost.set(lost.clone()).unwrap();
        assert_eq!((tree.sync().unwrap_err(), tree.sync().unwrap_err()), (lost.clone(), lost));
    }
}
