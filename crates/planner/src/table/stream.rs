//! The stream of a diff: clusters are merged ahead, a few at a time, and come out in key order.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use graveler::{Metarange, Namespace};
use tokio::sync::mpsc;

use super::cluster::{Cluster, Clusters, Mode};
use super::elsewhere::{Elsewhere, received, sent};
use super::merge::{DiffBatch, Merge, MergeSpec};
use crate::address::storage_prefix;
use crate::entry::Columns;
use crate::error::{Error, Result};
use crate::location::Location;
use crate::part::Part;

/// Clusters that are read at a time, at most. Each holds one range of either side and a few batches.
const CLUSTERS_AHEAD: usize = 4;

/// What the ranges that are read at a time should come to, in bytes.
const BYTES_AHEAD: u64 = 40 << 20;

/// Batches that a cluster may be ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// What to read of two commits.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// Only what differs, or everything.
    pub mode: Mode,
    /// The part of the lake.
    pub part: Part,
    /// Columns of the left side.
    pub left: Columns,
    /// Columns of the right side.
    pub right: Columns,
    /// Paths, sorted bytewise, that are emitted even where nothing differs.
    pub touched: Arc<[String]>,
    /// Where the left side's ranges are, when not among the right side's.
    pub left_namespace: Option<Namespace>,
    /// Who merges, if not this process.
    pub elsewhere: Option<Elsewhere>,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Changes,
            part: Part::new(""),
            left: Columns::ALL,
            right: Columns::ALL,
            touched: Arc::new([]),
            left_namespace: None,
            elsewhere: None,
        }
    }
}

/// The rows of `left` and `right` that `options` ask for, in byte order of their paths. Also says how many ranges both
/// metaranges have. Memory: a few ranges and batches, whatever the size of the commits.
#[must_use]
pub fn diff_stream(
    namespace: &Namespace,
    storage: &Location,
    left: &Metarange,
    right: &Metarange,
    options: DiffOptions,
) -> (Clusters, BoxStream<'static, Result<DiffBatch>>) {
    let clusters = Clusters::new(left.ranges(), right.ranges(), &options.touched, options.mode, &options.part);
    let spec = MergeSpec {
        mode: options.mode,
        part: options.part,
        left: options.left,
        right: options.right,
        storage: storage_prefix(storage).into(),
        touched: options.touched,
    };
    // A tree that is not among the lake's is a file of this machine.
    let elsewhere = options.elsewhere.filter(|_| options.left_namespace.is_none());
    if let Some(elsewhere) = elsewhere.filter(|elsewhere| elsewhere.takes(spec.mode, clusters.ranges_to_open())) {
        let (task, parts) = sent(storage, &clusters.clusters, &spec);
        let counters = Arc::clone(namespace.counters());
        let batches = elsewhere.merges.merge(task, parts);
        let rows = batches.try_filter_map(move |batch| std::future::ready(received(&counters, &batch)));
        return (clusters, rows.boxed());
    }
    let left = options.left_namespace.unwrap_or_else(|| namespace.clone());
    let stream = merge_clusters((left, namespace.clone()), clusters.clusters.clone(), spec);
    (clusters, stream)
}

pub(crate) fn merge_clusters(
    (left, right): (Namespace, Namespace),
    clusters: Vec<Cluster>,
    spec: MergeSpec,
) -> BoxStream<'static, Result<DiffBatch>> {
    let largest = clusters.iter().map(Cluster::held_bytes).max().unwrap_or(0).max(1);
    // One more than there are cores to merge them: while it waits for its file, the others are busy.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (cores + 1).min(CLUSTERS_AHEAD);
    let ahead = usize::try_from(BYTES_AHEAD / largest).unwrap_or(most).clamp(2, most);
    stream::iter(clusters)
        .map(move |cluster| {
            let merge = Merge::new((&left, &right), cluster, spec.clone());
            async move { Ok::<_, Error>(spawn_merge(merge)) }
        })
        .buffered(ahead)
        .try_flatten()
        .boxed()
}

/// Runs a merge in a task of its own. The task ends when its reader is dropped.
fn spawn_merge(mut merge: Merge) -> BoxStream<'static, Result<DiffBatch>> {
    let (send, receive) = mpsc::channel(BATCHES_AHEAD);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let batch = merge.next().await.transpose();
            let Some(batch) = batch else { return };
            let failed = batch.is_err();
            if send.send(batch).await.is_err() || failed {
                return;
            }
        }
    });
    stream::unfold((receive, tasks), |(mut receive, mut tasks)| async move {
        match receive.recv().await {
            Some(batch) => Some((batch, (receive, tasks))),
            None => match tasks.join_next().await {
                Some(Err(e)) => Some((Err(Error::bug(format!("a merge ended early: {e}"))), (receive, tasks))),
                _ => None,
            },
        }
    })
    .boxed()
}
