//! HTTP/2, known beforehand.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::env::{SOON, Site};
use crate::tests::env::{Does, endpoints};

type Sender = http2::SendRequest<Full<bytes::Bytes>>;

async fn client(site: &Site) -> Sender {
    let io = TokioIo::new(site.connect().await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(uri: &str) -> Request<Full<bytes::Bytes>> {
    Request::builder().uri(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn requests_go_beside_each_other_on_one_connection() {
    let site = Site::new(endpoints(1, |told| told.revisions[0].concurrency = 100)).await;
    site.env.replicas.script(0, &[Does::Takes(50)]);
    let sender = client(&site).await;
    let asked = (0..50).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(get("http://a.example/x")).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "late");
    }
    let seen = site.env.replicas.seen();
    assert_eq!(seen.len(), 50);
    assert_eq!(seen[0].uri, "http://a.example/x");
    assert_eq!(seen[0].fields["x-forwarded-host"], "a.example");
}

#[tokio::test]
async fn a_stream_that_is_reset_frees_the_replica_and_the_others_go_on() {
    let site = Site::new(endpoints(2, |_| {})).await;
    (0..2).for_each(|index| {
        site.env.replicas.script(index, &[Does::Takes(60_000), Does::Answers("on")])
    });
    let mut sender = client(&site).await;
    let asked = [sender.send_request(get("http://a/")), sender.send_request(get("http://a/"))];
    let asked = asked.map(tokio::spawn);
    site.load_becomes((2, 0)).await;
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    site.load_becomes((0, 0)).await;
    let answer = sender.send_request(get("http://a/")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "on");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_stream_holds_the_replica_for_a_while_only() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.body_grace = std::time::Duration::from_millis(300);
    })
    .await;
    site.env.replicas.script(0, &[Does::Floods(100 << 20), Does::Answers("on")]);
    let mut sender = client(&site).await;
    let unread = sender.send_request(get("http://a/")).await.unwrap();
    site.load_becomes((1, 0)).await;
    site.load_becomes((0, 0)).await;
    let other = sender.send_request(get("http://a/")).await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "on", "the others go on");
    assert!(unread.into_body().collect().await.is_err());
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END: u8 = 0x5;

/// `GET http://a/`, of the static table (RFC 7541, appendix A).
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

#[tokio::test]
async fn a_flood_of_resets_closes_the_connection() {
    let site = Site::new(endpoints(1, |told| told.revisions[0].concurrency = 1000)).await;
    site.env.replicas.script(0, &[Does::Takes(60_000)]);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..20_001).step_by(2) {
        bytes.extend(frame(HEADERS, END, stream, GET));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let (mut reader, mut writer) = site.connect().await.into_split();
    let flood = tokio::spawn(async move { writer.write_all(&bytes).await });
    let closed = async {
        let mut piece = [0; 4096];
        while let Ok(1..) = reader.read(&mut piece).await {}
    };
    tokio::time::timeout(SOON, closed).await.expect("it is not closed");
    let _ = flood.await.unwrap();
    site.load_becomes((0, 0)).await;
    assert!(site.env.replicas.asked().len() < 1000, "{}", site.env.replicas.asked().len());
}

/// An initial window of no bytes (RFC 9113, 6.5.2).
const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

#[tokio::test]
async fn a_client_that_never_takes_a_small_answer_loses_its_connection() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.body_grace = std::time::Duration::from_millis(200);
        config.gather = 1000;
    })
    .await;
    site.env.replicas.script(0, &[Does::Answers("hello"), Does::Floods(3000)]);
    for _ in 0..2 {
        let asked = [PREFACE, &frame(SETTINGS, 0, 0, NO_WINDOW), &frame(HEADERS, END, 1, GET)];
        let mut socket = site.connect().await;
        socket.write_all(&asked.concat()).await.unwrap();
        super::env::read_all(&mut socket).await;
    }
    assert_eq!(site.env.replicas.asked().len(), 2);
}

#[tokio::test]
async fn a_connection_stays_while_it_is_young_and_goes_when_it_is_idle() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.head_time = std::time::Duration::from_millis(20);
        config.keep_alive = std::time::Duration::from_millis(500);
    })
    .await;
    let mut sender = client(&site).await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert_eq!(sender.send_request(get("http://a/")).await.unwrap().status(), 200);
    }
    let closed = async {
        while !sender.is_closed() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.expect("it stays");
}

#[tokio::test]
async fn a_request_of_http2_is_for_one_host_too() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let mut sender = client(&site).await;
    let request = Request::builder().uri("http://a/").header("host", "b").body(Full::default());
    assert_eq!(sender.send_request(request.unwrap()).await.unwrap().status(), 400);
    let big = Request::builder().uri("http://a/").header("x", "y".repeat(64 << 10));
    let refused = sender.send_request(big.body(Full::default()).unwrap()).await;
    assert!(refused.is_err() || refused.unwrap().status() == 431);
    assert_eq!(site.env.replicas.asked().len(), 0);
}
