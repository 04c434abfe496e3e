//! Workflows: which steps are due, skipped or over, and when a workflow is.
//!
//! A step that is due is first prepared by the driver, who alone can read what other steps
//! gave. That it is being prepared is not recorded: a restart asks again. Its job is then
//! submitted as any job is, under an id that is the same each time.

use std::collections::BTreeSet;

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{ErrorCode, JobState, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::workflow::{
    EncodedWorkflow, Reused, StepReason, StepState, When, WorkflowError,
};
use wrun_protocol::{JobId, SubmitId, TenantName, Timestamp};

use crate::core::Core;
use crate::effect::Effect;
use crate::fact::Fact;
use crate::state::workflows::Flow;
use crate::workflow::{Outcomes, Preparation, Prepared, Producer, details, step_submit_id};

/// Most bytes of a reason that are kept with a step.
const MAX_REASON: usize = 512;

/// What a workflow takes from an earlier run.
#[derive(Debug, Default)]
pub(crate) struct Rerun {
    pub(crate) of: Option<JobId>,
    pub(crate) reused: Vec<Reused>,
}

/// Steps that the driver prepares, and those that it is to prepare once more. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Preparing {
    asked: BTreeSet<(JobId, u16)>,
    again: BTreeSet<(Timestamp, JobId, u16)>,
}

impl Preparing {
    pub(crate) fn contains(&self, workflow: JobId, step: u16) -> bool {
        self.asked.contains(&(workflow, step))
    }

    pub(crate) fn first_retry(&self) -> Option<Timestamp> {
        self.again.first().map(|(at, ..)| *at)
    }
}

/// What is to become of a step that waits.
enum Turn {
    NotYet,
    Due,
    Skip(StepReason),
}

impl Core {
    pub(crate) fn on_submit_workflow(
        &mut self,
        tenant: TenantName,
        id: SubmitId,
        workflow: EncodedWorkflow,
        kinds: Vec<ComponentKind>,
        run: Rerun,
    ) -> Result<JobId, RequestError> {
        let known = self.state.tenants.find(&tenant);
        if let Some(job) = known.and_then(|tenant| self.state.submitted(tenant, id)) {
            return Ok(job);
        }
        let invalid = |text: String| RequestError::new(ErrorCode::InvalidInput, text);
        let (decoded, _) =
            workflow.decode().map_err(|error: WorkflowError| invalid(error.to_string()))?;
        if kinds.len() != decoded.every_step().count() {
            return Err(invalid("the steps and their components do not match".to_owned()));
        }
        self.check_workflows(&tenant, workflow.as_bytes().len())?;
        self.check_models_of_steps(&tenant, &decoded)?;
        let (at, job) = (self.now, JobId(self.state.next_job));
        let Rerun { of: rerun_of, reused } = run;
        self.append(Fact::WorkflowSubmitted {
            at,
            job,
            tenant,
            id,
            workflow: Box::new(workflow),
            kinds,
            rerun_of,
            reused,
        });
        self.job_changed(job);
        Ok(job)
    }

    fn check_workflows(&self, tenant: &TenantName, size: usize) -> Result<(), RequestError> {
        let known = self.state.tenants.find(tenant);
        let (count, bytes) = known.map_or((0, 0), |known| self.state.workflows.size_of(known));
        let config = &self.config;
        if count < config.max_workflows_per_tenant
            && bytes + size <= config.max_workflow_bytes_per_tenant
        {
            return Ok(());
        }
        Err(RequestError::new(
            ErrorCode::LimitReached,
            format!(
                "the tenant has {count} workflows that have not ended; {} of together {} bytes are allowed: wait for some to end or cancel some",
                config.max_workflows_per_tenant, config.max_workflow_bytes_per_tenant
            ),
        ))
    }

    /// Cancels a live workflow: what runs is stopped, what waits is skipped, then the last
    /// step runs. Cancelled once more, that is stopped too.
    pub(crate) fn cancel_workflow(&mut self, id: JobId) {
        let Some(flow) = self.state.workflows.get(id) else { return };
        let again = flow.cancelled;
        let last = flow.last();
        let stops = |step: &u16| again || Some(*step) != last;
        let running: Vec<JobId> = (0..)
            .zip(&flow.steps)
            .filter(|(step, run)| stops(step) && run.state == StepState::Running)
            .filter_map(|(_, run)| run.job)
            .collect();
        let waits = last.filter(|last| {
            again && flow.step(*last).is_some_and(|run| run.state == StepState::Waiting)
        });
        if !again {
            self.append(Fact::WorkflowCancelled { at: self.now, job: id });
        }
        if let Some(last) = waits {
            self.end_step(id, last, StepState::Skipped, Some(StepReason::Cancelled));
        }
        for job in running {
            if self.state.jobs.get(job).is_some() {
                self.cancel_job(job);
            }
        }
        self.job_changed(id);
    }

    /// Looks at every step that may begin or end, until nothing follows any more.
    pub(crate) fn advance_workflows(&mut self) {
        while let Some((id, steps)) = self.state.workflows.due.pop_first() {
            for step in steps {
                self.advance_step(id, step);
            }
            let over = self.state.workflows.get(id).and_then(Flow::final_state);
            if let Some(state) = over {
                self.append(Fact::WorkflowEnded { at: self.now, job: id, state });
                self.job_changed(id);
            }
        }
    }

    fn advance_step(&mut self, id: JobId, step: u16) {
        let Some(flow) = self.state.workflows.get(id) else { return };
        let Some(run) = flow.step(step) else { return };
        match (run.state, run.outcome) {
            (StepState::Running, Some(outcome)) => {
                let (state, why) = self.how_it_ended(flow, step, outcome);
                self.end_step(id, step, state, why);
            }
            (StepState::Waiting, _) => match turn(flow, step) {
                Turn::NotYet => {}
                Turn::Due => self.prepare_step(id, step),
                Turn::Skip(why) => self.end_step(id, step, StepState::Skipped, Some(why)),
            },
            _ => {}
        }
    }

    /// What the end of its job makes of a step.
    fn how_it_ended(
        &self,
        flow: &Flow,
        step: u16,
        outcome: JobState,
    ) -> (StepState, Option<StepReason>) {
        match outcome {
            JobState::Succeeded => return (StepState::Succeeded, None),
            JobState::Failed => return (StepState::Failed, None),
            _ if flow.cancelled => return (StepState::Cancelled, Some(StepReason::Cancelled)),
            _ => {}
        }
        let timeout = flow.workflow.step(step).and_then(|step| step.timeout_ms);
        let started = flow.step(step).and_then(|run| run.started);
        match timeout.zip(started) {
            Some((timeout, started)) if self.now.0 >= started.0.saturating_add(timeout) => {
                (StepState::Failed, Some(StepReason::TimedOut(timeout)))
            }
            _ => (StepState::Cancelled, None),
        }
    }

    fn end_step(&mut self, id: JobId, step: u16, state: StepState, why: Option<StepReason>) {
        self.preparing.asked.remove(&(id, step));
        self.append(Fact::StepEnded { at: self.now, workflow: id, step, state, why });
        self.job_changed(id);
    }

    fn prepare_step(&mut self, id: JobId, index: u16) {
        // A job that was submitted just before the server died is the step's.
        if self.adopt_step(id, index) || !self.preparing.asked.insert((id, index)) {
            return;
        }
        let Some(preparation) = self.preparation(id, index) else { return };
        self.effects.push(Effect::PrepareStep(Box::new(preparation)));
        self.job_changed(id);
    }

    fn preparation(&self, id: JobId, index: u16) -> Option<Preparation> {
        let flow = self.state.workflows.get(id)?;
        let step = flow.workflow.step(index)?.clone();
        let sources: BTreeSet<u16> = step.sources().map(|(_, source)| source).collect();
        let producer = |index: u16| {
            let (step, run) = (flow.workflow.step(index)?, flow.step(index)?);
            let counts = run.tasks;
            let many = step.for_each.is_some() || step.job.decode().is_ok_and(|job| job.count != 1);
            Some(Producer {
                index,
                name: step.name.clone(),
                job: run.job,
                succeeded: run.state.is_success(),
                many,
                tasks: counts.succeeded + counts.failed + counts.cancelled,
            })
        };
        Some(Preparation {
            workflow: id,
            name: flow.workflow.job_name(&step),
            tenant: self.state.tenants.get(flow.tenant)?.name.clone(),
            index,
            producers: sources.into_iter().filter_map(producer).collect(),
            outcomes: (flow.last() == Some(index)).then(|| outcomes(flow)),
            step,
        })
    }

    /// Takes the live job of the step's submission for the step's, if there is one.
    fn adopt_step(&mut self, id: JobId, step: u16) -> bool {
        let Some(flow) = self.state.workflows.get(id) else { return false };
        let job = self.state.submitted(flow.tenant, step_submit_id(id, step));
        match job.filter(|job| self.state.jobs.get(*job).is_some()) {
            Some(job) => {
                self.start_step(id, step, job);
                true
            }
            None => false,
        }
    }

    fn start_step(&mut self, workflow: JobId, step: u16, job: JobId) {
        self.preparing.asked.remove(&(workflow, step));
        self.append(Fact::StepStarted { at: self.now, workflow, step, job });
        self.job_changed(workflow);
    }

    pub(crate) fn on_step_prepared(&mut self, id: JobId, step: u16, prepared: Prepared) {
        // Where it was cancelled meanwhile, nobody waits for it any more.
        if !self.preparing.asked.contains(&(id, step)) {
            return;
        }
        match prepared {
            Prepared::Job(spec) => self.submit_step(id, step, spec),
            Prepared::Nothing(why) => self.end_step(id, step, StepState::Succeeded, Some(why)),
            Prepared::Skip(why) => self.end_step(id, step, StepState::Skipped, Some(why)),
            Prepared::Failed(why) => self.end_step(id, step, StepState::Failed, Some(short(why))),
        }
    }

    fn submit_step(&mut self, id: JobId, index: u16, spec: EncodedSpec) {
        let Some(flow) = self.state.workflows.get(id) else { return };
        let Some(step) = flow.workflow.step(index) else { return };
        let kind = flow.kinds.get(usize::from(index)).copied();
        let timeout = step.timeout_ms;
        let tenant = self.state.tenants.get(flow.tenant).map(|tenant| tenant.name.clone());
        let (Some(tenant), Some(kind)) = (tenant, kind) else { return };
        let submitted = self
            .within(spec, timeout)
            .and_then(|spec| self.on_submit(tenant, step_submit_id(id, index), kind, spec, &[]));
        match submitted {
            Ok(job) if self.state.jobs.get(job).is_some() => self.start_step(id, index, job),
            Ok(job) => {
                let text = format!("job {job} was submitted in its place, and has ended");
                self.end_step(id, index, StepState::Failed, Some(StepReason::Unprepared(text)));
            }
            Err(error)
                if matches!(error.code, ErrorCode::LimitReached | ErrorCode::Unavailable) =>
            {
                let again = self.now.after(self.config.step_retry);
                self.preparing.again.insert((again, id, index));
            }
            Err(error) => {
                let why = short(StepReason::Refused(error));
                self.end_step(id, index, StepState::Failed, Some(why));
            }
        }
    }

    /// The job, to be cancelled when it has not ended in that time from now.
    fn within(
        &self,
        spec: EncodedSpec,
        timeout_ms: Option<u64>,
    ) -> Result<EncodedSpec, RequestError> {
        let Some(timeout) = timeout_ms else { return Ok(spec) };
        let invalid = |error: wrun_protocol::job::SpecError| {
            RequestError::new(ErrorCode::InvalidInput, error.to_string())
        };
        let mut decoded = spec.decode().map_err(invalid)?;
        let end = Timestamp(self.now.0.saturating_add(timeout));
        let deadline = &mut decoded.scheduling.deadline;
        *deadline = Some(deadline.map_or(end, |own| own.min(end)));
        EncodedSpec::encode(&decoded).map_err(invalid)
    }

    /// Has those steps prepared again whose job was refused for want of room.
    pub(crate) fn retry_steps(&mut self) {
        while let Some((at, id, step)) = self.preparing.again.first().copied()
            && at <= self.now
        {
            self.preparing.again.pop_first();
            if self.preparing.asked.remove(&(id, step)) {
                self.state.workflows.doubt(id, step);
            }
        }
    }
}

/// What became of every step but the last.
fn outcomes(flow: &Flow) -> Outcomes {
    let mut steps = details(&flow.workflow, &flow.graph, &flow.steps);
    steps.retain(|step| !step.finally);
    Outcomes { name: flow.workflow.name.clone(), cancelled: flow.cancelled, steps }
}

/// Whether a step that waits is due.
fn turn(flow: &Flow, step: u16) -> Turn {
    if flow.last() == Some(step) {
        return if flow.is_settled() { Turn::Due } else { Turn::NotYet };
    }
    if flow.cancelled {
        return Turn::Skip(StepReason::Cancelled);
    }
    let needs = flow.graph.needs(step);
    let states = needs.iter().filter_map(|need| Some((*need, flow.step(*need)?.state)));
    let mut states = states.collect::<Vec<_>>().into_iter();
    if !states.clone().all(|(_, state)| state.is_terminal()) {
        return Turn::NotYet;
    }
    let name = |step: u16| flow.workflow.step(step).map_or("", |step| &step.name).to_owned();
    let unmet = match flow.workflow.step(step).map(|step| step.when) {
        Some(When::Success) | None => {
            let other = states.find(|(_, state)| !state.is_success());
            other.map(|(need, _)| StepReason::NoSuccess(name(need)))
        }
        Some(When::Failure) => {
            (!states.any(|(_, state)| state.is_failure())).then_some(StepReason::NoFailure)
        }
        Some(When::End) => None,
    };
    unmet.map_or(Turn::Due, Turn::Skip)
}

/// The reason with a text of bounded length.
fn short(why: StepReason) -> StepReason {
    let cut = |mut text: String| {
        if text.len() > MAX_REASON {
            text.truncate(text.floor_char_boundary(MAX_REASON - '…'.len_utf8()));
            text.push('…');
        }
        text
    };
    match why {
        StepReason::Unprepared(text) => StepReason::Unprepared(cut(text)),
        StepReason::Refused(error) => {
            StepReason::Refused(RequestError::new(error.code, cut(error.message)))
        }
        other => other,
    }
}
