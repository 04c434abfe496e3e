//! Services: deployed, scaled, rolled out and taken down by users. What follows from it for
//! replicas is worked out when the event is over ([`settle`]).

mod life;
mod replicas;
mod rollout;
pub(crate) mod scale;
pub(crate) mod settle;

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::scheduling::Arrangement;
use wrun_protocol::service::{ServiceId, ServiceKind, ServiceSpec};
use wrun_protocol::wire::service::{Deployed, ScaleTo};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{JobId, JobSpec, SubmitId, TenantName};

use crate::core::Core;
use crate::effect::Answer;
use crate::fact::Fact;
use crate::state::apply::Submitted;
use crate::state::groups::{GroupKey, TenantIx};
use crate::state::services::{Service, ports};

impl Core {
    pub(crate) fn on_deploy(
        &mut self,
        tenant: TenantName,
        id: SubmitId,
        kind: ComponentKind,
        spec: EncodedSpec,
    ) -> Result<Deployed, RequestError> {
        let known = self.state.tenants.find(&tenant);
        if let Some(job) = known.and_then(|tenant| self.state.submitted(tenant, id)) {
            return self.deployed_before(job);
        }
        let decoded = spec.decode().map_err(|error| invalid(error.to_string()))?;
        let Some(service) = decoded.service.as_deref() else {
            return Err(invalid("it says nothing of a service: submit it as a job".to_owned()));
        };
        check_kind(kind, service)?;
        check_job(&decoded, service)?;
        let models = service.check_models(!decoded.inference.models.is_empty());
        models.map_err(|(field, problem)| invalid(format!("`{field}`: {problem}")))?;
        let name = decoded.name.parse();
        let name = name.map_err(|error| invalid(format!("`name`: {error}")))?;
        let of = ServiceId { tenant, name };
        let before = self.state.services.get(&of);
        if let Some(same) = before.and_then(|before| self.same_revision(before, kind, &spec)) {
            return Ok(same);
        }
        let number = before.map_or(0, |before| before.number);
        let revision = before.and_then(|before| before.revisions.keys().next_back()).copied();
        let revision = revision.map_or(1, |last| last.saturating_add(1));
        self.check_routes(&of, service)?;
        self.check_services(&of)?;
        self.check_models(&of.tenant, &decoded)?;
        let mut resolved = decoded.clone();
        self.check_wishes(&of.tenant, &mut resolved)?;
        let more = service.scale.min.saturating_sub(number);
        self.check_quota(known, more)?;
        let (at, job) = (self.now, JobId(self.state.next_job));
        let key = GroupKey::of(known.unwrap_or(TenantIx::MAX), job, resolved);
        self.check_queued(&of.tenant, &key, more)?;
        self.check_fits(&key)?;
        self.ask_for(&JobSpec { count: more, ..decoded.clone() });
        let submitted = Submitted { at, job, tenant: &of.tenant, id, kind, spec: &spec };
        self.state.deploy(&of, revision, submitted, decoded);
        self.append_applied(Fact::ServiceDeployed {
            at,
            service: of,
            revision,
            job,
            id,
            kind,
            spec,
        });
        self.job_changed(job);
        Ok(Deployed { revision, job, changed: true })
    }

    /// What a repeated deployment came to the first time.
    fn deployed_before(&self, job: JobId) -> Result<Deployed, RequestError> {
        match self.state.services.of_job(job) {
            Some((_, revision)) => Ok(Deployed { revision: *revision, job, changed: true }),
            None => Err(RequestError::new(
                ErrorCode::Conflict,
                format!(
                    "this deployment was made already, and its revision is no more (job {job}): deploy again"
                ),
            )),
        }
    }

    /// The revision that is wanted, if it is what is to be deployed.
    fn same_revision(
        &self,
        service: &Service,
        kind: ComponentKind,
        spec: &EncodedSpec,
    ) -> Option<Deployed> {
        let job = service.wanted().filter(|_| !service.stopping)?.job;
        let wanted = self.state.jobs.get(job)?;
        let same = wanted.kind == kind && wanted.spec.encoded() == *spec;
        same.then_some(Deployed { revision: service.wanted, job, changed: false })
    }

    /// Requests on a route go to one service.
    pub(super) fn check_routes(
        &self,
        id: &ServiceId,
        spec: &ServiceSpec,
    ) -> Result<(), RequestError> {
        let routes = spec.http().map(|http| http.routes.as_slice()).unwrap_or_default();
        for route in routes {
            let Some(other) = self.state.services.with_route(route, id) else { continue };
            // Of others' services one is not told more than that.
            let whose = match other.tenant == id.tenant {
                true => format!("your service `{}`", other.name),
                false => "a service of another tenant".to_owned(),
            };
            return Err(RequestError::new(
                ErrorCode::Conflict,
                format!("http.routes: `{route}` belongs to {whose}; use another one"),
            ));
        }
        Ok(())
    }

    fn check_services(&self, id: &ServiceId) -> Result<(), RequestError> {
        let most = self.config.max_services_per_tenant;
        if self.state.services.get(id).is_some() || self.state.services.count_of(&id.tenant) < most
        {
            return Ok(());
        }
        Err(RequestError::new(
            ErrorCode::LimitReached,
            format!(
                "the tenant has {most} services, and no more are allowed: take one down with `wrun undeploy`"
            ),
        ))
    }

    pub(crate) fn on_undeploy(&mut self, id: &ServiceId) -> Result<Answer, RequestError> {
        self.standing(id)?;
        self.append(Fact::ServiceUndeployed { at: self.now, service: id.clone() });
        Ok(Answer::Done)
    }

    pub(crate) fn on_scale(&mut self, id: &ServiceId, to: ScaleTo) -> Result<Answer, RequestError> {
        let service = self.standing(id)?;
        let before = service.scale;
        check_scale(to)?;
        if before.unwrap_or(ScaleTo::Specified) != to {
            self.append(Fact::ServiceScaleSet { at: self.now, service: id.clone(), to });
        }
        Ok(Answer::Done)
    }

    /// A service that is not being taken down.
    pub(super) fn standing(&self, id: &ServiceId) -> Result<&Service, RequestError> {
        let service = self.state.services.get(id).filter(|service| !service.stopping);
        service.ok_or_else(|| no_service(id))
    }

    /// Refuses to treat the job of a revision as others are.
    pub(crate) fn check_no_revision(&self, job: JobId) -> Result<(), RequestError> {
        let Some((id, revision)) = self.state.services.of_job(job) else { return Ok(()) };
        Err(RequestError::new(
            ErrorCode::Conflict,
            format!(
                "job {job} is revision {revision} of service `{}`: use `wrun undeploy {}` to take it down, `wrun scale` and `wrun deploy` to change it",
                id.name, id.name
            ),
        ))
    }
}

fn check_kind(kind: ComponentKind, service: &ServiceSpec) -> Result<(), RequestError> {
    let problem = match (kind, &service.kind) {
        (ComponentKind::Http, ServiceKind::Http(_))
        | (ComponentKind::Command, ServiceKind::Program(_)) => return Ok(()),
        (ComponentKind::Handler, _) => {
            "the component exports `wrun:task/handler`, which ends: submit it as a job"
        }
        (ComponentKind::Http, ServiceKind::Program(_)) => {
            "the component answers HTTP requests: describe it under `http`"
        }
        (ComponentKind::Command, ServiceKind::Http(_)) => {
            "the component exports `wasi:cli/run`, not `wasi:http`: describe it under `program`"
        }
    };
    Err(invalid(problem.to_owned()))
}

/// What the job says that a service cannot keep to.
fn check_job(spec: &JobSpec, service: &ServiceSpec) -> Result<(), RequestError> {
    let wishes = &spec.scheduling;
    if wishes.hold {
        let text = "hold: nobody could release it; deploy it when it is wanted";
        return Err(invalid(text.to_owned()));
    }
    if wishes.arrangement == Arrangement::SameNode && !ports(service).is_empty() {
        let text = "arrangement: no two replicas that listen on one port are on one node";
        return Err(invalid(text.to_owned()));
    }
    Ok(())
}

fn check_scale(to: ScaleTo) -> Result<(), RequestError> {
    let (min, max) = match to {
        ScaleTo::Replicas(replicas) => (replicas, replicas.max(1)),
        ScaleTo::Bounds { min, max } => (min, max),
        ScaleTo::Specified => return Ok(()),
    };
    if min <= max && (1..=MAX_REPLICAS).contains(&max) {
        return Ok(());
    }
    Err(invalid(format!(
        "{min} to {max} replicas: use 0 to {MAX_REPLICAS}, the smaller number first"
    )))
}

fn invalid(message: String) -> RequestError {
    RequestError::new(ErrorCode::InvalidInput, message)
}

fn no_service(id: &ServiceId) -> RequestError {
    RequestError::new(
        ErrorCode::NotFound,
        format!("there is no service `{}`; `wrun services` lists those there are", id.name),
    )
}
