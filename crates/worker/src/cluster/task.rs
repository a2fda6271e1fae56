//! What a task is told.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use planner::table::{MERGED_SCHEMA, MergeTask};
use planner::{Error, Location, Result};
use serde::{Deserialize, Serialize};

use super::token::Token;
use crate::{CopySpec, OUTCOME_SCHEMA};

/// What every task of a job is told; no secret. Which rows, its scan says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyTask {
    /// The version that made it: [`CopyTask::VERSION`].
    pub millrace: String,
    /// The run's id.
    pub run: String,
    /// How rows are done.
    pub copy: CopySpec,
    /// Under which lease.
    pub lease: LeaseSpec,
}

/// The lease that tasks work under, and where they see whether it still holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseSpec {
    /// The location that has `_millrace/`.
    pub control: Location,
    /// The lease's generation.
    pub generation: u64,
    /// How long it holds without being renewed, in milliseconds.
    pub ttl_ms: u64,
}

impl LeaseSpec {
    /// How long an executor may work on after its last look at HEAD: when a task was lost, so long must be waited for it.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.ttl_ms / 2).min(Duration::from_secs(10))
    }
}

impl CopyTask {
    /// The version of this program.
    pub const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// Where tasks journal, each in a folder of its own below it.
    #[must_use]
    pub fn journal(&self) -> Location {
        self.lease.control.join(&format!("_millrace/runs/{}/journal/", self.run))
    }

    /// Where tasks leave word that they began and ended.
    #[must_use]
    pub fn attempts(&self) -> Location {
        self.lease.control.join(&format!("_millrace/runs/{}/attempts/", self.run))
    }
}

/// What a task that reads objects is told; no secret. Which ones, its scan says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadTask {
    /// The version that made it: [`CopyTask::VERSION`].
    pub millrace: String,
    /// The job's id.
    pub id: String,
    /// What the objects' keys are below of.
    pub destination: Location,
    /// Where each task leaves what it found.
    pub results: Location,
    /// Objects that an executor reads at a time.
    pub at_once: usize,
}

/// What a task that merges ranges is told; no secret. Which ones, its scan says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeJob {
    /// The version that made it: [`CopyTask::VERSION`].
    pub millrace: String,
    /// The job's id.
    pub id: String,
    /// What all parts have in common.
    pub merge: MergeTask,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A plan's rows.
    Copy(CopyTask),
    /// It reads objects and compares them with what is known of them.
    Read(ReadTask),
    /// It merges ranges of metadata.
    Merge(MergeJob),
}

impl From<&CopyTask> for Task {
    fn from(task: &CopyTask) -> Self {
        Self::Copy(task.clone())
    }
}

impl From<&ReadTask> for Task {
    fn from(task: &ReadTask) -> Self {
        Self::Read(task.clone())
    }
}

impl From<&MergeJob> for Task {
    fn from(task: &MergeJob) -> Self {
        Self::Merge(task.clone())
    }
}

impl Task {
    /// What its rows are.
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Copy(_) | Self::Read(_) => Arc::clone(&OUTCOME_SCHEMA),
            Self::Merge(_) => Arc::clone(&MERGED_SCHEMA),
        }
    }

    /// The run's or job's id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Copy(task) => &task.run,
            Self::Read(task) => &task.id,
            Self::Merge(task) => &task.id,
        }
    }

    /// What it changes, or reads.
    #[must_use]
    pub fn destination(&self) -> &Location {
        match self {
            Self::Copy(task) => &task.copy.destination,
            Self::Read(task) => &task.destination,
            Self::Merge(task) => &task.merge.storage,
        }
    }
}

/// A task with the proof that who made it knows the cluster's token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sealed {
    task: Task,
    seal: Option<String>,
}

impl Deref for Sealed {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl Sealed {
    pub(super) fn new(task: Task, token: &Token) -> Result<Self> {
        let seal = token.seal(&text(&task)?);
        Ok(Self { task, seal })
    }

    /// Fails where `token` is set and this was made by somebody who does not know it.
    ///
    /// # Errors
    /// `Unreachable`: another executor may have another token, or none.
    pub(super) fn check(&self, token: &Token) -> Result<()> {
        if token.is_seal(&text(&self.task)?, self.seal.as_deref()) {
            return Ok(());
        }
        Err(Error::unreachable("the executor has a token (MILLRACE_CLUSTER_TOKEN), and the command has none or another one")
            .with_help("set MILLRACE_CLUSTER_TOKEN to the token that the executors were started with"))
    }

    /// How it travels: its version is read before anything else.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let millrace = match &self.task {
            Task::Copy(task) => &task.millrace,
            Task::Read(task) => &task.millrace,
            Task::Merge(task) => &task.millrace,
        };
        serde_json::to_vec(&serde_json::json!({ "millrace": millrace, "seal": self.seal, "task": self.task }))
    }

    /// Reads what another process wrote.
    ///
    /// # Errors
    /// `Usage` where that was another version, with both named; `who` is this process.
    pub(super) fn decode(bytes: &[u8], who: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Sent {
            millrace: String,
            #[serde(default)]
            seal: Option<String>,
            #[serde(default)]
            task: serde_json::Value,
        }
        let unreadable = |e: serde_json::Error| Error::usage(format!("the {who} cannot read a task: {e}"));
        let sent: Sent = serde_json::from_slice(bytes).map_err(unreadable)?;
        let own = CopyTask::VERSION;
        if sent.millrace == own {
            return Ok(Self { task: serde_json::from_value(sent.task).map_err(unreadable)?, seal: sent.seal });
        }
        Err(Error::usage(format!(
            "the command is millrace {}, and the {who} is millrace {}: all parts of a cluster must be of one version",
            sent.millrace, own
        ))
        .with_help(format!("run the command with millrace {own}, or bring the cluster to {}", sent.millrace)))
    }
}

/// What is sealed.
fn text(task: &Task) -> Result<Vec<u8>> {
    serde_json::to_vec(task).map_err(|e| Error::bug(format!("a task cannot be sealed: {e}")))
}

#[cfg(test)]
mod tests {
    use planner::ErrorKind;

    use super::*;

    fn task(version: &str) -> CopyTask {
        let control = Location::parse("s3://out/x/").unwrap();
        let copy = CopySpec::new(control.clone());
        let lease = LeaseSpec { control, generation: 3, ttl_ms: 60_000 };
        CopyTask { millrace: version.to_owned(), run: "R".to_owned(), copy, lease }
    }

    #[test]
    fn another_version_is_refused_with_both_named() {
        let sent = |version: &str| Sealed::new(Task::from(&task(version)), &Token::default()).unwrap().encode().unwrap();
        assert_eq!(*Sealed::decode(&sent(CopyTask::VERSION), "executor").unwrap(), Task::Copy(task(CopyTask::VERSION)));
        let error = Sealed::decode(&sent("9.8.7"), "executor").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("9.8.7") && error.message().contains(CopyTask::VERSION), "{error}");
        // Another version may say other things: they are not looked at.
        let error = Sealed::decode(br#"{"millrace":"9.8.7","new":1}"#, "executor").unwrap_err();
        assert!(error.message().contains("9.8.7"), "{error}");
    }

    #[test]
    fn a_seal_holds_on_its_way_and_for_one_task_and_token_only() {
        let token = Token::parse("abc").unwrap();
        let sealed = Sealed::new(Task::from(&task(CopyTask::VERSION)), &token).unwrap();
        let arrived = Sealed::decode(&sealed.encode().unwrap(), "executor").unwrap();
        assert!(arrived.check(&token).is_ok() && arrived.check(&Token::default()).is_ok());
        let error = arrived.check(&Token::parse("abd").unwrap()).unwrap_err();
        assert!(error.kind() == ErrorKind::Unreachable && error.message().contains("MILLRACE_CLUSTER_TOKEN"), "{error}");
        let forged =
            Sealed { task: Task::from(&CopyTask { run: "S".to_owned(), ..task(CopyTask::VERSION) }), seal: arrived.seal };
        assert!(forged.check(&token).is_err());
    }

    #[test]
    fn a_runs_folders_lie_at_the_destination() {
        assert_eq!(task("1").journal().to_string(), "s3://out/x/_millrace/runs/R/journal/");
        assert_eq!(task("1").lease.window(), Duration::from_secs(10));
    }
}
