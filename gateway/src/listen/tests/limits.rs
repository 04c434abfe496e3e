//! Clients that take too long, or too much.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::env::{Site, read_all, read_until};
use crate::tests::env::{Does, endpoints};

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.head_time = Duration::from_millis(200);
    })
    .await;
    let begun = Instant::now();
    for begin in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut socket = site.connect().await;
        socket.write_all(begin.as_bytes()).await.unwrap();
        let answer = read_all(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    }
    // A byte now and then does not help.
    let mut dripping = site.connect().await;
    dripping.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    while dripping.write_all(b"x: y\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "it goes on for ever");
    }
    let mut silent = site.connect().await;
    assert_eq!(read_all(&mut silent).await, "");
    assert_eq!(site.env.replicas.asked().len(), 0);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_a_while() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.keep_alive = Duration::from_millis(100);
    })
    .await;
    let mut socket = site.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut socket, "hello").await;
    assert_eq!(read_all(&mut socket).await, "");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_loses_its_connection() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.body_grace = Duration::from_millis(300);
    })
    .await;
    site.env.replicas.script(0, &[Does::Floods(200 << 20)]);
    let mut socket = site.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    site.load_becomes((1, 0)).await;
    site.load_becomes((0, 0)).await;
    assert!(read_all(&mut socket).await.len() < 200 << 20);
}

#[tokio::test]
async fn a_slow_body_is_refused_and_holds_no_replica() {
    let site = Site::with(endpoints(1, |_| {}), |config| {
        config.body_grace = Duration::from_millis(200);
    })
    .await;
    let mut socket = site.connect().await;
    socket.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nslow").await.unwrap();
    assert!(site.get("/", "").await.starts_with("HTTP/1.1 200 "));
    let answer = read_all(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert_eq!(site.env.replicas.asked().len(), 1);
}

#[tokio::test]
async fn a_client_has_no_more_connections_than_it_may() {
    let site = Site::with(endpoints(1, |_| {}), |config| config.connections_per_client = 2).await;
    let mut first = site.connect().await;
    let _second = site.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut first, "hello").await;
    assert_eq!(site.get("/", "").await, "", "closed at once");
    drop(first);
    let served = async {
        while !site.get("/", "").await.ends_with("hello") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::env::SOON, served).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_longer_than_the_service_says_and_is_told_when_to_come_again() {
    let site = Site::new(endpoints(0, |told| told.http.wait_ms = 50)).await;
    let answer = site.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
}

#[tokio::test]
async fn each_request_leaves_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = crate::AccessLog::File { path: path.clone(), bytes: 1 << 20, keep: 1 };
    let site = Site::with(endpoints(1, |_| {}), |config| config.access_log = log).await;
    site.get("/here?secret=1", "X-Request-Id: one\r\n").await;
    site.send("GET / HTTP/1.1\r\n\r\n").await;
    let lines = async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.lines().count() == 2 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let text = tokio::time::timeout(super::env::SOON, lines).await.unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = &lines[0];
    assert_eq!(
        (&line["id"], &line["path"], &line["status"]),
        (&"one".into(), &"/here".into(), &200.into())
    );
    assert_eq!((&line["service"], &line["bytes"]), (&"lab/api".into(), &5.into()));
    assert_eq!((&line["node"], &line["revision"]), (&"n1".into(), &1.into()));
    assert!(line["total_us"].as_u64().unwrap() >= line["head_us"].as_u64().unwrap());
    assert_eq!(
        (&lines[1]["status"], &lines[1]["service"]),
        (&400.into(), &serde_json::Value::Null)
    );
    assert!(!text.contains("secret"), "queries hold what is nobody's business");
}
