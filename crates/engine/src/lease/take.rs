//! Taking the lease: at once where nobody holds it, after a watch where somebody did.

use std::sync::Arc;
use std::time::Duration;

use planner::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use worker::FailureKind;
use worker::fence::since_boot;

use super::document::{Holder, LeaseFile};
use super::{Lease, LeaseOptions, millis, probe};
use crate::destination::Destination;
use crate::head::{Head, HeadFile, Obedience};
use crate::progress::Progress;

/// How often a held lease is looked at.
const LOOKED_AT: Duration = Duration::from_millis(500);

/// What a watcher has seen of another's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    nonce: String,
    /// Its process had ended by then.
    gone: bool,
    since: u64,
}

impl Seen {
    fn now(head: &HeadFile, gone: bool) -> Self {
        Self { nonce: head.nonce.clone(), gone, since: since_boot() }
    }

    /// Nothing has changed since: neither HEAD nor whether its holder lives.
    fn still(&self, head: &HeadFile, gone: bool) -> bool {
        self.nonce == head.nonce && self.gone == gone
    }
}

/// What to do about a lease that stands in HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is free.
    Take,
    /// Look again after this time.
    Wait(Duration),
    /// Its holder lives.
    Held,
}

/// Decides over HEAD as it is now, from what was seen of it before. `gone`: the holder's process has ended, on this machine;
/// `settled`: what it had sent cannot be applied any more because of that.
fn verdict(head: &HeadFile, seen: Option<&Seen>, now: u64, gone: bool, settled: bool) -> Verdict {
    let Some(lease) = &head.lease else { return Verdict::Take };
    match seen {
        Some(seen) if seen.nonce != head.nonce && !gone => Verdict::Held,
        // It ended while it was watched, or its last words arrive late: what it sent last is waited for anew.
        Some(seen) if !seen.still(head, gone) => Verdict::Wait(LOOKED_AT),
        None if gone && settled => Verdict::Take,
        None => Verdict::Wait(LOOKED_AT),
        Some(seen) => {
            let ttl = if gone { 0 } else { lease.ttl_ms };
            let longest = if gone && settled { 0 } else { lease.longest_ms };
            let left = (seen.since.saturating_add(ttl).saturating_add(longest)).saturating_sub(now);
            if left == 0 { Verdict::Take } else { Verdict::Wait(Duration::from_millis(left.min(millis(LOOKED_AT)))) }
        }
    }
}

/// Waits until the lease of `destination` can be taken: HEAD as it is then. Writes nothing.
///
/// # Errors
/// `Guard` when another run holds it and lives, the store's, `Interrupted` when `stop` is cancelled while it waits.
pub async fn watch(destination: &Destination, stop: &CancellationToken, progress: &dyn Progress) -> Result<Head> {
    let mut seen: Option<Seen> = None;
    loop {
        let head = Head::read(destination).await?;
        let holder = head.file.lease.as_ref();
        let gone = holder.is_some_and(|lease| lease.holder.is_gone());
        // What an ended process did to this machine's files is done.
        let settled = destination.location().scheme() == planner::Scheme::File;
        match verdict(&head.file, seen.as_ref(), since_boot(), gone, settled) {
            Verdict::Held => return Err(held(destination, holder)),
            Verdict::Take => return Ok(head),
            Verdict::Wait(time) => {
                if !seen.as_ref().is_some_and(|seen| seen.still(&head.file, gone)) {
                    seen = Some(Seen::now(&head.file, gone));
                    progress.note(&waiting(holder, gone));
                }
                let stopped = || Error::new(ErrorKind::Interrupted, "stopped while it waited for another run");
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = stop.cancelled() => return Err(stopped()),
                }
            }
        }
    }
}

impl Lease {
    /// Takes the lease of `destination` for `run`, when HEAD is still as it was read; `None` when somebody else was quicker.
    /// `stop` is cancelled when the lease is lost.
    ///
    /// # Errors
    /// The store's.
    pub async fn take(
        destination: &Destination,
        head: &Head,
        run: &str,
        options: LeaseOptions,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<Self>>> {
        let lease = LeaseFile {
            run: run.to_owned(),
            counter: 0,
            holder: if options.shared { Holder { boot: String::new(), ..Holder::this() } } else { Holder::this() },
            ttl_ms: millis(options.ttl),
            longest_ms: millis(options.longest),
            cancel: None,
        };
        let mut body = head.with(|file| {
            file.generation += 1;
            file.lease = Some(lease.clone());
        });
        let issued = since_boot();
        let mut put = head.put(destination, &body).await;
        if matches!(&put, Err(error) if error.kind == FailureKind::Unsupported) {
            body.found_out(destination, Obedience::Refused);
            put = head.put(destination, &body).await;
        }
        let now = match put {
            Ok(now) if now.has_version() => now,
            // What is there decides, whatever the answer was.
            end => match Head::read(destination).await? {
                now if now.file.nonce == body.nonce => now,
                now => match end {
                    Err(error) if error.kind != FailureKind::Precondition && now.is_version_of(head) => {
                        return Err(destination.failed(error, format!("{} cannot be written", crate::head::HEAD_KEY)));
                    }
                    _ => return Ok(None),
                },
            },
        };
        let (now, unanswered) = probe::probe(destination, now, options.longest).await?;
        let doubt = now.file.doubt.as_ref().map(super::DoubtFile::left).max(unanswered);
        let lease = Self::new(destination, now, options, issued, stop.clone());
        if let Some(left) = doubt {
            lease.fence.doubt(left);
        }
        Ok(Some(lease))
    }
}

fn waiting(holder: Option<&LeaseFile>, gone: bool) -> String {
    let Some(lease) = holder else { return "waiting for the destination".to_owned() };
    let ttl = if gone { 0 } else { lease.ttl_ms };
    let most = (ttl + lease.longest_ms).div_ceil(1000);
    let why = if gone { "ended without letting go" } else { "holds the destination, or did when it died" };
    format!("{} {why}: waiting up to {most} s", lease.shown())
}

pub(crate) fn held(destination: &Destination, holder: Option<&LeaseFile>) -> Error {
    let who = holder.map_or_else(|| "another run".to_owned(), LeaseFile::shown);
    let at = destination.status();
    Error::guard(format!("{who} is exporting to {}", destination.location()))
        .with_help(format!("wait for it with `millrace wait {at}`, or stop it with `millrace cancel {at}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(nonce: &str) -> HeadFile {
        let lease = LeaseFile {
            run: "r".into(),
            counter: 1,
            holder: Holder::default(),
            ttl_ms: 60_000,
            longest_ms: 30_000,
            cancel: None,
        };
        HeadFile { lease: Some(lease), nonce: nonce.into(), ..HeadFile::default() }
    }

    #[test]
    fn a_free_lease_is_taken_and_a_living_holder_is_left_alone() {
        assert_eq!(verdict(&HeadFile::default(), None, 0, false, false), Verdict::Take);
        let seen = Seen { nonce: "a".into(), gone: false, since: 1000 };
        assert_eq!(verdict(&head("a"), None, 0, false, false), Verdict::Wait(LOOKED_AT));
        assert_eq!(verdict(&head("b"), Some(&seen), 1500, false, false), Verdict::Held);
    }

    #[test]
    fn a_lease_that_does_not_move_is_taken_after_its_time_and_the_longest_request() {
        let seen = Seen { nonce: "a".into(), gone: false, since: 1000 };
        assert_eq!(verdict(&head("a"), Some(&seen), 90_999, false, false), Verdict::Wait(Duration::from_millis(1)));
        assert_eq!(verdict(&head("a"), Some(&seen), 91_000, false, false), Verdict::Take);
    }

    #[test]
    fn of_a_process_that_ended_only_the_longest_request_is_waited_for() {
        let seen = Seen { nonce: "a".into(), gone: true, since: 1000 };
        assert_eq!(verdict(&head("a"), Some(&seen), 30_999, true, false), Verdict::Wait(Duration::from_millis(1)));
        assert_eq!(verdict(&head("a"), Some(&seen), 31_000, true, false), Verdict::Take);
        assert_eq!(verdict(&head("a"), None, 0, true, true), Verdict::Take);
        assert_eq!(verdict(&head("b"), Some(&seen), 31_000, true, false), Verdict::Wait(LOOKED_AT), "its last renewal came late");
        let alive = Seen { gone: false, ..seen };
        assert_eq!(
            verdict(&head("a"), Some(&alive), 31_000, true, false),
            Verdict::Wait(LOOKED_AT),
            "it died while it was watched"
        );
    }
}
