//! `objects(ref)`: what a commit holds, as a table.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DFResult, project_schema};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::bounds::PathBounds;
use super::cluster::{Clusters, Mode};
use super::functions::CommitRef;
use super::merge::{DiffBatch, MergeSpec};
use super::scan::{ScanExec, ScanSpec};
use crate::address::storage_prefix;
use crate::entry::{Columns, ENTRY_SCHEMA};
use crate::error::Result;
use crate::part::Part;
use crate::source::{Commit, CommitSource};

/// The entry's columns without the stored identity: `path, size, etag, mtime, content_type, metadata, address`.
static OBJECTS_SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(ENTRY_SCHEMA.fields().iter().take(7).cloned().collect::<Vec<_>>())));

/// The objects of `commit` below `prefix`. Ranges outside the prefix and outside what filters say of `path` are not read;
/// `count(*)` reads none.
#[must_use]
pub fn objects(lake: Arc<dyn CommitSource>, commit: &Commit, prefix: &str) -> Arc<dyn TableProvider> {
    Arc::new(Objects { at: CommitRef::known(lake, commit.clone()), part: Part::new(prefix) })
}

/// The table; its commit may still have to be resolved.
#[derive(Debug)]
pub(crate) struct Objects {
    pub at: CommitRef,
    pub part: Part,
}

#[async_trait]
impl TableProvider for Objects {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&OBJECTS_SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DFResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|f| pushdown(f)).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> DFResult<Arc<dyn ExecutionPlan>> {
        let (commit, metarange) = self.at.load().await?;
        let bounds = PathBounds::of(filters);
        let ranges: Vec<_> = metarange.ranges().iter().filter(|r| bounds.overlaps(&r.min_key, &r.max_key)).cloned().collect();
        let mut clusters = Clusters::new(&[], &ranges, &[], Mode::All, &self.part);
        clusters.ranges_total = metarange.ranges().len() as u64;
        let projection = projection.cloned().unwrap_or_else(|| (0..OBJECTS_SCHEMA.fields().len()).collect());
        let rows = (bounds.is_all() && self.part.is_all()).then(|| usize::try_from(metarange.count()).ok()).flatten();
        Ok(Arc::new(ScanExec::new(ScanSpec {
            name: "ObjectsExec",
            what: format!("commit={}", commit.shown()),
            namespace: self.at.lake().namespace().clone(),
            clusters,
            merge: MergeSpec {
                mode: Mode::All,
                part: self.part.clone(),
                left: Columns::KEYS,
                right: Columns::of(projection.iter().copied()),
                storage: storage_prefix(self.at.lake().storage()).into(),
                touched: Arc::new([]),
            },
            bounds,
            columns,
            schema: project_schema(&OBJECTS_SCHEMA, Some(&projection))?,
            projection,
            rows,
        })))
    }
}

/// Filters on `path` prune ranges, and are applied again to what is read.
pub(crate) fn pushdown(filter: &Expr) -> TableProviderFilterPushDown {
    if PathBounds::bound(filter) { TableProviderFilterPushDown::Inexact } else { TableProviderFilterPushDown::Unsupported }
}

#[expect(clippy::unnecessary_wraps, reason = "a `ToColumns` may fail; this one has nothing to compute")]
fn columns(batch: &DiffBatch) -> Result<Vec<ArrayRef>> {
    Ok(batch.right.batch().columns()[..7].to_vec())
}
