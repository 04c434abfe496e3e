//! What few jobs have beside their specification: changes since it was accepted, and times
//! before or after which they are not placed.
//!
//! The specification stays as it was accepted; what was changed is kept apart and put over
//! it wherever it is read. Gates that time opens or shuts are worked out from the recorded
//! times, and are not recorded themselves.

use std::collections::BTreeMap;
use std::mem::discriminant;

use serde::{Deserialize, Serialize};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::{JobId, JobSpec, Timestamp};

use super::State;
use super::groups::GroupKey;
use super::jobs::{Gates, NodeIx};
use super::length::Length;

/// When a job may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Not before; zero without.
    pub(crate) begin: Timestamp,
    /// Of no use after.
    pub(crate) deadline: Option<Timestamp>,
    /// The time limit of its tasks in milliseconds; zero without.
    limit_ms: u64,
}

impl Times {
    /// Of a job with that specification; `None` where it may start at any time.
    pub(crate) fn of(spec: &JobSpec) -> Option<Self> {
        let wishes = &spec.scheduling;
        let any = wishes.begin.is_some() || wishes.deadline.is_some();
        any.then(|| Self {
            begin: wishes.begin.unwrap_or_default(),
            deadline: wishes.deadline,
            limit_ms: spec.limits.wall_ms.unwrap_or(0),
        })
    }

    /// The first instant at which a task would not end in time.
    fn too_late(&self) -> Option<Timestamp> {
        self.deadline.map(|deadline| Timestamp((deadline.0 + 1).saturating_sub(self.limit_ms)))
    }

    /// The next instant after `now` at which something changes for the job.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let times = [Some(self.begin), self.too_late(), self.deadline];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn gates(&self, now: Timestamp) -> [(Gates, bool); 2] {
        let too_late = self.too_late().is_some_and(|at| at <= now);
        [(Gates::BEGIN, self.begin > now), (Gates::DEADLINE, too_late)]
    }
}

/// What was changed of a job, each kind of change at most once.
pub(crate) type Changes = Vec<JobChange>;

/// Puts one change over a specification.
fn put_over(spec: &mut JobSpec, change: &JobChange) {
    let wishes = &mut spec.scheduling;
    match change {
        JobChange::Hold(hold) => wishes.hold = *hold,
        JobChange::Priority(priority) => spec.priority = *priority,
        JobChange::Nice(nice) => wishes.nice = *nice,
        JobChange::TimeLimit(limit) => spec.limits.wall_ms = *limit,
        JobChange::Begin(begin) => wishes.begin = *begin,
        JobChange::Deadline(deadline) => wishes.deadline = *deadline,
        JobChange::Partition(partition) => wishes.partition.clone_from(partition),
        JobChange::Qos(qos) => wishes.qos.clone_from(qos),
        JobChange::MaxRunning(most) => wishes.max_running = *most,
    }
}

impl State {
    /// The job's specification with the defaults it was given and what was changed since.
    pub(crate) fn spec_of(&self, id: JobId) -> Option<JobSpec> {
        let job = self.jobs.get(id)?;
        let mut spec = job.spec.encoded().decode().ok()?;
        let given = self.groups.get(job.group).and_then(|group| group.key.wishes.as_deref());
        if let Some(given) = given {
            spec.scheduling.partition.clone_from(&given.partition);
            spec.scheduling.qos.clone_from(&given.qos);
        }
        let changes = self.changes.get(&id).map(Vec::as_slice).unwrap_or_default();
        changes.iter().for_each(|change| put_over(&mut spec, change));
        Some(spec)
    }

    /// The same, encoded; what was accepted where nothing was changed.
    pub(crate) fn encoded_spec_of(&self, id: JobId) -> Option<EncodedSpec> {
        let accepted = self.jobs.get(id)?.spec.encoded();
        if !self.changes.contains_key(&id) {
            return Some(accepted);
        }
        let changed = self.spec_of(id).and_then(|spec| EncodedSpec::encode(&spec).ok());
        Some(changed.unwrap_or(accepted))
    }

    /// Notes a change, in place of an earlier one of its kind.
    pub(super) fn note_change(&mut self, id: JobId, change: &JobChange) {
        let changes = self.changes.entry(id).or_default();
        match changes.iter_mut().find(|other| discriminant(*other) == discriminant(change)) {
            Some(other) => other.clone_from(change),
            None => changes.push(change.clone()),
        }
    }

    /// A user changed the job.
    pub(super) fn change(&mut self, at: Timestamp, id: JobId, change: &JobChange) {
        let Some(length) = self.length_of(id) else { return };
        self.note_change(id, change);
        match change {
            JobChange::Hold(hold) => self.set_gate(id, Gates::HELD, *hold),
            JobChange::MaxRunning(most) => self.bound_running(id, most.unwrap_or(0)),
            _ => {}
        }
        let Some(mut spec) = self.spec_of(id) else { return };
        self.resolve(id, change, &mut spec);
        self.set_times(id, Times::of(&spec));
        self.regroup(id, spec);
        let placed = self.jobs.get(id).is_some_and(|job| job.counts().running > 0);
        if placed && self.length_of(id) != Some(length) {
            self.relimited.insert(id, at);
        }
    }

    fn length_of(&self, id: JobId) -> Option<Length> {
        Some(self.groups.get(self.jobs.get(id)?.group)?.key.length)
    }

    /// Puts defaults over the changed specification where it says nothing, and keeps them.
    fn resolve(&mut self, id: JobId, change: &JobChange, spec: &mut JobSpec) {
        let group = self.jobs.get(id).and_then(|job| self.groups.get(job.group));
        let Some(key) = group.map(|group| &group.key) else { return };
        let Some(tenant) = self.tenants.get(key.tenant) else { return };
        let limit = spec.limits.wall_ms;
        self.rules.resolve(&tenant.name, spec);
        let wishes = &spec.scheduling;
        match change {
            JobChange::Partition(None) => {
                self.note_change(id, &JobChange::Partition(wishes.partition.clone()));
            }
            JobChange::Qos(None) => self.note_change(id, &JobChange::Qos(wishes.qos.clone())),
            _ => {}
        }
        if spec.limits.wall_ms != limit {
            self.note_change(id, &JobChange::TimeLimit(spec.limits.wall_ms));
        }
    }

    pub(super) fn set_gate(&mut self, id: JobId, gate: Gates, shut: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let was_ready = job.ready_tasks();
        job.gates.set(gate, shut);
        self.groups.set_ready(job.group, id, was_ready, job.ready_tasks());
        self.doubt_results(id);
    }

    pub(super) fn set_times(&mut self, id: JobId, times: Option<Times>) {
        let now = self.groups.accounts.now();
        if let Some(before) = self.times.remove(&id) {
            let timers = [before.begin, before.deadline.unwrap_or_default()];
            timers.into_iter().chain(before.too_late()).for_each(|at| {
                self.timers.remove(&(at, id));
            });
        }
        for (gate, shut) in times.unwrap_or_default().gates(now) {
            self.set_gate(id, gate, shut);
        }
        if let Some(times) = times {
            self.times.insert(id, times);
            self.timers.extend(times.next(now).map(|at| (at, id)));
        }
    }

    /// Opens and shuts gates by time. Returns jobs whose deadline has come.
    pub(crate) fn turn_gates(&mut self, now: Timestamp) -> Vec<JobId> {
        let mut over = Vec::new();
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(times) = self.times.get(&id).copied() else { continue };
            for (gate, shut) in times.gates(now) {
                self.set_gate(id, gate, shut);
            }
            self.timers.extend(times.next(now).map(|at| (at, id)));
            if times.deadline.is_some_and(|deadline| deadline <= now) {
                over.push(id);
            }
        }
        over
    }

    /// The job has ended.
    pub(super) fn forget_changes(&mut self, id: JobId) {
        if !self.changes.is_empty() {
            self.changes.remove(&id);
            self.relimited.remove(&id);
        }
        if self.times.contains_key(&id) {
            self.set_times(id, None);
        }
    }

    pub(super) fn restore_times(&mut self, times: BTreeMap<JobId, Times>) {
        // Whether they have come is found out as time goes on: until then gates are shut.
        for (id, times) in times {
            let long_ago = Timestamp(0);
            for (gate, shut) in times.gates(long_ago) {
                self.set_gate(id, gate, shut);
            }
            self.times.insert(id, times);
            self.timers.extend(times.next(long_ago).map(|at| (at, id)));
        }
    }

    /// Moves the job to the group of its changed specification, with all that it has on
    /// nodes: from now on that counts there.
    fn regroup(&mut self, id: JobId, spec: JobSpec) {
        let Some(from) = self.jobs.get(id).map(|job| job.group) else { return };
        let Some(before) = self.groups.get(from) else { return };
        let key = GroupKey::of(before.key.tenant, id, spec);
        if key == before.key {
            return;
        }
        let spots = self.spots_by_node(id);
        let to = self.enter_group(key);
        let Some(job) = self.jobs.get_mut(id) else { return };
        let ready = job.ready_tasks();
        job.group = to;
        let (live, placed) = (u64::from(job.live_tasks()), job.counts().running);
        self.groups.set_ready(from, id, ready, 0);
        self.count_live(from, 0, live);
        self.count_live(to, live, 0);
        self.groups.count_vacated(from, placed);
        self.groups.count_placed(to, placed);
        self.groups.set_ready(to, id, 0, ready);
        for (ix, (count, running)) in spots {
            let Some(node) = self.nodes.get_mut(ix) else { continue };
            let gone = node.loads.regroup(from, to, count, running);
            if let Some(group) = self.groups.get_mut(from).filter(|_| gone) {
                group.on.remove(ix);
            }
            if let Some(group) = self.groups.get_mut(to) {
                group.on.insert(ix);
            }
            self.nodes.dirty.insert(ix);
        }
        self.groups.leave(from);
    }

    /// How many tasks of the job each node has, and how many of them are known to run.
    fn spots_by_node(&self, id: JobId) -> BTreeMap<NodeIx, (u32, u32)> {
        let mut nodes: BTreeMap<NodeIx, (u32, u32)> = BTreeMap::new();
        for (ix, run) in self.spots(id) {
            let (count, running) = nodes.entry(ix).or_default();
            *count += run.tasks.count;
            let job = self.jobs.get(id);
            let spot = job.and_then(|job| job.task(id.task(run.tasks.first)));
            let runs = spot.and_then(|(_, spot)| spot).is_some_and(|spot| spot.running);
            *running += if runs { run.tasks.count } else { 0 };
        }
        nodes
    }
}
