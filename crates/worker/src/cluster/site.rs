//! What an executor has once: its stores, the tasks that run, and what all tasks of one run share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;
use planner::{Error, Result};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::merge::merging;
use super::read::Reading;
use super::task::Sealed;
use super::told::told_to_engine;
use super::watch::Watch;
use super::{CopyTask, ReadTask, Task, Token};
use crate::{CopyExec, OUTCOME_SCHEMA, Registry};

/// How long rows under way may go on when their task is cancelled; then they are dropped.
const GRACE: Duration = Duration::from_secs(2);
/// The same when the executor leaves: another one will do what is dropped.
const LEAVING_GRACE: Duration = Duration::from_secs(20);
/// Runs whose operators and watches are kept.
const RUNS: usize = 8;

/// An executor's own.
pub(super) struct Site {
    registry: Arc<Registry>,
    /// With which tasks must be sealed.
    token: Token,
    /// By Ballista's id of the task.
    tasks: Mutex<HashMap<String, Stops>>,
    /// The last runs, the newest at the end.
    runs: Mutex<Vec<RunHere>>,
    /// The last job that reads, and its permits.
    reading: Mutex<Option<(String, Arc<Semaphore>)>>,
    /// The executor goes: its tasks end.
    leaving: CancellationToken,
}

/// What the tasks of one run share here.
struct RunHere {
    task: CopyTask,
    watch: Arc<Watch>,
    /// Permits and retries are the operator's.
    operator: Option<Arc<CopyExec>>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl Site {
    pub(super) fn new(registry: Arc<Registry>, token: Token) -> Arc<Self> {
        Arc::new(Self {
            registry,
            token,
            tasks: Mutex::default(),
            runs: Mutex::default(),
            reading: Mutex::default(),
            leaving: CancellationToken::new(),
        })
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// All tasks end: what is under way is finished, nothing is begun.
    pub(super) fn leave(&self) {
        self.leaving.cancel();
    }

    /// A task begins; when the guard goes, it is cancelled.
    pub(super) fn begin(self: &Arc<Self>, task: String) -> Running {
        let stops = self.stops();
        self.tasks().insert(task.clone(), stops.clone());
        Running { site: Arc::clone(self), task, stops }
    }

    fn stops(&self) -> Stops {
        Stops { cancelled: CancellationToken::new(), begin: self.leaving.child_token(), leaving: self.leaving.clone() }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Stops>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> MutexGuard<'_, Vec<RunHere>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the rows of one partition. The stream of all but merges has no rows: the store has the outcomes.
    pub(super) fn run(
        self: &Arc<Self>,
        task: &Sealed,
        input: Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> SendableRecordBatchStream {
        let id = context.task_id().unwrap_or_default();
        let stops = self.tasks().get(&id).cloned().unwrap_or_else(|| self.stops());
        if let Err(error) = task.check(&self.token) {
            let refused = futures::stream::iter([Err(told_to_engine(&error))]);
            return Box::pin(RecordBatchStreamAdapter::new(task.schema(), refused));
        }
        if let Task::Merge(job) = &**task {
            return merging(self, job.clone(), stops.begin, (input, partition), context);
        }
        let (site, task) = (Arc::clone(self), Task::clone(task));
        let work = async move {
            let ended = match task {
                Task::Copy(task) => Box::pin(Attempt { site, task, stops, context }.run(input, partition)).await,
                Task::Read(task) => Box::pin(Reading { site, task, stops, context }.run(input, partition)).await,
                Task::Merge(_) => Err(Error::bug("a merge has rows")),
            };
            ended.err().map(|e| Err(told_to_engine(&e)))
        };
        let stream = futures::stream::once(work).filter_map(std::future::ready);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&OUTCOME_SCHEMA), stream))
    }

    /// The permits of a job that reads: its tasks share them.
    pub(super) fn reading(&self, task: &ReadTask) -> Arc<Semaphore> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        match reading.as_ref() {
            Some((id, permits)) if *id == task.id => Arc::clone(permits),
            _ => {
                let permits = Arc::new(Semaphore::new(task.at_once.clamp(1, Semaphore::MAX_PERMITS)));
                *reading = Some((task.id.clone(), Arc::clone(&permits)));
                permits
            }
        }
    }

    /// The watch over the run's lease.
    pub(super) fn watch(&self, task: &CopyTask) -> Result<Arc<Watch>> {
        let mut runs = self.runs();
        if let Some(known) = runs.iter().find(|run| run.task == *task) {
            return Ok(Arc::clone(&known.watch));
        }
        // The same run with other options: one lease, one watch.
        let same = runs.iter().find(|run| run.task.run == task.run && run.task.lease == task.lease);
        let watch = match same {
            Some(same) => Arc::clone(&same.watch),
            None => Watch::start(&self.registry, task)?,
        };
        if runs.len() >= RUNS {
            runs.remove(0);
        }
        runs.push(RunHere { task: task.clone(), watch: Arc::clone(&watch), operator: None });
        Ok(watch)
    }

    /// The run's operator, whose permits and retries its tasks share.
    pub(super) fn operator(&self, task: &CopyTask, input: &Arc<dyn ExecutionPlan>) -> Arc<CopyExec> {
        let never = CancellationToken::new();
        let new = || Arc::new(CopyExec::new(Arc::clone(input), task.copy.clone(), Arc::clone(&self.registry), never));
        match self.runs().iter_mut().find(|run| run.task == *task) {
            Some(run) => Arc::clone(run.operator.get_or_insert_with(new)),
            None => new(),
        }
    }
}

/// What ends a task early.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    /// Nobody waits for it any more.
    cancelled: CancellationToken,
    /// No row is begun any more, for whatever reason.
    pub(super) begin: CancellationToken,
    leaving: CancellationToken,
}

impl Stops {
    /// The task's run is over.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
        self.begin.cancel();
    }

    /// What is under way has had its time.
    pub(super) async fn overdue(&self) {
        self.begin.cancelled().await;
        tokio::select! {
            () = async { self.cancelled.cancelled().await; tokio::time::sleep(GRACE).await } => {}
            () = async { self.leaving.cancelled().await; tokio::time::sleep(LEAVING_GRACE).await } => {}
        }
    }
}

/// A task that runs.
#[derive(Debug)]
pub(super) struct Running {
    site: Arc<Site>,
    task: String,
    stops: Stops,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stops.cancel();
        self.site.tasks().remove(&self.task);
    }
}
