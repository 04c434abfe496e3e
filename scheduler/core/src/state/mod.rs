//! What is recorded: the state that facts make, and what follows from it.
//!
//! Every change of it is the work of [`State::apply`] or of the functions that `apply`
//! itself calls with a part of a fact. It never decides, and it does not trust: a fact
//! that does not fit changes nothing.

pub(crate) mod apply;
pub(crate) mod arrays;
pub(crate) mod changes;
pub(crate) mod dependents;
pub(crate) mod fair_share;
pub(crate) mod frozen;
pub(crate) mod groups;
pub(crate) mod index;
pub(crate) mod jobs;
pub(crate) mod labels;
pub(crate) mod length;
pub(crate) mod load;
pub(crate) mod models;
mod near;
pub(crate) mod need;
pub(crate) mod node_set;
pub(crate) mod nodes;
pub(crate) mod packing;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod quotas;
pub(crate) mod ready;
pub(crate) mod register;
pub(crate) mod reservations;
mod results;
pub(crate) mod room;
mod runs;
pub(crate) mod schedules;
pub(crate) mod services;
pub(crate) mod snapshot;
pub(crate) mod span;
pub(crate) mod spec;
pub(crate) mod stock;
pub(crate) mod submits;
pub(crate) mod usage;
pub(crate) mod waste;
pub(crate) mod workflows;

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::wire::worker::Assignment;
use wrun_protocol::{JobId, SubmitId, TaskId, TenantName, Timestamp};

use crate::config::Config;
use crate::ended::EndedJob;
use changes::{Changes, Times};
use dependents::Dependents;
use frozen::Frozen;
use groups::{GroupIx, Groups, TenantIx};
use jobs::{Extra, NodeIx, Place, Tasks};
use models::Registry;
use nodes::Nodes;
use policy::Rules;
use register::Jobs;
use reservations::Reservations;
use schedules::Schedules;
use services::Services;
use spec::{Models, Spec};
use stock::Pools;
use submits::Submits;
use workflows::Workflows;

/// The recorded state of the cluster.
#[derive(Debug)]
pub(crate) struct State {
    /// The latest instant of any fact.
    pub(crate) at: Timestamp,
    pub(crate) next_job: u64,
    pub(crate) next_node: u64,
    pub(crate) rules: Rules,
    pub(crate) tenants: Tenants,
    pub(crate) groups: Groups,
    pub(crate) jobs: Jobs,
    pub(crate) extras: BTreeMap<TaskId, Extra>,
    /// Tasks that wait for their back-off, by its end. Derived.
    pub(crate) delays: BTreeSet<(Timestamp, TaskId)>,
    /// What was changed of jobs since they were accepted.
    pub(crate) changes: BTreeMap<JobId, Changes>,
    /// When the time limit of jobs was changed last that had tasks on nodes: what was placed
    /// before keeps the limit it had.
    pub(crate) relimited: BTreeMap<JobId, Timestamp>,
    /// When jobs may start, where that is not at any time.
    pub(crate) times: BTreeMap<JobId, Times>,
    /// When to look at them. Derived.
    pub(crate) timers: BTreeSet<(Timestamp, JobId)>,
    /// The last word of running tasks. Not recorded.
    pub(crate) progress: BTreeMap<TaskId, (u16, String)>,
    pub(crate) submits: Submits,
    pub(crate) dependents: Dependents,
    /// Placed tasks that are frozen for others, or were.
    pub(crate) frozen: Frozen,
    pub(crate) schedules: Schedules,
    pub(crate) workflows: Workflows,
    pub(crate) services: Services,
    pub(crate) models: Registry,
    /// Gangs that lost a task since they were looked at. Not recorded.
    pub(crate) broken_gangs: BTreeSet<JobId>,
    /// Placed tasks that were told that they will be stopped, and when at the latest.
    pub(crate) noticed: BTreeMap<TaskId, Timestamp>,
    pub(crate) nodes: Nodes,
    pub(crate) reservations: Reservations,
    /// Join tokens by hash, with their end.
    pub(crate) tokens: BTreeMap<[u8; 32], Timestamp>,
    /// Tasks on nodes. Derived.
    pub(crate) placed: u64,
    /// What is taken of the cluster's pools. Derived.
    pub(crate) pools: Pools,
    /// Jobs of which something may have to be looked up. Not recorded.
    pub(crate) unlooked: BTreeSet<JobId>,
    /// Jobs that the last fact ended. Not recorded.
    #[expect(clippy::vec_box, reason = "an effect has each in its box: it is moved once")]
    pub(crate) ended: Vec<Box<EndedJob>>,
}

/// Who has submitted. Tenants are few, and never forgotten.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    by_name: BTreeMap<TenantName, TenantIx>,
    pub(crate) list: Vec<Tenant>,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: TenantName,
    /// Tasks that have not ended. Derived.
    pub(crate) live_tasks: u64,
    /// What its jobs share of their specifications. Not recorded.
    pub(crate) models: Models,
}

impl Tenants {
    pub(crate) fn find(&self, name: &TenantName) -> Option<TenantIx> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, tenant: TenantIx) -> Option<&Tenant> {
        self.list.get(tenant as usize)
    }

    fn get_mut(&mut self, tenant: TenantIx) -> Option<&mut Tenant> {
        self.list.get_mut(tenant as usize)
    }

    fn enter(&mut self, name: &TenantName) -> TenantIx {
        if let Some(tenant) = self.find(name) {
            return tenant;
        }
        let tenant = self.list.len() as TenantIx;
        let models = Models::default();
        self.list.push(Tenant { name: name.clone(), live_tasks: 0, models });
        self.by_name.insert(name.clone(), tenant);
        tenant
    }
}

impl State {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            at: Timestamp(0),
            next_job: 1,
            next_node: 1,
            rules: Rules::default(),
            tenants: Tenants::default(),
            groups: Groups::default(),
            jobs: Jobs::default(),
            extras: BTreeMap::new(),
            delays: BTreeSet::new(),
            changes: BTreeMap::new(),
            relimited: BTreeMap::new(),
            times: BTreeMap::new(),
            timers: BTreeSet::new(),
            progress: BTreeMap::new(),
            submits: Submits::new(config.remembered_submits),
            dependents: Dependents::default(),
            frozen: Frozen::default(),
            schedules: Schedules::default(),
            workflows: Workflows::default(),
            services: Services::default(),
            models: Registry::default(),
            broken_gangs: BTreeSet::new(),
            noticed: BTreeMap::new(),
            nodes: Nodes::default(),
            reservations: Reservations::default(),
            tokens: BTreeMap::new(),
            placed: 0,
            pools: Pools::default(),
            unlooked: BTreeSet::new(),
            ended: Vec::new(),
        }
    }

    /// Tasks whose back-off is over can be placed.
    pub(crate) fn end_delays(&mut self, now: Timestamp) {
        while let Some((until, task)) = self.delays.first().copied()
            && until <= now
        {
            self.delays.pop_first();
            let Some(job) = self.jobs.get_mut(task.job) else { continue };
            let was_ready = job.ready_tasks();
            match &mut job.tasks {
                Tasks::One(one) => one.place = Place::Ready,
                Tasks::Many(array) => {
                    let Some(attempt) = array.delayed.remove(&task.index) else { continue };
                    let tasks = wrun_protocol::IndexRange::one(task.index);
                    array.ready.insert(Assignment { job: task.job, attempt, tasks }, ());
                }
            }
            self.groups.set_ready(job.group, task.job, was_ready, job.ready_tasks());
        }
    }

    /// The specification of a new job, as the jobs of its group and its tenant hold it.
    fn hold_spec(&mut self, tenant: TenantIx, group: GroupIx, spec: &[u8]) -> Spec {
        match self.tenants.get_mut(tenant).zip(self.groups.get_mut(group)) {
            Some((tenant, group)) => tenant.models.hold(spec, &mut group.model),
            None => Spec::Whole(spec.into()),
        }
    }

    /// The job that a submission made, while it is remembered.
    pub(crate) fn submitted(&self, tenant: TenantIx, id: SubmitId) -> Option<JobId> {
        self.submits.find(tenant, id, |number| {
            let of_it = self.jobs.submit_of(number) == Some(id);
            let job = self.jobs.get(number).filter(|_| of_it);
            let group = job.and_then(|job| self.groups.get(job.group));
            let flow = self.workflows.get(number).filter(|flow| flow.submit == id);
            group.map(|group| group.key.tenant).or(flow.map(|flow| flow.tenant)) == Some(tenant)
        })
    }

    /// What of `tasks` the node has, by that attempt.
    pub(crate) fn held(
        &self,
        node: NodeIx,
        tasks: Assignment,
        mut found: impl FnMut(Assignment, ()),
    ) {
        if let Some(node) = self.nodes.get(node) {
            node.tasks.overlaps(tasks, |run, _| found(run, ()));
        }
    }

    /// Whether the node has that attempt.
    pub(crate) fn holds(&self, node: NodeIx, task: TaskId, attempt: u32) -> bool {
        let held = self.nodes.get(node).and_then(|node| node.tasks.get(task));
        held.is_some_and(|(held, _)| held == attempt)
    }

    /// Where every attempt of a job is.
    pub(crate) fn spots(&self, id: JobId) -> Vec<(NodeIx, Assignment)> {
        let Some(job) = self.jobs.get(id) else { return Vec::new() };
        match &job.tasks {
            Tasks::One(one) => match one.place {
                Place::On(spot) => {
                    let tasks = wrun_protocol::IndexRange::one(0);
                    vec![(spot.node, Assignment { job: id, attempt: one.attempt, tasks })]
                }
                Place::Ready | Place::Delayed => Vec::new(),
            },
            Tasks::Many(array) => {
                array.placed.iter().map(|(tasks, spot)| (spot.node, tasks)).collect()
            }
        }
    }
}
