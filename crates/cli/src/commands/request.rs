//! What a run is asked to do, and its report when it could not even begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{ExportRequest, MarkerOptions, RunOptions, RunReport};
use planner::error::explain;
use planner::{Error, Location, Result, Scheme};
use ulid::Ulid;
use worker::Registry;

use super::source::{Words, compared};
use crate::args::{ExportArgs, PlanArgs, StatusArgs};
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::Output;

/// `export` as a request.
pub(crate) async fn of_export(registry: &Arc<Registry>, args: &ExportArgs) -> Result<ExportRequest> {
    let destination = super::location(&args.destination, "a destination")?;
    let words = Words::with_spark(&args.source, &args.selection, &args.spark)?;
    let compared = compared(registry, &words).await?;
    Ok(ExportRequest {
        source: compared.source,
        destination,
        status: status(&args.status)?,
        selection: args.selection.spec(),
        rounds: args.rounds.spec(),
        order: None,
        from: compared.from,
        full: compared.full,
        unknown: BTreeSet::new(),
        guards: args.guards.guards(),
        markers: args.markers.options(),
        run: args.run.options()?,
    })
}

/// `plan` as a request.
pub(crate) async fn of_plan(registry: &Arc<Registry>, args: &PlanArgs) -> Result<ExportRequest> {
    let destination = super::location(&args.destination, "a destination")?;
    let compared = compared(registry, &Words::own(&args.source, &args.selection)?).await?;
    Ok(ExportRequest {
        source: compared.source,
        destination,
        status: status(&args.status)?,
        selection: args.selection.spec(),
        rounds: args.rounds.spec(),
        order: None,
        from: compared.from,
        full: compared.full,
        unknown: BTreeSet::new(),
        guards: args.guards.guards(),
        markers: MarkerOptions::default(),
        run: planned_on(args)?,
    })
}

/// Where a plan is made.
#[cfg(feature = "cluster")]
fn planned_on(args: &PlanArgs) -> Result<RunOptions> {
    Ok(RunOptions { cluster: args.cluster.options()?, plan_there: true, ..RunOptions::default() })
}

#[cfg(not(feature = "cluster"))]
#[expect(clippy::unnecessary_wraps, reason = "with clusters it may fail")]
fn planned_on(_: &PlanArgs) -> Result<RunOptions> {
    Ok(RunOptions::default())
}

/// `--status-path`.
fn status(args: &StatusArgs) -> Result<Option<Location>> {
    args.status_path.as_deref().map(|text| super::location(text, "a status path")).transpose()
}

/// Prints a report and ends as it says. A reader that went away does not change how the run ended.
pub(crate) fn told(out: Output, report: &RunReport, overview: Option<&engine::PlanOverview>) -> Outcome {
    let status = ExitStatus::of_report(report);
    if super::detach::is_detached() && status == ExitStatus::Success && !out.is_json() {
        super::detach::was_done(&report.run);
    }
    match out.report(report, overview) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe && status == ExitStatus::Success => Err(error.into()),
        _ => Ok(status),
    }
}

/// The report of a run that did not begin: every refusal after the arguments are parsed is a run object with an `error`.
pub(crate) fn not_begun(source: &str, destination: &str, error: &Error) -> RunReport {
    let mut report = RunReport::new(Ulid::new().to_string(), source.to_owned(), &Location::new(Scheme::Memory, "", ""));
    report.fail(error);
    // As it was typed: it may be no location at all.
    destination.clone_into(&mut report.destination);
    if let Some(told) = &mut report.error {
        told.message = explain(error);
    }
    report
}

#[cfg(test)]
mod tests {
    use engine::State;
    use planner::ErrorKind;

    use super::*;

    #[test]
    fn what_did_not_begin_ends_as_its_error_says() {
        let table = [
            (ErrorKind::Usage, State::Refused, 2),
            (ErrorKind::Guard, State::Refused, 3),
            (ErrorKind::Unreachable, State::Failed, 4),
            (ErrorKind::Corrupt, State::Failed, 4),
            (ErrorKind::Interrupted, State::Cancelled, 130),
            (ErrorKind::TimedOut, State::Cancelled, 124),
            (ErrorKind::Bug, State::Failed, 70),
        ];
        for (kind, state, code) in table {
            let report = not_begun("lakefs://r/main", "s3://d", &Error::new(kind, "no"));
            assert_eq!((report.state, ExitStatus::of_report(&report).code()), (state, code), "{kind:?}");
        }
    }
}
