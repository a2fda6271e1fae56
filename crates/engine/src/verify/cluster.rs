//! `verify --deep` on a cluster: shards of what is to be read, jobs that read them, results.
//!
//! ```text
//! _millrace/verify/<id>/shards/<n>.parquet      what is known of the objects
//! _millrace/verify/<id>/results/<n>-….json      what reading them showed
//! ```
//! Both go at the end. What a command leaves that is killed, nobody reads again; a later one on a cluster removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::time::Duration;

use datafusion::parquet::arrow::ArrowWriter;
use planner::{Error, ErrorKind, Result};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use worker::cluster::{Cluster, CopyTask, Found, JobState, ReadTask, ShardRows, ShardsTable, sought_batch};
use worker::prove::Sought;

use super::report::VerifyReport;
use super::{Difference, VerifyRequest, sweep, take};
use crate::cluster::asking::{self, Asking, STALLED, TRIES};
use crate::destination::Destination;
use crate::prepare::temporary;
use crate::request::ClusterOptions;

/// Objects and bytes of a shard.
const SHARD: (usize, u64) = (1024, 4 << 30);
/// Shards of a job.
const JOB: usize = 500;

/// Reads on a cluster.
pub(super) struct There {
    cluster: Cluster,
    destination: Destination,
    /// The folder of shards and results, below the status path.
    folder: String,
    task: ReadTask,
    stop: CancellationToken,
    keep_keys: bool,
    spool: TempDir,
    /// The shard that is being filled, and its bytes.
    filling: (Vec<Sought>, u64),
    /// Shards that wait to be read.
    shards: BTreeMap<i32, ShardFile>,
    next: i32,
}

/// A shard at the destination.
struct ShardFile {
    bytes_of_file: u64,
    objects: u64,
    bytes: u64,
}

impl There {
    pub(super) async fn connect(options: &ClusterOptions, destination: &Destination, request: &VerifyRequest) -> Result<Self> {
        let cluster = Cluster::connect(&options.scheduler, &options.token, &options.tls).await?;
        let id = ulid::Ulid::new().to_string();
        let folder = format!("{}{id}", sweep::FOLDER);
        let task = ReadTask {
            millrace: CopyTask::VERSION.to_owned(),
            id,
            destination: destination.location().clone(),
            results: destination.status().join(&format!("{folder}/results/")),
            at_once: request.at_once(),
        };
        let (destination, stop, keep_keys) = (destination.clone(), request.stop.clone(), request.keep_keys);
        let filling = (Vec::new(), 0);
        let (spool, shards) = (temporary()?, BTreeMap::new());
        Ok(Self { cluster, destination, folder, task, stop, keep_keys, spool, filling, shards, next: 0 })
    }

    pub(super) async fn push(&mut self, sought: Sought, report: &mut VerifyReport) -> Result<()> {
        self.filling.1 += sought.size.unwrap_or_default();
        self.filling.0.push(sought);
        if self.filling.0.len() >= SHARD.0 || self.filling.1 >= SHARD.1 {
            self.close().await?;
        }
        if self.shards.len() >= JOB { self.run(report).await } else { Ok(()) }
    }

    pub(super) async fn finish(&mut self, report: &mut VerifyReport) -> Result<()> {
        self.close().await?;
        self.run(report).await
    }

    pub(super) async fn clean(&self) {
        sweep::sweep(&self.destination, &format!("{}/", self.folder)).await;
        if let Err(error) = self.destination.delete_all_but(&format!("{}/", self.folder), "").await {
            tracing::warn!("{} cannot be removed: {error}", self.folder);
        }
    }

    /// Writes the shard that was filled to the destination.
    async fn close(&mut self) -> Result<()> {
        let (sought, bytes) = std::mem::take(&mut self.filling);
        if sought.is_empty() {
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        let path = self.spool.path().join("shard.parquet");
        let failed = |e: &dyn std::fmt::Display| {
            Error::unreachable(format!("{}: {e}", path.display()))
                .with_help("the temporary folder (TMPDIR) needs room and permission")
        };
        let batch = sought_batch(number, &sought)?;
        let file = File::create(&path).map_err(|e| failed(&e))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).map_err(|e| failed(&e))?;
        writer.write(&batch).map_err(|e| failed(&e))?;
        writer.close().map_err(|e| failed(&e))?;
        let bytes_of_file = std::fs::metadata(&path).map_err(|e| failed(&e))?.len();
        self.destination.upload_file(&path, &format!("{}/shards/{}", self.folder, name(number))).await?;
        self.shards.insert(number, ShardFile { bytes_of_file, objects: sought.len() as u64, bytes });
        Ok(())
    }

    /// Has the shards read that wait, until each has a result.
    async fn run(&mut self, report: &mut VerifyReport) -> Result<()> {
        let (mut tries, mut read) = (0, BTreeSet::new());
        while !self.shards.is_empty() {
            asking::executors(&self.cluster, &self.stop, "run the same command without --cluster", || ()).await?;
            let ended = self.job().await?;
            let before = self.shards.len();
            self.results(report, &mut read).await?;
            if self.stop.is_cancelled() {
                return Err(Error::new(ErrorKind::Interrupted, "the comparison was stopped"));
            }
            tries = if self.shards.len() < before { 0 } else { tries + 1 };
            match ended {
                Some(error) if matches!(error.kind(), ErrorKind::Usage | ErrorKind::Bug | ErrorKind::Corrupt) => {
                    return Err(error);
                }
                ended if tries >= TRIES => {
                    let error = ended.unwrap_or_else(|| Error::unreachable("the cluster's jobs end without results"));
                    return Err(error.with_help("run the same command without --cluster"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs one job to its end; why it did not end well.
    async fn job(&self) -> Result<Option<Error>> {
        let folder = self.destination.status().join(&format!("{}/shards", self.folder));
        let files = self.shards.iter().map(|(number, shard)| (name(*number), shard.bytes_of_file)).collect();
        let table = ShardsTable { rows: ShardRows::Sought, folder, files };
        let job = self.cluster.submit(&format!("{} read", self.task.id), &self.task, &table).await?;
        let largest = self.shards.values().map(|shard| shard.bytes).max().unwrap_or_default();
        let bound = STALLED + Duration::from_secs(largest >> 20);
        let mut asking = Asking::default();
        let (mut moved, mut results) = (Instant::now(), 0);
        loop {
            match asking.next(&self.cluster, &job, &self.stop).await? {
                Some(JobState::Running) => {}
                Some(JobState::Done(_)) => return Ok(None),
                Some(JobState::Failed(error)) => return Ok(Some(error)),
                None => {
                    self.cluster.cancel(&job).await?;
                    return Ok(None);
                }
            }
            if moved.elapsed() >= bound {
                let now = self.destination.list(&self.results_prefix()).await?.len();
                if now == results {
                    self.cluster.cancel(&job).await?;
                    return Ok(Some(Error::unreachable(format!("the cluster read nothing for {bound:?}"))));
                }
                (moved, results) = (Instant::now(), now);
            }
        }
    }

    fn results_prefix(&self) -> String {
        format!("{}/results/", self.folder)
    }

    /// Takes the results that are there; their shards wait no more.
    async fn results(&mut self, report: &mut VerifyReport, read: &mut BTreeSet<String>) -> Result<()> {
        let prefix = self.results_prefix();
        for one in self.destination.list(&prefix).await? {
            let number = one.key[prefix.len()..].split('-').next().and_then(|number| number.parse().ok());
            let Some(number) = number.filter(|number| self.shards.contains_key(number)) else { continue };
            if !read.insert(one.key.clone()) {
                continue;
            }
            let Some((found, _)) = self.destination.get_json::<Found>(&one.key).await? else { continue };
            let Some(shard) = self.shards.remove(&number) else { continue };
            if found.objects != shard.objects || found.shard != number {
                return Err(Error::bug(format!(
                    "{}: {} objects were to be read, {} were",
                    one.key, shard.objects, found.objects
                )));
            }
            report.bytes += found.bytes;
            report.unproved += found.unproved;
            for one in found.different {
                let difference = Difference { key: one.key, kind: one.wrong.into(), expected: one.expected, found: one.found };
                take(report, difference, self.keep_keys)?;
            }
        }
        Ok(())
    }
}

fn name(shard: i32) -> String {
    format!("{shard:06}.parquet")
}
