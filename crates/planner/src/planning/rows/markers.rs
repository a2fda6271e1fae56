//! Completion markers: which go before anything changes, and which come when all is done. Among them those that neither
//! commit has: whoever wrote them, they speak for a folder that changes.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::Assembly;
use super::done::DoneSeen;
use crate::directories::{Closed, Decision, MarkerRow};
use crate::entry::EntryRow;
use crate::error::Result;
use crate::named::Named;
use crate::part::Part;
use crate::plan::{Action, Row, StepKey};
use crate::round::{Done, MARKER, Rounds};
use crate::stores::Looks;
use crate::table::Lookup;

/// Look-ups under way at a time.
const LOOKUPS: usize = 32;

/// What is noted of markers and done files.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    held: Named,
    foreign: Named,
    replaced: Named,
}

impl Noticed {
    /// A file of somebody else's gives way to a done file.
    pub(super) fn replaced(&mut self, key: &str, bytes: u64) {
        self.replaced.add(format!("{key} ({bytes} bytes)"));
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let held = self.held.note("completion marker(s) held back, because not everything below is selected");
        let foreign =
            self.foreign.note("completion marker(s) that no commit has are deleted, because what lies below them changes");
        let replaced = self.replaced.note("file(s) of somebody else's have the names of done files and give way to them");
        [held, foreign, replaced].into_iter().flatten()
    }
}

/// Where is looked up what the stream of rows does not show.
pub(super) struct Sights<'a> {
    pub(super) part: &'a Part,
    /// The target, where not all of it is in the stream.
    pub(super) lookup: Option<&'a Lookup>,
    pub(super) looks: Option<&'a dyn Looks>,
    files: bool,
    retracts: bool,
    pub(super) full: bool,
    /// Done files of the target's view and of the base's.
    pub(super) done: (Option<&'a Done>, Option<&'a Done>),
    pub(super) listed: &'a BTreeMap<String, u64>,
}

/// A directory that the stream has left, and what was looked up of it.
struct Seen {
    one: Closed,
    /// The marker, which both commits have.
    marker: Option<EntryRow>,
    /// An object of the target under the directory's own name.
    file: Option<EntryRow>,
    /// A marker is at the destination that neither commit has.
    stranger: bool,
    done: DoneSeen,
}

impl Sights<'_> {
    async fn see(&self, one: Closed) -> Result<Seen> {
        let (mut marker, mut file) = (None, None);
        if let Some(lookup) = self.lookup {
            let path = self.part.path_of(&one.key);
            if self.retracts && one.covers_changes && one.marker.is_none() {
                marker = lookup.get(&path).await?;
            }
            let folder = path[..path.len() - MARKER.len()].trim_end_matches('/');
            if self.files && one.covers_writes && !folder.is_empty() && !self.part.path_of("").starts_with(folder) {
                file = lookup.get_unseen(folder).await?;
            }
        }
        let stranger = match self.looks.filter(|_| self.retracts && marker.is_none() && one.may_hide_one()) {
            Some(looks) => looks.size(&one.key).await?.is_some(),
            None => false,
        };
        let done = self.done_file(&one).await?;
        Ok(Seen { one, marker, file, stranger, done })
    }
}

impl Assembly<'_> {
    /// Decides over the directories that the stream has left.
    pub(in crate::planning) async fn markers(&mut self, lookup: Option<&Lookup>) -> Result<()> {
        self.files_over_folders(lookup).await?;
        let closed = std::mem::take(&mut self.closed);
        let retracts = self.rounds.retracts();
        let done = (self.rounds.done().map(|(_, done)| done), self.old_done.as_ref());
        let (files, full, listed) = (self.rules.file_system, self.full, self.listed);
        let sights = Sights { part: self.part, lookup, looks: self.looks, files, retracts, full, done, listed };
        let seen = stream::iter(closed).map(|one| sights.see(one)).buffered(LOOKUPS);
        let seen: Vec<Seen> = seen.try_collect().await?;
        for Seen { mut one, marker, file, stranger, done } in seen {
            if let Some(file) = file {
                let key = self.part.re_root(&file.path).unwrap_or(&file.path);
                self.refusals.add(key, "is a file in the same commit as objects below it");
            }
            self.done_file(&one, &done, lookup).await?;
            if !self.rounds.has_markers() {
                continue;
            }
            if one.marker.is_none() {
                one.marker =
                    marker.map(|entry| MarkerRow { base: Some(entry.clone()), target: Some(entry), ..MarkerRow::default() });
            }
            let there = stranger || self.listed.contains_key(&one.key);
            let base = one.marker.as_ref().and_then(|m| m.base.as_ref()).map(|entry| entry.address.clone());
            let decision = one.decide(self.full, there, !retracts);
            if let Some(address) = base.filter(|address| decision.retract && self.destruction.hits(address)) {
                self.refusals.add_destruction(&decision.key, &address);
            }
            self.decided(decision)?;
        }
        Ok(())
    }

    fn decided(&mut self, decision: Decision) -> Result<()> {
        let Decision { key, retract, publish, held, in_view, foreign, reason } = decision;
        self.objects += u64::from(in_view);
        if held {
            self.noticed.held.add(key.clone());
        }
        let depth = i32::try_from(key.matches('/').count()).unwrap_or(i32::MAX);
        if retract && !self.is_reserved(&key) {
            if foreign {
                self.noticed.foreign.add(key.clone());
            }
            self.goes(&key);
            self.rows += 1;
            self.overview.row(Rounds::RETRACT, Action::Retract, &key, None, reason);
            let step = StepKey::new(Rounds::RETRACT, depth, Action::Retract).at_depth(depth);
            self.writer.append(step, &Row::of_key(&key, &self.part.path_of(&key), reason))?;
        }
        let Some(entry) = publish else { return Ok(()) };
        self.check_key(&key, false);
        if self.destruction.hits(&entry.address) {
            self.refusals.add_destruction(&key, &entry.address);
        }
        self.rows += 1;
        self.overview.row(self.rounds.markers(), Action::Copy, &key, Some(entry.size), reason);
        let step = StepKey::new(self.rounds.markers(), -depth, Action::Copy).at_depth(depth);
        self.writer.append(step, &Row::of_entry(&key, &entry, reason))
    }
}
