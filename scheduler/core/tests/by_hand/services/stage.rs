//! A cluster whose nodes do at once what replicas call for: one that is assigned gets
//! ready, one that is drained goes. A test may keep a node from either.

use std::collections::BTreeSet;

use wrun_core::{Answer, Effect, Input, RequestId};
use wrun_protocol::job::EncodedSpec;
use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::service::{
    HttpService, ProgramService, Route, ServiceId, ServiceKind, ServiceSpec,
};
use wrun_protocol::task::Usage;
use wrun_protocol::wire::service::{
    Deployed, Readied, ReplicaRow, ReplicaState, ScaleTo, ServiceDetail,
};
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::{ComponentKind, Report, ToWorker};
use wrun_protocol::{AttemptId, JobId, JobSpec, NodeId};

use crate::cluster::{BEGIN, Cluster, answer, job, submit_id};

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// Nodes whose replicas do not get ready by themselves.
    pub(crate) slow: BTreeSet<u64>,
    /// Nodes whose replicas have requests under way that do not end.
    pub(crate) busy: BTreeSet<u64>,
    deployments: u64,
    /// Replicas that were told to let go, in order.
    pub(crate) drained: Vec<(u64, AttemptId)>,
}

/// A service with so many replicas, each of one CPU.
pub(crate) fn web(replicas: u32) -> JobSpec {
    let http = HttpService { concurrency: 1, ..HttpService::default() };
    service("web", ServiceKind::Http(http), replicas)
}

/// A program with so many replicas, each of one CPU.
pub(crate) fn program(replicas: u32) -> JobSpec {
    service("consumer", ServiceKind::Program(ProgramService::default()), replicas)
}

fn service(name: &str, kind: ServiceKind, replicas: u32) -> JobSpec {
    let mut service = ServiceSpec::new(kind);
    service.scale.min = replicas;
    service.scale.max = replicas.max(1);
    JobSpec { name: name.to_owned(), service: Some(Box::new(service)), ..job(MAX_REPLICAS) }
}

/// The same service with another environment: a revision more.
pub(crate) fn changed(mut spec: JobSpec, value: &str) -> JobSpec {
    spec.env = vec![("VERSION".to_owned(), value.to_owned())];
    spec
}

/// The service with its HTTP part changed.
pub(crate) fn http(mut spec: JobSpec, change: impl FnOnce(&mut HttpService)) -> JobSpec {
    match &mut part(&mut spec).kind {
        ServiceKind::Http(http) => change(http),
        ServiceKind::Program(_) => panic!("a program"),
    }
    spec
}

pub(crate) fn part(spec: &mut JobSpec) -> &mut ServiceSpec {
    spec.service.as_mut().unwrap()
}

pub(crate) fn routed(spec: JobSpec, route: &str) -> JobSpec {
    http(spec, |http| http.routes = vec![route.parse::<Route>().unwrap()])
}

pub(crate) fn id(name: &str) -> ServiceId {
    id_of("ann", name)
}

pub(crate) fn id_of(tenant: &str, name: &str) -> ServiceId {
    ServiceId { tenant: tenant.parse().unwrap(), name: name.parse().unwrap() }
}

/// On `nodes` nodes of so many CPUs each, numbered from 1.
pub(crate) fn stage(nodes: u64, cpus: u32) -> Stage {
    let mut cluster = Cluster::new();
    for number in 1..=nodes {
        cluster.node(number, cpus);
    }
    Stage::on(cluster)
}

impl Stage {
    pub(crate) fn on(mut cluster: Cluster) -> Self {
        cluster.inbox = Some(Vec::new());
        let (slow, busy) = (BTreeSet::new(), BTreeSet::new());
        Self { cluster, slow, busy, deployments: 1 << 32, drained: Vec::new() }
    }

    pub(crate) fn tell(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.cluster.handle(input);
        self.obey();
        effects
    }

    /// Nodes do what they were told, until nothing follows any more.
    pub(crate) fn obey(&mut self) {
        loop {
            let told = self.cluster.inbox.replace(Vec::new()).unwrap();
            if told.is_empty() {
                return;
            }
            told.into_iter().for_each(|(node, message)| self.on_message(node, message));
        }
    }

    fn on_message(&mut self, node: NodeId, message: ToWorker) {
        let node = node.0;
        match message {
            ToWorker::Assign(runs) if !self.slow.contains(&node) => {
                for run in runs {
                    let service = self.cluster.core.revision_of(run.job).is_some();
                    for index in run.tasks.indices().filter(|_| service) {
                        self.readied(
                            node,
                            run.job.task(index).attempt(run.attempt),
                            Readied::Ready,
                        );
                    }
                }
            }
            ToWorker::Drain { attempt, .. } => {
                self.drained.push((node, attempt));
                if !self.busy.contains(&node) {
                    self.cluster
                        .report(node, Report::Preempted { attempt, usage: Usage::default() });
                }
            }
            _ => {}
        }
    }

    /// What a node tells of a replica.
    pub(crate) fn readied(&mut self, node: u64, attempt: AttemptId, state: Readied) -> Vec<Effect> {
        self.cluster.report(node, Report::Readied { attempt, state })
    }

    pub(crate) fn deploy(&mut self, spec: &JobSpec) -> Deployed {
        self.deploy_as("ann", spec).unwrap()
    }

    pub(crate) fn deploy_as(
        &mut self,
        tenant: &str,
        spec: &JobSpec,
    ) -> Result<Deployed, RequestError> {
        self.deployments += 1;
        self.deploy_again(tenant, spec)
    }

    /// Deploys under the id of the last deployment.
    pub(crate) fn deploy_again(
        &mut self,
        tenant: &str,
        spec: &JobSpec,
    ) -> Result<Deployed, RequestError> {
        let kind = match spec.service.as_ref().map(|service| &service.kind) {
            Some(ServiceKind::Http(_)) => ComponentKind::Http,
            _ => ComponentKind::Command,
        };
        self.deploy_of_kind(tenant, kind, spec)
    }

    pub(crate) fn deploy_of_kind(
        &mut self,
        tenant: &str,
        kind: ComponentKind,
        spec: &JobSpec,
    ) -> Result<Deployed, RequestError> {
        let (request, id) = (RequestId(1), submit_id(self.deployments));
        let (tenant, spec) = (tenant.parse().unwrap(), EncodedSpec::encode(spec).unwrap());
        let effects = self.tell(Input::Deploy { request, tenant, id, kind, spec });
        answer(&effects).map(|answer| match answer {
            Answer::Deployed(deployed) => deployed,
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn scale(&mut self, name: &str, to: ScaleTo) -> Result<Answer, RequestError> {
        let (request, service) = (RequestId(1), id(name));
        answer(&self.tell(Input::Scale { request, service, to }))
    }

    pub(crate) fn undeploy(&mut self, name: &str) -> Result<Answer, RequestError> {
        let (request, service) = (RequestId(1), id(name));
        answer(&self.tell(Input::Undeploy { request, service }))
    }

    /// So many seconds after the begin: nodes act every second.
    pub(crate) fn at(&mut self, seconds: u64) -> &mut Self {
        let now = self.cluster.now.since(BEGIN).as_secs();
        for second in now..=seconds {
            self.cluster.at(second);
            self.obey();
        }
        self
    }

    pub(crate) fn detail(&self, name: &str) -> ServiceDetail {
        self.cluster.core.service(&id(name)).expect("a service")
    }

    /// Revision, index and state of every replica that is awake.
    pub(crate) fn replicas(&self, name: &str) -> Vec<(u32, u32, ReplicaState)> {
        let of = |row: &ReplicaRow| (row.revision, row.index, row.state);
        self.detail(name).replicas.iter().map(of).collect()
    }

    pub(crate) fn replica(&self, name: &str, index: u32) -> ReplicaRow {
        let mut rows = self.detail(name).replicas.into_iter();
        rows.find(|row| row.index == index).expect("a replica")
    }

    /// Revision, index, attempt and node of every endpoint.
    pub(crate) fn endpoints(&self, name: &str) -> Vec<(u32, u32, u32, u64)> {
        let Some(endpoints) = self.cluster.core.endpoints(&id(name)) else { return Vec::new() };
        let of = |revision: &wrun_protocol::wire::service::RevisionEndpoints| {
            let number = revision.revision;
            let of = |at: &wrun_protocol::wire::service::Endpoint| {
                (number, at.index, at.attempt, at.node.0)
            };
            revision.replicas.iter().map(of).collect::<Vec<_>>()
        };
        endpoints.revisions.iter().flat_map(of).collect()
    }

    /// The first attempt of a replica.
    pub(crate) fn attempt(job: u64, index: u32, attempt: u32) -> AttemptId {
        JobId(job).task(index).attempt(attempt)
    }
}

/// Whether gateways are told of a service, and that before anything is recorded.
pub(crate) fn told_first(effects: &[Effect], name: &str) -> bool {
    matches!(effects.first(), Some(Effect::Endpoints(of)) if *of == id(name))
}

pub(crate) fn told(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Endpoints(_))).count()
}
