//! `lake init`: an empty lake.
//!
//! # Crash consistency
//! The mark comes first and the manifest last. A mark without a manifest is a lake whose making was interrupted: the same
//! command goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use graveler::Refs;
use planner::source::{RefKind, own_format};
use planner::{Error, Location, Result};
use worker::store::Condition;
use worker::{FailureKind, Registry};

use super::mark::{MARK_KEY, Mark};
use super::report::InitReport;
use super::store::Lake;
use super::{CommitWords, names, new_commit};
use crate::head::HEAD_KEY;
use crate::there;

/// The message of every repository's first commit.
const FIRST_MESSAGE: &str = "Repository created";

/// Makes an empty lake at `location` with one branch.
///
/// # Errors
/// `Guard` where a lake or the destination of an export is already, `Usage` for a bad name or a store without conditional writes, the store's.
pub async fn init(registry: &Arc<Registry>, location: &Location, branch: &str) -> Result<InitReport> {
    names::check(RefKind::Branch, branch)?;
    let lake = Lake::at(registry, location)?;
    refuse_lakes(&lake).await?;
    refuse_destinations(&lake).await?;
    put_mark(&lake, branch).await?;
    let first = new_commit(&CommitWords::default(), FIRST_MESSAGE.to_owned(), "", &[]);
    let commit = first.id.clone();
    let refs = Refs {
        branches: BTreeMap::from([(branch.to_owned(), commit.clone())]),
        tags: BTreeMap::new(),
        commits: BTreeMap::from([(commit.clone(), first)]),
    };
    let manifest = lake.dump(&refs).await?;
    if let Err(error) = lake.put_manifest(&manifest, Condition::Absent).await {
        // The answer may have been lost.
        match lake.manifest().await {
            Ok(Some((now, _))) if now == manifest => {}
            Ok(Some(_)) if error.kind == FailureKind::Precondition => return Err(there_already(&lake)),
            _ => return Err(lake.place().failed(error, "the refs cannot be written").with_help("run the same command again")),
        }
    }
    Ok(InitReport { lake: lake.url(), branch: branch.to_owned(), commit })
}

/// Refuses a place that holds a lake, whoever made it.
async fn refuse_lakes(lake: &Lake) -> Result<()> {
    lake.refuse_servers().await?;
    if let Some((json, _)) = lake.manifest().await? {
        return Err(match own_format(lake.location(), &json)? {
            Some(_) => there_already(lake),
            None => Error::guard(format!("{} holds a lake of a lakeFS server", lake.location()))
                .with_help("choose a folder or prefix without a lake"),
        });
    }
    if lake.mark().await?.is_none() && lake.has_metadata().await? {
        return Err(Error::guard(format!(
            "{} holds metadata of a lake (`_lakefs/`) that Millrace did not make",
            lake.location()
        ))
        .with_help("choose a folder or prefix without a lake"));
    }
    Ok(())
}

/// Refuses a place that exports are written to: what is there belongs to their receipts, and a lake among it would be taken for
/// objects of somebody else.
async fn refuse_destinations(lake: &Lake) -> Result<()> {
    let place = lake.place();
    let found = match place.get(HEAD_KEY).await? {
        Some(_) => Some(place.location().clone()),
        None => there::above(place).await,
    };
    match found {
        None => Ok(()),
        Some(at) => {
            Err(Error::guard(format!("{} would lie in the destination of an export: {at} has its {HEAD_KEY}", lake.location()))
                .with_help("choose a folder or prefix outside of it"))
        }
    }
}

fn there_already(lake: &Lake) -> Error {
    Error::guard(format!("there is a lake at {} already", lake.location()))
        .with_help(format!("see what is in it with `millrace refs {}`, or choose another place", lake.url()))
}

/// Another one who makes the same lake may have been faster: the manifest decides whose it is.
async fn put_mark(lake: &Lake, branch: &str) -> Result<()> {
    let body = serde_json::to_vec_pretty(&Mark::new(branch)).map_err(|error| Error::bug(format!("{MARK_KEY}: {error}")))?;
    // The mark of an interrupted making may name another branch.
    let condition = match lake.place().get(MARK_KEY).await? {
        Some((_, etag)) => Condition::Match(etag),
        None => Condition::Absent,
    };
    match lake.place().put(MARK_KEY, body, "application/json", condition).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == FailureKind::Precondition => Ok(()),
        Err(error) => Err(lake.place().failed(error, format!("{MARK_KEY} cannot be written"))),
    }
}
