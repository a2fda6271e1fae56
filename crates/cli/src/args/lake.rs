//! `lake`: making and writing lakes without a server.

use clap::{Args, Subcommand, ValueEnum};

use super::values::{self, Concurrency};

/// The verbs of `lake`.
#[derive(Debug, Subcommand)]
pub(crate) enum LakeCommand {
    /// Make an empty lake
    Init(LakeInitArgs),
    /// Make a branch equal to a folder, as one commit
    Commit(Box<LakeCommitArgs>),
    /// Make a branch at a commit, or delete one
    Branch(LakeRefArgs),
    /// Give a commit a name that stays, or take one away
    Tag(LakeRefArgs),
    /// Bring the changes of a branch, tag or commit into a branch
    Merge(Box<LakeMergeArgs>),
}

/// `lake VERB`.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "A lake is a folder or prefix in lakeFS's own layout. No server is needed; a lakeFS server can restore it later, and is
its master from then on. A lake that a server manages is read here, and never written.

Examples:
  millrace lake init lake+file:///srv/lake
  millrace lake commit 'lake+file:///srv/lake?ref=main' ./out -m 'first load'
  millrace lake branch 'lake+file:///srv/lake?ref=main' dev
  millrace lake merge 'lake+file:///srv/lake?ref=dev' main"
)]
pub(crate) struct LakeArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub(crate) command: LakeCommand,
}

/// `lake init LAKE`.
#[derive(Debug, Args)]
#[command(after_help = "The lake's first branch is called main, or as ?ref=NAME says.

Examples:
  millrace lake init lake+s3://bucket/lakes/orders
  millrace lake init lake+file:///srv/lake")]
pub(crate) struct LakeInitArgs {
    /// Where it is to be: `lake+s3://BUCKET/PREFIX` or `lake+file:///FOLDER`
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,
}

/// What is said of a new commit.
#[derive(Debug, Args)]
pub(crate) struct WordsArgs {
    /// A pair of the commit's metadata (repeatable)
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) metadata: Vec<(String, String)>,

    /// Who commits; the name of the user when nothing is said
    #[arg(long, value_name = "NAME")]
    pub(crate) committer: Option<String>,
}

/// `lake commit LAKE FOLDER`.
#[derive(Debug, Args)]
#[command(
    after_help = "What the folder has no more is removed from the branch; files with the same bytes are not copied again. Where
nothing differs no commit is made, which is no error. A folder without any files is refused (exit 3).

Examples:
  millrace lake commit 'lake+file:///srv/lake?ref=main' ./out -m 'nightly load' --meta job=42
  millrace lake commit 'lake+s3://bucket/lake?ref=main' s3://landing/orders --prefix tables/orders -m orders"
)]
pub(crate) struct LakeCommitArgs {
    /// The branch: `lake+…?ref=BRANCH`
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// The files: a folder, or a prefix such as `s3://BUCKET/PREFIX`
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: String,

    /// What the commit is
    #[arg(short, long, value_name = "MESSAGE")]
    pub(crate) message: String,

    #[command(flatten)]
    pub(crate) words: WordsArgs,

    /// Only this part of the branch becomes equal to the folder
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<String>,

    /// Commit even when nothing differs, or when the folder is empty and so everything is removed
    #[arg(long)]
    pub(crate) allow_empty: bool,

    /// Files that are copied at once, or `auto`
    #[arg(long, value_name = "N", value_parser = values::concurrency)]
    pub(crate) concurrency: Option<Concurrency>,
}

/// `lake branch LAKE NAME`, `lake tag LAKE NAME`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millrace lake branch 'lake+file:///srv/lake?ref=main' dev
  millrace lake tag 'lake+file:///srv/lake?ref=main~1' v1.0
  millrace lake branch lake+file:///srv/lake dev --delete")]
pub(crate) struct LakeRefArgs {
    /// The commit: `lake+…?ref=REF`; to delete, the lake alone
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// The name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Take the name away; commits stay
    #[arg(short, long)]
    pub(crate) delete: bool,
}

/// `lake merge LAKE BRANCH`.
#[derive(Debug, Args)]
#[command(
    after_help = "Objects that both sides changed since they parted are conflicts: nothing is merged (exit 3) unless a strategy decides.

Examples:
  millrace lake merge 'lake+file:///srv/lake?ref=dev' main
  millrace lake merge 'lake+file:///srv/lake?ref=dev' main --strategy source-wins -m 'release 7'"
)]
pub(crate) struct LakeMergeArgs {
    /// What is merged: `lake+…?ref=REF`
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// The branch that it is merged into
    #[arg(value_name = "BRANCH")]
    pub(crate) branch: String,

    /// What the commit is; `Merge 'REF' into 'BRANCH'` when nothing is said
    #[arg(short, long, value_name = "MESSAGE")]
    pub(crate) message: Option<String>,

    #[command(flatten)]
    pub(crate) words: WordsArgs,

    /// Who is right where both sides changed an object
    #[arg(long, value_name = "STRATEGY", value_enum)]
    pub(crate) strategy: Option<StrategyArg>,
}

/// `--strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
    /// What is merged.
    SourceWins,
    /// The branch that it is merged into.
    DestWins,
}
