//! What users see of workflows: the parts of [`super::user::Response`] that speak of them.

use serde::{Deserialize, Serialize};

use super::user::{JobSummary, TaskCounts};
use crate::workflow::{StepReason, StepState, When};
use crate::{JobId, Timestamp};

/// A workflow, as `wrun job ID` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowDetail {
    /// As in a listing. Its counts are of steps: those skipped are counted as cancelled,
    /// those reused as succeeded.
    pub summary: JobSummary,
    /// The run before, of whose steps it reuses some.
    pub rerun_of: Option<JobId>,
    /// In the order of the workflow file, the one that runs at last at the end.
    pub steps: Vec<StepDetail>,
}

/// What the number of a job in a listing stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// A job that somebody submitted.
    #[default]
    Job,
    /// A workflow.
    Workflow,
    /// The job of a step of this workflow.
    Step(JobId),
    /// The replicas of a revision of a service: which, while the service remembers it.
    Revision(Option<u32>),
}

/// A step of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDetail {
    /// Its name.
    pub name: String,
    /// Whether it is the one that runs when all others are over.
    pub finally: bool,
    /// Places of the steps before it, those whose output it takes included.
    pub needs: Vec<u16>,
    /// What must have become of those.
    pub when: When,
    /// Whether the workflow can succeed without it.
    pub may_fail: bool,
    /// Where it stands.
    pub state: StepState,
    /// Its job, once it is submitted; of an earlier run where the step is reused.
    pub job: Option<JobId>,
    /// Where that job's tasks stand.
    pub tasks: TaskCounts,
    /// When its job was submitted.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it ended so, where its job does not say.
    pub why: Option<StepReason>,
}
