//! What a destination is believed to hold: HEAD, overlaid with every run that did not finish.
//!
//! A key of an unfinished run is *unknown*: it is planned again, whatever the difference of the commits says. Outcomes of
//! such runs are not believed here.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use planner::guard::is_reserved;
use planner::plan::{PLAN_FILE, PlanBase, PlanFile, read_plan};
use planner::round::is_marker;
use planner::source::{Commit, CommitSource, history};
use planner::{Base, Error, ErrorKind, Part, Result, SelectionSpec, View};
use tempfile::TempDir;
use worker::FailureKind;

use crate::destination::{Destination, OWN_FOLDER};
use crate::head::{Current, HEAD_KEY, HeadFile};
use crate::prepare::temporary;
use crate::request::{Adopt, ExportRequest};
use crate::session::{local_files, plan_keys, present_keys};
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
    let there = current.map(|c| &c.view).or_else(|| plans.first().map(|p| &p.view));
    if let Some(there) = there.filter(|there| !there.same_root(view)) {
        return adopted(destination, head, request, there, view, &plans).await;
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
        (None, None) if head.unfinished.is_empty() => by_hand_or_nothing(destination, request, &mut believed).await?,
        (None, None) => {
            contradiction(request, None, destination)?;
            if !request.guards.assume_empty {
                found(destination, true, &mut believed.base).await?;
                let Base { unknown, known, in_the_way, .. } = &mut believed.base;
                in_the_way.retain(|key| {
                    let path = part.path_of(key);
                    !unknown.contains(&path) && !known.contains_key(&path)
                });
            }
        }
    }
    if !lost.is_empty() {
        without_plans(destination, current, lost, &mut believed).await?;
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
    believed: &mut Believed,
) -> Result<()> {
    for (run, error) in lost {
        believed.notes.push(format!(
            "what run {run} did is not known ({error}): everything is copied again. Objects that it alone wrote are in no receipt and stay; `millrace verify` counts them as foreign"
        ));
    }
    let Some(current) = current else { return Ok(()) };
    match all_unknown(destination, current, believed).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => believed.notes.push(format!(
            "the receipts cannot be read either ({error}): objects that the commit does not have may be left over"
        )),
        end => end?,
    }
    let mut there = Base::default();
    found(destination, true, &mut there).await?;
    believed.base.listed.extend(there.listed);
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
    let chain = receipt::chain(destination, &current.receipt).await?;
    let part = Part::new(&current.view.prefix);
    let paths = present_keys(destination, &chain).await?;
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

/// A destination without a receipt: what `--from` says, or whatever a listing finds.
async fn by_hand_or_nothing(destination: &Destination, request: &ExportRequest, believed: &mut Believed) -> Result<()> {
    neighbours(destination, request.guards.force).await?;
    if let Some(from) = &request.from {
        let claim = PlanBase { commit: from.id.clone(), metarange: from.metarange.clone(), claimed: true };
        believed.base.commit = Some(claim.clone());
        believed.claim = Some(claim);
        return Ok(());
    }
    if request.guards.assume_empty {
        return Ok(());
    }
    found(destination, request.guards.force, &mut believed.base).await
}

/// Lists a destination that has no receipt: markers to retract, what is in the way, exports below it.
async fn found(destination: &Destination, force: bool, base: &mut Base) -> Result<()> {
    let rules = planner::Stores::key_rules(destination.registry().as_ref(), destination.location());
    let data = destination.data()?;
    let mut listing = data.list("");
    loop {
        let one = match listing.try_next().await {
            Ok(Some(one)) => one,
            Ok(None) => return Ok(()),
            Err(e) if e.kind == FailureKind::NotFound => return Ok(()),
            Err(e) => return Err(destination.failed(e, "it cannot be listed")),
        };
        if !force && one.key.ends_with(&format!("/{HEAD_KEY}")) {
            let at = one.key.trim_end_matches(HEAD_KEY);
            return Err(Error::guard(format!("{}{at} is a destination of its own", destination.location()))
                .with_help("choose a destination beside it, or use --force"));
        }
        if !force && one.key.strip_prefix(OWN_FOLDER).is_some_and(|rest| rest.starts_with("/receipts/")) {
            return Err(Error::guard(format!("{} has receipts, and no {HEAD_KEY} that names them", destination.status()))
                .with_help(
                    "restore it; or say by --from which commit is there; or use --force: what earlier exports left is then foreign, and stays",
                ));
        }
        if is_marker(&one.key) {
            base.listed.insert(one.key.clone());
        }
        if rules.file_system && one.key == OWN_FOLDER {
            return Err(Error::guard(format!(
                "{}{OWN_FOLDER} is a file, and Millrace's own folder must be there",
                destination.location()
            ))
            .with_help("choose another destination, or move the file away"));
        }
        if rules.file_system && !is_reserved(&one.key) {
            base.in_the_way.insert(one.key);
        }
    }
}

/// Refuses a destination below another one.
async fn neighbours(destination: &Destination, force: bool) -> Result<()> {
    let location = destination.location();
    let mut path = location.path().trim_end_matches('/');
    while !force && !path.is_empty() {
        path = path.rfind('/').map_or("", |at| &path[..at]);
        let above = planner::Location::new(location.scheme(), location.bucket(), path).as_folder();
        let Ok(other) = Destination::open(destination.registry(), &above) else { continue };
        if matches!(other.control().head(HEAD_KEY).await, Ok(Some(_))) {
            return Err(Error::guard(format!("{location} lies below {above}, which is a destination of its own"))
                .with_help("choose a destination beside it, or use --force"));
        }
    }
    Ok(())
}

/// The destination holds another lake or another part: only with `--adopt`.
async fn adopted(
    destination: &Destination,
    head: &HeadFile,
    request: &ExportRequest,
    there: &View,
    view: &View,
    plans: &[PlanFile],
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
                let chain = receipt::chain(destination, &current.receipt).await?;
                keys.extend(present_keys(destination, &chain).await?);
            }
            believed.notes.push(format!("{} objects of {} are taken over", keys.len(), shown(there)));
        }
    }
    // What runs of the new view left is the new view's in any case.
    for plan in plans.iter().filter(|p| request.guards.adopt == Adopt::Own || p.view.same_root(view)) {
        keys.extend(unfinished_keys(destination, plan).await?);
    }
    let part = Part::new(&view.prefix);
    believed.base.unknown = keys.iter().flat_map(|key| part.paths_of(key)).collect();
    let mut listed = Base::default();
    found(destination, true, &mut listed).await?;
    believed.base.listed = listed.listed;
    Ok(believed)
}

/// Whether nothing has to be done: the same view of the same commit, proved by a receipt, and nothing left undone.
#[must_use]
pub fn is_current(head: &HeadFile, commit: &Commit, view: &View) -> bool {
    head.unfinished.is_empty()
        && head.current.as_ref().is_some_and(|c| c.commit == commit.name() && c.metarange == commit.metarange && c.view == *view)
}
