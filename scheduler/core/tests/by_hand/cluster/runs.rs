//! What nodes run, and what they report of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wrun_core::{Effect, Fact, Input};
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::worker::{Assignment, Grant, Report, TaskResult};
use wrun_protocol::{AttemptId, IndexRange, JobId, NodeId, Timestamp};

use super::{BEGIN, Cluster, run, started};

/// A node was told to start these.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) at: Timestamp,
    pub(crate) node: u64,
    pub(crate) tasks: Assignment,
    pub(crate) grant: Grant,
}

impl Cluster {
    pub(super) fn note_starts(&mut self, effects: &[Effect]) {
        for (node, tasks, grant) in started(effects) {
            self.open.insert(self.starts.len());
            self.starts.push(Start { at: self.now, node, tasks, grant });
        }
    }

    /// The tasks of the job last so many seconds, and then succeed.
    pub(super) fn last(&mut self, job: JobId, seconds: u64) {
        self.lasts.insert(job, Duration::from_secs(seconds));
    }

    /// The next that ends by itself: when, and its place in `starts`.
    pub(super) fn next_end(&mut self) -> Option<(Timestamp, usize)> {
        let gone: Vec<usize> =
            self.open.iter().copied().filter(|start| self.still_has(*start).is_empty()).collect();
        gone.iter().for_each(|start| {
            self.open.remove(start);
        });
        let ends = self.open.iter().filter_map(|start| {
            let Start { at, tasks, .. } = &self.starts[*start];
            Some((at.after(*self.lasts.get(&tasks.job)?), *start))
        });
        ends.min()
    }

    /// Those tasks of a start that the node still has.
    fn still_has(&self, start: usize) -> Vec<Assignment> {
        let Start { node, tasks, .. } = &self.starts[start];
        let has = |index: &u32| {
            let place = self.core.task_location(tasks.job.task(*index));
            place.is_some_and(|(on, attempt, _)| (on.0, attempt) == (*node, tasks.attempt))
        };
        runs(*tasks, tasks.tasks.indices().filter(has))
    }

    pub(super) fn end_start(&mut self, start: usize) {
        self.open.remove(&start);
        let Start { at, node, .. } = self.starts[start];
        let usage = wall(self.now.since(at));
        for tasks in self.still_has(start) {
            self.report(node, Report::Succeeded { tasks, usage });
        }
    }

    /// What a node reports.
    pub(crate) fn report(&mut self, node: u64, report: Report) -> Vec<Effect> {
        self.report_all(node, vec![report])
    }

    fn report_all(&mut self, node: u64, reports: Vec<Report>) -> Vec<Effect> {
        let next = self.reports.entry(node).or_insert(1);
        let first = *next;
        *next += reports.len() as u64;
        self.handle(Input::Reports { node: NodeId(node), first, reports })
    }

    /// Tasks succeed after ten seconds of their own clock.
    pub(crate) fn succeed(&mut self, node: u64, tasks: Assignment) -> Vec<Effect> {
        let usage = wall(Duration::from_secs(10));
        self.report(node, Report::Succeeded { tasks, usage })
    }

    pub(crate) fn fail(&mut self, node: u64, job: u64, index: u32, attempt: u32) -> Vec<Effect> {
        let outcome = Outcome::Failed(Failure::Exit { code: 3 });
        self.end(node, JobId(job).task(index).attempt(attempt), outcome)
    }

    pub(crate) fn end(&mut self, node: u64, attempt: AttemptId, outcome: Outcome) -> Vec<Effect> {
        let result = TaskResult { outcome, usage: Usage::default(), output: None, log: None };
        self.report(node, Report::Ended { attempt, result: Box::new(result) })
    }

    /// An attempt stopped as it was told.
    pub(crate) fn preempted(
        &mut self,
        node: u64,
        job: u64,
        index: u32,
        attempt: u32,
    ) -> Vec<Effect> {
        let attempt = JobId(job).task(index).attempt(attempt);
        self.report(node, Report::Preempted { attempt, usage: Usage::default() })
    }

    /// All that runs of a job succeeds.
    pub(crate) fn finish(&mut self, job: JobId) {
        let mut placed: BTreeMap<(u64, u32), Vec<u32>> = BTreeMap::new();
        for task in self.core.tasks(job, 0, 1000, None) {
            if let Some(node) = task.node {
                placed.entry((node.0, task.attempts)).or_default().push(task.index);
            }
        }
        let usage = wall(Duration::from_secs(10));
        for ((node, attempt), indices) in placed {
            let tasks = runs(run(job.0, attempt, 0, 0), indices.into_iter());
            let reports = tasks.into_iter().map(|tasks| Report::Succeeded { tasks, usage });
            self.report_all(node, reports.collect());
        }
    }

    /// Where tasks of the job are: how many on which node.
    pub(crate) fn places(&self, job: JobId) -> Vec<(u64, u32)> {
        let mut places: BTreeMap<u64, u32> = BTreeMap::new();
        let nodes = self.core.tasks(job, 0, 1000, None).into_iter().filter_map(|task| task.node);
        nodes.for_each(|node| *places.entry(node.0).or_default() += 1);
        places.into_iter().collect()
    }

    /// What was started: seconds since the begin, job and count.
    pub(crate) fn schedule(&self) -> Vec<(u64, u64, u32)> {
        let start =
            |of: &Start| (of.at.since(BEGIN).as_secs(), of.tasks.job.0, of.tasks.tasks.count);
        self.starts.iter().map(start).collect()
    }

    /// In which order jobs started.
    pub(crate) fn order(&self) -> Vec<u64> {
        self.starts.iter().map(|start| start.tasks.job.0).collect()
    }

    /// Jobs of which tasks were told to stop.
    pub(crate) fn noticed(&self) -> BTreeSet<JobId> {
        let noticed = self.journal.iter().filter_map(|fact| match fact {
            Fact::Noticed { attempt, .. } => Some(attempt.task.job),
            _ => None,
        });
        noticed.collect()
    }
}

fn wall(time: Duration) -> Usage {
    Usage { wall_us: time.as_micros() as u64, ..Usage::default() }
}

/// Assignments of these indices, in order, as few as it takes.
fn runs(of: Assignment, indices: impl Iterator<Item = u32>) -> Vec<Assignment> {
    let mut runs: Vec<Assignment> = Vec::new();
    for index in indices {
        match runs.last_mut() {
            Some(last) if last.tasks.first + last.tasks.count == index => last.tasks.count += 1,
            _ => runs.push(Assignment { tasks: IndexRange::one(index), ..of }),
        }
    }
    runs
}
