//! Slots by themselves: order, places, what is taken back.

use std::sync::Arc;

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::wire::worker::{Assignment, ComponentKind};
use wrun_protocol::{IndexRange, JobId, Resources};

use super::scripts::{Script, spec, tasks};
use crate::executor::Executor;
use crate::held::Held;
use crate::job::{Job, JobFiles, Setup, SharedInput};
use crate::log::Piece;
use crate::slots::{MAX_QUEUED, Slots, Stopping};

const NODE: Resources = Resources { cpu_milli: 2500, memory: 1 << 30, scratch: 1 << 30, slots: 8 };

fn job(id: u64, cpu_milli: u32) -> Arc<Job<Script>> {
    let mut spec = spec();
    spec.resources.cpu_milli = cpu_milli;
    let spec = EncodedSpec::encode(&spec).unwrap();
    let tenant = "lab".parse().unwrap();
    Arc::new(Job::decode(JobId(id), tenant, ComponentKind::Command, &spec).unwrap())
}

fn set_up(job: &Job<Script>) {
    let context = Arc::new(job.context(Vec::new(), Vec::new(), None));
    let (program, input) = (Arc::new(ComponentKind::Command), SharedInput::Empty);
    let setup = Setup { program, context, input, keys: None, _files: JobFiles::default() };
    assert!(job.setup.set(setup).is_ok());
}

fn ready(id: u64, cpu_milli: u32) -> Arc<Job<Script>> {
    let job = job(id, cpu_milli);
    set_up(&job);
    job
}

fn range(range: std::ops::Range<u32>) -> IndexRange {
    IndexRange { first: range.start, count: range.end - range.start }
}

fn start_all<E: Executor>(slots: &mut Slots<E>) -> Vec<(u64, u32, u64)> {
    std::iter::from_fn(|| slots.take_next())
        .map(|starting| (starting.job.id.0, starting.index, starting.token))
        .collect()
}

fn names(started: &[(u64, u32, u64)]) -> Vec<(u64, u32)> {
    started.iter().map(|(job, index, _)| (*job, *index)).collect()
}

#[test]
fn cpu_is_counted_in_thousandths_and_the_first_that_does_not_fit_waits() {
    let mut slots = Slots::new(NODE);
    slots.enqueue(&ready(1, 700), 1, range(0..10), None).unwrap();
    slots.enqueue(&ready(2, 100), 1, range(0..1), None).unwrap();
    let started = start_all(&mut slots);
    assert_eq!(names(&started), [(1, 0), (1, 1), (1, 2)], "2.1 of 2.5 cores");
    slots.on_ended(started[1].2).unwrap();
    assert_eq!(names(&start_all(&mut slots)), [(1, 3)]);
}

#[test]
fn a_job_that_is_being_set_up_delays_no_other_and_then_takes_its_place() {
    let mut slots = Slots::new(NODE);
    let slow = job(1, 1000);
    slots.enqueue(&slow, 1, range(0..1), None).unwrap();
    slots.enqueue(&ready(2, 1000), 1, range(0..3), None).unwrap();
    let started = start_all(&mut slots);
    assert_eq!(names(&started), [(2, 0), (2, 1)]);
    set_up(&slow);
    slots.on_set_up(JobId(1));
    slots.on_ended(started[0].2).unwrap();
    assert_eq!(names(&start_all(&mut slots)), [(1, 0)], "it was assigned first");
}

#[test]
fn a_token_names_one_attempt_and_never_the_next_in_its_place() {
    let mut slots = Slots::new(NODE);
    slots.enqueue(&ready(1, 1000), 1, range(0..2), None).unwrap();
    let first = slots.take_next().unwrap().token;
    assert_eq!(slots.on_ended(first).unwrap().index, 0);
    let second = slots.take_next().unwrap().token;
    assert_ne!(first, second);
    assert!(slots.on_ended(first).is_none(), "it has ended once");
    assert_eq!(slots.running_mut(second).unwrap().index, 1);
}

/// Takes the next task and gives it a handle.
fn start(slots: &mut Slots<Script>) -> u64 {
    let token = slots.take_next().unwrap().token;
    slots.on_started(token, Held::Task((Script::default(), token)));
    token
}

fn token_of(held: &Held<Script>) -> u64 {
    match held {
        Held::Task((_, token)) => *token,
        Held::Replica(_) => panic!("a task"),
    }
}

#[test]
fn the_next_task_of_a_job_takes_place_resources_and_handle_of_the_one_that_ended() {
    let mut slots = Slots::new(NODE);
    slots.enqueue(&ready(3, 1000), 1, range(0..1), None).unwrap();
    slots.enqueue(&ready(1, 1000), 1, range(0..3), None).unwrap();
    slots.enqueue(&ready(2, 500), 1, range(0..1), None).unwrap();
    start(&mut slots);
    let first = start(&mut slots);
    assert!(slots.take_next().is_none(), "2 of 2.5 cores are taken");
    let (past, second) = slots.on_followed(first).unwrap();
    assert_eq!((past.index, second.index, second.was_last), (0, 1, false));
    assert!(slots.on_followed(first).is_none() && slots.on_ended(first).is_none(), "ended once");
    let stopped = slots.stop(Stopping::Silently, |running| running.job.id == JobId(1));
    let tokens: Vec<_> = stopped.iter().map(token_of).collect();
    assert_eq!(tokens, [second.token], "the handle is of the one that runs now");
    let (past, third) = slots.on_followed(second.token).unwrap();
    assert_eq!(past.stopping, Some(Stopping::Silently));
    assert!(third.was_last);
    assert_eq!(names(&start_all(&mut slots)), [(2, 0)], "the next fits besides");
    assert!(slots.on_followed(third.token).is_none(), "nothing waits");
    assert_eq!(slots.running_count(), 3);
}

#[test]
fn what_must_be_looked_at_before_it_starts_follows_nobody() {
    let mut slots = Slots::new(NODE);
    let (one, other) = (ready(1, 1000), ready(2, 1000));
    slots.enqueue(&one, 1, range(0..1), None).unwrap();
    slots.enqueue(&other, 1, range(0..1), None).unwrap();
    slots.enqueue(&other, 2, range(1..2), Some(bytes::Bytes::from_static(b"state"))).unwrap();
    slots.enqueue(&other, 1, range(2..4), None).unwrap();
    let first = start(&mut slots);
    assert!(slots.on_followed(first).is_none(), "the next is of another job");
    let second = start(&mut slots);
    assert!(slots.on_followed(second).is_none(), "it goes on from a checkpoint");
    slots.on_ended(first).unwrap();
    let third = slots.take_next().unwrap().token;
    assert!(slots.on_followed(third).is_none(), "it has no handle yet");
    slots.on_started(third, Held::Task((Script::default(), third)));
    slots.pause(true);
    assert!(slots.on_followed(third).is_none(), "nothing may start");
    slots.pause(false);
    assert!(slots.on_followed(third).is_some());
}

#[test]
fn what_is_taken_back_leaves_the_rest_in_order() {
    let mut slots = Slots::new(NODE);
    let (one, aside) = (ready(1, 1000), job(2, 1000));
    slots.enqueue(&one, 1, range(0..10), None).unwrap();
    slots.enqueue(&one, 2, range(0..10), None).unwrap();
    slots.enqueue(&aside, 1, range(0..10), None).unwrap();
    let wanted = [tasks(1, 3..5), tasks(1, 4..7), tasks(2, 0..10), tasks(3, 0..9)];
    let mut taken: Vec<_> = slots.take_queued(&wanted);
    taken.sort_unstable_by_key(|each| (each.job, each.tasks.first));
    assert_eq!(taken, [tasks(1, 3..5), tasks(1, 5..7), tasks(2, 0..10)]);
    let left: Vec<Assignment> = slots.queued().map(|(_, queued)| queued).collect();
    let second = Assignment { attempt: 2, ..tasks(1, 0..10) };
    assert_eq!(left, [tasks(1, 0..3), tasks(1, 7..10), second]);
}

#[test]
fn more_than_may_wait_is_refused_whole() {
    let mut slots = Slots::new(NODE);
    let job = ready(1, 1000);
    let most = MAX_QUEUED as u32;
    slots.enqueue(&job, 1, range(0..most - 1), None).unwrap();
    assert_eq!(slots.enqueue(&job, 1, range(most..most + 2), None), Err(range(most..most + 2)));
    slots.enqueue(&job, 1, range(most..most + 1), None).unwrap();
}

#[test]
fn an_attempt_that_is_stopped_before_it_has_a_handle_is_stopped_then() {
    let mut slots = Slots::new(NODE);
    slots.enqueue(&ready(1, 1000), 1, range(0..1), None).unwrap();
    let token = slots.take_next().unwrap().token;
    assert!(slots.stop(Stopping::Silently, |_| true).is_empty(), "no handle yet");
    let meanwhile = slots.on_started(token, Held::Task((Script::default(), token)));
    assert!(meanwhile.stopped && !meanwhile.frozen);
}

#[test]
fn who_follows_a_task_that_cannot_be_set_up_is_told_of_its_end() {
    let mut slots = Slots::new(NODE);
    let job = job(1, 100);
    slots.enqueue(&job, 1, range(0..2), None).unwrap();
    let streams = slots.streams_of(JobId(1).task(1)).unwrap();
    assert!(matches!(streams.log.read(0), Piece::Wait));
    assert_eq!(slots.take_aside(JobId(1)).len(), 1);
    assert!(matches!(streams.log.read(0), Piece::End));
    assert!(slots.streams_of(JobId(1).task(1)).is_none());
}
