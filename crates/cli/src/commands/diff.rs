//! `diff`: what differs between two commits.

use std::io::Write as _;
use std::sync::Arc;

use futures::StreamExt as _;
use planner::{Error, table};

use super::{Context, ls, source};
use crate::args::DiffArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, listing};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &DiffArgs) -> Outcome {
    let registry = context.registry(None).await?;
    let left = source::lake_at(&registry, &args.left).await?;
    let right = source::lake_at(&registry, &args.right).await?;
    let (left_url, right_url) = (&left.lake.url, &right.lake.url);
    if left.lake.commits.storage() != right.lake.commits.storage() {
        return Err(Error::usage(format!("`{left_url}` and `{right_url}` are two lakes"))
            .with_help("only commits of one lake can be compared")
            .into());
    }
    if left_url.prefix() != right_url.prefix() {
        return Err(Error::usage(format!("`{left_url}` and `{right_url}` are two parts of a lake"))
            .with_help("give both the same prefix")
            .into());
    }
    let lake = Arc::clone(&right.lake.commits);
    let differences = table::diff(&lake, &left.commit, &right.commit, right_url.prefix());
    let frame = ls::one_stream().read_table(differences)?.select_columns(&["type", "path", "size"])?;
    let mut batches = frame.execute_stream().await?;
    let mut out = output::stdout();
    while let Some(batch) = batches.next().await {
        listing::differences(&mut out, &batch?, context.out.format)?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
