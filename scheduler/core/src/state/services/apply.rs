//! How facts of services, and those of tasks that are replicas, change the state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wrun_protocol::job::JobSpec;
use wrun_protocol::service::ServiceId;
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::service::{Readied, ScaleTo, ScaledBy, ServiceHappened};
use wrun_protocol::wire::worker::{Assignment, TaskResult};
use wrun_protocol::{AttemptId, IndexRange, JobId, TaskId, Timestamp};

use super::{Health, Replica, Revision, Service, Services};
use crate::fact::Fact;
use crate::rollout::Progress;
use crate::state::State;
use crate::state::apply::{Submitted, alone};
use crate::state::jobs::{NodeIx, Tasks, add_usage};
use crate::state::nodes::node_ix;

impl State {
    /// A fact about a service.
    pub(in crate::state) fn apply_to_service(&mut self, fact: &Fact) {
        match fact {
            Fact::ServiceDeployed { at, service, revision, job, id, kind, spec } => {
                let Ok(decoded) = spec.decode() else { return };
                let (at, job, id, kind) = (*at, *job, *id, *kind);
                let submitted = Submitted { at, job, tenant: &service.tenant, id, kind, spec };
                self.deploy(service, *revision, submitted, decoded);
            }
            Fact::ServiceUndeployed { service, .. } => {
                if let Some(entry) = self.services.get_mut(service) {
                    entry.stopping = true;
                    self.services.doubt(service);
                    self.services.changed.insert(service.clone());
                }
            }
            Fact::ServiceScaleSet { service, to, .. } => {
                if let Some(entry) = self.services.get_mut(service) {
                    entry.scale = Some(*to).filter(|to| *to != ScaleTo::Specified);
                    self.services.doubt(service);
                }
            }
            Fact::ServiceScaled { at, service, to, why } => {
                self.services.scale(*at, service, *to, *why);
            }
            Fact::RolloutMoved { service, step, reached, paused, .. } => {
                let (step, reached, paused) = (*step, *reached, *paused);
                let progress = Progress { step, reached, paused, back: false };
                self.services.move_on(service, progress);
            }
            Fact::RolledOut { at, service, .. } => self.services.roll_out(*at, service),
            Fact::RolledBack { at, service, to, why } => {
                self.services.roll_back(*at, service, *to, *why);
            }
            Fact::ReplicasWoken { job, replicas, .. } => self.wake(*job, replicas),
            Fact::ReplicasSlept { job, replicas, .. } => {
                replicas.iter().for_each(|replicas| self.put_to_sleep(*job, *replicas));
            }
            Fact::ReplicaReadied { node, attempt, state, .. }
                if self.holds(node_ix(*node), attempt.task, attempt.attempt) =>
            {
                self.services.set_health(attempt.task, state);
            }
            Fact::ReplicaDraining { node, attempt, until, .. }
                if self.holds(node_ix(*node), attempt.task, attempt.attempt) =>
            {
                self.services.drain(attempt.task, *until);
            }
            _ => {}
        }
    }

    /// A service was deployed; `decoded` is its specification.
    pub(crate) fn deploy(
        &mut self,
        service: &ServiceId,
        revision: u32,
        submitted: Submitted<'_>,
        decoded: JobSpec,
    ) {
        let Some(spec) = decoded.service.clone() else { return };
        let (at, job) = (submitted.at, submitted.job);
        self.submit(submitted, decoded);
        let new = Revision::new(job, at, Arc::from(spec));
        self.services.enter(at, service, revision, new);
    }

    fn wake(&mut self, id: JobId, replicas: &[IndexRange]) {
        let Some(revision) = self.services.revision_mut(id) else { return };
        let mut woken = Vec::new();
        for range in replicas {
            revision.asleep.take_all(id, *range, |run, ()| woken.push(run));
        }
        let indices = woken.iter().flat_map(|run| run.tasks.indices());
        revision.replicas.extend(indices.map(|index| (index, Replica::default())));
        let count: u32 = woken.iter().map(|run| run.tasks.count).sum();
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        if let Tasks::Many(array) = &mut job.tasks {
            woken.into_iter().for_each(|run| array.ready.insert(run, ()));
            array.counts.pending += count;
        }
        let (group, ready) = (job.group, job.ready_tasks());
        self.groups.set_ready(group, id, was_ready, ready);
        self.count_live(group, count.into(), 0);
        self.services.doubt_job(id);
    }

    fn put_to_sleep(&mut self, id: JobId, range: IndexRange) {
        let Some(Tasks::Many(array)) = self.jobs.get(id).map(|job| &job.tasks) else { return };
        let (mut runs, mut count) = (Vec::new(), 0);
        for (run, spot) in array.placed.within(id, range) {
            count += self.take_placed(spot.node, run);
            runs.push(run);
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        if let Tasks::Many(array) = &mut job.tasks {
            let pending = array.take_pending(id, range);
            let waited: u32 = pending.iter().map(|run| run.tasks.count).sum();
            array.counts.pending -= waited;
            count += waited;
            runs.extend(pending);
        }
        let (group, ready) = (job.group, job.ready_tasks());
        self.groups.set_ready(group, id, was_ready, ready);
        self.count_live(group, 0, count.into());
        self.forget_extras(id, range);
        self.services.doubt_job(id);
        let Some(revision) = self.services.revision_mut(id) else { return };
        revision.over.take_all(id, range, |run, ()| runs.push(run));
        for run in runs {
            run.tasks.indices().for_each(|index| _ = revision.replicas.remove(&index));
            revision.asleep.insert(run, ());
        }
    }

    /// An attempt of a replica has ended, and it is not started again.
    pub(in crate::state) fn rest(&mut self, attempt: AttemptId, result: &TaskResult) {
        let task = attempt.task;
        let Some(job) = self.jobs.get_mut(task.job) else { return };
        if let Tasks::Many(array) = &mut job.tasks {
            add_usage(&mut array.usage, &result.usage);
        }
        let group = job.group;
        self.count_live(group, 0, 1);
        self.forget_extras(task.job, IndexRange::one(task.index));
        if let Some(revision) = self.services.revision_mut(task.job) {
            revision.replicas.remove(&task.index);
            revision.over.insert(alone(attempt), ());
        }
        self.services.note_end(self.at, task, &result.outcome);
    }

    /// Services with replicas on the node are to be looked at.
    pub(crate) fn doubt_services_on(&mut self, ix: NodeIx) {
        let Some(node) = self.nodes.get(ix).filter(|_| !self.services.is_empty()) else { return };
        let jobs = node.tasks.iter().map(|(run, _)| run.job);
        let jobs: Vec<JobId> = jobs.filter(|job| self.services.has_job(*job)).collect();
        jobs.into_iter().for_each(|job| self.services.doubt_job(job));
    }

    /// As a snapshot has them.
    pub(in crate::state) fn restore_services(&mut self, services: Services) {
        self.services = services;
        let mut of_job = BTreeMap::new();
        for (id, service) in &mut self.services.live {
            for (number, revision) in &mut service.revisions {
                of_job.insert(revision.job, (id.clone(), *number));
                let Some(job) = self.jobs.get_mut(revision.job) else { continue };
                let spec = job.spec.encoded().decode().ok().and_then(|spec| spec.service);
                if let Some(spec) = spec {
                    revision.spec = Arc::from(spec);
                }
                if let Tasks::Many(array) = &mut job.tasks {
                    array.count += revision.asleep.count() + revision.over.count();
                }
            }
        }
        self.services.of_job = of_job;
    }
}

impl Services {
    fn enter(&mut self, at: Timestamp, id: &ServiceId, number: u32, revision: Revision) {
        self.of_job.insert(revision.job, (id.clone(), number));
        let service = self.live.entry(id.clone()).or_insert_with(|| Service {
            revisions: BTreeMap::new(),
            wanted: number,
            number: 0,
            scale: None,
            stopping: false,
            rollout: None,
            before: None,
            events: VecDeque::new(),
        });
        service.revisions.insert(number, revision);
        if std::mem::take(&mut service.stopping) {
            (service.scale, service.rollout, service.before) = (None, None, None);
        } else if service.wanted != number {
            service.begin_rollout();
        }
        service.wanted = number;
        service.note(at, ServiceHappened::Deployed { revision: number });
        self.due.insert(id.clone());
        self.changed.insert(id.clone());
    }

    fn scale(&mut self, at: Timestamp, id: &ServiceId, to: u32, why: ScaledBy) {
        let Some(service) = self.live.get_mut(id) else { return };
        let from = std::mem::replace(&mut service.number, to);
        service.note(at, ServiceHappened::Scaled { from, to, why });
        self.due.insert(id.clone());
    }

    fn set_health(&mut self, task: TaskId, state: &Readied) {
        let Some(revision) = self.revision_mut(task.job) else { return };
        let Some(replica) = revision.replicas.get_mut(&task.index) else { return };
        replica.health = match state {
            Readied::Ready => Health::Ready,
            Readied::NotReady { why } => Health::NotReady { why: why.clone() },
        };
        replica.late = false;
        revision.proven |= *state == Readied::Ready;
        self.tell_job(task.job);
    }

    fn drain(&mut self, task: TaskId, until: Timestamp) {
        let revision = self.revision_mut(task.job);
        if let Some(replica) = revision.and_then(|of| of.replicas.get_mut(&task.index)) {
            replica.drain = Some(until);
            self.tell_job(task.job);
        }
    }

    /// Attempts have left their node: what was known of them is void.
    pub(in crate::state) fn on_vacated(&mut self, tasks: Assignment) {
        let Some(revision) = self.revision_mut(tasks.job) else { return };
        let mut was_ready = false;
        for (_, replica) in revision.replicas.range_mut(tasks.tasks.indices()) {
            was_ready |= replica.is_ready();
            replica.health = Health::Starting;
            (replica.started, replica.drain) = (None, None);
        }
        match was_ready {
            true => self.tell_job(tasks.job),
            false => self.doubt_job(tasks.job),
        }
    }

    /// Attempts are known to run.
    pub(in crate::state) fn on_started(&mut self, at: Timestamp, tasks: Assignment) {
        if !self.has_job(tasks.job) {
            return;
        }
        let Some(revision) = self.revision_mut(tasks.job) else { return };
        for (_, replica) in revision.replicas.range_mut(tasks.tasks.indices()) {
            replica.started.get_or_insert(at);
        }
        self.doubt_job(tasks.job);
    }

    /// An attempt of a replica has ended, and it is started again.
    pub(in crate::state) fn on_restart(&mut self, task: TaskId, failures: u32, late: bool) {
        let revision = self.revision_mut(task.job);
        if let Some(replica) = revision.and_then(|of| of.replicas.get_mut(&task.index)) {
            (replica.failures, replica.late) = (failures, late);
        }
    }

    pub(in crate::state) fn note_end(&mut self, at: Timestamp, task: TaskId, outcome: &Outcome) {
        let Some((id, revision)) = self.of_job.get(&task.job) else { return };
        let stopped = *outcome == Outcome::Failed(Failure::Cancelled);
        let failed = !stopped && !outcome.is_success();
        let Some(service) = self.live.get_mut(id).filter(|_| failed) else { return };
        let (revision, index, outcome) = (*revision, task.index, outcome.clone());
        service.note(at, ServiceHappened::ReplicaFailed { revision, index, outcome });
    }

    /// A job has ended, whosever it was. A service goes with its last revision.
    pub(in crate::state) fn on_job_ended(&mut self, job: JobId) {
        let Some((id, number)) = self.of_job.remove(&job) else { return };
        let Some(service) = self.live.get_mut(&id) else { return };
        service.revisions.remove(&number);
        if service.revisions.is_empty() {
            self.live.remove(&id);
            self.due.remove(&id);
        }
        self.changed.insert(id);
    }
}
