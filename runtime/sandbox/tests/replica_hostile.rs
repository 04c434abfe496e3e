//! What a guest that misbehaves costs: its own request, and nobody else's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::http::{CONCURRENT, PLAIN, Served, by_hand, open, read, request, request_with, reuse};
use common::{PATIENCE, eventually};
use http_body_util::BodyExt;
use wrun_protocol::task::Limit;
use wrun_sandbox::CallError;

const BOTH: [&str; 2] = [PLAIN, CONCURRENT];
const SOON: Duration = Duration::from_millis(200);

#[test]
fn a_trap_is_told_and_hurts_nobody_else() {
    for guest in BOTH {
        let served = Served::new(guest);
        let error = served.get("/trap").unwrap_err();
        assert!(matches!(error, CallError::Trap { .. }), "{guest}: {error}");
        assert!(!error.never_begun());
        assert!(served.is_well());
        // The caller is told first.
        eventually(|| served.told.failed.lock().unwrap().as_slice() == [error.clone()]);
        assert_eq!(served.replica.usage().failed, 1);
    }
}

#[test]
fn a_trap_amid_the_answer_breaks_its_body_off() {
    let served = Served::new(PLAIN);
    let error = served.get("/trap-late").unwrap_err();
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    assert!(served.is_well());
}

#[test]
fn an_exit_is_told_with_its_code() {
    let served = Served::new(PLAIN);
    // WASI 0.2 knows success and failure only.
    assert_eq!(served.get("/exit"), Err(CallError::Exit { code: 1 }));
}

#[test]
fn a_guest_that_spins_is_stopped_at_the_deadline() {
    for guest in BOTH {
        let served = Served::new(guest);
        let began = Instant::now();
        let error = served.within("/spin", SOON).unwrap_err();
        assert_eq!(error, CallError::TimedOut { begun: true }, "{guest}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        // It takes no more CPU.
        eventually(|| {
            let before = served.replica.usage().cpu;
            std::thread::sleep(Duration::from_millis(30));
            served.replica.usage().cpu == before
        });
        assert!(served.is_well());
    }
}

#[test]
fn a_guest_that_spins_after_its_head_is_stopped_at_the_deadline_too() {
    let served = Served::new(PLAIN);
    let call = served.replica.call(request("/spin-late"), Instant::now() + SOON);
    let mut body = served.bench.block_on(call).unwrap().into_body();
    let (first, second) = served.bench.block_on(async {
        (body.frame().await.unwrap().unwrap(), body.frame().await.unwrap().unwrap_err())
    });
    assert_eq!(first.into_data().unwrap(), "half");
    let error = second.downcast::<CallError>().unwrap();
    assert_eq!(*error, CallError::TimedOut { begun: true });
    assert!(served.is_well());
}

#[test]
fn a_guest_that_waits_is_stopped_at_the_deadline() {
    for guest in BOTH {
        let served = Served::new(guest);
        let error = served.within("/sleep?60000", SOON).unwrap_err();
        assert_eq!(error, CallError::TimedOut { begun: true }, "{guest}");
        eventually(|| served.replica.in_flight() == 0);
    }
}

#[test]
fn a_guest_that_grows_ends_at_its_own_limit_of_memory() {
    for guest in BOTH {
        let served = Served::new(guest);
        let error = served.get("/memory").unwrap_err();
        let limit = CallError::Limit { limit: Limit::Memory, allowed: 16 << 20 };
        assert_eq!(error, limit, "{guest}");
        assert!(served.is_well());
    }
}

#[test]
fn a_guest_that_floods_its_log_ends_at_the_limit_for_one_request() {
    let served = Served::with(
        PLAIN,
        |_| {},
        |wish| {
            wish.job.limits.log_bytes = 10_000;
            wish.job.limits.log_rate = 1 << 20;
        },
    );
    for _ in 0..2 {
        let error = served.get("/flood").unwrap_err();
        assert_eq!(error, CallError::Limit { limit: Limit::Log, allowed: 10_000 });
    }
    assert_eq!(served.told.log.lock().unwrap().len(), 20_000);
}

#[test]
fn a_guest_that_returns_without_an_answer_is_told_so() {
    let served = Served::new(PLAIN);
    assert_eq!(served.get("/nothing"), Err(CallError::NoResponse));
}

#[test]
fn a_guest_may_answer_with_an_error() {
    for guest in BOTH {
        let error = Served::new(guest).get("/refuse").unwrap_err();
        let CallError::Refused { code } = error else { panic!("{error}") };
        assert!(code.contains("InternalError") && code.contains("asked"), "{code}");
    }
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_an_error() {
    for guest in BOTH {
        let served = Served::new(guest);
        let error = served.get("/short").unwrap_err();
        assert!(matches!(error, CallError::Length { announced: 100, .. }), "{guest}: {error}");
        let error = served.get("/long").unwrap_err();
        assert!(matches!(error, CallError::Length { announced: 3, .. }), "{guest}: {error}");
        assert_eq!(served.replica.usage().failed, 2);
    }
}

#[test]
fn a_body_that_was_not_finished_does_not_look_finished() {
    for reused in [None, reuse(0, 1, 60_000)] {
        let served = Served::with(PLAIN, |_| {}, |wish| wish.http.reuse = reused);
        assert_eq!(served.get("/half"), Err(CallError::Unfinished), "{reused:?}");
        assert_eq!(served.get("/dropped"), Err(CallError::Unfinished), "{reused:?}");
        assert!(served.is_well());
    }
}

#[test]
fn dropping_the_call_stops_the_guest() {
    for guest in BOTH {
        let served = Served::new(guest);
        let call = served.replica.call(request("/spin"), Instant::now() + PATIENCE);
        eventually(|| served.replica.usage().cpu > Duration::ZERO);
        drop(call);
        assert_eq!(served.replica.in_flight(), 0, "{guest}");
        eventually(|| {
            let before = served.replica.usage().cpu;
            std::thread::sleep(Duration::from_millis(30));
            served.replica.usage().cpu == before
        });
        assert!(served.told.failed.lock().unwrap().is_empty(), "the client went, nobody failed");
    }
}

#[test]
fn dropping_the_body_stops_the_guest() {
    for guest in BOTH {
        // One place in the pool: the next request shows that it is free.
        let served = Served::with(guest, |config| config.slots = 1, |_| {});
        drop(served.call(request("/big?100000000")).unwrap());
        assert!(served.is_well(), "{guest}");
    }
}

#[test]
fn a_client_that_stops_sending_hurts_its_own_request() {
    let served = Served::new(PLAIN);
    let (_sender, body) = by_hand();
    let stuck = served.replica.call(request_with("/size", body), Instant::now() + SOON);
    assert!(served.is_well());
    let error = served.bench.block_on(stuck).unwrap_err();
    assert_eq!(error, CallError::TimedOut { begun: true });
}

#[test]
fn more_requests_than_may_be_at_once_are_refused() {
    let served = Served::with(PLAIN, |_| {}, |wish| wish.http.concurrency = 2);
    let until = Instant::now() + PATIENCE;
    let first = served.replica.call(request("/sleep?60000"), until);
    let second = served.replica.call(request("/sleep?60000"), until);
    assert_eq!(served.replica.in_flight(), 2);
    let refused = served.get("/hello").unwrap_err();
    assert_eq!(refused, CallError::Busy { concurrency: 2 });
    assert!(refused.never_begun());
    drop((first, second));
    assert!(served.is_well());
}

#[test]
fn a_full_pool_makes_a_request_wait_and_at_most_until_its_deadline() {
    let served = Served::with(PLAIN, |config| config.slots = 1, |_| {});
    let until = Instant::now() + PATIENCE;
    let holder = served.replica.call(request("/sleep?60000"), until);
    eventually(|| served.replica.usage().cpu > Duration::ZERO);
    let error = served.within("/hello", SOON).unwrap_err();
    assert_eq!(error, CallError::TimedOut { begun: false });
    assert!(error.never_begun());
    let waiting = served.replica.call(request("/hello"), until);
    drop(holder);
    let answer = served.bench.block_on(async { read(waiting.await?).await });
    assert_eq!(answer, Ok((200, "hello".to_owned())));
}

#[test]
fn a_trap_ends_the_requests_that_share_the_instance_and_no_others() {
    let served = Served::with(
        CONCURRENT,
        |_| {},
        |wish| {
            wish.http.concurrency = 8;
            wish.http.reuse = reuse(0, 8, 60_000);
        },
    );
    let until = Instant::now() + PATIENCE;
    let first = served.replica.call(request("/sleep?60000"), until);
    eventually(|| served.replica.usage().cpu > Duration::ZERO);
    let error = served.get("/trap").unwrap_err();
    let CallError::Shared { why } = &error else { panic!("{error}") };
    assert!(matches!(**why, CallError::Trap { .. }), "{why}");
    assert_eq!(served.bench.block_on(first).unwrap_err(), error);
    assert!(served.is_well(), "the next one has a new instance");
}

#[test]
fn a_request_that_is_given_up_leaves_those_that_share_its_instance_alone() {
    let served = Served::with(
        CONCURRENT,
        |_| {},
        |wish| {
            wish.http.concurrency = 8;
            wish.http.reuse = reuse(0, 8, 60_000);
        },
    );
    let until = Instant::now() + PATIENCE;
    let other = served.replica.call(request("/sleep?500"), until);
    let gone = served.replica.call(request("/sleep?60000"), until);
    let late = served.replica.call(request("/sleep?60000"), Instant::now() + SOON);
    eventually(|| served.replica.usage().cpu > Duration::ZERO);
    drop(gone);
    let late = served.bench.block_on(late).unwrap_err();
    assert_eq!(late, CallError::TimedOut { begun: true });
    let answer = served.bench.block_on(async { read(other.await?).await });
    assert_eq!(answer.unwrap().1, "slept");
    assert_eq!(served.get("/count").unwrap().1, "1", "that instance takes no more");
}

#[test]
fn one_that_spins_ends_those_that_share_its_instance_at_its_deadline() {
    let served = Served::with(
        CONCURRENT,
        |_| {},
        |wish| {
            wish.http.concurrency = 8;
            wish.http.reuse = reuse(0, 8, 60_000);
        },
    );
    let other = served.replica.call(request("/sleep?60000"), Instant::now() + PATIENCE);
    eventually(|| served.replica.usage().cpu > Duration::ZERO);
    let error = served.within("/spin", SOON).unwrap_err();
    assert_eq!(error, CallError::TimedOut { begun: true });
    let why = Box::new(CallError::TimedOut { begun: true });
    assert_eq!(served.bench.block_on(other).unwrap_err(), CallError::Shared { why });
    assert!(served.is_well());
}

#[test]
fn a_replica_has_one_share_of_the_cpu_however_many_instances_it_has() {
    let served = Served::with(
        PLAIN,
        |config| config.threads = 1,
        |wish| wish.job.resources.cpu_milli = 1000,
    );
    let other = open(&served.bench, &served.prepared, &served.told, |wish| {
        wish.job.resources.cpu_milli = 1000;
    });
    let until = Instant::now() + PATIENCE;
    let many: Vec<_> = (0..8).map(|_| served.replica.call(request("/spin"), until)).collect();
    let one = other.call(request("/spin"), until);
    std::thread::sleep(Duration::from_secs(2));
    let (of_many, of_one) = (served.replica.usage().cpu, other.usage().cpu);
    drop((many, one));
    let share = of_one.as_secs_f64() / (of_one + of_many).as_secs_f64();
    assert!((0.4..=0.6).contains(&share), "{share}");
}
