//! Which executor gets which shard: each in turn, and a shard that failed goes to another one.
//!
//! An executor that lost the store but not the scheduler is idle most of the time, so that a plain rotation hands it what it has
//! just given back, until the job has failed. So who failed at a shard gets it again only when everybody else has failed as well,
//! and who failed lately is asked last.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{AvailableVcores, job_status, task_status};
use ballista_core::serde::scheduler::TaskKey;
use ballista_scheduler::cluster::{BoundTask, DistributionPolicy};
use ballista_scheduler::state::execution_graph::{TaskDescription, create_task_info};
use ballista_scheduler::state::execution_stage::RunningStage;
use ballista_scheduler::state::task_manager::JobInfoCache;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// For how long an executor that failed is asked last.
const DISTRUST: Duration = Duration::from_mins(1);

/// Executors that failed at a shard.
type Failed = BTreeSet<String>;

/// The scheduler's policy.
#[derive(Debug, Default)]
pub(super) struct Placement(Mutex<Memory>);

/// What is remembered from one binding to the next.
#[derive(Debug, Default)]
struct Memory {
    /// Whom the tasks of running jobs were given to. Ballista forgets it when a task fails.
    given: HashMap<TaskKey, String>,
    /// By job, stage and partition.
    failed: HashMap<(JobId, usize, usize), Failed>,
    /// When an executor failed last.
    distrusted: HashMap<String, Instant>,
}

impl Memory {
    /// Forgets what is over.
    fn forget(&mut self, jobs: &HashMap<JobId, JobInfoCache>) {
        self.given.retain(|key, _| jobs.contains_key(&key.job_id));
        self.failed.retain(|(job, ..), _| jobs.contains_key(job));
        self.distrusted.retain(|_, since| since.elapsed() < DISTRUST);
    }

    /// Sees how the tasks of a stage have ended.
    fn learn(&mut self, job: &JobId, stage: &RunningStage) {
        let Self { given, failed, distrusted } = self;
        given.retain(|key, executor| {
            if key.job_id != *job || key.stage_id != stage.stage_id {
                return true;
            }
            let Some(task) = stage.task_infos.get(key.task_id) else { return false };
            match &task.task_status {
                task_status::Status::Running(_) => return true,
                task_status::Status::Successful(_) => drop(distrusted.remove(executor)),
                // The results of one that is lost are lost with it: it did not fail at anything.
                task_status::Status::Failed(end) if matches!(end.failed_reason, Some(FailedReason::ResultLost(_))) => {}
                task_status::Status::Failed(_) => {
                    distrusted.insert(executor.clone(), Instant::now());
                    for partition in &task.global_input_partition_ids {
                        failed.entry((job.clone(), stage.stage_id, *partition)).or_default().insert(executor.clone());
                    }
                }
            }
            false
        });
    }
}

/// Executors that have room, in turn.
struct Rotation<'a> {
    executors: Vec<&'a mut AvailableVcores>,
    distrusted: HashSet<String>,
    turn: usize,
}

impl<'a> Rotation<'a> {
    fn new(mut executors: Vec<&'a mut AvailableVcores>, distrusted: HashSet<String>) -> Self {
        executors.sort_by_key(|one| Reverse(one.vcores));
        Self { executors, distrusted, turn: 0 }
    }

    fn has_room(&self) -> bool {
        self.executors.iter().any(|one| one.vcores > 0)
    }

    /// Takes room for a task at the next one that is none of `failed`; who is distrusted comes last.
    fn take(&mut self, failed: &Failed) -> Option<String> {
        let count = self.executors.len();
        let turns = (0..count).map(|step| (self.turn + step) % count);
        let free = turns.filter(|i| self.executors[*i].vcores > 0 && !failed.contains(&self.executors[*i].executor_id));
        let next = free.min_by_key(|i| self.distrusted.contains(&self.executors[*i].executor_id))?;
        self.turn = next + 1;
        self.executors[next].vcores -= 1;
        Some(self.executors[next].executor_id.clone())
    }

    /// Whom a shard goes to, of those that are `there`. `None`: it waits for one that is busy.
    fn place(&mut self, failed: Option<&mut Failed>, there: &HashSet<String>) -> Option<String> {
        let Some(failed) = failed else { return self.take(&Failed::new()) };
        let taken = self.take(failed);
        if taken.is_none() && there.iter().all(|one| failed.contains(one)) {
            failed.clear();
            return self.take(failed);
        }
        taken
    }
}

#[async_trait]
impl DistributionPolicy for Placement {
    async fn bind_tasks(
        &self,
        budgets: Vec<&mut AvailableVcores>,
        jobs: Arc<HashMap<JobId, JobInfoCache>>,
    ) -> datafusion::error::Result<Vec<BoundTask>> {
        let mut memory = self.0.lock().await;
        memory.forget(&jobs);
        let mut there: HashSet<String> = budgets.iter().map(|one| one.executor_id.clone()).collect();
        let running = || jobs.iter().filter(|(_, job)| matches!(job.status, Some(job_status::Status::Running(_))));
        for (id, job) in running() {
            let mut graph = job.execution_graph.write().await;
            let mut seen = Vec::new();
            while let Some(stage) = graph.fetch_running_stage(&seen) {
                seen.push(stage.stage_id);
                memory.learn(id, stage);
            }
            there.extend(graph.running_tasks().into_iter().map(|task| task.executor_id));
        }
        let mut rotation = Rotation::new(budgets, memory.distrusted.keys().cloned().collect());
        let mut bound = Vec::new();
        for (id, job) in running() {
            let mut graph = job.execution_graph.write().await;
            let (session, mut seen) = (graph.session_id().to_owned(), Vec::new());
            while let Some(stage) = graph.fetch_running_stage(&seen) {
                seen.push(stage.stage_id);
                bind(&mut memory, &mut rotation, &there, (id, &session, stage), &mut bound);
            }
        }
        Ok(bound)
    }

    fn name(&self) -> &'static str {
        "in turn, and elsewhere after a failure"
    }
}

/// Binds what is pending of a stage, as far as there is room.
fn bind(
    memory: &mut Memory,
    rotation: &mut Rotation<'_>,
    there: &HashSet<String>,
    (job, session, stage): (&JobId, &str, &mut RunningStage),
    bound: &mut Vec<BoundTask>,
) {
    let mut waiting = Vec::new();
    while rotation.has_room() {
        let [partition] = stage.pending.next_slice(1)[..] else { break };
        let failed = memory.failed.get_mut(&(job.clone(), stage.stage_id, partition));
        let Some(executor) = rotation.place(failed, there) else {
            waiting.push(partition);
            continue;
        };
        let key = TaskKey { job_id: job.clone(), stage_id: stage.stage_id, task_id: stage.task_infos.len() };
        let mut info = create_task_info(executor.clone(), key.task_id);
        info.global_input_partition_ids = vec![partition];
        info.vcores_consumed = 1;
        stage.task_infos.push(info);
        memory.given.insert(key.clone(), executor.clone());
        let task = TaskDescription {
            session_id: session.to_owned(),
            key,
            stage_attempt_num: stage.stage_attempt_num,
            task_attempt: stage.task_failure_numbers.get(partition).copied().unwrap_or_default(),
            global_input_partition_ids: vec![partition],
            vcores_consumed: 1,
            plan: Arc::clone(&stage.plan),
            session_config: Arc::clone(&stage.session_config),
        };
        bound.push((executor, task));
    }
    stage.pending.reschedule(waiting);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executors(free: &[(&str, u32)]) -> Vec<AvailableVcores> {
        free.iter().map(|(id, vcores)| AvailableVcores { executor_id: (*id).to_owned(), vcores: *vcores }).collect()
    }

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_gets_one_in_turn_and_the_distrusted_come_last() {
        let taken = |distrusted: &[&str]| {
            let mut free = executors(&[("a", 3), ("b", 2), ("c", 1)]);
            let mut rotation = Rotation::new(free.iter_mut().collect(), names(distrusted));
            std::iter::from_fn(|| rotation.take(&Failed::new())).collect::<Vec<_>>().concat()
        };
        assert_eq!(taken(&[]), "abcaba");
        assert_eq!(taken(&["a"]), "bcbaaa");
        assert_eq!(taken(&["a", "b", "c"]), "abcaba");
    }

    #[test]
    fn a_shard_goes_back_to_who_failed_only_when_all_have() {
        let place = |free: &[(&str, u32)], failed: &[&str], there: &[&str]| {
            let mut free = executors(free);
            let mut rotation = Rotation::new(free.iter_mut().collect(), HashSet::new());
            let mut failed: Failed = failed.iter().map(|name| (*name).to_owned()).collect();
            (rotation.place(Some(&mut failed), &names(there)), failed.len())
        };
        let to = |name: &str| Some(name.to_owned());
        assert_eq!(place(&[("a", 2), ("b", 1)], &["a"], &["a", "b"]), (to("b"), 1));
        assert_eq!(place(&[("a", 2)], &["a"], &["a", "b"]), (None, 1), "b is busy: it waits");
        assert_eq!(place(&[("a", 2)], &["a"], &["a"]), (to("a"), 0), "b is gone");
        assert_eq!(place(&[("a", 2), ("b", 1)], &["a", "b"], &["a", "b"]), (to("a"), 0));
    }
}
