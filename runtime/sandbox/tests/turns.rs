//! Freezing, stopping, shares, and places in the pool.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, SPIN, eventually, job, program, task};
use wrun_protocol::task::{Failure, Outcome};
use wrun_sandbox::StartError;

/// Waits for an hour in the host.
const SLEEP: &str = r#"(component
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $p))
        (export "pollable" (type $pollable (eq $p)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core module $m
        (import "" "subscribe" (func $subscribe (param i64) (result i32)))
        (import "" "block" (func $block (param i32)))
        (func (export "run") (result i32)
            (call $block (call $subscribe (i64.const 3600000000000))) (i32.const 0)))
    (core instance $i (instantiate $m (with "" (instance
        (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $wasi)))"#;

fn cancelled() -> Outcome {
    Outcome::Failed(Failure::Cancelled)
}

#[test]
fn a_frozen_task_gives_its_cpu_back_within_20_ms_and_goes_on_when_thawed() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let handle = bench.start(&spin, task(1, job()));
    eventually(|| handle.cpu_used() > Duration::from_millis(20));
    handle.freeze();
    std::thread::sleep(Duration::from_millis(20));
    let frozen = handle.cpu_used();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(handle.cpu_used(), frozen);
    handle.thaw();
    eventually(|| handle.cpu_used() > frozen + Duration::from_millis(20));
    handle.stop();
    let end = bench.events.end_of(1);
    assert_eq!(end.outcome, cancelled());
    assert!(end.usage.frozen_us >= 100_000, "{}", end.usage.frozen_us);
}

#[test]
fn a_wall_time_limit_stands_still_while_frozen() {
    let bench = Bench::new();
    let prepared = bench.compile(SLEEP);
    let mut limited = job();
    limited.limits.wall_ms = Some(150);
    let handle = bench.start(&prepared, task(1, limited));
    std::thread::sleep(Duration::from_millis(30));
    handle.freeze();
    std::thread::sleep(Duration::from_millis(300));
    assert!(bench.events.wait(|_| true).ended.is_empty());
    handle.thaw();
    let end = bench.events.end_of(1);
    assert!(matches!(end.outcome, Outcome::Failed(Failure::Limit { .. })), "{}", end.outcome);
    assert!(end.usage.wall_us >= 430_000, "{}", end.usage.wall_us);
}

#[test]
fn an_endless_loop_can_be_stopped_also_when_frozen() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let running = bench.start(&spin, task(1, job()));
    let frozen = bench.start(&spin, task(2, job()));
    frozen.freeze();
    eventually(|| running.cpu_used() > Duration::ZERO);
    running.stop();
    frozen.stop();
    assert_eq!(bench.events.end_of(1).outcome, cancelled());
    assert_eq!(bench.events.end_of(2).outcome, cancelled());
}

#[test]
fn a_guest_that_waits_in_a_host_call_can_be_stopped() {
    let bench = Bench::new();
    let prepared = bench.compile(SLEEP);
    let handle = bench.start(&prepared, task(1, job()));
    std::thread::sleep(Duration::from_millis(30));
    handle.stop();
    assert_eq!(bench.events.end_of(1).outcome, cancelled());
}

#[test]
fn a_guest_that_waits_in_a_host_call_ends_at_its_wall_time() {
    let end = Bench::new().run(SLEEP, |job| job.limits.wall_ms = Some(50));
    assert!(matches!(end.outcome, Outcome::Failed(Failure::Limit { .. })), "{}", end.outcome);
}

#[test]
fn spinning_guests_share_two_threads_by_the_cpu_they_asked_for() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let weights = [1000, 1000, 500, 500];
    let start = |(token, weight): (usize, &u32)| {
        let mut job = job();
        job.resources.cpu_milli = *weight;
        bench.start(&spin, task(token as u64, job))
    };
    let handles: Vec<_> = weights.iter().enumerate().map(start).collect();
    std::thread::sleep(Duration::from_secs(2));
    let used: Vec<_> = handles.iter().map(|handle| handle.cpu_used().as_secs_f64()).collect();
    handles.iter().for_each(wrun_sandbox::TaskHandle::stop);
    let total: f64 = used.iter().sum();
    for (used, weight) in used.iter().zip(weights) {
        let wanted = total * f64::from(weight) / 3000.0;
        assert!((used - wanted).abs() <= wanted * 0.1, "{used} of {wanted}");
    }
}

#[test]
fn a_late_small_task_starts_at_once_among_spinners() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let small = bench.compile(&program("", "(i32.const 0)"));
    let spinners: Vec<_> = (0..8).map(|token| bench.start(&spin, task(token, job()))).collect();
    eventually(|| spinners.iter().all(|spinner| spinner.cpu_used() > Duration::from_millis(10)));
    let began = Instant::now();
    bench.start(&small, task(99, job()));
    assert_eq!(bench.events.end_of(99).outcome, Outcome::Succeeded);
    // A tick, and what a busy machine adds; eight turns of 5 ms on two threads take 20.
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
}

#[test]
fn a_burst_waits_for_places_and_fails_nobody() {
    let bench = Bench::with(|config| config.slots = 2);
    let small = bench.compile(&program("(memory 1)", "(i32.const 0)"));
    for token in 0..500 {
        bench.start(&small, task(token, job()));
    }
    let told = bench.events.wait(|told| told.ended.len() == 500);
    assert!(told.ended.iter().all(|(_, end)| end.outcome == Outcome::Succeeded));
}

#[test]
fn waiting_for_a_place_is_bounded_and_a_waiting_task_can_be_stopped() {
    let bench = Bench::with(|config| {
        config.slots = 1;
        config.max_waiting = 1;
    });
    let sleep = bench.compile(SLEEP);
    let first = bench.start(&sleep, task(1, job()));
    let second = bench.start(&sleep, task(2, job()));
    let events: std::sync::Arc<dyn wrun_sandbox::TaskEvents> = bench.events.clone();
    let refused = bench.sandbox.start(&sleep, task(3, job()), &events).err();
    assert_eq!(refused, Some(StartError::Full { waiting: 1 }));
    second.stop();
    assert_eq!(bench.events.end_of(2).outcome, cancelled());
    first.stop();
    assert_eq!(bench.events.end_of(1).outcome, cancelled());
}

#[test]
fn dropping_the_sandbox_ends_every_task() {
    let bench = Bench::new();
    let sleep = bench.compile(SLEEP);
    let spin = bench.compile(&program("", SPIN));
    bench.start(&sleep, task(1, job()));
    bench.start(&spin, task(2, job()));
    let Bench { sandbox, events, .. } = bench;
    drop(sandbox);
    assert_eq!(events.end_of(1).outcome, cancelled());
    assert_eq!(events.end_of(2).outcome, cancelled());
}

#[test]
fn freezing_thawing_and_stopping_at_any_moment_ends_each_task_once() {
    let bench = Bench::with(|config| config.slots = 8);
    let kinds = [
        bench.compile(&program("", SPIN)),
        bench.compile(SLEEP),
        bench.compile(&program("(memory 1)", "(i32.const 0)")),
    ];
    let start = |token: u64| bench.start(&kinds[token as usize % 3], task(token, job()));
    let handles: Vec<_> = (0..300).map(start).collect();
    std::thread::scope(|scope| {
        for seed in 1_u64..=3 {
            let handles = &handles;
            scope.spawn(move || {
                let mut random = seed;
                for _ in 0..20_000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let handle = &handles[(random >> 33) as usize % handles.len()];
                    match (random >> 20) % 16 {
                        0..8 => handle.freeze(),
                        8..15 => handle.thaw(),
                        _ => handle.stop(),
                    }
                }
            });
        }
    });
    handles.iter().for_each(wrun_sandbox::TaskHandle::stop);
    for token in 0..300 {
        bench.events.end_of(token);
    }
    // Every place is free again: as many as there are can be held at once.
    let again: Vec<_> = (1000..1008).map(|token| start(token * 3)).collect();
    eventually(|| again.iter().all(|handle| handle.cpu_used() > Duration::ZERO));
    again.iter().for_each(wrun_sandbox::TaskHandle::stop);
}
