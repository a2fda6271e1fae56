//! Runs seen from outside: what goes on at a destination, waiting for it, and stopping it. From any machine that can read
//! the destination; only [`cancel`] writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use planner::{Error, Location, Result};
use worker::{FailureKind, Registry};

use crate::base::run_folder;
use crate::destination::Destination;
use crate::head::{HEAD_KEY, Head, HeadFile};
use crate::lease::{CancelFile, Holder, LeaseFile};
use crate::report::{ErrorReport, RunReport, State};

/// How often a run that is waited for is looked at.
const LOOKED_AT: Duration = Duration::from_secs(1);
/// Tries to write a request to stop beside the holder's own renewals.
const TRIES: u32 = 20;

/// The records of all runs at `destination`, the newest first.
///
/// # Errors
/// The store's.
pub async fn history(registry: &Arc<Registry>, destination: &Location) -> Result<Vec<RunReport>> {
    let (destination, head) = Head::find(registry, destination).await?;
    let head = head.file;
    let mut runs = Vec::new();
    for run in recorded(&destination).await? {
        if let Some((report, _)) = destination.get_json::<RunReport>(&record_key(&run)).await? {
            runs.push(as_it_is(report, &head));
        }
    }
    runs.sort_by(|a, b| b.run.cmp(&a.run));
    Ok(runs)
}

fn record_key(run: &str) -> String {
    format!("{}/run.json", run_folder(run))
}

/// The ids of all runs with a record.
async fn recorded(destination: &Destination) -> Result<Vec<String>> {
    let folder = run_folder("");
    let found = destination.list(&folder).await?;
    let id = |key: &str| Some(key.strip_prefix(&folder)?.strip_suffix("/run.json")?.to_owned());
    Ok(found.iter().filter_map(|one| id(&one.key)).collect())
}

/// A record that says `running` of a run that does not hold the lease is of one that was killed.
fn as_it_is(mut report: RunReport, head: &HeadFile) -> RunReport {
    let lease = head.lease.as_ref().filter(|lease| lease.run == report.run);
    let alive = lease.is_some_and(|lease| !lease.holder.is_gone());
    if report.state == State::Running && !alive {
        report.state = State::Failed;
        report.error = Some(ErrorReport {
            kind: planner::ErrorKind::Interrupted.name().to_owned(),
            message: "the run was killed, or its machine was lost".to_owned(),
            help: Some("run the same command again: what is left will be done".to_owned()),
        });
    }
    report
}

/// A run at `destination`: the one named (by its id, or the beginning of it), else the one that is going on, else the last.
///
/// # Errors
/// `Usage` when there is no such run, the store's.
pub async fn status(registry: &Arc<Registry>, destination: &Location, run: Option<&str>) -> Result<RunReport> {
    let (destination, head) = Head::find(registry, destination).await?;
    let head = head.file;
    let run = match run {
        Some(run) => named(&destination, run).await?,
        None => latest(&destination, &head).await?,
    };
    match destination.get_json::<RunReport>(&record_key(&run)).await? {
        Some((report, _)) => Ok(as_it_is(report, &head)),
        None => planning(&destination, &head, &run),
    }
}

/// A run that has the lease and no record yet is planning.
fn planning(destination: &Destination, head: &HeadFile, run: &str) -> Result<RunReport> {
    if head.lease.as_ref().is_some_and(|lease| lease.run == run && !lease.holder.is_gone()) {
        return Ok(RunReport::new(run.to_owned(), String::new(), destination.location()));
    }
    Err(Error::usage(format!("{} has no record of the run {run}", destination.status()))
        .with_help(format!("see what there is with `millrace runs {}`", destination.status())))
}

async fn latest(destination: &Destination, head: &HeadFile) -> Result<String> {
    let known = head.lease.as_ref().map(|lease| lease.run.clone());
    let known = known.or_else(|| head.unfinished.last().cloned()).or_else(|| head.current.as_ref().map(|c| c.run.clone()));
    let at = destination.status();
    match known {
        Some(run) => Ok(run),
        None => recorded(destination).await?.into_iter().max().ok_or_else(|| {
            Error::usage(format!("there was no run at {at}")).with_help("check the destination; `millrace export` makes a run")
        }),
    }
}

/// The full id of the run that `text` begins.
async fn named(destination: &Destination, text: &str) -> Result<String> {
    let text = text.to_uppercase();
    let mut found: Vec<String> = recorded(destination).await?.into_iter().filter(|run| run.starts_with(&text)).collect();
    let head = Head::read(destination).await?.file;
    found.extend(head.lease.map(|lease| lease.run).filter(|run| run.starts_with(&text)));
    found.sort();
    found.dedup();
    let at = destination.status();
    match found.as_slice() {
        [run] => Ok(run.clone()),
        [] => {
            Err(Error::usage(format!("{at} has no run {text}")).with_help(format!("see what there is with `millrace runs {at}`")))
        }
        many => Err(Error::usage(format!("{} runs at {at} begin with {text}", many.len())).with_help("give more of the id")),
    }
}

/// Waits until a run has ended; its report, which `told` sees whenever it was looked at.
///
/// # Errors
/// As [`status`]. A store that cannot be reached for a moment is asked again.
pub async fn wait(
    registry: &Arc<Registry>,
    destination: &Location,
    run: Option<&str>,
    told: impl Fn(&RunReport),
) -> Result<RunReport> {
    let first = status(registry, destination, run).await?;
    let run = first.run.clone();
    let (opened, _) = Head::find(registry, destination).await?;
    let (mut report, mut watch) = (first, Watch::default());
    while report.state == State::Running {
        told(&report);
        tokio::time::sleep(LOOKED_AT).await;
        match status(registry, destination, Some(&run)).await {
            Ok(now) => report = now,
            Err(error) if error.kind() == planner::ErrorKind::Unreachable => tracing::warn!("{error}"),
            // A run that ended before its first record leaves none.
            Err(error) => return Err(error),
        }
        if report.state == State::Running && watch.is_dead(&Head::read(&opened).await?.file) {
            return Ok(as_it_is(report, &HeadFile::default()));
        }
    }
    Ok(report)
}

/// A holder on another machine is dead when HEAD did not move for as long as its lease holds.
#[derive(Debug, Default)]
struct Watch(Option<(String, Instant)>);

impl Watch {
    fn is_dead(&mut self, head: &HeadFile) -> bool {
        let Some(lease) = &head.lease else { return false };
        match &self.0 {
            Some((nonce, since)) if *nonce == head.nonce => {
                since.elapsed() > Duration::from_millis(lease.ttl_ms + lease.longest_ms)
            }
            _ => {
                self.0 = Some((head.nonce.clone(), Instant::now()));
                false
            }
        }
    }
}

/// Asks the run that is going on at `destination` to stop: it hears of it within seconds, and ends as one that was
/// interrupted. What the answer names was asked.
///
/// # Errors
/// `Usage` when no run is going on, or not this one; the store's.
pub async fn cancel(registry: &Arc<Registry>, destination: &Location, run: Option<&str>) -> Result<LeaseFile> {
    let (opened, _) = Head::find(registry, destination).await?;
    let run = match run {
        Some(run) => Some(named(&opened, run).await?),
        None => None,
    };
    let asked = CancelFile { by: Holder::this().to_string(), time: crate::clock::now() };
    for _ in 0..TRIES {
        let head = Head::read(&opened).await?;
        let lease = head.file.lease.clone().filter(|lease| run.as_ref().is_none_or(|run| *run == lease.run));
        let Some(lease) = lease.filter(|lease| !lease.holder.is_gone()) else {
            return Err(nothing_to_cancel(&opened, run.as_deref()));
        };
        if lease.cancel.is_some() {
            return Ok(lease);
        }
        let body = head.with(|file| {
            if let Some(lease) = &mut file.lease {
                lease.cancel = Some(asked.clone());
            }
        });
        match head.put(&opened, &body).await {
            Ok(_) => return Ok(lease),
            // The holder renewed meanwhile.
            Err(error) if error.kind == FailureKind::Precondition => {}
            Err(error) => return Err(opened.failed(error, format!("{HEAD_KEY} cannot be written"))),
        }
    }
    Err(Error::unreachable(format!("{destination}: {HEAD_KEY} changes too often to be written")).with_help("try again"))
}

fn nothing_to_cancel(destination: &Destination, run: Option<&str>) -> Error {
    let at = destination.status();
    let what = run.map_or_else(|| format!("no run is going on at {at}"), |run| format!("the run {run} is not going on at {at}"));
    Error::usage(what).with_help(format!("see what there is with `millrace runs {at}`"))
}
