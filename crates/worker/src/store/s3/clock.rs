//! The clock that requests are signed with: this machine's, corrected by what a server that refused a signature says it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use chrono::DateTime;

/// A clock that a server may set. Clones are one clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerClock {
    /// How far the server's clock is ahead of ours, in milliseconds.
    ahead: Arc<AtomicI64>,
}

impl ServerClock {
    /// Goes by a server's `Date` header from now on. What is no date changes nothing.
    pub(crate) fn set(&self, date: Option<&str>, now: SystemTime) {
        let Some(server) = date.and_then(|text| DateTime::parse_from_rfc2822(text).ok()) else { return };
        let ours = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        let ahead = server.timestamp_millis() - ours;
        if (self.ahead.swap(ahead, Ordering::Relaxed) - ahead).abs() > 60_000 {
            tracing::warn!("this machine's clock is {} s off the store's: requests are signed with the store's", ahead / 1000);
        }
    }
}

impl TimeSource for ServerClock {
    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let now = SystemTime::now();
        if ahead < 0 { now.checked_sub(by).unwrap_or(now) } else { now + by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_sets_the_clock() {
        let clock = ServerClock::default();
        let ours = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        clock.set(Some("no date"), ours);
        assert!(clock.now() <= SystemTime::now());
        clock.set(Some("Fri, 02 Jan 1970 01:00:00 GMT"), ours);
        let ahead = clock.now().duration_since(SystemTime::now()).unwrap();
        assert!((3590..=3600).contains(&ahead.as_secs()), "{ahead:?}");
        clock.set(Some("Thu, 01 Jan 1970 23:00:00 GMT"), ours);
        assert!(clock.now() < SystemTime::now() - Duration::from_secs(3590));
    }
}
