//! Writing below a root: a temporary file in `_millrace/tmp`, made durable, then named. Objects of a run with a journal are
//! made durable together, before the journal tells of them.
//!
//! # Consistency
//! A conditional put holds an exclusive lock on `_millrace/lock` from looking to naming, so that of two processes on one
//! machine only one wins. Without an object there, the name is given by a hard link, which the file system itself refuses
//! when the name exists.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::hollow;
use super::tree::{OWN, TMP, Tree, failure, io_failure, split};
use super::{etag_holds, open_regular, stat_etag};
use crate::fence;
use crate::store::{Condition, FailureKind, SourceObject, StoreError, StoreResult};

/// How long a conditional put waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A file without a name of its own yet. Dropped before it is published, it is gone.
#[derive(Debug)]
pub(super) struct Temp {
    folder: OwnedFd,
    name: String,
    file: File,
    named: bool,
}

impl Temp {
    /// A new one, locked for as long as it is open, so that a sweep leaves it alone.
    pub(super) fn new(tree: &Tree) -> StoreResult<Self> {
        loop {
            let made = Self::unlocked(tree)?;
            match flock(made.file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                // A sweep had it first; a file that it took has no name any more.
                Err(Errno::WOULDBLOCK) => {}
                Ok(()) if rustix::fs::fstat(&made.file).is_ok_and(|stat| stat.st_nlink == 0) => {}
                // File systems without locks are not swept.
                _ => return Ok(made),
            }
        }
    }

    fn unlocked(tree: &Tree) -> StoreResult<Self> {
        let name = format!("{:032x}", rand::rng().random::<u128>());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = tree.within(TMP, true, |folder| {
            let file = openat(folder, name.as_str(), flags, Mode::from_raw_mode(0o666))?;
            Ok((rustix::io::fcntl_dupfd_cloexec(folder, 0)?, file))
        })?;
        match made {
            Some(Ok((folder, file))) => Ok(Self { folder, name, file: file.into(), named: false }),
            Some(Err(error)) => Err(failure(error).context(format!("making a file in {TMP}"))),
            None => Err(StoreError::new(FailureKind::Unavailable, format!("{TMP} cannot be made"))),
        }
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// A second handle on the same file.
    pub(super) fn handle(&self) -> StoreResult<File> {
        self.file.try_clone().map_err(|error| io_failure(&error))
    }

    /// Makes the bytes durable and gives them the name `key`, whatever was there.
    pub(super) fn publish(mut self, tree: &Tree, key: &str) -> StoreResult<()> {
        self.file.sync_data().map_err(|error| io_failure(&error).context("making the bytes durable"))?;
        self.rename(tree, key)
    }

    /// Gives the bytes the name `key`; they become durable with the next [`Tree::sync`].
    pub(super) fn publish_for_now(mut self, tree: &Tree, key: &str) -> StoreResult<()> {
        self.rename(tree, key)?;
        tree.written();
        Ok(())
    }

    fn rename(&mut self, tree: &Tree, key: &str) -> StoreResult<()> {
        let (parent, leaf) = split(key)?;
        fence::check()?;
        let rename = |folder: &OwnedFd| renameat(&self.folder, self.name.as_str(), folder, leaf);
        let named = tree.within(parent, true, |folder| match rename(folder) {
            Err(error @ (Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY)) => {
                // Stores have no folders: an empty one is nothing.
                hollow::remove(folder, leaf).map_err(|_| error)?;
                rename(folder)
            }
            end => end,
        })?;
        named.unwrap_or(Err(Errno::NOENT)).map_err(|error| naming_failure(error, tree, key))?;
        self.named = true;
        tree.changed(parent);
        Ok(())
    }

    /// The same where `condition` holds, and durable with its name on return.
    pub(super) fn publish_if(mut self, tree: &Tree, key: &str, condition: &Condition) -> StoreResult<()> {
        let (parent, _) = split(key)?;
        let _lock = lock(tree)?;
        match condition {
            Condition::None => self.publish(tree, key)?,
            Condition::Match(etag) => {
                expect_etag(tree, key, etag)?;
                self.publish(tree, key)?;
            }
            Condition::Absent => self.link(tree, key)?,
        }
        tree.sync_folder(parent)
    }

    fn link(&mut self, tree: &Tree, key: &str) -> StoreResult<()> {
        let (parent, leaf) = split(key)?;
        self.file.sync_data().map_err(|error| io_failure(&error).context("making the bytes durable"))?;
        fence::check()?;
        let linked = tree.within(parent, true, |folder| {
            match linkat(&self.folder, self.name.as_str(), folder, leaf, AtFlags::empty()) {
                // No hard links here: the lock is what is left against another one of us.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                    match statat(folder, leaf, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => Err(Errno::EXIST),
                        Err(Errno::NOENT) => renameat(&self.folder, self.name.as_str(), folder, leaf),
                        Err(error) => Err(error),
                    }
                }
                end => end,
            }
        })?;
        match linked.unwrap_or(Err(Errno::NOENT)) {
            Ok(()) => {
                tree.changed(parent);
                Ok(())
            }
            Err(Errno::EXIST) => Err(StoreError::new(FailureKind::Precondition, format!("`{key}` is there already"))),
            Err(error) => Err(naming_failure(error, tree, key)),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.named {
            // Gone already where it was renamed; else a left-over that a later sweep finds.
            let _ = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
        }
    }
}

fn naming_failure(error: Errno, tree: &Tree, key: &str) -> StoreError {
    match error {
        Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => {
            let message = format!("`{key}` below {} is a folder where the object `{key}` must be", tree.root().display());
            StoreError::new(FailureKind::BadKey, message)
        }
        error => failure(error).context(format!("naming `{key}`")),
    }
}

fn expect_etag(tree: &Tree, key: &str, etag: &str) -> StoreResult<()> {
    let there = open_regular(tree, key)?;
    let holds = match &there {
        Some(file) => etag_holds(file, etag)?,
        None => false,
    };
    if holds {
        return Ok(());
    }
    let what = if there.is_some() { "is another one" } else { "is not there" };
    Err(StoreError::new(FailureKind::Precondition, format!("`{key}` {what}")))
}

/// Waits for the lock of a root; it is held until the descriptor is closed.
fn lock(tree: &Tree) -> StoreResult<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = tree.within(OWN, true, |folder| openat(folder, "lock", flags, Mode::from_raw_mode(0o666)))?;
    let file = opened.unwrap_or(Err(Errno::NOENT)).map_err(|error| failure(error).context("opening _millrace/lock"))?;
    let begun = Instant::now();
    loop {
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks: the hard link still guards what is not there yet.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < LOCK_WAIT => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(StoreError::new(FailureKind::TimedOut, "another process holds _millrace/lock"));
            }
            Err(error) => return Err(failure(error).context("locking _millrace/lock")),
        }
    }
}

pub(super) fn put(tree: &Tree, key: &str, body: &[u8], condition: &Condition) -> StoreResult<()> {
    split(key)?;
    let mut temp = Temp::new(tree)?;
    temp.file().write_all(body).map_err(|error| io_failure(&error))?;
    match condition {
        Condition::None => temp.publish(tree, key),
        condition => temp.publish_if(tree, key, condition),
    }
}

/// Copies a file without loading it: by reflink or `copy_file_range` where the system can.
pub(super) fn copy(tree: &Tree, source: &SourceObject, from: &Path, key: &str, sync_later: bool) -> StoreResult<u64> {
    split(key)?;
    let for_now = sync_later && tree.syncs_together();
    let at = &source.location;
    let mut file = File::open(from).map_err(|error| io_failure(&error).context(format!("opening {at}")))?;
    let before = file.metadata().map_err(|error| io_failure(&error))?;
    if !before.is_file() {
        return Err(StoreError::new(FailureKind::NotFound, format!("{at} is no file")));
    }
    if source.if_match.as_ref().is_some_and(|etag| *etag != stat_etag(&before)) {
        return Err(StoreError::new(FailureKind::Precondition, format!("{at} is another file than before")));
    }
    if before.len() != source.size {
        let message = format!("{at} has {} bytes, the commit says {}", before.len(), source.size);
        return Err(StoreError::new(FailureKind::Changed, message));
    }
    let mut temp = Temp::new(tree)?;
    let copied = std::io::copy(&mut file, temp.file()).map_err(|error| io_failure(&error).context(format!("copying {at}")))?;
    let after = file.metadata().map_err(|error| io_failure(&error))?;
    let unchanged = (before.len(), before.mtime(), before.mtime_nsec()) == (after.len(), after.mtime(), after.mtime_nsec());
    if copied != source.size || !unchanged {
        return Err(StoreError::new(FailureKind::Changed, format!("{at} was written to while it was copied")));
    }
    let named = if for_now { temp.publish_for_now(tree, key) } else { temp.publish(tree, key) };
    named.map(|()| copied)
}
