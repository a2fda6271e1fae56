//! `log`: the commits that led to a commit.

use std::io::Write as _;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use planner::source::history;

use super::{Context, source};
use crate::args::LogArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, listing};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &LogArgs) -> Outcome {
    let at = source::lake_at(&context.registry(None).await?, &args.lake).await?;
    let commits = history::log(Arc::clone(&at.lake.commits), at.commit, args.first_parent);
    let mut commits = commits.take(args.amount.unwrap_or(usize::MAX));
    let mut out = output::stdout();
    while let Some(commit) = commits.try_next().await? {
        listing::commit(&mut out, &commit, context.out.format)?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
