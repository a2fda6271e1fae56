//! Writing a plan's shards to a local folder. Rows arrive in key order; each step has a file that is open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, BinaryBuilder, Int32Array, Int64Builder, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use sha2::{Digest, Sha256};

use super::contents::{Round, Shard, Step};
use super::row::{Action, Metadata, ROW_SCHEMA, Row};
use super::shard::shard_limit;
use crate::entry::metadata_pairs;
use crate::error::{Error, Result};

/// Rows gathered before they are handed to the file's writer.
const GROUP_ROWS: usize = 8192;

/// Header prefix that lakeFS's S3 gateway keeps in metadata keys; the store adds its own.
const GATEWAY_PREFIX: &str = "x-amz-meta-";

/// Which step of which round. Steps run by `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StepKey {
    pub round: i32,
    pub order: i32,
    pub action: Action,
    /// Marker steps: how deep their keys lie.
    pub depth: Option<i32>,
}

impl StepKey {
    fn label(&self) -> String {
        match self.depth {
            Some(depth) => format!("{}-depth-{depth:02}", self.action.as_str()),
            None if self.action == Action::Delete && self.order == 0 => "blocking-delete".to_owned(),
            None => self.action.as_str().to_owned(),
        }
    }
}

/// A plan that is being written.
#[derive(Debug)]
pub(crate) struct PlanWriter {
    folder: PathBuf,
    steps: BTreeMap<StepKey, StepWriter>,
}

impl PlanWriter {
    /// Writes below `folder`, which is made.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
        Ok(Self { folder: folder.to_owned(), steps: BTreeMap::new() })
    }

    /// Adds a row to its step.
    pub(crate) fn append(&mut self, step: StepKey, row: &Row<'_>) -> Result<()> {
        let writer = match self.steps.entry(step) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(StepWriter::new(&self.folder, step)?),
        };
        writer.append(row)
    }

    /// Closes all files; the rounds, by `names`.
    pub(crate) fn finish(self, names: &[(i32, String)]) -> Result<Vec<Round>> {
        let mut rounds: Vec<Round> = names
            .iter()
            .map(|(round, name)| Round { round: *round, name: name.clone(), steps: vec![], copied: 0, deleted: 0, bytes: 0 })
            .collect();
        for (key, writer) in self.steps {
            let step = Step { action: key.action, shards: writer.finish()? };
            let Some(round) = rounds.iter_mut().find(|r| r.round == key.round) else {
                return Err(Error::bug(format!("a row was planned for round {}, which does not exist", key.round)));
            };
            match key.action {
                Action::Copy => round.copied += step.rows(),
                Action::Delete | Action::Retract => round.deleted += step.rows(),
            }
            round.bytes += step.shards.iter().map(|s| s.bytes).sum::<u64>();
            round.steps.push(step);
        }
        Ok(rounds)
    }
}

#[derive(Debug)]
struct StepWriter {
    root: PathBuf,
    key: StepKey,
    rows: Rows,
    open: Option<(String, ArrowWriter<BufWriter<File>>)>,
    shard: (u64, u64),
    step: (u64, u64),
    shards: Vec<Shard>,
}

impl StepWriter {
    fn new(root: &Path, key: StepKey) -> Result<Self> {
        let folder = root.join(format!("round-{}", key.round));
        std::fs::create_dir_all(&folder).map_err(|e| io_error(&folder, &e))?;
        Ok(Self { root: root.to_owned(), key, rows: Rows::new(), open: None, shard: (0, 0), step: (0, 0), shards: vec![] })
    }

    fn append(&mut self, row: &Row<'_>) -> Result<()> {
        self.rows.append(row)?;
        let bytes = if self.key.action == Action::Copy { row.size.unwrap_or(0).unsigned_abs() } else { 0 };
        self.shard = (self.shard.0 + 1, self.shard.1 + bytes);
        self.step = (self.step.0 + 1, self.step.1 + bytes);
        let full = shard_limit(self.shard.0, self.shard.1, self.step.0, self.step.1);
        if full || self.rows.len() >= GROUP_ROWS {
            self.flush()?;
        }
        if full { self.close() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows.len() == 0 {
            return Ok(());
        }
        let batch = self.rows.finish(self.key)?;
        let (name, writer) = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(self.create()?),
        };
        writer.write(&batch).map_err(|e| Error::unreachable(format!("the plan's {name} cannot be written: {e}")))
    }

    fn create(&self) -> Result<(String, ArrowWriter<BufWriter<File>>)> {
        let name = format!("round-{}/{}-{:05}.parquet", self.key.round, self.key.label(), self.shards.len());
        let path = self.root.join(&name);
        let file = File::create(&path).map_err(|e| io_error(&path, &e))?;
        let properties = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::Chunk).build();
        let writer = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&ROW_SCHEMA), Some(properties));
        Ok((name, writer.map_err(|e| Error::bug(format!("plan shard: {e}")))?))
    }

    fn close(&mut self) -> Result<()> {
        self.flush()?;
        let Some((file, writer)) = self.open.take() else { return Ok(()) };
        let path = self.root.join(&file);
        let failed = |e: &dyn std::fmt::Display| Error::unreachable(format!("the plan's {file} cannot be written: {e}"));
        let inner = writer.into_inner().map_err(|e| failed(&e))?;
        inner.into_inner().map_err(|e| failed(&e))?;
        let (file_bytes, sha256) = digest(&path)?;
        let (rows, bytes) = std::mem::take(&mut self.shard);
        self.shards.push(Shard { file, rows, bytes, file_bytes, sha256 });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Shard>> {
        self.close()?;
        Ok(self.shards)
    }
}

/// Builders of [`ROW_SCHEMA`].
#[derive(Debug)]
struct Rows {
    key: StringBuilder,
    path: StringBuilder,
    source: StringBuilder,
    size: Int64Builder,
    etag: StringBuilder,
    content_type: StringBuilder,
    metadata: MapBuilder<StringBuilder, StringBuilder>,
    mtime: TimestampMicrosecondBuilder,
    identity: BinaryBuilder,
    reason: StringBuilder,
}

impl Rows {
    fn new() -> Self {
        let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
        Self {
            key: StringBuilder::new(),
            path: StringBuilder::new(),
            source: StringBuilder::new(),
            size: Int64Builder::new(),
            etag: StringBuilder::new(),
            content_type: StringBuilder::new(),
            metadata: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            mtime: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            identity: BinaryBuilder::new(),
            reason: StringBuilder::new(),
        }
    }

    fn len(&self) -> usize {
        self.key.len()
    }

    fn append(&mut self, row: &Row<'_>) -> Result<()> {
        self.key.append_value(row.key);
        self.path.append_value(row.path);
        self.source.append_option(row.source);
        self.size.append_option(row.size);
        self.etag.append_option(row.etag);
        self.content_type.append_option(row.content_type);
        self.mtime.append_option(row.mtime);
        self.identity.append_option(row.identity);
        self.reason.append_value(row.reason);
        let any = match row.metadata {
            Metadata::None => false,
            Metadata::Column(map, i) => self.append_pairs(metadata_pairs(map, i)),
            Metadata::Pairs(pairs) => self.append_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        };
        self.metadata.append(any).map_err(|e| Error::bug(format!("metadata column: {e}")))
    }

    fn append_pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        let mut any = false;
        for (key, value) in pairs {
            let own = key.get(..GATEWAY_PREFIX.len()).is_some_and(|p| p.eq_ignore_ascii_case(GATEWAY_PREFIX));
            self.metadata.keys().append_value(if own { &key[GATEWAY_PREFIX.len()..] } else { key });
            self.metadata.values().append_value(value);
            any = true;
        }
        any
    }

    fn finish(&mut self, step: StepKey) -> Result<RecordBatch> {
        let rows = self.len();
        RecordBatch::try_new(
            Arc::clone(&ROW_SCHEMA),
            vec![
                Arc::new(Int32Array::from(vec![step.round; rows])),
                Arc::new(StringArray::from(vec![step.action.as_str(); rows])),
                Arc::new(self.key.finish()),
                Arc::new(self.path.finish()),
                Arc::new(self.source.finish()),
                Arc::new(self.size.finish()),
                Arc::new(self.etag.finish()),
                Arc::new(self.content_type.finish()),
                Arc::new(self.metadata.finish()),
                Arc::new(self.mtime.finish()),
                Arc::new(self.identity.finish()),
                Arc::new(self.reason.finish()),
            ],
        )
        .map_err(|e| Error::bug(format!("plan rows: {e}")))
    }
}

/// Length and SHA-256 (hex) of a file.
pub(super) fn digest(path: &Path) -> Result<(u64, String)> {
    let mut file = BufReader::new(File::open(path).map_err(|e| io_error(path, &e))?);
    let (mut hash, mut buffer, mut total) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        let n = file.read(&mut buffer).map_err(|e| io_error(path, &e))?;
        if n == 0 {
            return Ok((total, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..n]);
        total += n as u64;
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> Error {
    Error::unreachable(format!("{}: {error}", path.display()))
        .with_help("plans are first written to a temporary folder (TMPDIR); it needs room and permission")
}
