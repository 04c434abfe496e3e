//! What a guest that answers HTTP is given and gives: heads, bodies, trailers, both ways at
//! once, for WASI 0.2 and 0.3.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::{
    CONCURRENT, PLAIN, Served, Wish, by_hand, empty, full, open, read, read_body, request,
    request_with, reuse,
};
use common::{PATIENCE, eventually};
use futures_util::FutureExt;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use wrun_sandbox::CallError;

const BOTH: [&str; 2] = [PLAIN, CONCURRENT];

fn hello() -> Result<(u16, String), CallError> {
    Ok((200, "hello".to_owned()))
}

#[test]
fn a_request_is_answered() {
    for guest in BOTH {
        let served = Served::new(guest);
        assert_eq!(served.get("/hello"), hello(), "{guest}");
        assert_eq!(served.get("/elsewhere").unwrap().0, 404);
        let usage = served.replica.usage();
        assert_eq!((usage.requests, usage.failed), (2, 0));
        // It is read every 200 µs; these requests take less.
        eventually(|| served.is_well() && served.replica.usage().cpu > Duration::ZERO);
        eventually(|| served.replica.usage().peak_memory > 1 << 16);
        assert_eq!(served.replica.in_flight(), 0);
    }
}

#[test]
fn an_answer_that_is_there_at_once_has_its_size() {
    for guest in BOTH {
        let served = Served::new(guest);
        let size = || served.call(request("/hello")).unwrap().body().size_hint().exact();
        // A guest that is interrupted meanwhile answers in pieces.
        eventually(|| size() == Some(5));
    }
}

#[test]
fn the_guest_sees_method_target_and_fields_but_none_of_the_connection() {
    let served = Served::new(PLAIN);
    let mut request = request("/seen?a=b");
    *request.method_mut() = "PATCH".parse().unwrap();
    for (name, value) in [("accept", "text/plain"), ("connection", "x-mine"), ("x-mine", "1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = served.call(request).unwrap();
    let (_, seen) = served.bench.block_on(read(response)).unwrap();
    assert_eq!(
        seen,
        "Method::Patch Some(Scheme::Http) service.example /seen?a=b\naccept: text/plain"
    );
}

#[test]
fn a_request_that_names_no_host_is_refused() {
    let served = Served::new(PLAIN);
    let request = http::Request::builder().uri("/hello").body(empty()).unwrap();
    let refused = served.call(request).unwrap_err();
    assert!(matches!(refused, CallError::Request { .. }), "{refused}");
    assert!(!refused.never_begun());
}

#[test]
fn statuses_without_a_body_have_none() {
    let served = Served::new(PLAIN);
    assert_eq!(served.get("/status?204"), Ok((204, String::new())));
    assert_eq!(served.get("/status?503"), Ok((503, String::new())));
}

#[test]
fn the_answer_to_head_may_announce_a_body_that_it_has_not() {
    let served = Served::new(PLAIN);
    let mut request = request("/short");
    *request.method_mut() = http::Method::HEAD;
    let response = served.call(request).unwrap();
    assert_eq!(response.headers()["content-length"], "100");
}

#[test]
fn each_request_has_an_instance_of_its_own() {
    for guest in BOTH {
        let served = Served::new(guest);
        for _ in 0..3 {
            assert_eq!(served.get("/count").unwrap().1, "1", "{guest}");
        }
    }
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    for guest in BOTH {
        let served = Served::new(guest);
        for size in [0, 1, 4096, 65_536, 3 << 20] {
            let bytes: Vec<u8> = (0..size).map(|n: u32| n as u8).collect();
            let response = served.call(request_with("/echo", full(bytes.clone()))).unwrap();
            let (echoed, _) = served.bench.block_on(read_body(response.into_body())).unwrap();
            assert_eq!(echoed, bytes, "{guest}, {size} bytes");
        }
        let (status, body) = served.get("/big?3000000").unwrap();
        assert_eq!((status, body.len()), (200, 3_000_000), "{guest}");
    }
}

#[test]
fn a_small_answer_is_whole_when_its_head_is_there() {
    for guest in BOTH {
        let served = Served::new(guest);
        let there_at_once = || {
            let mut body = served.call(request("/big?65536")).unwrap().into_body();
            let next = || body.frame().now_or_never().flatten();
            let frames = std::iter::from_fn(next).map(|frame| frame.unwrap());
            frames.filter_map(|frame| frame.into_data().ok()).map(|data| data.len()).sum::<usize>()
        };
        // A guest that is interrupted meanwhile answers in pieces.
        eventually(|| there_at_once() == 65_536);
    }
}

#[test]
fn an_instance_has_room_for_all_the_requests_that_it_may_have_at_once() {
    let many = 16;
    let served = Served::with(
        CONCURRENT,
        |_| {},
        |wish| {
            wish.http.concurrency = many;
            wish.http.reuse = reuse(0, many, 10_000);
            wish.memory = wish.http.least_memory();
        },
    );
    for _ in 0..8 {
        let bodies: Vec<_> = (0..many).map(|_| by_hand()).collect();
        let (senders, calls): (Vec<_>, Vec<_>) = bodies
            .into_iter()
            .map(|(sender, body)| {
                let call = request_with("/echo", body);
                (sender, served.replica.call(call, Instant::now() + PATIENCE))
            })
            .unzip();
        served.bench.block_on(async {
            let calls = tokio::spawn(join_all(calls.into_iter().map(|call| async move {
                read_body(call.await?.into_body()).await.map(|(body, _)| body)
            })));
            // All of them are under way before the first ends.
            for sender in &senders {
                sender.send(Bytes::from(vec![7; 65_536])).await.unwrap();
            }
            for sender in &senders {
                sender.send(Bytes::from_static(b"end")).await.unwrap();
            }
            drop(senders);
            for body in calls.await.unwrap() {
                assert_eq!(body.unwrap().len(), 65_539);
            }
        });
    }
}

#[test]
fn trailers_pass_both_ways() {
    for guest in BOTH {
        let served = Served::new(guest);
        let trailers = async {
            Some(Ok([("x-sum", "7")]
                .map(|(name, value)| {
                    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                })
                .into_iter()
                .collect()))
        };
        let body = full("body").with_trailers(trailers).boxed_unsync();
        let response = served.call(request_with("/echo", body)).unwrap();
        let (bytes, trailers) = served.bench.block_on(read_body(response.into_body())).unwrap();
        assert_eq!(bytes, "body");
        assert_eq!(trailers.unwrap()["x-sum"], "7", "{guest}");
    }
}

#[test]
fn an_answer_begins_before_the_request_has_ended() {
    let served = Served::new(PLAIN);
    let (sender, body) = by_hand();
    let call = served.replica.call(request_with("/early", body), Instant::now() + PATIENCE);
    served.bench.block_on(async {
        let mut body = call.await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "early ");
        sender.send(Bytes::from_static(b"12345")).await.unwrap();
        drop(sender);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "5");
    });
}

#[test]
fn pieces_are_answered_as_they_come() {
    for guest in BOTH {
        let served = Served::new(guest);
        let (sender, body) = by_hand();
        let call = served.replica.call(request_with("/echo", body), Instant::now() + PATIENCE);
        served.bench.block_on(async {
            sender.send(Bytes::from_static(b"one")).await.unwrap();
            let mut body = call.await.unwrap().into_body();
            for piece in ["one", "two", "three"] {
                let echoed = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(echoed, piece, "{guest}");
                if piece != "three" {
                    let next = if piece == "one" { "two" } else { "three" };
                    sender.send(Bytes::from_static(next.as_bytes())).await.unwrap();
                }
            }
            drop(sender);
            assert!(body.frame().await.is_none());
        });
    }
}

#[test]
fn a_guest_writes_no_further_ahead_than_its_answer_is_read() {
    for guest in BOTH {
        let served = Served::new(guest);
        let response = served.call(request("/big?100000000")).unwrap();
        // It stands still now, and takes no CPU.
        eventually(|| {
            let before = served.replica.usage().cpu;
            std::thread::sleep(Duration::from_millis(20));
            before > Duration::ZERO && served.replica.usage().cpu == before
        });
        assert!(served.replica.usage().peak_memory < 16 << 20);
        drop(response);
        eventually(|| served.replica.in_flight() == 0);
    }
}

#[test]
fn a_request_is_read_no_further_ahead_than_the_guest_reads() {
    let served = Served::new(PLAIN);
    let (sender, body) = by_hand();
    let call = served.replica.call(request_with("/sleep?300", body), Instant::now() + PATIENCE);
    // One piece in the channel, one on its way: nobody reads.
    served.bench.block_on(async {
        sender.send(Bytes::from_static(b"1")).await.unwrap();
        let second = sender.send(Bytes::from_static(b"2"));
        let (answer, second) = tokio::join!(call, second);
        assert_eq!(read(answer.unwrap()).await.unwrap().1, "slept");
        assert!(second.is_err(), "it was read");
    });
}

#[test]
fn what_a_guest_writes_to_the_log_is_told() {
    let served = Served::new(PLAIN);
    assert_eq!(served.get("/log").unwrap().1, "logged");
    assert_eq!(*served.told.log.lock().unwrap(), b"a line\n");
}

#[test]
fn a_guest_goes_on_after_its_answer() {
    let served = Served::new(PLAIN);
    assert_eq!(served.get("/after?50").unwrap().1, "answered");
    eventually(|| *served.told.log.lock().unwrap() == b"and went on\n");
}

#[test]
fn an_instance_has_a_directory_of_its_own_that_goes_with_it() {
    let served = Served::with(PLAIN, |_| {}, |wish| wish.scratch = true);
    assert_eq!(served.get("/file").unwrap().1, "written");
    let dir = served.bench.dir.path().join("scratch");
    eventually(|| std::fs::read_dir(&dir).unwrap().count() == 0);
    let without = Served::new(PLAIN);
    assert!(matches!(without.get("/file"), Err(CallError::Trap { .. })));
}

#[test]
fn an_instance_is_reused_for_as_many_requests_as_are_said() {
    for guest in BOTH {
        let wish = |wish: &mut Wish| {
            // One that has not returned from its last request yet is waited for.
            wish.http.concurrency = 1;
            wish.http.reuse = reuse(3, 1, 60_000);
        };
        let served = Served::with(guest, |_| {}, wish);
        let counts: Vec<_> = (0..7).map(|_| served.get("/count").unwrap().1).collect();
        assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"], "{guest}");
    }
}

#[test]
fn an_idle_instance_goes_after_its_time() {
    const IDLE: Duration = Duration::from_millis(50);
    for guest in BOTH {
        let served = Served::with(
            guest,
            |config| config.slots = 1,
            |wish| {
                wish.http.reuse = reuse(0, 1, IDLE.as_millis() as u64);
            },
        );
        let begun = Instant::now();
        assert_eq!(served.get("/count").unwrap().1, "1");
        let second = served.get("/count").unwrap().1;
        assert!(second == "2" || begun.elapsed() >= IDLE, "it went before its time");
        // Another replica gets the only place when this one's instance is gone.
        let other = open(&served.bench, &served.prepared, &served.told, |_| {});
        let answer =
            served.bench.block_on(other.call(request("/count"), Instant::now() + PATIENCE));
        assert!(answer.is_ok());
        drop(answer);
        assert_eq!(served.get("/count").unwrap().1, "1", "{guest}");
    }
}

#[test]
fn an_instance_of_wasi_0_3_handles_several_requests_at_once() {
    let served = Served::with(
        CONCURRENT,
        |_| {},
        |wish| {
            wish.http.concurrency = 4;
            wish.http.reuse = reuse(0, 4, 60_000);
        },
    );
    let until = Instant::now() + PATIENCE;
    let calls: Vec<_> = (0..4).map(|_| served.replica.call(request("/now?100"), until)).collect();
    let seen = served.bench.block_on(async {
        let mut seen = Vec::new();
        for call in calls {
            seen.push(read(call.await.unwrap()).await.unwrap().1);
        }
        seen
    });
    assert!(seen.contains(&"4".to_owned()), "{seen:?}");
}

#[test]
fn an_instance_of_wasi_0_2_handles_one_request_at_a_time() {
    let served = Served::with(
        PLAIN,
        |_| {},
        |wish| {
            wish.http.concurrency = 4;
            wish.http.reuse = reuse(0, 4, 60_000);
        },
    );
    let until = Instant::now() + PATIENCE;
    let calls: Vec<_> = (0..4).map(|_| served.replica.call(request("/sleep?100"), until)).collect();
    served.bench.block_on(async {
        for call in calls {
            assert_eq!(read(call.await.unwrap()).await.unwrap().1, "slept");
        }
    });
    assert_eq!(served.get("/count").unwrap().1, "2", "each had an instance to itself");
}
