//! Messages about services, and what specifications say of them.

use wrun_protocol::service::{
    CanaryStep, HeaderMatch, HttpService, ProgramService, Readiness, RestartWhen, Reuse, Rollout,
    Route, Scale, ScaleOn, ServiceId, ServiceKind, ServiceSpec, Strategy,
};
use wrun_protocol::wire::service::{
    Deployed, Endpoint, Endpoints, GatewayAddresses, GatewayRow, LoadRow, Readied, ReplicaRow,
    ReplicaState, RevisionEndpoints, RevisionLoad, RevisionRow, RolledBackBy, RolloutAction,
    RolloutRow, ScaleTo, ScaledBy, Scaling, ServiceDetail, ServiceEvent, ServiceHappened,
    ServiceLoad, ServiceRef, ServiceRow, ServiceState,
};

use super::*;

fn named() -> ServiceRef {
    ServiceRef { tenant: Some(tenant()), name: "web".parse().unwrap() }
}

fn id() -> ServiceId {
    ServiceId { tenant: tenant(), name: "web".parse().unwrap() }
}

fn route() -> Route {
    "shop.example/api".parse().unwrap()
}

fn header() -> HeaderMatch {
    HeaderMatch { name: "x-canary".into(), value: "yes".into() }
}

fn http() -> HttpService {
    HttpService {
        routes: vec![route()],
        callers: vec![tenant()],
        concurrency: 32,
        reuse: Some(Reuse { requests: 1000, concurrent: 1, idle_ms: 60_000 }),
        readiness: Readiness { path: Some("/healthz".into()), ..Readiness::default() },
        ..HttpService::default()
    }
}

fn canary() -> Strategy {
    let steps = vec![
        CanaryStep { percent: 5, wait_ms: Some(600_000) },
        CanaryStep { percent: 50, wait_ms: None },
    ];
    Strategy::Canary { steps, header: Some(header()) }
}

pub(super) fn service() -> ServiceSpec {
    let mut spec = ServiceSpec::new(ServiceKind::Http(http()));
    spec.scale = Scale { min: 0, max: 20, on: Some(ScaleOn::Rate { milli: 500 }), ..spec.scale };
    spec.rollout = Rollout { strategy: canary(), max_errors_milli: 20, ..spec.rollout };
    spec
}

fn row() -> ServiceRow {
    ServiceRow {
        id: id(),
        kind: ComponentKind::Http,
        state: ServiceState::RollingOut,
        revision: 2,
        wanted: 3,
        ready: 300,
        routes: vec![route()],
        deployed: AT,
    }
}

fn event(what: ServiceHappened) -> ServiceEvent {
    ServiceEvent { at: AT, what }
}

fn detail() -> ServiceDetail {
    ServiceDetail {
        row: row(),
        scaling: Scaling { min: 0, max: 20, on: service().scale.on, overridden: true },
        revisions: vec![RevisionRow {
            revision: 2,
            job: JOB,
            component: DIGEST,
            resources: Resources::default(),
            deployed: AT,
            percent: 5,
            wanted: 3,
            ready: 1,
        }],
        replicas: vec![ReplicaRow {
            revision: 2,
            index: 7,
            attempt: 2,
            node: Some(NODE),
            state: ReplicaState::NotReady,
            failures: 1,
            outcome: Some(Outcome::Failed(Failure::Exit { code: -1 })),
            not_before: Some(AT),
            why: Some("status 503".into()),
        }],
        rollout: Some(RolloutRow {
            from: 1,
            to: 2,
            ready: (1, 3),
            step: Some((1, 2)),
            next: Some(AT),
            paused: true,
        }),
        load: Some(LoadRow { window_ms: 60_000, requests: 300, ..LoadRow::default() }),
        events: vec![event(ServiceHappened::Deployed { revision: 2 })],
    }
}

fn endpoints() -> Endpoints {
    let endpoint = Endpoint { index: 7, attempt: 2, node: NODE };
    Endpoints {
        id: id(),
        http: http(),
        revisions: vec![RevisionEndpoints {
            revision: 2,
            job: JOB,
            weight: 300,
            header: Some(header()),
            concurrency: 32,
            replicas: vec![endpoint],
        }],
    }
}

fn gateways() -> GatewayAddresses {
    GatewayAddresses { http: vec![address()], https: Vec::new() }
}

pub(super) fn requests() -> [Request; 7] {
    [
        Request::Deploy { id: SubmitId([5; 16]), spec: encoded() },
        Request::Services { all_tenants: true, after: Some(id()) },
        Request::Service(named()),
        Request::Scale { service: named(), to: ScaleTo::Bounds { min: 1, max: 300 } },
        Request::Rollout { service: named(), action: RolloutAction::Undo { to: Some(1) } },
        Request::Undeploy(named()),
        Request::Gateways,
    ]
}

pub(super) fn responses() -> [Response; 4] {
    let gateway = GatewayRow { node: NODE, name: "n-1".into(), addresses: gateways() };
    [
        Response::Deployed(Deployed { revision: 2, job: JOB, changed: true }),
        Response::Services(vec![row()]),
        Response::Service(Box::new(detail())),
        Response::Gateways(vec![gateway]),
    ]
}

pub(super) fn to_worker() -> [ToWorker; 4] {
    [
        ToWorker::Services { whole: true, services: vec![endpoints()] },
        ToWorker::ServicesGone(vec![id()]),
        ToWorker::Nodes(vec![(NODE, Some(address())), (NODE, None)]),
        ToWorker::Drain { attempt: ATTEMPT, within_ms: 30_000 },
    ]
}

pub(super) fn from_worker() -> [FromWorker; 2] {
    let load = RevisionLoad {
        revision: 2,
        in_flight: 3,
        busy_ms: 3000,
        requests: 300,
        errors: 1,
        latency: vec![0, 0, 7],
    };
    let load = ServiceLoad { id: id(), over_ms: 1000, waiting: 5, revisions: vec![load] };
    [FromWorker::Load(vec![load]), FromWorker::Gateway(gateways())]
}

pub(super) fn add_values(lines: &mut Lines) {
    let program = ProgramService { ports: vec![5432], ready_after_ms: 1000 };
    lines
        .add_all("service.ServiceKind", [ServiceKind::Http(http()), ServiceKind::Program(program)]);
    lines.add_all(
        "service.ScaleOn",
        [
            ScaleOn::Concurrency { milli: 700 },
            ScaleOn::Rate { milli: 500 },
            ScaleOn::Latency { ms: 300 },
            ScaleOn::Waiting { requests: 5 },
            ScaleOn::ModelQueue { milli: 700 },
            ScaleOn::ModelLatency { ms: 300 },
        ],
    );
    let blue_green = Strategy::BlueGreen { header: None, keep_ms: 300_000 };
    lines.add_all("service.Strategy", [Strategy::Rolling, canary(), blue_green]);
    lines.add_all(
        "service.RestartWhen",
        [RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never],
    );
    lines.add_all(
        "service.RolloutAction",
        [RolloutAction::Pause, RolloutAction::Resume, RolloutAction::Undo { to: None }],
    );
    lines.add_all(
        "service.ScaleTo",
        [ScaleTo::Replicas(300), ScaleTo::Bounds { min: 1, max: 300 }, ScaleTo::Specified],
    );
    lines.add_all(
        "service.ServiceState",
        [
            ServiceState::Asleep,
            ServiceState::Starting,
            ServiceState::Ready,
            ServiceState::RollingOut,
            ServiceState::Paused,
            ServiceState::Failing,
            ServiceState::Stopping,
        ],
    );
    lines.add_all(
        "service.ReplicaState",
        [
            ReplicaState::Pending,
            ReplicaState::Starting,
            ReplicaState::Ready,
            ReplicaState::NotReady,
            ReplicaState::Draining,
            ReplicaState::BackingOff,
        ],
    );
    lines.add_all(
        "service.ScaledBy",
        [
            ScaledBy::User,
            ScaledBy::Load,
            ScaledBy::Request,
            ScaledBy::Idle,
            ScaledBy::Specification,
            ScaledBy::Trial,
        ],
    );
    lines.add_all(
        "service.RolledBackBy",
        [RolledBackBy::User, RolledBackBy::NotReady, RolledBackBy::Errors],
    );
    let outcome = Outcome::Failed(Failure::NodeLost);
    let why = RolledBackBy::Errors;
    lines.add_all(
        "service.ServiceHappened",
        [
            ServiceHappened::Deployed { revision: 2 },
            ServiceHappened::Scaled { from: 1, to: 300, why: ScaledBy::Load },
            ServiceHappened::ReplicaFailed { revision: 2, index: 7, outcome },
            ServiceHappened::RolledOut { revision: 2 },
            ServiceHappened::RolledBack { from: 2, to: 1, why },
        ],
    );
    lines.add_all(
        "service.Readied",
        [Readied::Ready, Readied::NotReady { why: "status 503".into() }],
    );
}
