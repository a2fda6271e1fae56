//! The operation log: every request, in the true order of effects.
//!
//! A request takes its place in the log at the moment it is evaluated, under the same lock under which it is applied;
//! one that never gets that far (refused, reset, stalled) takes it when it ends.

use std::{collections::BTreeMap, fmt, ops::Deref, time::Instant};

/// One request.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its place in the order of effects; starts at 1 and is never used again, not even after the log was cleared.
    pub seq: u64,
    /// When its head had arrived.
    pub started: Instant,
    /// When its answer was ready; none while it is under way.
    pub ended: Option<Instant>,
    /// `PutObject`, …; `?` when it was refused before it was known.
    pub operation: String,
    /// The bucket; empty for `ListBuckets`.
    pub bucket: String,
    /// The key, the prefix of a listing, or empty.
    pub key: String,
    /// The keys of `DeleteObjects`.
    pub keys: Vec<String>,
    /// The etags that `DeleteObjects` insists on, by key.
    pub etags: BTreeMap<String, String>,
    /// Bucket and key of what is copied.
    pub source: Option<(String, String)>,
    /// The multipart upload.
    pub upload: Option<String>,
    /// The number of the part.
    pub part: Option<i32>,
    /// The conditions of the request, such as `if-match: "…"`.
    pub conditions: BTreeMap<String, String>,
    /// The status that was answered; 0 when there was no answer.
    pub status: u16,
    /// The code of the error that was answered, also inside of a 200.
    pub code: Option<String>,
    /// Bytes of payload that were received.
    pub received: u64,
    /// Bytes of payload that were sent.
    pub sent: u64,
    /// Who asked.
    pub access_key: Option<String>,
    /// Did it change the store (or was there, for a delete, nothing left to change)?
    pub applied: bool,
    /// The etag of the object afterwards.
    pub etag: Option<String>,
    /// The scripted fault that it met.
    pub fault: Option<String>,
}

impl Op {
    pub(crate) fn new() -> Self {
        Self {
            seq: 0,
            started: Instant::now(),
            ended: None,
            operation: "?".to_owned(),
            bucket: String::new(),
            key: String::new(),
            keys: Vec::new(),
            etags: BTreeMap::new(),
            source: None,
            upload: None,
            part: None,
            conditions: BTreeMap::new(),
            status: 0,
            code: None,
            received: 0,
            sent: 0,
            access_key: None,
            applied: false,
            etag: None,
            fault: None,
        }
    }

    /// Is it of a kind that changes the store?
    pub fn is_write(&self) -> bool {
        is_write(&self.operation)
    }

    /// Does it name a key with that prefix in that bucket, be it as one of many or as a source?
    pub fn touches(&self, bucket: &str, prefix: &str) -> bool {
        let own = self.bucket == bucket && (self.key.starts_with(prefix) || self.keys.iter().any(|key| key.starts_with(prefix)));
        own || self.source.as_ref().is_some_and(|source| source.0 == bucket && source.1.starts_with(prefix))
    }
}

/// Is an operation of a kind that changes the store?
pub fn is_write(operation: &str) -> bool {
    ["Put", "Copy", "Create", "Upload", "Complete", "Abort", "Delete"].iter().any(|verb| operation.starts_with(verb))
}

/// Requests in the order of their effects.
#[derive(Debug, Clone, Default)]
pub struct Log(pub Vec<Op>);

impl Log {
    /// Those for which a test holds.
    pub fn filter(&self, test: impl Fn(&Op) -> bool) -> Self {
        Self(self.0.iter().filter(|op| test(op)).cloned().collect())
    }

    /// Those that changed the store.
    pub fn writes(&self) -> Self {
        self.filter(|op| op.applied)
    }

    /// Those of one operation.
    pub fn of(&self, operation: &str) -> Self {
        self.filter(|op| op.operation == operation)
    }

    /// Those that name a key with that prefix in that bucket.
    pub fn for_prefix(&self, bucket: &str, prefix: &str) -> Self {
        self.filter(|op| op.touches(bucket, prefix))
    }

    /// How many there are of each operation.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for op in &self.0 {
            *counts.entry(op.operation.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// Payload bytes, received and sent.
    pub fn payload(&self) -> (u64, u64) {
        (self.0.iter().map(|op| op.received).sum(), self.0.iter().map(|op| op.sent).sum())
    }
}

impl Deref for Log {
    type Target = [Op];

    fn deref(&self) -> &[Op] {
        &self.0
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} {}/{}", self.seq, self.operation, self.bucket, self.key)?;
        if !self.keys.is_empty() {
            write!(f, "{:?}", self.keys)?;
        }
        if let Some((bucket, key)) = &self.source {
            write!(f, " from {bucket}/{key}")?;
        }
        if let Some(part) = self.part {
            write!(f, " part {part}")?;
        }
        write!(f, " {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        f.write_str(if self.applied { " applied" } else { "" })?;
        self.fault.as_ref().map_or(Ok(()), |fault| write!(f, " ({fault})"))
    }
}

/// One request a line.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}
