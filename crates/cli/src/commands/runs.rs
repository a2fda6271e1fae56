//! `runs`: the history of a destination, newest first.

use std::io::Write as _;

use super::Context;
use crate::args::RunsArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, json, text};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &RunsArgs) -> Outcome {
    let destination = super::location(&args.destination, "a destination")?;
    let reports = engine::history(&context.registry(None).await?, &destination).await?;
    let mut out = output::stdout();
    if context.out.is_json() {
        reports.iter().try_for_each(|report| json::line(&mut out, report))?;
    } else if reports.is_empty() {
        writeln!(out, "No runs at {destination}")?;
    } else {
        text::runs(&mut out, &reports)?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
