//! Workflows that have not ended: how far each step is. That something has come about which
//! may let a step begin or end is noted in [`Workflows::due`], for those who decide.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::user::{JobState, TaskCounts};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::workflow::{EncodedWorkflow, Graph, Reused, StepReason, StepState, Workflow};
use wrun_protocol::{JobId, SubmitId, Timestamp};

use super::State;
use super::groups::TenantIx;
use super::spec::Spec;
use crate::ended::EndedJob;
use crate::fact::Fact;
use crate::workflow::{StepRun, WorkflowRecord, counts};

/// Every workflow that lives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Workflows {
    live: BTreeMap<JobId, Flow>,
    /// How many a tenant has, and how many bytes they take encoded. Derived.
    #[serde(skip)]
    sizes: BTreeMap<TenantIx, (usize, usize)>,
    /// Which step a live job runs. Derived.
    #[serde(skip)]
    of_job: BTreeMap<JobId, (JobId, u16)>,
    /// Steps to be looked at. Not recorded.
    #[serde(skip)]
    pub(crate) due: BTreeMap<JobId, BTreeSet<u16>>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) tenant: TenantIx,
    pub(crate) submit: SubmitId,
    pub(crate) submitted: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) encoded: EncodedWorkflow,
    /// Which interface the component of each step exports.
    pub(crate) kinds: Vec<ComponentKind>,
    pub(crate) rerun_of: Option<JobId>,
    pub(crate) cancelled: bool,
    pub(crate) steps: Vec<StepRun>,
    /// What `encoded` says. Derived.
    #[serde(skip, default = "Workflow::empty")]
    pub(crate) workflow: Workflow,
    #[serde(skip)]
    pub(crate) graph: Graph,
}

impl Flow {
    pub(crate) fn step(&self, index: u16) -> Option<&StepRun> {
        self.steps.get(usize::from(index))
    }

    /// The place of the step that comes after all others.
    pub(crate) fn last(&self) -> Option<u16> {
        self.workflow.finally.as_ref().map(|_| self.workflow.steps.len() as u16)
    }

    /// Whether every step but the last has ended.
    pub(crate) fn is_settled(&self) -> bool {
        let mut steps = self.steps.iter().take(self.workflow.steps.len());
        steps.all(|step| step.state.is_terminal())
    }

    /// How the workflow ends, when every step has.
    pub(crate) fn final_state(&self) -> Option<JobState> {
        if !self.steps.iter().all(|step| step.state.is_terminal()) {
            return None;
        }
        let mut steps = self.workflow.every_step().zip(&self.steps);
        let failed = steps.any(|((_, step), run)| run.state.is_failure() && !step.may_fail);
        Some(match (self.cancelled, failed) {
            (true, _) => JobState::Cancelled,
            (false, true) => JobState::Failed,
            (false, false) => JobState::Succeeded,
        })
    }

    pub(crate) fn counts(&self) -> TaskCounts {
        counts(&self.steps)
    }

    pub(crate) fn state(&self) -> JobState {
        if self.started.is_none() { JobState::Pending } else { JobState::Running }
    }

    pub(crate) fn record(&self) -> WorkflowRecord {
        WorkflowRecord {
            workflow: self.encoded.clone(),
            rerun_of: self.rerun_of,
            steps: self.steps.clone(),
        }
    }

    fn derive(&mut self) {
        if let Ok((workflow, graph)) = self.encoded.open() {
            self.workflow = workflow;
            self.graph = graph;
        }
    }
}

impl Workflows {
    /// Whether none lives.
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Flow> {
        self.live.get(&id)
    }

    /// How many a tenant has, and how many bytes they take encoded.
    pub(crate) fn size_of(&self, tenant: TenantIx) -> (usize, usize) {
        self.sizes.get(&tenant).copied().unwrap_or_default()
    }

    /// Those before a number, newest first.
    pub(crate) fn before(&self, id: JobId) -> impl Iterator<Item = (JobId, &Flow)> {
        self.live.range(..id).rev().map(|(id, flow)| (*id, flow))
    }

    /// The workflow and step that a live job runs.
    pub(crate) fn of_job(&self, job: JobId) -> Option<(JobId, u16)> {
        self.of_job.get(&job).copied()
    }

    /// Has every step looked at anew, as after a restart.
    pub(crate) fn doubt_all(&mut self) {
        self.due = self.live.iter().map(|(id, flow)| (*id, all(flow))).collect();
    }

    /// Has a step looked at.
    pub(crate) fn doubt(&mut self, id: JobId, step: u16) {
        self.due.entry(id).or_default().insert(step);
    }

    pub(super) fn enter(&mut self, id: JobId, mut flow: Flow, reused: &[Reused]) {
        flow.derive();
        flow.steps = flow.workflow.every_step().map(|_| StepRun::waiting()).collect();
        for step in reused {
            if let Some(run) = flow.steps.get_mut(usize::from(step.step)) {
                *run = StepRun::reused(flow.submitted, step);
            }
        }
        self.due.insert(id, all(&flow));
        add(&mut self.sizes, &flow);
        self.live.insert(id, flow);
    }

    /// A step's job was submitted.
    pub(super) fn start(&mut self, at: Timestamp, id: JobId, step: u16, job: JobId) {
        let Some(flow) = self.live.get_mut(&id) else { return };
        let Some(run) = flow.steps.get_mut(usize::from(step)) else { return };
        run.state = StepState::Running;
        run.job = Some(job);
        run.started = Some(at);
        self.of_job.insert(job, (id, step));
        flow.started.get_or_insert(at);
    }

    /// A step has ended: those after it may begin.
    pub(super) fn end(
        &mut self,
        at: Timestamp,
        id: JobId,
        step: u16,
        state: StepState,
        why: Option<&StepReason>,
    ) {
        let Some(flow) = self.live.get_mut(&id) else { return };
        let Some(run) = flow.steps.get_mut(usize::from(step)) else { return };
        run.state = state;
        run.ended = Some(at);
        run.why = why.cloned();
        if let Some(job) = run.job {
            self.of_job.remove(&job);
        }
        let due = self.due.entry(id).or_default();
        due.extend(flow.graph.needed_by(step));
        if flow.is_settled() {
            due.extend(flow.last());
        }
    }

    pub(super) fn cancel(&mut self, id: JobId) {
        if let Some(flow) = self.live.get_mut(&id) {
            flow.cancelled = true;
            self.due.insert(id, all(flow));
        }
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Flow> {
        self.due.remove(&id);
        let flow = self.live.remove(&id)?;
        if let Some((count, bytes)) = self.sizes.get_mut(&flow.tenant) {
            *count -= 1;
            *bytes -= flow.encoded.as_bytes().len();
        }
        flow.steps.iter().filter_map(|run| run.job).for_each(|job| _ = self.of_job.remove(&job));
        Some(flow)
    }

    /// A job has ended, whosever it was.
    pub(super) fn on_job_ended(&mut self, job: JobId, state: JobState, tasks: TaskCounts) {
        let Some((id, step)) = self.of_job.get(&job).copied() else { return };
        let flow = self.live.get_mut(&id);
        if let Some(run) = flow.and_then(|flow| flow.steps.get_mut(usize::from(step))) {
            run.outcome = Some(state);
            run.tasks = tasks;
            self.doubt(id, step);
        }
    }

    /// What is derived, after a restart from a snapshot.
    pub(super) fn derive(&mut self) {
        for (id, flow) in &mut self.live {
            flow.derive();
            add(&mut self.sizes, flow);
            for (step, run) in (0..).zip(&flow.steps) {
                if let Some(job) = run.job.filter(|_| run.state == StepState::Running) {
                    self.of_job.insert(job, (*id, step));
                }
            }
        }
    }
}

impl State {
    /// A fact about a workflow.
    pub(super) fn apply_to_workflow(&mut self, fact: &Fact) {
        match fact {
            Fact::WorkflowSubmitted { at, job, tenant, id, workflow, kinds, rerun_of, reused } => {
                let owner = tenant;
                let tenant = self.tenants.enter(tenant);
                let flow = Flow {
                    tenant,
                    submit: *id,
                    submitted: *at,
                    started: None,
                    encoded: (**workflow).clone(),
                    kinds: kinds.clone(),
                    rerun_of: *rerun_of,
                    cancelled: false,
                    steps: Vec::new(),
                    workflow: Workflow::empty(),
                    graph: Graph::default(),
                };
                self.next_job = self.next_job.max(job.0 + 1);
                self.submits.enter(tenant, *id, *job);
                self.workflows.enter(*job, flow, reused);
                self.enter_models_of_workflow(*job, owner);
            }
            Fact::StepStarted { at, workflow, step, job } => {
                self.workflows.start(*at, *workflow, *step, *job);
                self.dependents.on_started(*workflow);
            }
            Fact::StepEnded { at, workflow, step, state, why } => {
                self.workflows.end(*at, *workflow, *step, *state, why.as_ref());
            }
            Fact::WorkflowCancelled { job, .. } => self.workflows.cancel(*job),
            Fact::WorkflowEnded { job, state, .. } => self.end_workflow(*job, *state),
            _ => {}
        }
    }

    fn end_workflow(&mut self, id: JobId, state: JobState) {
        let Some(flow) = self.workflows.remove(id) else { return };
        self.models.on_job_ended(id);
        self.dependents.on_workflow_ended(id, state, flow.started.is_some());
        self.submits.end(flow.tenant, flow.submit, id);
        let Some(tenant) = self.tenants.get(flow.tenant) else { return };
        let counts = flow.counts();
        self.ended.push(Box::new(EndedJob {
            job: id,
            tenant: tenant.name.clone(),
            submit_id: flow.submit,
            kind: ComponentKind::Command,
            spec: Spec::Whole(flow.record().into_spec().as_bytes().into()),
            submitted: flow.submitted,
            started: flow.started,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            usage: Usage::default(),
            failure: None,
        }));
    }

    /// As a snapshot has them.
    pub(super) fn restore_workflows(&mut self, workflows: Workflows) {
        self.workflows = workflows;
        self.workflows.derive();
        for (id, flow) in &self.workflows.live {
            self.submits.enter(flow.tenant, flow.submit, *id);
        }
    }
}

fn add(sizes: &mut BTreeMap<TenantIx, (usize, usize)>, flow: &Flow) {
    let (count, bytes) = sizes.entry(flow.tenant).or_default();
    *count += 1;
    *bytes += flow.encoded.as_bytes().len();
}

fn all(flow: &Flow) -> BTreeSet<u16> {
    (0..flow.steps.len() as u16).collect()
}
