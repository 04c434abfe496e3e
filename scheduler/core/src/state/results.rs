//! Jobs of which it is not known yet whether results of their tasks are remembered: such tasks
//! are not placed before that was looked up. A job as a whole has a gate for it; tasks that
//! waited for single ones of another job go on waiting when those have ended.

use wrun_protocol::{IndexRange, JobId};

use super::State;
use super::jobs::{Gates, One, Place, Tasks};
use super::span::Spans;

const ALL: IndexRange = IndexRange { first: 0, count: u32::MAX };

impl State {
    /// The job may have something to be looked up now: it is noted for those who ask.
    pub(super) fn doubt_results(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        if !job.gates.are_open_but(Gates::RESULTS) {
            return;
        }
        let elements = matches!(&job.tasks, Tasks::Many(array) if array.waiting.count() > 0);
        if job.gates.is_shut(Gates::RESULTS) || elements {
            self.unlooked.insert(id);
        }
    }

    /// Tasks of a job that nothing else keeps back and whose results were not looked up, in
    /// ascending order.
    pub(crate) fn unlooked_tasks(&self, id: JobId) -> Vec<IndexRange> {
        let Some(job) = self.jobs.get(id) else { return Vec::new() };
        if !job.gates.are_open_but(Gates::RESULTS) {
            return Vec::new();
        }
        let whole = job.gates.is_shut(Gates::RESULTS);
        match &job.tasks {
            Tasks::One(One { attempt: 0, place: Place::Ready }) if whole => {
                vec![IndexRange::one(0)]
            }
            Tasks::One(_) => Vec::new(),
            Tasks::Many(array) => {
                let mut tasks = Spans::default();
                array.waiting.iter().for_each(|(run, ())| tasks.insert(run, ()));
                if let Some(waits) = self.dependents.waits(id) {
                    for (run, ()) in waits.each.values().flat_map(Spans::iter) {
                        tasks.take_all(id, run.tasks, |_, ()| ());
                    }
                }
                let ready = array.ready.iter().filter(|(run, ())| whole && run.attempt == 0);
                ready.for_each(|(run, ())| tasks.insert(run, ()));
                tasks.within(id, ALL).into_iter().map(|(run, ())| run.tasks).collect()
            }
        }
    }

    /// They were looked up: what is not remembered may be placed.
    pub(super) fn release_looked_up(&mut self, id: JobId, tasks: &[IndexRange]) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        if let Tasks::Many(array) = &mut job.tasks {
            for tasks in tasks {
                array.waiting.take_all(id, *tasks, |run, ()| array.ready.insert(run, ()));
            }
        }
        job.gates.set(Gates::RESULTS, false);
        self.groups.set_ready(job.group, id, was_ready, job.ready_tasks());
        self.doubt_results(id);
    }
}
