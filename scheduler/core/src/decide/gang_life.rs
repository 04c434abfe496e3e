//! The life of a gang after it was placed: its tasks stand and fall together. Where one is
//! lost or fails and may run again, the others are stopped, those that ended well begin
//! anew too, and the gang is placed as a whole when all are back. Where one fails for good,
//! the others are cancelled.

use std::time::Duration;

use wrun_protocol::job::RetryPolicy;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{IndexRange, JobId};

use super::MAX_BATCH;
use super::array::joined;
use crate::core::Core;
use crate::fact::{Fact, RequeueCause};
use crate::state::jobs::{Array, NodeIx, Over, Tasks};

/// Every index there can be.
const ALL: IndexRange = IndexRange { first: 0, count: u32::MAX };

impl Core {
    /// Looks after every gang that lost a task since it was looked at.
    pub(crate) fn mend_gangs(&mut self) {
        while let Some(job) = self.state.broken_gangs.pop_first() {
            self.mend_gang(job);
        }
    }

    /// After a restart: the journal may end between the parts of a placement, or before
    /// what followed from a loss.
    pub(crate) fn doubt_gangs(&mut self) {
        let gangs = self.state.groups.in_order().filter(|group| {
            let wishes = self.state.groups.get(*group).and_then(|group| group.key.wishes.as_ref());
            wishes.is_some_and(|wishes| wishes.gang > 1)
        });
        let gangs: Vec<_> = gangs.collect();
        if !gangs.is_empty() {
            let jobs = self.state.jobs.iter().filter(|(_, job)| gangs.contains(&job.group));
            self.state.broken_gangs = jobs.map(|(id, _)| id).collect();
        }
        self.mend_gangs();
    }

    fn mend_gang(&mut self, id: JobId) {
        let Some(array) = self.gang(id) else { return };
        if array.counts.failed + array.counts.cancelled > 0 {
            let live = joined(array.live_within(id, ALL));
            if !live.is_empty() {
                self.cancel_live(id, live);
            }
            return;
        }
        if array.counts.pending == 0 {
            return;
        }
        // Those with a notice stop by themselves, and may need the time to save what they have.
        let placed = array.placed.iter().flat_map(|(run, spot)| {
            let tasks = run.tasks.indices().map(move |index| (index, run));
            tasks.map(move |(index, run)| (spot.node, run, index))
        });
        let unaware = placed
            .filter(|(_, run, index)| !self.state.noticed.contains_key(&run.job.task(*index)))
            .map(|(ix, run, index)| (ix, Assignment { tasks: IndexRange::one(index), ..run }));
        let placed: Vec<(NodeIx, Assignment)> = unaware.collect();
        let over = array.over.iter().filter(|(_, over)| *over == Over::Succeeded);
        let over: Vec<Assignment> = over.map(|(run, _)| run).collect();
        for batch in over.chunks(MAX_BATCH) {
            self.append(Fact::TasksRetried { at: self.now, tasks: batch.to_vec() });
        }
        self.give_notice(&placed, Duration::ZERO, RequeueCause::Gang);
        self.job_changed(id);
    }

    /// Whether the job is a gang some of whose tasks are back already: what becomes of the
    /// others was decided with the first.
    pub(crate) fn is_broken_gang(&self, id: JobId) -> bool {
        self.gang(id).is_some_and(|array| array.counts.pending > 0)
    }

    /// Retries that a task has used up; a gang's tasks use up theirs together.
    pub(crate) fn retries_spent(&self, task: wrun_protocol::TaskId) -> u32 {
        match self.gang(task.job) {
            None => self.state.extras.get(&task).map_or(0, |extra| extra.retries),
            Some(_) => self.gang_extras(task.job).map(|extra| extra.retries).sum(),
        }
    }

    /// Whether a gang has lost nodes as often as it may. `None` if the job is none.
    pub(crate) fn gang_exhausted(&self, id: JobId, policy: &RetryPolicy) -> Option<bool> {
        self.gang(id)?;
        let spent: u32 = self.gang_extras(id).map(|extra| extra.requeues).sum();
        Some(spent >= policy.requeues)
    }

    fn gang_extras(&self, id: JobId) -> impl Iterator<Item = &crate::state::jobs::Extra> {
        self.state.extras.range(id.task(0)..=id.task(u32::MAX)).map(|(_, extra)| extra)
    }

    fn gang(&self, id: JobId) -> Option<&Array> {
        match &self.state.jobs.get(id)?.tasks {
            Tasks::Many(array) if array.gang => Some(array),
            _ => None,
        }
    }
}
