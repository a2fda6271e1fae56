//! What stands in a folder of this machine where an object, or a folder above it, must be: told while planning, so that no run
//! finds it out midway. A look at each folder, and at each object that is new where its folder is there already: looks at all that
//! are written would be minutes on a slow file system.
//!
//! A symbolic link in the place of the object itself is no obstacle: the object takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    Folder,
    Link,
    /// Or anything else that is no folder.
    File,
}

impl There {
    fn at(path: &Path) -> Self {
        match fs::symlink_metadata(path).map(|found| found.file_type()) {
            Ok(kind) if kind.is_dir() => Self::Folder,
            Ok(kind) if kind.is_symlink() => Self::Link,
            Ok(_) => Self::File,
            // What cannot be looked at is told by whoever needs it.
            Err(_) => Self::Nothing,
        }
    }
}

/// A destination in a folder, looked at key by key.
#[derive(Debug)]
pub(super) struct Obstacles {
    root: PathBuf,
    /// The folders above the last key, from the outermost inwards: keys come in the order of their bytes.
    above: Vec<(String, There)>,
    /// Keys to be written that are folders.
    folders: BTreeSet<String>,
    /// Keys below these that go before anything is written.
    going: BTreeSet<String>,
    /// Files that go before anything is written below their names.
    made_way: BTreeSet<String>,
    /// Files where folders must be, each with the first key below it that is written.
    files: BTreeMap<String, String>,
}

impl Obstacles {
    /// Of a destination at `root`; `None` where nothing is there yet.
    pub(super) fn new(root: PathBuf) -> Option<Self> {
        root.is_dir().then(|| Self {
            root,
            above: Vec::new(),
            folders: BTreeSet::new(),
            going: BTreeSet::new(),
            made_way: BTreeSet::new(),
            files: BTreeMap::new(),
        })
    }

    /// The first thing above `key` that is no folder.
    pub(super) fn above(&mut self, key: &str) -> Option<(&str, There)> {
        let is_above = |folder: &str| key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        while self.above.last().is_some_and(|(folder, _)| !is_above(folder)) {
            self.above.pop();
        }
        let from = self.above.last().map_or(0, |(folder, _)| folder.len() + 1);
        for (at, _) in key[from..].match_indices('/') {
            if self.above.last().is_some_and(|(_, there)| *there != There::Folder) {
                break;
            }
            let folder = &key[..from + at];
            self.above.push((folder.to_owned(), There::at(&self.root.join(folder))));
        }
        self.above
            .last()
            .filter(|(_, there)| matches!(there, There::Link | There::File))
            .map(|(folder, there)| (folder.as_str(), *there))
    }

    /// `key` is written, and no link is above it. Not looked at is one that `base` has: an object is there, and no folder.
    pub(super) fn written(&mut self, key: &str, base: bool) {
        if let Some((folder, There::File)) = self.above(key) {
            let folder = folder.to_owned();
            self.files.entry(folder).or_insert_with(|| key.to_owned());
            return;
        }
        let is_there = self.above.last().is_none_or(|(_, there)| *there == There::Folder);
        if is_there && !base && There::at(&self.root.join(key)) == There::Folder {
            self.folders.insert(key.to_owned());
        }
    }

    /// The file goes before anything is written below its name.
    pub(super) fn makes_way(&mut self, file: String) {
        self.made_way.insert(file);
    }

    /// Files where folders must be that do not go, each with a key that is to be written below it.
    pub(super) fn files_that_stay(&self) -> impl Iterator<Item = (&str, &str)> {
        let stay = self.files.iter().filter(|(file, _)| !self.made_way.contains(*file));
        stay.map(|(file, key)| (file.as_str(), key.as_str()))
    }

    /// `key` is deleted, before anything is written where it is in the way.
    pub(super) fn goes(&mut self, key: &str) {
        if !self.folders.is_empty() && key.match_indices('/').any(|(at, _)| self.folders.contains(&key[..at])) {
            self.going.insert(key.to_owned());
        }
    }

    /// Keys to be written that are folders, each with something in it that stays. `is_own`: a key that is put away otherwise.
    pub(super) fn folders_that_stay(&self, is_own: impl Fn(&str) -> bool) -> Vec<(&str, String)> {
        let goes = |key: &str| self.going.contains(key) || is_own(key);
        self.folders.iter().filter_map(|key| Some((key.as_str(), self.stays(key, &goes)?))).collect()
    }

    /// Something in a folder that does not go. Folders without files are nothing.
    fn stays(&self, folder: &str, goes: &impl Fn(&str) -> bool) -> Option<String> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder)).ok()?.flatten() {
                let key = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(key);
                } else if !goes(&key) {
                    return Some(key);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told_and_what_does_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["a/b", "hollow/deep", "full/sub", "going"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["a/file", "full/sub/x", "going/y"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("a"), at("a/link")).unwrap();
        let mut all = Obstacles::new(dir.path().to_owned()).unwrap();
        assert_eq!(all.above("a/b/c/d/e"), None);
        assert_eq!(all.above("a/file"), None);
        assert_eq!(all.above("a/file/x/y"), Some(("a/file", There::File)));
        assert_eq!(all.above("a/file/x/z"), Some(("a/file", There::File)));
        assert_eq!(all.above("a/file2"), None);
        assert_eq!(all.above("a/link/x"), Some(("a/link", There::Link)));
        for key in ["a/link", "full", "going", "hollow", "new/x"] {
            assert_eq!(all.above(key), None, "{key}");
            all.written(key, false);
        }
        for key in ["a/file/x/y", "a/file/x/z", "full/sub/x/y"] {
            all.written(key, false);
        }
        all.written("full/sub", true);
        all.makes_way("full/sub/x".to_owned());
        assert_eq!(all.files_that_stay().collect::<Vec<_>>(), [("a/file", "a/file/x/y")]);
        all.goes("going/y");
        all.goes("a/file");
        assert_eq!(all.folders_that_stay(|_| false), [("full", "full/sub/x".to_owned())]);
        assert!(all.folders_that_stay(|key| key.ends_with("/x")).is_empty());
        assert!(Obstacles::new(at("nowhere")).is_none());
    }
}
