//! What processes that are gone left behind: files that never got their names, and folders with nothing in them.
//!
//! # Consistency
//! Whoever writes a file without a name holds a lock on it ([`Temp`](super::write)), which ends with the process. A file that can
//! be locked is nobody's. Where the file system has no locks nothing can be told, and nothing is removed.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::{Errno, Result};

use super::tree::{TMP, Tree, failure};
use crate::fence;
use crate::store::StoreResult;

/// How deep folders are entered.
const DEPTH: usize = 16;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes such files from every `_millrace/tmp` in `folder`, or from it where it is one, and the folders below it that are
/// empty then. How many files.
pub(super) fn sweep(tree: &Tree, folder: &str) -> StoreResult<u64> {
    fence::check()?;
    let swept = tree.within(folder, false, |at| swept(at, folder, DEPTH))?;
    match swept {
        None => Ok(0),
        Some(Ok(files)) => Ok(files),
        Some(Err(error)) => Err(failure(error).context(format!("sweeping `{folder}`"))),
    }
}

fn swept(folder: &OwnedFd, path: &str, depth: usize) -> Result<u64> {
    let is_tmp = path == TMP || path.ends_with("/_millrace/tmp");
    let mut files = 0;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        match entry.file_type() {
            _ if name == c"." || name == c".." => {}
            FileType::Directory if depth > 0 => {
                // It may be gone by now, or filled.
                let Ok(below) = openat(folder, name, FOLDER, Mode::empty()) else { continue };
                files += swept(&below, &format!("{path}/{}", name.to_string_lossy()), depth - 1)?;
                let _ = unlinkat(folder, name, AtFlags::REMOVEDIR);
            }
            FileType::RegularFile if is_tmp && is_temporary(name) => files += u64::from(remove_if_nobodys(folder, name)?),
            _ => {}
        }
    }
    Ok(files)
}

/// 32 hex digits, as [`Temp`](super::write) calls its files.
fn is_temporary(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit)
}

fn remove_if_nobodys(folder: impl AsFd, name: &CStr) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = openat(&folder, name, flags, Mode::empty()) else { return Ok(false) };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
