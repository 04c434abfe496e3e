//! Clients and replicas that take their time.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use super::env::{Does, Env, endpoints, piped, settle, text};
use crate::{CallError, empty, full};

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_slowly_holds_no_replica() {
    let env = Arc::new(Env::new(endpoints(1, |_| {})));
    let (pieces, body) = piped();
    let request = http::Request::put("http://api.wrun.internal/").body(sized(body, 10)).unwrap();
    let slow = {
        let env = Arc::clone(&env);
        let caller = "lab".parse().unwrap();
        tokio::spawn(async move { env.gateway.call(&caller, super::env::api(), request).await })
    };
    pieces.send(Ok("12345".into())).await.unwrap();
    settle().await;
    assert_eq!(env.load(), (0, 0), "no replica is taken, nobody waits");
    assert_eq!(env.get().await.unwrap(), "hello");
    let begun = Instant::now();
    assert_eq!(slow.await.unwrap().unwrap_err(), CallError::TooSlow);
    assert!(begun.elapsed() <= Duration::from_millis(20_010), "{:?}", begun.elapsed());
    assert_eq!(env.replicas.asked().len(), 1);
}

/// A body of a known size.
fn sized(body: crate::Body, size: u64) -> crate::Body {
    struct Sized(crate::Body, u64);
    impl hyper::body::Body for Sized {
        type Data = bytes::Bytes;
        type Error = crate::BodyError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, crate::BodyError>>>
        {
            std::pin::Pin::new(&mut self.0).poll_frame(cx)
        }
        fn size_hint(&self) -> hyper::body::SizeHint {
            hyper::body::SizeHint::with_exact(self.1)
        }
    }
    Sized(body, size).boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_small_answer_slowly_holds_no_replica() {
    let env = Env::new(endpoints(1, |_| {}));
    env.replicas.script(0, &[Does::Floods(64 << 10)]);
    let unread = env.call("GET", empty()).await.unwrap();
    assert_eq!(env.load(), (0, 0));
    assert_eq!(unread.headers()["content-length"], "65536");
    assert_eq!(text(unread).await.len(), 64 << 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_a_large_answer_loses_it() {
    let env = Env::new(endpoints(1, |_| {}));
    env.replicas.script(0, &[Does::Floods(10 << 20)]);
    let unread = env.call("GET", empty()).await.unwrap();
    settle().await;
    assert_eq!(env.load().0, 1);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(env.load().0, 0);
    let broken = unread.into_body().collect().await.unwrap_err();
    assert_eq!(broken.to_string(), "the answer broke off");
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_is_passed_on_as_it_is_read() {
    let env = Env::new(endpoints(1, |_| {}));
    env.replicas.script(0, &[Does::Floods(10 << 20)]);
    let answer = env.call("GET", empty()).await.unwrap();
    assert_eq!(text(answer).await.len(), 10 << 20);
    assert_eq!(env.load().0, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_drops_an_answer_frees_the_replica() {
    let env = Env::new(endpoints(1, |_| {}));
    env.replicas.script(0, &[Does::Ticks(100)]);
    let answer = env.call("GET", empty()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(env.load().0, 1);
    drop(answer);
    settle().await;
    assert_eq!(env.load().0, 0);
}

#[tokio::test(start_paused = true)]
async fn events_arrive_one_by_one() {
    let env = Env::new(endpoints(1, |_| {}));
    env.replicas.script(0, &[Does::Ticks(3)]);
    let begun = Instant::now();
    let mut answer = env.call("GET", empty()).await.unwrap().into_body();
    for second in 0..3 {
        let event = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(event, format!("data: {second}\n\n"));
        assert_eq!(begun.elapsed().as_secs(), second);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_answer_in_time_is_given_up() {
    let env = Env::new(endpoints(1, |told| {
        told.http.timeout_ms = 5000;
        told.http.idle_timeout_ms = 60_000;
    }));
    env.replicas.script(0, &[Does::Takes(60_000)]);
    let begun = Instant::now();
    let error = env.get().await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(env.replicas.asked().len(), 1, "it is not tried again");
    assert_eq!(env.load().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_the_deadline_or_when_it_falls_silent() {
    for (timeout_ms, idle_timeout_ms, events) in [(3500, 60_000, 4), (60_000, 900, 1)] {
        let env = Env::new(endpoints(1, |told| {
            told.http.timeout_ms = timeout_ms;
            told.http.idle_timeout_ms = idle_timeout_ms;
        }));
        env.replicas.script(0, &[Does::Ticks(100)]);
        let mut answer = env.call("GET", empty()).await.unwrap().into_body();
        let mut got = 0;
        while let Ok(_event) = answer.frame().await.unwrap() {
            got += 1;
        }
        assert_eq!(got, events);
        assert_eq!(env.load().0, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let env = Env::new(endpoints(1, |told| told.http.max_body = 100_000));
    env.replicas.script(0, &[Does::Echoes]);
    let too_large = CallError::BodyTooLarge { service: super::env::api(), limit: 100_000 };
    let announced = env.call("POST", full(vec![0; 100_001])).await.unwrap_err();
    assert_eq!(announced, too_large);
    assert!(env.replicas.asked().is_empty());
    let (pieces, body) = piped();
    tokio::spawn(async move { while pieces.send(Ok(vec![0; 1000].into())).await.is_ok() {} });
    assert_eq!(env.call("POST", body).await.unwrap_err(), too_large);
    assert_eq!(env.replicas.asked().len(), 1, "it was streamed");
    let fits = env.call("POST", full(vec![b'x'; 100_000])).await.unwrap();
    assert_eq!(text(fits).await.len(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn no_more_memory_is_gathered_than_there_is() {
    let env = Env::with(endpoints(1, |_| {}), |config| config.gathered = 10);
    env.replicas.script(0, &[Does::Echoes]);
    let echo = env.call("POST", full("more than ten bytes")).await.unwrap();
    assert_eq!(text(echo).await, "more than ten bytes", "it goes through ungathered");
}
