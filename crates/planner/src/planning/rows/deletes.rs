//! Deletes: before the copies where they are in the way of one, after them else.

use super::{Assembly, Judged, Relation, last};
use crate::blocking::Fate;
use crate::error::Result;
use crate::plan::{Action, Row, StepKey};
use crate::round::Rounds;

/// A delete that may still turn out to be in the way of a copy.
pub(super) struct Deletion {
    pub(super) key: String,
    pub(super) path: String,
    pub(super) size: Option<i64>,
    pub(super) etag: Option<String>,
    pub(super) round: i32,
    pub(super) reason: &'static str,
}

impl Assembly<'_> {
    /// Size of the base's entry, and the etag that a delete may insist on: that of the object at the destination, where it is
    /// known to be the entry's.
    pub(super) fn left(&self, judged: &Judged<'_>, i: usize) -> (Option<i64>, Option<String>) {
        let (size, etag) = judged.left(i);
        // What an unfinished run may have left, or has left, is another object.
        let known = !judged.batch.touched.value(i);
        let same = size.and_then(|size| u64::try_from(size).ok()).is_some_and(|size| size < self.same_etags_below);
        (size, etag.filter(|etag| known && same && is_md5(etag)))
    }

    pub(super) fn delete(&mut self, deletion: Deletion) -> Result<()> {
        if let Some(exact) = self.exact.as_mut().filter(|_| self.part.names(&deletion.path)) {
            // An object below the folder of its name, which comes later, may take the key.
            exact.delete = Some(deletion);
            return Ok(());
        }
        self.delete_now(deletion)
    }

    pub(super) fn delete_now(&mut self, deletion: Deletion) -> Result<()> {
        self.rows += 1;
        let round = self.rounds.deletes().unwrap_or(deletion.round);
        self.overview.row(round, Action::Delete, &deletion.key, deletion.size, deletion.reason);
        if !self.rules.file_system {
            return self.write_delete(&deletion, 2);
        }
        self.fate(&deletion.key, Fate::Deleted);
        self.goes(&deletion.key);
        self.waiting.push(deletion);
        self.settle_deletes()
    }

    /// Writes the deletes of which it is known by now whether they are in a copy's way.
    pub(super) fn settle_deletes(&mut self) -> Result<()> {
        if self.waiting.is_empty() && self.relations.is_empty() {
            return Ok(());
        }
        for relation in std::mem::take(&mut self.relations) {
            match relation {
                Relation::Collision { file, below } => {
                    self.refusals.add(&file, &format!("is a file and `{}` needs it to be a folder", below.escape_debug()));
                }
                Relation::Blocking { key } => {
                    if let Some(at) = self.waiting.iter().position(|d| d.key == key) {
                        let deletion = self.waiting.remove(at);
                        self.write_delete(&deletion, 0)?;
                    }
                }
            }
        }
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|d| self.paths.is_open(&d.key));
        self.waiting = stay;
        go.iter().try_for_each(|d| self.write_delete(d, 2))
    }

    pub(super) fn write_delete(&mut self, d: &Deletion, order: i32) -> Result<()> {
        let row = Row { size: d.size, etag: d.etag.as_deref(), ..Row::of_key(&d.key, &d.path, d.reason) };
        let step = match self.rounds.deletes() {
            // What is in the way of a copy goes before any round copies.
            _ if order == 0 => StepKey { name: "blocking", ..StepKey::new(Rounds::DATA, 0, Action::Delete) },
            Some(round) => last::delete_step(round, d.round, self.rounds.own(&d.key).map(|own| own.1), &d.key),
            None => StepKey::new(d.round, order, Action::Delete),
        };
        self.writer.append(step, &row)
    }
}

/// Has the form of an MD5 in hex.
fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|digit| digit.is_ascii_hexdigit())
}
