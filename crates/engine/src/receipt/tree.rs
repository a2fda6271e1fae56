//! The state of a chain as a lake's tree, so that a plan can be made although the base's own metadata is gone.
//!
//! The tree has the paths and identities that the receipts hold. Its files are not the lake's: nothing is shared with a
//! commit's ranges, so that planning reads all of both sides.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use graveler::{AddressType, Entry, MetadataSink, MetarangeWriter, Namespace, StoreFiles, StoreSink, WriteOptions, encode};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use planner::Result;
use planner::planning::BaseTree;
use tempfile::TempDir;

use super::{Receipt, state};
use crate::destination::Destination;
use crate::prepare::temporary;
use crate::session::{register_changes, sorting_session};

/// Writes the tree of a chain, the newest receipt first, into a temporary folder; `None` where the receipts do not say
/// enough: objects that were claimed by hand, or that have no identity.
///
/// # Errors
/// Receipts that cannot be read, a temporary folder that cannot be written.
pub async fn write(destination: &Destination, chain: &[(String, Receipt)]) -> Result<Option<(TempDir, BaseTree)>> {
    if chain.iter().any(|(_, receipt)| receipt.claim.is_some()) {
        return Ok(None);
    }
    let folder = temporary()?;
    let store = LocalFileSystem::new_with_prefix(folder.path()).map_err(|e| super::local(folder.path(), &e))?;
    let files = StoreFiles::new(Arc::new(store), Path::default());
    let sink: Arc<dyn MetadataSink> = Arc::new(StoreSink::from(files.clone()));
    let mut writer = MetarangeWriter::new(sink, WriteOptions::default());
    let context = sorting_session()?;
    let _fetched = register_changes(&context, destination, chain).await?;
    let mut rows = state::newest(&context, "path").await?;
    let mut data = Vec::new();
    while let Some(batch) = rows.next().await? {
        let columns = Columns::new(&batch);
        for i in (0..batch.num_rows()).filter(|i| columns.present.value(*i)) {
            if columns.identity.is_null(i) {
                return Ok(None);
            }
            data.clear();
            encode::entry(&columns.entry(i), &mut data);
            writer.add(columns.path.value(i).as_bytes(), columns.identity.value(i), &data).await?;
        }
    }
    let metarange = writer.finish().await?.metarange;
    Ok(Some((folder, BaseTree { namespace: Namespace::new(Arc::new(files)), metarange })))
}

struct Columns<'a> {
    path: &'a StringArray,
    present: &'a BooleanArray,
    identity: &'a BinaryArray,
    size: &'a Int64Array,
    etag: &'a StringArray,
    content_type: &'a StringArray,
    source: &'a StringArray,
}

impl<'a> Columns<'a> {
    /// The columns of a batch of [`super::CHANGES_SCHEMA`].
    fn new(batch: &'a RecordBatch) -> Self {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        Self {
            path: text(1),
            present: batch.column(2).as_boolean(),
            identity: batch.column(3).as_binary(),
            size: batch.column(4).as_primitive::<Int64Type>(),
            etag: text(5),
            content_type: text(9),
            source: text(11),
        }
    }

    /// What a plan asks of a base's entry. Metadata and time are not in receipts.
    fn entry(&self, i: usize) -> Entry {
        let text = |a: &StringArray| if a.is_valid(i) { a.value(i).to_owned() } else { String::new() };
        Entry {
            address: text(self.source),
            size: if self.size.is_valid(i) { self.size.value(i) } else { 0 },
            e_tag: text(self.etag),
            content_type: text(self.content_type),
            address_type: AddressType::Full.into(),
            ..Entry::default()
        }
    }
}
