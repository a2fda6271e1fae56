//! Sending a request: counted, with a time limit, with its place in the endpoint's window, and again where that may help.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::S3Store;
use super::classify::{Remedy, classify, remedy};
use crate::retry::Repeat;
use crate::store::{FailureKind, StoreError, StoreResult};
use crate::{fence, stop};

/// What a request is, beside its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) repeat: Repeat,
    pub(super) limit: Duration,
    /// Payload that it moves, be it through here or not.
    pub(super) bytes: u64,
    /// It changes what others see: sent only while the fence lets it, and in doubt when it has no answer.
    pub(super) writes: bool,
}

impl S3Store {
    /// Sends one request. What `request` fails with comes from [`S3Store::failed`].
    pub(super) async fn send<T, F, Fut>(&self, call: Call, request: F) -> StoreResult<T>
    where
        T: Send,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let attempt = || async {
            let place = stop::sending(call.bytes > 0, self.enter()).await?;
            let sent = Instant::now();
            if call.writes {
                fence::check()?;
            }
            self.meter.request();
            // The SDK's futures are large: they live on the heap.
            let end = match tokio::time::timeout(call.limit, Box::pin(request())).await {
                Ok(end) => end,
                Err(_) => Err(no_answer(call.limit)),
            };
            place.answered(call.bytes, end.as_ref().err().map(|error| error.kind));
            if call.writes && end.as_ref().is_err_and(|error| error.unanswered) {
                fence::doubt(call.limit.saturating_sub(sent.elapsed()));
            }
            end
        };
        self.bounds.retry.run(call.repeat, attempt).await
    }

    /// A request that moves nothing.
    pub(super) fn small(&self) -> Call {
        Call { repeat: Repeat::Safe, limit: self.bounds.request_timeout, bytes: 0, writes: true }
    }

    /// A request that changes nothing.
    pub(super) fn asking(&self) -> Call {
        Call { writes: false, ..self.small() }
    }

    /// A request during which the store moves `bytes` and is silent.
    pub(super) fn silent(&self, bytes: u64) -> Call {
        Call { repeat: Repeat::Safe, limit: self.bounds.silence(bytes), bytes, writes: true }
    }

    /// A request that sends `bytes`.
    pub(super) fn sending(&self, bytes: u64) -> Call {
        Call { repeat: Repeat::Safe, limit: self.bounds.sending(bytes), bytes, writes: true }
    }

    /// The failure of a request. What can be put right here is, and the failure is one that passes then.
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let failure = classify(error);
        let passes = match remedy(error) {
            None => false,
            Some(Remedy::Credentials) => {
                self.connection.credentials.as_ref().is_some_and(super::credentials::KeptCredentials::refused)
            }
            Some(Remedy::Clock(date)) => {
                self.connection.clock.set(date, SystemTime::now());
                true
            }
        };
        if passes { StoreError { kind: FailureKind::Transient, ..failure } } else { failure }
    }
}

fn no_answer(limit: Duration) -> StoreError {
    StoreError::new(FailureKind::TimedOut, format!("no answer in {} s", (limit.as_secs_f64() * 10.0).round() / 10.0))
        .without_answer()
}
