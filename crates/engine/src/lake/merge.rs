//! `lake merge`: what a reference changed since it left a branch is brought into that branch.

use std::sync::Arc;
use std::time::Instant;

use graveler::{CommitData, Conflict, Merged, Strategy};
use planner::source::{CommitSource, RefKind};
use planner::{Error, Result};
use worker::Registry;

use super::ancestor::merge_base;
use super::commit::move_branch;
use super::report::{LakeState, MergeReport, millis};
use super::store::{Lake, Snapshot};
use super::{MergeRequest, names, new_commit};
use crate::report::ErrorReport;

/// Keys in conflict that are named.
const NAMED: usize = 10;
/// The pair of a merge's metadata that says how conflicts were decided.
const STRATEGY_KEY: &str = ".lakefs.merge.strategy";

/// Merges as `lakectl merge SOURCE BRANCH` does: also a branch that could simply be moved gets a commit.
///
/// # Errors
/// `Usage` for names that mean nothing; `Guard` for a lake that is not Millrace's and a branch that another commit has moved;
/// the stores'. Conflicts are in the report.
pub async fn merge(registry: &Arc<Registry>, request: &MergeRequest) -> Result<MergeReport> {
    let started = Instant::now();
    names::check(RefKind::Branch, &request.branch)?;
    let (lake, _, snapshot) = Lake::open(registry, &request.lake).await?;
    let head = snapshot.branch(&request.branch)?;
    let source = snapshot.commit(&snapshot.source.resolve(&request.source).await?.id)?.clone();
    let base = merge_base(&snapshot.refs.commits, &source.id, &head.id).cloned().ok_or_else(|| {
        Error::usage(format!("`{}` and `{}` have no commit in common", request.source, request.branch))
            .with_help("only what comes from one lake can be merged")
    })?;
    let mut report = report(&lake, request, &source, &head, &base);
    let merged = merge_trees(&lake, request, &base, &source, &head).await?;
    finish(&lake, snapshot, request, &head, &source, merged, &mut report).await?;
    report.elapsed_ms = millis(started);
    Ok(report)
}

async fn merge_trees(
    lake: &Lake,
    request: &MergeRequest,
    base: &CommitData,
    source: &CommitData,
    head: &CommitData,
) -> Result<Merged> {
    let trees = lake.trees()?;
    let tree = |commit: &CommitData| {
        let (namespace, id) = (trees.namespace.clone(), commit.meta_range_id.clone());
        async move { namespace.metarange(&id).await }
    };
    let (base, source, head) = (tree(base).await?, tree(source).await?, tree(head).await?);
    let merged = trees.merge(&base, &source, &head, request.strategy, NAMED + 1).await;
    merged.map_err(|error| lake.not_written(error))
}

/// Makes the commit, or tells why there is none.
async fn finish(
    lake: &Lake,
    snapshot: Snapshot,
    request: &MergeRequest,
    head: &CommitData,
    source: &CommitData,
    merged: Merged,
    report: &mut MergeReport,
) -> Result<()> {
    match merged {
        Merged::Nothing => Ok(()),
        Merged::Conflicts(conflicts) => {
            conflict(&conflicts, report);
            Ok(())
        }
        Merged::Tree { applied, resolved } => {
            let mut words = request.words.clone();
            words.metadata.insert(STRATEGY_KEY.to_owned(), strategy_name(request.strategy).to_owned());
            let usual = || format!("Merge '{}' into '{}'", request.source, request.branch);
            let message = words.message.take().filter(|message| !message.trim().is_empty()).unwrap_or_else(usual);
            let commit = new_commit(&words, message, applied.metarange.id(), &[head, source]);
            (report.added, report.changed, report.removed) =
                (applied.changes.added, applied.changes.changed, applied.changes.removed);
            (report.state, report.resolved, report.commit) = (LakeState::Committed, resolved, commit.id.clone());
            move_branch(lake, snapshot, &request.branch, head, commit).await
        }
    }
}

fn report(lake: &Lake, request: &MergeRequest, source: &CommitData, head: &CommitData, base: &CommitData) -> MergeReport {
    MergeReport {
        state: LakeState::Unchanged,
        lake: lake.url(),
        source: request.source.clone(),
        source_commit: source.id.clone(),
        branch: request.branch.clone(),
        commit: head.id.clone(),
        base: base.id.clone(),
        added: 0,
        changed: 0,
        removed: 0,
        resolved: 0,
        conflicts: Vec::new(),
        elapsed_ms: 0,
        error: None,
    }
}

fn conflict(conflicts: &[Conflict], report: &mut MergeReport) {
    let keys = conflicts.iter().take(NAMED).map(|conflict| String::from_utf8_lossy(&conflict.key).into_owned());
    report.conflicts = keys.collect();
    let named = report.conflicts.iter().map(|key| format!("`{}`", key.escape_debug())).collect::<Vec<_>>().join(", ");
    let more = if conflicts.len() > NAMED { ", and more" } else { "" };
    report.state = LakeState::Conflict;
    report.error = Some(ErrorReport {
        kind: "guard".to_owned(),
        message: format!("`{}` and `{}` changed the same objects: {named}{more}", report.source, report.branch),
        help: Some(
            "nothing was merged: decide with --strategy source-wins or dest-wins, or commit what is wanted first".to_owned(),
        ),
    });
}

fn strategy_name(strategy: Option<Strategy>) -> &'static str {
    match strategy {
        None => "default",
        Some(Strategy::SourceWins) => "source-wins",
        Some(Strategy::DestWins) => "dest-wins",
    }
}
