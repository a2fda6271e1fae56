//! One request on its way through the server: what the gate, the guard and the operation know of it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper::{HeaderMap, http::Extensions};
use s3s::{S3Result, dto::ETag, s3_error};
use tokio::sync::Notify;

use super::{fault::Fault, log::Op};

/// Headers whose values the log keeps.
const CONDITIONS: [&str; 4] = ["if-match", "if-none-match", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match"];

/// A request under way.
pub(crate) struct Call {
    op: Mutex<Op>,
    fault: OnceLock<Fault>,
    cut: Notify,
}

impl Call {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let mut op = Op::new();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        op.received = text("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        for name in CONDITIONS {
            if let Some(value) = text(name) {
                op.conditions.insert(name.to_owned(), value);
            }
        }
        Self { op: Mutex::new(op), fault: OnceLock::new(), cut: Notify::new() }
    }

    /// The call that a request carries.
    pub(crate) fn of(extensions: &Extensions) -> S3Result<Arc<Self>> {
        extensions.get::<Arc<Self>>().cloned().ok_or_else(|| s3_error!(InternalError, "no call"))
    }

    fn lock(&self) -> MutexGuard<'_, Op> {
        self.op.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn op(&self) -> Op {
        self.lock().clone()
    }

    /// Notes something about the request.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Op)) {
        change(&mut self.lock());
    }

    pub(crate) fn identify(&self, operation: &str, bucket: &str, key: Option<&str>, access_key: Option<&str>) {
        self.note(|op| {
            operation.clone_into(&mut op.operation);
            bucket.clone_into(&mut op.bucket);
            key.unwrap_or_default().clone_into(&mut op.key);
            op.access_key = access_key.map(str::to_owned);
        });
    }

    pub(crate) fn set_fault(&self, fault: Fault) {
        self.note(|op| op.fault = Some(format!("{fault:?}")));
        let _ = self.fault.set(fault);
    }

    /// Closes the connection; the request goes on.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.lock().seq > 0
    }

    pub(crate) fn recorded(&self, seq: u64, applied: bool, etag: Option<&str>) -> Op {
        let mut op = self.lock();
        op.seq = seq;
        op.applied = applied;
        op.etag = etag.map(str::to_owned);
        op.clone()
    }

    /// The etag to answer with.
    pub(crate) fn etag(&self, etag: &str) -> Option<ETag> {
        match self.fault() {
            Some(Fault::NoEtag) => None,
            Some(Fault::WrongEtag) => Some(ETag::Strong("0".repeat(32))),
            _ => Some(ETag::Strong(etag.to_owned())),
        }
    }
}
