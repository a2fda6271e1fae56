//! Is the destination what its receipts say?
//!
//! ```text
//! receipts (state) ─┐
//! listing           ├─▶ sort by key (spills to disk) ─▶ one group a key ─▶ judge ─▶ report
//! commit (a plan)  ─┘                                                        └▶ --deep: read the bytes
//! ```
//! Nothing is written. Memory is flat: the sort is bounded, groups are judged one after the other, and only the first
//! differences are kept for the report; those that are to be mended are kept as keys.
//!
//! What was claimed by hand (`--from`) no receipt lists: it is compared only with the commit.

#[cfg(feature = "cluster")]
mod cluster;
mod deep;
mod expected;
mod group;
mod judge;
mod listing;
mod reader;
mod repair;
pub mod report;
#[cfg(feature = "cluster")]
pub(crate) mod sweep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use planner::round::PublishOrder;
use planner::{Error, Location, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use crate::destination::Destination;
use crate::head::{Current, Head};
use crate::marker;
use crate::receipt::{self, Receipt};
use crate::report::RequestCounts;
use crate::request::Source;
use crate::run::success_text;
use group::Groups;
use judge::{Verdict, judge};
use reader::Reader;
use report::{Difference, Kind, VerifyReport, VerifyState};

pub use repair::{How, repair};

/// Objects that `--deep` reads at a time when nothing else is said.
const READ_AT_ONCE: usize = 16;

/// Differences that are mended in one go. Their keys are held in memory.
const MOST_MENDED: usize = 1_000_000;

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The destination.
    pub destination: Location,
    /// The commit that it is compared with as well.
    pub against: Option<Source>,
    /// The order that the destination's view names, where that is none of the presets.
    pub order: Option<Arc<dyn PublishOrder>>,
    /// The bytes are read.
    pub deep: bool,
    /// Objects read at a time.
    pub concurrency: Option<usize>,
    /// The keys of all differences are kept, to be mended.
    pub keep_keys: bool,
    /// A cluster reads the bytes.
    #[cfg(feature = "cluster")]
    pub cluster: Option<crate::request::ClusterOptions>,
    /// Cancelled, a cluster reads no more, and what it was given is removed.
    pub stop: CancellationToken,
}

impl VerifyRequest {
    fn at_once(&self) -> usize {
        self.concurrency.unwrap_or(READ_AT_ONCE).max(1)
    }
}

/// What a destination says of itself.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The destination; its own objects may be at a status path.
    pub destination: Destination,
    /// Its HEAD.
    pub head: Head,
    /// The receipt that HEAD names.
    pub receipt: Option<Receipt>,
}

impl Subject {
    /// Reads HEAD and its receipt. `at` is the destination, or its status path.
    ///
    /// # Errors
    /// What cannot be read or understood.
    pub async fn of(registry: &Arc<Registry>, at: &Location) -> Result<Self> {
        let (destination, head) = Head::find(registry, at).await?;
        let receipt = match &head.file.current {
            Some(current) => Some(receipt::read(&destination, &current.receipt).await?),
            None => None,
        };
        Ok(Self { destination, head, receipt })
    }

    /// What HEAD names.
    ///
    /// # Errors
    /// `Guard` where no export has ended yet.
    pub fn current(&self) -> Result<&Current> {
        self.head.file.current.as_ref().ok_or_else(|| {
            Error::guard(format!("{} has no receipt: no export has ended there", self.destination.location()))
                .with_help("compare it with a commit by --against SOURCE, or export to it first; of exports with --status-path name that place")
        })
    }
}

/// Compares, and answers with what differs. Errors are in the report.
pub async fn verify(registry: &Arc<Registry>, request: &VerifyRequest) -> VerifyReport {
    let (started, before) = (Instant::now(), registry.requests());
    let mut report = VerifyReport::new(&request.destination, request.deep);
    if let Err(error) = verify_into(registry, request, &mut report).await {
        report.fail(&error);
    } else if report.differences > 0 {
        report.state = VerifyState::Different;
    }
    let (data, control) = registry.requests();
    report.requests = RequestCounts { data: data - before.0, control: control - before.1 };
    report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

async fn verify_into(registry: &Arc<Registry>, request: &VerifyRequest, report: &mut VerifyReport) -> Result<()> {
    let subject = Subject::of(registry, &request.destination).await?;
    let destination = subject.destination.clone();
    if request.against.is_none() {
        subject.current()?;
    }
    let own = destination.status_below().unwrap_or_default();
    describe(&destination, &subject, request, report).await?;
    let expected = expected::Expected::prepare(&subject, request).await?;
    let mut groups = expected.groups(&destination).await?;
    let mut reader = if request.deep { Some(Reader::of(registry, &destination, request).await?) } else { None };
    let compared = compare(&mut groups, (&own, request), &mut reader, report).await;
    if let Some(reader) = &mut reader {
        reader.clean().await;
    }
    compared
}

/// Judges all groups, and has those read that a listing found right.
async fn compare(
    groups: &mut Groups,
    (own, request): (&str, &VerifyRequest),
    reader: &mut Option<Reader>,
    report: &mut VerifyReport,
) -> Result<()> {
    while let Some(group) = groups.next().await? {
        match judge(&group, own, request.against.is_some()) {
            Verdict::Nothing => {}
            Verdict::Own => report.own += 1,
            Verdict::Foreign => report.foreign += 1,
            Verdict::Different(difference) => {
                report.objects += u64::from(difference.kind.is_expected());
                take(report, difference, request.keep_keys)?;
            }
            Verdict::Same => {
                report.objects += 1;
                report.drifted += u64::from(group.recorded.as_ref().is_some_and(group::Recorded::is_drifted));
                if let Some(reader) = reader {
                    reader.push(deep::sought(group), report).await?;
                }
            }
        }
    }
    if report.drifted > 0 {
        report.notes.push(format!(
            "{} objects are as the receipts say, but not as the commit does: --on-drift take took what was at their sources. --against names them",
            report.drifted
        ));
    }
    match reader {
        Some(reader) => reader.finish(report).await,
        None => Ok(()),
    }
}

/// What a person must know before any difference is read.
async fn describe(
    destination: &Destination,
    subject: &Subject,
    request: &VerifyRequest,
    report: &mut VerifyReport,
) -> Result<()> {
    let head = &subject.head.file;
    report.destination = destination.location().to_string();
    if destination.served().is_some() {
        report.notes.push(format!("its receipts and status markers are at {}", destination.status()));
    }
    report.against = request.against.as_ref().map(|source| source.commit.name().to_owned());
    report.unfinished.clone_from(&head.unfinished);
    for run in &head.unfinished {
        report.notes.push(format!(
            "run {run} began to change the destination and has not finished; it may be going on now. What it did is in no receipt yet"
        ));
    }
    let Some(current) = &head.current else {
        report.notes.push("there is no receipt: the destination is compared with the commit alone".to_owned());
        return Ok(());
    };
    report.commit = Some(current.commit.clone());
    report.receipt = Some(current.receipt.clone());
    if let Some(against) = report.against.as_ref().filter(|a| **a != current.commit) {
        report.notes.push(format!("the destination holds commit {}; it is compared with {against}", current.commit));
    }
    let claim = match &subject.receipt {
        Some(Receipt { chain: None, .. }) => {
            let chain = receipt::chain(destination, &current.receipt).await?;
            chain.last().and_then(|(_, root)| root.claim.clone())
        }
        Some(receipt) => receipt.claim.clone(),
        None => None,
    };
    if let Some(claim) = claim {
        report.claimed = Some(claim.commit.clone());
        let word = if request.against.is_some() { "they are compared with the commit alone" } else { "they are not compared" };
        report.notes.push(format!(
            "that the destination held commit {} was said by --from; no receipt lists those objects: {word}",
            claim.commit
        ));
    }
    if head.unfinished.is_empty() {
        let there = marker::listed(destination).await?;
        let names: Vec<String> = there.iter().map(|one| one.key.clone()).collect();
        report.notes.extend(marker_notes(&names, &current.success));
        let success = there.iter().find(|one| one.key == current.success);
        if let Some(success) = success
            && !marker::says(destination, success, &success_text(current)).await?
        {
            report.notes.push(format!("{} is not what was written; the same export writes it again", success.key));
        }
    }
    Ok(())
}

/// What is to be said of the status markers that are there, where `success` is the one that speaks for the destination.
fn marker_notes(there: &[String], success: &str) -> Vec<String> {
    const NAMED: usize = 3;
    let mut notes = Vec::new();
    if !there.iter().any(|name| name == success) {
        notes.push(format!("{success} is not there; the same export puts it there again"));
    }
    let others: Vec<&str> = there.iter().map(String::as_str).filter(|name| *name != success).collect();
    if !others.is_empty() {
        let (names, more) = (others[..others.len().min(NAMED)].join(", "), others.len().saturating_sub(NAMED));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let is = if others.len() == 1 { "speaks" } else { "speak" };
        notes.push(format!(
            "beside {success} there is {names}{more}, which {is} for nothing that is there now: history (--keep-success), or somebody else's; the same export without --keep-success removes it"
        ));
    }
    notes
}

fn take(report: &mut VerifyReport, difference: Difference, keep_keys: bool) -> Result<()> {
    if keep_keys {
        if report.keys.len() >= MOST_MENDED {
            return Err(Error::guard(format!("more than {MOST_MENDED} objects differ: too many to mend one by one"))
                .with_help("export the commit with --full"));
        }
        report.keys.insert(difference.key.clone());
    }
    report.count(difference);
    Ok(())
}

/// Keys that differ.
pub(crate) type Keys = BTreeSet<String>;

/// A difference of an object that should be there.
impl Kind {
    fn is_expected(self) -> bool {
        matches!(self, Self::Missing | Self::Changed | Self::Unreadable)
    }
}
