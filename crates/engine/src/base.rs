//! What a destination is believed to hold: HEAD, overlaid with every run that did not finish.
//!
//! A key of an unfinished run is *unknown*: it is planned again, whatever the difference of the commits says. Outcomes of
//! such runs are not believed here.

use std::collections::BTreeSet;
use std::sync::Arc;

use planner::plan::{PLAN_FILE, PlanBase, PlanFile, read_plan};
use planner::source::{Commit, CommitSource, history};
use planner::{Base, Error, ErrorKind, Part, Result, SelectionSpec, View};
use tempfile::TempDir;

use crate::destination::{Destination, OWN_FOLDER};
use crate::head::{Current, HEAD_KEY, HeadFile};
use crate::prepare::temporary;
use crate::request::{Adopt, ExportRequest};
use crate::session::{local_files, plan_keys, present_keys};
use crate::there::{self, There};
use crate::unfinished::{self, Unfinished};
use crate::{receipt, resume};

/// What planning starts from.
#[derive(Debug, Clone, Default)]
pub struct Believed {
    /// For the planner.
    pub base: Base,
    /// The claimed root of a chain that has no receipt yet.
    pub claim: Option<PlanBase>,
    /// The folder of [`Base::tree`].
    pub kept: Option<Arc<TempDir>>,
    /// Nothing that is believed can be relied on: everything is written again.
    pub distrust: bool,
    /// A listing has shown every marker that is there, or somebody said that there is none.
    pub seen: bool,
    /// Things a person should know.
    pub notes: Vec<String>,
}

/// The folder of a run.
#[must_use]
pub fn run_folder(run: &str) -> String {
    format!("{OWN_FOLDER}/runs/{run}")
}

/// The stored plan of a run that did not finish.
///
/// # Errors
/// `Corrupt` where it is gone.
pub async fn stored_plan(destination: &Destination, run: &str) -> Result<PlanFile> {
    let folder = format!("{}/plan", run_folder(run));
    let shown = format!("{}{folder}", destination.status());
    read_plan(&destination.metadata(&folder)?, &shown).await.map_err(|e| {
        if e.kind() == ErrorKind::Usage {
            Error::corrupt(format!("the plan of the unfinished run {run} cannot be used: {e}")).with_help(format!(
                "restore {shown}/{PLAN_FILE}, or export with --full: what that run may have done is not known without it, and everything is copied again"
            ))
        } else {
            e
        }
    })
}

/// Decides over the base of an export. Reads only.
///
/// # Errors
/// `Guard` for a destination of another view, a claim against HEAD, or a branch that went back.
pub async fn believed(destination: &Destination, head: &HeadFile, request: &ExportRequest, view: &View) -> Result<Believed> {
    let (mut plans, mut lost) = (Vec::new(), Vec::new());
    for run in &head.unfinished {
        match stored_plan(destination, run).await {
            Ok(plan) => plans.push(plan),
            // What is written again need not be known.
            Err(error) if request.full && error.kind() == ErrorKind::Corrupt => lost.push((run.clone(), error)),
            Err(error) => return Err(error),
        }
    }
    let current = head.current.as_ref();
    let mut believed = Believed::default();
    // HEAD says what the first of the runs was for, whatever became of its plan.
    let there = current.map(|c| &c.view).or(head.unfinished_view.as_ref()).or_else(|| plans.first().map(|p| &p.view));
    if let Some(there) = there.filter(|there| !there.same_root(view)) {
        return adopted(destination, head, request, (there, view), (&plans, lost)).await;
    }
    let part = Part::new(&view.prefix);
    for plan in &plans {
        believed.base.done.extend(plan.view.rounds.done.clone());
        match overlay(destination, plan, request, &part, &mut believed.base).await {
            Ok(known) => believed.notes.push(unfinished::shown(&plan.run, rows(plan), known)),
            Err(error) if request.full && error.kind() == ErrorKind::Corrupt => lost.push((plan.run.clone(), error)),
            Err(error) => return Err(error),
        }
    }
    let names = done_names(view, &believed.base);
    for path in request.unknown.iter().flat_map(|key| part.paths_of(key)) {
        believed.base.doubts.remove(&path);
        believed.base.untouched.remove(&path);
        believed.base.unknown.insert(path);
    }
    match (current, plans.first().and_then(|p| p.claim.clone())) {
        (Some(current), _) => from_head(destination, current, request, &mut believed).await?,
        (None, Some(claim)) => {
            believed.base.commit = Some(claim.clone());
            believed.claim = Some(claim);
            contradiction(request, believed.base.commit.as_ref(), destination)?;
        }
        (None, None) if head.unfinished.is_empty() => by_hand_or_nothing(destination, request, &names, &mut believed).await?,
        (None, None) => {
            contradiction(request, None, destination)?;
            believed.seen = true;
            if !request.guards.assume_empty {
                let there = there::list(destination, true, &names).await?;
                let Base { unknown, known, .. } = &believed.base;
                let is_left = |key: &String| {
                    let path = part.path_of(key);
                    unknown.contains(&path) || known.contains_key(&path)
                };
                believed.base.in_the_way = there.in_the_way.into_iter().filter(|key| !is_left(key)).collect();
                believed.base.listed = there.listed;
            }
        }
    }
    if !lost.is_empty() {
        without_plans(destination, current, lost, &names, &mut believed).await?;
    }
    // What was said by hand is said of the whole commit, whatever is selected now.
    let claimed = believed.base.commit.as_ref().is_some_and(|c| c.claimed);
    let everything = || View { selection: SelectionSpec::default(), ..view.clone() };
    believed.base.view = if claimed { Some(everything()) } else { there.cloned() };
    Ok(believed)
}

/// Lays the keys of a run that did not finish over `base`; how many of them are known. Where everything is written again, a
/// journal that cannot be read tells nothing, and is not asked for.
async fn overlay(
    destination: &Destination,
    plan: &PlanFile,
    request: &ExportRequest,
    part: &Part,
    base: &mut Base,
) -> Result<u64> {
    let believe = !request.run.no_resume;
    let run = match Unfinished::load(destination, plan.clone(), believe).await {
        Err(error) if believe && request.full && error.kind() == ErrorKind::Corrupt => {
            Unfinished::load(destination, plan.clone(), false).await?
        }
        end => end?,
    };
    run.lay_over(part, base).await
}

/// Runs changed the destination whose plans are lost: whatever is known to be there may be anything, and markers are looked for.
/// What those runs alone wrote is in no receipt and no commit that is looked at: it stays, and that is said.
async fn without_plans(
    destination: &Destination,
    current: Option<&Current>,
    lost: Vec<(String, Error)>,
    names: &BTreeSet<String>,
    believed: &mut Believed,
) -> Result<()> {
    believed.notes.extend(lost.iter().map(|(run, error)| lost_run(run, error)));
    let Some(current) = current else { return Ok(()) };
    match all_unknown(destination, current, believed).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => believed.notes.push(format!(
            "the receipts cannot be read either ({error}): objects that the commit does not have may be left over"
        )),
        end => end?,
    }
    believed.base.listed.extend(there::list(destination, true, names).await?.listed);
    believed.seen = true;
    Ok(())
}

/// The keys that a run which did not finish may have changed.
async fn unfinished_keys(destination: &Destination, plan: &PlanFile) -> Result<Vec<String>> {
    let folder = temporary()?;
    resume::fetch(destination, plan, folder.path()).await?;
    plan_keys(&local_files(folder.path())?, plan).await
}

fn rows(plan: &PlanFile) -> u64 {
    plan.rounds.iter().map(planner::plan::Round::rows).sum()
}

/// The base is what the last receipt says.
async fn from_head(destination: &Destination, current: &Current, request: &ExportRequest, believed: &mut Believed) -> Result<()> {
    let lake = request.source.lake.as_ref();
    went_back(lake, current, request).await?;
    let base = PlanBase { commit: current.commit.clone(), metarange: current.metarange.clone(), claimed: false };
    if let Some(from) = request.from.as_ref().filter(|f| f.id != current.commit) {
        if !request.guards.force {
            return Err(Error::guard(format!(
                "{} holds commit {}, not {} as --from says",
                destination.location(),
                current.commit,
                from.id
            ))
            .with_help(
                "leave --from out: the base is known; or use --force, and everything that either may have left is written again",
            ));
        }
        all_unknown(destination, current, believed).await?;
        believed.base.unknown.extend(std::mem::take(&mut believed.base.known).into_keys());
        believed.base.doubts.clear();
        believed.base.untouched.clear();
        believed.distrust = true;
        believed.base.commit = Some(PlanBase { commit: from.id.clone(), metarange: from.metarange.clone(), claimed: true });
        return Ok(());
    }
    // Without a receipt that says it deletes insist on nothing; who needs the receipt fails without it. A claim says nothing.
    let newest = receipt::read(destination, &current.receipt).await.ok().filter(|newest| newest.claim.is_none());
    let etags = newest.and_then(|newest| newest.etags);
    believed.base.same_etags_below = etags.map_or(0, receipt::Etags::same_below);
    match lake.namespace().metarange(&base.metarange).await {
        Ok(_) => {
            believed.base.commit = Some(base);
            believed.base.objects = Some(current.objects);
        }
        Err(e) if request.full && matches!(e.kind(), graveler::ErrorKind::NotFound | graveler::ErrorKind::Corrupt) => {
            all_unknown(destination, current, believed).await?;
            believed
                .notes
                .push(format!("the base commit {} cannot be read any more; its receipts are used instead", current.commit));
        }
        Err(e) if e.kind() == graveler::ErrorKind::NotFound => {
            if from_receipts(destination, current, &base, believed).await? {
                return Ok(());
            }
            return Err(Error::guard(format!("the destination holds commit {}, whose metadata is gone: {e}", current.commit))
                .with_help("it was probably garbage-collected, and the receipts do not say enough to plan by them; use --full to copy everything of the commit again"));
        }
        Err(e) => {
            let named = format!("{}{HEAD_KEY} names the metarange `{}`", destination.status(), base.metarange);
            return Err(Error::from(e).context(named).with_help("restore HEAD.json, or export with --full"));
        }
    }
    Ok(())
}

/// The base is what the receipts list, path by path. False where they do not say enough.
async fn from_receipts(destination: &Destination, current: &Current, base: &PlanBase, believed: &mut Believed) -> Result<bool> {
    let chain = receipt::chain(destination, &current.receipt).await?;
    let Some((folder, tree)) = receipt::tree::write(destination, &chain).await? else { return Ok(false) };
    believed.notes.push(format!(
        "the metadata of the base commit {} is gone: the plan goes by the receipts, which list {} objects, and all of the new commit was read",
        current.commit,
        tree.metarange.count()
    ));
    believed.base.commit = Some(base.clone());
    believed.base.tree = Some(tree);
    believed.kept = Some(Arc::new(folder));
    Ok(true)
}

/// Every key that the receipts know may be in any state.
async fn all_unknown(destination: &Destination, current: &Current, believed: &mut Believed) -> Result<()> {
    let part = Part::new(&current.view.prefix);
    let paths = keys_of_receipts(destination, current).await?;
    believed.base.doubts.clear();
    believed.base.untouched.clear();
    let known = &believed.base.known;
    let paths = paths.iter().flat_map(|key| part.paths_of(key)).filter(|path| !known.contains_key(path));
    believed.base.unknown.extend(paths);
    Ok(())
}

/// A branch that now points to before what the destination holds: an old refs dump, or a reset.
async fn went_back(lake: &dyn CommitSource, current: &Current, request: &ExportRequest) -> Result<()> {
    let target = &request.source.commit;
    if !request.source.branch || request.guards.force || target.id == current.commit {
        return Ok(());
    }
    let help = "give the commit by its id to go back on purpose, or use --force; if the refs dump is old, make a new one";
    let Some(there) = lake.find(&current.commit).await? else {
        return Err(Error::guard(format!(
            "the destination holds commit {}, which this lake does not know; the branch points to {}",
            current.commit, target.id
        ))
        .with_help(help));
    };
    if history::is_ancestor(lake, &target.id, &there).await? {
        return Err(Error::guard(format!(
            "the branch points to commit {}, an ancestor of {}, which the destination holds",
            target.id, current.commit
        ))
        .with_help(help));
    }
    Ok(())
}

fn contradiction(request: &ExportRequest, root: Option<&PlanBase>, destination: &Destination) -> Result<()> {
    match (&request.from, root) {
        (Some(from), Some(root)) if from.id == root.commit => Ok(()),
        (Some(from), _) if !request.guards.force => Err(Error::guard(format!(
            "{} has an unfinished run that did not start from {}, as --from says",
            destination.location(),
            from.id
        ))
        .with_help("leave --from out: what the run may have left is planned again")),
        _ => Ok(()),
    }
}

/// A destination without a receipt: what `--from` says, or whatever a listing finds.
async fn by_hand_or_nothing(
    destination: &Destination,
    request: &ExportRequest,
    names: &BTreeSet<String>,
    believed: &mut Believed,
) -> Result<()> {
    there::neighbours(destination, request.guards.force).await?;
    if let Some(from) = &request.from {
        let claim = PlanBase { commit: from.id.clone(), metarange: from.metarange.clone(), claimed: true };
        believed.base.commit = Some(claim.clone());
        believed.claim = Some(claim);
        return Ok(());
    }
    believed.seen = true;
    if request.guards.assume_empty {
        return Ok(());
    }
    let There { listed, in_the_way, status, objects } = there::list(destination, request.guards.force, names).await?;
    there::speak_for_nothing(destination, &status, request.guards.force)?;
    believed.notes.extend(there::note(&status, objects));
    (believed.base.listed, believed.base.in_the_way) = (listed, in_the_way);
    Ok(())
}

/// The destination holds another lake or another part: only with `--adopt`. Where everything is written again, what cannot be
/// read of `plans` joins the `lost` ones: what those runs wrote stays, and that is said.
async fn adopted(
    destination: &Destination,
    head: &HeadFile,
    request: &ExportRequest,
    (there, view): (&View, &View),
    (plans, mut lost): (&[PlanFile], Vec<(String, Error)>),
) -> Result<Believed> {
    let shown = |v: &View| if v.prefix.is_empty() { v.lake.clone() } else { format!("{} below `{}`", v.lake, v.prefix) };
    let mut believed = Believed::default();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    match request.guards.adopt {
        Adopt::No => {
            return Err(Error::guard(format!("{} is an export of {}, not of {}", destination.location(), shown(there), shown(view)))
                .with_help("use --adopt to leave its objects there as foreign ones, --adopt=own to delete what the new source lacks, or another destination"));
        }
        Adopt::Foreign => believed.notes.push(format!("the objects of {} stay and become foreign", shown(there))),
        Adopt::Own => {
            if let Some(current) = &head.current {
                match keys_of_receipts(destination, current).await {
                    Err(error) if request.full && error.kind() == ErrorKind::Corrupt => believed.notes.push(format!(
                        "the receipts cannot be read ({error}): what they list of {} stays and becomes foreign",
                        shown(there)
                    )),
                    found => keys.extend(found?),
                }
            }
            believed.notes.push(format!("{} objects of {} are taken over", keys.len(), shown(there)));
        }
    }
    // What runs of the new view left is the new view's in any case.
    for plan in plans.iter().filter(|p| request.guards.adopt == Adopt::Own || p.view.same_root(view)) {
        match unfinished_keys(destination, plan).await {
            Err(error) if request.full && error.kind() == ErrorKind::Corrupt => lost.push((plan.run.clone(), error)),
            found => keys.extend(found?),
        }
    }
    believed.notes.extend(lost.iter().map(|(run, error)| lost_run(run, error)));
    let part = Part::new(&view.prefix);
    believed.base.unknown = keys.iter().flat_map(|key| part.paths_of(key)).collect();
    // Done files of another view speak for folders that change now.
    let of_plans = plans.iter().map(|plan| &plan.view);
    believed.base.done = [there].into_iter().chain(of_plans).filter_map(|view| view.rounds.done.clone()).collect();
    let names = done_names(view, &believed.base);
    believed.base.listed = there::list(destination, true, &names).await?.listed;
    believed.seen = true;
    Ok(believed)
}

/// The keys that the receipts say are there.
async fn keys_of_receipts(destination: &Destination, current: &Current) -> Result<Vec<String>> {
    let chain = receipt::chain(destination, &current.receipt).await?;
    present_keys(destination, &chain).await
}

/// The file names of all done files that may be there.
fn done_names(view: &View, base: &Base) -> BTreeSet<String> {
    view.rounds.done.iter().chain(&base.done).map(|done| done.name.clone()).collect()
}

/// What is said of a run whose plan or journal is lost.
fn lost_run(run: &str, error: &Error) -> String {
    format!(
        "what run {run} did is not known ({error}): everything is copied again. Objects that it alone wrote are in no receipt and stay; `millrace verify` counts them as foreign"
    )
}

/// Whether nothing has to be done: the same view of the same commit, proved by a receipt, and nothing left undone.
#[must_use]
pub fn is_current(head: &HeadFile, commit: &Commit, view: &View) -> bool {
    head.unfinished.is_empty()
        && head.current.as_ref().is_some_and(|c| c.commit == commit.name() && c.metarange == commit.metarange && c.view == *view)
}
