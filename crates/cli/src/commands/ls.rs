//! `ls`: the objects of a commit.

use std::io::Write as _;
use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use planner::{Error, table};

use super::{Context, source};
use crate::args::LsArgs;
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output;
use crate::output::listing::{self, ObjectStyle};

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &LsArgs) -> Outcome {
    let at = source::lake_at(&context.registry(None).await?, &args.lake).await?;
    let objects = table::objects(Arc::clone(&at.lake.commits), &at.commit, at.lake.url.prefix());
    let columns = listing::object_columns(context.out.format);
    let mut batches = one_stream().read_table(objects)?.select_columns(columns)?.execute_stream().await?;
    let style = ObjectStyle { format: context.out.format, human_readable: args.human_readable };
    let mut out = output::stdout();
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        listing::objects(&mut out, &batch, style)?;
    }
    out.flush()?;
    if rows == 0 && !at.lake.url.prefix().is_empty() {
        return Err(Error::usage(format!("there is nothing at `{}` in {}", at.lake.url.prefix(), args.lake))
            .with_help("prefixes name whole folders: `foo` is the object foo or what is below foo/, never foobar")
            .into());
    }
    Ok(ExitStatus::Success)
}

/// A session that reads in one stream, so that rows come in the order of keys.
pub(super) fn one_stream() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
}
