//! Freezing, draining and stopping a replica.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::http::{CONCURRENT, PLAIN, Served, read, request, reuse};
use common::{PATIENCE, eventually};
use http_body_util::BodyExt;
use wrun_sandbox::{CallError, Replica};

const BOTH: [&str; 2] = [PLAIN, CONCURRENT];

fn vacated(served: &Served) -> u32 {
    *served.told.vacated.lock().unwrap()
}

#[test]
fn a_frozen_replica_takes_requests_that_wait_until_it_is_thawed() {
    for guest in BOTH {
        let served = Served::new(guest);
        let until = Instant::now() + PATIENCE;
        let spins = served.replica.call(request("/spin"), until);
        eventually(|| served.replica.usage().cpu > Duration::from_millis(20));
        served.replica.freeze();
        let cpu = || served.replica.usage().cpu;
        eventually(|| {
            let before = cpu();
            std::thread::sleep(Duration::from_millis(30));
            cpu() == before
        });
        let frozen = cpu();
        let waits = served.replica.call(request("/hello"), until);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(cpu(), frozen, "{guest}");
        drop(spins);
        served.replica.thaw();
        let answer = served.bench.block_on(async { read(waits.await?).await });
        assert_eq!(answer, Ok((200, "hello".to_owned())));
    }
}

#[test]
fn deadlines_go_on_while_frozen() {
    let served = Served::new(PLAIN);
    served.replica.freeze();
    let error = served.within("/hello", Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    served.replica.thaw();
    assert!(served.is_well());
}

#[test]
fn a_drain_lets_requests_finish_and_takes_no_more() {
    for (guest, reused) in [(PLAIN, None), (PLAIN, reuse(0, 1, 60_000)), (CONCURRENT, None)] {
        let served = Served::with(guest, |_| {}, |wish| wish.http.reuse = reused);
        assert!(served.is_well());
        let slow = served.replica.call(request("/sleep?200"), Instant::now() + PATIENCE);
        let replica = served.replica.clone();
        let drained = async { replica.drain().await };
        let finished = async { read(slow.await.unwrap()).await.unwrap().1 };
        let refused = async {
            let refused = served.replica.call(request("/hello"), Instant::now() + PATIENCE);
            refused.await.unwrap_err()
        };
        let (refused, slept, ()) = served.bench.block_on(async {
            let mut drained = std::pin::pin!(drained);
            assert!(futures_poll(drained.as_mut()).is_pending());
            tokio::join!(refused, finished, drained)
        });
        assert_eq!(refused, CallError::Draining);
        assert!(refused.never_begun());
        assert_eq!(slept, "slept", "{guest}, {reused:?}");
        assert_eq!(vacated(&served), 1);
        served.bench.block_on(served.replica.drain());
    }
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn a_stop_ends_every_request_wherever_it_is() {
    for guest in BOTH {
        let served = Served::new(guest);
        let until = Instant::now() + PATIENCE;
        let calls: Vec<_> = ["/spin", "/sleep?60000", "/sleep?60000"]
            .map(|path| served.replica.call(request(path), until))
            .into();
        eventually(|| served.replica.usage().cpu > Duration::ZERO);
        served.replica.freeze();
        served.replica.stop();
        for call in calls {
            assert_eq!(served.bench.block_on(call).unwrap_err(), CallError::Stopped, "{guest}");
        }
        assert_eq!(served.get("/hello"), Err(CallError::Stopped));
        eventually(|| vacated(&served) == 1);
        assert_eq!(served.replica.usage().failed, 0);
    }
}

#[test]
fn a_stop_breaks_bodies_off() {
    let served = Served::new(PLAIN);
    let body = served.call(request("/big?100000000")).unwrap().into_body();
    served.replica.stop();
    let error = served.bench.block_on(body.collect()).unwrap_err();
    assert_eq!(*error.downcast::<CallError>().unwrap(), CallError::Stopped);
}

#[test]
fn dropping_the_last_clone_stops_it() {
    let Served { replica, told, bench, .. } = Served::new(PLAIN);
    let clone: Replica = replica.clone();
    drop(replica);
    let call = clone.call(request("/sleep?60000"), Instant::now() + PATIENCE);
    drop(clone);
    assert_eq!(bench.block_on(call).unwrap_err(), CallError::Stopped);
    eventually(|| *told.vacated.lock().unwrap() == 1);
}

#[test]
fn dropping_the_sandbox_stops_it() {
    let served = Served::with(PLAIN, |_| {}, |wish| wish.http.reuse = reuse(0, 1, 60_000));
    assert!(served.is_well());
    let call = served.replica.call(request("/spin"), Instant::now() + PATIENCE);
    let Served { replica, told, bench, prepared } = served;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    drop((bench, prepared));
    assert_eq!(runtime.block_on(call).unwrap_err(), CallError::Stopped);
    eventually(|| *told.vacated.lock().unwrap() == 1);
    drop(replica);
}

#[test]
fn an_idle_replica_that_is_stopped_is_vacant_at_once() {
    let served = Served::new(PLAIN);
    served.replica.stop();
    served.replica.stop();
    assert_eq!(vacated(&served), 1);
}

#[test]
fn requests_that_are_dropped_at_any_moment_leave_nothing_behind() {
    for (guest, reused) in [
        (PLAIN, None),
        (PLAIN, reuse(5, 1, 20)),
        (CONCURRENT, None),
        (CONCURRENT, reuse(50, 4, 20)),
    ] {
        let served = Served::with(
            guest,
            |config| config.slots = 8,
            |wish| {
                wish.http.reuse = reused;
                wish.http.concurrency = 12;
            },
        );
        let mut random = 1_u64;
        let mut held = Vec::new();
        for _ in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let path = ["/hello", "/sleep?5", "/big?200000", "/trap", "/half?5"]
                [(random >> 33) as usize % 5];
            let ms = (random >> 40) % 40 + 1;
            let until = Instant::now() + Duration::from_millis(ms);
            let mut call = Box::pin(served.replica.call(request(path), until));
            if futures_poll(call.as_mut()).is_pending() {
                held.push(call);
            }
            if !held.is_empty() && held.len() > (random >> 50) as usize % 14 {
                let index = (random >> 20) as usize % held.len();
                let call = held.swap_remove(index);
                if random.is_multiple_of(3) {
                    let _ = served.bench.block_on(call);
                }
            }
        }
        drop(held);
        assert_eq!(served.replica.in_flight(), 0);
        assert!(served.is_well(), "{guest}, {reused:?}");
        served.bench.block_on(served.replica.drain());
        assert_eq!(vacated(&served), 1);
    }
}
