//! From a round's plan to facts and messages: per node one fact, then what the worker
//! needs to know of the jobs, then the assignments. A node at a time, when what was said of the
//! one before has been taken: a round may place a million tasks, and what is said of them is
//! many times as large as the plan.

use std::collections::BTreeMap;

use wrun_protocol::wire::worker::{Assignment, Grant, ToWorker};
use wrun_protocol::{IndexRange, JobId};

use super::MAX_BATCH;
use super::place::{GangParts, Plan};
use crate::core::Core;
use crate::fact::Fact;
use crate::state::groups::GroupIx;
use crate::state::jobs::{NodeIx, Tasks};
use crate::state::nodes::node_id;

/// What a round has decided, and applied, and not yet said.
#[derive(Debug)]
pub(crate) struct Dispatching {
    /// In order of nodes.
    plan: Plan,
    /// Where in it the next node's tasks begin.
    next: usize,
    /// Groups that found no room in the round.
    blocked: Vec<GroupIx>,
    /// A node's tasks: its memory serves the next.
    tasks: Vec<Assignment>,
}

impl Dispatching {
    pub(crate) fn new(plan: Plan, blocked: Vec<GroupIx>) -> Self {
        Self { plan, next: 0, blocked, tasks: Vec::new() }
    }

    /// The next node, whose tasks it gathers.
    fn next_node(&mut self) -> Option<NodeIx> {
        let rest = self.plan.get(self.next..)?;
        let (ix, _) = *rest.first()?;
        self.tasks.clear();
        for (_, run) in rest.iter().take_while(|(of, _)| *of == ix) {
            push_joined(&mut self.tasks, *run);
            self.next += 1;
        }
        Some(ix)
    }
}

impl Core {
    /// Says what is for the next node of the round. After the last one, what follows from the
    /// round is decided: nothing else may have changed since.
    pub(crate) fn dispatch_next(&mut self) {
        let Some(mut round) = self.dispatching.take() else { return };
        let Some(ix) = round.next_node() else {
            self.preempt_for(&round.blocked);
            return self.settle();
        };
        for batch in round.tasks.chunks(MAX_BATCH) {
            let (at, node) = (self.now, node_id(ix));
            self.append_applied(Fact::Placed { at, node, tasks: batch.to_vec() });
            self.send_assignments(ix, batch);
        }
        self.dispatching = Some(round);
    }

    /// What is held apart comes first, as it would otherwise seem free to what only waits
    /// on the node when the facts are read again; gangs, which never wait there, follow.
    pub(crate) fn dispatch_apart(
        &mut self,
        grants: BTreeMap<NodeIx, Vec<(Assignment, Grant)>>,
        gangs: Vec<GangParts>,
    ) {
        for (ix, tasks) in grants {
            for tasks in tasks.chunks(MAX_BATCH).map(<[_]>::to_vec) {
                let (at, node) = (self.now, node_id(ix));
                self.append_applied(Fact::PlacedWith { at, node, tasks: tasks.clone() });
                self.send_grants(ix, tasks);
            }
        }
        gangs.into_iter().for_each(|parts| self.dispatch_gang(parts));
    }

    /// One fact for the whole gang, so that no part of it is ever recorded, or starts,
    /// without the others.
    fn dispatch_gang(&mut self, parts: GangParts) {
        let recorded = parts.iter().map(|(ix, tasks, grant)| (node_id(*ix), *tasks, grant.clone()));
        self.append_applied(Fact::GangPlaced { at: self.now, parts: recorded.collect() });
        self.tell_members(parts.iter().map(|(_, tasks, _)| tasks));
        let mut plain: BTreeMap<NodeIx, Vec<Assignment>> = BTreeMap::new();
        let mut granted: BTreeMap<NodeIx, Vec<(Assignment, Grant)>> = BTreeMap::new();
        for (ix, tasks, grant) in parts {
            match grant {
                None => plain.entry(ix).or_default().push(tasks),
                Some(grant) => granted.entry(ix).or_default().push((tasks, grant)),
            }
        }
        granted.into_iter().for_each(|(ix, tasks)| self.send_grants(ix, tasks));
        plain.into_iter().for_each(|(ix, tasks)| self.send_assignments(ix, &tasks));
    }

    fn send_assignments(&mut self, ix: NodeIx, tasks: &[Assignment]) {
        for run in tasks {
            self.job_changed(run.job);
            self.send_job(ix, run.job);
        }
        if self.state.extras.is_empty() {
            self.send(ix, ToWorker::Assign(tasks.to_vec()));
        } else {
            self.send_with_checkpoints(ix, tasks);
        }
        for run in tasks {
            self.send_forget_single(ix, run.job);
        }
    }

    /// Sends the job's specification where the worker does not have it.
    pub(crate) fn send_job(&mut self, ix: NodeIx, id: JobId) {
        let Some(job) = self.state.jobs.get_mut(id) else { return };
        let Some(node) = self.state.nodes.get_mut(ix) else { return };
        if let Tasks::Many(array) = &mut job.tasks {
            if !node.session.known.insert(id) {
                return;
            }
            array.known_on.insert(ix);
        }
        let tenant = self.state.groups.get(job.group).map(|group| group.key.tenant);
        let tenant = tenant.and_then(|tenant| self.state.tenants.get(tenant));
        if let Some(tenant) = tenant.map(|tenant| tenant.name.clone()) {
            let kind = job.kind;
            let Some(spec) = self.state.encoded_spec_of(id) else { return };
            self.send(ix, ToWorker::Job { job: id, tenant, kind, spec });
        }
    }

    /// Nothing more can come of a job of one task that was assigned, as far as can be known.
    fn send_forget_single(&mut self, ix: NodeIx, id: JobId) {
        if self.state.jobs.get(id).is_some_and(|job| matches!(job.tasks, Tasks::One(_))) {
            self.send(ix, ToWorker::Forget(id));
        }
    }

    /// Tells the worker what runs with what. A task that saved a checkpoint goes on from it.
    fn send_grants(&mut self, ix: NodeIx, tasks: Vec<(Assignment, Grant)>) {
        for (tasks, grant) in tasks {
            self.job_changed(tasks.job);
            self.send_job(ix, tasks.job);
            let task = tasks.job.task(tasks.tasks.first);
            let saved = self.state.extras.get(&task).filter(|_| tasks.tasks.count == 1);
            let message = match saved.and_then(|extra| extra.checkpoint.as_deref()) {
                Some(checkpoint) => ToWorker::ResumeWith {
                    attempt: task.attempt(tasks.attempt),
                    checkpoint: checkpoint.clone(),
                    grant,
                },
                None => ToWorker::AssignWith { tasks, grant },
            };
            self.send(ix, message);
            self.send_forget_single(ix, tasks.job);
        }
    }

    /// Tasks that saved a checkpoint are resumed from it, the others assigned, in order.
    fn send_with_checkpoints(&mut self, ix: NodeIx, tasks: &[Assignment]) {
        let mut plain = Vec::new();
        for run in tasks {
            let mut from = run.tasks.first;
            let range = run.job.task(from)..run.job.task(run.tasks.end());
            let saved =
                self.state.extras.range(range).filter_map(|(task, extra)| {
                    Some((*task, extra.checkpoint.as_deref()?.clone()))
                });
            for (task, checkpoint) in saved.collect::<Vec<_>>() {
                push_until(&mut plain, *run, from, task.index);
                from = task.index + 1;
                if !plain.is_empty() {
                    self.send(ix, ToWorker::Assign(std::mem::take(&mut plain)));
                }
                let attempt = task.attempt(run.attempt);
                self.send(ix, ToWorker::Resume { attempt, checkpoint });
            }
            push_until(&mut plain, *run, from, run.tasks.end());
        }
        if !plain.is_empty() {
            self.send(ix, ToWorker::Assign(plain));
        }
    }
}

fn push_until(runs: &mut Vec<Assignment>, run: Assignment, from: u32, to: u32) {
    if from < to {
        runs.push(Assignment { tasks: IndexRange { first: from, count: to - from }, ..run });
    }
}

/// Appends, joining what continues the last run.
fn push_joined(runs: &mut Vec<Assignment>, next: Assignment) {
    if let Some(last) = runs.last_mut()
        && (last.job, last.attempt, last.tasks.end()) == (next.job, next.attempt, next.tasks.first)
    {
        last.tasks = IndexRange { count: last.tasks.count + next.tasks.count, ..last.tasks };
    } else {
        runs.push(next);
    }
}
