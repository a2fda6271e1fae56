//! `lake branch` and `lake tag`.

use std::collections::BTreeMap;
use std::sync::Arc;

use graveler::Refs;
use planner::source::{CommitSource, RefKind};
use planner::{Error, Location, Result};
use worker::Registry;

use super::names::{self, word};
use super::report::RefReport;
use super::store::Lake;

/// Makes a branch or tag at the commit that `reference` names.
///
/// # Errors
/// `Usage` for a bad or a taken name and for a reference that names nothing; those of opening and changing a lake.
pub async fn create_ref(
    registry: &Arc<Registry>,
    location: &Location,
    kind: RefKind,
    reference: &str,
    name: &str,
) -> Result<RefReport> {
    names::check(kind, name)?;
    let (lake, _, snapshot) = Lake::open(registry, location).await?;
    names::check_free(&snapshot.refs, kind, name)?;
    let commit = snapshot.source.resolve(reference).await?.id;
    let change = |refs: &mut Refs| {
        names::check_free(refs, kind, name)?;
        of(refs, kind).insert(name.to_owned(), commit.clone());
        Ok(())
    };
    let landed = |refs: &Refs| has(refs, kind, name) == Some(&commit);
    lake.update(snapshot, change, landed).await?;
    Ok(RefReport { lake: lake.url(), r#type: word(kind), id: name.to_owned(), commit_id: commit, deleted: false })
}

/// Deletes a branch or tag. Commits stay.
///
/// # Errors
/// `Usage` where there is none, `Guard` for the lake's default branch; those of opening and changing a lake.
pub async fn delete_ref(registry: &Arc<Registry>, location: &Location, kind: RefKind, name: &str) -> Result<RefReport> {
    let (lake, mark, snapshot) = Lake::open(registry, location).await?;
    let Some(commit) = has(&snapshot.refs, kind, name).cloned() else {
        return Err(Error::usage(format!("there is no {} `{name}`", word(kind)))
            .with_help(format!("`millrace refs {}` lists what there is", lake.url())));
    };
    if kind == RefKind::Branch && name == mark.default_branch {
        return Err(Error::guard(format!("`{name}` is the lake's default branch")).with_help("it cannot be deleted"));
    }
    let change = |refs: &mut Refs| match has(refs, kind, name) {
        // Somebody moved it meanwhile: what would go is not what was looked at.
        Some(now) if *now != commit => Err(Error::guard(format!("the {} `{name}` was moved to {now} meanwhile", word(kind)))
            .with_help("nothing was changed: look at it, then run the same command again")),
        _ => {
            of(refs, kind).remove(name);
            Ok(())
        }
    };
    lake.update(snapshot, change, |refs| has(refs, kind, name).is_none()).await?;
    Ok(RefReport { lake: lake.url(), r#type: word(kind), id: name.to_owned(), commit_id: commit, deleted: true })
}

fn of(refs: &mut Refs, kind: RefKind) -> &mut BTreeMap<String, String> {
    match kind {
        RefKind::Branch => &mut refs.branches,
        RefKind::Tag => &mut refs.tags,
    }
}

fn has<'a>(refs: &'a Refs, kind: RefKind, name: &str) -> Option<&'a String> {
    match kind {
        RefKind::Branch => refs.branches.get(name),
        RefKind::Tag => refs.tags.get(name),
    }
}
