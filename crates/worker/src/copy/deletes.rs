//! Deletes: of what is believed to be there, and of nothing newer.
//!
//! # Consistency
//! A delete that knows the etag of what it is to delete insists on it, so that one which the store applies late does not hit
//! what a later run wrote. When there is another object in time, somebody else wrote it while this run was the only one that
//! may: a key of the export holds what the commit says, so the object goes, but only the one that was seen, and the row's outcome
//! says so.

use std::sync::atomic::Ordering;

use futures::{StreamExt, stream};
use planner::plan::Action;

use super::object::Copier;
use super::row::{Done, Row};
use crate::outcome::OVERWRITTEN;
use crate::store::{Deletion, FailureKind, SINGLE_DELETES, StoreError, StoreResult, etag_md5};

const TAKES_NO_ETAGS: &str =
    "refuses deletes that insist on an etag: objects are deleted without, also those that somebody else has written since";

impl Copier {
    /// Deletes the objects of many rows: one end each, in their order.
    pub(super) async fn delete_many(&self, rows: &[Row]) -> Vec<StoreResult<Done>> {
        let deletions: Vec<Deletion> = rows.iter().map(|row| self.deletion(row)).collect();
        self.budget(1).scope(self.delete_all(&deletions)).await
    }

    /// Markers that are retracted are all alike: what protects them is that runs wait for one another.
    fn deletion(&self, row: &Row) -> Deletion {
        let conditional = row.action() == Some(Action::Delete) && self.destination.capabilities().etag_is_md5;
        let if_match = row.etag().filter(|_| conditional).and_then(etag_md5).map(hex::encode);
        Deletion { if_match, ..Deletion::of(row.key()) }
    }

    async fn delete_all(&self, deletions: &[Deletion]) -> Vec<StoreResult<Done>> {
        if self.takes_no_conditions.load(Ordering::Relaxed) {
            return done(self.delete_whatever(deletions.iter()).await);
        }
        let mut ends = self.destination.delete_many(deletions).await;
        self.without_conditions(deletions, &mut ends).await;
        let others = (0..ends.len()).filter(|at| deletions[*at].if_match.is_some() && is_other(&ends[*at]));
        let others: Vec<(usize, Deletion)> = others.map(|at| (at, deletions[at].clone())).collect();
        let settle = |(at, one): (usize, Deletion)| async move { (at, self.delete_other(&one).await) };
        let settled: Vec<_> = stream::iter(others).map(settle).buffer_unordered(SINGLE_DELETES).collect().await;
        let mut ends = done(ends);
        for (at, end) in settled {
            ends[at] = end;
        }
        ends
    }

    async fn delete_whatever(&self, deletions: impl Iterator<Item = &Deletion>) -> Vec<StoreResult<()>> {
        let deletions: Vec<Deletion> = deletions.map(|one| Deletion::of(&one.key)).collect();
        self.destination.delete_many(&deletions).await
    }

    /// A store that knows no conditional deletes, or credentials that may not compare, must not keep objects from being deleted:
    /// what was refused goes without a condition. When that is better, nothing else is asked for.
    async fn without_conditions(&self, deletions: &[Deletion], ends: &mut [StoreResult<()>]) {
        let refused: Vec<usize> =
            (0..ends.len()).filter(|at| deletions[*at].if_match.is_some() && is_refusal(&ends[*at])).collect();
        let Some(first) = refused.first().and_then(|at| ends[*at].as_ref().err().cloned()) else { return };
        let again = self.delete_whatever(refused.iter().map(|at| &deletions[*at])).await;
        if again.iter().any(Result::is_ok) && !self.takes_no_conditions.swap(true, Ordering::Relaxed) {
            self.registry.warn_once(self.destination.location(), TAKES_NO_ETAGS, &first);
        }
        for (at, end) in refused.into_iter().zip(again) {
            ends[at] = end;
        }
    }

    /// Something else is at the key than what is to be deleted.
    async fn delete_other(&self, wanted: &Deletion) -> StoreResult<Done> {
        let key = wanted.key.as_str();
        let Some(there) = self.destination.head(key).await? else { return Ok(Done::default()) };
        if there.etag == wanted.if_match {
            // It is the very one: the store does not compare as it should.
            return self.destination.delete(key).await.map(|()| Done::default());
        }
        let end = self.destination.delete_if(key, &there.etag.unwrap_or_default()).await;
        end.map(|()| Done { proof: Some(OVERWRITTEN.into()), ..Done::default() }).map_err(|error| match error.kind {
            FailureKind::Precondition => StoreError::new(
                FailureKind::Precondition,
                "somebody else writes it at this moment: run again when that has ended",
            ),
            _ => error,
        })
    }
}

fn done(ends: Vec<StoreResult<()>>) -> Vec<StoreResult<Done>> {
    ends.into_iter().map(|end| end.map(|()| Done::default())).collect()
}

fn is_other(end: &StoreResult<()>) -> bool {
    end.as_ref().is_err_and(|error| error.kind == FailureKind::Precondition)
}

/// The store does not take the condition: 501, a 400 that says that the request is wrong, or a 403 where comparing needs a
/// permission of its own.
fn is_refusal(end: &StoreResult<()>) -> bool {
    let refusals = [FailureKind::Unsupported, FailureKind::Invalid, FailureKind::Denied];
    end.as_ref().is_err_and(|error| refusals.contains(&error.kind))
}
