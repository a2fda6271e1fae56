//! What reading has cost so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that readers add to; shared by the clones of a namespace.
#[derive(Debug, Default)]
pub struct Counters {
    ranges_opened: AtomicU64,
    metaranges_opened: AtomicU64,
    looked_up: AtomicU64,
    bytes_read: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ranges read whole.
    pub ranges_opened: u64,
    /// Metaranges read.
    pub metaranges_opened: u64,
    /// Keys looked up in a range.
    pub looked_up: u64,
    /// Bytes of metadata files read, by whole reads and by look-ups.
    pub bytes_read: u64,
}

impl Counters {
    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        Counts {
            ranges_opened: self.ranges_opened.load(Ordering::Relaxed),
            metaranges_opened: self.metaranges_opened.load(Ordering::Relaxed),
            looked_up: self.looked_up.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn opened_range(&self) {
        self.ranges_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened_metarange(&self) {
        self.metaranges_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn looked_up(&self) {
        self.looked_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of metadata were read, here or elsewhere.
    pub fn read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
