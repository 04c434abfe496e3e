//! HTTP/1 as honest clients speak it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wrun_protocol::service::HOPS;

use super::env::{SOON, Site, read_all, read_until};
use crate::ListenConfig;
use crate::tests::env::{Does, endpoints};

#[tokio::test]
async fn a_request_reaches_a_replica_with_where_it_came_from_and_an_id() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let more = "X-Forwarded-For: 10.0.0.1\r\nWrun-Hops: 3\r\nUpgrade: h2c\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let answer = site.get("/a/%2e%2E/b%2Fc?q=1", more).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let seen = site.env.replicas.seen().pop().unwrap();
    assert_eq!(seen.uri, "http://a/a/%2e%2E/b%2Fc?q=1", "the path is left as it was sent");
    assert_eq!(seen.fields["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen.fields["x-forwarded-proto"], "http");
    assert_eq!(seen.fields["x-forwarded-host"], "a");
    assert!(seen.fields.contains_key("traceparent"));
    assert!(!seen.fields.contains_key(HOPS), "only gateways set it");
    let id = seen.fields["x-request-id"].to_str().unwrap();
    assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
    assert_eq!(seen.fields.len(), 5, "{:?}", seen.fields);
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_their_order() {
    let site = Site::new(endpoints(2, |_| {})).await;
    site.env.replicas.script(0, &[Does::Echoes]);
    site.env.replicas.script(1, &[Does::Echoes]);
    let post =
        |text: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{text}");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n1\r\n3\r\n0\r\n\r\n";
    let answers = site.send([&post("1"), &post("2"), chunked].concat()).await;
    let bodies: Vec<&str> =
        answers.split("HTTP/1.1 200 OK").skip(1).map(|it| &it[it.len() - 1..]).collect();
    assert_eq!(bodies, ["1", "2", "3"], "{answers}");
}

#[tokio::test]
async fn a_head_is_answered_without_a_body() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let answer = site.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_old_client_names_no_host() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let answer = site.send("GET /x HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert_eq!(site.env.replicas.seen()[0].uri, format!("http://{}/x", site.address()));
}

#[tokio::test]
async fn what_has_no_route_is_not_found_and_is_told_so_with_its_id() {
    let told = endpoints(1, |told| told.http.routes = vec!["b.example/x".parse().unwrap()]);
    let site = Site::new(told).await;
    let answer = site.get("/x", "X-Request-Id: my-own\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("x-request-id: my-own\r\n"), "{answer}");
    assert!(answer.ends_with("for this host and path (request my-own)\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_expects_it_is_told_to_go_on_or_that_its_body_is_too_large() {
    let site = Site::new(endpoints(1, |told| told.http.max_body = 10)).await;
    let head = |length| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut socket = site.connect().await;
    socket.write_all(head(5).as_bytes()).await.unwrap();
    let go_on = read_until(&mut socket, "\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100 Continue"), "{go_on}");
    socket.write_all(b"12345").await.unwrap();
    read_until(&mut socket, "hello").await;
    let refused = site.send(head(11)).await;
    assert!(refused.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{refused}");
}

#[tokio::test]
async fn both_kinds_of_addresses_are_listened_on() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let addresses = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let listening = site.env.gateway.listen(ListenConfig { addresses, tls: None }).await.unwrap();
    for address in listening.addresses() {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = read_all(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{address}: {answer}");
    }
    assert_eq!(site.env.replicas.seen()[1].fields["x-forwarded-for"], "::1");
    let taken = ListenConfig { addresses: vec![site.address()], tls: None };
    let error = site.env.gateway.listen(taken).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen for HTTP on {}", site.address())), "{error}");
}

#[tokio::test]
async fn a_gateway_that_drains_finishes_what_is_under_way_and_takes_no_more() {
    let site = Site::new(endpoints(1, |_| {})).await;
    site.env.replicas.script(0, &[Does::Answers("first"), Does::Takes(300)]);
    let mut idle = site.connect().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut idle, "first").await;
    let mut silent = site.connect().await;
    let mut busy = site.connect().await;
    busy.write_all(request.as_bytes()).await.unwrap();
    site.load_becomes((1, 0)).await;
    let address = site.address();
    let drained = tokio::spawn(site.listening.drain(SOON));
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(read_all(&mut silent).await, "");
    let last = read_all(&mut busy).await;
    assert!(last.ends_with("late") && last.contains("connection: close\r\n"), "{last}");
    drained.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let site = Site::new(endpoints(1, |_| {})).await;
    site.env.replicas.script(0, &[Does::Takes(60_000)]);
    let mut busy = site.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    site.load_becomes((1, 0)).await;
    site.listening.drain(Duration::from_millis(50)).await;
    assert_eq!(read_all(&mut busy).await, "");
}
