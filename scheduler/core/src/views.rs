//! What can be seen of live jobs and nodes. Changes nothing. What has ended is history's.

mod advice;
mod explain;
pub mod forecast;
pub(crate) mod models;
mod order;
mod place;
mod policy;
mod reasons;
mod schedules;
mod services;
mod survey;
mod workflows;

use wrun_protocol::node::NodeInfo;
use wrun_protocol::task::{Outcome, Usage};
use wrun_protocol::wire::policy::NodeDetail;
use wrun_protocol::wire::user::{
    JobDetail, JobState, JobSummary, NodeSummary, TaskDetail, TaskState,
};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, JobSpec, NodeId, SubmitId, TaskId, TenantName, Timestamp};

use crate::core::Core;
use crate::state::jobs::{Job, NodeIx, Over, Spot, Tasks, task_state};
use crate::state::nodes::{Node, node_id, node_ix};

/// Which live jobs to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct JobsQuery<'a> {
    /// Only of this tenant.
    pub tenant: Option<&'a TenantName>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
    /// At most this many.
    pub limit: usize,
}

/// How much there is of what, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that have not ended.
    pub jobs: u64,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks placed on nodes.
    pub placed: u64,
    /// Nodes known.
    pub nodes: u64,
    /// Nodes connected.
    pub connected: u64,
}

impl Core {
    /// A live job in full.
    pub fn job(&self, id: JobId) -> Option<JobDetail> {
        let job = self.state.jobs.get(id)?;
        let (usage, failure) = match &job.tasks {
            Tasks::One(_) => {
                let extra = self.state.extras.get(&id.task(0));
                (extra.map(|extra| extra.usage).unwrap_or_default(), None)
            }
            Tasks::Many(array) => (array.usage, array.failure.clone()),
        };
        Some(JobDetail {
            summary: self.summary(id, job)?,
            spec: job.spec.encoded(),
            usage,
            pending_reason: self.pending_reason(id).map(|reason| reason.to_string()),
            failure,
        })
    }

    /// A live job as listings show it.
    pub fn job_summary(&self, id: JobId) -> Option<JobSummary> {
        self.summary(id, self.state.jobs.get(id)?)
    }

    /// Live jobs and workflows, newest first. Costs one step for each job passed over.
    pub fn jobs(&self, query: &JobsQuery<'_>) -> Vec<JobSummary> {
        let tenant = match query.tenant.map(|name| self.state.tenants.find(name)) {
            Some(None) => return Vec::new(),
            Some(known) => known,
            None => None,
        };
        let of_tenant = |job: &Job| {
            tenant.is_none()
                || self.state.groups.get(job.group).map(|group| group.key.tenant) == tenant
        };
        let before = query.before.unwrap_or(JobId(u64::MAX));
        let jobs = self.state.jobs.before(before);
        let jobs = jobs
            .filter(|(_, job)| of_tenant(job))
            .filter(|(_, job)| query.state.is_none_or(|state| state == state_of(job)))
            .filter_map(|(id, job)| self.summary(id, job));
        let mut flows = self
            .workflows_before(before)
            .filter(|(_, flow)| tenant.is_none_or(|tenant| flow.tenant == tenant))
            .filter(|(_, flow)| query.state.is_none_or(|state| state == flow.state()))
            .filter_map(|(id, _)| self.workflow_summary(id))
            .peekable();
        let mut jobs = jobs.peekable();
        std::iter::from_fn(|| match (jobs.peek(), flows.peek()) {
            (Some(job), Some(flow)) if flow.id > job.id => flows.next(),
            (Some(_), _) => jobs.next(),
            (None, _) => flows.next(),
        })
        .take(query.limit)
        .collect()
    }

    fn summary(&self, id: JobId, job: &Job) -> Option<JobSummary> {
        let group = self.state.groups.get(job.group)?;
        Some(JobSummary {
            id,
            name: job.spec.encoded().decode().map(|spec: JobSpec| spec.name).unwrap_or_default(),
            tenant: self.state.tenants.get(group.key.tenant)?.name.clone(),
            state: state_of(job),
            tasks: job.counts(),
            priority: group.key.priority,
            submitted: job.submitted,
            started: started(job),
            ended: None,
        })
    }

    /// Tasks of a live job in order of index: live ones, and those that were cancelled. Others
    /// that have ended are in history.
    /// At most `limit` rows. Costs one step for each run of like tasks and each row.
    pub fn tasks(
        &self,
        id: JobId,
        from: u32,
        limit: u32,
        state: Option<TaskState>,
    ) -> Vec<TaskDetail> {
        let Some(job) = self.state.jobs.get(id) else { return Vec::new() };
        // Stopped ones are placed like others; which they are is looked up one by one.
        let any = self.state.frozen.is_empty() && self.state.noticed.is_empty();
        let placed = |state| {
            use TaskState::{Assigned, Frozen, Running, Stopping};
            matches!(state, Assigned | Running | Frozen | Stopping)
        };
        let wanted = |spot: Option<Spot>| match state {
            Some(state) if !any && spot.is_some() => placed(state),
            Some(state) => state == task_state(spot),
            None => true,
        };
        let shown = |index: u32, spot: Option<Spot>| {
            any || state.is_none_or(|state| state == self.shown_state(id.task(index), spot))
        };
        let limit = limit as usize;
        let mut found: Vec<(u32, u32, Option<Spot>)> = Vec::new();
        let mut cancelled = Vec::new();
        match &job.tasks {
            Tasks::One(_) => {
                let task = job.task(id.task(from));
                let task = task.filter(|(_, spot)| wanted(*spot) && shown(from, *spot));
                found.extend(task.map(|(attempt, spot)| (from, attempt, spot)));
            }
            Tasks::Many(array) => {
                let expand = |(run, spot): (wrun_protocol::wire::worker::Assignment, _)| {
                    let indices = run.tasks.indices().filter(move |index| *index >= from);
                    indices.map(move |index| (index, run.attempt, spot))
                };
                let placed = array.placed.from(id, from).map(|(run, spot)| (run, Some(spot)));
                let placed = placed.filter(|(_, s)| wanted(*s)).flat_map(expand);
                found.extend(placed.filter(|(index, _, s)| shown(*index, *s)).take(limit));
                if wanted(None) {
                    for pending in [&array.ready, &array.waiting] {
                        let runs = pending.from(id, from).map(|(run, ())| (run, None));
                        found.extend(runs.flat_map(expand).take(limit));
                    }
                    let delayed = array.delayed.range(from..).take(limit);
                    found.extend(delayed.map(|(index, attempt)| (*index, *attempt, None)));
                }
                if state.is_none_or(|state| state == TaskState::Cancelled) {
                    let over = array.over.from(id, from).filter(|(_, o)| *o == Over::Cancelled);
                    cancelled.extend(over.map(|(run, _)| (run, None)).flat_map(expand).take(limit));
                }
            }
        }
        let row = |(index, attempt, spot)| self.task_row(id.task(index), attempt, spot);
        let cancelled = cancelled
            .into_iter()
            .map(row)
            .map(|row| TaskDetail { state: TaskState::Cancelled, ..row });
        let mut rows: Vec<_> = found.into_iter().map(row).chain(cancelled).collect();
        rows.sort_unstable_by_key(|row| row.index);
        rows.truncate(limit);
        rows
    }

    fn task_row(&self, task: TaskId, attempts: u32, spot: Option<Spot>) -> TaskDetail {
        let extra = self.state.extras.get(&task);
        let node = spot.map(|spot| spot.node);
        TaskDetail {
            index: task.index,
            state: self.shown_state(task, spot),
            attempts,
            node: node.map(node_id),
            node_name: node.and_then(|ix| self.state.nodes.get(ix)).map(|node| node.name.clone()),
            started: None,
            ended: None,
            outcome: extra.and_then(|extra| extra.outcome.as_deref().cloned()),
            usage: extra.map(|extra| extra.usage).unwrap_or_default(),
            progress: self.state.progress.get(&task).cloned(),
        }
    }

    /// A task's state as users see it: one that stands still, or will be stopped, is told
    /// from one that runs.
    fn shown_state(&self, task: TaskId, spot: Option<Spot>) -> TaskState {
        if spot.is_some() && self.state.frozen.holds(task) {
            TaskState::Frozen
        } else if spot.is_some() && self.state.noticed.contains_key(&task) {
            TaskState::Stopping
        } else {
            task_state(spot)
        }
    }

    /// Whose a live job or workflow is.
    pub fn job_tenant(&self, id: JobId) -> Option<&TenantName> {
        let tenant = match self.state.jobs.get(id) {
            Some(job) => self.state.groups.get(job.group)?.key.tenant,
            None => self.state.workflows.get(id)?.tenant,
        };
        Some(&self.state.tenants.get(tenant)?.name)
    }

    /// Which interface a live job's component exports.
    pub fn job_kind(&self, id: JobId) -> Option<ComponentKind> {
        self.state.jobs.get(id).map(|job| job.kind)
    }

    /// The job that a submission made, if it lives or ended lately.
    pub fn job_by_submit_id(&self, tenant: &TenantName, id: SubmitId) -> Option<JobId> {
        self.state.submitted(self.state.tenants.find(tenant)?, id)
    }

    /// Where a live task is, by which attempt. `None` while it waits.
    pub fn task_location(&self, task: TaskId) -> Option<(NodeId, u32, TaskState)> {
        let (attempt, spot) = self.state.jobs.get(task.job)?.task(task)?;
        spot.map(|spot| (node_id(spot.node), attempt, task_state(Some(spot))))
    }

    /// Where a live task stands, wherever it is.
    pub fn task_state(&self, task: TaskId) -> Option<TaskState> {
        let (_, spot) = self.state.jobs.get(task.job)?.task(task)?;
        Some(task_state(spot))
    }

    /// Every node, by number.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        self.state.nodes.iter().map(|(ix, node)| node_row(ix, node)).collect()
    }

    /// Every node with its devices and partitions, by number.
    pub fn node_details(&self) -> Vec<NodeDetail> {
        let nodes = self.state.nodes.iter();
        nodes.map(|(ix, node)| node_detail(ix, node)).collect()
    }

    /// One node.
    pub fn node(&self, node: NodeId) -> Option<NodeSummary> {
        let ix = node_ix(node);
        Some(node_row(ix, self.state.nodes.get(ix)?))
    }

    /// As the node last described itself; `None` until it first connected.
    pub fn node_info(&self, node: NodeId) -> Option<&NodeInfo> {
        self.state.nodes.get(node_ix(node))?.info.as_deref()
    }

    /// By name, or by id as `wrun nodes` prints it.
    pub fn node_by_name(&self, name: &str) -> Option<NodeId> {
        let by_name = self.state.nodes.named(name).map(node_id);
        by_name.or_else(|| {
            let id: NodeId = name.parse().ok()?;
            self.state.nodes.get(node_ix(id)).map(|_| id)
        })
    }

    /// Whether a join token of that hash is valid now.
    pub fn token_is_valid(&self, hash: &[u8; 32]) -> bool {
        self.state.tokens.get(hash).is_some_and(|expires| *expires > self.now)
    }

    /// How much there is of what. Costs one step for each tenant and node.
    pub fn counts(&self) -> Counts {
        let live: u64 = self.state.tenants.list.iter().map(|tenant| tenant.live_tasks).sum();
        let connected = self.state.nodes.iter().filter(|(_, node)| node.session.connected).count();
        Counts {
            jobs: self.state.jobs.len() as u64,
            pending: live.saturating_sub(self.state.placed),
            placed: self.state.placed,
            nodes: self.state.nodes.len() as u64,
            connected: connected as u64,
        }
    }

    /// Usage and outcome of the attempts of a live task that have ended.
    pub fn task_history(&self, task: TaskId) -> Option<(Usage, Option<&Outcome>)> {
        let extra = self.state.extras.get(&task)?;
        Some((extra.usage, extra.outcome.as_deref()))
    }
}

fn state_of(job: &Job) -> JobState {
    if started(job).is_none() { JobState::Pending } else { JobState::Running }
}

fn started(job: &Job) -> Option<Timestamp> {
    Some(job.started).filter(|at| at.0 > 0)
}

fn node_detail(ix: NodeIx, node: &Node) -> NodeDetail {
    let stock = &node.stock;
    let named = stock.offer.named.iter();
    let used = named.map(|(name, all)| (name.clone(), all.saturating_sub(stock.left_of(name))));
    NodeDetail {
        summary: node_row(ix, node),
        gpu_used: stock.used_cards().collect(),
        named_used: used.collect(),
        offer: stock.offer.clone(),
        partitions: node.partitions.iter().cloned().collect(),
    }
}

fn node_row(ix: NodeIx, node: &Node) -> NodeSummary {
    let info = node.info.as_deref().cloned().unwrap_or_else(|| NodeInfo {
        name: node.name.clone(),
        capacity: wrun_protocol::Resources::default(),
        labels: std::collections::BTreeMap::new(),
        version: String::new(),
    });
    NodeSummary {
        id: node_id(ix),
        info,
        state: node.state(),
        used: node.loads.used,
        tasks: node.task_count,
        last_seen: node.session.last_seen,
    }
}
