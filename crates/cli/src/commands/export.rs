//! `export`: plan and apply in one. With `--dry-run` the second half is not called.

use engine::RunReport;
use planner::Result;

use super::{Context, plan, request};
use crate::args::ExportArgs;
use crate::failure::Outcome;
use crate::output::progress::Reporter;
use crate::stop;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &ExportArgs) -> Outcome {
    if args.selection.dry_run {
        return dry_run(context, args).await;
    }
    let progress = Reporter::new(&context.global, context.screen.clone());
    let report = export(context, args, &progress).await;
    progress.finish();
    let report = report.unwrap_or_else(|error| request::not_begun(&args.source, &args.destination, &error));
    request::told(context.out, &report, None)
}

async fn export(context: &Context, args: &ExportArgs, progress: &Reporter) -> Result<RunReport> {
    let registry = context.registry(args.run.request_timeout).await?;
    let request = tokio::select! {
        request = request::of_export(&registry, args) => request?,
        error = stop::signalled() => return Err(error),
    };
    let stop = stop::token(context.screen.clone())?;
    Ok(engine::export(&registry, &request, progress, &stop).await)
}

async fn dry_run(context: &Context, args: &ExportArgs) -> Outcome {
    let made = tokio::select! {
        made = shown(context, args) => made,
        error = stop::signalled() => Err(error),
    };
    plan::tell(context, made, &args.source, &args.destination)
}

/// A plan that nothing is left of but what it says.
async fn shown(context: &Context, args: &ExportArgs) -> Result<plan::Made> {
    let folder = engine::temporary()?;
    let into = folder.path().join("plan");
    let request = async |registry: &_| request::of_export(registry, args).await;
    let (mut report, overview) = plan::make(context, Some(&into.to_string_lossy()), request).await?;
    report.plan = None;
    Ok((report, overview))
}
