//! An AWS client for the test bed's S3 server.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
};
use millrace_tests::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

/// A client that never retries.
pub(crate) fn client(server: &S3Server) -> Client {
    client_as(server, ACCESS_KEY, SECRET_KEY)
}

/// The same with another key pair.
pub(crate) fn client_as(server: &S3Server, access_key: &str, secret_key: &str) -> Client {
    build(server, access_key, secret_key, Duration::from_mins(1))
}

/// A client that gives up soon.
pub(crate) fn impatient_client(server: &S3Server, patience: Duration) -> Client {
    build(server, ACCESS_KEY, SECRET_KEY, patience)
}

fn build(server: &S3Server, access_key: &str, secret_key: &str, patience: Duration) -> Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(patience).build());
    Client::from_conf(config.build())
}

/// The value of `x-amz-copy-source`.
pub(crate) fn copy_source(bucket: &str, key: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(byte);
    let encoded = key.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    format!("{bucket}/{}", encoded.collect::<String>())
}

/// The S3 error code of a request that must fail; `no answer` when there was none that says one.
pub(crate) fn code<T: std::fmt::Debug, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(output) => panic!("succeeded: {output:?}"),
        Err(error) => error_code(&error),
    }
}

/// The S3 error code of a failure.
pub(crate) fn error_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.code().unwrap_or("no answer").to_owned()
}
