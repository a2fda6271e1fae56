//! `refs`: branches and tags.

use std::io::Write as _;

use planner::source::LakeUrl;

use super::Context;
use super::source::Lake;
use crate::args::RefsArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, listing};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &RefsArgs) -> Outcome {
    let url = LakeUrl::parse(&args.lake)?.without_ref();
    let lake = Lake::open(&context.registry(None).await?, url).await?;
    let refs = lake.commits.refs().await?;
    let mut out = output::stdout();
    listing::refs(&mut out, &refs, context.out.format)?;
    out.flush()?;
    Ok(ExitStatus::Success)
}
