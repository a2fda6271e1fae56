//! The files of a folder that is to be committed: what there is, before any of it is read.
//!
//! Only regular files can be committed. What cannot be, a symbolic link, a pipe, a name that is no UTF-8, is refused by name: a
//! commit that left it out would say that the folder does not have it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use graveler::Timestamp;
use graveler::sstable::MAX_KEY_LEN;
use planner::guard::{is_file_system, is_reserved};
use planner::{Error, ErrorKind, Location, Result};
use worker::{FailureKind, Registry, RequestClass, Store};

/// Offenders that are named in a message.
const NAMED: usize = 10;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Its path below the folder.
    pub(super) key: String,
    /// Bytes.
    pub(super) size: u64,
    /// When it was written, where that is known.
    pub(super) modified: Option<Timestamp>,
    /// Of stores that list etags.
    pub(super) etag: Option<String>,
}

/// A folder and its files, sorted by the bytes of their keys.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) location: Location,
    pub(super) store: Arc<dyn Store>,
    pub(super) files: Vec<SourceFile>,
    /// Files of Millrace's own at an export's destination, which are no part of its data.
    pub(super) left_out: u64,
}

impl Folder {
    /// Lists the folder at `location`. Keys that would be too long below `prefix` are refused.
    pub(super) async fn list(registry: &Registry, location: &Location, prefix: &str) -> Result<Self> {
        let location = location.as_folder();
        let store = registry.open(&location, RequestClass::Data)?;
        let (mut files, mut refused) = match location.file_path() {
            Some(path) => walk_aside(path).await?,
            None => (list_store(store.as_ref(), &location).await?, Refused::default()),
        };
        let all = files.len();
        files.retain(|file| !is_reserved(&file.key));
        let left_out = (all - files.len()) as u64;
        files.sort_unstable_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        for file in files.iter().filter(|file| prefix.len() + file.key.len() > MAX_KEY_LEN) {
            refused.add(&file.key, "has a path of more than 1,024 bytes");
        }
        refused.check(&location)?;
        Ok(Self { location, store, files, left_out })
    }

    /// Files may be written to while they are read.
    pub(super) fn is_local(&self) -> bool {
        is_file_system(self.location.scheme())
    }
}

/// What cannot be committed.
#[derive(Debug, Default)]
struct Refused {
    named: Vec<String>,
    count: usize,
}

impl Refused {
    fn add(&mut self, key: &str, why: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("`{}` {why}", key.escape_debug()));
        }
    }

    fn check(&self, folder: &Location) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let more =
            if self.count > self.named.len() { format!(", and {} more", self.count - self.named.len()) } else { String::new() };
        Err(Error::usage(format!("{folder} holds what cannot be committed: {}{more}", self.named.join(", ")))
            .with_help("nothing was committed: only regular files with names in UTF-8 can be; move the others out of the folder"))
    }
}

async fn list_store(store: &dyn Store, location: &Location) -> Result<Vec<SourceFile>> {
    let listed = store.list("").map_ok(|one| SourceFile {
        key: one.key,
        size: one.size,
        modified: one.modified.and_then(|at| timestamp(chrono::DateTime::<chrono::Utc>::from(at))),
        etag: one.etag,
    });
    // The empty object that some programs put in the place of the folder itself.
    let listed = listed.try_filter(|file| std::future::ready(!file.key.is_empty()));
    let files: Vec<_> = match listed.try_collect().await {
        Ok(files) => files,
        Err(error) if error.kind == FailureKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into_error(location, format!("{location} cannot be listed"))),
    };
    if files.is_empty() {
        return Err(missing(location).with_help("check the prefix: nothing lies below it"));
    }
    Ok(files)
}

fn timestamp(at: chrono::DateTime<chrono::Utc>) -> Option<Timestamp> {
    Some(Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().try_into().ok()? })
}

fn missing(location: &Location) -> Error {
    Error::usage(format!("there is no folder {location}"))
}

async fn walk_aside(path: PathBuf) -> Result<(Vec<SourceFile>, Refused)> {
    let walked = tokio::task::spawn_blocking(move || walk(&path)).await;
    walked.map_err(|error| Error::bug(format!("the walk through the folder ended early: {error}")))?
}

/// Every file below `root`. Links are not followed, but for one that is the root itself.
fn walk(root: &Path) -> Result<(Vec<SourceFile>, Refused)> {
    // Without the slash at its end a file is a file, and not a folder that cannot be opened.
    let root: PathBuf = root.components().collect();
    match std::fs::metadata(&root) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let message = format!("{} is a file, not a folder", root.display());
            return Err(Error::usage(message).with_help("name the folder it is in"));
        }
        Err(error) => return Err(unreadable(&root, &error)),
    }
    let mut walk = Walk { folders: vec![(root, String::new())], ..Walk::default() };
    while let Some((folder, prefix)) = walk.folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))? {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            let key = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_name().to_str().is_none() {
                walk.refused.add(&key, "has a name that is no UTF-8");
                continue;
            }
            walk.take(entry.path(), key)?;
        }
    }
    Ok((walk.files, walk.refused))
}

#[derive(Debug, Default)]
struct Walk {
    /// Still to be read, with what keys below them begin with.
    folders: Vec<(PathBuf, String)>,
    files: Vec<SourceFile>,
    refused: Refused,
}

impl Walk {
    fn take(&mut self, path: PathBuf, key: String) -> Result<()> {
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            // Gone since it was listed: as if it had never been there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        if found.is_dir() {
            self.folders.push((path, format!("{key}/")));
        } else if found.is_file() {
            let nanos = i32::try_from(found.mtime_nsec()).unwrap_or_default();
            let modified = Some(Timestamp { seconds: found.mtime(), nanos });
            self.files.push(SourceFile { key, size: found.len(), modified, etag: None });
        } else {
            self.refused.add(&key, if found.is_symlink() { "is a symbolic link" } else { "is neither a file nor a folder" });
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let at = path.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::usage(format!("there is no folder {at}")).with_help("check the path");
    }
    Error::new(ErrorKind::Unreachable, format!("{at} cannot be read: {error}")).with_help("check its permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_files_and_refuses_the_rest_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/x"), "12").unwrap();
        std::fs::write(at("a.b"), "").unwrap();
        let (mut files, refused) = walk(dir.path()).unwrap();
        assert!(refused.check(&Location::parse("/x").unwrap()).is_ok());
        files.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(files.iter().map(|f| (&*f.key, f.size)).collect::<Vec<_>>(), [("a.b", 0), ("a/b/x", 2)]);
        std::os::unix::fs::symlink("a.b", at("a/link")).unwrap();
        let (_, refused) = walk(dir.path()).unwrap();
        let error = refused.check(&Location::parse("/x").unwrap()).unwrap_err();
        assert!(error.message().contains("`a/link` is a symbolic link"), "{error}");
        assert_eq!(walk(&at("nowhere")).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(walk(&at("a.b")).unwrap_err().kind(), ErrorKind::Usage);
    }
}
