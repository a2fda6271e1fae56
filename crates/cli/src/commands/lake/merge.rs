//! `lake merge`.

use std::io::Write as _;

use engine::lake::{MergeRequest, Strategy};

use super::{Context, whole, words, writable};
use crate::args::{LakeMergeArgs, StrategyArg};
use crate::failure::Outcome;
use crate::output::{self, json, lake};

/// Runs the command.
pub(super) async fn run(context: &Context, args: &LakeMergeArgs) -> Outcome {
    let (location, url) = writable(&args.lake)?;
    whole(&args.lake, &url)?;
    let request = MergeRequest {
        lake: location,
        source: url.require_reference()?.to_owned(),
        branch: args.branch.clone(),
        words: words(&args.words, args.message.as_deref())?,
        strategy: args.strategy.map(|strategy| match strategy {
            StrategyArg::SourceWins => Strategy::SourceWins,
            StrategyArg::DestWins => Strategy::DestWins,
        }),
    };
    let report = engine::lake::merge(&context.registry(None).await?, &request).await?;
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(&mut out, &report)?;
    } else {
        lake::merged(&mut out, &report)?;
    }
    out.flush()?;
    lake::told(context.out, report.state, report.error.as_ref())
}
