//! `lake init`.

use std::io::Write as _;

use super::{Context, whole, writable};
use crate::args::LakeInitArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, json, lake};

/// The first branch where none is named.
const DEFAULT_BRANCH: &str = "main";

/// Runs the command.
pub(super) async fn run(context: &Context, args: &LakeInitArgs) -> Outcome {
    let (location, url) = writable(&args.lake)?;
    whole(&args.lake, &url)?;
    let registry = context.registry(None).await?;
    let report = engine::lake::init(&registry, &location, url.reference().unwrap_or(DEFAULT_BRANCH)).await?;
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(&mut out, &report)?;
    } else {
        lake::made(&mut out, &report)?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
