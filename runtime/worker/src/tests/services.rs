//! The worker's gateway: what it is told, what it tells, and requests on their way to
//! replicas here and on another node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wrun_gateway::{Target, Upstream, UpstreamError, UpstreamErrorKind, empty};
use wrun_net::{Authority, Identity, signing_request};
use wrun_protocol::job::HostGrant;
use wrun_protocol::service::{HttpService, Route, ServiceId};
use wrun_protocol::wire::service::{Endpoint, Endpoints, RevisionEndpoints, ServiceLoad};
use wrun_protocol::wire::worker::{FromWorker, ToWorker};
use wrun_protocol::{AttemptId, JobId, NodeId};
use wrun_sandbox::{CallError, ReplicaStart, ServiceCallError};

use super::scripts::*;
use crate::executor::Executor;
use crate::gang::Gangs;
use crate::peers::Peers;
use crate::service::{Carrier, Hosted, Replicas, Requests};

fn id() -> ServiceId {
    ServiceId { tenant: "lab".parse().unwrap(), name: "hello".parse().unwrap() }
}

/// What the server says of the service, with these replicas on node 1.
fn endpoints(http: HttpService, replicas: &[u32]) -> Endpoints {
    endpoints_on(NodeId(1), http, replicas)
}

/// The same on another node.
pub(super) fn endpoints_on(node: NodeId, http: HttpService, replicas: &[u32]) -> Endpoints {
    let route = Route { host: None, prefix: "/".to_owned() };
    let replicas = replicas.iter().map(|index| Endpoint { index: *index, attempt: 1, node });
    let revision = RevisionEndpoints {
        revision: 1,
        job: JobId(1),
        weight: 1,
        header: None,
        concurrency: 4,
        replicas: replicas.collect(),
    };
    let http = HttpService { routes: vec![route], ..http };
    Endpoints { id: id(), http, revisions: vec![revision] }
}

pub(super) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn with_gateway() -> World {
    World::with(|config, _| config.http.http = vec![(Ipv4Addr::LOCALHOST, 0).into()]).await
}

async fn load(server: &mut Server) -> ServiceLoad {
    match server.next().await {
        FromWorker::Load(mut loads) => loads.remove(0),
        other => panic!("expected a load, got {other:?}"),
    }
}

#[tokio::test]
async fn requests_reach_a_replica_on_the_node_and_the_load_is_told() {
    let world = with_gateway().await;
    let mut server = world.connect().await;
    server.service(1, &service_spec(HttpService::default())).await;
    server.assign(1, 0..1).await;
    server.serve_blob(SERVICE).await;
    server.report().await;
    let services = vec![endpoints(HttpService::default(), &[0])];
    server.say(ToWorker::Services { whole: true, services }).await;
    let address = world.worker.http_addresses()[0];
    eventually_answers(address, "/a", "200 OK").await;
    let answer = get(address, "/b?c").await;
    assert!(answer.ends_with("answer to /b"), "{answer}");
    let load = load(&mut server).await;
    assert_eq!((load.id, load.waiting), (id(), 0));
    assert!(load.revisions[0].requests >= 2, "{:?}", load.revisions);
}

/// Until the gateway has heard what the server said.
pub(super) async fn eventually_answers(address: SocketAddr, path: &str, wanted: &str) {
    let asking = async {
        while !get(address, path).await.contains(wanted) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.expect("it is answered");
}

#[tokio::test]
async fn a_request_for_a_service_that_sleeps_is_told_at_once_and_answered_when_it_is_awake() {
    let world = with_gateway().await;
    let mut server = world.connect().await;
    server.service(1, &service_spec(HttpService::default())).await;
    let services = vec![endpoints(HttpService::default(), &[])];
    server.say(ToWorker::Services { whole: true, services }).await;
    let address = world.worker.http_addresses()[0];
    let asking = tokio::spawn(async move {
        loop {
            let answer = get(address, "/early").await;
            if !answer.contains(" 404 ") {
                return answer;
            }
        }
    });
    assert_eq!(load(&mut server).await.waiting, 1);
    server.assign(1, 0..1).await;
    server.serve_blob(SERVICE).await;
    while !matches!(server.next().await, FromWorker::Reports { .. }) {}
    let services = vec![endpoints(HttpService::default(), &[0])];
    server.say(ToWorker::Services { whole: false, services }).await;
    let answer = asking.await.unwrap();
    assert!(answer.ends_with("answer to /early"), "{answer}");
}

#[tokio::test]
async fn a_gateway_goes_on_without_a_server_and_forgets_what_is_no_more() {
    let world = with_gateway().await;
    let mut server = world.connect().await;
    server.service(1, &service_spec(HttpService::default())).await;
    server.assign(1, 0..1).await;
    server.serve_blob(SERVICE).await;
    server.report().await;
    let services = vec![endpoints(HttpService::default(), &[0])];
    server.say(ToWorker::Services { whole: true, services }).await;
    let address = world.worker.http_addresses()[0];
    eventually_answers(address, "/", "200 OK").await;
    server.connection.close(0, "gone");
    for _ in 0..20 {
        let answer = get(address, "/").await;
        assert!(answer.contains("200 OK"), "{answer}");
    }
    let (mut server, _) = world.accept().await;
    server.welcome().await;
    server.say(ToWorker::ServicesGone(vec![id()])).await;
    eventually_answers(address, "/", "404 Not Found").await;
}

#[tokio::test]
async fn a_guest_that_was_granted_it_calls_a_service_by_name() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.service(1, &service_spec(HttpService::default())).await;
    server.assign(1, 0..1).await;
    server.serve_blob(SERVICE).await;
    let services = vec![endpoints(HttpService::default(), &[0])];
    server.say(ToWorker::Services { whole: true, services }).await;
    let mut spec = spec();
    server.job(3, &spec).await;
    let host = "hello.wrun.internal".to_owned();
    spec.network = vec![HostGrant { host, port: None }];
    server.job(2, &spec).await;
    server.assign(2, 0..1).await;
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(2, 0)]).await;
    let caller = world.script.with_task(0, |task| task.job.services.clone()).unwrap();
    let call = |uri: &str| caller.call(Request::builder().uri(uri).body(empty()).unwrap());
    for name in ["hello.wrun.internal", "hello.lab.wrun.internal"] {
        let answer = call(&format!("http://{name}/z")).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "answer to /z");
    }
    for name in ["other.wrun.internal", "hello.shop.wrun.internal", "example.com"] {
        let error = call(&format!("http://{name}/")).await.unwrap_err();
        assert_eq!(error, ServiceCallError::NotFound, "{name}");
    }
    world.script.answers(Err(CallError::NoResponse));
    let error = call("http://hello.wrun.internal/").await.unwrap_err();
    assert!(matches!(error, ServiceCallError::Failed(_)), "{error}");
    world.script.succeed(0);
    server.assign(3, 1..2).await;
    world.script.runs(&[(3, 1)]).await;
    assert!(world.script.with_task(1, |task| task.job.services.is_none()), "nothing was granted");
}

#[tokio::test]
async fn a_draining_worker_takes_no_more_connections() {
    let world = with_gateway().await;
    let mut server = world.connect().await;
    let address = world.worker.http_addresses()[0];
    assert!(get(address, "/").await.contains("404 Not Found"));
    let World { worker, dir: _dir, .. } = world;
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    assert_eq!(server.next().await, FromWorker::Goodbye);
    drained.await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
}

/// A node without an agent: replicas, and a way to others.
struct Node {
    script: Script,
    replicas: Arc<Replicas<Script>>,
    carrier: Carrier<Script>,
    peers: Arc<Peers>,
    _gangs: Arc<Gangs>,
    _requests: Arc<dyn Requests>,
}

fn node(authority: &Authority, number: u64) -> Node {
    let (key, request) = signing_request().unwrap();
    let day = Duration::from_secs(86_400);
    let certificate = authority.issue_node(NodeId(number), &request, day).unwrap();
    let identity = Identity::new(vec![certificate], key).unwrap();
    let address = (Ipv4Addr::LOCALHOST, 0).into();
    let peers = Peers::bind(address, identity, authority.certificate_der().to_vec()).unwrap();
    let replicas = Arc::new(Replicas::new());
    let gangs = Gangs::new(NodeId(number), Some(Arc::clone(&peers)));
    let requests = Arc::clone(&replicas) as Arc<dyn Requests>;
    peers.serve(&gangs, &requests);
    let carrier = Carrier::new(NodeId(number), Arc::clone(&replicas), Some(Arc::clone(&peers)));
    let script = Script::default();
    Node { script, replicas, carrier, peers, _gangs: gangs, _requests: requests }
}

impl Node {
    /// Opens replica 0 of job 1.
    fn open(&self) {
        let start = ReplicaStart {
            token: 1,
            job: Arc::new(context()),
            index: 0,
            attempt: 1,
            http: HttpService::default(),
            memory_of_instance: 1 << 20,
            scratch: None,
        };
        let program = Arc::new(wrun_protocol::wire::worker::ComponentKind::Http);
        let replica = self.script.open_replica(&program, start, Arc::new(Nobody)).unwrap();
        let runtime = tokio::runtime::Handle::current();
        self.replicas.insert(&Arc::new(Hosted::new(attempt(1), replica, runtime)));
    }

    async fn call(&self, node: u64, attempt: AttemptId) -> Result<String, UpstreamError> {
        let target = Target { service: id(), revision: 1, attempt, node: NodeId(node) };
        let request = Request::builder().uri("http://a.example/x").body(empty()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let answer = self.carrier.call(target, request, deadline).await?;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

fn attempt(number: u32) -> AttemptId {
    JobId(1).task(0).attempt(number)
}

#[tokio::test]
async fn a_request_is_carried_to_the_node_that_has_the_replica() {
    let authority = Authority::create().unwrap();
    let (near, far) = (node(&authority, 1), node(&authority, 2));
    far.open();
    near.carrier.on_nodes(vec![(NodeId(2), Some(far.peers.local_addr()))]);
    assert_eq!(far.call(2, attempt(1)).await.unwrap(), "answer to /x", "on the node itself");
    for _ in 0..3 {
        assert_eq!(near.call(2, attempt(1)).await.unwrap(), "answer to /x");
    }
    let stale = near.call(2, attempt(2)).await.unwrap_err();
    assert_eq!(stale, UpstreamErrorKind::Draining.before(), "another attempt than is there");
    assert_eq!(far.call(2, attempt(2)).await.unwrap_err(), stale, "on the node itself too");
    far.script.answers(Err(CallError::Trap { message: "oh".to_owned() }));
    let failed = UpstreamErrorKind::Failed("the guest trapped: oh".to_owned()).after();
    assert_eq!(near.call(2, attempt(1)).await.unwrap_err(), failed);
    assert_eq!(far.call(2, attempt(1)).await.unwrap_err(), failed);
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_has_seen_nothing() {
    let authority = Authority::create().unwrap();
    let near = node(&authority, 1);
    let unreached = |error: UpstreamError| {
        assert!(matches!(error.kind, UpstreamErrorKind::Unreachable(_)), "{error}");
        assert!(error.never_begun);
    };
    unreached(near.call(2, attempt(1)).await.unwrap_err());
    // A port that nobody has any more.
    let gone = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    near.carrier.on_nodes(vec![(NodeId(2), Some(gone))]);
    let begun = Instant::now();
    let all = futures_util::future::join_all((0..20).map(|_| near.call(2, attempt(1)))).await;
    all.into_iter().for_each(|answer| unreached(answer.unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(15), "they fail together");
    near.carrier.on_nodes(vec![(NodeId(2), None)]);
    unreached(near.call(2, attempt(1)).await.unwrap_err());
}
