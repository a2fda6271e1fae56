//! Commands that look into lakes, plans and destinations, and change nothing.

use clap::Args;
use clap_complete::Shell;

/// `runs DEST`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millrace runs s3://mirror/orders
  millrace runs /srv/orders --output json | jq -r 'select(.state == \"failed\") | .run'")]
pub(crate) struct RunsArgs {
    /// The destination
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
}

/// `status DEST [RUN]`, `cancel DEST [RUN]`.
#[derive(Debug, Args)]
#[command(after_help = "Without RUN it is the run that is going on, else the last one. The beginning of an id is enough.

Examples:
  millrace status s3://mirror/orders
  millrace cancel s3://mirror/orders 01K3F7")]
pub(crate) struct RunRefArgs {
    /// The destination
    #[arg(value_name = "DEST")]
    pub(crate) destination: String,
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
}

/// `wait DEST [RUN]`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) of: RunRefArgs,
    /// Stop waiting after this time; the run goes on
    #[arg(long, value_name = "TIME", value_parser = super::values::duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}

/// `ls LAKE`.
#[derive(Debug, Args)]
#[command(after_help = "Prints modification time (UTC), size and path of every object below the prefix.

Examples:
  millrace ls lakefs://orders/main
  millrace ls lakefs://orders/main/tables/ --human-readable
  millrace ls 'lake+file:///srv/lake/orders?ref=v1&prefix=tables/' --output json")]
pub(crate) struct LsArgs {
    /// The commit and the part of it: `lakefs://REPO/REF[/PREFIX/]` or `lake+…?ref=REF[&prefix=PREFIX/]`
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// Sizes as 1.2 MiB
    #[arg(long)]
    pub(crate) human_readable: bool,

    /// Everything below the prefix is listed anyway
    #[arg(short, long, hide = true)]
    pub(crate) recursive: bool,
}

/// `diff LAKE LAKE`.
#[derive(Debug, Args)]
#[command(after_help = "Prints what is in the second commit and not the same in the first: + added, ~ changed, - removed.

Examples:
  millrace diff lakefs://orders/main~1 lakefs://orders/main
  millrace diff 'lake+s3://lake/orders?ref=v1' 'lake+s3://lake/orders?ref=v2' --output json")]
pub(crate) struct DiffArgs {
    /// The old commit
    #[arg(value_name = "LAKE")]
    pub(crate) left: String,
    /// The new commit
    #[arg(value_name = "LAKE")]
    pub(crate) right: String,
}

/// `log LAKE`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millrace log lakefs://orders/main -n 10
  millrace log lakefs://orders/main --first-parent --output json")]
pub(crate) struct LogArgs {
    /// The commit to start from
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// At most so many commits
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) amount: Option<usize>,

    /// Follow only the first parent of merges
    #[arg(long)]
    pub(crate) first_parent: bool,
}

/// `refs LAKE`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millrace refs lakefs://orders
  millrace refs lake+file:///srv/lake/orders --output json")]
pub(crate) struct RefsArgs {
    /// The lake; a ref in it is not needed
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,
}

/// `cat LAKE KEY`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millrace cat lakefs://orders/main site/index.html
  millrace cat lakefs://orders/main~3 tables/customers/customers.csv -o old.csv")]
pub(crate) struct CatArgs {
    /// The commit
    #[arg(value_name = "LAKE")]
    pub(crate) lake: String,

    /// The object's path, as `ls` prints it
    #[arg(value_name = "KEY")]
    pub(crate) key: String,

    /// Write to this file instead of stdout
    #[arg(short = 'o', value_name = "FILE")]
    pub(crate) file: Option<std::path::PathBuf>,
}

/// `sql LAKE|PLAN|DEST… QUERY`.
#[derive(Debug, Args)]
#[command(
    override_usage = "millrace sql [OPTIONS] [[NAME=]LAKE|PLAN|DEST]... <QUERY>",
    after_help = "Tables:
  objects('REF'), diff('A','B')        of a lake
  plan                                 the actions of a plan
  receipts, runs                       of a destination
With NAME=URL they are called NAME_objects, NAME_diff, NAME_plan, NAME_receipts, NAME_runs.

Examples:
  millrace sql lakefs://orders/main \"SELECT count(*), sum(size) FROM objects('main')\"
  millrace sql lakefs://orders/main \"SELECT * FROM diff('main~1','main') WHERE path LIKE 'tables/%'\"
  millrace sql ./plan 'SELECT round, action, count(*) FROM plan GROUP BY 1, 2 ORDER BY 1, 2'"
)]
pub(crate) struct SqlArgs {
    /// Lakes, plans and destinations, each with a name where there are several; the query comes last
    #[arg(value_name = "SOURCE", required = true, num_args = 1.., hide = true)]
    pub(crate) words: Vec<String>,
}

/// `completions SHELL`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  millrace completions bash > ~/.local/share/bash-completion/completions/millrace")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}
