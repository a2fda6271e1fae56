//! `status`, `wait`, `cancel`: runs seen from outside.

use std::io::Write as _;

use engine::{RunReport, State};
use planner::{Error, ErrorKind};

use super::{Context, request};
use crate::args::{RunRefArgs, WaitArgs};
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, json};

/// Runs `status`: 0 however the run stands; the answer says it.
pub(crate) async fn status(context: &Context, args: &RunRefArgs) -> Outcome {
    let destination = super::location(&args.destination, "a destination")?;
    let report = engine::status(&context.registry(None).await?, &destination, args.run.as_deref()).await?;
    tell(context, &report)?;
    Ok(ExitStatus::Success)
}

fn tell(context: &Context, report: &RunReport) -> std::io::Result<()> {
    if report.state == State::Running && !context.out.is_json() {
        let mut out = output::stdout();
        let planned: u64 = report.rounds.iter().map(|r| r.copied + r.deleted + r.failed).sum();
        writeln!(
            out,
            "run {} is going on: {planned} rows done, {} bytes copied, {} failed",
            report.run, report.bytes, report.failed
        )?;
        return out.flush();
    }
    context.out.report(report, None)
}

/// Runs `wait`: ends as the run ended.
pub(crate) async fn wait(context: &Context, args: &WaitArgs) -> Outcome {
    let destination = super::location(&args.of.destination, "a destination")?;
    let registry = context.registry(None).await?;
    let waiting = engine::wait(&registry, &destination, args.of.run.as_deref(), |_| {});
    let report = match args.timeout {
        None => waiting.await?,
        Some(limit) => tokio::time::timeout(limit, waiting).await.map_err(|_| {
            Error::new(ErrorKind::TimedOut, format!("the run did not end in the {limit:?} that --timeout allows"))
                .with_help("it goes on; wait longer, or stop it with `millrace cancel`")
        })??,
    };
    request::told(context.out, &report, None)
}

/// Runs `cancel`.
pub(crate) async fn cancel(context: &Context, args: &RunRefArgs) -> Outcome {
    let destination = super::location(&args.destination, "a destination")?;
    let lease = engine::cancel(&context.registry(None).await?, &destination, args.run.as_deref()).await?;
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(
            &mut out,
            &serde_json::json!({ "run": lease.run, "state": "cancelling", "holder": lease.holder.to_string() }),
        )?;
    } else {
        writeln!(out, "{} was asked to stop; see how it ends with `millrace wait {destination}`", lease.shown())?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
