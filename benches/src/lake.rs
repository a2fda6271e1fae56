//! The generator. The same shape gives the same lake, byte for byte.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use graveler::proto::{AddressType, CommitData, Entry, Timestamp};
use graveler::{MetadataSink, MetarangeWriter, Refs, StoreSink, WriteOptions, encode, ident, write_refs};
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Objects in one partition, its `_SUCCESS` included.
const PARTITION: u64 = 1000;

/// Partitions of one table.
const TABLE: u64 = 1000;

/// The object of all entries of a lake of empty ones.
const EMPTY: &str = "data/empty";

/// When everything was written, seconds since 1970.
const WRITTEN: i64 = 1_790_000_000;

/// How the changes of the second commit lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Anywhere.
    Random,
    /// In so many partitions.
    Partitions(u64),
}

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Entries of the first commit.
    pub entries: u64,
    /// Objects that the second commit changes.
    pub changes: u64,
    /// Where they lie.
    pub spread: Spread,
    /// All objects are empty and exist, so that the lake can be exported; else none exists.
    pub empty: bool,
}

/// What was generated: the ids of both commits, which the branches `main` and `before` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The first commit.
    pub before: String,
    /// The second.
    pub after: String,
    /// Ranges of the first commit.
    pub ranges: usize,
}

/// Any failure of the file system or of the format's writer.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes a lake into `folder`.
///
/// # Errors
/// What the file system refuses.
pub async fn generate(folder: &Path, shape: Shape) -> Result<Generated, Failure> {
    std::fs::create_dir_all(folder)?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    let sink: Arc<dyn MetadataSink> = Arc::new(StoreSink::new(store, StorePath::default()));
    if shape.empty {
        std::fs::create_dir_all(folder.join("data"))?;
        std::fs::write(folder.join(EMPTY), [])?;
    }
    let changed = changed(shape);
    let mut commits: Vec<CommitData> = Vec::new();
    let mut ranges = 0;
    for (generation, marks) in [(1, &BTreeSet::new()), (2, &changed)] {
        let mut writer = MetarangeWriter::new(Arc::clone(&sink), WriteOptions::default());
        let mut record = Record::default();
        for index in 0..shape.entries {
            record.fill(index, marks.contains(&index), shape.empty);
            writer.add(record.key.as_bytes(), &record.identity, &record.data).await?;
        }
        let tree = writer.finish().await?;
        ranges = ranges.max(tree.metarange.ranges().len());
        commits.push(commit(generation, tree.metarange.id(), commits.last().map(|c| c.id.clone())));
    }
    let (before, after) = (commits[0].id.clone(), commits[1].id.clone());
    let branches = [("before".to_owned(), before.clone()), ("main".to_owned(), after.clone())].into();
    let commits = commits.into_iter().map(|c| (c.id.clone(), c)).collect();
    let refs = Refs { branches, commits, ..Refs::default() };
    let manifest = write_refs(&sink, WriteOptions::default(), &refs).await?;
    sink.put_refs_manifest(&manifest).await?;
    Ok(Generated { before, after, ranges })
}

/// The positions that the second commit changes; never a marker.
fn changed(shape: Shape) -> BTreeSet<u64> {
    let mut random = StdRng::seed_from_u64(7);
    let partitions = (shape.entries / PARTITION).max(1);
    let mut positions = BTreeSet::new();
    let wanted = shape.changes.min(shape.entries / 2);
    while (positions.len() as u64) < wanted {
        let partition = match shape.spread {
            Spread::Random => random.random_range(0..partitions),
            Spread::Partitions(n) => (random.random_range(0..n) * 7919) % partitions,
        };
        let index = partition * PARTITION + random.random_range(0..PARTITION);
        if index < shape.entries && !is_marker(index) {
            positions.insert(index);
        }
    }
    positions
}

fn is_marker(index: u64) -> bool {
    index == 0 || index % PARTITION == 1
}

/// One entry, its buffers used again for the next.
#[derive(Default)]
struct Record {
    key: String,
    identity: Vec<u8>,
    data: Vec<u8>,
}

impl Record {
    /// Keys in byte order of their positions: the root's `_SUCCESS`, then per partition its `_SUCCESS` and its files.
    fn fill(&mut self, index: u64, changed: bool, empty: bool) {
        use std::fmt::Write;
        self.key.clear();
        let (partition, file) = (index / PARTITION, index % PARTITION);
        let written = match (index, file) {
            (0, _) => write!(self.key, "_SUCCESS"),
            (_, 1) => write!(self.key, "tables/t{:05}/part={:05}/_SUCCESS", partition / TABLE, partition % TABLE),
            (_, 0) => write!(self.key, "tables/t{:05}/part={:05}/AAAA-first.parquet", partition / TABLE, partition % TABLE),
            _ => write!(self.key, "tables/t{:05}/part={:05}/part-{file:05}.parquet", partition / TABLE, partition % TABLE),
        };
        debug_assert!(written.is_ok());
        let marker = is_marker(index);
        let mix = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(changed);
        let (size, etag) =
            (1000 + i64::try_from(mix % 100_000).unwrap_or_default(), || format!("{mix:016x}{:016x}", mix.rotate_left(17)));
        let entry = Entry {
            address: if empty { EMPTY.to_owned() } else { format!("data/gg{:018x}/{mix:020x}", mix >> 40) },
            last_modified: Some(Timestamp { seconds: WRITTEN + i64::from(changed), nanos: 0 }),
            size: if marker || empty { 0 } else { size },
            e_tag: if marker || empty { "d41d8cd98f00b204e9800998ecf8427e".to_owned() } else { etag() },
            address_type: AddressType::Relative.into(),
            content_type: "application/octet-stream".to_owned(),
            ..Entry::default()
        };
        self.data.clear();
        self.identity = encode::entry_record(&entry, &mut self.data).to_vec();
    }
}

fn commit(generation: i32, metarange: &str, parent: Option<String>) -> CommitData {
    let mut commit = CommitData {
        committer: "benchmark".to_owned(),
        message: format!("commit {generation}"),
        creation_date: Some(Timestamp { seconds: WRITTEN + i64::from(generation), nanos: 0 }),
        meta_range_id: metarange.to_owned(),
        parents: parent.into_iter().collect(),
        version: 1,
        generation,
        ..CommitData::default()
    };
    commit.id = ident::commit_id(&commit);
    commit
}
