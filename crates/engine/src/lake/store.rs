//! A lake that is being written: who may write it, what its refs are, and how they change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use graveler::{
    CommitData, METADATA_FOLDER, MetadataSink, Namespace, REFS_MANIFEST, Refs, RefsDump, RefsManifest, StoreFiles, TreeMerge,
    WriteOptions, write_refs,
};
use planner::source::{LAKE_FORMAT, NamespaceSource, own_format};
use planner::{Error, Location, Result, Stores};
use rand::Rng;
use serde::Serialize;
use worker::store::Condition;
use worker::{FailureKind, Registry, StoreError};

use super::mark::{MARK_KEY, Mark};
use super::sink::LakeSink;
use crate::destination::Destination;

/// What a server leaves in a namespace that it manages.
const SERVERS_MARK: &str = "_lakefs/dummy";
/// How often the refs are changed anew because somebody else changed other refs meanwhile.
const TRIES: u32 = 16;
/// The longest wait before the second try; it doubles from there, up to 64 times.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// A lake and its stores.
#[derive(Debug)]
pub(super) struct Lake {
    location: Location,
    registry: Arc<Registry>,
    place: Destination,
}

/// The refs of a lake at one moment, and what tells whether it has passed.
#[derive(Debug)]
pub(super) struct Snapshot {
    json: Bytes,
    etag: String,
    pub(super) refs: Refs,
    pub(super) source: NamespaceSource,
}

/// How an attempt to change the refs ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// It counts.
    Done,
    /// The refs are others than before: somebody else's, or these after all.
    Overtaken,
}

impl Lake {
    /// The lake at `location`, of which nothing was looked at.
    pub(super) fn at(registry: &Arc<Registry>, location: &Location) -> Result<Self> {
        let place = Destination::open(registry, location)?;
        if !place.control().capabilities().conditional_put {
            return Err(Error::usage(format!("{location} cannot hold a lake: the store knows no conditional writes"))
                .with_help("use lake+s3://BUCKET/PREFIX or lake+file:///FOLDER"));
        }
        Ok(Self { location: location.clone(), registry: Arc::clone(registry), place })
    }

    /// Opens a lake for writing: one that Millrace made and that no server manages.
    pub(super) async fn open(registry: &Arc<Registry>, location: &Location) -> Result<(Self, Mark, Snapshot)> {
        let lake = Self::at(registry, location)?;
        let manifest = lake.manifest().await?;
        lake.refuse_servers().await?;
        let mark = lake.mark().await?;
        let Some((json, etag)) = manifest else { return Err(lake.missing(mark.is_some())) };
        lake.check_manifest(&json, mark.is_some())?;
        let Some(mark) = mark else {
            return Err(Error::guard(format!("the lake at {location} has lost its mark ({MARK_KEY})"))
                .with_help("restore the file from a copy of the lake"));
        };
        let snapshot = lake.load(json, etag).await?;
        Ok((lake, mark, snapshot))
    }

    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// As it is typed.
    pub(super) fn url(&self) -> String {
        format!("lake+{}", self.location)
    }

    pub(super) fn place(&self) -> &Destination {
        &self.place
    }

    fn sink(&self) -> Arc<dyn MetadataSink> {
        Arc::new(LakeSink(Arc::clone(self.place.control())))
    }

    /// Who writes trees of this lake.
    pub(super) fn trees(&self) -> Result<TreeMerge> {
        Ok(TreeMerge { namespace: self.namespace()?, sink: self.sink(), options: WriteOptions::default() })
    }

    fn namespace(&self) -> Result<Namespace> {
        let files = self.registry.metadata(&self.location)?;
        Ok(Namespace::new(Arc::new(StoreFiles::new(files.store, files.prefix))))
    }

    /// Refuses what a server manages.
    pub(super) async fn refuse_servers(&self) -> Result<()> {
        if self.place.get(SERVERS_MARK).await?.is_none() {
            return Ok(());
        }
        Err(Error::guard(format!("a lakeFS server manages {} (it holds {SERVERS_MARK})", self.location))
            .with_help("write to it through the server, or make a lake of its own elsewhere with `millrace lake init`"))
    }

    /// Its mark.
    pub(super) async fn mark(&self) -> Result<Option<Mark>> {
        let found = self.place.get(MARK_KEY).await?;
        found.map(|(json, _)| Mark::parse(&json, &self.location)).transpose()
    }

    /// The manifest and its etag.
    pub(super) async fn manifest(&self) -> Result<Option<(Bytes, String)>> {
        self.place.get(&manifest_key()).await
    }

    /// Whether anything lies below `_lakefs/`.
    pub(super) async fn has_metadata(&self) -> Result<bool> {
        let prefix = format!("{METADATA_FOLDER}/");
        match self.place.control().list(&prefix).try_next().await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind == FailureKind::NotFound => Ok(false),
            Err(error) => Err(self.place.failed(error, format!("{prefix}* cannot be listed"))),
        }
    }

    /// Refuses a manifest that Millrace did not write: its writer would not know of what is added here.
    fn check_manifest(&self, json: &[u8], marked: bool) -> Result<()> {
        if own_format(&self.location, json)?.is_some() {
            return Ok(());
        }
        let at = &self.location;
        Err(if marked {
            Error::guard(format!("a lakeFS server has dumped its refs into the lake at {at}: it was restored there, and the server is the master now"))
                .with_help("write to it through the server; reading it here goes on")
        } else {
            Error::guard(format!("Millrace did not make the lake at {at}: its refs are a dump of a lakeFS server, whose next one would drop what is written here"))
                .with_help("write to it through the server, or make a lake of its own elsewhere with `millrace lake init`")
        })
    }

    fn missing(&self, marked: bool) -> Error {
        let at = &self.location;
        let what = if marked { "the making of the lake was not finished" } else { "nothing is there" };
        Error::unreachable(format!("there is no lake at {at}: {what}"))
            .with_help(format!("check the address, or make one with `millrace lake init lake+{at}`"))
    }

    /// The refs as they are now.
    pub(super) async fn snapshot(&self) -> Result<Snapshot> {
        let Some((json, etag)) = self.manifest().await? else { return Err(self.missing(true)) };
        self.check_manifest(&json, true)?;
        self.load(json, etag).await
    }

    async fn load(&self, json: Bytes, etag: String) -> Result<Snapshot> {
        let manifest = RefsManifest::parse(&json, &manifest_key())?;
        let dump = RefsDump::new(self.namespace()?, manifest.clone());
        let refs = Refs {
            branches: dump.branches().map_ok(|branch| (branch.id, branch.commit_id)).try_collect().await?,
            tags: dump.tags().map_ok(|tag| (tag.id, tag.commit_id)).try_collect().await?,
            commits: dump.commits().map_ok(|commit| (commit.id.clone(), commit)).try_collect().await?,
        };
        let source = NamespaceSource::with_manifest(&self.location, self.registry.as_ref(), manifest)?;
        Ok(Snapshot { json, etag, refs, source })
    }

    /// Changes the refs by `change`, which may be asked again on newer ones. `landed` says of refs whether this change is among
    /// them, for answers that got lost.
    pub(super) async fn update(
        &self,
        mut snapshot: Snapshot,
        change: impl Fn(&mut Refs) -> Result<()> + Send,
        landed: impl Fn(&Refs) -> bool + Send,
    ) -> Result<()> {
        for tried in 0..TRIES {
            let mut refs = std::mem::take(&mut snapshot.refs);
            change(&mut refs)?;
            if self.publish(&snapshot, &refs).await? == Attempt::Done {
                return Ok(());
            }
            tokio::time::sleep(pause(tried)).await;
            snapshot = self.snapshot().await?;
            if landed(&snapshot.refs) {
                return Ok(());
            }
        }
        Err(Error::guard(format!("others change the lake at {} all the time", self.location))
            .with_help("nothing was changed: run the same command again"))
    }

    /// Stores the refs, and makes them count if those of `snapshot` still do.
    async fn publish(&self, snapshot: &Snapshot, refs: &Refs) -> Result<Attempt> {
        let body = self.dump(refs).await?;
        if body == snapshot.json {
            return Ok(Attempt::Done);
        }
        match self.put_manifest(&body, Condition::Match(snapshot.etag.clone())).await {
            Ok(()) => Ok(Attempt::Done),
            Err(error) if error.kind == FailureKind::Precondition => Ok(Attempt::Overtaken),
            Err(error) => match self.manifest().await {
                Ok(Some((now, _))) if now == body => Ok(Attempt::Done),
                Ok(Some((now, _))) if now != snapshot.json => Ok(Attempt::Overtaken),
                _ => Err(self.place.failed(error, "the refs cannot be changed").with_help("run the same command again")),
            },
        }
    }

    /// Stores a dump of the refs; gives its manifest's text.
    pub(super) async fn dump(&self, refs: &Refs) -> Result<Vec<u8>> {
        let manifest = write_refs(&self.sink(), WriteOptions::default(), refs).await.map_err(|e| self.not_written(e))?;
        self.sync().await?;
        manifest_json(&manifest)
    }

    /// Makes everything that was written so far survive a power failure.
    async fn sync(&self) -> Result<()> {
        self.place.control().sync().await.map_err(|error| self.place.failed(error, "what was written cannot be made durable"))
    }

    /// Writes the manifest where `condition` holds.
    pub(super) async fn put_manifest(&self, body: &[u8], condition: Condition) -> Result<(), StoreError> {
        self.place.put(&manifest_key(), body.to_vec(), "application/json", condition).await.map(drop)
    }

    /// What a failure to write metadata means, with what the store said of it.
    pub(super) fn not_written(&self, error: graveler::Error) -> Error {
        let said = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<StoreError>());
        match said {
            Some(said) => self.place.failed(said.clone(), format!("{} cannot be written", error.file())),
            None => error.into(),
        }
    }
}

impl Snapshot {
    /// The head of a branch.
    pub(super) fn branch(&self, name: &str) -> Result<CommitData> {
        if let Some(head) = self.refs.branches.get(name) {
            return self.commit(head).cloned();
        }
        let names: Vec<_> = self.refs.branches.keys().take(10).map(String::as_str).collect();
        let what = if self.refs.tags.contains_key(name) { "is a tag, not a branch" } else { "is no branch of the lake" };
        Err(Error::usage(format!("`{name}` {what}"))
            .with_help(format!("branches are {}; `millrace lake branch` makes another one", names.join(", "))))
    }

    /// A commit by its id.
    pub(super) fn commit(&self, id: &str) -> Result<&CommitData> {
        self.refs.commits.get(id).ok_or_else(|| {
            Error::corrupt(format!("commit {id} is not among the commits of the lake"))
                .with_help("restore `_lakefs/` from a copy of the lake")
        })
    }
}

fn manifest_key() -> String {
    format!("{METADATA_FOLDER}/{REFS_MANIFEST}")
}

/// The manifest as a server reads it, with a stamp that a server does not write.
fn manifest_json(manifest: &RefsManifest) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Stamped<'a> {
        #[serde(flatten)]
        manifest: &'a RefsManifest,
        millrace: Stamp,
    }
    #[derive(Serialize)]
    struct Stamp {
        format: u32,
    }
    let stamped = Stamped { manifest, millrace: Stamp { format: LAKE_FORMAT } };
    serde_json::to_vec_pretty(&stamped).map_err(|error| Error::bug(format!("the refs manifest: {error}")))
}

fn pause(tried: u32) -> Duration {
    (FIRST_WAIT * (1 << tried.min(6))).mul_f64(rand::rng().random_range(0.1..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_a_servers_and_a_stamp() {
        let id = |c: &str| c.repeat(64);
        let manifest =
            RefsManifest { commits_meta_range_id: id("a"), tags_meta_range_id: id("b"), branches_meta_range_id: id("c") };
        let json = manifest_json(&manifest).unwrap();
        assert_eq!(RefsManifest::parse(&json, "f").unwrap(), manifest);
        let at = Location::parse("/srv/lake").unwrap();
        assert_eq!(own_format(&at, &json).unwrap(), Some(LAKE_FORMAT));
        assert_eq!(own_format(&at, &manifest.to_json()).unwrap(), None);
        let newer = String::from_utf8(json).unwrap().replace("\"format\": 1", "\"format\": 2");
        assert_eq!(own_format(&at, newer.as_bytes()).unwrap_err().kind(), planner::ErrorKind::Usage);
    }
}
