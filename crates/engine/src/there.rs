//! What is at a destination that no receipt tells of: found by a listing before a first export, and by a look at single keys
//! where there is a base.

mod since;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt;
use planner::guard::{is_reserved, is_status_marker};
use planner::round::is_marker;
use planner::{Error, Looks, Named, Result};
use worker::{FailureKind, Store};

use crate::destination::{Destination, OWN_FOLDER};
use crate::head::{HEAD_KEY, HeadFile};

pub(crate) use since::markers_since;

/// What a listing found.
#[derive(Debug, Default)]
pub(crate) struct There {
    /// Completion markers and files with names of done files, with their bytes.
    pub listed: BTreeMap<String, u64>,
    /// In a file system: what no folder may be made of, and no file.
    pub in_the_way: BTreeSet<String>,
    /// Status markers beside the data.
    pub status: Vec<String>,
    /// Objects that are not Millrace's own.
    pub objects: u64,
}

/// Lists a destination. `names` are those of done files. Unless it is forced, one that holds another destination is refused,
/// and one that has lost its HEAD.
///
/// # Errors
/// `Guard`, the store's.
pub(crate) async fn list(destination: &Destination, force: bool, names: &BTreeSet<String>) -> Result<There> {
    let rules = planner::Stores::key_rules(destination.registry().as_ref(), destination.location());
    let mut there = There::default();
    let data = destination.data()?;
    let status = destination.status_below().filter(|status| !status.is_empty());
    let mut listing = data.list("");
    loop {
        let one = match listing.try_next().await {
            Ok(Some(one)) => one,
            Ok(None) => return Ok(there),
            Err(e) if e.kind == FailureKind::NotFound => return Ok(there),
            Err(e) => return Err(destination.failed(e, "it cannot be listed")),
        };
        if status.as_ref().is_some_and(|status| one.key.starts_with(status)) {
            continue;
        }
        if !force && one.key.ends_with(&format!("/{HEAD_KEY}")) {
            return Err(another_below(destination, data.as_ref(), one.key.trim_end_matches(HEAD_KEY)).await);
        }
        if !force && one.key.strip_prefix(OWN_FOLDER).is_some_and(|rest| rest.starts_with("/receipts/")) {
            return Err(Error::guard(format!("{} has receipts, and no {HEAD_KEY} that names them", destination.status()))
                .with_help(
                    "restore it; or say by --from which commit is there; or use --force: what earlier exports left is then foreign, and stays",
                ));
        }
        if rules.file_system && one.key == OWN_FOLDER {
            return Err(Error::guard(format!(
                "{}{OWN_FOLDER} is a file, and Millrace's own folder must be there",
                destination.location()
            ))
            .with_help("choose another destination, or move the file away"));
        }
        if is_status_marker(&one.key) {
            there.status.push(one.key);
            continue;
        }
        if is_reserved(&one.key) {
            continue;
        }
        there.objects += 1;
        let name = one.key.rsplit('/').next().unwrap_or_default();
        if is_marker(&one.key) || names.contains(name) {
            there.listed.insert(one.key.clone(), one.size);
        }
        if rules.file_system {
            there.in_the_way.insert(one.key);
        }
    }
}

/// Why a destination is refused that has another HEAD in the folder `at`.
async fn another_below(destination: &Destination, data: &dyn Store, at: &str) -> Error {
    let location = destination.location();
    let head = data.get_small(&format!("{at}{HEAD_KEY}")).await.ok().flatten();
    let head: Option<HeadFile> = head.and_then(|(body, _)| serde_json::from_slice(&body).ok());
    if head.and_then(|head| head.serves).is_some_and(|served| served == location.to_string()) {
        return Error::guard(format!("{location} was exported to with --status-path {location}{at}"))
            .with_help("give that --status-path again: the receipts are there");
    }
    Error::guard(format!("{location}{at} is a destination of its own"))
        .with_help("choose a destination beside it, or use --force")
}

/// What a person should know before a first export to a place that is not empty.
pub(crate) fn note(status: &[String], objects: u64) -> Option<String> {
    let is = if objects == 1 { "object is" } else { "objects are" };
    let what = match (objects, status) {
        (0, []) => return None,
        (0, left) => {
            format!("an earlier export left {}, and no receipt tells of it: every object of the commit is written", named(left))
        }
        (_, []) => format!(
            "{objects} {is} there already, and no receipt tells of them: those under keys of the commit are written again, others stay"
        ),
        (_, left) => format!(
            "an earlier export left {}, {objects} {is} there already, and no receipt tells of them: those under keys of the commit are written again, others stay",
            named(left)
        ),
    };
    Some(format!("{what}. Was --status-path forgotten? Where an earlier export had one, stop and give it again"))
}

/// Refuses status markers beside the data that nobody would put right: this export has its own elsewhere.
///
/// # Errors
/// `Guard`, naming them.
pub(crate) fn speak_for_nothing(destination: &Destination, status: &[String], force: bool) -> Result<()> {
    if force || status.is_empty() || destination.served().is_none() {
        return Ok(());
    }
    let (at, named) = (destination.location(), named(status));
    Err(Error::guard(format!("{at} has {named} beside the data, which no export with --status-path removes"))
        .with_help("remove what speaks for the data no more, or leave --status-path out; --force leaves it there"))
}

fn named(status: &[String]) -> String {
    status.iter().cloned().collect::<Named>().keys()
}

/// Refuses a destination below another one.
///
/// # Errors
/// `Guard`, naming that.
pub(crate) async fn neighbours(destination: &Destination, force: bool) -> Result<()> {
    if force {
        return Ok(());
    }
    let Some(above) = above(destination).await else { return Ok(()) };
    let location = destination.location();
    Err(Error::guard(format!("{location} lies below {above}, which is a destination of its own"))
        .with_help("choose a destination beside it, or use --force"))
}

/// The nearest destination that `place` lies below.
pub(crate) async fn above(place: &Destination) -> Option<planner::Location> {
    let location = place.location();
    let mut path = location.path().trim_end_matches('/');
    while !path.is_empty() {
        path = path.rfind('/').map_or("", |at| &path[..at]);
        let above = planner::Location::new(location.scheme(), location.bucket(), path).as_folder();
        let Ok(other) = Destination::open(place.registry(), &above) else { continue };
        if matches!(other.control().head(HEAD_KEY).await, Ok(Some(_))) {
            return Some(above);
        }
    }
    None
}

/// A destination whose status path is elsewhere has no HEAD of its own: somebody would export to it without knowing of this one.
///
/// # Errors
/// `Guard` where it has one, the store's.
pub(crate) async fn has_one_head(destination: &Destination) -> Result<()> {
    if destination.served().is_none() {
        return Ok(());
    }
    let beside = destination.data()?;
    match beside.head(HEAD_KEY).await {
        Ok(Some(_)) => Err(Error::guard(format!("{} has its own {HEAD_KEY}", destination.location()))
            .with_help("leave --status-path out, or move `_millrace/` there aside and export with --full")),
        Ok(None) => Ok(()),
        Err(error) => Err(destination.failed(error, format!("{}{HEAD_KEY} cannot be read", destination.location()))),
    }
}

/// Keys of one depth that are looked at for a plan. In a lake with a folder for each object there would be as many looks as
/// copies; those above, which speak for more, are few.
const LOOKS: u64 = 1000;

/// Depths that are told apart; what is deeper counts together.
const DEPTHS: usize = 8;

/// How deep a key or a folder lies, as far as that is told apart.
fn depth(key: &str) -> usize {
    key.matches('/').count().min(DEPTHS - 1)
}

/// Looks at single keys, up to a number.
#[derive(Debug)]
pub(crate) struct Glances {
    destination: Destination,
    data: Arc<dyn Store>,
    /// The credentials may not look.
    denied: AtomicBool,
    /// By depth: for completion markers, and for done files.
    asked: [[AtomicU64; DEPTHS]; 2],
}

impl Glances {
    /// # Errors
    /// Settings that name no usable store.
    pub(crate) fn at(destination: &Destination) -> Result<Self> {
        Ok(Self {
            destination: destination.clone(),
            data: destination.data()?,
            denied: AtomicBool::new(false),
            asked: Default::default(),
        })
    }

    /// What could not be seen.
    pub(crate) fn note(&self) -> Option<String> {
        if self.denied.load(Ordering::Relaxed) {
            return Some(
                "whether somebody else left completion markers in folders that change could not be seen: the credentials may not look at single objects (s3:GetObject, s3:ListBucket)".to_owned(),
            );
        }
        let more: u64 = self.asked.iter().flatten().map(|asked| asked.load(Ordering::Relaxed).saturating_sub(LOOKS)).sum();
        (more > 0).then(|| {
            format!("{more} more folders change: for markers and done files that somebody else left, only {LOOKS} of each depth were looked into")
        })
    }
}

#[async_trait]
impl Looks for Glances {
    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let asked = &self.asked[usize::from(!is_marker(key))][depth(key)];
        if self.denied.load(Ordering::Relaxed) || asked.fetch_add(1, Ordering::Relaxed) >= LOOKS {
            return Ok(None);
        }
        match self.data.head(key).await {
            Ok(head) => Ok(head.map(|head| head.size)),
            Err(error) if error.kind == FailureKind::Denied => {
                self.denied.store(true, Ordering::Relaxed);
                Ok(None)
            }
            // Nothing can be there under such a key.
            Err(error) if matches!(error.kind, FailureKind::NotFound | FailureKind::BadKey) => Ok(None),
            Err(error) => Err(self.destination.failed(error, format!("{key} cannot be looked at"))),
        }
    }
}
