//! Whether the file system of a folder tells `Readme` from `README`: seen from names that are there, nothing is written.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use planner::Folding;

/// Names of a folder that are tried.
const TRIED: usize = 32;

/// What the file system that `folder` is on, or will be on once it is made, does not tell apart.
pub(super) fn probe(folder: &Path) -> Folding {
    let Some(there) = folder.ancestors().find_map(|at| Some((at, at.metadata().ok()?))) else { return decide(None) };
    decide(within(there.0).or_else(|| upwards(there.0, &there.1)))
}

/// Systems that fold case spell names anew as well; Apple's does so even where it tells case apart. Where no name says
/// anything, the file system is taken for what its system makes by default.
fn decide(folds_case: Option<bool>) -> Folding {
    let apple = cfg!(target_vendor = "apple");
    let case = folds_case.unwrap_or(apple || cfg!(windows));
    Folding { case, normal: case || apple }
}

/// What the names in `folder` say.
fn within(folder: &Path) -> Option<bool> {
    let entries = folder.read_dir().ok()?.take(TRIED);
    entries.filter_map(Result::ok).find_map(|entry| folds(folder, &entry.file_name()))
}

/// What the names of the folders above say, as far as they are on the same file system.
fn upwards(folder: &Path, metadata: &Metadata) -> Option<bool> {
    let real = folder.canonicalize().ok()?;
    let above = real.ancestors().zip(real.ancestors().skip(1));
    let mut here = above.take_while(|(_, up)| up.metadata().is_ok_and(|m| m.dev() == metadata.dev()));
    here.find_map(|(at, up)| folds(up, at.file_name()?))
}

/// Whether `name` in `folder` is found in the other case; `None` where it has no letters, or is a file of its own there.
fn folds(folder: &Path, name: &OsStr) -> Option<bool> {
    let name = name.to_str()?;
    let other = other_case(name)?;
    let there = folder.join(name).symlink_metadata().ok()?;
    match folder.join(other).symlink_metadata() {
        Ok(found) => Some((found.dev(), found.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn other_case(name: &str) -> Option<String> {
    let flip = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    name.contains(|c: char| c.is_ascii_alphabetic()).then(|| name.chars().map(flip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_tells_case_apart_is_known_by_its_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("12"), "").unwrap();
        std::fs::write(dir.path().join("Name"), "").unwrap();
        // Where both can be, they are two.
        std::fs::write(dir.path().join("nAME"), "").unwrap();
        let apart = std::fs::read_dir(dir.path()).unwrap().count() == 3;
        assert_eq!(within(dir.path()), Some(!apart));
        assert_eq!(probe(&dir.path().join("not/there/yet")).case, !apart);
        let empty = tempfile::tempdir_in(dir.path()).unwrap();
        assert_eq!(within(empty.path()), None);
        assert_eq!(upwards(empty.path(), &empty.path().metadata().unwrap()), Some(!apart));
    }

    #[test]
    fn what_is_seen_decides_and_the_system_where_nothing_is() {
        assert_eq!(decide(Some(true)), Folding { case: true, normal: true });
        assert!(!decide(Some(false)).case);
        assert_eq!(decide(None).case, cfg!(any(target_vendor = "apple", windows)));
        assert_eq!(other_case("a1B_é").as_deref(), Some("A1b_é"));
        assert_eq!(other_case("12_é"), None);
    }
}
