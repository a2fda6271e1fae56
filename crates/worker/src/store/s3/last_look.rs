//! The fence is asked once more when a request is signed and all that is left is to send it: finding credentials and signing
//! take time, and a process may be frozen meanwhile.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::fence;

/// Asks the fence of the running task before each request that changes something.
#[derive(Debug)]
pub(super) struct LastLook;

impl Intercept for LastLook {
    fn name(&self) -> &'static str {
        "LastLook"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match context.request().method() {
            "GET" | "HEAD" => Ok(()),
            _ => fence::check().map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_types::retry::RetryConfig;

    use super::super::classify;
    use super::*;
    use crate::Fence;
    use crate::store::FailureKind;

    #[tokio::test]
    async fn what_changes_something_is_not_sent_once_the_fence_is_closed() {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            // Nobody listens there.
            .endpoint_url("http://127.0.0.1:1")
            .retry_config(RetryConfig::disabled())
            .interceptor(LastLook)
            .build();
        let client = Client::from_conf(config);
        let fence = Arc::new(Fence::default());
        let delete = || async { classify(&client.delete_object().bucket("b").key("k").send().await.unwrap_err()) };
        let read = || async { classify(&client.head_object().bucket("b").key("k").send().await.unwrap_err()) };
        assert_eq!(Arc::clone(&fence).scope(delete()).await.kind, FailureKind::Unreachable);
        fence.close("another run took over");
        let failure = Arc::clone(&fence).scope(delete()).await;
        assert_eq!((failure.kind, failure.unanswered), (FailureKind::Fenced, false));
        assert_eq!(fence.scope(read()).await.kind, FailureKind::Unreachable);
    }
}
