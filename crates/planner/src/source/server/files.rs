//! Metadata files of a repository: from the storage namespace where that can be read, else through the server.
//!
//! ```text
//!   first read ──▶ namespace: HEAD of the file ──yes──▶ all reads go to the namespace
//!                          └─ no ──▶ the server has it? ──yes──▶ all reads go through the server, and a note says so
//!                                             └─ no ──▶ one error that says what failed on each side
//! ```
//! The server hands out whole files. Those that were opened for look-ups are kept, [`MAX_KEPT`] bytes at most; a file that
//! had to go is fetched again when it is needed.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use graveler::sstable::{MemoryFile, ReadAt};
use graveler::{Error, ErrorKind, FileKind, METADATA_FOLDER, MetadataFiles, Result, StoreFiles};
use tokio::sync::OnceCell;

use super::client::{Client, Failure};
use crate::error::explain;

/// Bytes of opened files that are kept. The file in use stays even if it is larger by itself.
const MAX_KEPT: usize = 128 << 20;

/// Longest file; ranges are 20 MiB by default.
const MAX_FILE: usize = 1 << 30;

/// Stores without credentials may ask for them in vain for minutes; the server is nearer.
const FIRST_READ: Duration = Duration::from_secs(20);

/// Where metadata files are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataRoute {
    /// From the storage namespace, or through the server when the first read there fails.
    #[default]
    Auto,
    /// From the storage namespace only.
    Namespace,
    /// Through the server only.
    Api,
}

/// Both ways to the files, and the one that was chosen.
#[derive(Debug)]
pub(super) struct ServedFiles {
    /// The storage namespace, for messages.
    pub(super) storage: String,
    /// The namespace's files, or why there is no store for them.
    pub(super) store: std::result::Result<StoreFiles, String>,
    pub(super) api: ApiFiles,
    pub(super) wanted: MetadataRoute,
    /// `None` is the namespace; a text is the server, and says why.
    pub(super) chosen: OnceCell<Option<String>>,
}

impl ServedFiles {
    /// What the user should know about the choice.
    pub(super) fn note(&self) -> Option<String> {
        let why = self.chosen.get()?.as_ref()?;
        let endpoint = self.api.client.endpoint();
        (self.wanted == MetadataRoute::Auto).then(|| {
            format!("metadata is read through the lakeFS server at {endpoint}: the storage namespace {} {why}", self.storage)
        })
    }

    async fn files(&self, id: &str, kind: FileKind) -> Result<&dyn MetadataFiles> {
        let through_server = self.chosen.get_or_try_init(|| self.choose(id, kind)).await?.is_some();
        match (&self.store, through_server) {
            (Ok(store), false) => Ok(store),
            _ => Ok(&self.api),
        }
    }

    async fn choose(&self, id: &str, kind: FileKind) -> Result<Option<String>> {
        let refused = match (&self.store, self.wanted) {
            (_, MetadataRoute::Api) => return Ok(Some("was not asked".to_owned())),
            (Ok(_), MetadataRoute::Namespace) => return Ok(None),
            (Ok(store), MetadataRoute::Auto) => match probe(store, id, kind).await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            (Err(why), _) => Error::new(ErrorKind::Denied, self.file_name(id), why),
        };
        let why = format!("cannot be read ({})", explain(&refused));
        if self.wanted == MetadataRoute::Namespace {
            return Err(Error::new(refused.kind(), self.file_name(id), format!("the storage namespace {why}")));
        }
        match self.api.read(id, kind).await {
            Ok(_) => Ok(Some(why)),
            Err(error) => {
                let missing = refused.kind() == ErrorKind::NotFound && error.kind() == ErrorKind::NotFound;
                let kind = if missing { ErrorKind::NotFound } else { ErrorKind::Unreachable };
                let endpoint = self.api.client.endpoint();
                let message = format!(
                    "the storage namespace {why}, nor can the lakeFS server at {endpoint} be asked ({})",
                    explain(&error)
                );
                Err(Error::new(kind, self.file_name(id), message))
            }
        }
    }
}

/// One small request that fails as reading the file would.
async fn probe(store: &StoreFiles, id: &str, kind: FileKind) -> Result<()> {
    let file = store.open(id, kind).await?;
    match tokio::time::timeout(FIRST_READ, file.size()).await {
        Ok(size) => size.map(drop),
        Err(_) => Err(Error::new(ErrorKind::Unreachable, file.name(), format!("no answer within {} s", FIRST_READ.as_secs()))),
    }
}

#[async_trait]
impl MetadataFiles for ServedFiles {
    async fn read(&self, id: &str, kind: FileKind) -> Result<Bytes> {
        self.files(id, kind).await?.read(id, kind).await
    }

    async fn open(&self, id: &str, kind: FileKind) -> Result<Arc<dyn ReadAt>> {
        self.files(id, kind).await?.open(id, kind).await
    }

    async fn refs_manifest(&self) -> Result<Option<Bytes>> {
        match &self.store {
            Ok(store) => store.refs_manifest().await,
            Err(_) => Ok(None),
        }
    }

    fn file_name(&self, id: &str) -> String {
        format!("{}/{METADATA_FOLDER}/{id}", self.storage.trim_end_matches('/'))
    }
}

/// A file that is fetched once however many ask for it.
type Cell = Arc<OnceCell<Bytes>>;

/// `GET metadata/object/{range|meta_range}/{id}`.
#[derive(Debug, Clone)]
pub(super) struct ApiFiles {
    client: Arc<Client>,
    repository: Arc<str>,
    kept: Arc<Mutex<VecDeque<(String, Cell)>>>,
}

impl ApiFiles {
    pub(super) fn new(client: Arc<Client>, repository: &str) -> Self {
        Self { client, repository: repository.into(), kept: Arc::default() }
    }

    async fn fetch(&self, id: &str, kind: FileKind) -> Result<Bytes> {
        let folder = match kind {
            FileKind::Range => "range",
            FileKind::Metarange => "meta_range",
        };
        let path = ["repositories", &*self.repository, "metadata", "object", folder, id];
        self.client.get_bytes(&path, &[], MAX_FILE).await.map_err(|failure| self.failed(failure, id))
    }

    fn failed(&self, failure: Failure, id: &str) -> Error {
        let kind = match &failure {
            Failure::Answer { status: 404 | 410, .. } => ErrorKind::NotFound,
            Failure::Answer { status: 401 | 403, .. } => ErrorKind::Denied,
            _ => ErrorKind::Unreachable,
        };
        let message = match failure {
            Failure::Answer { status: 404 | 410, message } => {
                format!("expected the file on the lakeFS server at {}, found none: {message}", self.client.endpoint())
            }
            failure => self.client.error(failure, "a metadata file").to_string(),
        };
        Error::new(kind, self.file_name(id), message)
    }

    /// The bytes of an opened file: kept ones, or fetched now.
    async fn opened(&self, id: &str, kind: FileKind) -> Result<Bytes> {
        let cell = self.cell(id);
        let fetch: std::pin::Pin<Box<dyn Future<Output = Result<Bytes>> + Send + '_>> = Box::pin(self.fetch(id, kind));
        let bytes = Bytes::clone(cell.get_or_try_init(|| fetch).await?);
        self.trim();
        Ok(bytes)
    }

    /// The file's place, which is now the last one to go.
    fn cell(&self, id: &str) -> Cell {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == id);
        let (name, cell) = at.and_then(|at| kept.remove(at)).unwrap_or_else(|| (id.to_owned(), Cell::default()));
        kept.push_back((name, Arc::clone(&cell)));
        cell
    }

    fn trim(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |(_, cell): &(String, Cell)| cell.get().map_or(0, Bytes::len);
        let mut total: usize = kept.iter().map(size).sum();
        while total > MAX_KEPT && kept.len() > 1 {
            let gone = kept.pop_front();
            total -= gone.as_ref().map_or(0, size);
        }
    }
}

#[async_trait]
impl MetadataFiles for ApiFiles {
    async fn read(&self, id: &str, kind: FileKind) -> Result<Bytes> {
        self.fetch(id, kind).await
    }

    async fn open(&self, id: &str, kind: FileKind) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(ApiFile { files: self.clone(), name: self.file_name(id), id: id.to_owned(), kind }))
    }

    async fn refs_manifest(&self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    fn file_name(&self, id: &str) -> String {
        format!("lakefs://{}/{METADATA_FOLDER}/{id}", self.repository)
    }
}

/// A file that is opened: the bytes belong to the bounded store of [`ApiFiles`], not to whoever holds this.
#[derive(Debug)]
struct ApiFile {
    files: ApiFiles,
    name: String,
    id: String,
    kind: FileKind,
}

#[async_trait]
impl ReadAt for ApiFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn size(&self) -> Result<u64> {
        Ok(self.files.opened(&self.id, self.kind).await?.len() as u64)
    }

    async fn read_at(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.files.opened(&self.id, self.kind).await?;
        MemoryFile::new(self.name.as_str(), bytes).read_at(range).await
    }
}
