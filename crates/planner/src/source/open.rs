//! From a lake's URL to the source of its commits.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::CommitSource;
use super::lake_url::{LakePlace, LakeUrl};
use super::namespace::NamespaceSource;
use super::server::{LakefsSettings, Lookup, ServerOptions, ServerSource};
use crate::error::Result;
use crate::location::Location;
use crate::stores::Stores;

/// Opens the lake that `url` names: a server's repository with the settings that `env` finds, or a storage namespace with
/// its own manifest, a dump or a bare metarange. The environment is read before the future is made.
///
/// # Errors
/// Of the future: those of [`ServerSource::open`] and [`NamespaceSource::open`], and [`Usage`](crate::ErrorKind::Usage) for
/// missing settings.
#[must_use]
pub fn open(url: &LakeUrl, stores: Arc<dyn Stores>, env: Lookup<'_>) -> BoxFuture<'static, Result<Arc<dyn CommitSource>>> {
    match url.place() {
        LakePlace::Repository(repository) => {
            let (settings, repository) = (LakefsSettings::find(env), repository.clone());
            async move {
                let source = ServerSource::open(settings?, &repository, stores.as_ref(), ServerOptions::default()).await?;
                Ok(Arc::new(source) as _)
            }
            .boxed()
        }
        LakePlace::Namespace(storage) => {
            let (url, storage) = (url.clone(), storage.clone());
            async move { Ok(Arc::new(open_namespace(&url, &storage, stores.as_ref()).await?) as _) }.boxed()
        }
    }
}

async fn open_namespace(url: &LakeUrl, storage: &Location, stores: &dyn Stores) -> Result<NamespaceSource> {
    match (url.dump(), url.metarange()) {
        (Some(dump), _) => NamespaceSource::open_dump(storage, stores, dump).await,
        (None, Some(id)) => NamespaceSource::open_metarange(storage, stores, id).await,
        (None, None) => NamespaceSource::open(storage, stores).await,
    }
}
