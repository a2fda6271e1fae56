//! The scan of a step's shards: one file, one partition, one task.
//!
//! Files and their lengths are in the plan, so that the scheduler plans without asking a store. Executors open the folder by a
//! URL that holds its location, with their own credentials.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use planner::plan::ROW_SCHEMA;
use planner::{Error, Location, Stores};
use serde::{Deserialize, Serialize};
use url::Url;

use super::read::SOUGHT_SCHEMA;
use super::site::Site;

/// `millrace-at://<the folder's location, hex>`.
const SCHEME: &str = "millrace-at";

/// What the rows of shards are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardRows {
    /// A plan's: [`ROW_SCHEMA`].
    Plan,
    /// Objects to be read: `SOUGHT_SCHEMA`.
    Sought,
}

/// Shards as a table, a partition each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardsTable {
    /// What is in them.
    pub rows: ShardRows,
    /// The folder they lie in.
    pub folder: Location,
    /// Their names below it, and their lengths in bytes.
    pub files: Vec<(String, u64)>,
}

#[async_trait]
impl TableProvider for ShardsTable {
    fn schema(&self) -> SchemaRef {
        match self.rows {
            ShardRows::Plan => Arc::clone(&ROW_SCHEMA),
            ShardRows::Sought => Arc::clone(&SOUGHT_SCHEMA),
        }
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::parse(format!("{SCHEME}://{}", hex::encode(self.folder.to_string())))?;
        let source = ParquetSource::new(TableSchema::from(self.schema()));
        let groups = self.files.iter().map(|(name, length)| FileGroup::new(vec![PartitionedFile::new(name, *length)]));
        let scan = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups.collect())
            .with_projection_indices(projection.cloned())?
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// Opens the folders of [`ShardsTable`]s with an executor's own settings.
#[derive(Debug)]
pub(super) struct Folders(pub(super) Arc<Site>);

impl ObjectStoreRegistry for Folders {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let folder = location_of(url)?;
        let at = self.0.registry().metadata(&folder).map_err(|error| super::told::told_to_engine(&error))?;
        Ok(Arc::new(PrefixStore::new(at.store, at.prefix)))
    }
}

fn location_of(url: &Url) -> Result<Location> {
    let text = Some(url).filter(|url| url.scheme() == SCHEME).and_then(Url::host_str).and_then(|host| hex::decode(host).ok());
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = text else {
        return Err(DataFusionError::from(Error::bug(format!("{url} is no folder of shards"))));
    };
    Ok(Location::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::ExecutionPlanProperties;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_file_is_a_partition_and_its_folder_is_in_the_url() {
        let folder = Location::parse("s3://bucket/odd//prefix/é?x").unwrap();
        let files = vec![("round-1/copy-00000.parquet".to_owned(), 10), ("round-1/copy-00001.parquet".to_owned(), 20)];
        let table = ShardsTable { rows: ShardRows::Plan, folder: folder.clone(), files };
        let again: ShardsTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(again, table);
        let scan = table.scan(&SessionContext::new().state(), None, &[], None).await.unwrap();
        assert_eq!(scan.output_partitioning().partition_count(), 2);
        let url = Url::parse(&format!("{SCHEME}://{}", hex::encode(folder.to_string()))).unwrap();
        assert_eq!(location_of(&url).unwrap(), folder);
        assert!(location_of(&Url::parse("s3://bucket").unwrap()).is_err());
    }
}
