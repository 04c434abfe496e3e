//! What can be seen of live workflows.

use wrun_protocol::wire::user::JobSummary;
use wrun_protocol::wire::workflow::{JobKind, WorkflowDetail};
use wrun_protocol::workflow::StepState;
use wrun_protocol::{JobId, TenantName};

use crate::core::Core;
use crate::state::workflows::Flow;
use crate::workflow::details;

impl Core {
    /// A live workflow in full, also by a live job of one of its steps.
    pub fn workflow(&self, id: JobId) -> Option<WorkflowDetail> {
        let of_job = self.state.workflows.of_job(id);
        let id = of_job.map_or(id, |(workflow, _)| workflow);
        let flow = self.state.workflows.get(id)?;
        let mut steps = details(&flow.workflow, &flow.graph, &flow.steps);
        for (index, step) in (0..).zip(&mut steps) {
            if step.state == StepState::Waiting && self.preparing.contains(id, index) {
                step.state = StepState::Preparing;
            }
            let live = step.job.filter(|_| step.state == StepState::Running);
            let job = live.and_then(|job| self.state.jobs.get(job));
            step.tasks = job.map_or(step.tasks, |job| job.counts());
        }
        let summary = self.workflow_summary(id)?;
        Some(WorkflowDetail { summary, rerun_of: flow.rerun_of, steps })
    }

    /// A live workflow as listings show it: its counts are of steps.
    pub fn workflow_summary(&self, id: JobId) -> Option<JobSummary> {
        let flow = self.state.workflows.get(id)?;
        Some(JobSummary {
            id,
            name: flow.workflow.name.clone(),
            tenant: self.state.tenants.get(flow.tenant)?.name.clone(),
            state: flow.state(),
            tasks: flow.counts(),
            priority: 0,
            submitted: flow.submitted,
            started: flow.started,
            ended: None,
        })
    }

    /// What a live number of a listing is, and whose.
    pub fn listed(&self, id: JobId) -> Option<(TenantName, JobKind)> {
        let of_step = self.state.workflows.of_job(id).map(|(workflow, _)| workflow);
        let (flow, kind) = match of_step {
            Some(workflow) => (workflow, JobKind::Step(workflow)),
            None => (id, JobKind::Workflow),
        };
        if let Some(flow) = self.state.workflows.get(flow) {
            return Some((self.state.tenants.get(flow.tenant)?.name.clone(), kind));
        }
        let revision = self.revision_of(id);
        let kind = revision.map_or(JobKind::Job, |(_, revision)| JobKind::Revision(Some(revision)));
        Some((self.job_tenant(id)?.clone(), kind))
    }

    /// Whether that job was that step's of a live workflow; `None` of one that does not live.
    pub fn is_of_step(&self, job: JobId, workflow: JobId, step: u16) -> Option<bool> {
        let flow = self.state.workflows.get(workflow)?;
        Some(flow.step(step).is_some_and(|run| run.job == Some(job)))
    }

    pub(super) fn workflows_before(&self, id: JobId) -> impl Iterator<Item = (JobId, &Flow)> {
        self.state.workflows.before(id)
    }
}
