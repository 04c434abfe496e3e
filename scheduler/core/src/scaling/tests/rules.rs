//! Each rule on its own.

use wrun_protocol::service::{ProgramService, ScaleOn, ServiceKind, ServiceSpec};
use wrun_protocol::wire::service::{ScaleTo, ScaledBy};
use wrun_protocol::{NodeId, Timestamp};

use super::run::{BEGIN, Run, report, spec};
use crate::scaling::{Standing, Watched};

#[test]
fn a_request_that_waits_while_there_is_no_replica_wakes_what_it_needs_at_once() {
    let mut run = Run::new(&spec(0, 100), 1);
    run.seconds(5, 0);
    assert_eq!((run.wanted(), run.next()), (0, None));
    run.scaler.on_load(run.now, NodeId(1), &report(0, 0, 1));
    run.decide();
    assert_eq!(run.changes, [(5000, 1, ScaledBy::Request)]);
    // Many ask for as many replicas as hold them, before any is ready.
    let mut run = Run::new(&spec(0, 100), 1);
    run.scaler.on_load(run.now, NodeId(1), &report(0, 0, 95));
    run.decide();
    assert_eq!(run.changes, [(0, 10, ScaledBy::Request)]);
}

#[test]
fn the_last_replica_goes_when_the_idle_time_is_over_and_not_before() {
    let mut run = Run::new(&spec(0, 100), 2);
    run.seconds(10, 50);
    assert_eq!(run.wanted(), 1);
    run.idle_until(Timestamp(BEGIN + 10_000 + 299_999));
    assert_eq!(run.wanted(), 1);
    run.idle_until(Timestamp(BEGIN + 10_000 + 300_000));
    assert_eq!(run.changes.last(), Some(&(310_000, 0, ScaledBy::Idle)));
    assert_eq!(run.next(), None);
    assert!(run.scaler.is_forgettable(run.now, 0));
    // It was looked at while its load left the windows, and once at the end.
    assert!(run.looks <= 40, "{}", run.looks);
}

#[test]
fn a_request_under_way_for_long_keeps_a_replica_awake() {
    let mut run = Run::new(&spec(0, 100), 1);
    run.seconds(1000, 10);
    assert_eq!(run.wanted(), 1);
}

#[test]
fn a_service_with_a_minimum_keeps_that_and_asks_for_no_timer() {
    let mut run = Run::new(&spec(3, 100), 1);
    run.seconds(30, 10).idle_until(Timestamp(BEGIN + 3_600_000));
    assert_eq!(run.changes, []);
    assert_eq!((run.wanted(), run.next(), run.looks), (3, None, 1));
    assert!(run.scaler.is_forgettable(run.now, 3));
}

#[test]
fn fewer_are_wanted_only_after_fewer_were_enough_for_the_delay() {
    let mut run = Run::new(&spec(1, 100), 1);
    run.seconds(120, 500).seconds(200, 100);
    let first = run.changes.iter().find(|(at, ..)| *at > 120_000).unwrap();
    // At 141 s the average asked for fewer for the first time; the delay begins then.
    assert!((200_000..=206_000).contains(&first.0), "{:?}", run.changes);
    assert_eq!(run.wanted(), 2);
}

#[test]
fn nothing_goes_down_in_panic() {
    let mut spec = spec(1, 100);
    spec.scale.down_delay_ms = 1;
    let mut run = Run::new(&spec, 1);
    run.seconds(10, 1000).seconds(110, 0);
    // At 2 s twice what was ready was asked for, and after that no more.
    let down = run.changes.windows(2).find(|pair| pair[1].1 < pair[0].1).unwrap()[1];
    assert_eq!(down.0, 62_000, "{:?}", run.changes);
    assert_eq!(run.wanted(), 1, "{:?}", run.changes);
}

#[test]
fn after_a_restart_nothing_goes_down_before_a_whole_window_was_seen() {
    let mut run = Run::since(&spec(1, 100), 1, BEGIN);
    run.standing = Standing { wanted: 40, ready: 40 };
    run.decide();
    run.seconds(59, 50);
    assert_eq!((run.wanted(), run.changes.len()), (40, 0));
    run.seconds(3, 50);
    assert_eq!(run.wanted(), 1, "{:?}", run.changes);
    // Nor without any load at all; then a timer ends it.
    let mut run = Run::since(&spec(0, 100), 1, BEGIN);
    run.standing = Standing { wanted: 40, ready: 40 };
    run.decide();
    run.idle_until(Timestamp(BEGIN + 1_000_000));
    let changes = [(62_000, 1, ScaledBy::Load), (300_000, 0, ScaledBy::Idle)];
    assert_eq!(run.changes, changes);
    // What was asleep stays so.
    let mut run = Run::since(&spec(0, 100), 1, BEGIN);
    run.seconds(5, 0);
    assert_eq!(run.changes, []);
}

#[test]
fn a_load_right_after_a_restart_counts_as_much_as_later() {
    let mut run = Run::since(&spec(1, 100), 4, BEGIN);
    run.standing = Standing { wanted: 6, ready: 6 };
    run.idle_until(Timestamp(BEGIN + 100));
    run.seconds(30, 590);
    assert_eq!(run.changes, []);
}

#[test]
fn what_is_asked_of_models_asks_for_replicas_that_share_it() {
    let mut spec = spec(1, 100);
    spec.scale.on = Some(ScaleOn::ModelQueue { milli: 4000 });
    let mut run = Run::new(&spec, 1);
    (0..120).for_each(|_| _ = run.second_of_models(18, 50_000));
    assert_eq!(run.wanted(), 5, "{:?}", run.changes);
    (0..200).for_each(|_| _ = run.second_of_models(3, 50_000));
    assert_eq!(run.wanted(), 1, "{:?}", run.changes);
    // Scaled on something else, models are of no account.
    spec.scale.on = Some(ScaleOn::Concurrency { milli: 10_000 });
    let mut run = Run::new(&spec, 1);
    (0..120).for_each(|_| _ = run.second_of_models(1000, 50_000));
    assert_eq!(run.changes, []);
}

#[test]
fn slow_answers_of_models_ask_for_more_replicas_and_fast_ones_for_fewer() {
    let mut spec = spec(1, 100);
    spec.scale.on = Some(ScaleOn::ModelLatency { ms: 100 });
    let mut run = Run::new(&spec, 1);
    (0..60).for_each(|_| _ = run.second_of_models(8, 400_000));
    assert!(run.wanted() >= 4, "{:?}", run.changes);
    (0..600).for_each(|_| _ = run.second_of_models(1, 5000));
    assert_eq!(run.wanted(), 1, "{:?}", run.changes);
}

#[test]
fn what_a_user_says_holds_at_once_and_until_it_is_taken_back() {
    let mut run = Run::new(&spec(1, 100), 1);
    run.seconds(60, 300);
    run.set(&spec(1, 100), Some(ScaleTo::Replicas(7)));
    run.seconds(200, 900);
    assert_eq!(run.wanted(), 7);
    run.set(&spec(1, 100), Some(ScaleTo::Bounds { min: 20, max: 30 }));
    assert_eq!(run.wanted(), 20);
    run.set(&spec(1, 100), Some(ScaleTo::Bounds { min: 1, max: 4 }));
    assert_eq!(run.wanted(), 4);
    run.set(&spec(1, 100), None);
    assert!((9..=10).contains(&run.wanted()), "{:?}", run.changes);
    // Switched off, it is not woken.
    run.set(&spec(1, 100), Some(ScaleTo::Replicas(0)));
    run.seconds(10, 900);
    assert_eq!(run.wanted(), 0);
    run.set(&spec(1, 100), None);
    assert!(run.wanted() >= 9, "{}", run.wanted());
}

#[test]
fn a_number_that_was_fixed_goes_down_as_one_that_was_needed_does() {
    let mut run = Run::new(&spec(1, 100), 1);
    run.set(&spec(1, 100), Some(ScaleTo::Replicas(50)));
    run.seconds(100, 50);
    run.set(&spec(1, 100), None);
    run.seconds(59, 50);
    assert_eq!(run.wanted(), 50);
    run.seconds(4, 50);
    assert_eq!(run.wanted(), 1);
}

#[test]
fn a_program_is_as_many_as_were_asked_for() {
    let mut program = ServiceSpec::new(ServiceKind::Program(ProgramService::default()));
    program.scale.min = 3;
    program.scale.max = 9;
    let mut run = Run::new(&program, 1);
    run.seconds(10, 1000);
    assert_eq!(run.changes, []);
    run.set(&program, Some(ScaleTo::Bounds { min: 5, max: 5 }));
    assert_eq!(run.wanted(), 5);
}

#[test]
fn without_a_target_there_is_one_while_there_are_requests() {
    let mut spec = spec(0, 5);
    spec.scale.on = None;
    let mut run = Run::new(&spec, 1);
    run.second(0).seconds(100, 2000);
    assert_eq!(run.changes, [(2000, 1, ScaledBy::Request)]);
    run.idle_until(Timestamp(BEGIN + 500_000));
    assert_eq!(run.wanted(), 0);
}

#[test]
fn requests_a_second_and_waiting_requests_scale_as_requests_at_once_do() {
    let mut by_rate = spec(1, 100);
    // Each replica is to answer twenty a second; a request takes a tenth of one.
    by_rate.scale.on = Some(ScaleOn::Rate { milli: 20_000 });
    let mut run = Run::new(&by_rate, 2);
    run.seconds(120, 100);
    assert_eq!(run.wanted(), 5, "{:?}", run.changes);
    let mut by_waiting = spec(1, 100);
    by_waiting.scale.on = Some(ScaleOn::Waiting { requests: 5 });
    let mut run = Run::new(&by_waiting, 2);
    run.seconds(300, 800);
    // Eighty at once fill five replicas; while some waited there were more.
    assert!((5..=6).contains(&run.wanted()), "{:?}", run.changes);
    assert!(run.turns() <= 1, "{:?}", run.changes);
}

#[test]
fn answers_that_take_too_long_double_it_once_in_a_panic_window() {
    let mut by_latency = spec(1, 100);
    // Nine of ten take at most 124 ms, as they are told, whatever there is.
    by_latency.scale.on = Some(ScaleOn::Latency { ms: 40 });
    let mut run = Run::new(&by_latency, 1);
    run.seconds(13, 100);
    let wanted: Vec<_> = run.changes.iter().map(|(at, wanted, _)| (*at, *wanted)).collect();
    assert_eq!(wanted, [(1000, 2), (7000, 4), (13_000, 8)]);
    // Fast enough: half of it at a time, down to what holds the requests.
    by_latency.scale.on = Some(ScaleOn::Latency { ms: 1000 });
    let mut run = Run::new(&by_latency, 1);
    run.standing = Standing { wanted: 16, ready: 16 };
    run.seconds(600, 300);
    assert_eq!(run.turns(), 0, "{:?}", run.changes);
    assert_eq!(run.wanted(), 2, "{:?}", run.changes);
}

#[test]
fn the_answers_of_one_revision_are_counted_apart_from_when_it_is_watched() {
    let mut run = Run::new(&spec(1, 1), 1);
    let mut load = report(1000, 100, 0);
    load.revisions[0].errors = 7;
    run.scaler.on_load(run.now, NodeId(1), &load);
    run.scaler.watch(Some(1));
    assert_eq!(run.scaler.watched(1, run.now), Watched::default());
    load.revisions.push(load.revisions[0].clone());
    load.revisions[1].revision = 2;
    run.now = Timestamp(run.now.0 + 1000);
    run.scaler.on_load(run.now, NodeId(1), &load);
    assert_eq!(run.scaler.watched(1, run.now), Watched { answers: 100, errors: 7 });
    assert_eq!(run.scaler.watched(2, run.now), Watched::default());
    run.scaler.watch(Some(2));
    assert_eq!(run.scaler.watched(2, run.now), Watched::default());
}

#[test]
fn the_load_is_shown_over_the_stable_window() {
    let mut run = Run::new(&spec(1, 1), 3);
    run.seconds(90, 100);
    let load = run.scaler.load(run.now);
    assert_eq!((load.window_ms, load.requests, load.errors), (60_000, 6000, 0));
    assert_eq!((load.concurrency_milli, load.waiting), (10_000, 0));
    assert!((65_536..=131_072).contains(&load.p50_us), "{load:?}");
    assert!((load.p50_us..=131_072).contains(&load.p99_us), "{load:?}");
}
