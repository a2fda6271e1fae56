//! `apply`: exactly that plan.

use engine::{ApplyRequest, RunReport};
use planner::Result;

use super::{Context, request};
use crate::args::ApplyArgs;
use crate::failure::Outcome;
use crate::output::progress::Reporter;
use crate::stop;

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &ApplyArgs) -> Outcome {
    let progress = Reporter::new(&context.global, context.screen.clone());
    let report = apply(context, args, &progress).await;
    progress.finish();
    let report = report.unwrap_or_else(|error| request::not_begun(&args.plan, "", &error));
    request::told(context.out, &report, None)
}

async fn apply(context: &Context, args: &ApplyArgs, progress: &Reporter) -> Result<RunReport> {
    let registry = context.registry(args.run.request_timeout).await?;
    let request = ApplyRequest {
        plan: super::location(&args.plan, "a plan's folder")?,
        guards: args.guards.guards(),
        markers: args.markers.options(),
        run: args.run.options()?,
    };
    let stop = stop::token(context.screen.clone())?;
    Ok(engine::apply(&registry, &request, progress, &stop).await)
}
