//! Why no task of a job can be placed for reasons that lie within the job itself.

use wrun_protocol::JobId;

use crate::reason::PendingReason;
use crate::state::State;
use crate::state::dependents::Waits;
use crate::state::jobs::{Gates, Job, Tasks};

impl State {
    /// What a user or the clock keeps back.
    fn shut_gate(&self, id: JobId, job: &Job) -> Option<PendingReason> {
        let times = self.times.get(&id).copied().unwrap_or_default();
        if job.gates.is_shut(Gates::HELD) {
            Some(PendingReason::Held)
        } else if job.gates.is_shut(Gates::DEADLINE) {
            Some(PendingReason::Deadline { deadline: times.deadline.unwrap_or_default() })
        } else if job.gates.is_shut(Gates::BEGIN) {
            Some(PendingReason::Begin { at: times.begin })
        } else {
            None
        }
    }

    /// What keeps back all tasks of a job that wait; `None` where some can be placed.
    pub(crate) fn kept_back(&self, id: JobId, job: &Job) -> Option<PendingReason> {
        if job.ready_tasks() > 0 {
            return None;
        }
        if let Some(reason) = self.shut_gate(id, job) {
            return Some(reason);
        }
        let waits = self.dependents.waits(id);
        if let Some(on) = waits.and_then(|waits| waits.whole.first()) {
            return Some(PendingReason::Dependency { on: *on });
        }
        if let Tasks::Many(array) = &job.tasks
            && array.max_running > 0
            && array.counts.running >= array.max_running
        {
            return Some(PendingReason::MaxRunning { most: array.max_running });
        }
        if job.gates.is_shut(Gates::RESULTS) || !self.unlooked_tasks(id).is_empty() {
            return Some(PendingReason::Results);
        }
        let extras = self.extras.range(id.task(0)..=id.task(u32::MAX));
        let delays = extras.map(|(_, extra)| extra.not_before).filter(|at| at.0 > 0);
        let delays: Vec<_> = delays.collect();
        if delays.is_empty()
            && let Some(on) = waits.and_then(Waits::first)
        {
            return Some(PendingReason::Dependency { on });
        }
        Some(PendingReason::BackOff { until: delays.into_iter().min().unwrap_or_default() })
    }
}
