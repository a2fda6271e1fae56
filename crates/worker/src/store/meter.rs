//! Counters of what a run asks of its stores: requests by class, and payload bytes that passed through this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestClass {
    /// Objects' bytes: copies, puts, gets, deletes of a plan's rows.
    Data,
    /// Lease, plan, journal, receipt, markers, clean-up.
    Control,
}

/// Counts of all stores of a registry.
#[derive(Debug, Default)]
pub struct Counters {
    data: AtomicU64,
    control: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Requests sent so far, each attempt counted: data, control.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        (self.data.load(Ordering::Relaxed), self.control.load(Ordering::Relaxed))
    }

    /// Payload bytes read from stores or written to them by this process; server-side copies count nothing.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What a store counts with.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    counters: Arc<Counters>,
    class: RequestClass,
}

impl Meter {
    pub(crate) fn new(counters: Arc<Counters>, class: RequestClass) -> Self {
        Self { counters, class }
    }

    pub(crate) fn request(&self) {
        let counter = match self.class {
            RequestClass::Data => &self.counters.data,
            RequestClass::Control => &self.counters.control,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn payload(&self, bytes: u64) {
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
