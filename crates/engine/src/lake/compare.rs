//! The files of a folder beside what a branch has below a prefix: both in the byte order of their keys.

use std::cmp::Ordering;

use bytes::Bytes;
use futures::TryStreamExt;
use graveler::{Metarange, Namespace, Record};
use planner::{Part, Result};

use super::files::SourceFile;

/// What the branch has at a file's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) size: i64,
    pub(super) etag: String,
}

/// What the folder means to the branch, as far as can be told without reading a file.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// For each file, what the branch has at its path.
    pub(super) old: Vec<Option<Old>>,
    /// Keys that the branch has and the folder has not.
    pub(super) removed: Vec<Bytes>,
}

/// Compares `files`, which are sorted, with everything of `tree` that starts with `prefix`.
pub(super) async fn compare(namespace: &Namespace, tree: &Metarange, prefix: &str, files: &[SourceFile]) -> Result<Comparison> {
    let part = Part::new(prefix);
    let ranges = tree.ranges().iter().filter(|range| part.overlaps(&range.min_key, &range.max_key)).cloned().collect();
    let mut records = namespace.records(&Metarange::new(tree.id(), ranges)?);
    let mut compared = Comparison { old: Vec::with_capacity(files.len()), removed: Vec::new() };
    while let Some(record) = records.try_next().await? {
        if let Some(key) = record.key.strip_prefix(prefix.as_bytes()) {
            compared.meet(key, &record, files)?;
        }
    }
    compared.old.resize(files.len(), None);
    Ok(compared)
}

impl Comparison {
    /// Takes the branch's next record; the files before it are new.
    fn meet(&mut self, key: &[u8], record: &Record, files: &[SourceFile]) -> Result<()> {
        while let Some(file) = files.get(self.old.len()) {
            match file.key.as_bytes().cmp(key) {
                Ordering::Less => self.old.push(None),
                Ordering::Equal => {
                    let entry = record.entry()?;
                    self.old.push(Some(Old { size: entry.size, etag: entry.etag.to_owned() }));
                    return Ok(());
                }
                Ordering::Greater => break,
            }
        }
        self.removed.push(Bytes::clone(&record.key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use graveler::{Entry, encode};

    use super::*;

    fn record(key: &'static str, size: i64) -> Record {
        let mut data = Vec::new();
        let entry = Entry { size, e_tag: "e".to_owned(), ..Entry::default() };
        let identity = encode::entry_record(&entry, &mut data);
        Record { key: key.into(), identity: identity.to_vec().into(), data: data.into() }
    }

    #[test]
    fn files_and_records_meet_in_order() {
        let file = |key: &str| SourceFile { key: key.to_owned(), size: 1, modified: None, etag: None };
        let files: Vec<_> = ["a", "a.b", "a/b", "c"].into_iter().map(file).collect();
        let mut compared = Comparison::default();
        for (key, size) in [("a.b", 1), ("a0", 2), ("b", 3)] {
            compared.meet(key.as_bytes(), &record(key, size), &files).unwrap();
        }
        compared.old.resize(files.len(), None);
        let sizes: Vec<_> = compared.old.iter().map(|old| old.as_ref().map(|old| old.size)).collect();
        assert_eq!(sizes, [None, Some(1), None, None]);
        assert_eq!(compared.removed, ["a0", "b"]);
    }
}
