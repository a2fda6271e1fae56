//! Folders that hold nothing but folders: to a reader of objects they are not there, and so they may not be in the way.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, Result};

/// How deep empty folders may be nested.
const DEPTH: usize = 128;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the folder `name` of `up` with the folders in it. An error, and nothing is removed, where any of them holds
/// something else. Links are not followed.
pub(super) fn remove(up: impl AsFd, name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::INVAL)?;
    check(up.as_fd(), &name, DEPTH)?;
    clear(up.as_fd(), &name)
}

fn check(up: impl AsFd, name: &CStr, depth: usize) -> Result<()> {
    let folder = openat(up, name, FOLDER, Mode::empty())?;
    each(&folder, |kind, child| match kind {
        FileType::Directory | FileType::Unknown if depth > 0 => check(&folder, child, depth - 1),
        _ => Err(Errno::NOTEMPTY),
    })
}

/// A folder that was filled since it was checked stays: its own removal fails.
fn clear(up: impl AsFd, name: &CStr) -> Result<()> {
    let folder = openat(&up, name, FOLDER, Mode::empty())?;
    each(&folder, |_, child| clear(&folder, child))?;
    unlinkat(up, name, AtFlags::REMOVEDIR)
}

fn each(folder: &OwnedFd, mut step: impl FnMut(FileType, &CStr) -> Result<()>) -> Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            step(entry.file_type(), entry.file_name())?;
        }
    }
    Ok(())
}
