//! Deterministic executions, through a program for WASI preview 1 adapted as at submit, and
//! a handler's view of itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Bench, job, scratch_in, task};
use wrun_protocol::task::Outcome;
use wrun_sandbox::{Prepared, StartError, TaskEvents, TaskStart};

/// Writes 64 random bytes, both clocks, sleeps an hour, and writes both clocks again.
const OBSERVES: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time
        (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll
        (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write
        (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    ;; One buffer: 96 bytes at 1024.
    (data (i32.const 0) "\00\04\00\00\60\00\00\00")
    ;; At 64 a subscription to the monotonic clock, relative, in an hour.
    (data (i32.const 80) "\01")
    (func $must (param i32) (if (local.get 0) (then (call $exit (i32.const 1)))))
    (func (export "_start")
        (i64.store (i32.const 88) (i64.const 3600000000000))
        (call $must (call $random (i32.const 1024) (i32.const 64)))
        (call $must (call $time (i32.const 0) (i64.const 1) (i32.const 1088)))
        (call $must (call $time (i32.const 1) (i64.const 1) (i32.const 1096)))
        (call $must (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))
        (call $must (call $time (i32.const 0) (i64.const 1) (i32.const 1104)))
        (call $must (call $time (i32.const 1) (i64.const 1) (i32.const 1112)))
        (call $must (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 512)))))"#;

fn compile(bench: &Bench, module: &str, deterministic: bool) -> Arc<Prepared> {
    let module = wat::parse_str(module).unwrap();
    let component = wrun_component::prepare(&module).unwrap().component.into_owned();
    let digest = common::digest_of(&component);
    let source = move || Ok(Bytes::from(component));
    let sandbox = &bench.sandbox;
    let compiled = bench.block_on(async {
        match deterministic {
            true => sandbox.compile_deterministic(digest, source).await,
            false => sandbox.compile(digest, source).await,
        }
    });
    compiled.unwrap()
}

fn seeded(seed: u8) -> TaskStart {
    TaskStart { seed: Some([seed; 32]), ..task(1, job()) }
}

/// What the program writes, in a sandbox of its own.
fn observed(seed: u8) -> Vec<u8> {
    let bench = Bench::new();
    let prepared = compile(&bench, OBSERVES, true);
    let start = TaskStart { scratch: scratch_in(&bench, "1"), ..seeded(seed) };
    bench.start(&prepared, start);
    assert_eq!(bench.events.end_of(1).outcome, Outcome::Succeeded);
    bench.events.wait(|told| told.stdout.len() == 96).stdout.clone()
}

#[test]
fn the_same_seed_shows_the_same_world_and_an_hour_takes_no_time() {
    let begun = Instant::now();
    let first = observed(1);
    assert!(begun.elapsed() < Duration::from_secs(600), "it slept for real");
    assert_eq!(observed(1), first, "another sandbox, another moment");
    let other = observed(2);
    assert_ne!(other[..64], first[..64], "randomness comes from the seed");
    assert_eq!(other[64..], first[64..], "time does not");
    let time = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    assert_eq!(time(64) / 1_000_000_000, 946_684_800);
    for before in [64, 72] {
        let slept = time(before + 16) - time(before);
        assert!((3_600_000_000_000..3_600_100_000_000).contains(&slept), "{slept}");
    }
}

#[test]
fn code_for_the_one_kind_of_execution_does_not_start_the_other() {
    let bench = Bench::new();
    let events: Arc<dyn TaskEvents> = bench.events.clone();
    let (plain, deterministic) =
        (compile(&bench, OBSERVES, false), compile(&bench, OBSERVES, true));
    for (prepared, start) in [(plain, seeded(1)), (deterministic, task(1, job()))] {
        let refused = bench.sandbox.start(&prepared, start, &events).err().unwrap();
        assert!(matches!(refused, StartError::Refused(_)), "{refused}");
    }
}
