//! Jobs: what they ask for, and what their users do with them.

use wrun_core::{Answer, Effect, Input, Prior, Remembered, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::reservation::Reservation;
use wrun_protocol::scheduling::{Gpu, GpuRequest, Offer};
use wrun_protocol::wire::policy::TaskSet;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{Digest, IndexRange, JobId, JobSpec, SubmitId};

use super::{Cluster, answer, submitted_job};

pub(crate) const GIB: u64 = 1 << 30;

/// A job of so many tasks, each of one CPU.
pub(crate) fn job(count: u32) -> JobSpec {
    JobSpec { count, ..JobSpec::new(Digest([7; 32])) }
}

/// The same, of tasks that may take so many seconds.
pub(crate) fn limited(count: u32, seconds: u64) -> JobSpec {
    within(job(count), seconds)
}

/// The job with a time limit of so many seconds.
pub(crate) fn within(mut spec: JobSpec, seconds: u64) -> JobSpec {
    spec.limits.wall_ms = Some(seconds * 1000);
    spec
}

/// A job whose tasks take so much of a card each.
pub(crate) fn gpu_job(count: u32, milli: u32) -> JobSpec {
    let mut spec = job(count);
    spec.scheduling.devices.gpu = Some(gpu(milli));
    spec
}

pub(crate) fn gpu(milli: u32) -> GpuRequest {
    GpuRequest { milli, memory: 0, models: Vec::new() }
}

/// Cards of one model with 16 GiB each.
pub(crate) fn cards(count: usize, model: &str) -> Offer {
    let gpus = vec![Gpu { model: model.to_owned(), memory: 16 * GIB }; count];
    Offer { gpus, ..Offer::default() }
}

pub(crate) fn run(job: u64, attempt: u32, first: u32, count: u32) -> Assignment {
    Assignment { job: JobId(job), attempt, tasks: range(first, count) }
}

pub(crate) fn range(first: u32, count: u32) -> IndexRange {
    IndexRange { first, count }
}

pub(crate) fn ranges(of: &[(u32, u32)]) -> TaskSet {
    TaskSet::Ranges(of.iter().map(|(first, count)| range(*first, *count)).collect())
}

/// The id of a submission.
pub(crate) fn submit_id(number: u64) -> SubmitId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    SubmitId(id)
}

impl Cluster {
    pub(crate) fn submit(&mut self, spec: &JobSpec) -> Vec<Effect> {
        self.submit_as("ann", spec)
    }

    pub(crate) fn submit_as(&mut self, tenant: &str, spec: &JobSpec) -> Vec<Effect> {
        self.submit_after(tenant, spec, Vec::new())
    }

    /// Submits, with what the history says of jobs that it depends on.
    pub(crate) fn submit_after(
        &mut self,
        tenant: &str,
        spec: &JobSpec,
        ended: Vec<Prior>,
    ) -> Vec<Effect> {
        self.submits += 1;
        self.submit_again(tenant, spec, ended)
    }

    /// Submits under the id of the last submission.
    pub(crate) fn submit_again(
        &mut self,
        tenant: &str,
        spec: &JobSpec,
        ended: Vec<Prior>,
    ) -> Vec<Effect> {
        let (id, spec) = (submit_id(self.submits), EncodedSpec::encode(spec).unwrap());
        let (tenant, kind) = (tenant.parse().unwrap(), ComponentKind::Command);
        self.handle(Input::Submit { request: RequestId(1), tenant, id, kind, spec, ended })
    }

    /// Submits under an id, with results that are known from before.
    pub(crate) fn submit_known(
        &mut self,
        number: u64,
        spec: &JobSpec,
        known: Vec<Remembered>,
    ) -> Vec<Effect> {
        let (id, spec) = (submit_id(number), EncodedSpec::encode(spec).unwrap());
        let (tenant, kind) = ("ann".parse().unwrap(), ComponentKind::Command);
        self.handle(Input::SubmitKnown { request: RequestId(1), tenant, id, kind, spec, known })
    }

    /// What was looked up of a job's tasks.
    pub(crate) fn looked_up(
        &mut self,
        job: u64,
        tasks: &[IndexRange],
        known: Vec<Remembered>,
    ) -> Vec<Effect> {
        self.handle(Input::LookedUp { job: JobId(job), tasks: tasks.to_vec(), known })
    }

    /// Submits what must be accepted, for the number that it gets.
    pub(crate) fn queue(&mut self, spec: &JobSpec) -> JobId {
        self.queue_as("ann", spec)
    }

    pub(crate) fn queue_as(&mut self, tenant: &str, spec: &JobSpec) -> JobId {
        submitted_job(&self.submit_as(tenant, spec))
    }

    /// The same for a job whose tasks last so many seconds.
    pub(crate) fn lasting(&mut self, tenant: &str, seconds: u64, spec: &JobSpec) -> JobId {
        let job = self.queue_as(tenant, spec);
        self.last(job, seconds);
        job
    }

    /// Submits what must be refused, for why.
    pub(crate) fn refused(&mut self, tenant: &str, spec: &JobSpec) -> RequestError {
        answer(&self.submit_as(tenant, spec)).unwrap_err()
    }

    pub(crate) fn cancel(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::CancelTasks { request: RequestId(1), job: JobId(job), tasks })
    }

    pub(crate) fn retry(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::Retry { request: RequestId(1), job: JobId(job), tasks })
    }

    pub(crate) fn requeue(&mut self, job: u64, tasks: TaskSet) -> Vec<Effect> {
        self.handle(Input::Requeue { request: RequestId(1), job: JobId(job), tasks })
    }

    pub(crate) fn reserve(&mut self, reservation: Reservation) -> Result<Answer, RequestError> {
        let (request, reservation) = (RequestId(0), Box::new(reservation));
        self.ask(Input::Reserve { request, reservation })
    }

    /// Pending, running, succeeded, failed, cancelled.
    pub(crate) fn counts(&self, job: u64) -> [u32; 5] {
        let counts = self.core.job_summary(JobId(job)).expect("a live job").tasks;
        [counts.pending, counts.running, counts.succeeded, counts.failed, counts.cancelled]
    }

    pub(crate) fn is_live(&self, job: u64) -> bool {
        self.core.job_tenant(JobId(job)).is_some()
    }

    /// Whether all tasks of a job are placed.
    pub(crate) fn runs(&self, job: JobId) -> bool {
        self.core.job_summary(job).is_some_and(|job| job.tasks.pending == 0)
    }
}
