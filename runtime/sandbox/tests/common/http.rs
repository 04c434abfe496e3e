//! Replicas of the HTTP guests, and requests to them.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use wrun_protocol::service::{HttpService, Reuse};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::ComponentKind;
use wrun_sandbox::{
    Body, CallError, JobContext, Prepared, Replica, ReplicaEvents, ReplicaStart, SandboxConfig,
};

use super::{Bench, PATIENCE, digest_of, job};

/// The guest of WASI 0.2, and of 0.3.
pub const PLAIN: &str = "http_obedient";
pub const CONCURRENT: &str = "http_obedient_async";

/// What a replica told.
#[derive(Default)]
pub struct Told {
    pub log: Mutex<Vec<u8>>,
    pub failed: Mutex<Vec<CallError>>,
    pub vacated: Mutex<u32>,
}

impl ReplicaEvents for Told {
    fn log(&self, token: u64, _: LogStream, bytes: Bytes) {
        assert_eq!(token, 5);
        self.log.lock().unwrap().extend_from_slice(&bytes);
    }

    fn failed(&self, _: u64, error: &CallError) {
        self.failed.lock().unwrap().push(error.clone());
    }

    fn vacated(&self, _: u64) {
        *self.vacated.lock().unwrap() += 1;
    }
}

/// A replica that is open, and its sandbox.
pub struct Served {
    pub replica: Replica,
    pub told: Arc<Told>,
    pub prepared: Arc<Prepared>,
    pub bench: Bench,
}

/// How the replica of a test differs from others.
pub struct Wish {
    pub http: HttpService,
    pub memory: u64,
    pub job: JobContext,
    pub scratch: bool,
}

/// The bytes of a guest that `cargo xtask guests` built.
pub fn guest(name: &str) -> Bytes {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    while path.file_name().is_some_and(|name| name != "target") {
        assert!(path.pop());
    }
    let path = path.join(format!("guests/wasm32-wasip2/release/{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
        .into()
}

pub fn reuse(requests: u32, concurrent: u32, idle_ms: u64) -> Option<Reuse> {
    Some(Reuse { requests, concurrent, idle_ms })
}

impl Served {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {}, |_| {})
    }

    pub fn with(
        name: &str,
        config: impl FnOnce(&mut SandboxConfig),
        wish: impl FnOnce(&mut Wish),
    ) -> Self {
        let bench = Bench::with(config);
        let bytes = guest(name);
        let prepared =
            bench.block_on(bench.sandbox.compile(digest_of(&bytes), move || Ok(bytes))).unwrap();
        assert_eq!(prepared.kind(), ComponentKind::Http);
        let told = Arc::<Told>::default();
        let replica = open(&bench, &prepared, &told, wish);
        Self { replica, told, prepared, bench }
    }

    pub fn call(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        self.bench.block_on(self.replica.call(request, Instant::now() + PATIENCE))
    }

    /// Status and body, as text.
    pub fn get(&self, path: &str) -> Result<(u16, String), CallError> {
        self.within(path, PATIENCE)
    }

    pub fn within(&self, path: &str, time: Duration) -> Result<(u16, String), CallError> {
        let call = self.replica.call(request(path), Instant::now() + time);
        self.bench.block_on(async { read(call.await?).await })
    }

    /// Whether others are served as ever; says how they are not.
    pub fn is_well(&self) -> bool {
        let answer = self.get("/hello");
        let well = answer == Ok((200, "hello".to_owned()));
        if !well {
            eprintln!("/hello was answered with {answer:?}");
        }
        well
    }
}

pub fn open(
    bench: &Bench,
    prepared: &Arc<Prepared>,
    told: &Arc<Told>,
    wish: impl FnOnce(&mut Wish),
) -> Replica {
    let mut wished = Wish {
        http: HttpService::default(),
        memory: 16 << 20,
        job: JobContext { kind: ComponentKind::Http, ..job() },
        scratch: false,
    };
    wish(&mut wished);
    let start = ReplicaStart {
        token: 5,
        job: Arc::new(wished.job),
        index: 0,
        attempt: 1,
        http: wished.http,
        memory_of_instance: wished.memory,
        scratch: wished.scratch.then(|| bench.dir.path().join("scratch")),
    };
    bench.sandbox.open_replica(prepared, start, told.clone()).unwrap()
}

pub fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn request(path: &str) -> Request<Body> {
    request_with(path, empty())
}

pub fn request_with(path: &str, body: Body) -> Request<Body> {
    Request::builder().uri(format!("http://service.example{path}")).body(body).unwrap()
}

/// A body whose frames are sent by hand; the request's error is that of a client that went.
pub fn by_hand() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    (sender, UnsyncBoxBody::new(ByHand(receiver)))
}

struct ByHand(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for ByHand {
    type Data = Bytes;
    type Error = wrun_sandbox::BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| Some(Ok(hyper::body::Frame::data(bytes?))))
    }
}

/// Status and body; a body that breaks off is its error.
pub async fn read(response: Response<Body>) -> Result<(u16, String), CallError> {
    let status = response.status().as_u16();
    let (bytes, _) = read_body(response.into_body()).await?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

pub async fn read_body(body: Body) -> Result<(Bytes, Option<HeaderMap>), CallError> {
    match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().cloned();
            Ok((all.to_bytes(), trailers))
        }
        Err(error) => Err(*error.downcast::<CallError>().unwrap()),
    }
}
