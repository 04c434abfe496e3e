//! What can be seen of live workflows.

use wrun_protocol::JobId;
use wrun_protocol::wire::user::JobSummary;
use wrun_protocol::wire::workflow::WorkflowDetail;
use wrun_protocol::workflow::StepState;

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

    pub(super) fn workflows_before(&self, id: JobId) -> impl Iterator<Item = (JobId, &Flow)> {
        self.state.workflows.before(id)
    }
}
