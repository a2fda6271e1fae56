//! Markers that came to a destination since a plan was made: one that is applied later, or gone on with, has no row for them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use futures::{StreamExt, TryStreamExt, stream};
use planner::plan::{PlanFile, ROW_SCHEMA};
use planner::round::{MARKER, PublishOrder, Rounds, is_marker};
use planner::{Error, Looks, Preset, Result};

use super::Glances;
use crate::destination::Destination;
use crate::session::{Files, local_files, session};

/// Looks under way at a time.
const AT_ONCE: usize = 32;

/// Folders that are kept in mind; of more, those of the first rows.
const FOLDERS: usize = 1 << 16;

/// Completion markers over folders that `plan`, whose shards are in the local `folder`, changes without a row for the marker.
/// Where there was no base, planning has listed the destination; that is not done again.
///
/// # Errors
/// Shards that cannot be read, the store's.
pub(crate) async fn markers_since(
    destination: &Destination,
    plan: &PlanFile,
    order: Option<&Arc<dyn PublishOrder>>,
    folder: &Path,
) -> Result<Vec<String>> {
    // An order of somebody's own is not at hand everywhere.
    let is_unknown = matches!(plan.view.rounds.preset, Preset::Own(_)) && order.is_none();
    if plan.base.is_none() || plan.is_empty() || is_unknown || !Rounds::compile(&plan.view.rounds, order)?.retracts() {
        return Ok(Vec::new());
    }
    let glances = Glances::at(destination)?;
    let look = |key: String| {
        let glances = &glances;
        async move { Ok::<_, Error>(glances.size(&key).await?.map(|_| key)) }
    };
    let looks = stream::iter(without_row(plan, folder).await?).map(look).buffered(AT_ONCE);
    looks.try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
}

/// The markers of changed folders that have no row.
async fn without_row(plan: &PlanFile, folder: &Path) -> Result<BTreeSet<String>> {
    let mut markers = BTreeSet::new();
    each_key(plan, folder, |key| {
        // Neighbours share their folders: where the innermost is known, all are.
        let folders = key.rmatch_indices('/').map(|(at, _)| &key[..=at]).chain([""]);
        for folder in folders {
            if markers.len() >= FOLDERS || !markers.insert(format!("{folder}{MARKER}")) {
                break;
            }
        }
    })
    .await?;
    each_key(plan, folder, |key| {
        if is_marker(key) {
            markers.remove(key);
        }
    })
    .await?;
    Ok(markers)
}

async fn each_key(plan: &PlanFile, folder: &Path, mut each: impl FnMut(&str)) -> Result<()> {
    let context = session();
    let shards = plan.shards().map(|(_, _, shard)| shard.file.as_str());
    let table = Files::mount(&context, 0, &local_files(folder)?)?.table(shards, &ROW_SCHEMA)?;
    let mut rows = context.read_table(table)?.select_columns(&["key"])?.execute_stream().await?;
    while let Some(batch) = rows.next().await {
        batch?.column(0).as_string::<i32>().iter().flatten().for_each(&mut each);
    }
    Ok(())
}
