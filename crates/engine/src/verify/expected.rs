//! What should be at a destination: the state of its receipts, and the commit as a fresh export would write it.

use std::sync::Arc;

use planner::plan::{Action, PlanFile, ROW_SCHEMA};
use planner::planning::{self, Hindrance, PlanRequest};
use planner::{Base, Error, Result, RoundsSpec, SelectionSpec, View};
use tempfile::TempDir;

use super::group::Groups;
use super::{Subject, VerifyRequest, listing};
use crate::destination::Destination;
use crate::prepare::{lake_id, temporary};
use crate::receipt::state::NEWEST_FIRST;
use crate::receipt::{self, Receipt};
use crate::request::Source;
use crate::session::{Files, local_files, register_changes, sorting_session};

/// What should be there.
pub(super) struct Expected {
    chain: Vec<(String, Receipt)>,
    target: Option<(TempDir, PlanFile)>,
}

impl Expected {
    /// Reads the chain of receipts, and plans the commit as into an empty place.
    pub(super) async fn prepare(subject: &Subject, asked: &VerifyRequest) -> Result<Self> {
        let destination = &subject.destination;
        let current = subject.head.file.current.as_ref();
        let chain = match current {
            Some(current) => receipt::chain(destination, &current.receipt).await?,
            None => Vec::new(),
        };
        let target = match &asked.against {
            Some(source) => Some(fresh(destination, current.map(|c| &c.view), source, asked).await?),
            None => None,
        };
        Ok(Self { chain, target })
    }

    /// Receipts, listing and commit, one group a key.
    pub(super) async fn groups(self, destination: &Destination) -> Result<Groups> {
        let context = sorting_session()?;
        let mut kept = vec![register_changes(&context, destination, &self.chain).await?];
        context.register_table("listed", Arc::new(listing::table(destination)?))?;
        let mut sides = vec![
            "SELECT key AS key, CAST(0 AS INT) AS side, seq AS seq, present AS present, size AS size, stored_etag AS stored_etag, \
             etag AS entry_etag, checksum AS checksum, proof AS proof, identity AS identity FROM changes",
            "SELECT key AS key, CAST(1 AS INT) AS side, CAST(0 AS BIGINT) AS seq, true AS present, size AS size, \
             etag AS stored_etag, CAST(NULL AS VARCHAR) AS entry_etag, CAST(NULL AS VARCHAR) AS checksum, \
             CAST(NULL AS VARCHAR) AS proof, CAST(NULL AS BYTEA) AS identity FROM listed",
        ];
        if let Some((folder, plan)) = self.target {
            let steps = plan.rounds.iter().flat_map(|r| &r.steps).filter(|s| s.action == Action::Copy);
            let shards: Vec<&str> = steps.flat_map(|s| &s.shards).map(|s| s.file.as_str()).collect();
            if !shards.is_empty() {
                let local = Files::mount(&context, 1, &local_files(folder.path())?)?;
                context.register_table("target", local.table(shards, &ROW_SCHEMA)?)?;
                sides.push(
                    "SELECT key AS key, CAST(2 AS INT) AS side, CAST(0 AS BIGINT) AS seq, true AS present, size AS size, \
                     CAST(NULL AS VARCHAR) AS stored_etag, etag AS entry_etag, CAST(NULL AS VARCHAR) AS checksum, \
                     CAST(NULL AS VARCHAR) AS proof, identity AS identity FROM target",
                );
            }
            kept.push(folder);
        }
        let query = format!("SELECT * FROM ({}) ORDER BY key, side, {NEWEST_FIRST}", sides.join(" UNION ALL "));
        let stream = context.sql(&query).await?.execute_stream().await?;
        Ok(Groups::new(stream, kept))
    }
}

/// The commit's plan into an empty place: what a fresh export would write, selection, rounds and held markers included.
async fn fresh(
    destination: &Destination,
    there: Option<&View>,
    source: &Source,
    asked: &VerifyRequest,
) -> Result<(TempDir, PlanFile)> {
    let view = View {
        lake: lake_id(source.lake.storage()),
        prefix: source.prefix.clone(),
        selection: there.map_or_else(SelectionSpec::default, |v| v.selection.clone()),
        rounds: there.map_or_else(RoundsSpec::default, |v| v.rounds.clone()),
    };
    if let Some(there) = there.filter(|there| !there.same_root(&view)) {
        let shown = |v: &View| if v.prefix.is_empty() { v.lake.clone() } else { format!("{} below `{}`", v.lake, v.prefix) };
        return Err(Error::guard(format!(
            "{} is an export of {}, and --against names {}",
            destination.location(),
            shown(there),
            shown(&view)
        ))
        .with_help("name the lake and the prefix that were exported there"));
    }
    let folder = temporary()?;
    let request = PlanRequest {
        lake: Arc::clone(&source.lake),
        commit: &source.commit,
        view: &view,
        base: Base::default(),
        destination: destination.location(),
        stores: destination.registry().as_ref(),
        full: false,
        // What was exported with --force is there, and right.
        force: true,
        run: String::new(),
        source: source.text.clone(),
        branch: false,
        expects: planner::plan::Expects::default(),
        claim: None,
        created: crate::clock::now(),
        order: asked.order.clone(),
        status: None,
        elsewhere: None,
        looks: None,
        hindrance: Hindrance::default(),
    };
    let (plan, _) = planning::plan(request, folder.path(), &|_| ()).await?;
    Ok((folder, plan))
}
