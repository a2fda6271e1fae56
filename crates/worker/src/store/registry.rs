//! The registry: every store a command can reach, with the settings and credentials of each, opened once and shared.
//!
//! Clients and their connections are kept for ever: there are as many as there are servers and credentials. Stores are many,
//! one for each journal that an executor writes, and those in folders hold descriptors: of those that nobody uses any more only
//! some are kept. A folder with changes that are not durable yet is kept until they are.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use planner::{Error, KeyRules, Location, MetadataStore, Result, Scheme, Stores};

use super::file::{FileStore, Tree};
use super::generic::GenericStore;
use super::identity::real_path;
use super::metadata::{Counted, s3_metadata};
use super::meter::{Counters, Meter, RequestClass};
use super::s3::{ClientKey, Connection, S3Access, S3Options, S3Store, SdkConfigs};
use super::settings::{StoreSettings, Variables, settings_for};
use super::{Bounds, Store, StoreError, generic};
use crate::limit::window::Window;
use crate::limit::{Buffers, DEFAULT_BUFFER_BYTES};

/// The longest key of S3 and its kin, in bytes.
const OBJECT_KEY_BYTES: usize = 1024;

/// Stores up to this number are kept, whether or not they are in use.
const KEPT_STORES: usize = 64;

/// What a registry is made from.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// `[[store]]` tables, those of `--store` last.
    pub settings: Vec<StoreSettings>,
    /// How long a request may go without an answer; requests that move bytes get more by their size.
    pub request_timeout: Duration,
    /// Memory for the upload buffers of all objects under way, in bytes.
    pub buffer_bytes: u64,
    /// Where the variables that settings name are looked up.
    pub variables: Variables,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            request_timeout: Duration::from_secs(30),
            buffer_bytes: DEFAULT_BUFFER_BYTES,
            variables: Variables::default(),
        }
    }
}

/// Opens stores. Cheap to ask: clients and folders are kept and shared.
pub struct Registry {
    options: RegistryOptions,
    configs: SdkConfigs,
    counters: Arc<Counters>,
    buffers: Buffers,
    opened: Mutex<Opened>,
    said: Mutex<HashSet<(Location, &'static str)>>,
}

/// A location, and how its requests are counted and judged.
type StoreId = (Location, RequestClass, Bounds);
/// A bucket that sources are read from, the prefix of its settings, and how its requests are judged.
type SourceId = (Scheme, String, Option<String>, Bounds);

/// What was opened so far.
#[derive(Default)]
struct Opened {
    connections: HashMap<ClientKey, Connection>,
    windows: HashMap<(String, usize), Arc<Window>>,
    trees: HashMap<PathBuf, Arc<Tree>>,
    stores: HashMap<StoreId, Arc<dyn Store>>,
    /// How many of them there may be before those that nobody uses are closed.
    room: usize,
    sources: HashMap<SourceId, Arc<dyn Store>>,
}

impl Opened {
    /// Closes what nobody uses, once that is much. Who asks for it again opens it again.
    fn make_room(&mut self) {
        if self.stores.len() <= self.room.max(KEPT_STORES) {
            return;
        }
        self.stores.retain(|_, store| Arc::strong_count(store) > 1);
        self.trees.retain(|_, tree| {
            if Arc::strong_count(tree) > 1 {
                return true;
            }
            if tree.is_at_rest() {
                return false;
            }
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                let tree = Arc::clone(tree);
                // A failure is remembered, and told by whoever syncs next.
                runtime.spawn_blocking(move || drop(tree.sync()));
            }
            true
        });
        // What is in use is not looked through again and again.
        self.room = self.stores.len() * 2;
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("settings", &self.options.settings).finish_non_exhaustive()
    }
}

impl Registry {
    /// Reads the AWS environment and shared files. Asks no server; credentials are fetched with the first request.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](planner::ErrorKind::Usage) for settings that cannot be meant.
    pub async fn load(options: RegistryOptions) -> Result<Arc<Self>> {
        options.settings.iter().try_for_each(StoreSettings::check)?;
        let configs = SdkConfigs::load(&options.settings, options.variables.clone()).await;
        let buffers = Buffers::new(options.buffer_bytes);
        Ok(Arc::new(Self {
            options,
            configs,
            counters: Arc::default(),
            buffers,
            opened: Mutex::default(),
            said: Mutex::default(),
        }))
    }

    /// Warns that `what` is true of the store at `location`, and why, unless this process did so before: it need not be said for
    /// each request, and each has an error of its own.
    pub(crate) fn warn_once(&self, location: &Location, what: &'static str, error: &StoreError) {
        if self.is_news(location, what) {
            tracing::warn!("{location} {what} ({error})");
        } else {
            tracing::debug!("{location} {what} ({error})");
        }
    }

    /// Nobody said it yet in this process.
    fn is_news(&self, location: &Location, what: &'static str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert((location.clone(), what))
    }

    /// The store of everything below `location`.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn open(&self, location: &Location, class: RequestClass) -> Result<Arc<dyn Store>> {
        self.open_within(location, class, self.bounds())
    }

    /// [`Registry::open`] with bounds of its own.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn open_within(&self, location: &Location, class: RequestClass, bounds: Bounds) -> Result<Arc<dyn Store>> {
        let id = (location.clone(), class, bounds);
        let mut opened = self.opened();
        if let Some(store) = opened.stores.get(&id) {
            return Ok(Arc::clone(store));
        }
        let store = self.build(&mut opened, location, class, bounds)?;
        opened.stores.insert(id, Arc::clone(&store));
        opened.make_room();
        Ok(store)
    }

    /// The store that holds the object at `location`, and the object's key there. For reading: on `file://` links are
    /// followed, because the lake says where its data lies.
    ///
    /// # Errors
    /// Settings that name no usable store.
    pub fn source(&self, location: &Location) -> Result<(Arc<dyn Store>, String)> {
        self.source_within(location, self.bounds())
    }

    /// [`Registry::source`] with bounds of its own.
    ///
    /// # Errors
    /// As [`Registry::source`].
    pub fn source_within(&self, location: &Location, bounds: Bounds) -> Result<(Arc<dyn Store>, String)> {
        let settings = settings_for(&self.options.settings, location).map(|one| one.prefix.clone());
        let id = (location.scheme(), location.bucket().to_owned(), settings, bounds);
        let at = self.resolve(location)?;
        let mut opened = self.opened();
        if let Some(store) = opened.sources.get(&id) {
            return Ok((Arc::clone(store), at.path().to_owned()));
        }
        let root = Location::new(at.scheme(), at.bucket(), "");
        let meter = self.meter(RequestClass::Data);
        let store: Arc<dyn Store> = match at.scheme() {
            Scheme::File => Arc::new(FileStore::reader(meter)),
            // The settings are the object's: those of a part of a bucket may differ from those of its root.
            Scheme::S3 => Arc::new(self.s3(&mut opened, (&root, &at), meter, bounds)?),
            _ => self.build(&mut opened, &root, RequestClass::Data, bounds)?,
        };
        opened.sources.insert(id, Arc::clone(&store));
        Ok((store, at.path().to_owned()))
    }

    /// Requests sent so far, each attempt counted: data, control.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        self.counters.requests()
    }

    /// Payload bytes that passed through this process so far.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.counters.payload_bytes()
    }

    /// The memory that uploads share.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// How long a request may go without an answer.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    fn bounds(&self) -> Bounds {
        Bounds { request_timeout: self.options.request_timeout, ..Bounds::default() }
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meter(&self, class: RequestClass) -> Meter {
        Meter::new(Arc::clone(&self.counters), class)
    }

    fn build(&self, opened: &mut Opened, location: &Location, class: RequestClass, bounds: Bounds) -> Result<Arc<dyn Store>> {
        let at = self.resolve(location)?;
        let meter = self.meter(class);
        Ok(match at.scheme() {
            Scheme::File | Scheme::Local => {
                let root = at.file_path().unwrap_or_default();
                let tree = opened.trees.entry(root.clone()).or_insert_with(|| Arc::new(Tree::new(root)));
                Arc::new(FileStore::new(&at, Arc::clone(tree), meter))
            }
            Scheme::S3 => Arc::new(self.s3(opened, (&at, &at), meter, bounds)?),
            Scheme::Memory | Scheme::Gs | Scheme::Az | Scheme::Http | Scheme::Https => Arc::new(GenericStore::open(&at, meter)?),
        })
    }

    /// The S3 store rooted at `root`, with the settings that belong to `object`.
    fn s3(&self, opened: &mut Opened, (root, object): (&Location, &Location), meter: Meter, bounds: Bounds) -> Result<S3Store> {
        let settings = settings_for(&self.options.settings, object);
        let access = S3Access::resolve(&self.configs, settings)?;
        let connection = opened.connections.entry(access.key()).or_insert_with(|| access.connect()).clone();
        let window = bounds.window.map(|ceiling| {
            let endpoint = &access.access.endpoint;
            let window = opened.windows.entry((endpoint.clone(), ceiling)).or_insert_with(|| Window::new(endpoint, ceiling));
            Arc::clone(window)
        });
        let options = S3Options::new(settings);
        Ok(S3Store::new(connection, root, (access.access, options), (bounds, window), meter))
    }

    /// Turns `local://` into the folder it stands for.
    fn resolve(&self, location: &Location) -> Result<Location> {
        if location.scheme() != Scheme::Local {
            return Ok(location.clone());
        }
        // A full address holds an absolute path and no name.
        if location.bucket().is_empty() {
            return Ok(Location::new(Scheme::File, "", location.path()));
        }
        let Some(base) = settings_for(&self.options.settings, location).and_then(|one| one.path.as_deref()) else {
            return Err(Error::usage(format!("{location}: where lakeFS's local block store lies is not known")).with_help(
                "add a [[store]] table with prefix = \"local://\" and path = \"…\", the server's blockstore.local.path",
            ));
        };
        Ok(Location::parse(base)?.join(&format!("{}/{}", location.bucket(), location.path())))
    }
}

impl Stores for Registry {
    fn metadata(&self, location: &Location) -> Result<MetadataStore> {
        let at = self.resolve(location)?;
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match at.scheme() {
            Scheme::File | Scheme::Local => {
                let prefix = Path::from_absolute_path(at.file_path().unwrap_or_default());
                (Arc::new(LocalFileSystem::new()), prefix.map_err(|error| error.to_string()))
            }
            Scheme::S3 => {
                let access = S3Access::resolve(&self.configs, settings_for(&self.options.settings, &at))?;
                (s3_metadata(&access, &at)?, Path::parse(at.path()).map_err(|error| error.to_string()))
            }
            _ => (generic::open(&at)?, Path::parse(at.path()).map_err(|error| error.to_string())),
        };
        let prefix = prefix.map_err(|error| {
            Error::usage(format!("{location} cannot hold metadata files: {error}"))
                .with_help("use a path without empty, `.` and `..` segments")
        })?;
        let store = Arc::new(Counted::new(store, self.meter(RequestClass::Control)));
        Ok(MetadataStore { store, prefix })
    }

    fn identity(&self, location: &Location) -> String {
        let at = self.resolve(location).unwrap_or_else(|_| location.clone());
        match at.scheme() {
            Scheme::File => format!("file|{}", real_path(&at.file_path().unwrap_or_default())),
            Scheme::S3 => {
                let endpoint = S3Access::endpoint_identity(&self.configs, settings_for(&self.options.settings, &at));
                format!("{endpoint}|{}/{}", at.bucket(), at.path())
            }
            scheme => format!("{}|{}/{}", scheme.as_str(), at.bucket(), at.path()),
        }
    }

    fn key_rules(&self, location: &Location) -> KeyRules {
        match location.scheme() {
            Scheme::File | Scheme::Local => {
                let folding = location.file_path().map(|folder| super::folding::probe(&folder)).unwrap_or_default();
                KeyRules { file_system: true, folding, ..KeyRules::default() }
            }
            Scheme::Memory => KeyRules { plain_paths: true, ..KeyRules::default() },
            scheme => KeyRules {
                plain_paths: scheme != Scheme::S3,
                no_blank_root: scheme == Scheme::S3,
                max_key_bytes: OBJECT_KEY_BYTES,
                ..KeyRules::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    async fn registry(specs: &[&str]) -> Arc<Registry> {
        let settings = specs.iter().map(|spec| StoreSettings::parse_spec(spec).unwrap()).collect();
        Registry::load(RegistryOptions { settings, ..RegistryOptions::default() }).await.unwrap()
    }

    #[tokio::test]
    async fn one_place_has_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        let base = format!("prefix=local://,path={}", real.display());
        let registry =
            registry(&["prefix=s3://a,endpoint=http://localhost:9000", "prefix=s3://b,endpoint=http://127.0.0.1:9000/", &base])
                .await;
        let identity = |text: &str| registry.identity(&at(text));
        assert_eq!(identity("s3://a/x//y"), "s3|127.0.0.1:9000|a/x//y");
        assert_eq!(identity("s3://b"), "s3|127.0.0.1:9000|b/");
        assert_eq!(identity("memory://m/x/"), "memory|m/x/");
        let file = format!("file|{}/repo/data/x", real.display());
        assert_eq!(identity("local://repo/data/x"), file);
        assert_eq!(identity(&format!("local://{}/repo/data/x", real.display())), file);
        assert_eq!(identity(&format!("{}/link/link/repo/data/x", real.display())), file);
    }

    #[tokio::test]
    async fn what_is_true_of_a_store_is_said_once() {
        let registry = registry(&[]).await;
        let said = [("memory://a", "x"), ("memory://a", "x"), ("memory://a", "y"), ("memory://b", "x")];
        assert_eq!(said.map(|(location, what)| registry.is_news(&at(location), what)), [true, false, true, true]);
    }

    #[tokio::test]
    async fn settings_that_name_no_store_say_what_to_do() {
        let registry =
            registry(&["prefix=s3://a,access_key_id_env=NOT_SET_ANYWHERE_ID,secret_access_key_env=NOT_SET_ANYWHERE_KEY"]).await;
        let error = registry.open(&at("s3://a/x"), RequestClass::Data).unwrap_err();
        assert_eq!(error.kind(), planner::ErrorKind::Unreachable);
        assert!(error.message().contains("NOT_SET_ANYWHERE_") && error.help().is_some(), "{error}");
        // Which place it is can be told without credentials.
        assert!(registry.identity(&at("s3://a/x")).ends_with("|a/x"));
        let error = registry.open(&at("local://repo"), RequestClass::Data).unwrap_err();
        assert_eq!(error.kind(), planner::ErrorKind::Usage);
        assert!(error.help().unwrap().contains("path"));
    }

    #[tokio::test]
    async fn metadata_and_objects_are_in_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(&[]).await;
        let urls = ["memory://registry-metadata/ns".to_owned(), dir.path().join("n s").to_string_lossy().into_owned()];
        for url in urls {
            let metadata = registry.metadata(&at(&url)).unwrap();
            metadata.store.put(&metadata.prefix.clone().join("f"), "text".into()).await.unwrap();
            let store = registry.open(&at(&url), RequestClass::Control).unwrap();
            assert_eq!(store.get_small("f").await.unwrap().unwrap().0, "text", "{url}");
        }
        assert_eq!(registry.requests(), (0, 4));
    }

    #[tokio::test]
    async fn stores_that_nobody_uses_are_closed_when_their_changes_are_durable() {
        let (dir, registry) = (tempfile::tempdir().unwrap(), registry(&[]).await);
        let folder = |n: usize| at(&format!("{}/{n}/", dir.path().display()));
        let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let (before, in_use) = (descriptors(), registry.open(&folder(0), RequestClass::Control).unwrap());
        for n in 1..500 {
            let store = registry.open(&folder(n), RequestClass::Control).unwrap();
            store.put("a/b/c", "text".into(), &crate::store::PutOptions::default()).await.unwrap();
        }
        let (mut n, mut trees) = (500, usize::MAX);
        while trees > 2 * KEPT_STORES {
            assert!(n < 20_000, "{trees} folders stay open");
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(registry.open(&folder(n), RequestClass::Control).unwrap());
            (n, trees) = (n + 1, registry.opened().trees.len());
        }
        assert!(registry.opened().stores.len() <= 2 * KEPT_STORES);
        // Five for each of them, and some for what else goes on in this process.
        assert!(descriptors() < before + 5 * 2 * KEPT_STORES + 500, "{} were {before}", descriptors());
        let again = registry.open(&folder(0), RequestClass::Control).unwrap();
        assert!(Arc::ptr_eq(&in_use, &again), "what is in use stays");
        assert_eq!(
            registry.open(&folder(7), RequestClass::Control).unwrap().get_small("a/b/c").await.unwrap().unwrap().0,
            "text"
        );
    }

    #[tokio::test]
    async fn a_source_is_found_in_its_bucket_by_its_raw_key() {
        let registry = registry(&["prefix=s3://b,region=eu-west-1", "prefix=s3://b/part,anonymous=true"]).await;
        let (whole, key) = registry.source(&at("s3://b/other//x")).unwrap();
        assert_eq!((key.as_str(), whole.location().path(), whole.access().credentials.as_str()), ("other//x", "", "chain"));
        let (part, key) = registry.source(&at("s3://b/part/x")).unwrap();
        assert_eq!((key.as_str(), part.location().path(), part.access().credentials.as_str()), ("part/x", "", "anonymous"));
        let (again, _) = registry.source(&at("s3://b/part/y")).unwrap();
        assert!(Arc::ptr_eq(&part, &again));
    }
}
