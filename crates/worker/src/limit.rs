//! Limits on what is held at once: memory here, requests in [`window`].
//!
//! Objects that stream hold their buffers from one shared allowance. It is taken before the source is opened, so that no
//! connection lies idle while its object waits for memory. What would never fit takes everything and runs alone.

pub mod aimd;
pub mod window;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The default allowance for upload buffers of a process: 512 MiB.
pub const DEFAULT_BUFFER_BYTES: u64 = 512 * 1024 * 1024;

const UNIT: u64 = 64 * 1024;

/// Memory for upload buffers, shared by all stores of a registry.
#[derive(Debug, Clone)]
pub struct Buffers {
    units: u32,
    free: Arc<Semaphore>,
}

/// Memory that is held until it is dropped.
#[derive(Debug)]
pub struct BufferPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Buffers {
    /// An allowance of `bytes`, at least one unit of 64 KiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX).min(1 << 28);
        Self { units, free: Arc::new(Semaphore::new(units as usize)) }
    }

    /// Waits until `bytes` are free and takes them; more than there is at all takes all.
    pub async fn take(&self, bytes: u64) -> BufferPermit {
        if bytes == 0 {
            return BufferPermit { _permit: None };
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        // The semaphore is never closed; were it, an upload without an allowance would still be right.
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await.ok();
        BufferPermit { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_above_the_allowance_runs_alone() {
        let buffers = Buffers::new(1 << 20);
        let all = buffers.take(1 << 30).await;
        let other = buffers.take(1);
        tokio::pin!(other);
        assert!(futures::poll!(&mut other).is_pending());
        drop(all);
        other.await;
    }
}
