//! What receipt and commit say of an object's bytes.

use worker::prove::{Sought, Wrong};

use super::group::Group;
use super::report::Kind;

/// Of a group whose listing was right.
pub(super) fn sought(group: Group) -> Sought {
    let recorded = group.recorded.filter(|r| r.present);
    let wanted = group.wanted;
    let size = recorded.as_ref().and_then(|r| r.size).or_else(|| wanted.as_ref().and_then(|w| w.size));
    // What was taken although it had drifted is not what the entry's etag says.
    let etag = match &recorded {
        Some(recorded) if recorded.is_drifted() => None,
        Some(recorded) => recorded.etag.clone(),
        None => wanted.and_then(|w| w.etag),
    };
    let checksum = recorded.and_then(|r| r.checksum);
    Sought { key: group.key, size: size.and_then(|size| u64::try_from(size).ok()), checksum, etag }
}

impl From<Wrong> for Kind {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Missing => Self::Missing,
            Wrong::Changed => Self::Changed,
            Wrong::Unreadable => Self::Unreadable,
        }
    }
}
