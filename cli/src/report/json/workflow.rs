//! What is printed of workflows.

use schemars::JsonSchema;
use serde::Serialize;
use wrun_protocol::wire::user::JobSummary;
use wrun_protocol::wire::workflow::{JobKind, StepDetail, WorkflowDetail};

use super::{Counts, Explanation, Job};
use crate::report::explain::{OpenStep, waits_for};
use crate::report::graph;

/// A job in a listing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ListedJob {
    #[serde(flatten)]
    pub(crate) job: Job,
    /// `job`, `workflow`, `step`: the job of a workflow's step, or `service`.
    pub(crate) job_kind: &'static str,
    /// Of a step's job: the workflow.
    pub(crate) workflow: Option<u64>,
    /// Of a service's job: the revision whose replicas are its tasks.
    pub(crate) revision: Option<u32>,
}

impl ListedJob {
    /// The row of `job`, which is of that kind.
    pub(crate) fn of(job: &JobSummary, kind: JobKind) -> Self {
        let (job_kind, workflow, revision) = match kind {
            JobKind::Job => ("job", None, None),
            JobKind::Workflow => ("workflow", None, None),
            JobKind::Step(workflow) => ("step", Some(workflow.0), None),
            JobKind::Revision(revision) => ("service", None, revision),
        };
        Self { job: job.into(), job_kind, workflow, revision }
    }
}

/// A workflow with its steps. Its `tasks` count steps: those skipped as cancelled, those
/// reused as succeeded.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WorkflowPage {
    #[serde(flatten)]
    pub(crate) job: Job,
    /// The run before, of whose steps it reuses some.
    pub(crate) rerun_of: Option<u64>,
    /// In the order of the workflow file, the one that runs at last at the end.
    pub(crate) steps: Vec<WorkflowStep>,
}

/// A step of a workflow.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WorkflowStep {
    pub(crate) name: String,
    /// Whether it is the one that runs when all others are over.
    pub(crate) finally: bool,
    /// Names of the steps before it, those whose output it takes included.
    pub(crate) needs: Vec<String>,
    /// `success`, `failure` or `end`: what must have become of those.
    pub(crate) when: &'static str,
    /// Whether the workflow can succeed without it.
    pub(crate) may_fail: bool,
    /// `waiting`, `preparing`, `running`, `succeeded`, `failed`, `skipped`, `cancelled` or
    /// `reused`.
    pub(crate) state: &'static str,
    /// Its job's id, once it is submitted; of an earlier run where the step is reused.
    pub(crate) job: Option<u64>,
    pub(crate) tasks: Counts,
    pub(crate) started_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    /// Why it ended so, where its job does not say.
    pub(crate) why: Option<String>,
}

impl From<&WorkflowDetail> for WorkflowPage {
    fn from(detail: &WorkflowDetail) -> Self {
        let step = |step: &StepDetail| {
            let name = |need: &u16| detail.steps.get(usize::from(*need)).map(|s| s.name.clone());
            WorkflowStep {
                name: step.name.clone(),
                finally: step.finally,
                needs: step.needs.iter().filter_map(name).collect(),
                when: graph::when(step.when),
                may_fail: step.may_fail,
                state: step.state.name(),
                job: step.job.map(|job| job.0),
                tasks: step.tasks.into(),
                started_ms: step.started.map(|time| time.0),
                ended_ms: step.ended.map(|time| time.0),
                why: step.why.as_ref().map(ToString::to_string),
            }
        };
        Self {
            job: (&detail.summary).into(),
            rerun_of: detail.rerun_of.map(|job| job.0),
            steps: detail.steps.iter().map(step).collect(),
        }
    }
}

/// What the steps of a workflow wait for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WorkflowExplanation {
    pub(crate) workflow: u64,
    /// Those that have not ended.
    pub(crate) open_steps: Vec<OpenStepExplanation>,
}

/// A step that has not ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OpenStepExplanation {
    pub(crate) name: String,
    /// `waiting`, `preparing` or `running`.
    pub(crate) state: &'static str,
    /// Names of the steps that have to end before it.
    pub(crate) waits_for: Vec<String>,
    /// Of its job, once it is submitted.
    pub(crate) explanation: Option<Explanation>,
}

impl WorkflowExplanation {
    /// Of a workflow with steps that have not ended.
    pub(crate) fn of(workflow: &WorkflowDetail, open: &[OpenStep<'_>]) -> Self {
        let explained = |OpenStep { step, why }: &OpenStep<'_>| OpenStepExplanation {
            name: step.name.clone(),
            state: step.state.name(),
            waits_for: waits_for(workflow, step).into_iter().map(str::to_owned).collect(),
            explanation: why.as_ref().map(Into::into),
        };
        Self { workflow: workflow.summary.id.0, open_steps: open.iter().map(explained).collect() }
    }
}
