//! Handlers, the task context, and programs for WASI 0.3.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use bytes::Bytes;
use common::{Bench, SPIN, job, task};
use wrun_protocol::task::{Failure, Limit, Outcome};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_sandbox::{TaskEnd, TaskInput};

/// Answers with its checkpoint if it has one. Else it saves its input, says that it is
/// half done, and answers with the input; an empty input is an error.
const ECHO: &str = r#"(component
    (import "wrun:task/context@0.1.0" (instance $context
        (type $variant (variant (case "too-large" u64) (case "unavailable" string)))
        (export "checkpoint-error" (type $error (eq $variant)))
        (export "progress" (func (param "permille" u16) (param "message" string)))
        (export "save-checkpoint" (func (param "state" (list u8)) (result (result (error $error)))))
        (export "load-checkpoint" (func (result (option (list u8)))))))
    (core module $mem
        (memory (export "memory") 4)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $mem (instantiate $mem))
    (alias core export $mem "memory" (core memory $memory))
    (alias core export $mem "realloc" (core func $realloc))
    (core func $progress (canon lower (func $context "progress") (memory $memory)))
    (core func $save (canon lower (func $context "save-checkpoint")
        (memory $memory) (realloc $realloc)))
    (core func $load (canon lower (func $context "load-checkpoint")
        (memory $memory) (realloc $realloc)))
    (core module $m
        (import "mem" "memory" (memory 1))
        (import "host" "progress" (func $progress (param i32 i32 i32)))
        (import "host" "save" (func $save (param i32 i32 i32)))
        (import "host" "load" (func $load (param i32)))
        (data (i32.const 200) "empty")
        (func (export "handle") (param $at i32) (param $size i32) (result i32)
            (if (i32.eqz (local.get $size)) (then
                (i32.store8 (i32.const 0) (i32.const 1))
                (i32.store (i32.const 4) (i32.const 200))
                (i32.store (i32.const 8) (i32.const 5))
                (i32.store8 (i32.const 12) (i32.const 1))
                (return (i32.const 0))))
            (call $load (i32.const 100))
            (i32.store8 (i32.const 0) (i32.const 0))
            (if (i32.load8_u (i32.const 100)) (then
                (i32.store (i32.const 4) (i32.load (i32.const 104)))
                (i32.store (i32.const 8) (i32.load (i32.const 108)))
                (return (i32.const 0))))
            (call $save (local.get $at) (local.get $size) (i32.const 120))
            (if (i32.load8_u (i32.const 120)) (then (unreachable)))
            (call $progress (i32.const 500) (local.get $at) (local.get $size))
            (i32.store (i32.const 4) (local.get $at))
            (i32.store (i32.const 8) (local.get $size))
            (i32.const 0)))
    (core instance $i (instantiate $m (with "mem" (instance $mem)) (with "host" (instance
        (export "progress" (func $progress)) (export "save" (func $save))
        (export "load" (func $load))))))
    (type $error (record (field "message" string) (field "retryable" bool)))
    (func $handle (param "input" (list u8)) (result (result (list u8) (error $error)))
        (canon lift (core func $i "handle") (memory $memory) (realloc $realloc)))
    (component $shim
        (type $record (record (field "message" string) (field "retryable" bool)))
        (import "type" (type $error (eq $record)))
        (import "handle" (func $handle (param "input" (list u8))
            (result (result (list u8) (error $error)))))
        (export $exported "error" (type $error))
        (export "handle" (func $handle) (func (param "input" (list u8))
            (result (result (list u8) (error $exported))))))
    (instance $handler (instantiate $shim
        (with "type" (type $error)) (with "handle" (func $handle))))
    (export "wrun:task/handler@0.1.0" (instance $handler)))"#;

fn handle(input: TaskInput, checkpoint: Option<Bytes>, output: u64) -> (TaskEnd, Bench) {
    let bench = Bench::new();
    let prepared = bench.compile(ECHO);
    let mut job = job();
    job.kind = ComponentKind::Handler;
    job.limits.output_bytes = output;
    let mut task = task(1, job);
    task.input = input;
    task.checkpoint = checkpoint;
    bench.start(&prepared, task);
    (bench.events.end_of(1), bench)
}

fn hello() -> TaskInput {
    TaskInput::Bytes(Bytes::from_static(b"hello"))
}

#[test]
fn a_handler_gets_its_input_and_gives_its_output() {
    let (end, bench) = handle(hello(), None, 100);
    assert_eq!(end.outcome, Outcome::Succeeded);
    assert_eq!(end.output.as_deref(), Some(&b"hello"[..]));
    let told = bench.events.wait(|_| true);
    assert_eq!(told.progress, [(500, "hello".to_owned())]);
    assert_eq!(told.checkpoints, ["hello"]);
}

#[test]
fn a_handler_goes_on_from_its_checkpoint() {
    let (end, _) = handle(hello(), Some(Bytes::from_static(b"before")), 100);
    assert_eq!(end.output.as_deref(), Some(&b"before"[..]));
}

#[test]
fn a_handler_s_error_is_told_with_whether_trying_again_helps() {
    let (end, _) = handle(TaskInput::Empty, None, 100);
    let error = Failure::Handler { message: "empty".to_owned(), retryable: true };
    assert_eq!(end.outcome, Outcome::Failed(error));
}

#[test]
fn a_handler_s_output_is_limited() {
    let (end, _) = handle(hello(), None, 4);
    let limit = Failure::Limit { limit: Limit::Output, allowed: 4 };
    assert_eq!(end.outcome, Outcome::Failed(limit));
}

/// As [`common::program`], for WASI 0.3.
fn program3(body: &str) -> String {
    format!(
        r#"(component
            (core module $m (memory 1) (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            (func $run async (result (result)) (canon lift (core func $i "run")))
            (instance $wasi (export "run" (func $run)))
            (export "wasi:cli/run@0.3.0" (instance $wasi)))"#
    )
}

#[test]
fn a_program_for_wasi_0_3_runs_and_its_result_counts() {
    let end = Bench::new().run(&program3("(i32.const 0)"), |_| {});
    assert_eq!(end.outcome, Outcome::Succeeded);
    let end = Bench::new().run(&program3("(i32.const 1)"), |_| {});
    assert_eq!(end.outcome, Outcome::Failed(Failure::Exit { code: 1 }));
}

#[test]
fn an_endless_loop_of_wasi_0_3_ends_at_its_limit() {
    let end = Bench::new().run(&program3(SPIN), |job| job.limits.cpu_ms = Some(30));
    let limit = Failure::Limit { limit: Limit::CpuTime, allowed: 30 };
    assert_eq!(end.outcome, Outcome::Failed(limit));
}

/// One component calls a function of another, which waits for ever, again and again
/// without waiting for it: each call is a guest task with a stack.
const SPAWN: &str = r#"(component
    (component $callee
        (core module $m
            (import "" "wait" (func $wait (param i32 i32) (result i32)))
            (import "" "new" (func $new (result i32)))
            (memory (export "memory") 1)
            (func (export "f") (drop (call $wait (call $new) (i32.const 0)))))
        (core module $mem (memory (export "memory") 1))
        (core instance $mem (instantiate $mem))
        (core func $wait (canon waitable-set.wait (memory (core memory $mem "memory"))))
        (core func $new (canon waitable-set.new))
        (core instance $i (instantiate $m (with "" (instance
            (export "wait" (func $wait)) (export "new" (func $new))))))
        (func (export "f") async (canon lift (core func $i "f"))))
    (instance $callee (instantiate $callee))
    (component $caller
        (import "f" (func $f async))
        (core func $f (canon lower (func $f) async))
        (core module $m
            (import "" "f" (func $f (result i32)))
            (func (export "run") (result i32) (loop $l (drop (call $f)) (br $l)) (unreachable)))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))
        (func (export "run") async (result (result)) (canon lift (core func $i "run"))))
    (instance $caller (instantiate $caller (with "f" (func $callee "f"))))
    (alias export $caller "run" (func $run))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.3.0" (instance $wasi)))"#;

#[test]
fn a_guest_that_spawns_without_end_ends_at_the_limit_of_guest_tasks() {
    let end = Bench::new().run(SPAWN, |job| job.limits.cpu_ms = Some(10_000));
    match end.outcome {
        Outcome::Failed(Failure::Limit { limit: Limit::Fibers, allowed }) => {
            assert_eq!(allowed, 128);
        }
        other => panic!("{other}"),
    }
}

/// Imports every function of WASI 0.3 that wrun gives in place of the standard one.
const OWN_FUNCTIONS: &str = r#"(component
    (import "wasi:filesystem/types@0.3.0" (instance $files
        (export "descriptor" (type $descriptor (sub resource)))
        (type $path-flags' (flags "symlink-follow"))
        (export "path-flags" (type $path-flags (eq $path-flags')))
        (type $open-flags' (flags "create" "directory" "exclusive" "truncate"))
        (export "open-flags" (type $open-flags (eq $open-flags')))
        (type $descriptor-flags' (flags "read" "write" "file-integrity-sync"
            "data-integrity-sync" "requested-write-sync" "mutate-directory"))
        (export "descriptor-flags" (type $descriptor-flags (eq $descriptor-flags')))
        (type $code' (variant (case "access") (case "already") (case "bad-descriptor")
            (case "busy") (case "deadlock") (case "quota") (case "exist")
            (case "file-too-large") (case "illegal-byte-sequence") (case "in-progress")
            (case "interrupted") (case "invalid") (case "io") (case "is-directory")
            (case "loop") (case "too-many-links") (case "message-size")
            (case "name-too-long") (case "no-device") (case "no-entry") (case "no-lock")
            (case "insufficient-memory") (case "insufficient-space")
            (case "not-directory") (case "not-empty") (case "not-recoverable")
            (case "unsupported") (case "no-tty") (case "no-such-device") (case "overflow")
            (case "not-permitted") (case "pipe") (case "read-only") (case "invalid-seek")
            (case "text-file-busy") (case "cross-device") (case "other" (option string))))
        (export "error-code" (type $code (eq $code')))
        (export "[method]descriptor.write-via-stream" (func
            (param "self" (borrow $descriptor)) (param "data" (stream u8)) (param "offset" u64)
            (result (future (result (error $code))))))
        (export "[method]descriptor.append-via-stream" (func
            (param "self" (borrow $descriptor)) (param "data" (stream u8))
            (result (future (result (error $code))))))
        (export "[method]descriptor.set-size" (func async
            (param "self" (borrow $descriptor)) (param "size" u64)
            (result (result (error $code)))))
        (export "[method]descriptor.create-directory-at" (func async
            (param "self" (borrow $descriptor)) (param "path" string)
            (result (result (error $code)))))
        (export "[method]descriptor.symlink-at" (func async
            (param "self" (borrow $descriptor)) (param "old-path" string)
            (param "new-path" string) (result (result (error $code)))))
        (export "[method]descriptor.link-at" (func async
            (param "self" (borrow $descriptor)) (param "old-path-flags" $path-flags)
            (param "old-path" string) (param "new-descriptor" (borrow $descriptor))
            (param "new-path" string) (result (result (error $code)))))
        (export "[method]descriptor.open-at" (func async
            (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
            (param "path" string) (param "open-flags" $open-flags)
            (param "flags" $descriptor-flags)
            (result (result (own $descriptor) (error $code)))))))
    (alias export $files "descriptor" (type $descriptor))
    (import "wasi:filesystem/preopens@0.3.0" (instance
        (alias outer 1 $descriptor (type $d))
        (export "descriptor" (type $own (eq $d)))
        (export "get-directories" (func (result (list (tuple (own $own) string)))))))
    (import "wasi:sockets/types@0.3.0" (instance $sockets
        (type $four' (tuple u8 u8 u8 u8))
        (export "ipv4-address" (type $four (eq $four')))
        (type $six' (tuple u16 u16 u16 u16 u16 u16 u16 u16))
        (export "ipv6-address" (type $six (eq $six')))
        (type $address (variant (case "ipv4" $four) (case "ipv6" $six)))
        (export "ip-address" (type (eq $address)))))
    (alias export $sockets "ip-address" (type $ip))
    (import "wasi:sockets/ip-name-lookup@0.3.0" (instance
        (alias outer 1 $ip (type $i))
        (export "ip-address" (type $address (eq $i)))
        (type $code' (variant (case "access-denied") (case "invalid-argument")
            (case "name-unresolvable") (case "temporary-resolver-failure")
            (case "permanent-resolver-failure") (case "other" (option string))))
        (export "error-code" (type $code (eq $code')))
        (export "resolve-addresses" (func async (param "name" string)
            (result (result (list $address) (error $code)))))))
    (core module $m (func (export "run") (result i32) (i32.const 0)))
    (core instance $i (instantiate $m))
    (func $run async (result (result)) (canon lift (core func $i "run")))
    (instance $wasi (export "run" (func $run)))
    (export "wasi:cli/run@0.3.0" (instance $wasi)))"#;

#[test]
fn every_function_that_wrun_gives_itself_has_the_type_that_wasi_0_3_says() {
    let end = Bench::new().run(OWN_FUNCTIONS, |_| {});
    assert_eq!(end.outcome, Outcome::Succeeded);
}
