//! A repository of a lakeFS server: references are resolved by its REST API, once.
//!
//! Three calls are all that an export needs: the repository (where it lies), the commit of an expression, and the metadata
//! files, which are read straight from the storage namespace where that is in reach ([`MetadataRoute`]).
//!
//! A walk through the history would cost a request for each commit; once it is seen that parents are asked for one after
//! the other, the server is asked for a page of the history at a time.

mod client;
mod credentials;
mod files;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use graveler::{Namespace, StoreFiles, is_id};
use serde::Deserialize;
use tokio::sync::OnceCell;

use self::client::{Client, Failure};
use self::files::{ApiFiles, ServedFiles};
use super::cache::CommitCache;
use super::lake_url::namespace;
use super::reference::RefExpression;
use super::{Commit, CommitSource, RefKind, Reference};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::stores::Stores;

pub use self::client::ClientOptions;
pub use self::credentials::{LakefsSettings, Lookup};
pub use self::files::MetadataRoute;

/// Names and commits in a page of a list; the server gives no more.
const PAGE: &str = "1000";

/// Commits of the history in a page.
const HISTORY_PAGE: &str = "200";

/// Parents that were asked for one after the other before a page of the history is.
const STEADY: u32 = 2;

/// How a server is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerOptions {
    /// Where metadata files are read.
    pub metadata: MetadataRoute,
    /// Limits and retries.
    pub client: ClientOptions,
}

/// A repository of a lakeFS server.
#[derive(Debug)]
pub struct ServerSource {
    client: Arc<Client>,
    repository: String,
    storage: Location,
    files: Arc<ServedFiles>,
    namespace: Namespace,
    commits: CommitCache,
    walk: Mutex<Steps>,
}

/// The parents of the commit that was asked for last, and how many in a row were such parents.
#[derive(Debug, Default)]
struct Steps {
    parents: Vec<String>,
    steady: u32,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    storage_namespace: String,
}

#[derive(Deserialize)]
struct CommitAnswer {
    id: String,
    #[serde(default)]
    parents: Vec<String>,
    #[serde(default)]
    committer: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    creation_date: i64,
    meta_range_id: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    generation: i64,
}

#[derive(Deserialize)]
struct RefAnswer {
    id: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct Page<T> {
    pagination: Pagination,
    results: Vec<T>,
}

#[derive(Deserialize)]
struct Pagination {
    has_more: bool,
    #[serde(default)]
    next_offset: String,
}

impl From<CommitAnswer> for Commit {
    fn from(answer: CommitAnswer) -> Self {
        Self {
            id: answer.id,
            metarange: answer.meta_range_id,
            parents: answer.parents,
            committer: answer.committer,
            message: answer.message,
            created: answer.creation_date,
            metadata: answer.metadata.unwrap_or_default(),
            generation: answer.generation,
        }
    }
}

impl ServerSource {
    /// Looks the repository up.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for a repository that is not there; [`Unreachable`](crate::ErrorKind::Unreachable)
    /// where no lakeFS answers, or refuses the credentials.
    pub async fn open(settings: LakefsSettings, repository: &str, stores: &dyn Stores, options: ServerOptions) -> Result<Self> {
        let client = Arc::new(Client::new(settings, options.client)?);
        let answer: RepositoryAnswer = client.get(&["repositories", repository], &[]).await.map_err(|failure| match failure {
            Failure::Answer { status: 404 | 400, message } => no_repository(&client, repository, &message),
            failure => client.error(failure, &format!("repository `{repository}`")),
        })?;
        let storage = Location::parse(&answer.storage_namespace)
            .map_err(|e| e.context(format!("the storage namespace of `{repository}`")))?;
        let storage = namespace(&storage);
        let store = stores.metadata(&storage).map_err(|e| e.to_string());
        let store = store.map(|files| StoreFiles::new(files.store, files.prefix).at(storage.to_string()));
        let files = Arc::new(ServedFiles {
            storage: storage.to_string(),
            store,
            api: ApiFiles::new(Arc::clone(&client), repository),
            wanted: options.metadata,
            chosen: OnceCell::new(),
        });
        let namespace = Namespace::new(Arc::clone(&files) as _);
        let repository = repository.to_owned();
        Ok(Self { client, repository, storage, files, namespace, commits: CommitCache::default(), walk: Mutex::default() })
    }

    async fn fetch(&self, reference: &str) -> Result<Commit> {
        let path = ["repositories", &self.repository, "commits", reference];
        let answer: CommitAnswer = self.client.get(&path, &[]).await.map_err(|failure| self.no_commit(failure, reference))?;
        if !is_id(&answer.id) || !(answer.meta_range_id.is_empty() || is_id(&answer.meta_range_id)) {
            return Err(self
                .client
                .error(Failure::Foreign("a commit's ids are not 64 hexadecimal digits".to_owned()), "a commit"));
        }
        let commit = Commit::from(answer);
        self.commits.put(&commit);
        Ok(commit)
    }

    fn no_commit(&self, failure: Failure, reference: &str) -> Error {
        let repository = &self.repository;
        let invalid = failure.is_invalid();
        match failure {
            Failure::Answer { status: 404, message } if message.contains("repository") => {
                no_repository(&self.client, repository, &message)
            }
            Failure::Answer { status: 404, message } => {
                Error::usage(format!("`{reference}` is no branch, tag or commit of repository `{repository}`: {message}"))
                    .with_help(format!("`millrace refs lakefs://{repository}` lists branches and tags"))
            }
            Failure::Answer { message, .. } if invalid => {
                Error::usage(format!("`{reference}` means nothing in repository `{repository}`: {message}"))
                    .with_help("`^N` needs a commit with N parents, `@` a branch")
            }
            failure => self.client.error(failure, &format!("`{reference}` of repository `{repository}`")),
        }
    }

    /// Notes that `id` is asked for; says whether somebody walks through the history.
    fn walks(&self, id: &str) -> bool {
        let mut steps = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        steps.steady = if steps.parents.iter().any(|parent| parent == id) { steps.steady.saturating_add(1) } else { 0 };
        steps.steady > STEADY
    }

    fn walked(&self, commit: &Commit) {
        let mut steps = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        steps.parents.clone_from(&commit.parents);
    }

    /// Reads a page of the history ahead. That it cannot be had is no error: each commit can be.
    async fn read_ahead(&self, id: &str) {
        let path = ["repositories", &self.repository, "refs", id, "commits"];
        match self.client.get::<Page<CommitAnswer>>(&path, &[("amount", HISTORY_PAGE)]).await {
            Ok(page) => page.results.into_iter().for_each(|answer| self.commits.put(&answer.into())),
            Err(failure) => tracing::debug!(id, ?failure, "reading the history ahead"),
        }
    }

    async fn list(&self, kind: RefKind) -> Result<Vec<Reference>> {
        let folder = match kind {
            RefKind::Branch => "branches",
            RefKind::Tag => "tags",
        };
        let path = ["repositories", self.repository.as_str(), folder];
        let what = format!("the {folder} of repository `{}`", self.repository);
        let (mut refs, mut after) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("amount", PAGE)];
            if !after.is_empty() {
                query.push(("after", &after));
            }
            let page: Page<RefAnswer> = self.client.get(&path, &query).await.map_err(|failure| match failure {
                Failure::Answer { status: 404, message } => no_repository(&self.client, &self.repository, &message),
                failure => self.client.error(failure, &what),
            })?;
            refs.extend(page.results.into_iter().map(|r| Reference { kind, name: r.id, commit: r.commit_id }));
            if !page.pagination.has_more {
                return Ok(refs);
            }
            if page.pagination.next_offset <= after {
                return Err(self
                    .client
                    .error(Failure::Foreign("a list says that there is more, but not after which name".to_owned()), &what));
            }
            after = page.pagination.next_offset;
        }
    }
}

fn no_repository(client: &Client, repository: &str, message: &str) -> Error {
    Error::usage(format!("repository `{repository}` is not on the lakeFS server at {}: {message}", client.endpoint()))
        .with_help("check the name (`lakectl repo list`), and that the endpoint is the right server")
}

#[async_trait]
impl CommitSource for ServerSource {
    fn storage(&self) -> &Location {
        &self.storage
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    async fn resolve(&self, expression: &str) -> Result<Commit> {
        // What is no expression anywhere, and `$`, never reach the server.
        RefExpression::parse(expression)?;
        self.fetch(expression).await
    }

    async fn commit(&self, id: &str) -> Result<Commit> {
        let walks = self.walks(id);
        if walks && self.commits.get(id).is_none() {
            self.read_ahead(id).await;
        }
        let commit = match self.commits.get(id) {
            Some(commit) => commit,
            None => self.fetch(id).await?,
        };
        if commit.id != id {
            return Err(Error::usage(format!("`{id}` is no full id of a commit")).with_help("use the 64 digits of the id"));
        }
        self.walked(&commit);
        Ok(commit)
    }

    async fn refs(&self) -> Result<Vec<Reference>> {
        let mut refs = self.list(RefKind::Branch).await?;
        refs.extend(self.list(RefKind::Tag).await?);
        Ok(refs)
    }

    fn notes(&self) -> Vec<String> {
        self.files.note().into_iter().collect()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
