//! Jobs come in and are cancelled.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::{ComponentKind, ToWorker};
use wrun_protocol::{JobId, SubmitId, TenantName};

use super::lack;
use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::input::Prior;
use crate::state::apply::Submitted;
use crate::state::dependents::Settled;
use crate::state::groups::{GroupKey, TenantIx};
use crate::state::jobs::{NodeIx, Tasks};

impl Core {
    pub(crate) fn on_submit(
        &mut self,
        tenant: TenantName,
        id: SubmitId,
        kind: ComponentKind,
        spec: EncodedSpec,
        ended: &[Prior],
    ) -> Result<JobId, RequestError> {
        let known = self.state.tenants.find(&tenant);
        if let Some(job) = known.and_then(|tenant| self.state.submitted(tenant, id)) {
            return Ok(job);
        }
        let decoded = spec
            .decode()
            .map_err(|error| RequestError::new(ErrorCode::InvalidInput, error.to_string()))?;
        if decoded.service.is_some() {
            let text = "it is a service: deploy it with `wrun deploy`";
            return Err(RequestError::new(ErrorCode::InvalidInput, text));
        }
        self.check_models(&tenant, &decoded)?;
        let mut resolved = decoded.clone();
        self.check_wishes(&tenant, &mut resolved)?;
        self.check_quota(known, decoded.count)?;
        let (at, job) = (self.now, JobId(self.state.next_job));
        let key = GroupKey::of(known.unwrap_or(TenantIx::MAX), job, resolved);
        self.check_queued(&tenant, &key, decoded.count)?;
        self.check_fits(&key)?;
        let depends_on: Vec<JobId> =
            decoded.scheduling.depends_on.iter().map(|on| on.job).collect();
        for Settled { on, tasks, met } in self.check_dependencies(known, &decoded, ended)? {
            self.append(Fact::DependencySettled { at, job, on, tasks, met });
        }
        let submitted = Submitted { at, job, tenant: &tenant, id, kind, spec: &spec };
        self.ask_for(&decoded);
        self.state.submit(submitted, decoded);
        self.append_applied(Fact::JobSubmitted { at, job, tenant, id, kind, spec });
        // What they wait for may have come about already, as far as those jobs live.
        depends_on.into_iter().for_each(|on| self.state.dependents.doubt(on));
        self.job_changed(job);
        Ok(job)
    }

    pub(super) fn check_quota(
        &self,
        tenant: Option<TenantIx>,
        count: u32,
    ) -> Result<(), RequestError> {
        let queued = tenant
            .and_then(|tenant| self.state.tenants.get(tenant))
            .map_or(0, |tenant| tenant.live_tasks);
        let most = self.config.max_queued_tasks_per_tenant;
        if queued.saturating_add(count.into()) <= most {
            return Ok(());
        }
        Err(RequestError::new(
            ErrorCode::LimitReached,
            format!(
                "{count} more tasks: the tenant has {queued} that have not ended, and at most {most} are allowed; wait for some to end or cancel some"
            ),
        ))
    }

    /// Refuses what no known node could hold if it were empty, and says what is lacking.
    /// Where no node is known yet, nothing can be said.
    pub(super) fn check_fits(&self, key: &GroupKey) -> Result<(), RequestError> {
        if self.state.groups.find(key).is_some() {
            return Ok(());
        }
        match lack::of(key, &self.state) {
            None => self.check_gang(key),
            Some(lack) => Err(RequestError::new(ErrorCode::Unsatisfiable, lack.to_string())),
        }
    }

    pub(crate) fn on_cancel(&mut self, job: JobId) -> Result<Answer, RequestError> {
        if self.state.workflows.get(job).is_some() {
            self.cancel_workflow(job);
            return Ok(Answer::Done);
        }
        if self.state.jobs.get(job).is_none() {
            return Err(self.not_live(job));
        }
        self.check_no_revision(job)?;
        self.cancel_job(job);
        Ok(Answer::Done)
    }

    /// Cancels a live job.
    pub(crate) fn cancel_job(&mut self, job: JobId) {
        let stops = self.state.spots(job);
        let knowing = self.knowing(job);
        self.append(Fact::JobCancelled { at: self.now, job });
        self.send_stops(stops);
        self.send_forget(job, &knowing);
        self.job_changed(job);
    }

    /// Nodes to be told when the job ends. A job of one task was forgotten in advance.
    pub(crate) fn knowing(&self, job: JobId) -> Vec<NodeIx> {
        match self.state.jobs.get(job).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => array.known_on.iter().copied().collect(),
            Some(Tasks::One(_)) | None => Vec::new(),
        }
    }

    pub(crate) fn send_forget(&mut self, job: JobId, knowing: &[NodeIx]) {
        for ix in knowing {
            if let Some(node) = self.state.nodes.get_mut(*ix) {
                node.session.known.remove(&job);
            }
            self.send(*ix, ToWorker::Forget(job));
        }
    }
}
