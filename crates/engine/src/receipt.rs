//! Receipts: the proof of what is there, a chain of changes.
//!
//! ```text
//! _millrace/receipts/<seq>-<commit>-<run>/receipt.json      what, from where, its predecessor
//! _millrace/receipts/<seq>-<commit>-<run>/changes.parquet   the objects that this run wrote or removed
//! _millrace/receipts/<seq>-<commit>-<run>/state.parquet     now and then: all objects that are there
//! ```
//! A receipt counts once HEAD names it. All receipts of a chain, the newest last, give the state of the destination. A chain
//! begins with a receipt that holds a whole state: of an export that wrote everything, or one that was [folded](fold).

pub mod collect;
pub mod etags;
pub(crate) mod files;
pub mod fold;
pub(crate) mod health;
pub mod state;
#[cfg(test)]
mod tests;
pub mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use planner::digest::FileDigest;
use planner::entry::metadata_pairs;
use planner::plan::PlanBase;
use planner::{Error, Result, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::destination::Destination;
pub use etags::Etags;

/// The format version of receipts.
///
/// * 1: the first.
/// * 2: `source`, `whole`, `chain` and `etags`; what `previous` names may have been collected when `whole` is there. Later
///   also `files`, which readers may pass over.
pub const RECEIPT_FORMAT: u32 = 2;

/// The file of the objects that a run wrote or removed.
pub const CHANGES_FILE: &str = "changes.parquet";

/// The file of all objects that are there.
pub const STATE_FILE: &str = "state.parquet";

/// The document of one receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`RECEIPT_FORMAT`].
    pub format: u32,
    /// Its number.
    pub seq: u64,
    /// The run that wrote it.
    pub run: String,
    /// The generation of the lease that it was written under.
    #[serde(default, skip_serializing_if = "is_none")]
    pub generation: u64,
    /// The commit.
    pub commit: String,
    /// Its metarange.
    pub metarange: String,
    /// What the destination is an export of.
    pub view: View,
    /// [`View::digest`].
    pub view_digest: String,
    /// What the changes were taken to.
    pub base: Option<PlanBase>,
    /// The folder of the receipt before this one.
    pub previous: Option<String>,
    /// The root of the chain was said by hand.
    pub claim: Option<PlanBase>,
    /// Runs that did not finish and that this one stands for.
    pub supersedes: Vec<String>,
    /// Objects that are there.
    pub objects: u64,
    /// Rows of `changes.parquet`.
    pub changes: u64,
    /// The source as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where the whole state is, so that nothing before this receipt is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
    /// How long the chain is that ends here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// How the etags of the state relate to the entries'; `None` where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etags: Option<Etags>,
    /// What its files are, by their names. Receipts of earlier versions do not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileDigest>,
    /// RFC 3339.
    pub time: String,
}

/// A file that holds a whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// [`CHANGES_FILE`] of an export that wrote everything, or [`STATE_FILE`].
    pub file: String,
    /// Its rows.
    pub rows: u64,
}

/// The receipts that are needed to know the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The number of its first receipt.
    pub first: u64,
    /// How many receipts it has.
    pub receipts: u64,
    /// Rows of its first receipt's file.
    pub base: u64,
    /// Rows of all others.
    pub changes: u64,
}

impl Receipt {
    /// The file of this receipt that the state is made of, where it has rows.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match &self.whole {
            Some(whole) => Some(whole.file.as_str()).filter(|_| whole.rows > 0),
            None => Some(CHANGES_FILE).filter(|_| self.changes > 0),
        }
    }

    /// The rows of that file.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.whole.as_ref().map_or(self.changes, |whole| whole.rows)
    }
}

/// Columns of `changes.parquet`: `key`, `path` (in the lake), `present` (false: removed), `identity`, `size` (of what was
/// written or removed), `etag` (the entry's), `stored_etag` (the destination's), `checksum`, `proof`, `content_type`,
/// `metadata_digest` (SHA-256 of the sorted pairs, hex), `source`.
pub static CHANGES_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("key", false),
        text("path", false),
        Field::new("present", DataType::Boolean, false),
        Field::new("identity", DataType::Binary, true),
        Field::new("size", DataType::Int64, true),
        text("etag", true),
        text("stored_etag", true),
        text("checksum", true),
        text("proof", true),
        text("content_type", true),
        text("metadata_digest", true),
        text("source", true),
    ]))
});

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(generation: &u64) -> bool {
    *generation == 0
}

/// The folder of a receipt.
#[must_use]
pub fn folder(seq: u64, commit: &str, run: &str) -> String {
    format!("_millrace/receipts/{seq:08}-{commit}-{run}")
}

/// Reads a receipt's document.
///
/// # Errors
/// `Corrupt` where it is missing or cannot be understood, `Usage` for a format of another version.
pub async fn read(destination: &Destination, folder: &str) -> Result<Receipt> {
    let key = format!("{folder}/receipt.json");
    let at = destination.status();
    let Some(document) = destination.get_document(&key).await? else {
        return Err(Error::corrupt(format!("{at}{key} is missing, though HEAD.json or the receipt after it names it"))
            .with_help("restore it, or export with --full, which needs no earlier receipt"));
    };
    let format = document.format();
    if format.is_some_and(|f| f == 0 || f > u64::from(RECEIPT_FORMAT)) {
        return Err(Error::usage(format!(
            "{at}{key} has format {}; this is millrace {}, which reads formats 1 to {RECEIPT_FORMAT}",
            format.unwrap_or(0),
            env!("CARGO_PKG_VERSION")
        ))
        .with_help("use the version that exported here last, or a newer one"));
    }
    document.read("somebody changed it: restore it, or export with --full, which needs no earlier receipt")
}

/// The chain that ends in `newest`, the newest first, back to the receipt that holds a whole state.
///
/// # Errors
/// As [`read`].
pub async fn chain(destination: &Destination, newest: &str) -> Result<Vec<(String, Receipt)>> {
    let mut chain = Vec::new();
    let mut at = Some(newest.to_owned());
    while let Some(folder) = at.take() {
        let receipt = read(destination, &folder).await?;
        at = receipt.previous.clone().filter(|_| receipt.whole.is_none());
        chain.push((folder, receipt));
    }
    let first = chain.first().and_then(|(_, newest)| newest.whole.is_none().then_some(newest.chain?.first));
    match (first, chain.last()) {
        (Some(first), Some((folder, last))) if last.seq != first => Err(Error::corrupt(format!(
            "{}{folder}/receipt.json names no receipt before it, though the chain begins with number {first}",
            destination.status()
        ))
        .with_help("somebody changed it: restore it, or export with --full, which needs no earlier receipt")),
        _ => Ok(chain),
    }
}

/// The changes of a run on their way into a receipt: a local file that outcomes are appended to.
pub struct ChangesWriter {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
    rows: u64,
    etags: Etags,
}

/// The changes of a run, in a local file.
#[derive(Debug)]
pub struct ChangesFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// How the etags of what was written relate to the entries'.
    pub etags: Etags,
}

impl std::fmt::Debug for ChangesWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangesWriter").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl ChangesWriter {
    /// Writes `changes.parquet` in `folder`.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("changes.parquet");
        let file = File::create(&path).map_err(|e| local(&path, &e))?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&CHANGES_SCHEMA), Some(properties()));
        let writer = writer.map_err(|e| Error::bug(format!("receipt: {e}")))?;
        Ok(Self { path, writer, rows: 0, etags: Etags::default() })
    }

    /// Takes the successful rows of a batch of outcomes. A marker that was retracted and published again has two rows; the
    /// one that says that it is present counts.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be written.
    pub fn append(&mut self, outcomes: &RecordBatch) -> Result<()> {
        let ok = column(outcomes, "ok")?;
        let batch = filter_record_batch(outcomes, ok.as_boolean()).map_err(|e| Error::bug(format!("receipt: {e}")))?;
        self.write(&changes(&batch)?)
    }

    /// Takes rows that are changes already: [`CHANGES_SCHEMA`], by name.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be written.
    pub fn append_changes(&mut self, changes: &RecordBatch) -> Result<()> {
        let broken = |e: &dyn std::fmt::Display| Error::bug(format!("receipt: {e}"));
        let columns = CHANGES_SCHEMA.fields().iter().map(|field| {
            let found = column(changes, field.name())?;
            datafusion::arrow::compute::cast(&found, field.data_type()).map_err(|e| broken(&e))
        });
        let batch = RecordBatch::try_new(Arc::clone(&CHANGES_SCHEMA), columns.collect::<Result<_>>()?).map_err(|e| broken(&e))?;
        self.write(&batch)
    }

    fn write(&mut self, changes: &RecordBatch) -> Result<()> {
        self.rows += changes.num_rows() as u64;
        self.etags.see(changes)?;
        self.writer.write(changes).map_err(|e| local(&self.path, &e))
    }

    /// Closes the file.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be written.
    pub fn finish(self) -> Result<ChangesFile> {
        let Self { path, writer, rows, etags } = self;
        writer.close().map_err(|e| local(&path, &e))?;
        Ok(ChangesFile { path, rows, etags })
    }
}

/// A row group is held in memory until it is written.
fn properties() -> WriterProperties {
    WriterProperties::builder().set_max_row_group_row_count(Some(64 * 1024)).build()
}

/// What it means that a file in the temporary folder cannot be written or read.
pub(crate) fn local(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::unreachable(format!("{}: {error}", path.display()))
        .with_help("the temporary folder (TMPDIR) needs room and permission")
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch.column_by_name(name).map(Arc::clone).ok_or_else(|| Error::bug(format!("outcomes have no column `{name}`")))
}

fn changes(batch: &RecordBatch) -> Result<RecordBatch> {
    let action = column(batch, "action")?;
    let present: BooleanArray = action.as_string::<i32>().iter().map(|a| Some(a == Some("copy"))).collect();
    // An object that was overwritten at its source may have another size than its entry.
    let sizes = zip(&present, &column(batch, "bytes")?, &column(batch, "size")?);
    let metadata = column(batch, "metadata")?;
    let metadata = metadata.as_map();
    let digests: StringArray =
        (0..batch.num_rows()).map(|i| metadata.is_valid(i).then(|| metadata_digest(metadata_pairs(metadata, i)))).collect();
    let named = |name: &str| column(batch, name);
    RecordBatch::try_new(
        Arc::clone(&CHANGES_SCHEMA),
        vec![
            named("key")?,
            named("path")?,
            Arc::new(present),
            named("identity")?,
            sizes.map_err(|e| Error::bug(format!("receipt: {e}")))?,
            named("etag")?,
            named("stored_etag")?,
            named("checksum")?,
            named("proof")?,
            named("content_type")?,
            Arc::new(digests),
            named("source")?,
        ],
    )
    .map_err(|e| Error::bug(format!("receipt: {e}")))
}

/// SHA-256 (hex) of the pairs sorted by key, each part with its length before it.
fn metadata_digest<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable();
    let mut hash = Sha256::new();
    for part in pairs.iter().flat_map(|(k, v)| [k, v]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}
