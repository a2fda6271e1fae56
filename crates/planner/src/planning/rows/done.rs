//! Done files: retracted before anything below their folder changes, whoever wrote them, and written when all is done.

use std::collections::BTreeSet;

use super::markers::Sights;
use super::{Assembly, Judged};
use crate::directories::{Closed, RowFacts};
use crate::error::Result;
use crate::plan::{Action, Row, StepKey};
use crate::round::{DONE_FILE, MARKER, Rounds};
use crate::table::Lookup;

/// What becomes of a folder's done file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    retract: bool,
    write: bool,
}

/// What is there under a done file's key before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    /// The base has written it.
    Own,
    /// Somebody else has.
    Foreign,
}

/// `wanted`: the target has the folder, and it matches.
fn fate(changed: bool, there: There, wanted: bool) -> Fate {
    let retract = match there {
        // One that nobody knows of goes as well before its folder changes: an earlier run may have left it.
        _ if wanted => changed,
        There::Nothing => false,
        There::Own => true,
        There::Foreign => changed,
    };
    Fate { retract, write: wanted && (changed || there != There::Own) }
}

/// What was looked up of a folder's done file.
#[derive(Debug, Default)]
pub(super) struct DoneSeen {
    wanted: bool,
    ours: bool,
    /// Bytes of somebody else's file under its key; not looked at where nothing follows from it.
    foreign: Option<u64>,
}

impl Sights<'_> {
    pub(super) async fn done_file(&self, closed: &Closed) -> Result<DoneSeen> {
        let folder = folder_of(closed);
        let Some(key) = self.done.0.and_then(|done| done.key(folder)) else { return Ok(DoneSeen::default()) };
        let there = closed.present.0 || self.lookup.is_some();
        let wanted = closed.present.1 || self.has_objects(folder).await?;
        let ours = there && self.done.1.and_then(|done| done.key(folder)).as_ref() == Some(&key);
        let matters = !ours && (wanted || closed.changed || self.full);
        let foreign = if matters { self.size_there(&key).await? } else { None };
        Ok(DoneSeen { wanted, ours, foreign })
    }

    /// Bytes of what is at the destination under a key of no commit.
    async fn size_there(&self, key: &str) -> Result<Option<u64>> {
        match (self.listed.get(key), self.looks) {
            (Some(size), _) => Ok(Some(*size)),
            (None, Some(looks)) => looks.size(key).await,
            (None, None) => Ok(None),
        }
    }

    /// The target has something in the folder that the stream does not see.
    async fn has_objects(&self, folder: &str) -> Result<bool> {
        let Some(lookup) = self.lookup else { return Ok(false) };
        Ok(!lookup.first(&self.part.path_of(folder), 1).await?.is_empty())
    }
}

impl Assembly<'_> {
    /// Done files that were written.
    pub(in crate::planning) fn done_files(&self) -> u64 {
        self.done_files
    }

    pub(super) fn has_done_files(&self) -> bool {
        self.rounds.done().is_some() || self.old_done.is_some() || !self.left_done.is_empty()
    }

    /// Takes the row of a done file that neither commit has: what an unfinished run may have left is the folder's affair,
    /// or goes first where the folder has no such file any more. False for any other row.
    pub(super) fn done_row(&mut self, judged: &Judged<'_>, i: usize, key: &str, target: bool) -> Result<bool> {
        let is_new = self.rounds.done().is_some_and(|(_, done)| done.is_key(key));
        let is_known = is_new || self.old_done.as_ref().is_some_and(|done| done.is_key(key));
        if judged.batch.has_left.value(i) || judged.batch.has_right.value(i) {
            if target && is_new {
                self.refusals.add(key, "is an object of the commit and the name of the done file");
            }
            return Ok(false);
        }
        if is_known {
            let facts = RowFacts { changed: true, present: (true, false), ..RowFacts::default() };
            self.directories.row(key, facts, &mut self.closed);
            return Ok(true);
        }
        let is_left = self.left_done.iter().any(|done| done.is_key(key));
        if is_left && self.left_gone.insert(key.to_owned()) {
            self.retract_done(key)?;
        }
        Ok(is_left)
    }

    /// Decides over the done file of a folder that the stream has left.
    pub(super) async fn done_file(&mut self, closed: &Closed, seen: &DoneSeen, lookup: Option<&Lookup>) -> Result<()> {
        let folder = folder_of(closed);
        let new = self.rounds.done().and_then(|(round, done)| Some((round, done.key(folder)?)));
        let old = self.old_done.as_ref().and_then(|done| done.key(folder));
        self.left_file(folder, closed, [new.as_ref().map(|(_, key)| key), old.as_ref()])?;
        if new.is_none() && old.is_none() {
            return Ok(());
        }
        let there = closed.present.0 || lookup.is_some();
        if let Some(old) = old.as_ref().filter(|old| there && new.as_ref().is_none_or(|(_, new)| new != *old)) {
            self.retract_done(old)?;
        }
        let Some((round, key)) = new else { return Ok(()) };
        let DoneSeen { wanted, ours, foreign } = *seen;
        let there = match foreign {
            _ if ours => There::Own,
            Some(_) => There::Foreign,
            None => There::Nothing,
        };
        let Fate { retract, write } = fate(closed.changed || self.full, there, wanted);
        // One that an earlier run left is empty.
        if let Some(bytes) = foreign.filter(|bytes| *bytes > 0 && (retract || write)) {
            self.noticed.replaced(&key, bytes);
        }
        if retract {
            self.retract_done(&key)?;
        }
        if write {
            self.write_done(round, &key, lookup).await?;
        }
        Ok(())
    }

    /// What another view's runs wrote into the folder goes before it changes. `taken` are keys that are decided over otherwise.
    fn left_file(&mut self, folder: &str, closed: &Closed, taken: [Option<&String>; 2]) -> Result<()> {
        let there = |key: &String| self.listed.contains_key(key) && !taken.contains(&Some(key)) && !self.left_gone.contains(key);
        let keys = self.left_done.iter().filter_map(|done| done.key(folder)).filter(there);
        let keys: BTreeSet<String> = keys.filter(|_| closed.changed).collect();
        for key in keys {
            self.retract_done(&key)?;
            self.left_gone.insert(key);
        }
        Ok(())
    }

    fn retract_done(&mut self, key: &str) -> Result<()> {
        let depth = depth(key);
        self.goes(key);
        self.rows += 1;
        self.overview.row(Rounds::RETRACT, Action::Retract, key, None, DONE_FILE);
        let step = StepKey::new(Rounds::RETRACT, depth, Action::Retract).at_depth(depth);
        self.writer.append(step, &Row::of_key(key, &self.part.path_of(key), DONE_FILE))
    }

    async fn write_done(&mut self, round: i32, key: &str, lookup: Option<&Lookup>) -> Result<()> {
        let path = self.part.path_of(key);
        if let Some(lookup) = lookup
            && lookup.get(&path).await?.is_some()
        {
            self.refusals.add(key, "is an object of the commit and the name of the done file");
        }
        self.check_key(key, false);
        let depth = depth(key);
        self.rows += 1;
        self.done_files += 1;
        self.overview.row(round, Action::Copy, key, Some(0), DONE_FILE);
        let step = StepKey::new(round, -depth, Action::Copy).at_depth(depth);
        self.writer.append(step, &Row { size: Some(0), ..Row::of_key(key, &path, DONE_FILE) })
    }
}

/// With its slash; empty for the root.
fn folder_of(closed: &Closed) -> &str {
    &closed.key[..closed.key.len() - MARKER.len()]
}

fn depth(key: &str) -> i32 {
    i32::try_from(key.matches('/').count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_done_file_goes_before_a_change_and_comes_back_where_the_folder_is_there() {
        use There::{Foreign, Nothing, Own};
        for (changed, there, wanted, retract, write) in [
            (true, Own, true, true, true),
            (true, Nothing, true, true, true),
            (false, Own, true, false, false),
            (false, Nothing, true, false, true),
            (true, Own, false, true, false),
            (false, Own, false, true, false),
            (false, Nothing, false, false, false),
            (true, Foreign, true, true, true),
            (false, Foreign, true, false, true),
            (true, Foreign, false, true, false),
            (false, Foreign, false, false, false),
        ] {
            assert_eq!(fate(changed, there, wanted), Fate { retract, write }, "{changed} {there:?} {wanted}");
        }
    }
}
