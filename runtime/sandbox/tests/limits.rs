//! Each limit ends a task with its own reason.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Bench, SPIN, program};
use wrun_protocol::task::{Failure, Limit, Outcome};

fn limit_of(outcome: &Outcome) -> (Limit, u64) {
    match outcome {
        Outcome::Failed(Failure::Limit { limit, allowed }) => (*limit, *allowed),
        other => panic!("no limit: {other}"),
    }
}

#[test]
fn a_program_that_returns_ok_succeeds_and_one_that_returns_an_error_exits_with_1() {
    let bench = Bench::new();
    let end = bench.run(&program("", "(i32.const 0)"), |_| {});
    assert_eq!(end.outcome, Outcome::Succeeded);
    let bench = Bench::new();
    let end = bench.run(&program("", "(i32.const 1)"), |_| {});
    assert_eq!(end.outcome, Outcome::Failed(Failure::Exit { code: 1 }));
}

#[test]
fn growing_one_memory_ends_at_the_memory_limit() {
    let body = r#"(loop $l
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
        (br $l)) (unreachable)"#;
    let end = Bench::new().run(&program("(memory 1)", body), |_| {});
    assert_eq!(limit_of(&end.outcome), (Limit::Memory, 128 << 20));
    assert!(end.usage.peak_memory > 126 << 20 && end.usage.peak_memory <= 128 << 20);
}

#[test]
fn many_memories_are_counted_as_one_sum() {
    let memories: String = (0..40).map(|n| format!("(memory $m{n} 1)")).collect();
    let grow: String = (0..40)
        .map(|n| format!("(if (i32.eq (memory.grow $m{n} (i32.const 128)) (i32.const -1)) (then (unreachable)))"))
        .collect();
    // 40 times 8 MiB: each alone is far below the limit.
    let end = Bench::new().run(&program(&memories, &format!("{grow}(i32.const 0)")), |_| {});
    assert_eq!(limit_of(&end.outcome), (Limit::Memory, 128 << 20));
}

#[test]
fn an_initial_memory_above_the_limit_is_the_memory_limit() {
    let end = Bench::new().run(&program("(memory 4096)", "(i32.const 0)"), |_| {});
    assert_eq!(limit_of(&end.outcome), (Limit::Memory, 128 << 20));
}

#[test]
fn tables_count_as_memory() {
    let body = r#"(loop $l
        (if (i32.eq (table.grow $t (ref.null func) (i32.const 10000)) (i32.const -1)) (then (unreachable)))
        (br $l)) (unreachable)"#;
    let end = Bench::new().run(&program("(table $t 1 funcref)", body), |job| {
        job.resources.memory = 1 << 20;
    });
    assert_eq!(limit_of(&end.outcome), (Limit::Memory, 1 << 20));
}

#[test]
fn endless_recursion_ends_at_the_stack_limit() {
    let fields =
        "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))";
    let end = Bench::new().run(&program(fields, "(call $f (i32.const 1))"), |_| {});
    assert_eq!(limit_of(&end.outcome), (Limit::Stack, 1 << 20));
}

#[test]
fn dividing_by_zero_is_a_trap_that_says_so() {
    let end = Bench::new().run(&program("", "(i32.div_u (i32.const 1) (i32.const 0))"), |_| {});
    match end.outcome {
        Outcome::Failed(Failure::Trap { message }) => {
            assert!(message.contains("divide by zero"), "{message}");
        }
        other => panic!("no trap: {other}"),
    }
}

#[test]
fn an_endless_loop_ends_at_the_cpu_limit() {
    let end = Bench::new().run(&program("", SPIN), |job| job.limits.cpu_ms = Some(50));
    assert_eq!(limit_of(&end.outcome), (Limit::CpuTime, 50));
    assert!((50_000..200_000).contains(&end.usage.cpu_us), "{}", end.usage.cpu_us);
}

#[test]
fn an_endless_loop_ends_at_the_wall_time_limit() {
    let end = Bench::new().run(&program("", SPIN), |job| job.limits.wall_ms = Some(50));
    assert_eq!(limit_of(&end.outcome), (Limit::WallTime, 50));
}
