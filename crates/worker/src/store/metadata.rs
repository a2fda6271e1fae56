//! Metadata files go through `object_store`: the same endpoints and credentials as the objects', counted as control requests.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::path::Path;
use object_store::{
    CopyOptions, CredentialProvider, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, RetryConfig,
};
use planner::{Error, Location};

use super::meter::Meter;
use super::s3::S3Access;

/// Credentials are fetched again this long before they expire.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// The store for the metadata files of a bucket.
pub(crate) fn s3_metadata(access: &S3Access, location: &Location) -> planner::Result<Arc<dyn ObjectStore>> {
    let bucket = location.bucket();
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&access.region)
        .with_virtual_hosted_style_request(!access.path_style)
        .with_retry(retry_config());
    if let Some(endpoint) = &access.endpoint {
        let url = if access.path_style { endpoint.clone() } else { with_bucket(endpoint, bucket) };
        builder = builder.with_endpoint(url).with_allow_http(endpoint.starts_with("http://"));
    }
    builder = match &access.provider {
        Some(provider) => builder.with_credentials(Arc::new(ChainCredentials::new(provider.clone()))),
        None => builder.with_skip_signature(true),
    };
    let store = builder.build().map_err(|error| Error::usage(format!("{location}: {error}")))?;
    Ok(Arc::new(store))
}

pub(crate) fn retry_config() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_mins(1), ..RetryConfig::default() }
}

fn with_bucket(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{bucket}.{}", rest.trim_end_matches('/')),
        None => endpoint.to_owned(),
    }
}

/// The SDK's credential chain as `object_store` asks for it, kept until shortly before it expires.
struct ChainCredentials {
    provider: SharedCredentialsProvider,
    kept: tokio::sync::Mutex<Option<(Arc<AwsCredential>, Option<SystemTime>)>>,
}

impl ChainCredentials {
    fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, kept: tokio::sync::Mutex::default() }
    }
}

impl fmt::Debug for ChainCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainCredentials").finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for ChainCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        let fresh = |expiry: &Option<SystemTime>| expiry.is_none_or(|at| at > SystemTime::now() + REFRESH_BEFORE);
        if let Some((credential, expiry)) = kept.as_ref()
            && fresh(expiry)
        {
            return Ok(Arc::clone(credential));
        }
        let got = self.provider.provide_credentials().await.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: format!("no credentials were found: {}", super::s3::chain_of(&error)).into(),
        })?;
        let credential = Arc::new(AwsCredential {
            key_id: got.access_key_id().to_owned(),
            secret_key: got.secret_access_key().to_owned(),
            token: got.session_token().map(str::to_owned),
        });
        *kept = Some((Arc::clone(&credential), got.expiry()));
        Ok(credential)
    }
}

/// Counts the requests of a store.
#[derive(Debug)]
pub(crate) struct Counted {
    inner: Arc<dyn ObjectStore>,
    meter: Meter,
}

impl Counted {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meter.request();
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.meter.request();
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.meter.request();
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.meter.request();
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.meter.request();
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.request();
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.request();
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.request();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meter.request();
        self.inner.copy_opts(from, to, options).await
    }
}
