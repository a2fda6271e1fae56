//! Writing a plan to a local folder. Rows arrive in key order.
//!
//! ```text
//! planning ──rows, batches──▶ PlanWriter ──channel──▶ thread: Parquet, digests
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::builder::Rows;
use super::contents::{Round, Step};
use super::files::write_all;
use super::row::{Action, Row};
use crate::error::{Error, Result};
use crate::round::Rounds;

/// Rows gathered before they are handed to the files' thread.
const GROUP_ROWS: usize = 4096;

/// Batches that may wait for the files' thread.
const BATCHES_AHEAD: usize = 4;

/// Which step of which round. Steps run by `order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StepKey {
    pub round: i32,
    pub order: i32,
    pub action: Action,
    /// Steps by depth: how deep their keys lie.
    pub depth: Option<i32>,
    /// Deletes in a round of their own: the round of their keys.
    pub of: Option<i32>,
    /// Tells steps of one action apart; may be empty.
    pub name: &'static str,
    /// The rows of a folder run one after another.
    pub ordered: bool,
}

impl StepKey {
    pub(crate) fn new(round: i32, order: i32, action: Action) -> Self {
        Self { round, order, action, depth: None, of: None, name: "", ordered: false }
    }

    pub(crate) fn at_depth(self, depth: i32) -> Self {
        Self { depth: Some(depth), ..self }
    }

    /// The beginning of its files' names.
    pub(super) fn label(&self) -> String {
        let name = Some(self.name).filter(|name| !name.is_empty()).map(str::to_owned);
        let of = self.of.map(|of| format!("of-{of}"));
        let depth = self.depth.map(|depth| format!("depth-{depth:02}"));
        let parts = [name, Some(self.action.as_str().to_owned()), of, depth];
        parts.into_iter().flatten().collect::<Vec<_>>().join("-")
    }
}

/// A plan that is being written.
#[derive(Debug)]
pub(crate) struct PlanWriter {
    gathered: BTreeMap<StepKey, Rows>,
    ready: Vec<(StepKey, RecordBatch)>,
    send: mpsc::Sender<(StepKey, RecordBatch)>,
    files: JoinHandle<Result<BTreeMap<StepKey, Step>>>,
}

impl PlanWriter {
    /// Writes below `folder`, which is made.
    pub(crate) fn create(folder: &Path) -> Self {
        let (send, receive) = mpsc::channel(BATCHES_AHEAD);
        let root = folder.to_owned();
        let files = tokio::task::spawn_blocking(move || write_all(&root, receive));
        Self { gathered: BTreeMap::new(), ready: Vec::new(), send, files }
    }

    /// Adds a row to its step.
    pub(crate) fn append(&mut self, step: StepKey, row: &Row<'_>) -> Result<()> {
        let rows = self.gathered.entry(step).or_insert_with(Rows::new);
        rows.append(row)?;
        if rows.len() >= GROUP_ROWS {
            self.ready.push((step, rows.finish(step)?));
        }
        Ok(())
    }

    /// Adds many rows to a step: a batch of [`super::UNPLACED_SCHEMA`].
    pub(crate) fn append_batch(&mut self, step: StepKey, batch: RecordBatch) {
        self.ready.push((step, batch));
    }

    /// Hands what is ready to the files' thread; waits where that is behind.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        for batch in self.ready.drain(..) {
            if self.send.send(batch).await.is_err() {
                // The thread has ended early; what it ended by is told when the plan is finished.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Closes all files; the rounds, by `names`.
    pub(crate) async fn finish(mut self, names: &[(i32, String)]) -> Result<Vec<Round>> {
        for (step, mut rows) in std::mem::take(&mut self.gathered) {
            if rows.len() > 0 {
                self.ready.push((step, rows.finish(step)?));
            }
        }
        self.flush().await?;
        drop(self.send);
        let steps = self.files.await.map_err(|e| Error::bug(format!("the thread that writes a plan ended early: {e}")))??;
        let mut rounds: Vec<Round> = names
            .iter()
            .map(|(round, name)| Round {
                round: *round,
                name: name.clone(),
                steps: vec![],
                copied: 0,
                deleted: 0,
                retracted: 0,
                bytes: 0,
            })
            .collect();
        for (key, step) in steps {
            let Some(round) = rounds.iter_mut().find(|r| r.round == key.round) else {
                return Err(Error::bug(format!("a row was planned for round {}, which does not exist", key.round)));
            };
            match key.action {
                Action::Copy => round.copied += step.rows(),
                Action::Delete | Action::Retract => round.deleted += step.rows(),
            }
            if key.action == Action::Retract && key.round != Rounds::RETRACT {
                round.retracted += step.rows();
            }
            round.bytes += step.shards.iter().map(|s| s.bytes).sum::<u64>();
            round.steps.push(step);
        }
        Ok(rounds)
    }
}
