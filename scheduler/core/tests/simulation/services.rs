//! Services drawn at random, and what must hold of them whatever breaks: gateways know no
//! replica that is not ready where they think, none is stopped that has requests before it
//! was told to let go, no more are there than a rollout may add, and none that is ready is
//! given up while so few are that each is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wrun_core::{Fact, Input};
use wrun_protocol::job::{EncodedSpec, OnDisconnect};
use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::node::NodeState;
use wrun_protocol::service::{
    CanaryStep, HttpService, ProgramService, RestartWhen, Rollout, ServiceId, ServiceKind,
    ServiceSpec, Strategy,
};
use wrun_protocol::wire::service::{Readied, ReplicaState, RolloutAction, ScaleTo, ServiceDetail};
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{AttemptId, Digest, JobId, JobSpec, NodeId, SubmitId, TaskId};

use crate::model::{Task, placements};
use crate::world::World;

/// Replicas that were ready and told to go, of all seeds.
pub(crate) static LET_GO: AtomicU64 = AtomicU64::new(0);

/// What nodes told of replicas and were told, by the facts.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    ready: BTreeSet<AttemptId>,
    draining: BTreeSet<AttemptId>,
    /// Revisions of services that are wanted or may be again, with their numbers.
    revisions: BTreeMap<(ServiceId, u32), JobId>,
    services: BTreeMap<JobId, ServiceId>,
    /// How revisions take the place of others.
    rollouts: BTreeMap<JobId, Rollout>,
    /// Of the services that stay: which revision is wanted, and how many replicas.
    wanted: BTreeMap<ServiceId, (JobId, u32)>,
    /// Attempts that were frozen, or told that they would be stopped for others.
    stopped: BTreeSet<AttemptId>,
    /// Services whose new revision is at its first stage, and does not go back.
    first_stage: BTreeSet<ServiceId>,
    /// Ready ones that were told to go since the last look.
    let_go: Vec<LetGo>,
    /// Which revisions are of HTTP services.
    http: BTreeSet<JobId>,
    /// Attempts on nodes.
    placed: BTreeMap<TaskId, u32>,
}

/// A replica that was ready was told to go.
#[derive(Debug)]
struct LetGo {
    node: NodeId,
    attempt: AttemptId,
    /// How many of its service are ready without it, and are to be.
    left: u32,
    least: u32,
}

impl Replicas {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut replicas = Self::default();
        facts.iter().for_each(|fact| replicas.apply(fact));
        Self { let_go: Vec::new(), ..replicas }
    }

    pub(crate) fn apply(&mut self, fact: &Fact) {
        for (_, run, _) in placements(fact) {
            let tasks = run.tasks.indices().map(|index| run.job.task(index));
            self.placed.extend(tasks.map(|task| (task, run.attempt)));
        }
        match fact {
            Fact::Requeued { tasks, .. } => {
                let each =
                    |run: &Assignment| run.tasks.indices().map(|i| run.job.task(i)).collect();
                let tasks = tasks.iter().map(each).collect::<Vec<Vec<TaskId>>>().concat();
                tasks.iter().for_each(|task| _ = self.placed.remove(task));
            }
            Fact::Ended { attempt, .. } => _ = self.placed.remove(&attempt.task),
            Fact::ReplicasSlept { job, replicas, .. } => {
                for index in replicas.iter().flat_map(|replicas| replicas.indices()) {
                    let Some(attempt) = self.placed.remove(&job.task(index)) else { continue };
                    let attempt = job.task(index).attempt(attempt);
                    let served = self.http.contains(job) && self.ready.contains(&attempt);
                    let told = self.draining.contains(&attempt);
                    assert!(!served || told, "stopped without notice: {attempt}");
                }
            }
            Fact::ServiceDeployed { service: id, revision, job, spec, .. } => {
                self.revisions.insert((id.clone(), *revision), *job);
                self.services.insert(*job, id.clone());
                self.wanted.entry(id.clone()).or_insert((*job, 0)).0 = *job;
                let service = spec.decode().unwrap().service.unwrap();
                self.http.extend(service.http().map(|_| *job));
                self.rollouts.insert(*job, service.rollout);
                self.first_stage.insert(id.clone());
            }
            Fact::ServiceUndeployed { service, .. } => _ = self.wanted.remove(service),
            Fact::ServiceScaled { service, to, .. } => {
                self.wanted.entry(service.clone()).and_modify(|wanted| wanted.1 = *to);
            }
            Fact::RolloutMoved { service, step: 1.., .. } => _ = self.first_stage.remove(service),
            Fact::RolledBack { service, to, .. } => {
                self.first_stage.remove(service);
                let job = self.revisions[&(service.clone(), *to)];
                self.wanted.entry(service.clone()).and_modify(|wanted| wanted.0 = job);
            }
            Fact::Frozen { tasks, frozen, .. } => {
                for run in tasks {
                    for index in run.tasks.indices() {
                        let attempt = run.job.task(index).attempt(run.attempt);
                        match frozen {
                            true => _ = self.stopped.insert(attempt),
                            false => _ = self.stopped.remove(&attempt),
                        }
                    }
                }
            }
            Fact::Noticed { attempt, .. } => _ = self.stopped.insert(*attempt),
            Fact::ReplicaReadied { attempt, state: Readied::Ready, .. } => {
                assert!(self.ready.insert(*attempt), "no news: {fact:?}");
            }
            Fact::ReplicaReadied { attempt, state: Readied::NotReady { .. }, .. } => {
                assert!(self.ready.remove(attempt), "no news: {fact:?}");
            }
            Fact::ReplicaDraining { node, attempt, .. } => {
                assert!(self.draining.insert(*attempt), "told twice: {fact:?}");
                if self.ready.contains(attempt) && !self.stopped.contains(attempt) {
                    self.on_let_go(*node, *attempt);
                }
            }
            _ => {}
        }
    }

    fn on_let_go(&mut self, node: NodeId, attempt: AttemptId) {
        let service = &self.services[&attempt.task.job];
        let Some((wanted, number)) = self.wanted.get(service) else { return };
        let least = number.saturating_sub(self.rollouts[wanted].unavailable);
        let of_it = |ready: &&AttemptId| {
            self.services[&ready.task.job] == *service
                && self.placed.get(&ready.task) == Some(&ready.attempt)
                && !self.draining.contains(ready)
                && !self.stopped.contains(ready)
        };
        let left = self.ready.iter().filter(of_it).count() as u32;
        LET_GO.fetch_add(1, Relaxed);
        self.let_go.push(LetGo { node, attempt, left, least });
    }

    /// How the revision that is wanted takes the place of others.
    fn rollout(&self, detail: &ServiceDetail) -> &Rollout {
        let wanted = detail.revisions.iter().find(|row| row.revision == detail.row.revision);
        &self.rollouts[&wanted.unwrap().job]
    }
}

impl World {
    /// A revision of one of a few services.
    pub(crate) fn deploy(&mut self) {
        let random = &mut self.random;
        let http = random.one_in(2);
        let mut service = ServiceSpec::new(match http {
            true => ServiceKind::Http(HttpService { concurrency: 1, ..HttpService::default() }),
            false => ServiceKind::Program(ProgramService {
                ports: if random.one_in(3) { vec![80] } else { Vec::new() },
                ready_after_ms: 0,
            }),
        });
        if let ServiceKind::Http(http) = &mut service.kind {
            http.readiness.start_ms = random.pick(&[30, 1000]);
        }
        service.scale.min = random.pick(&[1, 2, 3]);
        service.scale.max = 3;
        (service.rollout.surge, service.rollout.unavailable) =
            random.pick(&[(1, 0), (2, 0), (0, 1), (1, 1)]);
        let step = |percent, wait_ms| CanaryStep { percent, wait_ms };
        service.rollout.strategy = match random.below(4) {
            0 if http => {
                let steps = vec![step(20, Some(30)), step(random.pick(&[50, 100]), None)];
                Strategy::Canary { steps, header: None }
            }
            1 if http => Strategy::BlueGreen { header: None, keep_ms: random.pick(&[0, 50, 500]) },
            _ => Strategy::Rolling,
        };
        service.rollout.max_errors_milli = random.pick(&[0, 0, 100]);
        service.rollout.drain_ms = random.pick(&[5, 50]);
        service.rollout.keep = random.pick(&[1, 2]);
        service.restart.backoff_ms = random.pick(&[1, 20]);
        service.restart.max_backoff_ms = random.pick(&[1, 100]);
        service.restart.when =
            random.pick(&[RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]);
        let mut spec = JobSpec::new(Digest([2; 32]));
        spec.name = random.pick(&["web", "api"]).to_owned();
        spec.count = MAX_REPLICAS;
        spec.resources.cpu_milli = random.pick(&[250, 500]);
        spec.priority = random.pick(&[0, 0, 5]);
        spec.on_disconnect = random.pick(&[OnDisconnect::Continue, OnDisconnect::Stop]);
        if !self.core.policy().qos.is_empty() && !random.one_in(3) {
            spec.scheduling.qos = Some(random.pick(&["bulk", "urgent"]).to_owned());
        }
        spec.service = Some(Box::new(service));
        let tenant = random.pick(&["ann", "bob"]).parse().unwrap();
        let number = random.below(1 << 30) as u64;
        let mut id = [7; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let kind = if http { ComponentKind::Http } else { ComponentKind::Command };
        let spec = EncodedSpec::encode(&spec).unwrap();
        let request = self.request();
        self.handle(Input::Deploy { request, tenant, id: SubmitId(id), kind, spec });
    }

    fn services(&self) -> Vec<ServiceId> {
        self.core.services(None, None).into_iter().map(|row| row.id).collect()
    }

    pub(crate) fn change_service(&mut self) {
        let services = self.services();
        if services.is_empty() {
            return;
        }
        let (request, place) = (self.request(), self.random.below(services.len()));
        let service = services[place].clone();
        let to = match self.random.below(12) {
            0 => return self.handle(Input::Undeploy { request, service }),
            action @ 6.. => {
                let action = match action {
                    6 => RolloutAction::Pause,
                    7..=8 => RolloutAction::Resume,
                    9 => RolloutAction::Undo { to: Some(1 + self.random.below(3) as u32) },
                    _ => RolloutAction::Undo { to: None },
                };
                return self.handle(Input::Rollout { request, service, action });
            }
            1 => ScaleTo::Specified,
            2 => ScaleTo::Bounds { min: 0, max: 2 },
            _ => ScaleTo::Replicas(self.random.below(5) as u32),
        };
        self.handle(Input::Scale { request, service, to });
    }

    pub(crate) fn undeploy_all(&mut self) {
        for service in self.services() {
            let request = self.request();
            self.handle(Input::Undeploy { request, service });
        }
    }

    pub(crate) fn check_services(&mut self) {
        let let_go = std::mem::take(&mut self.replicas.let_go);
        let steady =
            |node: NodeId| self.core.node(node).is_some_and(|node| node.state == NodeState::Ready);
        for id in self.services() {
            let detail = self.core.service(&id).unwrap();
            let rollout = self.replicas.rollout(&detail);
            let wanted = detail.row.wanted;
            let all_at_once = matches!(rollout.strategy, Strategy::BlueGreen { .. })
                && detail.rollout.is_some()
                && self.replicas.first_stage.contains(&id);
            let most = if all_at_once { 2 * wanted } else { wanted + rollout.surge };
            let of_it = |job| detail.revisions.iter().any(|row| row.job == job);
            // What leaves its node may have nowhere to go.
            let mut gone = let_go.iter().filter(|gone| of_it(gone.attempt.task.job));
            let too_many = gone.find(|gone| gone.left < gone.least && steady(gone.node));
            assert!(too_many.is_none(), "it was needed: {too_many:?} of {detail:#?}");
            let stays = detail.replicas.iter().filter(|row| row.state != ReplicaState::Draining);
            let leaving = |node: Option<NodeId>| node.is_some_and(|node| !steady(node));
            let staying = stays.filter(|row| !leaving(row.node)).count() as u32;
            assert!(staying <= most, "more than {most} replicas: {detail:#?}");
            self.check_endpoints(&id);
        }
    }

    fn check_endpoints(&self, id: &ServiceId) {
        let Some(endpoints) = self.core.endpoints(id) else { return };
        let (able, unable): (Vec<_>, Vec<_>) =
            endpoints.revisions.iter().partition(|of| !of.replicas.is_empty());
        let has_any = able.is_empty() || able.iter().any(|of| of.weight > 0);
        assert!(has_any, "no requests for those that are ready: {endpoints:#?}");
        let lost = !able.is_empty() && unable.iter().any(|of| of.weight > 0);
        assert!(!lost, "requests for those that are not ready: {endpoints:#?}");
        for revision in &endpoints.revisions {
            assert!(self.replicas.http.contains(&revision.job), "{id} has no requests");
            for endpoint in &revision.replicas {
                let attempt = revision.attempt(endpoint);
                let task = self.model.jobs[&revision.job].tasks[endpoint.index as usize];
                let there = (endpoint.attempt, Task::Placed(endpoint.node));
                assert_eq!(task, there, "an endpoint of {id} is not there");
                assert!(self.replicas.ready.contains(&attempt), "{attempt} is not ready");
                assert!(!self.replicas.draining.contains(&attempt), "{attempt} is to go");
            }
        }
    }
}
