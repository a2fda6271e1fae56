//! Writing receipts, and folding their chain when it has grown.
//!
//! # Cost
//! A receipt is as large as its run's changes. When a chain has more receipts than are kept, or its changes outnumber what
//! it began with, the next receipt holds the whole state as well: each object is written again once for every change it had.
//!
//! # Crash consistency
//! A folded receipt is an ordinary one: it is complete before HEAD names it, and until then the old chain counts. Only what
//! no chain needs any more is [collected](super::collect), after HEAD has changed.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use datafusion::parquet::arrow::ArrowWriter;
use planner::{Error, Result};
use tempfile::TempDir;

use super::{CHANGES_FILE, CHANGES_SCHEMA, Chain, Etags, Receipt, STATE_FILE, Whole, files, folder, state};
use crate::destination::Destination;
use crate::session::{ChangesTable, Files, has_rows, local_files, sorting_session, union_changes};

/// Receipts that are kept when nothing else is said, and so the longest chain.
pub const DEFAULT_KEEP: u64 = 30;

/// A chain with fewer changes is not folded for their number.
const FEW_CHANGES: u64 = 10_000;

/// How a receipt is written.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// The run wrote every object: its changes are the whole state.
    pub complete: bool,
    /// How many receipts a chain may have; at least 1.
    pub keep: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { complete: false, keep: DEFAULT_KEEP }
    }
}

impl Chain {
    /// The chain of a receipt that holds a whole state, or that has nothing before it.
    #[must_use]
    pub fn begun(seq: u64, rows: u64) -> Self {
        Self { first: seq, receipts: 1, base: rows, changes: 0 }
    }

    /// The chain with one more receipt.
    #[must_use]
    pub fn grown(self, rows: u64) -> Self {
        Self { receipts: self.receipts + 1, changes: self.changes + rows, ..self }
    }

    /// Whether it should be folded, when a chain may have `keep` receipts.
    #[must_use]
    pub fn is_due(&self, keep: u64) -> bool {
        self.receipts > keep.max(1) || self.changes > self.base.max(FEW_CHANGES)
    }
}

/// Stores a receipt whose changes are in the local file `changes`, with `etags` of those: its folder, and the document with
/// `whole`, `chain`, `claim` and the `etags` of the state filled in. It counts when HEAD names it.
///
/// # Errors
/// The store's. A chain that cannot be folded is no error: it is folded another time.
pub async fn write(
    destination: &Destination,
    mut receipt: Receipt,
    changes: &Path,
    options: WriteOptions,
) -> Result<(String, Receipt)> {
    let at = folder(receipt.seq, &receipt.commit, &receipt.run);
    if receipt.changes > 0 {
        store(destination, &mut receipt, changes, &at, CHANGES_FILE).await?;
    }
    let before = match &receipt.previous {
        Some(previous) if !options.complete => Some(before(destination, previous).await?),
        _ => None,
    };
    if options.complete {
        receipt.whole = Some(Whole { file: CHANGES_FILE.to_owned(), rows: receipt.changes });
    }
    let chain = match &before {
        Some(before) => {
            receipt.claim = receipt.claim.or_else(|| before.claim.clone());
            receipt.etags = receipt.etags.zip(before.etags).map(|(new, old)| new.and(old));
            before.chain.grown(receipt.changes)
        }
        None => Chain::begun(receipt.seq, receipt.changes),
    };
    receipt.chain = Some(chain);
    if chain.is_due(options.keep) {
        match fold(destination, &receipt, changes).await {
            Ok((state, rows, etags)) => {
                store(destination, &mut receipt, &state.path().join(STATE_FILE), &at, STATE_FILE).await?;
                receipt.etags = Some(etags);
                receipt.whole = Some(Whole { file: STATE_FILE.to_owned(), rows });
                receipt.chain = Some(Chain::begun(receipt.seq, rows));
            }
            Err(error) => {
                tracing::warn!(
                    "the receipts cannot be folded now: {error} ({})",
                    error.help().unwrap_or("another run tries again")
                );
            }
        }
    }
    destination.put_json(&format!("{at}/receipt.json"), &receipt).await?;
    Ok((at, receipt))
}

/// Keeps a local file as `name` in the folder of a receipt, which says from then on what it is.
async fn store(destination: &Destination, receipt: &mut Receipt, from: &Path, folder: &str, name: &str) -> Result<()> {
    receipt.files.insert(name.to_owned(), files::digest_of(from)?);
    destination.upload_file(from, &format!("{folder}/{name}")).await
}

/// What a receipt goes on from.
struct Before {
    /// The chain that ends there.
    chain: Chain,
    /// What its root claims.
    claim: Option<planner::plan::PlanBase>,
    etags: Option<Etags>,
}

/// The chain that ends in the receipt `previous`.
async fn before(destination: &Destination, previous: &str) -> Result<Before> {
    let newest = super::read(destination, previous).await?;
    if let Some(chain) = newest.chain {
        return Ok(Before { chain, claim: newest.claim, etags: newest.etags });
    }
    // Receipts of format 1 do not say how long their chain is.
    let chain = super::chain(destination, previous).await?;
    let Some((_, root)) = chain.last() else { return Ok(Before { chain: Chain::default(), claim: None, etags: None }) };
    let changes: u64 = chain.iter().map(|(_, r)| r.changes).sum();
    let length = Chain { first: root.seq, receipts: chain.len() as u64, base: root.changes, changes: changes - root.changes };
    Ok(Before { chain: length, claim: root.claim.clone(), etags: None })
}

/// The whole state after `receipt`, whose changes are in the local file `changes`: a temporary folder with
/// [`STATE_FILE`], its rows, and how their etags relate to the entries'. What was removed since the last fold stays named, so that it is known as left over where it
/// is found again; under a claimed root, everything that was ever removed.
async fn fold(destination: &Destination, receipt: &Receipt, changes: &Path) -> Result<(TempDir, u64, Etags)> {
    let Some(previous) = &receipt.previous else { return Err(Error::bug("a chain of one receipt was to be folded")) };
    let chain = super::chain(destination, previous).await?;
    let context = sorting_session()?;
    let fetched = files::fetch(destination, &chain).await?;
    let earlier = Files::mount(&context, 0, &local_files(fetched.path())?)?;
    let mut tables = Vec::new();
    for (folder, one) in &chain {
        if let Some(file) = one.file() {
            let name = format!("{folder}/{file}");
            let table = earlier.table([name.as_str()], &CHANGES_SCHEMA)?;
            has_rows(&context, &table, one.rows(), &name).await?;
            let present_only = one.whole.is_some() && receipt.claim.is_none();
            tables.push(ChangesTable { seq: one.seq, commit: one.commit.clone(), table, present_only });
        }
    }
    if receipt.changes > 0 {
        let folder = changes.parent().ok_or_else(|| Error::bug("a receipt's changes lie in no folder"))?;
        let name = changes.file_name().and_then(|n| n.to_str()).unwrap_or(CHANGES_FILE).to_owned();
        let table = Files::mount(&context, 1, &local_files(folder)?)?.table([name], &CHANGES_SCHEMA)?;
        tables.push(ChangesTable { seq: receipt.seq, commit: receipt.commit.clone(), table, present_only: false });
    }
    union_changes(&context, tables).await?;
    let folder = crate::prepare::temporary()?;
    let path = folder.path().join(STATE_FILE);
    let failed = |e: &dyn std::fmt::Display| super::local(&path, e);
    let file = BufWriter::new(File::create(&path).map_err(|e| failed(&e))?);
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&CHANGES_SCHEMA), Some(super::properties())).map_err(|e| failed(&e))?;
    let mut newest = state::newest(&context, "key").await?;
    let (mut rows, mut etags) = (0, Etags::default());
    while let Some(batch) = newest.next().await? {
        rows += batch.num_rows() as u64;
        etags.see(&batch)?;
        writer.write(&batch).map_err(|e| failed(&e))?;
    }
    writer.close().map_err(|e| failed(&e))?;
    Ok((folder, rows, etags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_folded_for_its_length_or_its_changes() {
        let mut chain = Chain::begun(7, 100);
        for _ in 0..29 {
            chain = chain.grown(1);
            assert!(!chain.is_due(DEFAULT_KEEP), "{chain:?}");
        }
        assert!(chain.grown(0).is_due(DEFAULT_KEEP));
        assert_eq!(chain, Chain { first: 7, receipts: 30, base: 100, changes: 29 });
        assert!(!Chain::begun(1, 100).grown(FEW_CHANGES).is_due(30), "few changes are not worth a fold");
        assert!(Chain::begun(1, 100).grown(FEW_CHANGES + 1).is_due(30));
        assert!(!Chain::begun(1, 50_000).grown(50_000).is_due(30));
        assert!(Chain::begun(1, 50_000).grown(50_000).grown(1).is_due(30));
        assert!(!Chain::begun(1, 5).is_due(0), "one receipt cannot be folded");
    }
}
