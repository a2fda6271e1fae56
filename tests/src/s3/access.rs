//! Who may do what: key pairs with permissions per bucket, and denials per key prefix and operation.

use std::{collections::BTreeMap, sync::Arc};

use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};

use super::{
    call::Call,
    fault::Target,
    log::is_write,
    state::{Shared, State},
};

/// What a key pair may do in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read and list.
    Read,
    /// Write and delete.
    Write,
    /// Both.
    ReadWrite,
}

/// An access key and its secret.
#[derive(Debug, Clone)]
pub struct KeyPair {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// None: everything.
    buckets: Option<BTreeMap<String, Permission>>,
}

impl KeyPair {
    /// One that may do everything.
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), buckets: None }
    }

    /// From now on it may do only what is allowed by such calls.
    pub fn allow(mut self, bucket: &str, permission: Permission) -> Self {
        self.buckets.get_or_insert_default().insert(bucket.to_owned(), permission);
        self
    }

    fn may(&self, write: bool, bucket: &str) -> bool {
        let Some(buckets) = &self.buckets else { return true };
        match buckets.get(bucket) {
            Some(Permission::ReadWrite) => true,
            Some(Permission::Write) => write,
            Some(Permission::Read) => !write,
            None => false,
        }
    }
}

/// A denial: it wins over every permission.
#[derive(Debug, Clone)]
pub(crate) struct Denial {
    pub(crate) access_key: Option<String>,
    pub(crate) target: Target,
}

impl State {
    /// May that request be made? `None` for the access key is an unsigned request.
    pub(crate) fn authorize(&self, access_key: Option<&str>, operation: &str, bucket: &str, key: Option<&str>) -> S3Result<()> {
        let allowed = match access_key {
            Some(name) => self.keys.get(name).is_some_and(|pair| bucket.is_empty() || pair.may(is_write(operation), bucket)),
            None => !is_write(operation) && self.settings.public.contains(bucket),
        };
        let denied = self.denials.iter().any(|denial| {
            denial.access_key.as_deref().is_none_or(|name| Some(name) == access_key)
                && denial.target.matches(operation, bucket, key)
        });
        if allowed && !denied { Ok(()) } else { Err(s3_error!(AccessDenied, "Access Denied")) }
    }
}

/// Gives `s3s` the secrets, and decides on every request before its body is read.
pub(crate) struct Guard(pub(crate) Arc<Shared>);

#[async_trait::async_trait]
impl S3Auth for Guard {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let state = self.0.lock();
        let pair = state.keys.get(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(SecretKey::from(pair.secret_key.as_str()))
    }
}

#[async_trait::async_trait]
impl S3Access for Guard {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let call = cx.extensions_mut().get::<Arc<Call>>().cloned().ok_or_else(|| s3_error!(InternalError))?;
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => ("", None),
            S3Path::Bucket { bucket } => (bucket.as_ref(), None),
            S3Path::Object { bucket, key } => (bucket.as_ref(), Some(key.as_ref())),
        };
        let operation = cx.s3_op().name();
        let access_key = cx.credentials().map(|credentials| credentials.access_key.as_str());
        call.identify(operation, bucket, key, access_key);
        let mut state = self.0.lock();
        state.authorize(access_key, operation, bucket, key)?;
        if let Some(fault) = state.meet(operation, bucket, key) {
            call.set_fault(fault);
        }
        Ok(())
    }
}
