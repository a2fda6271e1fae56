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
