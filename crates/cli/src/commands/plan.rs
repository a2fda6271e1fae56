//! `plan`: show what an export would do, and keep it.

use std::sync::Arc;

use directories::ProjectDirs;
use engine::{ExportRequest, PlanOverview, RunReport};
use planner::{Error, Location, Result};
use ulid::Ulid;
use worker::Registry;

use super::{Context, request};
use crate::args::PlanArgs;
use crate::failure::Outcome;
use crate::output::progress::Reporter;

/// A plan that was made, or the report of why not.
pub(crate) type Made = (RunReport, Option<PlanOverview>);

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &PlanArgs) -> Outcome {
    let made = make(context, args.plan.as_deref(), async |registry| request::of_plan(registry, args).await).await;
    tell(context, made, &args.source, &args.destination)
}

/// Makes the plan and keeps it in `folder`, or else among the user's plans.
pub(crate) async fn make(
    context: &Context,
    folder: Option<&str>,
    request: impl AsyncFnOnce(&Arc<Registry>) -> Result<ExportRequest>,
) -> Result<Made> {
    let registry = context.registry(None).await?;
    let into = match folder {
        Some(folder) => super::location(folder, "the plan's folder")?,
        None => own_folder()?,
    };
    let request = request(&registry).await?;
    let progress = Reporter::new(&context.global, context.screen.clone());
    let made = engine::plan(&registry, &request, &into, &progress).await;
    progress.finish();
    Ok(made)
}

/// Prints it.
pub(crate) fn tell(context: &Context, made: Result<Made>, source: &str, destination: &str) -> Outcome {
    let (report, overview) = made.unwrap_or_else(|error| (request::not_begun(source, destination, &error), None));
    request::told(context.out, &report, overview.as_ref())
}

/// A new folder among the user's plans. Names sort by time.
fn own_folder() -> Result<Location> {
    let Some(dirs) = ProjectDirs::from("", "", "millrace") else {
        return Err(Error::usage("there is no home directory to keep the plan in").with_help("say where with -o PLAN"));
    };
    let folder = dirs.cache_dir().join("plans").join(Ulid::new().to_string());
    Location::parse(&folder.to_string_lossy())
}
