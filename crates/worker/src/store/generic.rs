//! Every store that `object_store` serves well enough: `memory://`, `gs://`, `az://`, `http(s)://`.
//!
//! Its paths are not raw: a key that they would change is refused by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutPayload, UpdateVersion,
    WriteMultipart,
};
use planner::{Error, Location, Result, Scheme};

use super::digest::Summing;
use super::metadata::retry_config;
use super::meter::Meter;
use super::s3::chain_of;
use super::{
    Access, Attributes, Body, Capabilities, Condition, CopyOptions, Deletion, FailureKind, Get, GetOptions, Head, Listed, Put,
    PutOptions, SourceObject, Store, StoreError, StoreResult, Sums, UploadOptions, md5_of,
};
use crate::fence;

/// The maps of `memory://`, by bucket: one process, one memory.
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// The `object_store` of a location's bucket.
pub(crate) fn open(location: &Location) -> Result<Arc<dyn ObjectStore>> {
    let bucket = location.bucket();
    let built: object_store::Result<Arc<dyn ObjectStore>> = match location.scheme() {
        Scheme::Memory => {
            let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
            let map = memory.entry(bucket.to_owned()).or_default();
            Ok(Arc::clone(map) as Arc<dyn ObjectStore>)
        }
        Scheme::Gs => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry_config());
            builder.build().map(|store| Arc::new(store) as _)
        }
        Scheme::Az => {
            // `abfs://container@account.dfs.core.windows.net` names its account, `az://container` leaves it to the environment.
            let (container, account) = bucket.split_once('@').unwrap_or((bucket, ""));
            let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry_config());
            if let Some(account) = account.split('.').next().filter(|account| !account.is_empty()) {
                builder = builder.with_account(account);
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        Scheme::Http | Scheme::Https => {
            let url = format!("{}://{bucket}", location.scheme().as_str());
            let options = object_store::ClientOptions::new().with_allow_http(location.scheme() == Scheme::Http);
            let builder = HttpBuilder::new().with_url(url).with_client_options(options).with_retry(retry_config());
            builder.build().map(|store| Arc::new(store) as _)
        }
        scheme => return Err(Error::bug(format!("{}:// is no store of object_store's", scheme.as_str()))),
    };
    built.map_err(|error| Error::unreachable(format!("{location}: {}", chain_of(&error))).with_help("check the store's settings"))
}

/// A location behind `object_store`.
pub struct GenericStore {
    store: Arc<dyn ObjectStore>,
    location: Location,
    prefix: String,
    access: Access,
    meter: Meter,
}

impl fmt::Debug for GenericStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenericStore").field("location", &self.location).finish_non_exhaustive()
    }
}

impl GenericStore {
    pub(crate) fn open(location: &Location, meter: Meter) -> Result<Self> {
        let access =
            Access { endpoint: format!("{}|{}", location.scheme().as_str(), location.bucket()), credentials: "chain".to_owned() };
        Ok(Self { store: open(location)?, prefix: location.prefix(), location: location.clone(), access, meter })
    }

    /// The path of a key, refused where it would not be the key.
    fn path(&self, key: &str) -> StoreResult<Path> {
        let full = format!("{}{key}", self.prefix);
        match Path::parse(&full) {
            Ok(path) if path.as_ref() == full && !key.is_empty() => Ok(path),
            _ => {
                let message = format!("{} cannot hold the key `{}`", self.location, key.escape_debug());
                Err(StoreError::new(FailureKind::BadKey, message))
            }
        }
    }

    fn put_options(options: &PutOptions) -> object_store::PutOptions {
        let mode = match &options.condition {
            Condition::None => PutMode::Overwrite,
            Condition::Absent => PutMode::Create,
            Condition::Match(etag) => PutMode::Update(UpdateVersion { e_tag: Some(etag.clone()), version: None }),
        };
        object_store::PutOptions { mode, attributes: sent(&options.attributes), ..Default::default() }
    }

    async fn put_parts(&self, path: &Path, mut body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        let said = PutMultipartOptions { attributes: sent(&options.attributes), ..Default::default() };
        let upload = self.store.put_multipart_opts(path, said).await.map_err(|error| failure(&error))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, usize::try_from(options.part_size).unwrap_or(usize::MAX));
        let mut summing = Summing::new(&options.expect);
        let read = async {
            while let Some(chunk) = body.try_next().await? {
                summing.update(&chunk);
                writer.wait_for_capacity(options.parts_in_flight.max(1)).await.map_err(|error| failure(&error))?;
                writer.put(chunk);
            }
            let (got, sums) = (summing.bytes(), summing.finish());
            options.expect.check(got, size, &sums).map(|()| sums)
        };
        let sums = match read.await {
            Ok(sums) => sums,
            Err(error) => {
                // Parts without an end are invisible; giving them back may fail without harm.
                drop(writer.abort().await);
                return Err(error);
            }
        };
        let put = writer.finish().await.map_err(|error| failure(&error))?;
        self.meter.payload(size);
        Ok(Put { etag: put.e_tag.as_deref().map(unquoted), sums, bytes: size, ..Put::default() })
    }
}

#[async_trait]
impl Store for GenericStore {
    fn location(&self) -> &Location {
        &self.location
    }

    fn capabilities(&self) -> Capabilities {
        let writable = !matches!(self.location.scheme(), Scheme::Http | Scheme::Https);
        Capabilities {
            conditional_put: writable,
            user_metadata: writable,
            content_type: writable,
            buffers_uploads: true,
            read_only: !writable,
            ..Capabilities::default()
        }
    }

    fn access(&self) -> &Access {
        &self.access
    }

    async fn get(&self, key: &str, options: &GetOptions) -> StoreResult<Get> {
        self.meter.request();
        let range = options.range.clone().map(object_store::GetRange::Bounded);
        let asked = object_store::GetOptions { if_match: options.if_match.clone(), range, ..Default::default() };
        let answer = self.store.get_opts(&self.path(key)?, asked).await.map_err(|error| failure(&error))?;
        let meter = self.meter.clone();
        Ok(Get {
            etag: answer.meta.e_tag.as_deref().map(unquoted),
            etag_is_md5: false,
            etag_is_opaque: true,
            crc64: None,
            size: answer.meta.size,
            attributes: received(&answer.attributes),
            body: answer
                .into_stream()
                .map_err(|error| failure(&error))
                .inspect_ok(move |chunk| meter.payload(chunk.len() as u64))
                .boxed(),
        })
    }

    async fn head(&self, key: &str) -> StoreResult<Option<Head>> {
        self.meter.request();
        let asked = object_store::GetOptions { head: true, ..Default::default() };
        match self.store.get_opts(&self.path(key)?, asked).await.map_err(|error| failure(&error)) {
            Ok(answer) => Ok(Some(Head {
                etag: answer.meta.e_tag.as_deref().map(unquoted),
                etag_is_md5: false,
                size: answer.meta.size,
                attributes: received(&answer.attributes),
            })),
            Err(error) if error.kind == FailureKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, key: &str, body: Bytes, options: &PutOptions) -> StoreResult<Put> {
        fence::check()?;
        self.meter.request();
        let (path, size, md5) = (self.path(key)?, body.len() as u64, md5_of(&body));
        if let Some(announced) = options.content_md5
            && announced != md5
        {
            return Err(StoreError::new(FailureKind::Mismatch, "the bytes have another MD5 than was announced"));
        }
        let put = self.store.put_opts(&path, PutPayload::from(body), Self::put_options(options)).await;
        let put = put.map_err(|error| match (failure(&error), &options.condition) {
            (error, Condition::Match(_)) if error.kind == FailureKind::NotFound => {
                StoreError::new(FailureKind::Precondition, error.message)
            }
            (error, _) => error,
        })?;
        self.meter.payload(size);
        let sums = Sums { md5: Some(md5), ..Sums::default() };
        Ok(Put { etag: put.e_tag.as_deref().map(unquoted), sums, bytes: size, ..Put::default() })
    }

    async fn delete(&self, key: &str) -> StoreResult<()> {
        fence::check()?;
        self.meter.request();
        match self.store.delete(&self.path(key)?).await.map_err(|error| failure(&error)) {
            Err(error) if error.kind == FailureKind::NotFound => Ok(()),
            end => end,
        }
    }

    /// By the store's own batches. What they leave open or fail is deleted one by one, so that each has an end of its own.
    async fn delete_many(&self, deletions: &[Deletion]) -> Vec<StoreResult<()>> {
        if let Err(error) = fence::check() {
            return deletions.iter().map(|_| Err(error.clone())).collect();
        }
        let paths: Vec<Path> =
            deletions.iter().filter(|one| one.if_match.is_none()).filter_map(|one| self.path(&one.key).ok()).collect();
        let batch = stream::iter(paths).map(Ok).boxed();
        let gone = self.store.delete_stream(batch).filter_map(async |end| {
            self.meter.request();
            end.ok().map(|path| path.as_ref().to_owned())
        });
        let mut done = std::collections::HashSet::new();
        let mut gone = std::pin::pin!(gone);
        while let Some(path) = gone.next().await {
            done.insert(path);
        }
        let mut ends = Vec::with_capacity(deletions.len());
        for one in deletions {
            let full = format!("{}{}", self.prefix, one.key);
            ends.push(match &one.if_match {
                Some(etag) => self.delete_if(&one.key, etag).await,
                None if done.contains(&full) => Ok(()),
                None => self.delete(&one.key).await,
            });
        }
        ends
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<Listed>> {
        self.meter.request();
        // `object_store` lists by whole segments: what comes before the last slash is asked for, the rest is compared.
        let full = format!("{}{prefix}", self.prefix);
        let folder = full.rfind('/').map_or("", |at| &full[..at]);
        let folder = match Path::parse(folder) {
            Ok(path) if path.as_ref() == folder => path,
            // No key can lie below a folder that cannot be written.
            _ => return stream::empty().boxed(),
        };
        let listed = self.store.list((!folder.as_ref().is_empty()).then_some(&folder));
        listed
            .map_err(|error| failure(&error))
            .try_filter_map(move |meta| {
                let found = meta.location.as_ref();
                let key = found.starts_with(&full).then(|| found.strip_prefix(&self.prefix)).flatten();
                let listed = key.map(|key| Listed {
                    key: key.to_owned(),
                    size: meta.size,
                    etag: meta.e_tag.as_deref().map(unquoted),
                    modified: Some(meta.last_modified.into()),
                });
                futures::future::ready(Ok(listed))
            })
            .boxed()
    }

    async fn copy_from(&self, source: &SourceObject, _key: &str, _options: &CopyOptions) -> StoreResult<Put> {
        let message = format!("{} cannot copy {} by itself", self.location, source.location);
        Err(StoreError::new(FailureKind::Unsupported, message))
    }

    async fn upload(&self, key: &str, body: Body, size: u64, options: &UploadOptions) -> StoreResult<Put> {
        fence::check()?;
        self.meter.request();
        let path = self.path(key)?;
        if size >= options.multipart_threshold {
            return self.put_parts(&path, body, size, options).await;
        }
        let (bytes, sums) = super::read_summed(body, size, &options.expect).await?;
        let said = object_store::PutOptions { attributes: sent(&options.attributes), ..Default::default() };
        let put = self.store.put_opts(&path, PutPayload::from(bytes), said).await.map_err(|error| failure(&error))?;
        self.meter.payload(size);
        Ok(Put { etag: put.e_tag.as_deref().map(unquoted), sums, bytes: size, ..Put::default() })
    }
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn sent(said: &Attributes) -> object_store::Attributes {
    let headers = [
        (Attribute::ContentType, &said.content_type),
        (Attribute::CacheControl, &said.headers.cache_control),
        (Attribute::ContentDisposition, &said.headers.content_disposition),
        (Attribute::ContentEncoding, &said.headers.content_encoding),
        (Attribute::ContentLanguage, &said.headers.content_language),
    ];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let metadata = said.metadata.iter().map(|(key, value)| (Attribute::Metadata(key.clone().into()), value.clone()));
    headers.chain(metadata).map(|(name, value)| (name, AttributeValue::from(value))).collect()
}

fn received(said: &object_store::Attributes) -> Attributes {
    let text = |name| said.get(&name).map(|value| value.as_ref().to_owned());
    let mut metadata: Vec<(String, String)> = said
        .iter()
        .filter_map(|(name, value)| match name {
            Attribute::Metadata(key) => Some((key.to_string(), value.as_ref().to_owned())),
            _ => None,
        })
        .collect();
    metadata.sort();
    Attributes {
        content_type: text(Attribute::ContentType),
        metadata,
        tags: None,
        headers: super::Headers {
            cache_control: text(Attribute::CacheControl),
            content_disposition: text(Attribute::ContentDisposition),
            content_encoding: text(Attribute::ContentEncoding),
            content_language: text(Attribute::ContentLanguage),
        },
    }
}

fn failure(error: &object_store::Error) -> StoreError {
    use object_store::Error as E;
    let kind = match error {
        E::NotFound { .. } => FailureKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => FailureKind::Precondition,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => FailureKind::Denied,
        E::InvalidPath { .. } => FailureKind::BadKey,
        E::NotSupported { .. } | E::NotImplemented { .. } => FailureKind::Unsupported,
        // Its own retries are over by then; what is left is the network or the server.
        E::Generic { .. } => FailureKind::Unavailable,
        _ => FailureKind::Other,
    };
    StoreError::new(kind, chain_of(error))
}
