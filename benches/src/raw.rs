//! What decompressing takes and nothing else: no reader of the format can be faster.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use graveler::sstable::LoadedTable;
use graveler::{Metarange, Namespace, RefsDump};

use crate::lake::Failure;

/// A stored block ends in its compression and a checksum.
const BLOCK_TRAILER: usize = 5;
const SNAPPY: u8 = 1;

/// More than any block of the format holds.
const BUFFER: usize = 1 << 20;

/// What was decompressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decompressed {
    /// Ranges.
    pub ranges: usize,
    /// Their files' bytes.
    pub stored: u64,
    /// What the blocks hold.
    pub bytes: u64,
    /// Time, without reading the files.
    pub time: Duration,
}

/// Decompresses stored blocks one after the other into one buffer; the bytes that came out.
///
/// # Errors
/// A block that is no snappy.
pub fn decompress(blocks: &[Bytes], buffer: &mut [u8]) -> Result<usize, Failure> {
    let mut decoder = snap::raw::Decoder::new();
    let mut total = 0;
    for block in blocks {
        let (payload, trailer) = block.split_at(block.len() - BLOCK_TRAILER);
        total += if trailer[0] == SNAPPY { decoder.decompress(payload, buffer)? } else { payload.len() };
    }
    Ok(total)
}

/// Decompresses the ranges of the branch `main` of the lake in `folder` on this thread; with `before`, those that are in one
/// of the two branches only.
///
/// # Errors
/// Files that cannot be read.
pub async fn decompress_lake(folder: &Path, namespace: Namespace, before: Option<&str>) -> Result<Decompressed, Failure> {
    let dump = RefsDump::open(namespace.clone()).await?;
    let ids = |tree: &Metarange| tree.ranges().iter().map(|range| range.id.clone()).collect::<BTreeSet<_>>();
    let mut chosen = ids(&tree(&namespace, &dump, "main").await?);
    if let Some(before) = before {
        let base = ids(&tree(&namespace, &dump, before).await?);
        chosen = chosen.symmetric_difference(&base).cloned().collect();
    }
    let mut buffer = vec![0; BUFFER];
    let mut done = Decompressed { ranges: chosen.len(), ..Decompressed::default() };
    for id in &chosen {
        let file = Bytes::from(std::fs::read(folder.join("_lakefs").join(id))?);
        done.stored += file.len() as u64;
        let blocks = LoadedTable::parse(id, file)?.stored_blocks()?;
        let started = Instant::now();
        done.bytes += decompress(&blocks, &mut buffer)? as u64;
        done.time += started.elapsed();
    }
    Ok(done)
}

async fn tree(namespace: &Namespace, dump: &RefsDump, branch: &str) -> Result<Metarange, Failure> {
    let commit = dump.commit(&dump.branch(branch).await?.commit_id).await?;
    Ok(namespace.metarange(&commit.meta_range_id).await?)
}
