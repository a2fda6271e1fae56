//! What plans and receipts keep, as tables for anybody's queries: fetched when it is first asked for, and compared with its
//! digests before a row of it is told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as QueryResult;
use datafusion::datasource::listing::ListingTable;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use planner::plan::{PlanFile, ROW_SCHEMA, fetch_plan};
use planner::{MetadataStore, Result};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{Files, has_rows, local_files, session};
use crate::destination::Destination;
use crate::prepare::temporary;
use crate::receipt::{CHANGES_SCHEMA, Receipt, files};

/// Tells the folders of a process apart.
static FETCHED: AtomicU64 = AtomicU64::new(0);

/// The rows of a plan or of a receipt.
pub struct Kept {
    what: What,
    local: OnceCell<Local>,
}

/// What is kept, and where.
enum What {
    Plan(MetadataStore, Box<PlanFile>),
    Receipt(Destination, Box<(String, Receipt)>),
}

/// What was fetched.
struct Local {
    folder: TempDir,
    mount: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("files", &self.names()).finish_non_exhaustive()
    }
}

impl Kept {
    /// The rows of `plan`, which is at `at`: columns of [`ROW_SCHEMA`].
    #[must_use]
    pub fn plan(at: &MetadataStore, plan: PlanFile) -> Self {
        Self { what: What::Plan(at.clone(), Box::new(plan)), local: OnceCell::new() }
    }

    /// The rows of the receipt in `folder`: columns of [`CHANGES_SCHEMA`].
    #[must_use]
    pub fn receipt(destination: &Destination, folder: &str, receipt: &Receipt) -> Self {
        let receipt = Box::new((folder.to_owned(), receipt.clone()));
        Self { what: What::Receipt(destination.clone(), receipt), local: OnceCell::new() }
    }

    /// The files that rows are in.
    fn names(&self) -> Vec<String> {
        match &self.what {
            What::Plan(_, plan) => plan.shards().map(|(_, _, shard)| shard.file.clone()).collect(),
            What::Receipt(_, one) => one.1.file().map(|file| format!("{}/{file}", one.0)).into_iter().collect(),
        }
    }

    async fn fetch(&self) -> Result<Local> {
        let folder = match &self.what {
            What::Plan(at, plan) => {
                let folder = temporary()?;
                fetch_plan(at, plan, folder.path()).await?;
                folder
            }
            What::Receipt(destination, one) => {
                let folder = files::fetch(destination, std::slice::from_ref(one.as_ref())).await?;
                // A receipt of an earlier version says only how many rows it has.
                let context = session();
                let table = Files::mount(&context, 0, &local_files(folder.path())?)?.table(self.names(), &CHANGES_SCHEMA)?;
                has_rows(&context, &table, one.1.rows(), &self.names().concat()).await?;
                folder
            }
        };
        Ok(Local { folder, mount: format!("millrace-kept-{}", FETCHED.fetch_add(1, Ordering::Relaxed)) })
    }

    async fn table(&self, state: &dyn Session) -> Result<Arc<ListingTable>> {
        let local = self.local.get_or_try_init(|| self.fetch()).await?;
        let files = Files::mount_in(state.runtime_env(), &local.mount, &local_files(local.folder.path())?)?;
        files.table(self.names(), &self.schema())
    }
}

#[async_trait]
impl TableProvider for Kept {
    fn schema(&self) -> SchemaRef {
        Arc::clone(match self.what {
            What::Plan(..) => &ROW_SCHEMA,
            What::Receipt(..) => &CHANGES_SCHEMA,
        })
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> QueryResult<Arc<dyn ExecutionPlan>> {
        self.table(state).await?.scan(state, projection, filters, limit).await
    }
}
