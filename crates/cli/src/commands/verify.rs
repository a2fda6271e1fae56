//! `verify`: is the destination what its receipts say, and the commit?

use std::sync::Arc;
use std::time::Duration;

use engine::verify::report::VerifyReport;
use engine::verify::{self, How, Subject, VerifyRequest};
use engine::{Guards, RunOptions, Source};
use planner::source::LakeUrl;
use planner::{Error, Location, Result};
use tokio_util::sync::CancellationToken;
use worker::Registry;

use super::Context;
use super::source::{Words, compared};
use crate::args::{SelectionArgs, VerifyArgs};
use crate::exit::ExitStatus;
use crate::failure::Outcome;
use crate::output::progress::Reporter;
use crate::output::verify as output;
use crate::stop;

/// How long a comparison on a cluster that was stopped may take to put things away.
const STOPPING: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) async fn run(context: &Context, args: &VerifyArgs) -> Outcome {
    let destination = super::location(&args.destination, "a destination")?;
    let report = match Box::pin(verified(context, args, &destination)).await {
        Ok(report) => report,
        Err(error) => {
            let mut report = VerifyReport::new(&destination, args.deep);
            report.fail(&error);
            report
        }
    };
    output::report(context.out, &report)?;
    Ok(ExitStatus::of_verify(&report))
}

async fn verified(context: &Context, args: &VerifyArgs, destination: &Location) -> Result<VerifyReport> {
    let registry = context.registry(None).await?;
    let against = match &args.against {
        Some(text) => Some(named(&registry, LakeUrl::parse(text)?).await?),
        None => None,
    };
    let concurrency = args.concurrency.and_then(|c| c.0);
    let request = VerifyRequest {
        destination: destination.clone(),
        against: against.clone(),
        order: None,
        deep: args.deep,
        concurrency,
        keep_keys: args.repair,
        #[cfg(feature = "cluster")]
        cluster: on_cluster(args)?,
        stop: CancellationToken::new(),
    };
    let mut verifying = Box::pin(verify::verify(&registry, &request));
    let mut report = tokio::select! {
        report = &mut verifying => report,
        error = stop::signalled() => {
            // A cluster is told, and what it was given goes.
            request.stop.cancel();
            if is_elsewhere(&request) {
                let _ = tokio::time::timeout(STOPPING, verifying).await;
            }
            return Err(error);
        }
    };
    drop(verifying);
    if args.repair && report.error.is_none() && report.differences > 0 {
        let mended = Box::pin(repair(context, &registry, (against, args), &mut report, destination)).await;
        if let Err(error) = mended {
            report.fail(&error);
        }
    }
    Ok(report)
}

/// A cluster works on it.
#[cfg(feature = "cluster")]
fn is_elsewhere(request: &VerifyRequest) -> bool {
    request.cluster.is_some()
}

#[cfg(not(feature = "cluster"))]
fn is_elsewhere(_: &VerifyRequest) -> bool {
    false
}

/// The cluster that reads the bytes.
#[cfg(feature = "cluster")]
fn on_cluster(args: &VerifyArgs) -> Result<Option<engine::ClusterOptions>> {
    let cluster = args.cluster.options()?;
    if cluster.is_some() && !args.deep {
        return Err(Error::usage("a cluster reads bytes; listing and comparing run where the command runs")
            .with_help("add --deep, or leave --cluster out"));
    }
    Ok(cluster)
}

async fn repair(
    context: &Context,
    registry: &Arc<Registry>,
    (against, args): (Option<Source>, &VerifyArgs),
    report: &mut VerifyReport,
    destination: &Location,
) -> Result<()> {
    let subject = Subject::of(registry, destination).await?;
    let source = match against {
        Some(source) => source,
        None => own_source(registry, &subject).await?,
    };
    let options = RunOptions { concurrency: args.concurrency.and_then(|c| c.0), ..RunOptions::default() };
    let guards = Guards { max_delete: args.max_delete, force: args.force, ..Guards::default() };
    let how = How { order: None, options, guards };
    let progress = Reporter::new(&context.global, context.screen.clone());
    let stop = stop::token(context.screen.clone())?;
    let mended = verify::repair(registry, &subject, (source, how), report, (&progress, &stop)).await;
    progress.finish();
    mended
}

/// The lake that the receipt was written from, at the commit that is there.
async fn own_source(registry: &Arc<Registry>, subject: &Subject) -> Result<Source> {
    let help = "name the lake by --against SOURCE";
    let commit = subject.current()?.commit.clone();
    let text = subject.receipt.as_ref().and_then(|receipt| receipt.source.as_deref());
    let text = text.ok_or_else(|| {
        Error::usage(format!("the receipt of {} does not say where it came from", subject.destination.location())).with_help(help)
    })?;
    let url = LakeUrl::parse(text).map_err(|e| e.with_help(help))?;
    let url = if url.metarange().is_some() { url } else { url.with_ref(commit) };
    named(registry, url).await.map_err(|e| e.context("the lake that was exported").with_help(help))
}

async fn named(registry: &Arc<Registry>, url: LakeUrl) -> Result<Source> {
    let words = Words::own(&url.to_string(), &SelectionArgs::default())?;
    // A repair mends what is there: whether a branch went back is of no interest.
    Ok(Source { branch: false, ..compared(registry, &words).await?.source })
}
