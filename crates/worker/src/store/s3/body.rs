//! Bodies on their way: what is sent is watched while the connection takes it, what comes is watched as it arrives.
//!
//! Both are judged on payload bytes. The SDK would hash a body that it holds in memory to sign it; a streamed one it does
//! not, and the signature covers the checksums that are sent as headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::classify::chain_of;
use crate::store::meter::Meter;
use crate::store::{Body, FailureKind, StoreError, StoreResult};

const FRAME: usize = 128 * 1024;

/// How many bytes of a body the connection has taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body in frames that counts what is taken.
struct Frames {
    rest: Bytes,
    progress: Progress,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(FRAME);
        let frame = self.rest.split_to(length);
        self.progress.0.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A body to send, and how far it got.
pub(super) fn sending(bytes: Bytes) -> (ByteStream, Progress) {
    let progress = Progress::default();
    let frames = Frames { rest: bytes, progress: progress.clone() };
    (ByteStream::new(SdkBody::from_body_1_x(frames)), progress)
}

/// Waits for the answer to a body of `size` bytes: no longer than `stall` while nothing of it is taken, and no longer than
/// `silence` once all of it was.
pub(super) async fn while_it_moves<T>(
    answer: impl Future<Output = StoreResult<T>> + Send,
    progress: &Progress,
    size: u64,
    (stall, silence): (Duration, Duration),
) -> StoreResult<T> {
    tokio::pin!(answer);
    let mut seen = 0;
    loop {
        let patience = if progress.bytes() >= size { silence } else { stall };
        // Looked at in small steps: a byte that was taken long ago does not count as one that was taken just now.
        let until = Instant::now() + patience;
        while Instant::now() < until && progress.bytes() == seen {
            if let Ok(end) = tokio::time::timeout(patience / 10, &mut answer).await {
                return end;
            }
        }
        if progress.bytes() == seen {
            let message = format!("the store took {seen} of {size} bytes, then nothing for {} s", seconds(patience));
            return Err(StoreError::new(FailureKind::TimedOut, message));
        }
        seen = progress.bytes();
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// The bytes of an answer: counted, and failed when none came for `stall`.
pub(super) fn watched(body: ByteStream, stall: Duration, meter: Meter) -> Body {
    stream::unfold(Some(body), move |body| {
        let meter = meter.clone();
        async move {
            let mut body = body?;
            match tokio::time::timeout(stall, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(bytes))) => {
                    meter.payload(bytes.len() as u64);
                    Some((Ok(bytes), Some(body)))
                }
                Ok(Some(Err(error))) => {
                    let message = format!("the transfer broke off: {}", chain_of(&error));
                    Some((Err(StoreError::new(FailureKind::Unavailable, message)), None))
                }
                Err(_) => {
                    let message = format!("the transfer stalled: no byte in {} s", seconds(stall));
                    Some((Err(StoreError::new(FailureKind::TimedOut, message)), None))
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));

    async fn never() -> StoreResult<()> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn a_body_that_is_taken_slowly_is_waited_for() {
        let progress = Progress::default();
        let taking = progress.clone();
        let begun = Instant::now();
        let answer = async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                taking.0.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        while_it_moves(answer, &progress, 10, BOUNDS).await.unwrap();
        assert!(begun.elapsed() > BOUNDS.1);
    }

    #[tokio::test]
    async fn a_body_that_is_not_taken_has_stalled() {
        let (progress, begun) = (Progress::default(), Instant::now());
        let error = while_it_moves(never(), &progress, 10, BOUNDS).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::TimedOut);
        assert!((BOUNDS.0..BOUNDS.1).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        // All of it was taken: the store may work for a while.
        progress.0.store(10, Ordering::Relaxed);
        let begun = Instant::now();
        while_it_moves(never(), &progress, 10, BOUNDS).await.unwrap_err();
        assert!(begun.elapsed() >= BOUNDS.1, "{:?}", begun.elapsed());
    }
}
