//! Scripted faults: which requests meet one, and what happens to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::log::is_write;

/// The process that a [`Fault::Signal`] is sent to. It is named when it was started, after the rule was made.
#[derive(Debug, Clone, Default)]
pub struct Victim(Arc<AtomicI32>);

impl PartialEq for Victim {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Victim {}

impl Victim {
    /// From now on it is this process; 0 for none.
    pub fn is(&self, process: u32) {
        self.0.store(i32::try_from(process).unwrap(), Ordering::SeqCst);
    }

    /// Sends a signal. A process that was only just started may not be named yet.
    pub(crate) fn send(&self, signal: Signal) {
        let begun = Instant::now();
        while self.0.load(Ordering::SeqCst) == 0 && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(process) = Pid::from_raw(self.0.load(Ordering::SeqCst)) {
            // It may have ended meanwhile.
            let _ = kill_process(process, signal);
        }
    }
}

/// What becomes of a request at whose arrival its client was sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not carried out, and its connection is closed.
    Lost,
    /// It is carried out at once.
    Applied,
    /// It is carried out so much later.
    Late(Duration),
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error answer.
    Error {
        /// The HTTP status; 200 hides the error in a good answer, as `CopyObject` and `CompleteMultipartUpload` may.
        status: u16,
        /// The S3 error code.
        code: String,
        /// Is the request carried out nevertheless?
        applied: bool,
    },
    /// A good answer without a body.
    Empty {
        /// Is the request carried out?
        applied: bool,
    },
    /// The connection is closed without an answer; applied, the acknowledgement is lost.
    Reset {
        /// Is the request carried out?
        applied: bool,
    },
    /// No answer, ever.
    Stall {
        /// Is the request carried out?
        applied: bool,
    },
    /// The request is carried out later, even if nobody waits for its answer any more.
    Delay(Duration),
    /// The connection is closed without an answer, and the request is carried out so much later.
    ResetLate(Duration),
    /// When the request has arrived, a process is sent a signal.
    Signal {
        /// The process.
        victim: Victim,
        /// The signal.
        signal: Signal,
        /// And then?
        fate: Fate,
    },
    /// A body is cut after so many bytes, by closing the connection.
    Truncate {
        /// Bytes that are sent.
        after: u64,
    },
    /// A body has only so many bytes, and the head of the answer says the same.
    Shorten {
        /// Bytes that are sent.
        to: u64,
    },
    /// A body stops after so many bytes, and the connection stays.
    StallBody {
        /// Bytes that are sent.
        after: u64,
    },
    /// A bit of the body is wrong in the answer to a `GetObject`.
    FlipAnswer,
    /// A bit of the body is wrong when it arrives; the store refuses it where a checksum was sent.
    FlipArrival,
    /// A bit is wrong of what arrives, or is copied, and the store does not notice: its etag is that of the wrong bytes.
    FlipUnnoticed,
    /// A bit of the body is wrong at rest, and the answer is as if it were right.
    FlipAtRest,
    /// The answer names another etag than that of the object.
    WrongEtag,
    /// The answer names no etag.
    NoEtag,
    /// The object is encrypted by KMS: its etag says nothing about its bytes.
    Kms,
}

impl Fault {
    /// An error answer instead of carrying out the request.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Error { status, code: code.to_owned(), applied: false }
    }

    /// An error answer although the request was carried out.
    pub fn error_but_applied(status: u16, code: &str) -> Self {
        Self::Error { status, code: code.to_owned(), applied: true }
    }

    /// The answer of a store that wants fewer requests.
    pub fn slow_down() -> Self {
        Self::error(503, "SlowDown")
    }

    /// An error inside of a 200.
    pub fn error_in_200(code: &str) -> Self {
        Self::error(200, code)
    }

    /// `kill -9` at a request.
    pub fn kill(victim: &Victim, fate: Fate) -> Self {
        Self::Signal { victim: victim.clone(), signal: Signal::KILL, fate }
    }

    /// Is the request kept from being carried out?
    pub(crate) fn prevents(&self) -> bool {
        match self {
            Self::Signal { fate, .. } => *fate == Fate::Lost,
            Self::Error { applied, .. } | Self::Empty { applied } | Self::Reset { applied } | Self::Stall { applied } => !applied,
            _ => false,
        }
    }
}

/// Which requests are meant.
#[derive(Debug, Clone)]
pub struct Target {
    operation: String,
    bucket: Option<String>,
    key: KeyMatch,
}

#[derive(Debug, Clone)]
enum KeyMatch {
    Any,
    Exact(String),
    Prefix(String),
    Suffix(String),
}

impl Target {
    /// An operation by name (`PutObject`), or `read`, `write` or `*`.
    pub fn on(operation: &str) -> Self {
        Self { operation: operation.to_owned(), bucket: None, key: KeyMatch::Any }
    }

    /// In that bucket only.
    pub fn bucket(mut self, bucket: &str) -> Self {
        self.bucket = Some(bucket.to_owned());
        self
    }

    /// Of that key only.
    pub fn key(mut self, key: &str) -> Self {
        self.key = KeyMatch::Exact(key.to_owned());
        self
    }

    /// Of keys with that prefix only.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.key = KeyMatch::Prefix(prefix.to_owned());
        self
    }

    /// Of keys with that end only.
    pub fn suffix(mut self, suffix: &str) -> Self {
        self.key = KeyMatch::Suffix(suffix.to_owned());
        self
    }

    /// Is that request meant? A request without a key is not meant by a target with one.
    pub(crate) fn matches(&self, operation: &str, bucket: &str, key: Option<&str>) -> bool {
        let operation_fits = match self.operation.as_str() {
            "*" => true,
            "write" => is_write(operation),
            "read" => !is_write(operation),
            name => name == operation,
        };
        let key_fits = match (&self.key, key) {
            (KeyMatch::Any, _) => true,
            (_, None) => false,
            (KeyMatch::Exact(wanted), Some(key)) => wanted == key,
            (KeyMatch::Prefix(prefix), Some(key)) => key.starts_with(prefix.as_str()),
            (KeyMatch::Suffix(suffix), Some(key)) => key.ends_with(suffix.as_str()),
        };
        operation_fits && key_fits && self.bucket.as_deref().is_none_or(|wanted| wanted == bucket)
    }

    pub(crate) fn names_keys(&self) -> bool {
        !matches!(self.key, KeyMatch::Any)
    }
}

/// A fault and the requests that meet it: by default every request that is meant.
#[derive(Debug, Clone)]
pub struct Rule {
    target: Target,
    when: When,
    fault: Fault,
    seen: u64,
    hits: u64,
}

#[derive(Debug, Clone)]
enum When {
    Always,
    Nth(u64),
    First(u64),
    Every(u64),
    Chance { per_mille: u64, state: u64 },
}

impl Rule {
    /// Every request that is meant meets the fault.
    pub fn new(target: Target, fault: Fault) -> Self {
        Self { target, when: When::Always, fault, seen: 0, hits: 0 }
    }

    /// Only the `n`th one, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Only the first `n`.
    pub fn first(mut self, n: u64) -> Self {
        self.when = When::First(n);
        self
    }

    /// Only every `n`th.
    pub fn every(mut self, n: u64) -> Self {
        self.when = When::Every(n);
        self
    }

    /// Each with a chance of so many in a thousand, from a seed.
    pub fn chance(mut self, per_mille: u64, seed: u64) -> Self {
        self.when = When::Chance { per_mille, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 };
        self
    }

    /// How many requests met it.
    pub(crate) fn hits(&self) -> u64 {
        self.hits
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Counts a request; the fault if it meets it.
    pub(crate) fn meet(&mut self, operation: &str, bucket: &str, key: Option<&str>) -> Option<Fault> {
        if !self.target.matches(operation, bucket, key) {
            return None;
        }
        self.seen += 1;
        let seen = self.seen;
        let meets = match &mut self.when {
            When::Always => true,
            When::Nth(n) => seen == *n,
            When::First(n) => seen <= *n,
            When::Every(n) => seen.is_multiple_of(*n),
            When::Chance { per_mille, state } => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                (*state >> 11) % 1000 < *per_mille
            }
        };
        self.hits += u64::from(meets);
        meets.then(|| self.fault.clone())
    }
}
