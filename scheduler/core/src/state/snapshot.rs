//! The state as bytes and back: a version, a header, then one record per node and job,
//! then sections of what only some clusters have.
//!
//! Equal states give equal bytes, whatever order they came to be in: the tests compare
//! a recovered core with the live one by them. Records are only ever added to by a new
//! version, which must go on reading the older ones.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use wrun_protocol::node::NodeInfo;
use wrun_protocol::policy::Policy;
use wrun_protocol::reservation::Reservation;
use wrun_protocol::scheduling::Offer;
use wrun_protocol::task::{Content, Outcome, Usage};
use wrun_protocol::wire::user::TaskCounts;
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{IndexRange, JobId, NodeId, SubmitId, TaskId, TenantName, Timestamp};

use super::State;
use super::changes::{Changes, Times};
use super::dependents::Dependents;
use super::frozen::Ice;
use super::groups::{GroupIx, GroupKey};
use super::jobs::{Array, Extra, Gates, Job, NodeIx, One, Over, Place, Spot, Tasks};
use super::length::LengthRecord;
use super::load::Load;
use super::models::Registry;
use super::nodes::Node;
use super::policy::Rules;
use super::schedules::Schedules;
use super::services::Services;
use super::span::Spans;
use super::spec::Spec;
use super::stock::{Holding, Stock};
use super::usage::Used;
use super::workflows::Workflows;
use crate::RestoreError;
use crate::config::Config;

const VERSION: u32 = 2;

/// What came to the state later, and is left out where there is none of it. A further one
/// is a variant more at the end.
#[derive(Serialize, Deserialize)]
enum Section {
    /// The policy, where one was set.
    Policy(Box<Policy>),
    /// Jobs that wait for others.
    Dependents(Box<Dependents>),
    /// Attempts that were told that they will be stopped, and when.
    Noticed(BTreeMap<TaskId, Timestamp>),
    /// What was changed of jobs.
    Changes(BTreeMap<JobId, Changes>),
    /// When jobs may start.
    Times(BTreeMap<JobId, Times>),
    /// Attempts that are frozen for others, or were.
    Frozen(Vec<(TaskId, Ice)>),
    /// What tenants have used until the header's instant, by their place in its list.
    Usage(Vec<Used>),
    /// Jobs that come again and again.
    Schedules(Box<Schedules>),
    /// Devices of nodes that have any, or whose attempts hold something apart.
    Stocks(Vec<StockRecord>),
    /// What is set aside, with the nodes that were chosen for it.
    Reservations(Vec<(Reservation, Vec<(NodeId, u32)>)>),
    /// When limits of jobs were changed that had tasks on nodes.
    Relimited(BTreeMap<JobId, Timestamp>),
    /// Workflows that have not ended.
    Workflows(Box<Workflows>),
    /// How long attempts were frozen that went on since, in milliseconds.
    Thawed(BTreeMap<TaskId, u64>),
    /// Services.
    Services(Box<Services>),
    /// Models.
    Models(Box<Registry>),
}

#[derive(Serialize, Deserialize)]
struct Header {
    at: Timestamp,
    next_job: u64,
    next_node: u64,
    tenants: Vec<TenantName>,
    tokens: Vec<([u8; 32], Timestamp)>,
    ended_submits: Vec<(SubmitId, u32, JobId)>,
    /// In order of their keys.
    groups: Vec<GroupKey>,
    /// What earlier tasks took.
    lengths: Vec<LengthRecord>,
    jobs: u64,
    nodes: u64,
}

/// `S` is a reference to a [`Spec`], or its bytes.
#[derive(Serialize, Deserialize)]
struct JobRecord<S> {
    id: JobId,
    /// By place in the header's list: a restart decodes no specification.
    group: u32,
    kind: ComponentKind,
    submit: SubmitId,
    submitted: Timestamp,
    started: Timestamp,
    gates: Gates,
    spec: S,
    tasks: TasksRecord,
    extras: Vec<(u32, ExtraRecord)>,
}

#[derive(Serialize, Deserialize)]
enum TasksRecord {
    One { attempt: u32, spot: Option<(NodeIx, bool)> },
    Many(Box<ArrayRecord>),
}

#[derive(Serialize, Deserialize)]
struct ArrayRecord {
    max_running: u32,
    gang: bool,
    /// Of the pending ones, those that wait for single tasks of another job.
    waiting: Vec<IndexRange>,
    over: Vec<(IndexRange, u32, Over)>,
    /// Ready or in back-off: which of the two follows from the extras.
    pending: Vec<(IndexRange, u32)>,
    placed: Vec<(IndexRange, u32, NodeIx, bool)>,
    counts: TaskCounts,
    usage: Usage,
    failure: Option<Outcome>,
}

#[derive(Serialize, Deserialize)]
struct ExtraRecord {
    retries: u32,
    requeues: u32,
    not_before: Timestamp,
    checkpoint: Option<Content>,
    usage: Usage,
    outcome: Option<Outcome>,
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    ix: NodeIx,
    name: String,
    info: Option<NodeInfo>,
    incarnation: u64,
    next_report: u64,
    drain: bool,
    lost: bool,
    /// What is placed there, and when it was.
    tasks: Vec<(Assignment, Timestamp)>,
    /// By place of the group in the order of all groups' keys.
    loads: Vec<(u32, Load)>,
    order: Vec<(u32, u32)>,
}

/// A node's devices, and what attempts hold of them.
#[derive(Serialize, Deserialize)]
struct StockRecord {
    ix: NodeIx,
    offer: Offer,
    held: Vec<(TaskId, Holding)>,
}

impl State {
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let header = Header {
            at: self.at,
            next_job: self.next_job,
            next_node: self.next_node,
            tenants: self.tenants.list.iter().map(|tenant| tenant.name.clone()).collect(),
            tokens: self.tokens.iter().map(|(hash, expires)| (*hash, *expires)).collect(),
            ended_submits: self.submits.ended().collect(),
            groups: self
                .groups
                .in_order()
                .filter_map(|group| Some(self.groups.get(group)?.key.clone()))
                .collect(),
            lengths: self.groups.lengths.records(),
            jobs: self.jobs.len() as u64,
            nodes: self.nodes.len() as u64,
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &VERSION);
        write(&mut bytes, &header);
        let ordinals: HashMap<GroupIx, u32> = self.groups.in_order().zip(0..).collect();
        let ordinal = |group: &GroupIx| ordinals.get(group).copied().unwrap_or(u32::MAX);
        for (id, job) in self.jobs.iter() {
            write(&mut bytes, &self.job_record(id, job, ordinal(&job.group)));
        }
        for (ix, node) in self.nodes.iter() {
            let mut loads: Vec<(u32, Load)> =
                node.loads.by_group.iter().map(|(group, load)| (ordinal(&group), *load)).collect();
            loads.sort_unstable_by_key(|(group, _)| *group);
            let record = NodeRecord {
                ix,
                name: node.name.clone(),
                info: node.info.as_deref().cloned(),
                incarnation: node.incarnation,
                next_report: node.next_report,
                drain: node.drain,
                lost: node.lost,
                tasks: node.tasks.iter().collect(),
                loads,
                order: node
                    .loads
                    .in_order()
                    .iter()
                    .map(|(g, count)| (ordinal(g), *count))
                    .collect(),
            };
            write(&mut bytes, &record);
        }
        self.sections().iter().for_each(|section| write(&mut bytes, section));
        bytes
    }

    fn sections(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        // What is held comes before what takes from it: frozen attempts, usage.
        let stocks = self.stock_records();
        if !stocks.is_empty() {
            sections.push(Section::Stocks(stocks));
        }
        if self.rules.policy != Policy::default() {
            sections.push(Section::Policy(Box::new(self.rules.policy.clone())));
        }
        if !self.dependents.is_empty() {
            sections.push(Section::Dependents(Box::new(self.dependents.clone())));
        }
        if !self.frozen.is_empty() {
            sections.push(Section::Frozen(self.frozen.records()));
        }
        if !self.frozen.lost().is_empty() {
            sections.push(Section::Thawed(self.frozen.lost().clone()));
        }
        if !self.noticed.is_empty() {
            sections.push(Section::Noticed(self.noticed.clone()));
        }
        if !self.changes.is_empty() {
            sections.push(Section::Changes(self.changes.clone()));
        }
        if !self.relimited.is_empty() {
            sections.push(Section::Relimited(self.relimited.clone()));
        }
        if !self.times.is_empty() {
            sections.push(Section::Times(self.times.clone()));
        }
        if !self.reservations.is_empty() {
            sections.push(Section::Reservations(self.reservations.records()));
        }
        let used = self.groups.accounts.records(self.at);
        if !used.is_empty() {
            sections.push(Section::Usage(used));
        }
        if !self.schedules.is_empty() {
            sections.push(Section::Schedules(Box::new(self.schedules.clone())));
        }
        if !self.workflows.is_empty() {
            sections.push(Section::Workflows(Box::new(self.workflows.clone())));
        }
        if !self.services.is_empty() {
            sections.push(Section::Services(Box::new(self.services.clone())));
        }
        if !self.models.is_empty() {
            sections.push(Section::Models(Box::new(self.models.clone())));
        }
        sections
    }

    fn restore_section(&mut self, section: Section) {
        match section {
            Section::Dependents(dependents) => self.dependents = *dependents,
            Section::Noticed(noticed) => {
                noticed.keys().for_each(|task| self.forget_oldest(*task));
                self.noticed = noticed;
            }
            Section::Frozen(frozen) => {
                frozen.into_iter().for_each(|(task, ice)| self.set_ice(task, ice));
            }
            Section::Policy(policy) => {
                self.groups.accounts.charge_by(&policy);
                self.rules = Rules::from(*policy);
            }
            Section::Thawed(lost) => self.frozen.restore_lost(lost),
            Section::Changes(changes) => self.changes = changes,
            Section::Relimited(relimited) => self.relimited = relimited,
            Section::Times(times) => self.restore_times(times),
            Section::Stocks(stocks) => {
                stocks.into_iter().for_each(|record| self.restore_stock(record));
            }
            Section::Reservations(all) => {
                let each = all.iter();
                each.for_each(|(reservation, nodes)| self.reservations.insert(reservation, nodes));
            }
            Section::Usage(used) => self.groups.accounts.restore(used, self.at),
            Section::Schedules(schedules) => {
                self.schedules = *schedules;
                self.schedules.derive();
            }
            Section::Workflows(workflows) => self.restore_workflows(*workflows),
            Section::Services(services) => self.restore_services(*services),
            Section::Models(models) => {
                self.models = *models;
                self.models.derive();
            }
        }
    }

    fn stock_records(&self) -> Vec<StockRecord> {
        let has_any =
            |stock: &Stock| stock.offer != Offer::default() || stock.held().next().is_some();
        let stocked = self.nodes.iter().filter(|(_, node)| has_any(&node.stock));
        let record = |(ix, node): (NodeIx, &Node)| {
            let held = node.stock.held().map(|(task, held)| (task, held.clone()));
            StockRecord { ix, offer: node.stock.offer.clone(), held: held.collect() }
        };
        stocked.map(record).collect()
    }

    fn restore_stock(&mut self, record: StockRecord) {
        if let Some(node) = self.nodes.get_mut(record.ix) {
            node.stock.set_offer(&record.offer);
        }
        for (task, holding) in record.held {
            let group = self.jobs.get(task.job).map(|job| job.group);
            self.hold_apart(record.ix, group.unwrap_or(GroupIx::MAX), task, holding);
        }
    }

    fn job_record<'a>(&self, id: JobId, job: &'a Job, group: u32) -> JobRecord<&'a Spec> {
        let submit = self.jobs.submit_of(id).unwrap_or(SubmitId([0; 16]));
        let range = id.task(0)..=id.task(u32::MAX);
        let extras = self.extras.range(range).map(|(task, extra)| (task.index, extra.into()));
        JobRecord {
            id,
            group,
            kind: job.kind,
            submit,
            submitted: job.submitted,
            started: job.started,
            gates: job.gates.recorded(),
            spec: &job.spec,
            tasks: match &job.tasks {
                Tasks::One(One { attempt, place }) => TasksRecord::One {
                    attempt: *attempt,
                    spot: match place {
                        Place::On(spot) => Some((spot.node, spot.running)),
                        Place::Ready | Place::Delayed => None,
                    },
                },
                Tasks::Many(array) => TasksRecord::Many(Box::new(array_record(id, array))),
            },
            extras: extras.collect(),
        }
    }

    pub(crate) fn restore(config: &Config, bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut rest = bytes;
        let version: u32 = read(&mut rest)?;
        if version != VERSION {
            return Err(RestoreError::UnknownVersion(version));
        }
        let header: Header = read(&mut rest)?;
        let mut state = Self::new(config);
        state.at = header.at;
        state.next_job = header.next_job;
        state.next_node = header.next_node;
        for tenant in &header.tenants {
            state.tenants.enter(tenant);
        }
        state.tokens = header.tokens.into_iter().collect();
        for (submit, tenant, job) in header.ended_submits {
            state.submits.enter_ended(tenant, submit, job);
        }
        let mut groups = Vec::with_capacity(header.groups.len());
        for key in header.groups {
            groups.push(state.groups.start(key));
        }
        state.groups.lengths.restore(header.lengths);
        // No job takes less than its submission's id.
        state.submits.reserve((header.jobs as usize).min(bytes.len() / 16));
        for _ in 0..header.jobs {
            state.restore_job(read(&mut rest)?, &groups)?;
        }
        for _ in 0..header.nodes {
            state.restore_node(read(&mut rest)?, &groups)?;
        }
        while !rest.is_empty() {
            state.restore_section(read(&mut rest)?);
        }
        state.recount_quotas();
        state.assign_partitions();
        state.class_nodes();
        Ok(state)
    }

    fn restore_job(
        &mut self,
        record: JobRecord<&[u8]>,
        groups: &[GroupIx],
    ) -> Result<(), RestoreError> {
        let id = record.id;
        let group = groups.get(record.group as usize).copied();
        let group = group.ok_or_else(|| garbled("a group of a job"))?;
        self.groups.join(group);
        let tenant = self.groups.get(group).map(|group| group.key.tenant);
        let tenant = tenant.ok_or_else(|| garbled("a group"))?;
        for (index, extra) in record.extras {
            let extra: Extra = extra.into();
            if extra.not_before.0 > 0 {
                self.delays.insert((extra.not_before, id.task(index)));
            }
            self.extras.insert(id.task(index), extra);
        }
        let job = Job {
            spec: self.hold_spec(tenant, group, record.spec),
            submitted: record.submitted,
            started: record.started,
            group,
            kind: record.kind,
            gates: record.gates,
            tasks: match record.tasks {
                TasksRecord::One { attempt, spot } => {
                    let delayed =
                        self.extras.get(&id.task(0)).is_some_and(|extra| extra.not_before.0 > 0);
                    let place = match spot {
                        Some((node, running)) => Place::On(Spot { node, running }),
                        None if delayed => Place::Delayed,
                        None => Place::Ready,
                    };
                    Tasks::One(One { attempt, place })
                }
                TasksRecord::Many(array) => Tasks::Many(Box::new(self.restore_array(id, *array))),
            },
        };
        self.submits.enter(tenant, record.submit, id);
        let tenant = self.tenants.get_mut(tenant).ok_or_else(|| garbled("a tenant"))?;
        tenant.live_tasks += u64::from(job.live_tasks());
        let ready = job.ready_tasks();
        let waits = matches!(&job.tasks, Tasks::Many(array) if array.waiting.count() > 0);
        if waits || job.gates.is_shut(Gates::RESULTS) {
            self.unlooked.insert(id);
        }
        self.jobs.insert(id, job, record.submit);
        if ready > 0 {
            self.groups.add_ready(group, id, ready);
        }
        Ok(())
    }

    fn restore_array(&self, job: JobId, record: ArrayRecord) -> Array {
        let counts = record.counts;
        let ended = counts.succeeded + counts.failed + counts.cancelled;
        let mut array = Array {
            count: counts.pending + counts.running + ended,
            max_running: record.max_running,
            gang: record.gang,
            counts,
            usage: record.usage,
            failure: record.failure,
            ..Array::default()
        };
        for (tasks, attempt) in record.pending {
            array.ready.insert(Assignment { job, attempt, tasks }, ());
        }
        for tasks in record.waiting {
            let mut waiting = Vec::new();
            array.ready.take_all(job, tasks, |run, ()| waiting.push(run));
            waiting.into_iter().for_each(|run| array.waiting.insert(run, ()));
        }
        for (tasks, attempt, over) in record.over {
            array.over.insert(Assignment { job, attempt, tasks }, over);
        }
        let range = job.task(0)..=job.task(u32::MAX);
        for (task, _) in self.extras.range(range).filter(|(_, extra)| extra.not_before.0 > 0) {
            if let Some((attempt, ())) = array.ready.get(*task) {
                let tasks = IndexRange::one(task.index);
                array.ready.take(Assignment { job, attempt, tasks }, |_, ()| ());
                array.delayed.insert(task.index, attempt);
            }
        }
        for (tasks, attempt, node, running) in record.placed {
            array.placed.insert(Assignment { job, attempt, tasks }, Spot { node, running });
        }
        array
    }

    fn restore_node(&mut self, record: NodeRecord, groups: &[GroupIx]) -> Result<(), RestoreError> {
        let group = |ordinal: u32| {
            groups.get(ordinal as usize).copied().ok_or_else(|| garbled("a group of a node"))
        };
        if record.ix > (1 << 24) {
            return Err(garbled("a node's number"));
        }
        let mut node = Node::new(record.name);
        node.set_info(record.info);
        node.incarnation = record.incarnation;
        node.next_report = record.next_report;
        node.drain = record.drain;
        node.lost = record.lost;
        for (ordinal, load) in record.loads {
            if let Some(entry) = node.loads.by_group.enter(group(ordinal)?) {
                *entry = load;
            }
        }
        for (ordinal, count) in record.order {
            node.loads.order.push_back((group(ordinal)?, count));
        }
        node.loads.recount(&mut self.groups);
        for (tasks, at) in record.tasks {
            node.tasks.insert(tasks, at);
            node.task_count += tasks.tasks.count;
            self.placed += u64::from(tasks.tasks.count);
            let group = self.jobs.get(tasks.job).map(|job| job.group);
            if let Some(group) = group.and_then(|group| self.groups.get_mut(group)) {
                group.on.insert(record.ix);
            }
        }
        self.nodes.insert(record.ix, node);
        Ok(())
    }
}

fn array_record(job: JobId, array: &Array) -> ArrayRecord {
    let mut pending: Spans<()> = array.ready.clone();
    for (index, attempt) in &array.delayed {
        let tasks = IndexRange::one(*index);
        pending.insert(Assignment { job, attempt: *attempt, tasks }, ());
    }
    array.waiting.iter().for_each(|(run, ())| pending.insert(run, ()));
    ArrayRecord {
        max_running: array.max_running,
        gang: array.gang,
        waiting: array.waiting.iter().map(|(run, ())| run.tasks).collect(),
        over: array.over.iter().map(|(run, over)| (run.tasks, run.attempt, over)).collect(),
        pending: pending.iter().map(|(run, ())| (run.tasks, run.attempt)).collect(),
        placed: array
            .placed
            .iter()
            .map(|(run, spot)| (run.tasks, run.attempt, spot.node, spot.running))
            .collect(),
        counts: array.counts,
        usage: array.usage,
        failure: array.failure.clone(),
    }
}

impl From<&Extra> for ExtraRecord {
    fn from(extra: &Extra) -> Self {
        Self {
            retries: extra.retries,
            requeues: extra.requeues,
            not_before: extra.not_before,
            checkpoint: extra.checkpoint.as_deref().cloned(),
            usage: extra.usage,
            outcome: extra.outcome.as_deref().cloned(),
        }
    }
}

impl From<ExtraRecord> for Extra {
    fn from(record: ExtraRecord) -> Self {
        Self {
            retries: record.retries,
            requeues: record.requeues,
            not_before: record.not_before,
            checkpoint: record.checkpoint.map(Box::new),
            usage: record.usage,
            outcome: record.outcome.map(Box::new),
        }
    }
}

fn garbled(what: impl ToString) -> RestoreError {
    RestoreError::Garbled(what.to_string())
}

/// Appends a value. Plain data always has an encoding; a vector always has room.
fn write<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    let taken = std::mem::take(bytes);
    if let Ok(extended) = postcard::to_extend(value, taken) {
        *bytes = extended;
    }
}

fn read<'a, T: Deserialize<'a>>(rest: &mut &'a [u8]) -> Result<T, RestoreError> {
    let (value, left) = postcard::take_from_bytes(rest).map_err(garbled)?;
    *rest = left;
    Ok(value)
}
