//! How the copy travels: as JSON behind a mark, beside what Ballista sends itself.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use planner::Error;
use serde::{Deserialize, Serialize};

use super::ShardsTable;
use super::merge::PartsTable;
use super::node::{CopyNode, TaskExec};
use super::site::Site;
use super::task::Sealed;
use super::told::told;

/// A table of ours on its way.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SentTable {
    Shards(ShardsTable),
    Parts(PartsTable),
}

/// What our own nodes begin with.
const MARK: &[u8] = b"millrace\0";

fn put(json: serde_json::Result<Vec<u8>>, to: &mut Vec<u8>) -> Result<()> {
    to.extend_from_slice(MARK);
    to.extend(json.map_err(|e| Error::bug(format!("a plan cannot be sent: {e}")))?);
    Ok(())
}

fn said(error: &Error) -> DataFusionError {
    DataFusionError::Execution(told(error))
}

/// Logical plans: from the driver to the scheduler.
#[derive(Debug, Default)]
pub(super) struct LogicalCodec(BallistaLogicalExtensionCodec);

impl LogicalExtensionCodec for LogicalCodec {
    fn try_decode(&self, bytes: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        let Some(ours) = bytes.strip_prefix(MARK) else { return self.0.try_decode(bytes, inputs, context) };
        let task = Sealed::decode(ours, "scheduler").map_err(|error| said(&error))?;
        let [input] = inputs else { return Err(Error::bug("a copy has one input").into()) };
        Ok(Extension { node: Arc::new(CopyNode::new(input.clone(), task)?) })
    }

    fn try_encode(&self, node: &Extension, to: &mut Vec<u8>) -> Result<()> {
        match node.node.as_any().downcast_ref::<CopyNode>() {
            Some(copy) => put(copy.task.encode(), to),
            None => self.0.try_encode(node, to),
        }
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(ours) = bytes.strip_prefix(MARK) else {
            return self.0.try_decode_table_provider(bytes, name, schema, context);
        };
        let table: SentTable =
            serde_json::from_slice(ours).map_err(|e| said(&Error::usage(format!("the scheduler cannot read a plan: {e}"))))?;
        Ok(match table {
            SentTable::Shards(shards) => Arc::new(shards),
            SentTable::Parts(parts) => Arc::new(parts),
        })
    }

    fn try_encode_table_provider(&self, name: &TableReference, table: Arc<dyn TableProvider>, to: &mut Vec<u8>) -> Result<()> {
        if let Some(shards) = table.downcast_ref::<ShardsTable>() {
            return put(serde_json::to_vec(&SentTable::Shards(shards.clone())), to);
        }
        match table.downcast_ref::<PartsTable>() {
            Some(parts) => put(serde_json::to_vec(&SentTable::Parts(parts.clone())), to),
            None => self.0.try_encode_table_provider(name, table, to),
        }
    }

    fn try_decode_file_format(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.0.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(&self, to: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.0.try_encode_file_format(to, format)
    }
}

/// Physical plans: from the scheduler to executors.
#[derive(Debug, Default)]
pub(super) struct PhysicalCodec {
    ballista: BallistaPhysicalExtensionCodec,
    site: Option<Arc<Site>>,
}

impl PhysicalCodec {
    /// Of an executor: what it decodes can run there.
    pub(super) fn of(site: Arc<Site>) -> Self {
        Self { site: Some(site), ..Self::default() }
    }
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(ours) = bytes.strip_prefix(MARK) else { return self.ballista.try_decode(bytes, inputs, context, converter) };
        let task = Sealed::decode(ours, "executor").map_err(|error| said(&error))?;
        let [input] = inputs else { return Err(Error::bug("a copy has one input").into()) };
        Ok(Arc::new(TaskExec::new(Arc::clone(input), task, self.site.clone())))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        to: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        match node.downcast_ref::<TaskExec>() {
            Some(copy) => put(copy.task.encode(), to),
            None => self.ballista.try_encode(node, to, converter),
        }
    }
}
