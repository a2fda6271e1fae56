//! `lake commit`: a branch becomes equal to a folder below a prefix.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::stream;
use graveler::{Applied, Change, CommitData, Entry, Metarange, Prefixes, Refs, encode};
use planner::{Error, Location, Result, guard};
use worker::Registry;

use super::compare::{Comparison, compare};
use super::content::{Copied, Copier};
use super::files::Folder;
use super::report::{CommitReport, LakeState, millis};
use super::store::{Lake, Snapshot};
use super::{CommitRequest, new_commit};
use crate::progress::Progress;
use crate::report::ErrorReport;

/// Commits a folder.
///
/// # Errors
/// `Usage` for a branch, folder or message that cannot be; `Guard` for a lake that is not Millrace's, a folder that overlaps it or
/// would empty the branch, and a branch that another commit has moved; the stores'. Files that failed are in the report.
pub async fn commit(registry: &Arc<Registry>, request: &CommitRequest, progress: &dyn Progress) -> Result<CommitReport> {
    let started = Instant::now();
    let (message, prefix) = (message(request)?, folder_of(&request.prefix)?);
    let (lake, _, snapshot) = Lake::open(registry, &request.lake).await?;
    let head = snapshot.branch(&request.branch)?;
    refuse_overlap(registry, &lake, &request.folder)?;
    let folder = Folder::list(registry, &request.folder, &prefix).await?;
    if folder.left_out > 0 {
        progress.note(&format!("{} files of an export's own (`_millrace/`, status markers) are left out", folder.left_out));
    }
    let trees = lake.trees()?;
    let base = trees.namespace.metarange(&head.meta_range_id).await?;
    let compared = compare(&trees.namespace, &base, &prefix, &folder.files).await?;
    refuse_emptying(request, &folder, &prefix, &compared)?;
    let copied = Copier::new(registry, &folder, lake.location())?.run(&compared.old, request.concurrency, progress).await?;
    let mut report = report(&lake, request, &head, &copied);
    if copied.failures.is_empty() {
        let total = folder.files.len() as u64;
        let applied = next_tree(&lake, &base, changes(&folder, &prefix, copied, &compared)).await?;
        count(&mut report, total, applied.as_ref());
        if applied.is_some() || request.allow_empty {
            let metarange = applied.as_ref().map_or(head.meta_range_id.as_str(), |applied| applied.metarange.id());
            let commit = new_commit(&request.words, message, metarange, &[&head]);
            (report.state, report.parent, report.commit) = (LakeState::Committed, Some(head.id.clone()), commit.id.clone());
            move_branch(&lake, snapshot, &request.branch, &head, commit).await?;
        }
    }
    report.elapsed_ms = millis(started);
    Ok(report)
}

fn message(request: &CommitRequest) -> Result<String> {
    match request.words.message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => Ok(message.to_owned()),
        _ => Err(Error::usage("a commit needs a message").with_help("say what it is with -m MESSAGE")),
    }
}

/// A prefix names a folder of the lake, with or without its slash.
fn folder_of(prefix: &str) -> Result<String> {
    if prefix.starts_with('/') {
        return Err(Error::usage(format!("the prefix `{prefix}` begins with a slash"))
            .with_help(format!("paths in a lake do not: write `{}`", prefix.trim_start_matches('/'))));
    }
    Ok(if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") })
}

fn refuse_overlap(registry: &Registry, lake: &Lake, folder: &Location) -> Result<()> {
    match guard::overlaps_lake(registry, lake.location(), folder) {
        None => Ok(()),
        Some(why) => Err(Error::guard(format!("{folder} {why} ({})", lake.location()))
            .with_help("a lake cannot be committed into itself: choose another folder")),
    }
}

/// A folder without files is a wrong path, or one that was not filled, more often than the wish for an empty branch.
fn refuse_emptying(request: &CommitRequest, folder: &Folder, prefix: &str, compared: &Comparison) -> Result<()> {
    let removed = compared.removed.len();
    if request.allow_empty || removed == 0 || !folder.files.is_empty() {
        return Ok(());
    }
    let below = if prefix.is_empty() { String::new() } else { format!(" below `{prefix}`") };
    let objects = if removed == 1 { "the only object".to_owned() } else { format!("all {removed} objects") };
    Err(Error::guard(format!(
        "{} holds no files: the commit would remove {objects} of branch `{}`{below}",
        request.folder, request.branch
    ))
    .with_help("check the folder, and that it was filled; if the branch is to be emptied, add --allow-empty"))
}

fn report(lake: &Lake, request: &CommitRequest, head: &CommitData, copied: &Copied) -> CommitReport {
    let failed = copied.failures.len() as u64;
    let error = (failed > 0).then(|| ErrorReport {
        kind: "objects".to_owned(),
        message: format!("{failed} file{} could not be committed; the lake is as it was", if failed == 1 { "" } else { "s" }),
        help: Some("see that nobody writes to the folder, then run the same command again".to_owned()),
    });
    CommitReport {
        state: if failed > 0 { LakeState::Failed } else { LakeState::Unchanged },
        lake: lake.url(),
        branch: request.branch.clone(),
        commit: head.id.clone(),
        parent: None,
        added: 0,
        changed: 0,
        removed: 0,
        unchanged: 0,
        failed,
        bytes: copied.bytes,
        failures: copied.failures.clone(),
        elapsed_ms: 0,
        error,
    }
}

fn count(report: &mut CommitReport, files: u64, applied: Option<&Applied>) {
    let changes = applied.map(|applied| applied.changes).unwrap_or_default();
    (report.added, report.changed, report.removed) = (changes.added, changes.changed, changes.removed);
    report.unchanged = files.saturating_sub(changes.added + changes.changed);
}

/// What happens to the branch's tree, by key.
fn changes(folder: &Folder, prefix: &str, copied: Copied, compared: &Comparison) -> BTreeMap<Bytes, Option<Entry>> {
    let key = |i: usize| Bytes::from(format!("{prefix}{}", folder.files[i].key));
    let puts = copied.entries.into_iter().map(|(i, entry)| (key(i), Some(entry)));
    puts.chain(compared.removed.iter().map(|key| (Bytes::clone(key), None))).collect()
}

/// Stores the next tree; `None` where it would be the same.
async fn next_tree(lake: &Lake, base: &Metarange, changes: BTreeMap<Bytes, Option<Entry>>) -> Result<Option<Applied>> {
    if changes.is_empty() {
        return Ok(None);
    }
    let changes = stream::iter(changes.into_iter().map(|(key, entry)| Ok((key, change(entry.as_ref())))));
    let applied = lake.trees()?.apply(base, changes, &Prefixes::none()).await.map_err(|error| lake.not_written(error))?;
    Ok((!applied.changes.is_empty()).then_some(applied))
}

fn change(entry: Option<&Entry>) -> Change {
    let Some(entry) = entry else { return Change::Delete };
    let mut data = Vec::new();
    let identity = encode::entry_record(entry, &mut data);
    Change::Put { identity: identity.to_vec().into(), data: data.into() }
}

/// Makes `commit` the head of a branch whose head is `head`.
pub(super) async fn move_branch(
    lake: &Lake,
    snapshot: Snapshot,
    branch: &str,
    head: &CommitData,
    commit: CommitData,
) -> Result<()> {
    let id = commit.id.clone();
    let change = |refs: &mut Refs| {
        match refs.branches.get_mut(branch) {
            Some(now) if *now == head.id => now.clone_from(&commit.id),
            now => return Err(overtaken(lake, branch, now.as_deref())),
        }
        refs.commits.insert(commit.id.clone(), commit.clone());
        Ok(())
    };
    lake.update(snapshot, change, |refs| refs.commits.contains_key(&id)).await
}

fn overtaken(lake: &Lake, branch: &str, now: Option<&String>) -> Error {
    let what = match now {
        Some(now) => format!("was moved to commit {now}"),
        None => "was deleted".to_owned(),
    };
    Error::guard(format!("branch `{branch}` of {} {what} by somebody else meanwhile", lake.url()))
        .with_help("nothing was committed: run the same command again, it starts from what is there now")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        assert_eq!([folder_of(""), folder_of("a/b"), folder_of("a/b/")].map(Result::unwrap), ["", "a/b/", "a/b/"]);
        assert_eq!(folder_of("/a").unwrap_err().kind(), planner::ErrorKind::Usage);
    }

    #[test]
    fn an_entry_becomes_a_put_and_its_absence_a_delete() {
        assert_eq!(change(None), Change::Delete);
        let entry = Entry { size: 3, e_tag: "e".to_owned(), ..Entry::default() };
        let Change::Put { identity, data } = change(Some(&entry)) else { panic!("a put") };
        assert_eq!(*identity, graveler::ident::entry_identity(&entry));
        assert_eq!(graveler::EntryRef::decode(&data).unwrap().to_entry(), entry);
    }
}
