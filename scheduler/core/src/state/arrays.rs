//! How facts that concern some tasks of an array change the state.

use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId};

use super::State;
use super::jobs::{Array, Over, Tasks};
use crate::fact::Remembered;

impl State {
    /// Tasks that had not ended are cancelled.
    pub(super) fn cancel_tasks(
        &mut self,
        id: JobId,
        tasks: &[IndexRange],
        ends_job: Option<JobState>,
    ) {
        if ends_job.is_some() {
            self.keep_ended(id);
        }
        tasks.iter().for_each(|tasks| self.cancel_range(id, *tasks));
        if let Some(state) = ends_job {
            self.drop_job(id, state);
        }
    }

    fn cancel_range(&mut self, id: JobId, tasks: IndexRange) {
        let Some(Tasks::Many(array)) = self.jobs.get(id).map(|job| &job.tasks) else { return };
        for (run, spot) in array.placed.within(id, tasks) {
            let count = self.take_placed(spot.node, run);
            self.note_cancelled(id, &[run], count);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        let Tasks::Many(array) = &mut job.tasks else { return };
        let runs = array.take_pending(id, tasks);
        let count: u32 = runs.iter().map(|run| run.tasks.count).sum();
        array.counts.pending -= count;
        self.groups.set_ready(job.group, id, was_ready, job.ready_tasks());
        self.note_cancelled(id, &runs, count);
        self.dependents.on_tasks_ended(id, tasks);
        self.forget_extras(id, tasks);
    }

    /// Tasks that wait have succeeded without having been placed.
    pub(super) fn remember(&mut self, id: JobId, tasks: &[Remembered], ends_job: Option<JobState>) {
        if ends_job.is_some() {
            self.keep_ended(id);
        }
        tasks.iter().for_each(|task| self.remember_one(id, task.index));
        if let Some(state) = ends_job {
            self.drop_job(id, state);
        }
    }

    fn remember_one(&mut self, id: JobId, index: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        // The only task of a job goes with the job.
        let Tasks::Many(array) = &mut job.tasks else { return };
        let tasks = IndexRange::one(index);
        let count: u32 = array.take_pending(id, tasks).iter().map(|run| run.tasks.count).sum();
        array.counts.pending -= count;
        array.counts.succeeded += count;
        let (group, ready) = (job.group, job.ready_tasks());
        self.groups.set_ready(group, id, was_ready, ready);
        self.count_live(group, 0, count.into());
        self.dependents.on_tasks_ended(id, tasks);
    }

    /// Attempts that are in none of the sets any more count as cancelled.
    fn note_cancelled(&mut self, id: JobId, runs: &[Assignment], count: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Tasks::Many(array) = &mut job.tasks else { return };
        array.counts.cancelled += count;
        runs.iter().for_each(|run| array.over.insert(*run, Over::Cancelled));
        let group = job.group;
        self.count_live(group, 0, count.into());
    }

    /// Tasks that had ended wait again.
    pub(super) fn retry_tasks(&mut self, tasks: Assignment) {
        let Some(job) = self.jobs.get_mut(tasks.job) else { return };
        let was_ready = job.ready_tasks();
        let Tasks::Many(array) = &mut job.tasks else { return };
        let mut runs = Vec::new();
        array.over.take(tasks, |run, over| runs.push((run, over)));
        let mut count = 0;
        for (run, over) in runs {
            count += run.tasks.count;
            *array.counted(over) -= run.tasks.count;
            array.ready.insert(run, ());
        }
        array.counts.pending += count;
        if array.counts.failed == 0 {
            array.failure = None;
        }
        self.groups.set_ready(job.group, tasks.job, was_ready, job.ready_tasks());
        let group = job.group;
        self.count_live(group, count.into(), 0);
    }

    /// At most `most` tasks of the job are placed at once from now on; 0 is without bound.
    pub(super) fn bound_running(&mut self, id: JobId, most: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        if let Tasks::Many(array) = &mut job.tasks {
            array.max_running = most;
        }
        self.groups.set_ready(job.group, id, was_ready, job.ready_tasks());
    }
}

impl Array {
    /// Takes those of `tasks` out that are not placed and have not ended.
    pub(super) fn take_pending(&mut self, id: JobId, tasks: IndexRange) -> Vec<Assignment> {
        let mut taken = Vec::new();
        self.ready.take_all(id, tasks, |run, ()| taken.push(run));
        self.waiting.take_all(id, tasks, |run, ()| taken.push(run));
        while let Some((index, attempt)) = self.delayed.range(tasks.indices()).next() {
            let (index, attempt) = (*index, *attempt);
            self.delayed.remove(&index);
            taken.push(Assignment { job: id, attempt, tasks: IndexRange::one(index) });
        }
        taken
    }

    /// The part of `tasks` that has not ended, with last attempts; in no particular order.
    pub(crate) fn live_within(&self, id: JobId, tasks: IndexRange) -> Vec<Assignment> {
        let placed = self.placed.within(id, tasks).into_iter().map(|(run, _)| run);
        let ready = self.ready.within(id, tasks).into_iter().map(|(run, ())| run);
        let waiting = self.waiting.within(id, tasks).into_iter().map(|(run, ())| run);
        let delayed = self.delayed.range(tasks.indices()).map(|(index, attempt)| Assignment {
            job: id,
            attempt: *attempt,
            tasks: IndexRange::one(*index),
        });
        placed.chain(ready).chain(waiting).chain(delayed).collect()
    }

    fn counted(&mut self, over: Over) -> &mut u32 {
        match over {
            Over::Succeeded => &mut self.counts.succeeded,
            Over::Failed => &mut self.counts.failed,
            Over::Cancelled => &mut self.counts.cancelled,
        }
    }
}
