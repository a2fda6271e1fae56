//! What may be typed: types only. What the words mean is decided in `commands`.
//!
//! The options of `docs/reference.md` are grouped as they are there: selection, rounds, markers, guards, run, global.

#[cfg(feature = "cluster")]
mod cluster;
mod export;
mod lake;
mod look;
#[cfg(test)]
mod tests;
mod values;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

#[cfg(feature = "cluster")]
pub(crate) use cluster::{ExecutorArgs, SchedulerArgs};
pub(crate) use export::{ApplyArgs, ExportArgs, PlanArgs, SelectionArgs, SparkArgs, StatusArgs};
pub(crate) use lake::{LakeArgs, LakeCommand, LakeCommitArgs, LakeInitArgs, LakeMergeArgs, LakeRefArgs, StrategyArg, WordsArgs};
pub(crate) use look::{CatArgs, CompletionsArgs, DiffArgs, LogArgs, LsArgs, RefsArgs, RunRefArgs, RunsArgs, SqlArgs, WaitArgs};
pub(crate) use verify::VerifyArgs;

/// Everything that was typed.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    about = "Publish commits of a lakeFS lake to plain object stores",
    long_about = "Publish commits of a lakeFS lake to plain object stores: plan the difference of two commits, show it, \
                  do it in rounds, and leave a proof at the destination.",
    after_help = ADDRESSES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

const ADDRESSES: &str = "\
Addresses:
  lakefs://REPO/REF[/PREFIX/]          a repository of a lakeFS server
  lake+s3://BUCKET/NS?ref=REF          its storage namespace alone, no server ([&prefix=P/])
  lake+file:///DIR?ref=REF             the same in a folder
  s3://BUCKET/PREFIX, gs://…, az://…, file:///DIR or a plain path: a destination or a plan

Exit codes:
  0 done   1 some objects failed, or verify found differences   2 usage or settings   3 a guard refused   4 out of reach
  70 a bug   124 timeout   130 interrupted, can be resumed";

/// The verbs that are built.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a destination equal to a commit: plan and apply
    Export(Box<ExportArgs>),
    /// Show what an export would do, and keep the plan
    Plan(Box<PlanArgs>),
    /// Do exactly what a plan says
    Apply(Box<ApplyArgs>),
    /// Compare a destination with its receipts, and mend it
    Verify(VerifyArgs),
    /// List the runs of a destination, newest first
    Runs(RunsArgs),
    /// Show how a run stands
    Status(RunRefArgs),
    /// Wait until a run has ended, and end as it did
    Wait(WaitArgs),
    /// Ask a run to stop
    Cancel(RunRefArgs),
    /// List the objects of a commit
    Ls(LsArgs),
    /// List the differences of two commits
    Diff(DiffArgs),
    /// List the commits that led to a commit
    Log(LogArgs),
    /// List branches and tags
    Refs(RefsArgs),
    /// Write the bytes of one object
    Cat(CatArgs),
    /// Ask lakes, plans and destinations in SQL
    Sql(SqlArgs),
    /// Make and write a lake without a server
    Lake(LakeArgs),
    /// Run a cluster's scheduler
    #[cfg(feature = "cluster")]
    Scheduler(SchedulerArgs),
    /// Run an executor of a cluster
    #[cfg(feature = "cluster")]
    Executor(ExecutorArgs),
    /// Write a shell's completion script
    Completions(CompletionsArgs),
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// What stdout holds: text for people, or JSON for scripts
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: OutputFormat,

    /// Log more (-v, -vv, -vvv)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// Show no progress
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,

    /// Read these settings instead of ./millrace.toml or the user's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Settings of one store, such as `prefix=s3://BUCKET,endpoint=URL,path_style=true` (repeatable)
    #[arg(long = "store", global = true, value_name = "SPEC")]
    pub(crate) stores: Vec<String>,
}

/// `--output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One object, or one a line.
    Json,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text each.
    #[default]
    Text,
    /// A JSON object each.
    Json,
}

/// Finds the output format in words that could not be parsed: a script that asked for JSON gets its usage errors as JSON.
pub(crate) fn format_of_raw(words: &[OsString]) -> OutputFormat {
    let given = words.iter().take_while(|w| *w != "--");
    let joined = given.clone().any(|w| w == "--output=json");
    let apart = given.clone().zip(given.skip(1)).any(|(a, b)| a == "--output" && b == "json");
    if joined || apart { OutputFormat::Json } else { OutputFormat::Text }
}
