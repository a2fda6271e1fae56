//! Mending what differs: an export of the commit that the destination holds, in which the keys that differ are unknown.

use std::sync::Arc;

use planner::round::PublishOrder;
use planner::{Error, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use super::Subject;
use super::report::{VerifyReport, VerifyState};
use crate::head::Current;
use crate::progress::Progress;
use crate::report::{RunReport, State};
use crate::request::{ExportRequest, Guards, MarkerOptions, MaxDelete, RunOptions, Source};

/// How a repair is done.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// The order that the destination's view names, where that is none of the presets.
    pub order: Option<Arc<dyn PublishOrder>>,
    /// Of the run.
    pub options: RunOptions,
    /// What it may do. Where `max_delete` is not said: delete what was found to be left over, and no more.
    pub guards: Guards,
}

/// Plans what differs and does it: copies what is missing or changed, deletes what was left over. How that ended is in
/// `report.repair`.
///
/// # Errors
/// `Guard` for a source at another commit, and while a run has not finished.
pub async fn repair(
    registry: &Arc<Registry>,
    subject: &Subject,
    (source, how): (Source, How),
    report: &mut VerifyReport,
    (progress, stop): (&dyn Progress, &CancellationToken),
) -> Result<()> {
    let at = &subject.destination;
    let current = subject.current()?;
    may_be_mended(subject, current, &source, &report.destination)?;
    let request = ExportRequest {
        selection: current.view.selection.clone(),
        rounds: current.view.rounds.clone(),
        from: None,
        full: false,
        guards: Guards { max_delete: how.guards.max_delete.or(Some(MaxDelete::Count(report.left_over))), ..how.guards },
        // Markers of other commits are none of the repair's business.
        markers: MarkerOptions { keep_success: true, template: template(current) },
        run: how.options,
        unknown: std::mem::take(&mut report.keys),
        source,
        destination: at.location().clone(),
        status: at.served().map(|_| at.status().clone()),
        order: how.order,
    };
    let mut run: RunReport = crate::export(registry, &request, progress, stop).await;
    if run.state == State::Succeeded && run.error.is_none() {
        report.state = VerifyState::Repaired;
    } else if run.error.is_none() && run.failed > 0 {
        run.notes.push(FAILED.to_owned());
    }
    report.repair = Some(run);
    Ok(())
}

/// What to do about objects that could not be mended.
const FAILED: &str = "what could not be mended is named above; where a file or a folder of somebody else's is in the way, move it away. Then run the export of this commit again: it goes on with what is left";

fn may_be_mended(subject: &Subject, current: &Current, source: &Source, at: &str) -> Result<()> {
    if let Some(run) = subject.head.file.unfinished.first() {
        return Err(Error::guard(format!("run {run} has not finished at {at}: what it did is in no receipt yet"))
            .with_help("run the export again to its end, then verify again"));
    }
    if source.commit.name() != current.commit {
        return Err(Error::guard(format!(
            "{at} holds commit {}, and the source is at {}: a repair mends what the destination holds",
            current.commit,
            source.commit.name()
        ))
        .with_help("name the commit that is there in --against, or export the other one"));
    }
    Ok(())
}

/// The template that gives the marker its name again.
fn template(current: &Current) -> String {
    let stem = current.success.strip_suffix("_SUCCESS").unwrap_or(&current.success);
    format!("{}_{{state}}", stem.replace(&current.commit, "{commit}"))
}
