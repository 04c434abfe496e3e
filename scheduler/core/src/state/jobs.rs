//! The jobs that have not ended, and where their tasks stand.
//!
//! A job of one task needs no allocation of its own; an array keeps runs of tasks. What few
//! tasks have (retries, checkpoints) is kept apart in [`Extra`]. Nothing here decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wrun_protocol::job::JobSpec;
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::user::{JobState, TaskCounts, TaskState};
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{IndexRange, JobId, TaskId, Timestamp};

use super::groups::GroupIx;
use super::span::Spans;
use super::spec::Spec;

/// A node's number in 32 bits: nodes are numbered by the core, from 1.
pub(crate) type NodeIx = u32;

/// A job that has not ended. It takes one line of memory, as it is far away when its turn
/// comes; the id of its submission stands apart, in [`super::register::Jobs`].
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Job {
    pub(crate) spec: Spec,
    pub(crate) submitted: Timestamp,
    /// When a task was first placed; zero before.
    pub(crate) started: Timestamp,
    pub(crate) group: GroupIx,
    pub(crate) kind: ComponentKind,
    pub(crate) gates: Gates,
    pub(crate) tasks: Tasks,
}

/// What keeps all tasks of a job from being placed. While any gate is shut the queue
/// counts none of them as ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gates(u8);

impl Gates {
    /// A job that it depends on has not come that far.
    pub(crate) const DEPENDENCY: Self = Self(1);
    /// A user holds it.
    pub(crate) const HELD: Self = Self(2);
    /// Its time has not come. Follows from the clock.
    pub(crate) const BEGIN: Self = Self(4);
    /// It would not end before its deadline. Follows from the clock.
    pub(crate) const DEADLINE: Self = Self(8);
    /// Whether results of its tasks are remembered was not looked up yet.
    pub(crate) const RESULTS: Self = Self(16);

    /// Whether nothing keeps the job back.
    pub(crate) fn are_open(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_shut(self, gate: Self) -> bool {
        self.0 & gate.0 != 0
    }

    /// Whether no other keeps the job back.
    pub(crate) fn are_open_but(self, gate: Self) -> bool {
        self.0 & !gate.0 == 0
    }

    /// Without those that follow from the clock.
    pub(crate) fn recorded(self) -> Self {
        Self(self.0 & !(Self::BEGIN.0 | Self::DEADLINE.0))
    }

    pub(crate) fn set(&mut self, gate: Self, shut: bool) {
        self.0 = if shut { self.0 | gate.0 } else { self.0 & !gate.0 };
    }
}

#[derive(Debug)]
pub(crate) enum Tasks {
    One(One),
    Many(Box<Array>),
}

/// The task of a job of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct One {
    /// The last attempt; 0 before the first.
    pub(crate) attempt: u32,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Ready,
    /// Failed, and waits for its back-off; also in `State::delays`.
    Delayed,
    On(Spot),
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) node: NodeIx,
    /// Known to have started.
    pub(crate) running: bool,
}

/// The tasks of an array. A task that is in none of the sets has ended well, or is a replica
/// that sleeps.
#[derive(Debug, Default)]
pub(crate) struct Array {
    pub(crate) count: u32,
    /// At most so many are placed at once; 0 is without bound.
    pub(crate) max_running: u32,
    /// All that have not ended are placed together or not at all.
    pub(crate) gang: bool,
    /// Tasks that can be placed, with their last attempt.
    pub(crate) ready: Spans<()>,
    /// Tasks that wait for their back-off, with their last attempt.
    pub(crate) delayed: BTreeMap<u32, u32>,
    /// Tasks that wait for the task of the same index of another job, with their last attempt.
    pub(crate) waiting: Spans<()>,
    pub(crate) placed: Spans<Spot>,
    /// Tasks that ended otherwise than well, with their last attempt. Of a gang, those that
    /// ended well too: it begins anew as a whole.
    pub(crate) over: Spans<Over>,
    pub(crate) counts: TaskCounts,
    pub(crate) usage: Usage,
    pub(crate) failure: Option<Outcome>,
    /// Nodes that were sent the job; some may have forgotten it since. Not recorded.
    pub(crate) known_on: std::collections::BTreeSet<NodeIx>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Over {
    Succeeded,
    Failed,
    Cancelled,
}

/// What only some tasks have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) retries: u32,
    pub(crate) requeues: u32,
    /// The end of the last back-off; zero without one.
    pub(crate) not_before: Timestamp,
    pub(crate) checkpoint: Option<Box<Content>>,
    /// Of the attempts that ended.
    pub(crate) usage: Usage,
    /// Of the last attempt that ended.
    pub(crate) outcome: Option<Box<Outcome>>,
}

impl Job {
    /// The tasks of a job none of whose tasks has been placed.
    pub(crate) fn tasks_of(job: JobId, spec: &JobSpec) -> Tasks {
        let count = spec.count;
        if count == 1 {
            return Tasks::One(One { attempt: 0, place: Place::Ready });
        }
        let max_running = spec.scheduling.max_running.unwrap_or(0);
        let mut array =
            Array { count, max_running, gang: spec.scheduling.gang, ..Array::default() };
        if spec.service.is_some() {
            // Its replicas sleep.
            return Tasks::Many(Box::new(array));
        }
        array.counts.pending = count;
        let tasks = IndexRange { first: 0, count };
        array.ready.insert(Assignment { job, attempt: 0, tasks }, ());
        Tasks::Many(Box::new(array))
    }

    /// Where its tasks stand when it ends like that: what had not ended is cancelled.
    pub(crate) fn final_counts(&self, state: JobState) -> TaskCounts {
        match &self.tasks {
            Tasks::One(_) => TaskCounts {
                succeeded: u32::from(state == JobState::Succeeded),
                failed: u32::from(state == JobState::Failed),
                cancelled: u32::from(state == JobState::Cancelled),
                ..TaskCounts::default()
            },
            Tasks::Many(array) => {
                let TaskCounts { succeeded, failed, .. } = array.counts;
                let cancelled = array.count.saturating_sub(succeeded + failed);
                TaskCounts { succeeded, failed, cancelled, ..TaskCounts::default() }
            }
        }
    }

    /// The next attempts that can be placed, at most `limit`.
    pub(crate) fn next_attempts(&self, job: JobId, limit: u32) -> Option<Assignment> {
        let mut next = match &self.tasks {
            Tasks::One(One { attempt, place: Place::Ready }) => {
                Assignment { job, attempt: *attempt, tasks: IndexRange::one(0) }
            }
            Tasks::One(_) => return None,
            Tasks::Many(array) => array.ready.first(limit.min(array.ready_tasks()))?,
        };
        if next.tasks.count == 0 {
            return None;
        }
        next.attempt += 1;
        Some(next)
    }

    /// Tasks that can be placed now.
    pub(crate) fn ready_tasks(&self) -> u32 {
        match &self.tasks {
            _ if !self.gates.are_open() => 0,
            Tasks::One(one) => u32::from(one.place == Place::Ready),
            Tasks::Many(array) => array.ready_tasks(),
        }
    }

    /// Tasks that have not ended.
    pub(crate) fn live_tasks(&self) -> u32 {
        match &self.tasks {
            Tasks::One(_) => 1,
            Tasks::Many(array) => array.counts.pending + array.counts.running,
        }
    }

    pub(crate) fn counts(&self) -> TaskCounts {
        match &self.tasks {
            Tasks::One(One { place: Place::On(_), .. }) => {
                TaskCounts { running: 1, ..TaskCounts::default() }
            }
            Tasks::One(_) => TaskCounts { pending: 1, ..TaskCounts::default() },
            Tasks::Many(array) => array.counts,
        }
    }

    /// Last attempt, place and state of a task that has not ended.
    pub(crate) fn task(&self, task: TaskId) -> Option<(u32, Option<Spot>)> {
        match &self.tasks {
            Tasks::One(one) if task.index == 0 => Some(match one.place {
                Place::On(spot) => (one.attempt, Some(spot)),
                Place::Ready | Place::Delayed => (one.attempt, None),
            }),
            Tasks::One(_) => None,
            Tasks::Many(array) => array
                .placed
                .get(task)
                .map(|(attempt, spot)| (attempt, Some(spot)))
                .or_else(|| array.ready.get(task).map(|(attempt, ())| (attempt, None)))
                .or_else(|| array.waiting.get(task).map(|(attempt, ())| (attempt, None)))
                .or_else(|| array.delayed.get(&task.index).map(|attempt| (*attempt, None))),
        }
    }
}

impl Array {
    /// Whether attempts run on that some tasks have lost: those of one placement have one
    /// number, so that a gang of which a part is placed already is told from a broken one.
    fn is_broken(&self) -> bool {
        match (self.placed.first(1), self.ready.first(1)) {
            (Some(placed), Some(ready)) => placed.attempt <= ready.attempt,
            _ => false,
        }
    }

    /// Tasks that can be placed now, by all that bounds them within the job.
    fn ready_tasks(&self) -> u32 {
        let kept_back = self.delayed.len() as u32 + self.waiting.count();
        if self.gang && (kept_back > 0 || self.is_broken()) {
            return 0;
        }
        let ready = self.counts.pending.saturating_sub(kept_back);
        match self.max_running {
            0 => ready,
            most => ready.min(most.saturating_sub(self.counts.running)),
        }
    }
}

/// The state that a place amounts to for users.
pub(crate) fn task_state(spot: Option<Spot>) -> TaskState {
    match spot {
        None => TaskState::Pending,
        Some(Spot { running: false, .. }) => TaskState::Assigned,
        Some(Spot { running: true, .. }) => TaskState::Running,
    }
}

/// Adds what another attempt used.
pub(crate) fn add_usage(sum: &mut Usage, more: &Usage) {
    sum.wall_us = sum.wall_us.saturating_add(more.wall_us);
    sum.cpu_us = sum.cpu_us.saturating_add(more.cpu_us);
    sum.frozen_us = sum.frozen_us.saturating_add(more.frozen_us);
    sum.peak_memory = sum.peak_memory.max(more.peak_memory);
}
