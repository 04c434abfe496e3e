//! Room for others: what a frozen task leaves free, and what is told before a task is
//! stopped.

use std::time::Duration;

use wrun_protocol::scheduling::{Devices, Gpu, GpuRequest, Request};
use wrun_protocol::wire::worker::{Grant, Report, ToWorker};
use wrun_protocol::{JobId, Resources};

use super::scripts::*;

fn preempt(index: u32, notice_ms: u64) -> ToWorker {
    ToWorker::Preempt { attempt: JobId(1).task(index).attempt(1), notice_ms }
}

fn preempted(index: u32) -> Report {
    Report::Preempted { attempt: JobId(1).task(index).attempt(1), usage: usage() }
}

#[tokio::test]
async fn what_a_frozen_task_leaves_free_is_its_cpu() {
    let world = World::new().await;
    let mut server = world.assigned(0..4).await;
    assert_eq!(world.script.running(), [(1, 0), (1, 1)], "two cores");
    let attempt = JobId(1).task(0).attempt(1);
    server.say(ToWorker::Freeze { attempt, frozen: true }).await;
    world.script.runs(&[(1, 0), (1, 1), (1, 2)]).await;
    // It goes on though there is no core for it: the next one waits for two to end.
    server.say(ToWorker::Freeze { attempt, frozen: false }).await;
    settle().await;
    world.script.succeed(1);
    settle().await;
    assert_eq!(world.script.running(), [(1, 0), (1, 2)]);
    server.reports().await;
}

#[tokio::test]
async fn tasks_take_what_the_request_asks_for_that_they_were_granted() {
    let world = World::new().await;
    let mut server = world.connect().await;
    let mut spec = spec();
    let resources = Resources { cpu_milli: 500, ..spec.resources };
    spec.scheduling.alternatives = vec![Request { resources, devices: Devices::default() }];
    server.job(1, &spec).await;
    let grant = Grant { request: 1, gpus: Vec::new() };
    server.say(ToWorker::AssignWith { tasks: tasks(1, 0..5), grant }).await;
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 0), (1, 1), (1, 2), (1, 3)]).await;
    assert_eq!(world.script.with_task(0, |task| task.job.resources), resources);
    let grant = Grant { request: 2, gpus: Vec::new() };
    server.say(ToWorker::AssignWith { tasks: tasks(1, 9..10), grant }).await;
    assert!(matches!(server.report().await, Report::Ended { .. }), "there is no such request");
}

#[tokio::test]
async fn tasks_are_told_which_cards_they_were_given_and_none_that_are_not_there() {
    let gpu = Gpu { model: "a100".to_owned(), memory: 1 << 30 };
    let world = World::with(|config, _| config.offer.gpus = vec![gpu; 2]).await;
    let mut server = world.connect().await;
    let mut spec = spec();
    let wanted = GpuRequest { milli: 500, memory: 0, models: Vec::new() };
    spec.scheduling.devices.gpu = Some(wanted);
    spec.resources.cpu_milli = 100;
    server.job(1, &spec).await;
    for (index, card) in [(0, 1), (1, 2)] {
        let grant = Grant { request: 0, gpus: vec![card] };
        server.say(ToWorker::AssignWith { tasks: tasks(1, index..index + 1), grant }).await;
    }
    assert!(matches!(server.report().await, Report::Ended { .. }), "there is no such card");
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 0)]).await;
    let (cards, weight) =
        world.script.with_task(0, |task| (task.job.cards.clone(), task.job.model_weight));
    assert!(cards.is_some());
    assert_eq!(weight, 500);
}

#[tokio::test]
async fn a_task_that_is_to_be_stopped_is_told_and_stopped_when_its_time_is_over() {
    let world = World::new().await;
    let mut server = world.assigned(0..2).await;
    server.say(preempt(0, 50)).await;
    assert_eq!(server.report().await, preempted(0));
    assert_eq!((world.script.notices(), world.script.running()), (1, vec![(1, 1)]));
    server.say(preempt(1, 0)).await;
    assert_eq!(server.report().await, preempted(1));
    assert_eq!(world.script.notices(), 1, "without a notice nothing is told");
}

#[tokio::test]
async fn one_that_ends_in_its_time_has_ended() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    server.say(preempt(0, 50)).await;
    eventually(|| world.script.notices() == 1).await;
    world.script.succeed(0);
    assert!(matches!(server.report().await, Report::Succeeded { .. }));
    server.quiet_for(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn one_that_has_not_started_goes_back() {
    let world = World::new().await;
    let mut server = world.assigned(0..3).await;
    server.say(preempt(2, 3_600_000)).await;
    assert_eq!(server.report().await, Report::Returned(tasks(1, 2..3)));
}
