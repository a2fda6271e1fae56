//! Markers that came to a destination since a plan was made: one that is applied later, or gone on with, has no row for them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use futures::{StreamExt, TryStreamExt, stream};
use planner::plan::{PlanFile, ROW_SCHEMA};
use planner::round::{DONE_FILE, MARKER, PublishOrder, Rounds, is_marker};
use planner::{Error, Looks, Named, Preset, Result};

use super::{DEPTHS, Glances, LOOKS, depth};
use crate::destination::Destination;
use crate::session::{Files, local_files, session};

/// Looks under way at a time.
const AT_ONCE: usize = 32;

/// Completion markers over folders that `plan`, whose shards are in the local `folder`, changes without a row for the marker.
/// Where there was no base, planning has listed the destination; that is not done again. Nor is looked into folders of a depth
/// of which there are more than planning looks into: what is found there may have been there then.
///
/// # Errors
/// Shards that cannot be read, the store's.
pub(crate) async fn markers_since(
    destination: &Destination,
    plan: &PlanFile,
    order: Option<&Arc<dyn PublishOrder>>,
    folder: &Path,
) -> Result<Named> {
    // An order of somebody's own is not at hand everywhere.
    let is_unknown = matches!(plan.view.rounds.preset, Preset::Own(_)) && order.is_none();
    if plan.base.is_none() || plan.is_empty() || is_unknown || !Rounds::compile(&plan.view.rounds, order)?.retracts() {
        return Ok(Named::default());
    }
    let glances = Glances::at(destination)?;
    let look = |key: String| {
        let glances = &glances;
        async move { Ok::<_, Error>(glances.size(&key).await?.map(|_| key)) }
    };
    let looks = stream::iter(without_row(plan, folder).await?).map(look).buffered(AT_ONCE);
    Ok(looks.try_filter_map(|found| std::future::ready(Ok(found))).try_collect::<Vec<_>>().await?.into_iter().collect())
}

/// The markers of changed folders that have no row.
async fn without_row(plan: &PlanFile, folder: &Path) -> Result<BTreeSet<String>> {
    let mut folders = Folders::default();
    each_row(plan, folder, |key, reason| {
        // A done file comes and goes without a change of its folder.
        if reason != DONE_FILE {
            folders.changed(key);
        }
    })
    .await?;
    let mut markers = folders.markers();
    each_row(plan, folder, |key, _| {
        if is_marker(key) {
            markers.remove(key);
        }
    })
    .await?;
    Ok(markers)
}

/// Folders above changed keys by depth, as far as planning looks into them.
#[derive(Debug, Default)]
struct Folders {
    markers: [BTreeSet<String>; DEPTHS],
}

impl Folders {
    fn changed(&mut self, key: &str) {
        for folder in key.rmatch_indices('/').map(|(at, _)| &key[..=at]).chain([""]) {
            let markers = &mut self.markers[depth(folder)];
            // One more tells that there are too many.
            if markers.len() as u64 <= LOOKS {
                markers.insert(format!("{folder}{MARKER}"));
            }
        }
    }

    fn markers(self) -> BTreeSet<String> {
        self.markers.into_iter().filter(|markers| markers.len() as u64 <= LOOKS).flatten().collect()
    }
}

async fn each_row(plan: &PlanFile, folder: &Path, mut each: impl FnMut(&str, &str)) -> Result<()> {
    let context = session();
    let shards = plan.shards().map(|(_, _, shard)| shard.file.as_str());
    let table = Files::mount(&context, 0, &local_files(folder)?)?.table(shards, &ROW_SCHEMA)?;
    let mut rows = context.read_table(table)?.select_columns(&["key", "reason"])?.execute_stream().await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let [keys, reasons] = [0, 1].map(|at| batch.column(at).as_string::<i32>());
        keys.iter().zip(reasons).for_each(|(key, reason)| each(key.unwrap_or_default(), reason.unwrap_or_default()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_a_depth_with_too_many_are_left_out() {
        let mut folders = Folders::default();
        for at in 0..=LOOKS {
            folders.changed(&format!("t/{at}/x"));
        }
        folders.changed("u/v");
        assert_eq!(folders.markers().into_iter().collect::<Vec<_>>(), ["_SUCCESS", "t/_SUCCESS", "u/_SUCCESS"]);
    }
}
