//! How long a store may take, and from which size on it is asked in parts.

use std::time::Duration;

use crate::retry::Retry;

/// What a silent store is granted beside the stall bound while it moves bytes, in bytes a second.
pub const COPY_RATE: u64 = 20_000_000;
/// The slowest upload that is waited for, in bytes a second. Stalls are noticed long before.
pub const UPLOAD_RATE: u64 = 1_000_000;

/// How requests of a store are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// How long a request may go without an answer; requests that move bytes get more by their size.
    pub request_timeout: Duration,
    /// A transfer without a payload byte for this long has stalled.
    pub stall: Duration,
    /// Completing an upload in parts may take the store this long, and it is silent meanwhile.
    pub complete: Duration,
    /// Larger objects are copied inside the store in parts, in bytes.
    pub copy_in_parts_above: u64,
    /// The size of such a part, in bytes.
    pub copy_part_size: u64,
    /// Tries of requests outside of a plan's rows.
    pub retry: Retry,
    /// The ceiling of the adaptive number of requests under way at one endpoint; `None` where the number is fixed elsewhere.
    pub window: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            stall: Duration::from_secs(15),
            complete: Duration::from_mins(5),
            copy_in_parts_above: 5 * 1024 * 1024 * 1024,
            copy_part_size: 256 * 1024 * 1024,
            retry: Retry::default(),
            window: None,
        }
    }
}

impl Bounds {
    /// The limit of a request during which the store moves `size` bytes and is silent.
    #[must_use]
    pub fn silence(&self, size: u64) -> Duration {
        self.stall.min(self.request_timeout) + Duration::from_secs(size / COPY_RATE)
    }

    /// The limit of a request that sends `size` bytes, however steadily.
    #[must_use]
    pub fn sending(&self, size: u64) -> Duration {
        self.request_timeout + Duration::from_secs(size / UPLOAD_RATE)
    }

    /// No request of an object of `size` bytes is unanswered for longer, when objects from `in_parts_from` bytes on go up in
    /// parts.
    #[must_use]
    pub fn longest_request(&self, size: u64, in_parts_from: u64) -> Duration {
        let copied = self.request_timeout + Duration::from_secs(size / COPY_RATE);
        let completed = if size >= in_parts_from { self.complete } else { self.request_timeout };
        copied.max(self.sending(size.min(in_parts_from))).max(completed)
    }
}
