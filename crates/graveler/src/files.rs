//! Where metadata files come from: the trait, and the one source that needs no server.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{Error, ErrorKind, Result};
use crate::sstable::{ReadAt, StoreFile};

/// The folder of a namespace that holds its metadata.
pub const METADATA_FOLDER: &str = "_lakefs";
/// The refs dump's manifest, in that folder.
pub const REFS_MANIFEST: &str = "refs_manifest.json";
/// No metadata file may be larger: ranges are 20 MiB by default, and are read whole.
const MAX_FILE_LEN: u64 = 1 << 30;

/// What a metadata file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A sorted run of records.
    Range,
    /// A list of ranges.
    Metarange,
}

impl FileKind {
    /// The value of the file's `type` property.
    #[must_use]
    pub fn property(self) -> &'static str {
        match self {
            Self::Range => "ranges",
            Self::Metarange => "metaranges",
        }
    }
}

/// Where metadata files come from: `_lakefs/<id>` of a namespace, or an API that hands out the
/// same bytes. Ids were checked to be 64 hexadecimal digits.
#[async_trait]
pub trait MetadataFiles: Send + Sync + Debug {
    /// A whole file.
    async fn read(&self, id: &str, kind: FileKind) -> Result<Bytes>;

    /// A file for look-ups, of which only what is asked for is read. A source without ranged reads
    /// may load all of it. Nothing need be read here: a missing file may fail at the first read.
    async fn open(&self, id: &str, kind: FileKind) -> Result<Arc<dyn ReadAt>>;

    /// `_lakefs/refs_manifest.json`; `None` when it is not there.
    async fn refs_manifest(&self) -> Result<Option<Bytes>>;

    /// How errors should name a file.
    fn file_name(&self, id: &str) -> String {
        format!("{METADATA_FOLDER}/{id}")
    }
}

/// The metadata files of a namespace in an object store.
#[derive(Clone, Debug)]
pub struct StoreFiles {
    /// The store that holds the namespace.
    pub store: Arc<dyn ObjectStore>,
    /// The namespace's path in it.
    pub prefix: Path,
    /// The namespace as errors name it.
    place: Option<String>,
}

impl StoreFiles {
    /// The files of the namespace at `prefix`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, place: None }
    }

    /// Says where the namespace lies, for errors: a store knows its paths, and not under which URL people know it.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub(crate) fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(METADATA_FOLDER).join(name)
    }

    /// How errors name the file `name` of the metadata folder.
    pub(crate) fn shown(&self, name: &str) -> String {
        match &self.place {
            Some(place) => format!("{}/{METADATA_FOLDER}/{name}", place.trim_end_matches('/')),
            None => self.path(name).to_string(),
        }
    }

    async fn whole(&self, name: &str) -> Result<Bytes> {
        let failed = |error| Error::from_store(&self.shown(name), error);
        let answer = self.store.get(&self.path(name)).await.map_err(failed)?;
        let size = answer.meta.size;
        if size > MAX_FILE_LEN {
            return Err(Error::new(
                ErrorKind::Unsupported,
                self.shown(name),
                format!("expected at most {MAX_FILE_LEN} bytes, found {size}"),
            ));
        }
        answer.bytes().await.map_err(failed)
    }
}

#[async_trait]
impl MetadataFiles for StoreFiles {
    async fn read(&self, id: &str, _kind: FileKind) -> Result<Bytes> {
        self.whole(id).await
    }

    async fn open(&self, id: &str, _kind: FileKind) -> Result<Arc<dyn ReadAt>> {
        let file = StoreFile::new(Arc::clone(&self.store), self.path(id)).named(self.shown(id));
        Ok(Arc::new(file))
    }

    async fn refs_manifest(&self) -> Result<Option<Bytes>> {
        match self.whole(REFS_MANIFEST).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file_name(&self, id: &str) -> String {
        self.shown(id)
    }
}
