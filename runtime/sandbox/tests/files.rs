//! Files, output and handles, through programs for WASI preview 1 adapted as at submit.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Bench, job, scratch_in, task};
use wrun_protocol::task::{Failure, Limit, Outcome};
use wrun_sandbox::{JobContext, TaskEnd, TaskInput, TaskStart};

/// `_start` is `body`. At address 0 is a list of one buffer (address 16, 4096 bytes); the
/// first preopened directory is at 3; opening with flag 1 creates and writes, with 0 reads.
fn adapted(bench: &Bench, body: &str) -> std::sync::Arc<wrun_sandbox::Prepared> {
    let module = wat::parse_str(format!(
        r#"(module
        (import "wasi_snapshot_preview1" "path_open" (func $path_open
            (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write
            (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite
            (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read
            (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink
            (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 2)
        (data (i32.const 0) "\10\00\00\00\00\10\00\00")
        (data (i32.const 8) "name")
        (func $check (param i32) (if (local.get 0) (then (call $exit (i32.const 1)))))
        (func $open (param $dir i32) (param $flags i32) (result i32)
            (call $check (call $path_open (local.get $dir) (i32.const 0) (i32.const 8) (i32.const 4)
                (local.get $flags)
                (select (i64.const 0x1fffffff) (i64.const 2) (local.get $flags)) (i64.const 0) (i32.const 0) (i32.const 12)))
            (i32.load (i32.const 12)))
        (func $write (param $fd i32)
            (call $check (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 12))))
        (func (export "_start") (local $fd i32) (local $n i32) {body}))"#
    ))
    .unwrap();
    let prepared = wrun_component::prepare(&module).unwrap();
    let component = Bytes::from(prepared.component.into_owned());
    let digest = common::digest_of(&component);
    bench.block_on(bench.sandbox.compile(digest, move || Ok(component))).unwrap()
}

fn run(
    bench: &Bench,
    body: &str,
    change: impl FnOnce(&mut JobContext),
    start: impl FnOnce(&mut TaskStart),
) -> TaskEnd {
    let prepared = adapted(bench, body);
    let mut job = job();
    change(&mut job);
    let mut task = task(1, job);
    task.scratch = scratch_in(bench, "1");
    start(&mut task);
    bench.start(&prepared, task);
    bench.events.end_of(1)
}

fn limit(limit: Limit, allowed: u64) -> Outcome {
    Outcome::Failed(Failure::Limit { limit, allowed })
}

#[test]
fn a_huge_file_ends_at_the_scratch_limit_and_is_removed() {
    let bench = Bench::new();
    let body = "(local.set $fd (call $open (i32.const 3) (i32.const 1)))
        (loop $l (call $write (local.get $fd)) (br $l))";
    let end = run(&bench, body, |job| job.resources.scratch = 1 << 20, |_| {});
    assert_eq!(end.outcome, limit(Limit::Scratch, 1 << 20));
    assert!(!scratch_in(&bench, "1").unwrap().exists());
}

#[test]
fn writing_the_same_place_again_and_again_takes_no_more_scratch() {
    let bench = Bench::new();
    let body = "(local.set $fd (call $open (i32.const 3) (i32.const 1)))
        (loop $l
            (call $check (call $fd_pwrite
                (local.get $fd) (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 12)))
            (br_if $l (i32.lt_u
                (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))";
    let end = run(&bench, body, |job| job.resources.scratch = 1 << 20, |_| {});
    assert_eq!(end.outcome, Outcome::Succeeded);
}

#[test]
fn a_removed_file_that_is_still_open_counts() {
    let bench = Bench::new();
    let body = "(local.set $fd (call $open (i32.const 3) (i32.const 1)))
        (call $check (call $unlink (i32.const 3) (i32.const 8) (i32.const 4)))
        (loop $l (call $write (local.get $fd)) (br $l))";
    let end = run(&bench, body, |job| job.resources.scratch = 1 << 20, |_| {});
    assert_eq!(end.outcome, limit(Limit::Scratch, 1 << 20));
}

#[test]
fn thousands_of_handles_end_at_their_limit() {
    let bench = Bench::new();
    let body = "(loop $l (drop (call $open (i32.const 3) (i32.const 1))) (br $l))";
    let end = run(&bench, body, |job| job.limits.handles = 64, |_| {});
    assert_eq!(end.outcome, limit(Limit::Handles, 64));
}

#[test]
fn the_scratch_directory_is_made_only_when_asked_for() {
    let bench = Bench::new();
    let prepared = bench.compile(&common::program("", "(i32.const 0)"));
    let mut task = task(1, job());
    task.scratch = scratch_in(&bench, "1");
    bench.start(&prepared, task);
    assert_eq!(bench.events.end_of(1).outcome, Outcome::Succeeded);
    assert!(!bench.dir.path().join("scratch").exists());
}

#[test]
fn a_mount_can_be_read_and_not_written() {
    let bench = Bench::new();
    let mount = bench.dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    fs::write(mount.join("name"), "content").unwrap();
    // With no scratch directory the mount is the only preopened one.
    let body = "(local.set $fd (call $open (i32.const 3) (i32.const 0)))
        (call $check (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 12)))
        (i32.store (i32.const 4) (i32.load (i32.const 12)))
        (call $write (i32.const 1))
        (drop (call $open (i32.const 3) (i32.const 1)))";
    let change = |job: &mut JobContext| job.mounts = vec![("/data".to_owned(), mount.clone())];
    let end = run(&bench, body, change, |task| task.scratch = None);
    // What it read is told; then opening for writing fails, and it exits with 1.
    assert_eq!(end.outcome, Outcome::Failed(Failure::Exit { code: 1 }));
    assert_eq!(bench.events.wait(|_| true).stdout, b"content");
    assert_eq!(fs::read(mount.join("name")).unwrap(), b"content");
}

#[test]
fn a_flood_of_output_ends_at_the_output_limit_with_all_that_it_allows() {
    let bench = Bench::new();
    let body = "(loop $l (call $write (i32.const 1)) (br $l))";
    let end = run(&bench, body, |job| job.limits.output_bytes = 100_000, |_| {});
    assert_eq!(end.outcome, limit(Limit::Output, 100_000));
    assert_eq!(bench.events.wait(|_| true).stdout.len(), 100_000);
}

#[test]
fn a_guest_that_logs_faster_than_its_rate_waits() {
    let bench = Bench::new();
    let began = Instant::now();
    let body = "(loop $l (call $write (i32.const 2)) (br $l))";
    let change = |job: &mut JobContext| {
        job.limits.log_rate = 100 << 10;
        job.limits.log_bytes = 150 << 10;
    };
    let end = run(&bench, body, change, |_| {});
    assert_eq!(end.outcome, limit(Limit::Log, 150 << 10));
    assert_eq!(bench.events.wait(|_| true).stderr.len(), 150 << 10);
    // The first 100 KiB at once, the rest in half a second, and little CPU meanwhile.
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(end.usage.cpu_us < 200_000, "{}", end.usage.cpu_us);
}

#[test]
fn standard_input_comes_from_bytes_files_and_streams() {
    let echo = "(loop $l
        (i32.store (i32.const 4) (i32.const 4096))
        (call $check (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))
        (if (i32.load (i32.const 12)) (then
            (i32.store (i32.const 4) (i32.load (i32.const 12)))
            (call $write (i32.const 1)) (br $l))))";
    let text = vec![b'x'; 10_000];
    let file = |bench: &Bench| {
        let path = bench.dir.path().join("input");
        fs::write(&path, &text).unwrap();
        TaskInput::File(path)
    };
    let stream = |_: &Bench| {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        for part in text.chunks(3000) {
            sender.try_send(Bytes::copy_from_slice(part)).unwrap();
        }
        TaskInput::Stream(receiver)
    };
    let bytes = |_: &Bench| TaskInput::Bytes(text.clone().into());
    let sources: [&dyn Fn(&Bench) -> TaskInput; 3] = [&bytes, &file, &stream];
    for source in sources {
        let bench = Bench::new();
        let end = run(&bench, echo, |_| {}, |task| task.input = source(&bench));
        assert_eq!(end.outcome, Outcome::Succeeded);
        assert_eq!(bench.events.wait(|_| true).stdout, text);
    }
}
