//! Whether a server obeys the conditions that keep two writers apart: S3 says so, not everything that speaks it does.
//!
//! # Consistency
//! HEAD was just written, and is asked to be written once more where an etag is that nothing has. A server that obeys refuses.
//! One that does not obey now has a HEAD that says so, with everything else as it was; so nothing has to be put back, whatever becomes of
//! the answer. What was found out is in HEAD from its next change on, and is not asked again.

use std::time::Duration;

use planner::Result;
use worker::FailureKind;
use worker::store::Condition;

use crate::destination::Destination;
use crate::head::{Head, HeadFile, Obedience};

/// The etag of nothing.
const NO_ETAG: &str = "00000000000000000000000000000000";

/// HEAD as it is after the probe, with what was found out; and how long the probe may still be applied, where it had no
/// answer.
///
/// # Errors
/// HEAD cannot be read after a probe that had no answer.
pub(super) async fn probe(destination: &Destination, now: Head, longest: Duration) -> Result<(Head, Option<Duration>)> {
    if now.file.obedience(destination).is_some() {
        return Ok((now, None));
    }
    let ignored = now.with(|file| file.found_out(destination, Obedience::Ignored));
    match Head::put_if(destination, &ignored, Condition::Match(NO_ETAG.to_owned())).await {
        Ok(head) if head.has_version() => Ok((head, None)),
        Err(error) if error.kind == FailureKind::Precondition => Ok((knowing(now, destination, Obedience::Obeyed), None)),
        Err(error) if error.kind == FailureKind::Unsupported => Ok((knowing(now, destination, Obedience::Refused), None)),
        // Any other answer (a conflict, a refusal, a trouble of the server) tells nothing of conditions, and the next run asks
        // again. What was answered is not applied any more; only a probe without an answer may be.
        end => {
            let there = Head::read(destination).await?;
            let head = if there.file.nonce == ignored.nonce { there } else { now };
            Ok((head, end.is_err_and(|error| error.unanswered).then_some(longest)))
        }
    }
}

fn knowing(mut head: Head, destination: &Destination, are: Obedience) -> Head {
    head.file.found_out(destination, are);
    head
}

/// What a person should know of a destination that two exports at once would damage.
pub(super) fn weakness(head: &HeadFile, destination: &Destination) -> Option<String> {
    let how = match head.obedience(destination)? {
        Obedience::Obeyed => return None,
        Obedience::Ignored => "ignores",
        Obedience::Refused => "refuses",
    };
    Some(format!(
        "the server of {} {how} conditions on uploads (If-Match, If-None-Match): see to it that one export at a time runs to it",
        destination.status()
    ))
}
