//! Clients that mean harm: what they send is refused, and hurts nobody else.

use tokio::io::AsyncWriteExt;

use super::env::{Site, read_all};
use crate::tests::env::{Does, endpoints};

/// Sends each and expects the status, a closed connection, and that no replica saw anything.
async fn refused(cases: &[(&str, u16)]) {
    let site = Site::new(endpoints(1, |_| {})).await;
    for (request, status) in cases {
        // Whatever is smuggled behind it must not be answered.
        let answer = site.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request:?}: {answer}");
        assert_eq!(site.env.replicas.asked().len(), 0, "{request:?}");
    }
    assert!(site.get("/", "").await.starts_with("HTTP/1.1 200 "), "others are served");
}

#[tokio::test]
async fn lengths_that_can_be_read_in_two_ways_are_refused() {
    refused(&[
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let site = Site::new(endpoints(1, |_| {})).await;
    site.env.replicas.script(0, &[Does::Echoes]);
    for chunks in [
        "x\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n",
        "-1\r\n",
        "\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let answer =
            site.send(format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ");
        assert!(is_refused, "{chunks:?}: {answer}");
        assert!(site.env.replicas.seen().iter().all(|seen| !seen.uri.contains("smuggled")));
    }
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    refused(&[
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
    ])
    .await;
}

#[tokio::test]
async fn a_request_is_for_one_host_and_one_path() {
    refused(&[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://user@a/ HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ])
    .await;
}

#[tokio::test]
async fn an_absolute_target_that_agrees_is_served() {
    let site = Site::new(endpoints(1, |_| {})).await;
    let answer = site
        .send("GET HTTP://A.Example/x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let site = Site::with(endpoints(1, |_| {}), |config| config.head_bytes = 10_000).await;
    let long = "x".repeat(10_000);
    let many: String = (0..101).map(|number| format!("x{number}: 1\r\n")).collect();
    for fields in [format!("Cookie: {long}\r\n"), many] {
        let answer = site.get("/", &fields).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = site.get(&format!("/{}", "x".repeat(9000)), "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let endless =
        site.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1 << 20))).await;
    assert!(endless.is_empty() || endless.starts_with("HTTP/1.1 431 "), "{endless}");
    assert_eq!(site.env.replicas.asked().len(), 1);
}

#[tokio::test]
async fn a_body_that_ends_early_reaches_nobody() {
    let site = Site::new(endpoints(1, |_| {})).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ] {
        let mut socket = site.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = read_all(&mut socket).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(site.env.replicas.asked().len(), 0);
    site.load_becomes((0, 0)).await;
}

#[tokio::test]
async fn a_client_that_goes_frees_the_replica() {
    let site = Site::new(endpoints(1, |_| {})).await;
    site.env
        .replicas
        .script(0, &[Does::Takes(60_000), Does::Floods(100 << 20), Does::Answers("free")]);
    for _ in 0..2 {
        let mut socket = site.connect().await;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        site.load_becomes((1, 0)).await;
        drop(socket);
        site.load_becomes((0, 0)).await;
    }
    assert!(site.get("/", "").await.ends_with("free"));
}

#[tokio::test]
async fn a_replica_that_breaks_off_never_looks_as_if_it_had_ended() {
    let site = Site::new(endpoints(1, |told| told.http.retries = 0)).await;
    site.env.replicas.script(
        0,
        &[
            Does::Breaks { announced: 10, sent: 5 },
            Does::Breaks { announced: 100_000, sent: 5 },
            Does::Breaks { announced: 3, sent: 5 },
        ],
    );
    let small = site.get("/", "").await;
    assert!(small.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && small.contains("cut"), "{small}");
    let large = site.get("/", "").await;
    assert!(
        large.starts_with("HTTP/1.1 200 ") && large.contains("content-length: 100000"),
        "{large}"
    );
    assert!(!large.contains("xxxxxx"), "{large}");
    let too_long = site.get("/", "").await;
    assert!(too_long.starts_with("HTTP/1.1 502 "), "{too_long}");
}

/// Requests with a few bytes changed, left out or put in, and noise.
#[tokio::test]
async fn whatever_comes_is_answered_or_refused_and_others_are_served() {
    let told = endpoints(1, |told| (told.http.idle_timeout_ms, told.http.timeout_ms) = (50, 500));
    let site = Site::with(told, |config| {
        let soon = std::time::Duration::from_millis(50);
        (config.head_time, config.keep_alive, config.body_grace) = (soon, soon, soon);
    })
    .await;
    let good: [&[u8]; 4] = [
        b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
          3;x=y\r\nabc\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\
          \x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x01\x01a",
    ];
    let mut random = fastrand::Rng::with_seed(4);
    let mut cases = Vec::new();
    for _ in 0..150 {
        let mut bytes = random.choice(good).unwrap().to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, *random.choice(b"\r\n :;\0\x80,9").unwrap()),
                _ => bytes.truncate(at + 1),
            }
        }
        cases.push(bytes);
    }
    let sent = futures_util::future::join_all(cases.iter().map(|bytes| site.send(bytes)));
    for (answer, bytes) in sent.await.iter().zip(&cases) {
        let is_whole =
            answer.is_empty() || answer.starts_with("HTTP/1.1 ") || answer.starts_with('\0');
        assert!(is_whole, "{:?}: {answer:?}", bytes.escape_ascii().to_string());
    }
    assert!(site.get("/", "").await.ends_with("hello"));
    site.load_becomes((0, 0)).await;
}
