//! `diff(a, b)`: what differs between two commits, as a table.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DFResult, project_schema};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::bounds::PathBounds;
use super::cluster::{Clusters, Mode};
use super::functions::CommitRef;
use super::merge::{DiffBatch, MergeSpec};
use super::objects::pushdown;
use super::scan::{ScanExec, ScanSpec};
use crate::address::storage_prefix;
use crate::entry::{Columns, ENTRY_SCHEMA};
use crate::error::{Error, Result};
use crate::part::Part;
use crate::source::{Commit, CommitSource};

/// `type` (`added`, `changed`, `removed`), then the entry: of the right side, or of the left where it was removed.
pub static DIFF_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let entry = ENTRY_SCHEMA.fields().iter().take(7).map(|f| f.as_ref().clone());
    Arc::new(Schema::new(std::iter::once(Field::new("type", DataType::Utf8, false)).chain(entry).collect::<Vec<_>>()))
});

/// What changed from `left` to `right` below `prefix`. Ranges that both share are not read.
#[must_use]
pub fn diff(lake: &Arc<dyn CommitSource>, left: &Commit, right: &Commit, prefix: &str) -> Arc<dyn TableProvider> {
    let at = |commit: &Commit| CommitRef::known(Arc::clone(lake), commit.clone());
    Arc::new(Diff { left: at(left), right: at(right), part: Part::new(prefix) })
}

/// The table; its commits may still have to be resolved.
#[derive(Debug)]
pub(crate) struct Diff {
    pub left: CommitRef,
    pub right: CommitRef,
    pub part: Part,
}

#[async_trait]
impl TableProvider for Diff {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&DIFF_SCHEMA)
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
        let ((left_commit, left), (right_commit, right)) = (self.left.load().await?, self.right.load().await?);
        let bounds = PathBounds::of(filters);
        let mut clusters = Clusters::new(left.ranges(), right.ranges(), &[], Mode::Changes, &self.part);
        clusters.retain(|min, max| bounds.overlaps(min, max));
        let projection = projection.cloned().unwrap_or_else(|| (0..DIFF_SCHEMA.fields().len()).collect());
        let wanted = Columns::of(projection.iter().filter_map(|i| i.checked_sub(1)));
        Ok(Arc::new(ScanExec::new(ScanSpec {
            name: "DiffExec",
            what: format!("left={}, right={}", left_commit.shown(), right_commit.shown()),
            namespace: self.right.lake().namespace().clone(),
            clusters,
            merge: MergeSpec {
                mode: Mode::Changes,
                part: self.part.clone(),
                left: wanted,
                right: wanted,
                storage: storage_prefix(self.right.lake().storage()).into(),
                touched: Arc::new([]),
            },
            bounds,
            columns,
            schema: project_schema(&DIFF_SCHEMA, Some(&projection))?,
            projection,
            rows: None,
        })))
    }
}

fn columns(batch: &DiffBatch) -> Result<Vec<ArrayRef>> {
    let kinds = (0..batch.len()).map(|i| match (batch.has_left.value(i), batch.has_right.value(i)) {
        (true, true) => "changed",
        (true, false) => "removed",
        _ => "added",
    });
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(kinds)), Arc::new(batch.paths.clone())];
    for i in 1..7 {
        let column = zip(&batch.has_right, batch.right.batch().column(i), batch.left.batch().column(i));
        columns.push(column.map_err(|e| Error::bug(format!("diff: {e}")))?);
    }
    Ok(columns)
}
