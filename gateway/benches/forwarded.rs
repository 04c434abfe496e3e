//! What it costs to bring a request to a replica on another node: requests over a connection
//! between two nodes on the loopback interface, beside the same ones handed over directly.
//! Both nodes share one thread, so that the times are those of a processor. Turn by turn, the
//! median of the rounds.
//!
//! `cargo bench -p wrun-gateway --bench forwarded`

#![allow(clippy::expect_used, reason = "a measurement: it stops at what it did not expect")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use wrun_gateway::{Body, empty, forward, full};
use wrun_net::{
    Authority, Connection, Identity, Limits, Listener, connect_to_node, signing_request,
};
use wrun_protocol::wire::forward::CallFailure;
use wrun_protocol::wire::peer::FromPeer;
use wrun_protocol::{JobId, NodeId};

const ROUNDS: usize = 9;
const AT_ONCE: usize = 16;
const LARGE: &[u8] = &[7; 64 << 10];

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    requests: usize,
    sends: &'static [u8],
    gets: &'static [u8],
}

const CASES: [Case; 3] = [
    Case { name: "a few bytes", requests: 4000, sends: b"", gets: b"hello" },
    Case { name: "64 KiB back", requests: 800, sends: b"", gets: LARGE },
    Case { name: "64 KiB there", requests: 800, sends: LARGE, gets: b"hello" },
];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let authority = Authority::create().expect("an authority");
    let limits = Limits::between_nodes();
    let (der, address) = (authority.certificate_der(), ([127, 0, 0, 1], 0).into());
    let serving = identity(&authority, 1);
    let listener =
        Listener::bind_for_nodes(address, &serving, der, limits.clone()).expect("a port");
    let (address, calling) = (listener.local_addr(), identity(&authority, 2));
    let connecting = connect_to_node(NodeId(1), address, &calling, der, &limits);
    let (near, far) = tokio::join!(connecting, listener.accept());
    let (near, far) = (Arc::new(near.expect("a connection")), far.expect("its other end"));
    tokio::spawn(serve(far));
    println!("{AT_ONCE} requests at once, median of {ROUNDS} rounds, µs a request");
    println!("{:16}{:>10}{:>12}{:>12}", "", "directly", "forwarded", "a second");
    for case in CASES {
        let (mut direct, mut forwarded) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            direct.push(ask(case, None).await);
            forwarded.push(ask(case, Some(&near)).await);
        }
        let (direct, forwarded) = (median(direct), median(forwarded));
        println!("{:16}{direct:10.2}{forwarded:12.2}{:12.0}", case.name, 1e6 / forwarded);
    }
}

fn identity(authority: &Authority, node: u64) -> Identity {
    let (key, request) = signing_request().expect("a key");
    let day = Duration::from_secs(86_400);
    let certificate = authority.issue_node(NodeId(node), &request, day).expect("a certificate");
    Identity::new(vec![certificate], key).expect("an identity")
}

async fn serve(far: Connection) {
    while let Ok((send, mut recv)) = far.accept().await {
        tokio::spawn(async move {
            if let Ok(Some(FromPeer::Request { .. })) = recv.recv().await {
                forward::serve(send, recv, |request, _| answer(request)).await;
            }
        });
    }
}

/// In place of a replica: reads the request, and answers with as much as its URI says.
async fn answer(request: Request<Body>) -> Result<Response<Body>, CallFailure> {
    let large = request.uri().path() == "/large";
    request.into_body().collect().await.expect("a body");
    Ok(Response::new(full(Bytes::from_static(if large { LARGE } else { b"hello" }))))
}

async fn ask(case: Case, over: Option<&Arc<Connection>>) -> f64 {
    let begun = Instant::now();
    let clients = (0..AT_ONCE).map(|_| {
        let over = over.map(Arc::clone);
        tokio::spawn(async move {
            for _ in 0..case.requests / AT_ONCE {
                let path = if case.gets.len() > 100 { "large" } else { "small" };
                let body = if case.sends.is_empty() { empty() } else { full(case.sends) };
                let request = Request::builder()
                    .uri(format!("http://shop.example/{path}"))
                    .header("accept-encoding", "gzip, br")
                    .header("cookie", "session=0123456789")
                    .header("user-agent", "bench")
                    .body(body)
                    .expect("a request");
                let answer = match &over {
                    None => answer(request).await.expect("an answer"),
                    Some(connection) => {
                        let deadline = Instant::now() + Duration::from_secs(60);
                        let attempt = JobId(1).task(0).attempt(1);
                        let answer =
                            forward::call(Arc::clone(connection), attempt, request, deadline);
                        answer.await.expect("an answer")
                    }
                };
                let got = answer.into_body().collect().await.expect("a body").to_bytes();
                assert_eq!(got.len(), case.gets.len());
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
    begun.elapsed().as_secs_f64() * 1e6 / case.requests as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
