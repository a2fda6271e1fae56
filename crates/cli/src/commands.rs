//! The commands: each opens what was named, calls one thing below, and prints what comes back.

mod apply;
mod cat;
#[cfg(feature = "cluster")]
mod cluster;
mod completions;
mod control;
mod detach;
mod diff;
mod export;
mod lake;
mod log;
mod ls;
mod plan;
mod refs;
mod request;
mod runs;
mod source;
mod sql;
mod verify;

pub(crate) use detach::RUN_LINE;

use std::sync::Arc;
use std::time::Duration;

use planner::{Error, Location, Result};
use worker::{Registry, RegistryOptions};

use crate::args::{Cli, Command, GlobalArgs};
use crate::exit::ExitStatus;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::output::progress::Screen;
use crate::{settings, stop};

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// How it prints.
    pub(crate) out: Output,
    /// Stderr.
    pub(crate) screen: Screen,
    /// The options of every command.
    pub(crate) global: GlobalArgs,
}

impl Context {
    /// The stores with their settings.
    pub(crate) async fn registry(&self, request_timeout: Option<Duration>) -> Result<Arc<Registry>> {
        let default = RegistryOptions::default();
        let request_timeout = request_timeout.unwrap_or(default.request_timeout);
        Registry::load(RegistryOptions { settings: settings::stores(&self.global)?, request_timeout, ..default }).await
    }
}

/// Does what was typed, and tells what went wrong.
pub(crate) async fn run(cli: Cli, screen: Screen) -> ExitStatus {
    let context = Context { out: Output::new(&cli.global), screen, global: cli.global };
    if detach::is_detached() {
        detach::leave_terminal();
    }
    let outcome = match cli.command {
        // These two stop by themselves: what is in flight is finished first, and a report is written.
        Command::Export(args) if args.run.detach && !detach::is_detached() => detach::run(&context).await,
        Command::Apply(args) if args.run.detach && !detach::is_detached() => detach::run(&context).await,
        Command::Export(args) => export::run(&context, &args).await,
        Command::Apply(args) => apply::run(&context, &args).await,
        Command::Verify(args) => verify::run(&context, &args).await,
        #[cfg(feature = "cluster")]
        Command::Scheduler(args) => cluster::scheduler(&context, &args).await,
        #[cfg(feature = "cluster")]
        Command::Executor(args) => cluster::executor(&context, &args).await,
        command => tokio::select! {
            outcome = look(&context, command) => outcome,
            error = stop::signalled() => Err(error.into()),
        },
    };
    match outcome {
        Ok(status) => status,
        Err(Failure::Pipe) => ExitStatus::Success,
        Err(Failure::Error(error)) => {
            context.out.error(&error);
            error.kind().into()
        }
    }
}

/// Commands that can be dropped at any point.
async fn look(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Plan(args) => plan::run(context, &args).await,
        Command::Runs(args) => runs::run(context, &args).await,
        Command::Status(args) => control::status(context, &args).await,
        Command::Wait(args) => control::wait(context, &args).await,
        Command::Cancel(args) => control::cancel(context, &args).await,
        Command::Ls(args) => ls::run(context, &args).await,
        Command::Diff(args) => diff::run(context, &args).await,
        Command::Log(args) => log::run(context, &args).await,
        Command::Refs(args) => refs::run(context, &args).await,
        Command::Cat(args) => cat::run(context, &args).await,
        Command::Sql(args) => sql::run(context, &args).await,
        Command::Lake(args) => lake::run(context, &args).await,
        Command::Completions(args) => completions::run(&args),
        #[cfg(feature = "cluster")]
        Command::Scheduler(_) | Command::Executor(_) => Err(Error::bug("a role was started as a look").into()),
        Command::Export(_) | Command::Apply(_) | Command::Verify(_) => Err(Error::bug("a run was started as a look").into()),
    }
}

/// A destination or a plan as it was typed. A lake in its place is a slip that is worth a word.
fn location(text: &str, what: &str) -> Result<Location> {
    if planner::source::LakeUrl::is_lake(text) {
        return Err(Error::usage(format!("`{text}` is a lake, and {what} is wanted here"))
            .with_help("destinations and plans are s3://BUCKET/PREFIX, gs://…, az://…, file:///DIR or a plain path"));
    }
    Location::parse(text)
}
