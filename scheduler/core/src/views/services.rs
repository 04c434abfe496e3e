//! What can be seen of services, by users and by gateways.

use std::collections::BTreeMap;

use wrun_protocol::limits::{MAX_FRAME, MAX_PAGE};
use wrun_protocol::service::ServiceId;
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::service::ScaleTo;
use wrun_protocol::wire::service::{
    Endpoint, Endpoints, ReplicaRow, ReplicaState, RevisionEndpoints, RevisionRow, Scaling,
    ServiceDetail, ServiceEvent, ServiceHappened, ServiceRow, ServiceState,
};
use wrun_protocol::{JobId, TenantName};

use crate::core::Core;
use crate::state::jobs::Tasks;
use crate::state::nodes::node_id;
use crate::state::services::{Health, Revision, Service};

/// About what the services in one answer take together: well below a frame, so that the
/// estimate may be wrong.
const MAX_LISTED: usize = MAX_FRAME / 4;

/// Longest text of a failure that is shown of a replica, in bytes: there may be many.
const MAX_TEXT: usize = 400;

/// A replica that failed so often in a row is told of as failing.
const FAILING: u32 = 2;

impl Core {
    /// Services in order of tenant and name; of one tenant, or all, from the first after
    /// `after`. At most [`wrun_protocol::limits::MAX_PAGE`], and what fits into a frame.
    pub fn services(
        &self,
        tenant: Option<&TenantName>,
        after: Option<&ServiceId>,
    ) -> Vec<ServiceRow> {
        let found = self.state.services.after(tenant, after);
        let rows = found.filter_map(|(id, service)| self.service_row(id, service));
        let mut size = 0;
        let fits = |row: &ServiceRow| {
            let is_first = size == 0;
            size += weight(row);
            is_first || size <= MAX_LISTED
        };
        rows.take(MAX_PAGE as usize).take_while(fits).collect()
    }

    /// One service in full.
    pub fn service(&self, id: &ServiceId) -> Option<ServiceDetail> {
        let service = self.state.services.get(id)?;
        let shares = self.weights(id, service);
        let all: u32 = shares.iter().map(|(_, weight)| *weight).sum();
        let targets = self.share_out(id);
        let revision = |(number, of): (&u32, &Revision)| {
            let spec = self.state.jobs.get(of.job)?.spec.encoded().decode().ok()?;
            let weight = shares.iter().find(|(revision, _)| revision == number);
            let percent = weight.map_or(0, |(_, weight)| weight * 100 / all.max(1));
            Some(RevisionRow {
                revision: *number,
                job: of.job,
                component: spec.component,
                resources: spec.resources,
                deployed: of.deployed,
                percent: percent as u8,
                wanted: targets.get(number).copied().unwrap_or_default(),
                ready: self.ready_replicas(of).count() as u32,
            })
        };
        let replicas = service.revisions.iter();
        let replicas = replicas.flat_map(|(number, of)| self.replica_rows(*number, of));
        Some(ServiceDetail {
            row: self.service_row(id, service)?,
            scaling: scaling(service)?,
            revisions: service.revisions.iter().rev().filter_map(revision).collect(),
            replicas: replicas.take(MAX_PAGE as usize).collect(),
            rollout: self.rollout_row(id, service),
            load: service.wanted()?.spec.http().map(|_| self.scalers.load(id, self.now)),
            events: service.events.iter().rev().map(told).collect(),
        })
    }

    /// What gateways need to know of a service now. `None` for a program, and where there
    /// is no such service: gateways are to forget it.
    pub fn endpoints(&self, id: &ServiceId) -> Option<Endpoints> {
        let service = self.state.services.get(id).filter(|service| !service.stopping)?;
        let http = service.wanted()?.spec.http()?.clone();
        let planned = self.planned(id, service);
        let header = planned.and_then(|planned| planned.plan.weights.header);
        let revisions = self.weights(id, service).into_iter().filter_map(|(number, weight)| {
            let of = service.revisions.get(&number)?;
            let replicas = self.ready_replicas(of).map(|(index, attempt, ix)| Endpoint {
                index,
                attempt,
                node: node_id(ix),
            });
            Some(RevisionEndpoints {
                revision: number,
                job: of.job,
                weight,
                header: header.clone().filter(|_| number == service.wanted),
                concurrency: of.spec.http()?.concurrency,
                replicas: replicas.collect(),
            })
        });
        Some(Endpoints { id: id.clone(), http, revisions: revisions.collect() })
    }

    /// The same of every service that gateways send requests to, in order of tenant and
    /// name: for a worker that connects.
    pub fn all_endpoints(&self) -> Vec<Endpoints> {
        self.state.services.iter().filter_map(|(id, _)| self.endpoints(id)).collect()
    }

    /// Of which service a live job is a revision, and which.
    pub fn revision_of(&self, job: JobId) -> Option<(ServiceId, u32)> {
        self.state.services.of_job(job).cloned()
    }

    /// The share of the requests of each revision that gets any, or may, in order of their
    /// numbers.
    fn weights(&self, id: &ServiceId, service: &Service) -> Vec<(u32, u32)> {
        let Some(planned) = self.planned(id, service) else { return vec![(service.wanted, 1)] };
        let weights: BTreeMap<u32, u32> = planned.weights(service.wanted).collect();
        let gets_any = |(number, weight): &(u32, u32)| {
            let of = || service.revisions.get(number);
            let is_ready = || of().is_some_and(|of| self.ready_replicas(of).next().is_some());
            *number == service.wanted || *weight > 0 || is_ready()
        };
        weights.into_iter().filter(gets_any).collect()
    }

    fn service_row(&self, id: &ServiceId, service: &Service) -> Option<ServiceRow> {
        let wanted = service.wanted()?;
        let ready = service.revisions.values().map(|of| self.ready_replicas(of).count() as u32);
        let ready = ready.sum();
        let routes = wanted.spec.http().map(|http| http.routes.clone());
        Some(ServiceRow {
            id: id.clone(),
            kind: self.state.jobs.get(wanted.job)?.kind,
            state: state_of(service, ready),
            revision: service.wanted,
            wanted: service.number,
            ready,
            routes: routes.unwrap_or_default(),
            deployed: wanted.deployed,
        })
    }

    fn replica_rows<'a>(
        &'a self,
        revision: u32,
        of: &'a Revision,
    ) -> impl Iterator<Item = ReplicaRow> + 'a {
        let array = match self.state.jobs.get(of.job).map(|job| &job.tasks) {
            Some(Tasks::Many(array)) => Some(array),
            _ => None,
        };
        of.replicas.iter().filter_map(move |(index, replica)| {
            let task = of.job.task(*index);
            let (attempt, spot) = self.state.jobs.get(of.job)?.task(task)?;
            let waits = array?.delayed.contains_key(index);
            let extra = self.state.extras.get(&task);
            let state = match (spot, &replica.health) {
                (None, _) if waits => ReplicaState::BackingOff,
                (None, _) => ReplicaState::Pending,
                (Some(_), _) if replica.drain.is_some() => ReplicaState::Draining,
                (Some(_), Health::Starting) => ReplicaState::Starting,
                (Some(_), Health::Ready) => ReplicaState::Ready,
                (Some(_), Health::NotReady { .. }) => ReplicaState::NotReady,
            };
            Some(ReplicaRow {
                revision,
                index: *index,
                attempt,
                node: spot.map(|spot| node_id(spot.node)),
                state,
                failures: replica.failures,
                outcome: extra.and_then(|extra| extra.outcome.as_deref()).filter(failed).map(shown),
                not_before: extra.map(|extra| extra.not_before).filter(|_| waits),
                why: match &replica.health {
                    Health::NotReady { why } => Some(why.clone()),
                    _ => None,
                },
            })
        })
    }
}

fn state_of(service: &Service, ready: u32) -> ServiceState {
    let awake = service.revisions.values().any(|of| !of.replicas.is_empty());
    let mut replicas = service.revisions.values().flat_map(|of| of.replicas.values());
    // Programs that have done what they were to do are not waited for.
    let over: u32 = service.revisions.values().map(|of| of.over.count()).sum();
    if service.stopping {
        ServiceState::Stopping
    } else if replicas.any(|replica| replica.failures >= FAILING && !replica.is_ready()) {
        ServiceState::Failing
    } else if let Some(moving) = &service.rollout {
        if moving.progress.paused { ServiceState::Paused } else { ServiceState::RollingOut }
    } else if service.number == 0 && !awake {
        ServiceState::Asleep
    } else if ready + over >= service.number {
        ServiceState::Ready
    } else {
        ServiceState::Starting
    }
}

fn scaling(service: &Service) -> Option<Scaling> {
    let scale = &service.wanted()?.spec.scale;
    let (min, max) = match service.scale {
        Some(ScaleTo::Replicas(replicas)) => (replicas, replicas),
        Some(ScaleTo::Bounds { min, max }) => (min, max),
        None | Some(ScaleTo::Specified) => (scale.min, scale.max),
    };
    Some(Scaling { min, max, on: scale.on, overridden: service.scale.is_some() })
}

/// Whether it is a failure, and not that it was stopped as it was told.
fn failed(outcome: &&Outcome) -> bool {
    !outcome.is_success() && **outcome != Outcome::Failed(Failure::Cancelled)
}

/// About what a row takes on the wire.
fn weight(row: &ServiceRow) -> usize {
    let text = |host: &Option<String>| host.as_ref().map_or(0, String::len);
    let routes = row.routes.iter().map(|route| text(&route.host) + route.prefix.len() + 8);
    256 + routes.sum::<usize>()
}

/// An event, as it is told.
fn told(event: &ServiceEvent) -> ServiceEvent {
    let mut event = event.clone();
    if let ServiceHappened::ReplicaFailed { outcome, .. } = &mut event.what {
        *outcome = shown(outcome);
    }
    event
}

fn shown(outcome: &Outcome) -> Outcome {
    outcome.clone().shortened(MAX_TEXT)
}
