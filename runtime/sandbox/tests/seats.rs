//! Tasks that follow each other on one seat.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Bench, Events, SPIN, eventually, job, program, task};
use wrun_protocol::task::{Failure, Outcome};
use wrun_protocol::wire::user::LogStream;
use wrun_sandbox::{
    CheckpointDone, NextTask, Prepared, TaskEnd, TaskEvents, TaskHandle, TaskInput, TaskStart,
};

/// A program that does nothing, at once.
fn small(bench: &Bench) -> Arc<Prepared> {
    bench.compile(&program("(memory 1)", "(i32.const 0)"))
}

/// Tells another, and hands the seat over until `last` has sat on it.
struct Chain {
    told: Arc<Events>,
    last: u64,
    /// Called with the token of the next before it takes the seat.
    between: Box<dyn Fn(u64) + Send + Sync>,
}

impl Chain {
    fn start(
        bench: &Bench,
        prepared: &Arc<Prepared>,
        tokens: std::ops::RangeInclusive<u64>,
        between: impl Fn(u64) + Send + Sync + 'static,
    ) -> TaskHandle {
        let chain = Self {
            told: Arc::clone(&bench.events),
            last: *tokens.end(),
            between: Box::new(between),
        };
        let events: Arc<dyn TaskEvents> = Arc::new(chain);
        let first = TaskStart { index: 0, ..task(*tokens.start(), job()) };
        bench.sandbox.start(prepared, first, &events).unwrap()
    }
}

impl TaskEvents for Chain {
    fn log(&self, token: u64, stream: LogStream, bytes: Bytes) {
        self.told.log(token, stream, bytes);
    }

    fn progress(&self, token: u64, permille: u16, message: &str) {
        self.told.progress(token, permille, message);
    }

    fn save_checkpoint(&self, token: u64, state: Bytes, done: CheckpointDone) {
        self.told.save_checkpoint(token, state, done);
    }

    fn ended(&self, token: u64, end: TaskEnd) {
        self.told.ended(token, end);
    }

    fn hand_over(&self, token: u64, end: TaskEnd) -> Option<NextTask> {
        self.told.ended(token, end);
        let token = (token < self.last).then_some(token + 1)?;
        (self.between)(token);
        Some(NextTask {
            token,
            index: token as u32,
            attempt: 1,
            input: TaskInput::Empty,
            checkpoint: None,
            scratch: None,
            seed: None,
        })
    }
}

fn cancelled() -> Outcome {
    Outcome::Failed(Failure::Cancelled)
}

#[test]
fn tasks_follow_each_other_in_order_and_each_ends_once() {
    let bench = Bench::new();
    Chain::start(&bench, &small(&bench), 1..=1000, |_| {});
    let told = bench.events.wait(|told| told.ended.len() == 1000);
    for ((token, end), wanted) in told.ended.iter().zip(1..) {
        assert_eq!((*token, &end.outcome), (wanted, &Outcome::Succeeded));
    }
}

/// A program that exits with 3 at once, unless it is the first of its array: that spins.
const FIRST_SPINS: &str = r#"(component
    (import "wasi:cli/environment@0.2.0" (instance $env
        (export "get-environment" (func (result (list (tuple string string)))))))
    (core module $mem
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $mem (instantiate $mem))
    (alias core export $mem "memory" (core memory $memory))
    (core func $get (canon lower (func $env "get-environment")
        (memory $memory) (realloc (core func $mem "realloc"))))
    (core module $m
        (import "mem" "memory" (memory 1))
        (import "" "get" (func $get (param i32)))
        ;; The second variable is WRUN_TASK_INDEX; its value's first byte is its first digit.
        (func (export "run") (result i32)
            (call $get (i32.const 0))
            (loop $spin (br_if $spin (i32.eq (i32.const 48)
                (i32.load8_u (i32.load offset=24 (i32.load (i32.const 0)))))))
            (i32.const 1)))
    (core instance $i (instantiate $m (with "mem" (instance $mem))
        (with "" (instance (export "get" (func $get))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $wasi)))"#;

#[test]
fn each_task_on_a_seat_has_an_environment_and_an_outcome_of_its_own() {
    let bench = Bench::new();
    let first = Chain::start(&bench, &bench.compile(FIRST_SPINS), 1..=3, |_| {});
    eventually(|| first.cpu_used() > Duration::ZERO);
    first.stop();
    assert_eq!(bench.events.end_of(1).outcome, cancelled());
    for token in 2..=3 {
        let outcome = bench.events.end_of(token).outcome;
        assert_eq!(outcome, Outcome::Failed(Failure::Exit { code: 1 }));
    }
}

#[test]
fn a_handle_of_a_task_that_has_ended_does_nothing_to_the_one_that_followed() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let first = Chain::start(&bench, &spin, 1..=2, |_| {});
    eventually(|| first.cpu_used() > Duration::ZERO);
    first.stop();
    assert_eq!(bench.events.end_of(1).outcome, cancelled());
    let second = first.clone().followed_by(2);
    eventually(|| second.cpu_used() > Duration::ZERO);
    first.freeze();
    first.stop();
    assert_eq!(first.cpu_used(), Duration::ZERO);
    let used = second.cpu_used();
    eventually(|| second.cpu_used() > used + Duration::from_millis(20));
    second.stop();
    assert_eq!(bench.events.end_of(2).outcome, cancelled());
}

#[test]
fn what_is_wanted_of_a_task_before_it_takes_its_seat_is_done_when_it_does() {
    let bench = Bench::new();
    let spin = bench.compile(&program("", SPIN));
    let seat = Arc::new(Mutex::new(None::<TaskHandle>));
    let known = Arc::clone(&seat);
    let first = Chain::start(&bench, &spin, 1..=4, move |next| {
        let handle = known.lock().unwrap().clone().unwrap().followed_by(next);
        match next {
            2 => handle.stop(),
            3 => {
                handle.freeze();
                handle.thaw();
            }
            _ => handle.freeze(),
        }
    });
    *seat.lock().unwrap() = Some(first.clone());
    eventually(|| first.cpu_used() > Duration::ZERO);
    first.stop();
    assert_eq!(bench.events.end_of(2).outcome, cancelled());
    let third = first.clone().followed_by(3);
    eventually(|| third.cpu_used() > Duration::ZERO);
    third.stop();
    assert_eq!(bench.events.end_of(3).outcome, cancelled());
    let fourth = first.followed_by(4);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(fourth.cpu_used(), Duration::ZERO, "it is frozen");
    fourth.thaw();
    eventually(|| fourth.cpu_used() > Duration::ZERO);
    fourth.stop();
    let end = bench.events.end_of(4);
    assert_eq!(end.outcome, cancelled());
    assert!(bench.events.wait(|told| told.ended.len() == 4).ended.len() == 4);
}

#[test]
fn small_tasks_without_end_get_the_share_of_one() {
    let bench = Bench::with(|config| config.threads = 1);
    let spin = bench.compile(&program("", SPIN));
    let many = Chain::start(&bench, &small(&bench), 1000..=u64::MAX, |_| {});
    drop(bench.events.wait(|told| told.ended.len() > 100));
    let spinner = bench.start(&spin, task(1, job()));
    eventually(|| spinner.cpu_used() > Duration::ZERO);
    let (before, ended) = (spinner.cpu_used(), bench.events.wait(|_| true).ended.len());
    std::thread::sleep(Duration::from_secs(1));
    let used = (spinner.cpu_used() - before).as_secs_f64();
    let small = bench.events.wait(|_| true).ended[ended..]
        .iter()
        .map(|(_, end)| Duration::from_micros(end.usage.cpu_us).as_secs_f64())
        .sum::<f64>();
    let Bench { sandbox, .. } = bench;
    drop((many, sandbox));
    let share = used / (used + small);
    assert!((0.4..0.6).contains(&share), "{share}");
}

#[test]
fn a_late_small_task_starts_at_once_beside_small_tasks_without_end() {
    let bench = Bench::new();
    let small = small(&bench);
    let chains = [1_000_000, 2_000_000].map(|first| {
        Chain::start(&bench, &small, first..=first + 999_999, |_| {});
    });
    drop(bench.events.wait(|told| told.ended.len() > 100));
    let began = Instant::now();
    bench.start(&small, task(99, job()));
    assert_eq!(bench.events.end_of(99).outcome, Outcome::Succeeded);
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    let _ = chains;
}

#[test]
fn who_had_the_cpu_to_himself_owes_nothing_for_it() {
    let bench = Bench::with(|config| config.threads = 1);
    let spin = bench.compile(&program("", SPIN));
    let first = bench.start(&spin, task(1, job()));
    eventually(|| first.cpu_used() > Duration::from_millis(400));
    let second = bench.start(&spin, task(2, job()));
    eventually(|| second.cpu_used() > Duration::ZERO);
    let (first_before, second_before) = (first.cpu_used(), second.cpu_used());
    eventually(|| second.cpu_used() > second_before + Duration::from_millis(200));
    let meanwhile = first.cpu_used() - first_before;
    first.stop();
    second.stop();
    assert!(meanwhile > Duration::from_millis(160), "{meanwhile:?} besides 200 ms");
}

#[test]
fn dropping_the_sandbox_ends_a_chain() {
    let bench = Bench::new();
    Chain::start(&bench, &small(&bench), 1..=u64::MAX, |_| {});
    drop(bench.events.wait(|told| told.ended.len() > 100));
    let Bench { sandbox, events, .. } = bench;
    drop(sandbox);
    // Whatever ran then comes to an end, and no other follows.
    let count = || events.wait(|_| true).ended.len();
    eventually(|| {
        let before = count();
        std::thread::sleep(Duration::from_millis(30));
        count() == before
    });
}
