//! `scheduler` and `executor`: processes that run until they are told to stop.

use super::Context;
use crate::args::{ExecutorArgs, SchedulerArgs};
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::stop;

/// Runs a scheduler until the first signal.
pub(crate) async fn scheduler(context: &Context, args: &SchedulerArgs) -> Outcome {
    let stop = stop::token(context.screen.clone())?;
    worker::cluster::run_scheduler(args.options()?, stop).await?;
    Ok(ExitStatus::Success)
}

/// Runs an executor until the first signal, and until what is under way then is finished.
pub(crate) async fn executor(context: &Context, args: &ExecutorArgs) -> Outcome {
    let options = args.options()?;
    let registry = context.registry(None).await?;
    let stop = stop::token(context.screen.clone())?;
    worker::cluster::run_executor(options, registry, stop).await?;
    Ok(ExitStatus::Success)
}
