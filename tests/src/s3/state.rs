//! Everything the server knows, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use s3s::{S3Result, s3_error};

use super::{
    access::{Denial, KeyPair},
    body::Body,
    call::Call,
    condition::{Conditions, DeleteConditions},
    fault::{Fate, Fault, Rule},
    log::{Log, Op},
    object::{Bucket, Buckets, Object},
};
use crate::tree::md5_hex;

/// Looks at the store after an applied write; an error or a panic is kept as a violation.
pub(crate) type Watcher = Arc<dyn Fn(&Op, &Buckets) -> Result<(), String> + Send + Sync>;

/// How the server behaves as a whole.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Every request takes at least that long.
    pub(crate) latency: Duration,
    /// The smallest part of a multipart upload but for its last one.
    pub(crate) smallest_part: u64,
    /// Buckets whose objects are encrypted by KMS.
    pub(crate) encrypted: BTreeSet<String>,
    /// Buckets that unsigned requests may read.
    pub(crate) public: BTreeSet<String>,
    pub(crate) delete_conditions: DeleteConditions,
    /// How far its clock is ahead of this machine's, in seconds.
    pub(crate) ahead: i64,
    /// What becomes of conditions on uploads.
    pub(crate) conditions: Conditions,
    /// Off for benchmarks of millions of requests.
    pub(crate) keep_log: bool,
}

/// A multipart upload under way.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// The object to be, without its body.
    pub(crate) object: Object,
    pub(crate) parts: BTreeMap<i32, Part>,
    pub(crate) initiated: SystemTime,
}

/// A part of a multipart upload.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) body: Body,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
}

/// The state of the server.
pub(crate) struct State {
    pub(crate) buckets: Buckets,
    pub(crate) uploads: BTreeMap<String, Upload>,
    pub(crate) keys: BTreeMap<String, KeyPair>,
    pub(crate) denials: Vec<Denial>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) settings: Settings,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) violations: Vec<String>,
    log: BTreeMap<u64, Op>,
    last_seq: u64,
    last_id: u64,
}

/// The state and its lock.
pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            buckets: Buckets::default(),
            uploads: BTreeMap::new(),
            keys: BTreeMap::new(),
            denials: Vec::new(),
            rules: Vec::new(),
            settings: Settings {
                latency: Duration::ZERO,
                smallest_part: 5 * 1024 * 1024,
                encrypted: BTreeSet::new(),
                public: BTreeSet::new(),
                delete_conditions: DeleteConditions::Obeyed,
                ahead: 0,
                conditions: Conditions::Obeyed,
                keep_log: true,
            },
            watchers: Vec::new(),
            violations: Vec::new(),
            log: BTreeMap::new(),
            last_seq: 0,
            last_id: 0,
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes before a request is evaluated: the latency, and the faults that keep it from being carried out.
    pub(crate) async fn before(&self, call: &Call) -> S3Result<()> {
        let latency = self.lock().settings.latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(Fault::Signal { victim, signal, .. }) = call.fault() {
            victim.send(*signal);
        }
        if let Some(Fault::ResetLate(_)) = call.fault() {
            call.cut();
        }
        match call.fault() {
            Some(Fault::Signal { fate: Fate::Late(delay), .. } | Fault::Delay(delay) | Fault::ResetLate(delay)) => {
                tokio::time::sleep(*delay).await;
            }
            Some(fault) if fault.prevents() => return Err(s3_error!(InternalError, "a scripted fault")),
            _ => {}
        }
        Ok(())
    }
}

impl State {
    pub(crate) fn bucket(&self, name: &str) -> S3Result<&Bucket> {
        self.buckets.0.get(name).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    pub(crate) fn object(&self, bucket: &str, key: &str) -> S3Result<&Arc<Object>> {
        self.bucket(bucket)?.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Puts an object, encrypting it where that is asked for; its etag. The bucket is there: the caller looked.
    pub(crate) fn insert(&mut self, call: &Call, bucket: &str, key: &str, mut object: Object) -> Arc<Object> {
        if self.settings.encrypted.contains(bucket) || call.fault() == Some(&Fault::Kms) {
            let parts = object.etag.split_once('-').map(|(_, count)| format!("-{count}")).unwrap_or_default();
            object.etag = format!("{}{parts}", md5_hex(self.next_id().as_bytes()));
            object.etag_is_md5 = false;
            object.kms = true;
        }
        let object = Arc::new(object);
        self.buckets.0.entry(bucket.to_owned()).or_default().insert(key.to_owned(), Arc::clone(&object));
        object
    }

    /// An id that was not given before.
    pub(crate) fn next_id(&mut self) -> String {
        self.last_id += 1;
        format!("{:08}", self.last_id)
    }

    /// The fault that a request meets: that of the first rule which fires.
    pub(crate) fn meet(&mut self, operation: &str, bucket: &str, key: Option<&str>) -> Option<Fault> {
        self.rules.iter_mut().find_map(|rule| rule.meet(operation, bucket, key))
    }

    /// The fault that one key of `DeleteObjects` meets.
    pub(crate) fn meet_in_batch(&mut self, bucket: &str, key: &str) -> Option<Fault> {
        let named = self.rules.iter_mut().filter(|rule| rule.target().names_keys());
        named.into_iter().find_map(|rule| rule.meet("DeleteObjects", bucket, Some(key)))
    }

    /// Gives a request its place in the order of effects. Called once, under the lock under which it was evaluated.
    pub(crate) fn record(&mut self, call: &Call, applied: bool, etag: Option<&str>) {
        self.last_seq += 1;
        let op = call.recorded(self.last_seq, applied, etag);
        if applied {
            self.watch(&op);
        }
        if self.settings.keep_log {
            self.log.insert(op.seq, op);
        }
    }

    /// Completes the record of a request that has ended.
    pub(crate) fn finish(&mut self, call: &Call) {
        if !call.is_recorded() {
            self.record(call, false, None);
        }
        let op = call.op();
        if let Some(entry) = self.log.get_mut(&op.seq) {
            *entry = op;
        }
    }

    /// Shows the store to the watchers.
    pub(crate) fn watch(&mut self, op: &Op) {
        for watcher in &self.watchers {
            let verdict = catch_unwind(AssertUnwindSafe(|| watcher(op, &self.buckets)));
            let violation = match verdict {
                Ok(Ok(())) => continue,
                Ok(Err(violation)) => violation,
                Err(panic) => panic_text(panic.as_ref()),
            };
            let mut what = format!("{} {}/{}", op.operation, op.bucket, op.key);
            if !op.keys.is_empty() {
                what = format!("{what} {:?}", op.keys);
            }
            self.violations.push(format!("after #{} {what}: {violation}", op.seq));
        }
    }

    pub(crate) fn log(&self) -> Log {
        Log(self.log.values().cloned().collect())
    }

    pub(crate) fn clear_log(&mut self) {
        self.log.clear();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "panicked".to_owned())
}
