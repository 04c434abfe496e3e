//! What tenants hold and have used, read from the journal in the most naive way: one entry
//! per placed task, with the instant of the fact that placed it.

use std::collections::BTreeMap;

use wrun_core::{Core, Fact};
use wrun_protocol::policy::Limits;
use wrun_protocol::scheduling::Request;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::policy::JobChange;
use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{AttemptId, JobId, NodeId, Resources, TaskId, TenantName, Timestamp};

use crate::model::placements;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) tenant: TenantName,
    pub(crate) qos: Option<String>,
    /// Its own, then the alternatives.
    requests: Vec<Request>,
    /// In milliseconds.
    limit: Option<u64>,
    pub(crate) reservation: Option<String>,
}

/// A task on a node.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) node: NodeId,
    pub(crate) at: Timestamp,
    /// When it ends at the latest, by the limit that it was placed with.
    pub(crate) ends: Option<Timestamp>,
    pub(crate) holds: Resources,
    gpu_milli: u32,
    pub(crate) frozen: bool,
    /// It was told to stop.
    pub(crate) noticed: bool,
    /// It is known to run.
    runs: bool,
    /// What it used before this instant is counted.
    counted: Timestamp,
}

/// Thousandths and bytes by milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) cpu: u128,
    pub(crate) memory: u128,
    pub(crate) gpu: u128,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) placed: BTreeMap<TaskId, Placed>,
    /// Of what is counted, the part of tasks that were known to run, and of all that were placed.
    used: BTreeMap<TenantName, (Used, Used)>,
}

/// What all nodes hold, added up between the facts that change it: read from a core that only
/// applies them.
#[derive(Debug, Default)]
pub(crate) struct Allocated {
    used: Used,
    until: Timestamp,
}

impl Allocated {
    /// Nothing has changed until then.
    pub(crate) fn until(&mut self, at: Timestamp, applied: &Core) {
        self.used = self.at(at, applied);
        self.until = self.until.max(at);
    }

    /// CPU and memory until then. Nodes do not tell what of cards is held.
    pub(crate) fn at(&self, at: Timestamp, applied: &Core) -> Used {
        let ms = at.since(self.until).as_millis();
        let mut used = self.used;
        for node in applied.nodes() {
            used.cpu += ms * u128::from(node.used.cpu_milli);
            used.memory += ms * u128::from(node.used.memory);
        }
        used
    }
}

impl Used {
    pub(crate) fn add(&mut self, more: &Self) {
        self.cpu += more.cpu;
        self.memory += more.memory;
        self.gpu += more.gpu;
    }
}

impl Placed {
    fn add_to(&self, (least, most): &mut (Used, Used), now: Timestamp) {
        let used = self.used(now);
        most.add(&used);
        if self.runs {
            least.add(&used);
        }
    }

    /// What it held since it was counted last. What is frozen holds no CPU.
    fn used(&self, now: Timestamp) -> Used {
        let ms = now.since(self.counted).as_millis();
        Used {
            cpu: if self.frozen { 0 } else { ms * u128::from(self.holds.cpu_milli) },
            memory: ms * u128::from(self.holds.memory),
            gpu: ms * u128::from(self.gpu_milli),
        }
    }
}

impl Ledger {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut ledger = Self::default();
        facts.iter().for_each(|fact| ledger.apply(fact));
        ledger
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        let at = fact.at();
        for (node, run, grant) in placements(fact) {
            let request = grant.map_or(0, |grant| grant.request as usize);
            each(&[run], |task| self.enter(task, node, at, request));
        }
        match fact {
            Fact::JobSubmitted { job, tenant, spec, .. }
            | Fact::ServiceDeployed { job, service: ServiceId { tenant, .. }, spec, .. } => {
                let spec = spec.decode().unwrap();
                let wishes = spec.scheduling;
                let own = Request { resources: spec.resources, devices: wishes.devices };
                let mut requests = vec![own];
                requests.extend(wishes.alternatives);
                let (limit, tenant) = (spec.limits.wall_ms, tenant.clone());
                let (qos, reservation) = (wishes.qos, wishes.reservation);
                self.jobs.insert(*job, Job { tenant, qos, requests, limit, reservation });
            }
            Fact::JobChanged { job, change: JobChange::Qos(qos), .. } => {
                self.jobs.get_mut(job).unwrap().qos.clone_from(qos);
            }
            Fact::JobChanged { job, change: JobChange::TimeLimit(limit), .. } => {
                self.jobs.get_mut(job).unwrap().limit = *limit;
            }
            Fact::Frozen { tasks, frozen, .. } => {
                each(tasks, |task| self.freeze(task, at, *frozen));
            }
            Fact::Started { tasks, .. } => each(tasks, |task| {
                self.count(task, at);
                if let Some(placed) = self.placed.get_mut(&task) {
                    placed.runs = true;
                }
            }),
            Fact::Noticed { attempt, .. } => {
                self.placed.get_mut(&attempt.task).unwrap().noticed = true;
            }
            Fact::Requeued { tasks, .. } => each(tasks, |task| self.leave(task, at)),
            Fact::Succeeded { tasks, .. } => {
                tasks.iter().for_each(|run| each(&[run.tasks], |task| self.leave(task, at)));
            }
            Fact::Ended { attempt: AttemptId { task, .. }, .. } => self.leave(*task, at),
            Fact::JobCancelled { job, .. } => {
                let placed = self.placed.range(job.task(0)..=job.task(u32::MAX));
                let placed: Vec<TaskId> = placed.map(|(task, _)| *task).collect();
                placed.into_iter().for_each(|task| self.leave(task, at));
            }
            Fact::TasksCancelled { job, tasks, .. }
            | Fact::ReplicasSlept { job, replicas: tasks, .. } => {
                let indices = tasks.iter().flat_map(|tasks| tasks.indices());
                indices.for_each(|index| self.leave(job.task(index), at));
            }
            _ => {}
        }
    }

    fn enter(&mut self, task: TaskId, node: NodeId, at: Timestamp, request: usize) {
        let job = &self.jobs[&task.job];
        let Request { resources, devices } = &job.requests[request];
        let placed = Placed {
            node,
            at,
            ends: job.limit.map(|limit| Timestamp(at.0 + limit)),
            holds: *resources,
            gpu_milli: devices.gpu.as_ref().map_or(0, |gpu| gpu.milli),
            frozen: false,
            noticed: false,
            runs: false,
            counted: at,
        };
        assert!(self.placed.insert(task, placed).is_none(), "{task} is placed twice");
    }

    fn freeze(&mut self, task: TaskId, at: Timestamp, frozen: bool) {
        let since = self.placed[&task].counted;
        self.count(task, at);
        let placed = self.placed.get_mut(&task).unwrap();
        if std::mem::replace(&mut placed.frozen, frozen) {
            // The time limit stood still.
            placed.ends = placed.ends.map(|ends| ends.after(at.since(since)));
        }
    }

    fn leave(&mut self, task: TaskId, at: Timestamp) {
        self.count(task, at);
        self.placed.remove(&task);
    }

    fn count(&mut self, task: TaskId, at: Timestamp) {
        let Some(placed) = self.placed.get_mut(&task) else { return };
        let tenant = self.jobs[&task.job].tenant.clone();
        placed.add_to(self.used.entry(tenant).or_default(), at);
        placed.counted = at;
    }

    /// What the tenant was allocated until now at least, if only what was known to run held
    /// anything, and at most, if all did that was placed: what waits on a node for others to
    /// end holds nothing, and which of its tasks wait a node need not tell.
    pub(crate) fn used(&self, tenant: &TenantName, now: Timestamp) -> (Used, Used) {
        let mut used = self.used.get(tenant).copied().unwrap_or_default();
        let its = self.placed.iter().filter(|(task, _)| self.jobs[&task.job].tenant == *tenant);
        its.for_each(|(_, placed)| placed.add_to(&mut used, now));
        used
    }

    /// What is held of what limits bound by jobs of such tenants and classes.
    pub(crate) fn held(&self, of: impl Fn(&str, Option<&str>) -> bool) -> Limits {
        let mut held = [0; 4];
        for (task, placed) in &self.placed {
            let job = &self.jobs[&task.job];
            if of(job.tenant.as_str(), job.qos.as_deref()) {
                let Placed { holds, gpu_milli, .. } = placed;
                let cpu_milli = u64::from(holds.cpu_milli);
                let each = [1, cpu_milli, holds.memory, (*gpu_milli).into()];
                held.iter_mut().zip(each).for_each(|(sum, more)| *sum += more);
            }
        }
        let [running, cpu_milli, memory, gpu_milli] = held.map(Some);
        Limits { queued: None, running, cpu_milli, memory, gpu_milli }
    }
}

fn each(runs: &[Assignment], mut with: impl FnMut(TaskId)) {
    for run in runs {
        run.tasks.indices().for_each(|index| with(run.job.task(index)));
    }
}
