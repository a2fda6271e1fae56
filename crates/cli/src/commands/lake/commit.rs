//! `lake commit`.

use std::io::Write as _;

use engine::lake::CommitRequest;
use planner::source::LakeUrl;
use planner::{Error, Result};

use super::{Context, words, writable};
use crate::args::LakeCommitArgs;
use crate::failure::Outcome;
use crate::output::progress::Reporter;
use crate::output::{self, json, lake};

/// Runs the command.
pub(super) async fn run(context: &Context, args: &LakeCommitArgs) -> Outcome {
    let request = request(args)?;
    let registry = context.registry(None).await?;
    let progress = Reporter::new(&context.global, context.screen.clone());
    let report = engine::lake::commit(&registry, &request, &progress).await;
    progress.finish();
    let report = report?;
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(&mut out, &report)?;
    } else {
        lake::committed(&mut out, &report)?;
    }
    out.flush()?;
    lake::told(context.out, report.state, report.error.as_ref())
}

fn request(args: &LakeCommitArgs) -> Result<CommitRequest> {
    let (lake, url) = writable(&args.lake)?;
    Ok(CommitRequest {
        lake,
        branch: url.require_reference()?.to_owned(),
        folder: super::super::location(&args.folder, "a folder of files")?,
        prefix: prefix(args, &url)?,
        words: words(&args.words, Some(&args.message))?,
        allow_empty: args.allow_empty,
        concurrency: args.concurrency.and_then(|n| n.0),
    })
}

/// The part of the branch: `--prefix`, or the URL's own.
fn prefix(args: &LakeCommitArgs, url: &LakeUrl) -> Result<String> {
    match (&args.prefix, url.prefix()) {
        (Some(option), "") => Ok(option.clone()),
        (None, of_url) => Ok(of_url.to_owned()),
        (Some(option), of_url) if option == of_url => Ok(option.clone()),
        (Some(option), of_url) => {
            Err(Error::usage(format!("the lake's URL names the prefix `{of_url}`, and --prefix `{option}`"))
                .with_help("keep one of the two"))
        }
    }
}
