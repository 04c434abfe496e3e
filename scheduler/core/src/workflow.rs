//! What the driver does for workflows and what it is told of them: a step whose turn has
//! come is prepared by the driver, who alone can read outputs, and an ended workflow is
//! kept by the history.

use serde::{Deserialize, Serialize};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{JobState, JobSummary, TaskCounts};
use wrun_protocol::wire::workflow::{StepDetail, WorkflowDetail};
use wrun_protocol::workflow::{
    EncodedWorkflow, Graph, Reused, Step, StepReason, StepState, Workflow,
};
use wrun_protocol::{JobId, SubmitId, TenantName, Timestamp};

/// A step whose turn has come: what it takes of others is to be gathered, and its job made →
/// [`crate::Input::StepPrepared`]. Asked for again after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// The workflow.
    pub workflow: JobId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantName,
    /// Which of its steps.
    pub index: u16,
    /// That step.
    pub step: Step,
    /// Whose outputs it takes.
    pub producers: Vec<Producer>,
    /// For the last step: what became of the others.
    pub outcomes: Option<Outcomes>,
}

/// What became of the steps of a workflow, when all but the last are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// The workflow's own name.
    pub name: String,
    /// Whether the workflow was cancelled.
    pub cancelled: bool,
    /// The steps, in the order of the workflow.
    pub steps: Vec<StepDetail>,
}

/// A step whose output another takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Which.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// The job that ran it, if any did.
    pub job: Option<JobId>,
    /// Whether it succeeded; otherwise only some of its tasks did, or none.
    pub succeeded: bool,
    /// Whether it has many tasks, however few they are this time.
    pub many: bool,
    /// How many tasks its job has.
    pub tasks: u32,
}

impl Preparation {
    /// The producer of that place.
    pub fn producer(&self, index: u16) -> Option<&Producer> {
        self.producers.iter().find(|producer| producer.index == index)
    }
}

/// What came of a [`Preparation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// The step's job.
    Job(EncodedSpec),
    /// There are no items: nothing is to be done.
    Nothing(StepReason),
    /// Its condition does not hold.
    Skip(StepReason),
    /// It cannot be made.
    Failed(StepReason),
}

/// How far one step of a workflow is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRun {
    /// Never [`StepState::Preparing`], which is not recorded.
    pub state: StepState,
    /// The job that runs or ran it.
    pub job: Option<JobId>,
    /// That job's tasks, once it has ended.
    pub tasks: TaskCounts,
    /// How that job ended, once it has.
    pub outcome: Option<JobState>,
    /// When that job was submitted.
    pub started: Option<Timestamp>,
    /// When the step ended.
    pub ended: Option<Timestamp>,
    /// Why it ended so, where the job does not say.
    pub why: Option<StepReason>,
}

impl StepRun {
    pub(crate) fn waiting() -> Self {
        Self {
            state: StepState::Waiting,
            job: None,
            tasks: TaskCounts::default(),
            outcome: None,
            started: None,
            ended: None,
            why: None,
        }
    }

    pub(crate) fn reused(at: Timestamp, reused: &Reused) -> Self {
        Self {
            state: StepState::Reused,
            job: reused.job,
            tasks: reused.tasks,
            ended: Some(at),
            ..Self::waiting()
        }
    }
}

/// A workflow that has ended, as the history keeps it: in the place of a job's specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// As it was accepted.
    pub workflow: EncodedWorkflow,
    /// The run before it.
    pub rerun_of: Option<JobId>,
    /// What became of each step.
    pub steps: Vec<StepRun>,
}

/// Before a record: no specification begins like that, whose versions are few.
const MARK: &[u8] = b"\xffworkflow";

#[derive(Serialize, Deserialize)]
enum Versioned {
    V1(WorkflowRecord),
}

impl WorkflowRecord {
    /// In the place of a specification.
    pub(crate) fn into_spec(self) -> EncodedSpec {
        let mut bytes = MARK.to_vec();
        // Plain data always has an encoding.
        bytes.extend(postcard::to_stdvec(&Versioned::V1(self)).unwrap_or_default());
        EncodedSpec::from_slice(&bytes)
    }

    /// What stands in the place of a specification, if it is a workflow's.
    pub fn of(spec: &EncodedSpec) -> Option<Self> {
        let bytes = spec.as_bytes().strip_prefix(MARK)?;
        let Versioned::V1(record) = postcard::from_bytes(bytes).ok()?;
        Some(record)
    }

    /// Whether what stands in the place of a specification is a workflow's.
    pub fn is_in(spec: &EncodedSpec) -> bool {
        spec.as_bytes().starts_with(MARK)
    }

    /// The workflow; an empty one where it cannot be read.
    pub fn open(&self) -> (Workflow, Graph) {
        self.workflow.open().unwrap_or_else(|_| (Workflow::empty(), Graph::default()))
    }

    /// How many steps are in which state.
    pub fn counts(&self) -> TaskCounts {
        counts(&self.steps)
    }

    /// As users see it.
    pub fn detail(&self, summary: JobSummary) -> WorkflowDetail {
        let (workflow, graph) = self.open();
        let rows = details(&workflow, &graph, &self.steps);
        WorkflowDetail { summary, rerun_of: self.rerun_of, steps: rows }
    }
}

pub(crate) fn counts(steps: &[StepRun]) -> TaskCounts {
    let mut counts = TaskCounts::default();
    for step in steps {
        let count = match step.state {
            StepState::Waiting | StepState::Preparing => &mut counts.pending,
            StepState::Running => &mut counts.running,
            StepState::Succeeded | StepState::Reused => &mut counts.succeeded,
            StepState::Failed => &mut counts.failed,
            StepState::Skipped | StepState::Cancelled => &mut counts.cancelled,
        };
        *count += 1;
    }
    counts
}

pub(crate) fn details(workflow: &Workflow, graph: &Graph, steps: &[StepRun]) -> Vec<StepDetail> {
    let rows = workflow.every_step().zip(steps);
    rows.map(|((index, step), run)| StepDetail {
        name: step.name.clone(),
        finally: usize::from(index) == workflow.steps.len(),
        needs: graph.needs(index).to_vec(),
        when: step.when,
        may_fail: step.may_fail,
        state: run.state,
        job: run.job,
        tasks: run.tasks,
        started: run.started,
        ended: run.ended,
        why: run.why.clone(),
    })
    .collect()
}

/// The id of the submission of a step's job: the same whoever makes it, before and after a
/// restart, so that no step is submitted twice.
pub fn step_submit_id(workflow: JobId, step: u16) -> SubmitId {
    let mut id = [0; 16];
    let parts = [b"step".as_slice(), &workflow.0.to_be_bytes(), &step.to_be_bytes()];
    id.iter_mut().zip(parts.concat()).for_each(|(byte, part)| *byte = part);
    SubmitId(id)
}

/// The workflow and step for which a submission was made, if it has such an id. Anybody may
/// choose an id like that: the workflow says whether it is true.
pub fn step_of_submit_id(id: SubmitId) -> Option<(JobId, u16)> {
    let (workflow, rest) = id.0.strip_prefix(b"step")?.split_first_chunk::<8>()?;
    let (step, rest) = rest.split_first_chunk::<2>()?;
    let numbers = (JobId(u64::from_be_bytes(*workflow)), u16::from_be_bytes(*step));
    (rest == [0, 0]).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_steps_submission_tells_the_step() {
        let id = step_submit_id(JobId(1 << 40), 7);
        assert_eq!(step_of_submit_id(id), Some((JobId(1 << 40), 7)));
        assert_ne!(id, step_submit_id(JobId(1 << 40), 8));
        assert_eq!(step_of_submit_id(SubmitId([b's'; 16])), None);
    }

    #[test]
    fn a_record_stands_in_the_place_of_a_specification_and_is_told_from_one() {
        let workflow = EncodedWorkflow::from(bytes::Bytes::from_static(b"w"));
        let record =
            WorkflowRecord { workflow, rerun_of: Some(JobId(3)), steps: vec![StepRun::waiting()] };
        let spec = record.clone().into_spec();
        assert_eq!(WorkflowRecord::of(&spec), Some(record));
        assert!(spec.decode().is_err());
        let job = wrun_protocol::JobSpec::new(wrun_protocol::Digest([1; 32]));
        assert_eq!(WorkflowRecord::of(&EncodedSpec::encode(&job).unwrap()), None);
    }
}
