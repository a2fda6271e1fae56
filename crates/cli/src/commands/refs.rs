//! `refs`: branches and tags.

use std::io::Write as _;

use planner::source::LakeUrl;

use super::Context;
use super::source::Lake;
use crate::args::RefsArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, listing, text};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &RefsArgs) -> Outcome {
    let url = LakeUrl::parse(&args.lake)?.without_ref();
    let lake = Lake::open(&context.registry(None).await?, url).await?;
    let refs = lake.commits.refs().await?;
    if let Some(written) = lake.commits.refs_age().filter(|_| !context.global.quiet) {
        // A dump may be old, and nothing in the lake says how much was committed since.
        let note = format!("as of the refs dump of {}", listing::date(written));
        let _ = context.screen.write(|mut out| text::note(&mut out, &note));
    }
    let mut out = output::stdout();
    listing::refs(&mut out, &refs, context.out.format)?;
    out.flush()?;
    Ok(ExitStatus::Success)
}
