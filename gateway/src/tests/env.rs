//! A gateway with replicas whose answers a test scripts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::mpsc;
use wrun_protocol::service::{HttpService, ServiceId};
use wrun_protocol::wire::service::{Endpoint, Endpoints, RevisionEndpoints};
use wrun_protocol::{JobId, NodeId, TenantName};

use crate::{
    Body, BodyError, CallError, Gateway, GatewayConfig, Target, Upstream, UpstreamError,
    UpstreamErrorKind, UpstreamFuture, empty, full,
};

/// What a replica does with a request.
#[derive(Clone)]
pub(crate) enum Does {
    /// Reads the body and answers with the text.
    Answers(&'static str),
    /// Answers with that status.
    Says(u16),
    /// Answers after so many milliseconds, reading nothing.
    Takes(u64),
    /// Reads the body and sends it back.
    Echoes,
    Fails(UpstreamError),
    /// Answers with that length and sends so many bytes of it, then breaks off.
    Breaks {
        announced: u64,
        sent: usize,
    },
    /// Sends as many bytes as that, in pieces of 16 KiB, as fast as they are taken.
    Floods(usize),
    /// Answers with an event each second.
    Ticks(u32),
}

/// The replicas of a test, by their index.
#[derive(Default)]
pub(crate) struct Replicas {
    script: Mutex<HashMap<u32, Vec<Does>>>,
    seen: Mutex<Vec<Seen>>,
}

/// A request that came to a replica.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) index: u32,
    pub(crate) uri: String,
    pub(crate) fields: HeaderMap,
}

impl Replicas {
    /// What a replica does with its requests, the last thing for ever.
    pub(crate) fn script(&self, index: u32, does: &[Does]) {
        self.script.lock().unwrap().insert(index, does.iter().rev().cloned().collect());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The replicas that got requests, in order.
    pub(crate) fn asked(&self) -> Vec<u32> {
        self.seen().iter().map(|seen| seen.index).collect()
    }
}

impl Upstream for Replicas {
    fn call(&self, to: Target, request: Request<Body>, _: std::time::Instant) -> UpstreamFuture {
        let index = to.attempt.task.index;
        let (uri, fields) = (request.uri().to_string(), request.headers().clone());
        self.seen.lock().unwrap().push(Seen { index, uri, fields });
        let mut script = self.script.lock().unwrap();
        let steps = script.entry(index).or_insert_with(|| vec![Does::Answers("hello")]);
        let does = if steps.len() > 1 { steps.pop() } else { steps.last().cloned() };
        Box::pin(perform(does.unwrap(), request))
    }
}

async fn perform(does: Does, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
    let read = |body: Body| async {
        let read = body.collect().await.map(http_body_util::Collected::to_bytes);
        read.map_err(|error| UpstreamErrorKind::Body(error.to_string()).after())
    };
    match does {
        Does::Answers(text) => {
            read(request.into_body()).await?;
            Ok(Response::new(full(text)))
        }
        Does::Says(status) => Ok(Response::builder().status(status).body(full("as told")).unwrap()),
        Does::Takes(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(Response::new(full("late")))
        }
        Does::Echoes => Ok(Response::new(full(read(request.into_body()).await?))),
        Does::Fails(error) => Err(error),
        Does::Breaks { announced, sent } => {
            let (pieces, body) = piped();
            pieces.try_send(Ok(Bytes::from(vec![b'x'; sent]))).unwrap();
            pieces.try_send(Err("cut".into())).unwrap();
            Ok(Response::builder().header("content-length", announced).body(body).unwrap())
        }
        Does::Floods(bytes) => {
            let (pieces, body) = piped();
            tokio::spawn(async move {
                for _ in 0..bytes.div_ceil(PIECE) {
                    let piece = Bytes::from_static(&[b'x'; PIECE]);
                    if pieces.send(Ok(piece)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(body))
        }
        Does::Ticks(count) => {
            let (pieces, body) = piped();
            tokio::spawn(async move {
                for number in 0..count {
                    let event = Bytes::from(format!("data: {number}\n\n"));
                    if pieces.send(Ok(event)).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            Ok(Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
        }
    }
}

const PIECE: usize = 16 << 10;

/// A body that is written through a channel.
pub(crate) fn piped() -> (mpsc::Sender<Result<Bytes, BodyError>>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, BodyError>>(2);
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    });
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}

/// A gateway and its replicas.
pub(crate) struct Env {
    pub(crate) gateway: Gateway,
    pub(crate) replicas: Arc<Replicas>,
}

/// The service of the tests with so many replicas, changed as wanted.
pub(crate) fn endpoints(replicas: u32, change: impl FnOnce(&mut Endpoints)) -> Endpoints {
    let endpoint = |index| Endpoint { index, attempt: 1, node: NodeId(1) };
    let revision = RevisionEndpoints {
        revision: 1,
        job: JobId(1),
        weight: 100,
        header: None,
        concurrency: 1,
        replicas: (0..replicas).map(endpoint).collect(),
    };
    let http = HttpService { routes: vec!["/".parse().unwrap()], ..HttpService::default() };
    let mut endpoints = Endpoints { id: api(), http, revisions: vec![revision] };
    change(&mut endpoints);
    endpoints
}

pub(crate) fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

pub(crate) fn api() -> ServiceId {
    ServiceId { tenant: tenant("lab"), name: "api".parse().unwrap() }
}

impl Env {
    pub(crate) fn new(endpoints: Endpoints) -> Self {
        Self::with(endpoints, |_| {})
    }

    pub(crate) fn with(endpoints: Endpoints, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let replicas = Arc::<Replicas>::default();
        let mut config = GatewayConfig::new(NodeId(1));
        change(&mut config);
        let upstream = Arc::clone(&replicas) as Arc<dyn Upstream>;
        let gateway = Gateway::new(config, upstream).unwrap();
        gateway.on_services(true, vec![endpoints]);
        Self { gateway, replicas }
    }

    /// A request of a service of the same tenant.
    pub(crate) async fn call(&self, method: &str, body: Body) -> Result<Response<Body>, CallError> {
        let request = Request::builder().method(method).uri("http://api.wrun.internal/x");
        self.gateway.call(&tenant("lab"), api(), request.body(body).unwrap()).await
    }

    /// The text of an answer to a GET.
    pub(crate) async fn get(&self) -> Result<String, CallError> {
        Ok(text(self.call("GET", empty()).await?).await)
    }

    /// Requests under way, and requests that wait, as they would be told.
    pub(crate) fn load(&self) -> (u32, u32) {
        let loads = self.gateway.take_loads();
        let in_flight = loads.iter().flat_map(|load| &load.revisions).map(|it| it.in_flight);
        (in_flight.sum(), loads.iter().map(|load| load.waiting).sum())
    }
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Lets everything happen that can without time going by.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
