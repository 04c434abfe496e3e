//! Workflows: steps that are jobs, with needs between them.
//!
//! A workflow takes a job's number and each of its steps that runs becomes an ordinary job
//! with a number of its own, named `WORKFLOW/STEP`. Steps are named here by their place in
//! the list: whoever writes a workflow resolves names, and [`Workflow::check`] holds that
//! what it names is there.

use serde::{Deserialize, Serialize};

use crate::JobId;
use crate::job::EncodedSpec;
use crate::wire::user::{RequestError, TaskCounts};

mod check;
mod encoded;
mod graph;
#[cfg(test)]
mod tests;

pub use check::WorkflowError;
pub use encoded::{EncodedWorkflow, VersionedWorkflow};
pub use graph::Graph;

/// Where the last step finds, as a JSON file, what became of the others.
pub const OUTCOMES_PATH: &str = "/workflow.json";

/// Steps, and a last one that runs whatever happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workflow {
    /// Shown in listings and the first part of its jobs' names; not unique.
    pub name: String,
    /// At least one, and with the last at most [`crate::limits::MAX_STEPS`].
    pub steps: Vec<Step>,
    /// Runs when every step has ended, been skipped or been cancelled.
    pub finally: Option<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique within the workflow.
    pub name: String,
    /// Its job, without a name and without what comes from other steps. A list of items
    /// that is known beforehand is the job's own input.
    pub job: EncodedSpec,
    /// Steps that come before it, besides those whose output it takes.
    pub needs: Vec<u16>,
    /// What must have become of those.
    pub when: When,
    /// Otherwise it is skipped.
    pub only_if: Option<Condition>,
    /// One task for each item of a step's output.
    pub for_each: Option<ForEach>,
    /// The step of one task whose output is this one's input.
    pub input: Option<u16>,
    /// Outputs that are files for this step.
    pub mounts: Vec<StepMount>,
    /// Longest time from when its job is submitted to its end, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Its failure does not make the workflow fail. Steps that need it are told all the same.
    pub may_fail: bool,
}

/// What must have become of the steps before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// All of them succeeded.
    #[default]
    Success,
    /// One of them failed or was cancelled.
    Failure,
    /// They are over, however.
    End,
}

/// What the output of a step of one task must be, white space around it left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Whose output.
    pub step: u16,
    /// `false`: anything but the text.
    pub equals: bool,
    /// The text.
    pub text: String,
}

/// Where the items come from, each the input of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForEach {
    /// Each line of the output of a step of one task that is not empty, without its end.
    Lines(u16),
    /// Each element of the JSON array that a step of one task gave: a string as it is,
    /// anything else as JSON.
    Json(u16),
    /// The output of each task of a step.
    Tasks(u16),
}

impl ForEach {
    /// Whose output it is.
    pub fn step(self) -> u16 {
        match self {
            Self::Lines(step) | Self::Json(step) | Self::Tasks(step) => step,
        }
    }
}

/// A step's output as a file: of one task as the file `path`, of many as `path/INDEX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMount {
    /// Whose output.
    pub step: u16,
    /// Absolute path in the guest.
    pub path: String,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// For the steps before it.
    Waiting,
    /// Its turn has come; what it takes of others is gathered.
    Preparing,
    /// Its job is submitted.
    Running,
    /// Its job succeeded.
    Succeeded,
    /// Its job failed or could not be made.
    Failed,
    /// It did not run, as its conditions wanted.
    Skipped,
    /// Its job or the workflow was cancelled.
    Cancelled,
    /// It succeeded in an earlier run of the workflow, whose result stands.
    Reused,
}

impl StepState {
    /// Its name, as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Reused => "reused",
        }
    }

    /// Whether it is final.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Preparing | Self::Running)
    }

    /// Whether the step has done what it is for, and its output can be had.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Reused)
    }

    /// Whether the step ran, or was to run, to no good end.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled)
    }
}

/// Why a step ended as it did, where its job does not say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StepReason {
    /// It runs only after success.
    #[error("`{0}` did not succeed")]
    NoSuccess(String),
    /// It runs only after failure.
    #[error("none of the steps before it failed")]
    NoFailure,
    /// Its condition does not hold.
    #[error("the output of `{0}` is not what `only_if` asks for")]
    Condition(String),
    /// There is nothing to do.
    #[error("`{0}` gave no items")]
    NoItems(String),
    /// What it takes of another step cannot be had or used.
    #[error("{0}")]
    Unprepared(String),
    /// Its job was refused.
    #[error("its job was refused: {0}")]
    Refused(RequestError),
    /// It took longer than its time-out.
    #[error("it did not end within its time-out of {:?}", std::time::Duration::from_millis(*.0))]
    TimedOut(u64),
    /// The workflow was cancelled before it ended.
    #[error("the workflow was cancelled")]
    Cancelled,
}

/// A step that need not run: it succeeded in an earlier run of the workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// Which step.
    pub step: u16,
    /// The job that ran it; `None` where it had nothing to do.
    pub job: Option<JobId>,
    /// That job's tasks.
    pub tasks: TaskCounts,
}

impl Workflow {
    /// Without a name and steps, as no workflow is.
    pub fn empty() -> Self {
        Self { name: String::new(), steps: Vec::new(), finally: None }
    }

    /// The step at that place; the last comes after the others.
    pub fn step(&self, index: u16) -> Option<&Step> {
        let index = usize::from(index);
        let last = || self.finally.as_ref().filter(|_| index == self.steps.len());
        self.steps.get(index).or_else(last)
    }

    /// Every step with its place, the last at the end.
    pub fn every_step(&self) -> impl Iterator<Item = (u16, &Step)> {
        (0..).zip(self.steps.iter().chain(&self.finally))
    }

    /// The place of the step of that name.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.every_step().find(|(_, step)| step.name == name).map(|(index, _)| index)
    }

    /// The name of a step's job.
    pub fn job_name(&self, step: &Step) -> String {
        format!("{}/{}", self.name, step.name)
    }
}

impl Step {
    /// A step that does that job and takes nothing of others.
    pub fn new(name: impl Into<String>, job: EncodedSpec) -> Self {
        Self {
            name: name.into(),
            job,
            needs: Vec::new(),
            when: When::Success,
            only_if: None,
            for_each: None,
            input: None,
            mounts: Vec::new(),
            timeout_ms: None,
            may_fail: false,
        }
    }

    /// Steps whose output it takes, with the field that says so.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let condition = self.only_if.as_ref().map(|only_if| ("only_if", only_if.step));
        let items = self.for_each.map(|for_each| ("for_each", for_each.step()));
        let input = self.input.map(|step| ("input", step));
        let mounts = self.mounts.iter().map(|mount| ("mounts", mount.step));
        condition.into_iter().chain(items).chain(input).chain(mounts)
    }
}
