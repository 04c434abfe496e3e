//! What the journal says, read in the most naive way: one entry per task. Every fact is
//! checked against it before it counts.

use std::collections::{BTreeMap, BTreeSet};

use wrun_core::fact::{Fact, Next};
use wrun_protocol::wire::user::{JobState, TaskCounts};
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobId, NodeId, SubmitId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Task {
    Pending,
    Placed(NodeId),
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) submit: SubmitId,
    pub(crate) tasks: Vec<(u32, Task)>,
    pub(crate) ended: Option<JobState>,
    pub(crate) max_running: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) live: BTreeSet<JobId>,
}

impl Model {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut model = Self::default();
        facts.iter().for_each(|fact| model.apply(fact));
        model
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::JobSubmitted { job, id, spec, .. } => {
                let spec = spec.decode().unwrap();
                let tasks = vec![(0, Task::Pending); spec.count as usize];
                let max_running = spec.scheduling.max_running;
                let fresh = Job { submit: *id, tasks, ended: None, max_running };
                assert!(self.jobs.insert(*job, fresh).is_none(), "job number used twice: {fact:?}");
                self.live.insert(*job);
            }
            Fact::Placed { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!(*task, Task::Pending, "placed, but not pending");
                assert!(attempt > *last, "attempt {attempt} after {last}");
                (*last, *task) = (attempt, Task::Placed(*node));
            }),
            Fact::Started { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
            }),
            Fact::Succeeded { node, tasks, .. } => {
                for success in tasks {
                    self.each(&[success.tasks], fact, |last, task, attempt| {
                        assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
                        *task = Task::Succeeded;
                    });
                    self.settle(success.tasks.job, success.ends_job);
                }
            }
            Fact::Ended { node, attempt, result, next, .. } => {
                let (id, success) = (attempt.task, result.outcome.is_success());
                let entry = &mut self.jobs.get_mut(&id.job).unwrap().tasks[id.index as usize];
                assert_eq!(*entry, (attempt.attempt, Task::Placed(*node)), "{fact:?}");
                entry.1 = match next {
                    Next::Retry { .. } => Task::Pending,
                    Next::Final { .. } if success => Task::Succeeded,
                    Next::Final { .. } => Task::Failed,
                };
                if let Next::Final { ends_job } = next {
                    self.settle(id.job, *ends_job);
                }
            }
            Fact::Requeued { node, tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert_eq!((*last, *task), (attempt, Task::Placed(*node)));
                *task = Task::Pending;
            }),
            Fact::TasksCancelled { job, tasks, ends_job, .. } => {
                let open = &mut self.jobs.get_mut(job).unwrap().tasks;
                for index in tasks.iter().flat_map(|tasks| tasks.indices()) {
                    let (_, task) = &mut open[index as usize];
                    assert!(matches!(task, Task::Pending | Task::Placed(_)), "{fact:?}");
                    *task = Task::Cancelled;
                }
                self.settle(*job, *ends_job);
            }
            Fact::TasksRetried { tasks, .. } => self.each(tasks, fact, |last, task, attempt| {
                assert!(matches!(task, Task::Failed | Task::Cancelled), "{fact:?}");
                assert_eq!(*last, attempt);
                *task = Task::Pending;
            }),
            Fact::JobCancelled { job, .. } => {
                let cancelled = self.jobs.get_mut(job).unwrap();
                assert_eq!(cancelled.ended.replace(JobState::Cancelled), None);
                self.live.remove(job);
            }
            _ => {}
        }
    }

    fn each(
        &mut self,
        runs: &[Assignment],
        fact: &Fact,
        mut with: impl FnMut(&mut u32, &mut Task, u32),
    ) {
        for run in runs {
            let job = self.jobs.get_mut(&run.job).unwrap_or_else(|| panic!("no job: {fact:?}"));
            assert_eq!(job.ended, None, "a fact of a job that has ended: {fact:?}");
            for index in run.tasks.indices() {
                let (last, task) = &mut job.tasks[index as usize];
                with(last, task, run.attempt);
            }
        }
    }

    /// A task ended: the fact says so exactly when it was the last.
    fn settle(&mut self, id: JobId, said: Option<JobState>) {
        let job = self.jobs.get_mut(&id).unwrap();
        let open =
            job.tasks.iter().any(|(_, task)| matches!(task, Task::Pending | Task::Placed(_)));
        let failed = job.tasks.iter().any(|(_, task)| *task == Task::Failed);
        let cancelled = job.tasks.iter().any(|(_, task)| *task == Task::Cancelled);
        let state = match (failed, cancelled) {
            (true, _) => JobState::Failed,
            (false, true) => JobState::Cancelled,
            (false, false) => JobState::Succeeded,
        };
        let expected = (!open).then_some(state);
        assert_eq!(said, expected, "what the fact says of the end of job {id}");
        job.ended = expected;
        if expected.is_some() {
            self.live.remove(&id);
        }
    }

    pub(crate) fn counts(&self, id: JobId) -> TaskCounts {
        let mut counts = TaskCounts::default();
        for (_, task) in &self.jobs[&id].tasks {
            match task {
                Task::Pending => counts.pending += 1,
                Task::Placed(_) => counts.running += 1,
                Task::Succeeded => counts.succeeded += 1,
                Task::Failed => counts.failed += 1,
                Task::Cancelled => counts.cancelled += 1,
            }
        }
        counts
    }
}
