//! How each fact changes the state.

use wrun_protocol::job::{EncodedSpec, JobSpec};
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::user::JobState;
use wrun_protocol::wire::worker::{Assignment, ComponentKind, Grant, TaskResult};
use wrun_protocol::{AttemptId, IndexRange, JobId, SubmitId, TaskId, TenantName, Timestamp};

use super::State;
use super::changes::Times;
use super::dependents::Settled;
use super::groups::{GroupIx, GroupKey};
use super::jobs::{Gates, Job, NodeIx, One, Over, Place, Spot, Tasks, add_usage};
use super::nodes::{Node, node_ix};
use super::spec::Spec;
use super::stock::Holding;
use crate::fact::{Fact, Next, RequeueCause, Success};

/// A [`Fact::JobSubmitted`], by reference.
pub(crate) struct Submitted<'a> {
    pub(crate) at: Timestamp,
    pub(crate) job: JobId,
    pub(crate) tenant: &'a TenantName,
    pub(crate) id: SubmitId,
    pub(crate) kind: ComponentKind,
    pub(crate) spec: &'a EncodedSpec,
}

impl State {
    /// Makes the fact so.
    pub(crate) fn apply(&mut self, fact: &Fact) {
        self.at = self.at.max(fact.at());
        self.groups.accounts.set_now(fact.at());
        match fact {
            Fact::TokenCreated { hash, expires, at } => {
                self.tokens.retain(|_, expires| *expires > *at);
                self.tokens.insert(*hash, *expires);
            }
            Fact::NodeJoined { node, name, token, .. } => {
                self.tokens.remove(token);
                self.next_node = self.next_node.max(node.0 + 1);
                self.nodes.insert(node_ix(*node), Node::new(name.clone()));
            }
            Fact::NodeConnected { node, info, incarnation, .. } => {
                self.apply_connected(node_ix(*node), info, *incarnation);
            }
            Fact::NodeLost { node, .. } => {
                if let Some(node) = self.nodes.get_mut(node_ix(*node)) {
                    node.lost = true;
                }
                self.nodes.dirty.insert(node_ix(*node));
            }
            Fact::NodeDrained { node, drain, .. } => {
                if let Some(node) = self.nodes.get_mut(node_ix(*node)) {
                    node.drain = *drain;
                }
                self.doubt_services_on(node_ix(*node));
                self.nodes.dirty.insert(node_ix(*node));
            }
            Fact::NodeRemoved { node, .. } => self.nodes.remove(node_ix(*node)),
            Fact::JobSubmitted { .. } => self.apply_submitted(fact),
            Fact::Placed { at, node, tasks } => {
                tasks.iter().for_each(|tasks| self.place(*at, node_ix(*node), *tasks));
            }
            Fact::Started { at, node, tasks } => {
                tasks.iter().for_each(|tasks| self.mark_started(*at, node_ix(*node), *tasks));
            }
            Fact::Succeeded { node, tasks, .. } => {
                tasks.iter().for_each(|success| self.succeed(node_ix(*node), success));
            }
            Fact::Ended { node, attempt, result, next, .. } => {
                self.end(node_ix(*node), *attempt, result, *next);
            }
            Fact::Requeued { node, cause, tasks, .. } => {
                tasks.iter().for_each(|tasks| self.requeue(node_ix(*node), *cause, *tasks));
            }
            Fact::Checkpointed { attempt, content, .. } => self.checkpoint(*attempt, content),
            Fact::JobCancelled { job, .. } => {
                self.keep_ended(*job);
                self.drop_job(*job, JobState::Cancelled);
            }
            Fact::Reported { node, report, .. } => {
                if let Some(node) = self.nodes.get_mut(node_ix(*node)) {
                    node.next_report = report.saturating_add(1);
                }
            }
            Fact::TasksCancelled { job, tasks, ends_job, .. } => {
                self.cancel_tasks(*job, tasks, *ends_job);
            }
            Fact::Remembered { at, job, tasks, ends_job } => {
                self.start_job(*job, *at);
                self.remember(*job, tasks, *ends_job);
            }
            Fact::LookedUp { job, tasks, .. } => self.release_looked_up(*job, tasks),
            Fact::TasksRetried { tasks, .. } => {
                tasks.iter().for_each(|tasks| self.retry_tasks(*tasks));
            }
            Fact::PolicySet { policy, .. } => self.apply_policy(policy),
            Fact::NodeOffered { node, offer, .. } => {
                if let Some(node) = self.nodes.get_mut(node_ix(*node)) {
                    node.stock.set_offer(offer);
                }
                self.nodes.class(node_ix(*node), &self.groups.labels);
                self.nodes.dirty.insert(node_ix(*node));
            }
            Fact::PlacedWith { at, node, tasks } => {
                for (tasks, grant) in tasks {
                    self.place_with(*at, node_ix(*node), *tasks, grant);
                }
            }
            Fact::GangPlaced { at, parts } => {
                for (node, tasks, grant) in parts {
                    match grant {
                        None => self.place(*at, node_ix(*node), *tasks),
                        Some(grant) => self.place_with(*at, node_ix(*node), *tasks, grant),
                    }
                }
            }
            Fact::Frozen { at, node, tasks, frozen } => {
                tasks.iter().for_each(|run| self.freeze(*at, node_ix(*node), *run, *frozen));
            }
            Fact::Reserved { reservation, nodes, .. } => {
                self.reservations.insert(reservation, nodes);
            }
            Fact::Unreserved { name, .. } => self.reservations.remove(name),
            Fact::Noticed { node, attempt, until, .. } => {
                if self.holds(node_ix(*node), attempt.task, attempt.attempt) {
                    self.noticed.insert(attempt.task, *until);
                    self.forget_oldest(attempt.task);
                    self.services.tell_job(attempt.task.job);
                }
            }
            Fact::JobChanged { at, job, change } => self.change(*at, *job, change),
            Fact::DependencySettled { job, on, tasks, met, .. } => {
                self.settle(*job, Settled { on: *on, tasks: *tasks, met: *met });
            }
            Fact::ScheduleAdded { at, tenant, kind, schedule } => {
                self.schedules.add(*at, tenant, *kind, schedule);
                self.enter_models_of_schedule(tenant, schedule);
            }
            Fact::ScheduleRemoved { tenant, name, .. } => {
                let key = (tenant.clone(), name.clone());
                self.schedules.remove(&key);
                self.models.leave_schedule(&key);
            }
            Fact::SchedulePaused { at, tenant, name, paused } => {
                self.schedules.pause(&(tenant.clone(), name.clone()), *at, *paused);
            }
            Fact::ScheduleDue { tenant, name, due, run, .. } => {
                let live = run.as_ref().is_ok_and(|job| self.jobs.get(*job).is_some());
                self.schedules.was_due(&(tenant.clone(), name.clone()), *due, run, live);
            }
            Fact::WorkflowSubmitted { .. }
            | Fact::StepStarted { .. }
            | Fact::StepEnded { .. }
            | Fact::WorkflowCancelled { .. }
            | Fact::WorkflowEnded { .. } => self.apply_to_workflow(fact),
            Fact::ServiceDeployed { .. }
            | Fact::ServiceUndeployed { .. }
            | Fact::ServiceScaleSet { .. }
            | Fact::ServiceScaled { .. }
            | Fact::ReplicasWoken { .. }
            | Fact::ReplicasSlept { .. }
            | Fact::ReplicaReadied { .. }
            | Fact::ReplicaDraining { .. }
            | Fact::RolloutMoved { .. }
            | Fact::RolledOut { .. }
            | Fact::RolledBack { .. } => self.apply_to_service(fact),
            Fact::ModelPushed { .. } | Fact::ModelRemoved { .. } | Fact::ModelShared { .. } => {
                self.apply_to_model(fact);
            }
        }
    }

    fn apply_connected(
        &mut self,
        ix: NodeIx,
        info: &wrun_protocol::node::NodeInfo,
        incarnation: u64,
    ) {
        self.nodes.describe(ix, info);
        self.assign_partitions_of(ix);
        self.nodes.class(ix, &self.groups.labels);
        let Some(node) = self.nodes.get_mut(ix) else { return };
        node.lost = false;
        if node.incarnation != incarnation {
            node.incarnation = incarnation;
            node.next_report = 0;
        }
        node.loads.promote(&info.capacity, &mut self.groups);
        self.nodes.dirty.insert(ix);
    }

    fn apply_submitted(&mut self, fact: &Fact) {
        let Fact::JobSubmitted { at, job: id, tenant, id: submit, kind, spec } = fact else {
            return;
        };
        let Ok(decoded) = spec.decode() else { return };
        let submitted = Submitted { at: *at, job: *id, tenant, id: *submit, kind: *kind, spec };
        self.submit(submitted, decoded);
    }

    /// A job was accepted; `decoded` is its specification.
    pub(crate) fn submit(&mut self, submitted: Submitted<'_>, mut decoded: JobSpec) {
        let Submitted { at, job: id, tenant, id: submit, kind, spec } = submitted;
        let tasks = Job::tasks_of(id, &decoded);
        let mut job = Job {
            spec: Spec::default(),
            submitted: at,
            started: Timestamp(0),
            group: 0,
            kind,
            gates: Gates::default(),
            tasks,
        };
        if !decoded.scheduling.depends_on.is_empty() {
            self.enter_dependencies(id, &mut job, &decoded);
        }
        if !decoded.inference.models.is_empty() {
            self.models.enter_job(id, tenant, &decoded.inference);
        }
        let unlimited = decoded.limits.wall_ms.is_none();
        self.rules.resolve(tenant, &mut decoded);
        if let Some(limit) = decoded.limits.wall_ms.filter(|_| unlimited) {
            self.note_change(id, &JobChange::TimeLimit(Some(limit)));
        }
        job.gates.set(Gates::HELD, decoded.scheduling.hold);
        job.gates.set(Gates::RESULTS, decoded.scheduling.cache);
        let times = Times::of(&decoded);
        let tenant = self.tenants.enter(tenant);
        let group = self.enter_group(GroupKey::of(tenant, id, decoded));
        (job.group, job.spec) = (group, self.hold_spec(tenant, group, spec.as_bytes()));
        self.at = self.at.max(at);
        self.next_job = self.next_job.max(id.0 + 1);
        self.submits.enter(tenant, submit, id);
        self.count_live(group, job.live_tasks().into(), 0);
        let ready = job.ready_tasks();
        self.jobs.insert(id, job, submit);
        self.groups.set_ready(group, id, 0, ready);
        if times.is_some() {
            self.set_times(id, times);
        }
        self.doubt_results(id);
    }

    /// Attempts are given to a node; they hold the group's resources there, or wait for them.
    pub(crate) fn place(&mut self, at: Timestamp, ix: NodeIx, tasks: Assignment) {
        let Some((group, placed)) = self.enter_node(at, ix, tasks) else { return };
        let Some(node) = self.nodes.get_mut(ix) else { return };
        let capacity = node.capacity();
        node.loads.add(group, placed, &capacity, &mut self.groups);
        if let Some(group) = self.groups.get_mut(group) {
            group.on.insert(ix);
        }
    }

    /// Attempts are given to a node; each of them holds what is granted at once.
    pub(crate) fn place_with(
        &mut self,
        at: Timestamp,
        ix: NodeIx,
        tasks: Assignment,
        grant: &Grant,
    ) {
        let Some((group, _)) = self.enter_node(at, ix, tasks) else { return };
        let request = self.groups.get(group).and_then(|group| group.key.request(grant.request));
        let Some(request) = request else { return };
        for index in tasks.tasks.indices() {
            let (grant, request) = (grant.clone(), request.clone());
            let holding = Holding { attempt: tasks.attempt, grant, request };
            self.hold_apart(ix, group, tasks.job.task(index), holding);
        }
    }

    /// An attempt holds what was granted to it, besides what is counted by group.
    pub(super) fn hold_apart(
        &mut self,
        ix: NodeIx,
        group: GroupIx,
        task: TaskId,
        holding: Holding,
    ) {
        let Some(node) = self.nodes.get_mut(ix) else { return };
        self.groups.hold_apart(group, &holding.request);
        self.pools.take(task, &holding.request.devices);
        node.loads.hold_apart(&holding.request.resources);
        node.stock.hold(task, holding);
    }

    /// Attempts come to a node, in the job's books and in the node's list. Returns the
    /// group and how many tasks they are.
    fn enter_node(
        &mut self,
        at: Timestamp,
        ix: NodeIx,
        tasks: Assignment,
    ) -> Option<(GroupIx, u32)> {
        let job = self.jobs.get_mut(tasks.job)?;
        let node = self.nodes.get_mut(ix)?;
        let before = Assignment { attempt: tasks.attempt.saturating_sub(1), ..tasks };
        let spot = Spot { node: ix, running: false };
        let was_ready = job.ready_tasks();
        let mut placed = 0;
        match &mut job.tasks {
            Tasks::One(One { place: Place::On(_), .. }) => return None,
            Tasks::One(one) => {
                placed = 1;
                *one = One { attempt: tasks.attempt, place: Place::On(spot) };
            }
            Tasks::Many(array) => {
                array.ready.take(before, |run, ()| placed += run.tasks.count);
                if placed < tasks.tasks.count && !array.delayed.is_empty() {
                    for index in tasks.tasks.indices() {
                        placed += u32::from(array.delayed.remove(&index).is_some());
                    }
                }
                array.placed.insert(tasks, spot);
                array.counts.pending -= placed;
                array.counts.running += placed;
            }
        }
        let (group, ready) = (job.group, job.ready_tasks());
        if tasks.attempt > 1 {
            for (task, extra) in self
                .extras
                .range_mut(tasks.job.task(tasks.tasks.first)..tasks.job.task(tasks.tasks.end()))
            {
                self.delays.remove(&(extra.not_before, *task));
                extra.not_before = Timestamp(0);
            }
        }
        node.tasks.insert(tasks, at);
        node.task_count += placed;
        self.placed += u64::from(placed);
        self.groups.count_placed(group, placed);
        self.groups.set_ready(group, tasks.job, was_ready, ready);
        self.start_job(tasks.job, at);
        self.services.doubt_job(tasks.job);
        Some((group, placed))
    }

    /// The first task of a job is placed, or has succeeded without.
    fn start_job(&mut self, id: JobId, at: Timestamp) {
        if let Some(job) = self.jobs.get_mut(id)
            && job.started.0 == 0
        {
            job.started = at;
            self.dependents.on_started(id);
        }
    }

    /// Takes attempts off their node, in the node's own books.
    fn vacate(&mut self, ix: NodeIx, tasks: Assignment, running: u32) {
        let Some(group) = self.jobs.get(tasks.job).map(|job| job.group) else { return };
        let Some(node) = self.nodes.get_mut(ix) else { return };
        let mut count = 0;
        node.tasks.take(tasks, |run, _| count += run.tasks.count);
        if !node.session.recalled.is_empty() {
            for index in tasks.tasks.indices() {
                node.session.recalled.remove(&tasks.job.task(index));
            }
        }
        node.task_count -= count;
        self.placed -= u64::from(count);
        self.groups.count_vacated(group, count);
        let capacity = node.capacity();
        // What holds apart is not in the counts of its group.
        let released = node.stock.release(tasks);
        for (task, held) in &released {
            self.groups.release_apart(group, &held.request);
            self.pools.give_back(*task, &held.request.devices);
            node.loads.release_apart(&held.request.resources, &capacity, &mut self.groups);
        }
        let count = count - released.len() as u32;
        let running = running.min(count);
        if count > 0
            && node.loads.remove(group, count, running, &capacity, &mut self.groups)
            && let Some(group) = self.groups.get_mut(group)
        {
            group.on.remove(ix);
        }
        self.nodes.dirty.insert(ix);
    }

    /// Takes attempts off their node, in the job's books and the node's. What becomes of
    /// the tasks is the caller's. Returns how many there were.
    pub(super) fn take_placed(&mut self, ix: NodeIx, tasks: Assignment) -> u32 {
        let Some(job) = self.jobs.get_mut(tasks.job) else { return 0 };
        let was_ready = job.ready_tasks();
        let (mut count, mut running) = (0, 0);
        match &mut job.tasks {
            Tasks::One(one) => {
                if let Place::On(spot) = one.place
                    && (one.attempt, spot.node) == (tasks.attempt, ix)
                    && tasks.tasks.contains(0)
                {
                    (count, running) = (1, u32::from(spot.running));
                    one.place = Place::Delayed;
                }
            }
            Tasks::Many(array) => {
                array.placed.take(tasks, |run, spot| {
                    count += run.tasks.count;
                    running += run.tasks.count * u32::from(spot.running);
                });
                array.counts.running -= count;
            }
        }
        let (group, ready) = (job.group, job.ready_tasks());
        self.groups.set_ready(group, tasks.job, was_ready, ready);
        if count > 0 {
            if !self.frozen.is_empty() {
                self.melt_all(tasks);
            }
            self.vacate(ix, tasks, running);
            if !self.noticed.is_empty() {
                for index in tasks.tasks.indices() {
                    self.noticed.remove(&tasks.job.task(index));
                }
            }
            if !self.progress.is_empty() {
                for index in tasks.tasks.indices() {
                    self.progress.remove(&tasks.job.task(index));
                }
            }
            self.services.on_vacated(tasks);
        }
        count
    }

    /// Attempts are known to run.
    pub(crate) fn mark_started(&mut self, at: Timestamp, ix: NodeIx, tasks: Assignment) {
        self.services.on_started(at, tasks);
        let Some(job) = self.jobs.get_mut(tasks.job) else { return };
        let spot = Spot { node: ix, running: true };
        let mut started = 0;
        match &mut job.tasks {
            Tasks::One(one) => {
                if one.place == Place::On(Spot { running: false, ..spot }) {
                    one.place = Place::On(spot);
                    started = 1;
                }
            }
            Tasks::Many(array) => {
                let mut runs = Vec::new();
                array.placed.take(tasks, |run, was| runs.push((run, was)));
                for (run, was) in runs {
                    started += run.tasks.count * u32::from(!was.running);
                    array.placed.insert(run, Spot { running: true, ..was });
                }
            }
        }
        let group = job.group;
        let Some(node) = self.nodes.get_mut(ix) else { return };
        let capacity = node.capacity();
        node.loads.start(group, started, &capacity, &mut self.groups);
    }

    /// Tasks ended well.
    pub(crate) fn succeed(&mut self, ix: NodeIx, success: &Success) {
        if success.ends_job.is_some() {
            self.keep_ended(success.tasks.job);
        }
        let count = self.take_placed(ix, success.tasks);
        self.learn(success.tasks.job, success.usage.wall_us, count);
        self.close(success.tasks, count, &success.usage, &Outcome::Succeeded);
        if let Some(state) = success.ends_job {
            self.drop_job(success.tasks.job, state);
        }
    }

    /// An attempt ended.
    pub(crate) fn end(&mut self, ix: NodeIx, attempt: AttemptId, result: &TaskResult, next: Next) {
        let task = attempt.task;
        let tasks = alone(attempt);
        if self.take_placed(ix, tasks) == 0 {
            return;
        }
        match next {
            Next::Final { .. } if self.services.has_job(task.job) => self.rest(attempt, result),
            Next::Final { ends_job } => {
                if result.outcome.is_success() {
                    self.learn(task.job, result.usage.wall_us, 1);
                }
                if ends_job.is_some() {
                    self.keep_ended(task.job);
                }
                self.close(tasks, 1, &result.usage, &result.outcome);
                if let Some(state) = ends_job {
                    self.drop_job(task.job, state);
                }
            }
            Next::Retry { not_before } => self.delay(attempt, result, not_before),
            Next::Restart { not_before, failures, late } => {
                self.delay(attempt, result, not_before);
                self.services.on_restart(task, failures, late);
                self.services.note_end(self.at, task, &result.outcome);
            }
        }
    }

    /// Tasks of the job ended well and took that long together.
    fn learn(&mut self, job: JobId, wall_us: u64, count: u32) {
        let group = self.jobs.get(job).and_then(|job| self.groups.get(job.group));
        if let Some(length) = group.and_then(|group| group.length)
            && count > 0
            && wall_us > 0
        {
            self.groups.lengths.observe(Some(length), wall_us, count);
        }
    }

    fn delay(&mut self, attempt: AttemptId, result: &TaskResult, not_before: Timestamp) {
        let task = attempt.task;
        let Some(job) = self.jobs.get_mut(task.job) else { return };
        let was_ready = job.ready_tasks();
        if let Tasks::Many(array) = &mut job.tasks {
            array.delayed.insert(task.index, attempt.attempt);
            array.counts.pending += 1;
            if array.gang {
                self.broken_gangs.insert(task.job);
            }
            add_usage(&mut array.usage, &result.usage);
        }
        self.groups.set_ready(job.group, task.job, was_ready, job.ready_tasks());
        let extra = self.extras.entry(task).or_default();
        extra.retries += 1;
        extra.not_before = not_before;
        extra.outcome = Some(Box::new(result.outcome.clone()));
        add_usage(&mut extra.usage, &result.usage);
        self.delays.insert((not_before, task));
    }

    /// Tasks have ended for good.
    fn close(&mut self, tasks: Assignment, count: u32, usage: &Usage, outcome: &Outcome) {
        let Some(job) = self.jobs.get_mut(tasks.job) else { return };
        if let Tasks::Many(array) = &mut job.tasks {
            match outcome {
                Outcome::Succeeded => {
                    array.counts.succeeded += count;
                    if array.gang {
                        if array.counts.pending > 0 {
                            self.broken_gangs.insert(tasks.job);
                        }
                        array.over.insert(tasks, Over::Succeeded);
                    }
                }
                Outcome::Failed(_) => {
                    array.counts.failed += count;
                    array.failure.get_or_insert_with(|| outcome.clone());
                    array.over.insert(tasks, Over::Failed);
                    if array.gang {
                        self.broken_gangs.insert(tasks.job);
                    }
                }
            }
            add_usage(&mut array.usage, usage);
            let group = job.group;
            self.count_live(group, 0, count.into());
        }
        self.dependents.on_tasks_ended(tasks.job, tasks.tasks);
        self.forget_extras(tasks.job, tasks.tasks);
    }

    pub(super) fn forget_extras(&mut self, job: JobId, tasks: IndexRange) {
        if self.extras.is_empty() {
            return;
        }
        let range = job.task(tasks.first)..job.task(tasks.end());
        while let Some((task, _)) = self.extras.range(range.clone()).next() {
            let task = *task;
            if let Some(extra) = self.extras.remove(&task) {
                self.delays.remove(&(extra.not_before, task));
            }
        }
    }

    /// Attempts were given up: their tasks can be placed again.
    pub(crate) fn requeue(&mut self, ix: NodeIx, cause: RequeueCause, tasks: Assignment) {
        let count = self.take_placed(ix, tasks);
        let Some(job) = self.jobs.get_mut(tasks.job) else { return };
        if count == 0 {
            return;
        }
        let was_ready = job.ready_tasks();
        match &mut job.tasks {
            Tasks::One(one) => one.place = Place::Ready,
            Tasks::Many(array) => {
                array.counts.pending += count;
                array.ready.insert(tasks, ());
                if array.gang {
                    self.broken_gangs.insert(tasks.job);
                }
            }
        }
        let is_gang = matches!(&job.tasks, Tasks::Many(array) if array.gang);
        self.groups.set_ready(job.group, tasks.job, was_ready, job.ready_tasks());
        if cause == RequeueCause::NodeLost && is_gang {
            // What a gang loses at a time, it loses once.
            let first = tasks.job.task(tasks.tasks.first);
            self.extras.entry(first).or_default().requeues += 1;
        } else if cause == RequeueCause::NodeLost {
            for index in tasks.tasks.indices() {
                self.extras.entry(tasks.job.task(index)).or_default().requeues += 1;
            }
        }
    }

    fn checkpoint(&mut self, attempt: AttemptId, content: &Content) {
        let live = self.jobs.get(attempt.task.job).and_then(|job| job.task(attempt.task));
        if live.is_some_and(|(last, spot)| last == attempt.attempt && spot.is_some()) {
            let extra = self.extras.entry(attempt.task).or_default();
            extra.checkpoint = Some(Box::new(content.clone()));
        }
    }

    /// The job has ended: nothing of it stays but the id of its submission.
    pub(super) fn drop_job(&mut self, id: JobId, state: JobState) {
        self.leave_dependencies(id, state);
        let live = self.jobs.get(id).map_or(0, Job::live_tasks);
        let spots = self.spots(id);
        for (node, tasks) in spots {
            self.take_placed(node, tasks);
        }
        self.forget_extras(id, IndexRange { first: 0, count: u32::MAX });
        self.forget_changes(id);
        let submit = self.jobs.submit_of(id);
        let Some((submit, job)) = submit.zip(self.jobs.remove(id)) else { return };
        self.schedules.on_job_ended(id);
        self.workflows.on_job_ended(id, state, job.final_counts(state));
        self.services.on_job_ended(id);
        self.models.on_job_ended(id);
        let ready = job.ready_tasks();
        self.groups.remove_ready(job.group, id, ready, false);
        let Some(tenant) = self.groups.get(job.group).map(|group| group.key.tenant) else { return };
        self.submits.end(tenant, submit, id);
        self.count_live(job.group, 0, live.into());
        self.groups.leave(job.group);
    }
}

/// The range that holds one attempt.
pub(crate) fn alone(attempt: AttemptId) -> Assignment {
    let TaskId { job, index } = attempt.task;
    Assignment { job, attempt: attempt.attempt, tasks: IndexRange::one(index) }
}
