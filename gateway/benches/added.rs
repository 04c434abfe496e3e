//! What a gateway adds to a request: the processor time of one through it, to a replica that
//! answers at once, beside one to hyper alone. Client and server share one thread, whose time
//! it is. Turn by turn, the median of the rounds.
//!
//! `cargo bench -p wrun-gateway --bench added`

#![allow(clippy::expect_used, reason = "a measurement: it stops at what it did not expect")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wrun_gateway::{
    AccessLog, Body, Gateway, GatewayConfig, ListenConfig, Target, Upstream, UpstreamFuture, full,
};
use wrun_protocol::service::{HttpService, ServiceId};
use wrun_protocol::wire::service::{Endpoint, Endpoints, RevisionEndpoints};
use wrun_protocol::{JobId, NodeId};

const ROUNDS: usize = 15;
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 16;

const REQUEST: &[u8] = b"GET /api/items?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nCookie: session=0123456789\r\n\r\n";

struct AtOnce;

impl Upstream for AtOnce {
    fn call(&self, _: Target, _: Request<Body>, _: Instant) -> UpstreamFuture {
        Box::pin(async { Ok(Response::new(full("hello"))) })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let folder = std::env::temp_dir().join(format!("wrun-added-{}.log", std::process::id()));
    let logged = AccessLog::File { path: folder.clone(), bytes: 1 << 30, keep: 0 };
    let targets = [
        ("hyper alone", bare().await),
        ("gateway", gateway(AccessLog::Off, 1).await),
        ("gateway, 1,000 services of 10 replicas", gateway(AccessLog::Off, 1000).await),
        ("gateway, access log", gateway(logged, 1).await),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); targets.len()];
    for _ in 0..ROUNDS {
        for ((_, address), times) in targets.iter().zip(&mut times) {
            times.push(ask(*address).await);
        }
    }
    let _ = std::fs::remove_file(folder);
    println!("{REQUESTS} requests on {CONNECTIONS} connections, median of {ROUNDS} rounds");
    let mut alone = None;
    for ((name, _), times) in targets.iter().zip(&mut times) {
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let each = median.as_secs_f64() * 1e6 / REQUESTS as f64;
        let alone = *alone.get_or_insert(each);
        println!("{name:40} {each:6.2} µs a request, {:5.2} added", each - alone);
    }
}

async fn ask(address: SocketAddr) -> Duration {
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("no delay");
        sockets.push(socket);
    }
    let begun = used();
    let clients = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            for _ in 0..REQUESTS / CONNECTIONS {
                socket.write_all(REQUEST).await.expect("a write");
                let mut read = 0;
                while !buffer.get(..read).is_some_and(|read| read.ends_with(b"hello")) {
                    let rest = buffer.get_mut(read..).expect("room");
                    read += socket.read(rest).await.expect("an answer");
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    used() - begun
}

/// The processor time of this thread, as Linux counts it.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("statistics");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}

async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            socket.set_nodelay(true).expect("no delay");
            let hello = service_fn(|_| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), hello));
        }
    });
    address
}

async fn gateway(access_log: AccessLog, services: u32) -> SocketAddr {
    let mut config = GatewayConfig::new(NodeId(1));
    config.access_log = access_log;
    let gateway = Gateway::new(config, Arc::new(AtOnce)).expect("a gateway");
    let told = (0..services).map(|number| {
        let route = if number == 0 { "shop.example/api".to_owned() } else { format!("/s{number}") };
        let endpoint = |index| Endpoint { index, attempt: 1, node: NodeId(index.into()) };
        let replicas = if services == 1 { 1 } else { 10 };
        let revision = RevisionEndpoints {
            revision: 1,
            job: JobId(number.into()),
            weight: 1,
            header: None,
            concurrency: 1000,
            replicas: (0..replicas).map(endpoint).collect(),
        };
        let http =
            HttpService { routes: vec![route.parse().expect("a route")], ..HttpService::default() };
        let name = format!("s{number}").parse().expect("a name");
        let id = ServiceId { tenant: "lab".parse().expect("a tenant"), name };
        Endpoints { id, http, revisions: vec![revision] }
    });
    gateway.on_services(true, told.collect());
    let addresses = vec!["127.0.0.1:0".parse().expect("an address")];
    let listening = gateway.listen(ListenConfig { addresses, tls: None }).await.expect("a port");
    let address = *listening.addresses().first().expect("an address");
    std::mem::forget(listening);
    address
}
