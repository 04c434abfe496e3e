//! Services: what is refused before the scheduler sees it, who may see what, and what gateways
//! are told.

use std::net::SocketAddr;

use wrun_protocol::job::{EncodedSpec, JobSpec};
use wrun_protocol::limits::MAX_REPLICAS;
use wrun_protocol::service::{HttpService, ProgramService, ServiceKind, ServiceSpec};
use wrun_protocol::wire::service::{
    Deployed, Endpoint, Endpoints, GatewayAddresses, GatewayRow, Readied, RolloutAction, ScaleTo,
    ServiceRef,
};
use wrun_protocol::wire::user::{ErrorCode, Request, RequestError, Response};
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};
use wrun_protocol::{Digest, IndexRange, SubmitId};

use crate::harness::*;

/// A service of that kind.
fn service(name: &str, component: Digest, kind: ServiceKind) -> JobSpec {
    let mut spec = JobSpec::new(component);
    spec.name = name.to_owned();
    spec.count = MAX_REPLICAS;
    spec.service = Some(Box::new(ServiceSpec::new(kind)));
    spec.resources.slots = spec.instances();
    spec
}

fn web() -> ServiceKind {
    ServiceKind::Http(HttpService::default())
}

fn program() -> ServiceKind {
    ServiceKind::Program(ProgramService::default())
}

fn deploy(id: u8, spec: &JobSpec) -> Request {
    Request::Deploy { id: SubmitId([id; 16]), spec: EncodedSpec::encode(spec).unwrap() }
}

fn named(tenant: Option<&str>, name: &str) -> ServiceRef {
    let tenant = tenant.map(|tenant| tenant.parse().unwrap());
    ServiceRef { tenant, name: name.parse().unwrap() }
}

/// Every request that names a service.
fn about(service: &ServiceRef) -> Vec<Request> {
    let service = || service.clone();
    vec![
        Request::Service(service()),
        Request::Scale { service: service(), to: ScaleTo::Replicas(1) },
        Request::Rollout { service: service(), action: RolloutAction::Pause },
        Request::Undeploy(service()),
    ]
}

#[tokio::test]
async fn a_component_is_deployed_as_what_it_is() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let http_digest = client.upload(&http_component()).await;
    let (command, handler) = (client.upload(&command()).await, client.upload(&handler()).await);
    for (component, kind, names) in [
        (http_digest, program(), "program: the component answers HTTP requests"),
        (command, web(), "http: the component is a program"),
        (handler, web(), "`wrun submit`"),
        (handler, program(), "`wrun submit`"),
    ] {
        let refused = client.refusal(deploy(1, &service("api", component, kind))).await;
        assert_eq!(refused.code, ErrorCode::InvalidInput, "{refused}");
        assert!(refused.message.contains(names), "{refused}");
    }
    let job = client.refusal(deploy(1, &JobSpec::new(command))).await;
    assert!(job.message.contains("`wrun submit`"), "{job}");
}

#[tokio::test]
async fn what_stays_is_not_submitted() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let component = client.upload(&http_component()).await;
    for spec in [JobSpec::new(component), service("api", component, web())] {
        let refused = client.submit_as(1, &spec).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidInput);
        assert!(refused.message.contains("`wrun deploy`"), "{refused}");
    }
}

#[tokio::test]
async fn what_a_replica_cannot_hold_is_refused() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let wide = HttpService { concurrency: 64, ..HttpService::default() };
    // The component begins with 1 page of 64 KiB; a replica shares its memory out.
    let text = String::from_utf8(include_bytes!("command.wat").to_vec()).unwrap();
    let text = text.replace("(export \"memory\") 1)", "(export \"memory\") 64)");
    let text = text.replace("wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.6");
    let text = text.replace("(export \"run\" (func $run))", "(export \"handle\" (func $run))");
    let component = client.upload(&wat::parse_str(text).unwrap()).await;
    let refused =
        client.refusal(deploy(1, &service("api", component, ServiceKind::Http(wide)))).await;
    let expected = "memory: 2 MiB for each of 64 instances, but the component's memories begin \
                    with 4 MiB; ask for more";
    assert_eq!(refused, RequestError::new(ErrorCode::InvalidInput, expected));
}

#[tokio::test]
async fn another_tenants_service_is_not_found() {
    let cluster = Cluster::start().await;
    let other = cluster.user("other");
    for (request, twin) in
        about(&named(Some("lab"), "api")).into_iter().zip(about(&named(None, "api")))
    {
        let refused = other.refusal(request.clone()).await;
        assert_eq!(refused.code, ErrorCode::NotFound, "{request:?}");
        assert_eq!(refused, other.refusal(twin).await, "as if there were none");
    }
    let all = Request::Services { all_tenants: true, after: None };
    assert_eq!(other.refusal(all.clone()).await.code, ErrorCode::Denied);
    assert_eq!(cluster.admin().ask(all).await, Response::Services(Vec::new()));
}

#[tokio::test]
async fn workers_learn_of_each_other_and_of_services_right_after_the_welcome() {
    let cluster = Cluster::start().await;
    let listens = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (a, b) = (cluster.join("a").await, cluster.join("b").await);
    let before = [FromWorker::Listens(listens(7001))];
    let (mut first, _) = Worker::connect_saying(&cluster, a, "a", 1, Vec::new(), &before).await;
    let nothing = || ToWorker::Services { whole: true, services: Vec::new() };
    assert_eq!(first.next().await, ToWorker::Nodes(vec![(a, Some(listens(7001)))]));
    assert_eq!(first.next().await, nothing());
    let before = [FromWorker::Listens(listens(7002))];
    let (mut second, _) = Worker::connect_saying(&cluster, b, "b", 1, Vec::new(), &before).await;
    let both = vec![(a, Some(listens(7001))), (b, Some(listens(7002)))];
    assert_eq!(second.next().await, ToWorker::Nodes(both));
    assert_eq!(second.next().await, nothing());
    assert_eq!(first.next().await, ToWorker::Nodes(vec![(b, Some(listens(7002)))]));
    second.vanish();
    let (mut back, _) = Worker::connect(&cluster, b, "b", 1, Vec::new()).await;
    assert_eq!(back.next().await, ToWorker::Nodes(vec![(a, Some(listens(7001)))]));
    assert_eq!(first.next().await, ToWorker::Nodes(vec![(b, None)]), "it listens no more");
}

async fn deployed(client: &Client, id: u8, spec: &JobSpec) -> Deployed {
    match client.ask(deploy(id, spec)).await {
        Response::Deployed(deployed) => deployed,
        other => panic!("{other:?}"),
    }
}

/// A service that answers HTTP requests on one route.
async fn api(client: &Client) -> JobSpec {
    let http = HttpService { routes: vec!["/api".parse().unwrap()], ..HttpService::default() };
    service("api", client.upload(&http_component()).await, ServiceKind::Http(http))
}

/// What is told next of the only service, and whether it is the whole.
async fn told(worker: &mut Worker) -> (bool, Endpoints) {
    loop {
        if let ToWorker::Services { whole, services } = worker.next().await
            && let Some(endpoints) = services.into_iter().next()
        {
            return (whole, endpoints);
        }
    }
}

/// The same, as soon as it has replicas.
async fn told_of_replicas(worker: &mut Worker) -> Endpoints {
    loop {
        let (_, endpoints) = told(worker).await;
        if endpoints.revisions.iter().any(|revision| !revision.replicas.is_empty()) {
            return endpoints;
        }
    }
}

#[tokio::test]
async fn every_gateway_is_told_of_a_replica_that_is_ready_and_of_a_service_that_is_gone() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut first = cluster.worker("a").await;
    let spec = api(&client).await;
    let Deployed { revision, job, changed } = deployed(&client, 1, &spec).await;
    assert_eq!((revision, changed), (1, true));
    let assigned = first.assigned().await;
    assert_eq!((assigned.job, assigned.tasks), (job, IndexRange::one(0)));
    let mut second = cluster.worker("b").await;
    let (whole, endpoints) = told(&mut second).await;
    assert!(whole && endpoints.revisions.iter().all(|revision| revision.replicas.is_empty()));
    let (node, attempt) = (first.node, attempt(assigned));
    first.report(vec![Report::Readied { attempt, state: Readied::Ready }]).await;
    for worker in [&mut first, &mut second] {
        let endpoints = told_of_replicas(worker).await;
        assert_eq!(endpoints.id.to_string(), "lab/api");
        assert_eq!(endpoints.http.routes, ["/api".parse().unwrap()]);
        let replicas = &endpoints.revisions[0].replicas;
        assert_eq!(*replicas, [Endpoint { index: 0, attempt: 1, node }]);
    }
    let refused = cluster.user("other").refusal(deploy(1, &spec)).await;
    assert_eq!(refused.code, ErrorCode::NotFound, "its component is not the other's: {refused}");
    assert_eq!(client.ask(Request::Undeploy(named(None, "api"))).await, Response::Done);
    for worker in [&mut first, &mut second] {
        loop {
            match worker.next().await {
                ToWorker::ServicesGone(gone) => {
                    assert_eq!(gone[0].to_string(), "lab/api");
                    break;
                }
                // A gateway stops sending to a replica before that is told to go.
                ToWorker::Drain { .. } => panic!("drained before gateways know"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_service_outlives_the_server_and_its_replica_is_adopted() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let spec = api(&client).await;
    let first = deployed(&client, 1, &spec).await;
    let assigned = worker.assigned().await;
    let attempt = attempt(assigned);
    worker.report(vec![Report::Readied { attempt, state: Readied::Ready }]).await;
    worker.acknowledged(1).await;
    let node = worker.node;
    let cluster = cluster.restart().await;
    let (mut worker, stale) = Worker::connect(&cluster, node, "a", 1, vec![assigned]).await;
    assert_eq!(stale, []);
    let (whole, endpoints) = told(&mut worker).await;
    assert!(whole);
    assert_eq!(endpoints.revisions[0].replicas, [Endpoint { index: 0, attempt: 1, node }]);
    let client = cluster.user("lab");
    let same = Deployed { changed: false, ..first };
    assert_eq!(deployed(&client, 2, &spec).await, same, "the same again changes nothing");
    assert_eq!(deployed(&client, 1, &spec).await, first, "a repetition has the same answer");
    let Response::Services(rows) =
        client.ask(Request::Services { all_tenants: false, after: None }).await
    else {
        panic!("no listing");
    };
    assert_eq!((rows.len(), rows[0].revision, rows[0].ready), (1, 1, 1));
    let after = Some(rows[0].id.clone());
    let next = client.ask(Request::Services { all_tenants: false, after }).await;
    assert_eq!(next, Response::Services(Vec::new()));
    let Response::Service(detail) = client.ask(Request::Service(named(None, "api"))).await else {
        panic!("no service");
    };
    assert_eq!(detail.replicas[0].node, Some(node));
    let wide = ScaleTo::Bounds { min: 3, max: 2 };
    let scale = Request::Scale { service: named(None, "api"), to: wide };
    assert_eq!(client.refusal(scale).await.code, ErrorCode::InvalidInput);
}

async fn gateways(client: &Client) -> Vec<GatewayRow> {
    match client.ask(Request::Gateways).await {
        Response::Gateways(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn users_are_told_where_services_are_reached() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    assert_eq!(gateways(&client).await, []);
    let node = cluster.join("edge").await;
    let addresses = |host: [u8; 4]| GatewayAddresses {
        http: vec![SocketAddr::from((host, 80))],
        https: vec![SocketAddr::from(([10, 0, 0, 7], 443))],
    };
    let before = [FromWorker::Gateway(addresses([0, 0, 0, 0]))];
    let (worker, _) = Worker::connect_saying(&cluster, node, "edge", 1, Vec::new(), &before).await;
    let found = gateways(&client).await;
    let seen = found[0].addresses.http[0];
    assert!(!seen.ip().is_unspecified() && seen.port() == 80, "{seen}");
    assert_eq!(found[0].addresses.https, addresses([0; 4]).https);
    assert_eq!((found[0].node, found[0].name.as_str()), (node, "edge"));
    worker.vanish();
    soon("the gateway is gone", async {
        while !gateways(&client).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn load_is_taken_from_a_session_and_answers_nothing() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("a").await;
    worker.say(&FromWorker::Load(Vec::new())).await;
    worker.say(&FromWorker::Heartbeat { beat: 1 }).await;
    assert_eq!(worker.next_of_work().await, ToWorker::HeartbeatAck { beat: 1 });
}
