//! What a job was when it ended: the last that the core knows of it, for the history, which
//! is told nothing of live jobs.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::task::{Failure, Outcome, Usage};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, SubmitId, TenantName, Timestamp};

use crate::state::State;
use crate::state::jobs::{Job, Tasks};
use crate::state::spec::Spec;

/// A job as it stood before the fact that ended it, or before that part of the fact: what
/// the fact itself tells (the last tasks, what they used, the time) is not counted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// Its number.
    pub job: JobId,
    /// Whose it was.
    pub tenant: TenantName,
    /// The client's id of its submission.
    pub submit_id: SubmitId,
    /// Which interface it exports.
    pub kind: ComponentKind,
    /// As the core held it: the history puts it together, whose time is not that of every job
    /// which waits to be placed.
    pub(crate) spec: Spec,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When a task was first placed.
    pub started: Option<Timestamp>,
    /// Tasks that had ended well.
    pub succeeded: u32,
    /// Tasks that had ended otherwise.
    pub failed: u32,
    /// Tasks that had been cancelled one by one.
    pub cancelled: u32,
    /// Of every attempt that had ended.
    pub usage: Usage,
    /// The first failure of a task, or what cancelled the job if no user did.
    pub failure: Option<Outcome>,
}

impl EndedJob {
    /// The specification as accepted, but for a priority that was changed since.
    pub fn spec(&self) -> EncodedSpec {
        self.spec.encoded()
    }
}

impl State {
    /// Keeps what a job was that a fact is about to end. Taken by the core's owner.
    pub(crate) fn keep_ended(&mut self, job: JobId) {
        self.ended.extend(self.ended_job(job).map(Box::new));
    }

    /// The specification with the priority that the job had last.
    fn spec_at_end(&self, id: JobId, job: &Job) -> Spec {
        if !self.changes.contains_key(&id) {
            return job.spec.clone();
        }
        let priority = self.groups.get(job.group).map(|group| group.key.priority);
        let changed =
            job.spec.encoded().decode().ok().zip(priority).and_then(|(mut spec, priority)| {
                let changed = spec.priority != priority;
                spec.priority = priority;
                changed.then(|| EncodedSpec::encode(&spec).ok())?
            });
        changed.map_or_else(|| job.spec.clone(), |spec| Spec::Whole(spec.as_bytes().into()))
    }

    fn ended_job(&self, id: JobId) -> Option<EndedJob> {
        let job = self.jobs.get(id)?;
        let tenant = self.groups.get(job.group)?.key.tenant;
        let (counts, usage, failure) = match &job.tasks {
            Tasks::One(_) => {
                let extra = self.extras.get(&id.task(0));
                (Default::default(), extra.map(|extra| extra.usage).unwrap_or_default(), None)
            }
            Tasks::Many(array) => (array.counts, array.usage, array.failure.clone()),
        };
        let waits = self.dependents.waits(id);
        let never = waits.and_then(|waits| waits.never).map(|on| Failure::Dependency { on });
        Some(EndedJob {
            job: id,
            tenant: self.tenants.get(tenant)?.name.clone(),
            submit_id: self.jobs.submit_of(id)?,
            kind: job.kind,
            spec: self.spec_at_end(id, job),
            submitted: job.submitted,
            started: Some(job.started).filter(|at| at.0 > 0),
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            usage,
            failure: failure.or(never.map(Outcome::Failed)),
        })
    }
}
