//! `lake branch` and `lake tag`.

use std::io::Write as _;

use planner::source::RefKind;

use super::{Context, whole, writable};
use crate::args::LakeRefArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::{self, json, lake};

/// Runs the command.
pub(super) async fn run(context: &Context, kind: RefKind, args: &LakeRefArgs) -> Outcome {
    let (location, url) = writable(&args.lake)?;
    whole(&args.lake, &url)?;
    let registry = context.registry(None).await?;
    let report = if args.delete {
        engine::lake::delete_ref(&registry, &location, kind, &args.name).await?
    } else {
        engine::lake::create_ref(&registry, &location, kind, url.require_reference()?, &args.name).await?
    };
    let mut out = output::stdout();
    if context.out.is_json() {
        json::line(&mut out, &report)?;
    } else {
        lake::reference(&mut out, &report)?;
    }
    out.flush()?;
    Ok(ExitStatus::Success)
}
