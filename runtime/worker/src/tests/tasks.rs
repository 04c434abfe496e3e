//! Tasks: started in order, recalled, stopped, frozen, resumed.

use bytes::Bytes;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::worker::{Grant, Report, ToWorker};
use wrun_protocol::{JobId, Resources};

use super::scripts::*;

#[tokio::test]
async fn tasks_start_in_order_as_resources_allow() {
    let world = World::new().await;
    let mut server = world.assigned(0..4).await;
    assert_eq!(world.script.running(), [(1, 0), (1, 1)], "two cores");
    let mut small = spec();
    small.resources = Resources { cpu_milli: 100, ..small.resources };
    server.job(2, &small).await;
    server.assign(2, 0..8).await;
    settle().await;
    assert_eq!(world.script.running().len(), 2, "the small ones do not overtake");
    world.script.succeed(0);
    world.script.succeed(1);
    assert_eq!(world.script.running(), [(1, 2), (1, 3)], "at once, by whoever ended");
    world.script.succeed(2);
    settle().await;
    let running = world.script.running();
    assert_eq!(running.len(), 8, "eight slots: {running:?}");
    server.reports().await;
}

#[tokio::test]
async fn a_recall_gives_back_what_has_not_started_and_that_alone() {
    let world = World::new().await;
    let mut server = world.assigned(0..100).await;
    server.say(ToWorker::Recall(vec![tasks(1, 0..50), tasks(1, 90..95)])).await;
    let (_, reports) = server.reports().await;
    assert_eq!(reports, [Report::Returned(tasks(1, 2..50)), Report::Returned(tasks(1, 90..95))]);
    world.script.succeed(0);
    assert_eq!(world.script.running(), [(1, 1), (1, 50)]);
    server.reports().await;
}

#[tokio::test]
async fn of_stopped_tasks_nothing_is_reported() {
    let world = World::new().await;
    let mut server = world.assigned(0..100).await;
    server.say(ToWorker::Stop(vec![tasks(1, 0..99)])).await;
    world.script.runs(&[(1, 99)]).await;
    world.script.succeed(99);
    let report = server.report().await;
    assert!(matches!(&report, Report::Succeeded { tasks: t, .. } if *t == tasks(1, 99..100)));
    server.quiet().await;
}

#[tokio::test]
async fn freezing_reaches_the_running_attempt_only() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    let attempt = JobId(1).task(0).attempt(1);
    let stale = JobId(1).task(0).attempt(7);
    for (attempt, frozen) in [(attempt, true), (stale, true), (attempt, false)] {
        server.say(ToWorker::Freeze { attempt, frozen }).await;
    }
    settle().await;
    assert_eq!(world.script.frozen(), [true, false]);
}

#[tokio::test]
async fn a_task_resumes_from_its_checkpoint_wherever_that_is() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.job(1, &spec()).await;
    let state = vec![9; 50_000];
    let small = Content::Inline(Bytes::from_static(b"small"));
    let large = Content::Blob { digest: digest(&state), size: 50_000 };
    let attempt = |index| JobId(1).task(index).attempt(2);
    server.say(ToWorker::Resume { attempt: attempt(0), checkpoint: small }).await;
    let grant = Grant::default();
    server.say(ToWorker::ResumeWith { attempt: attempt(1), checkpoint: large, grant }).await;
    for _ in 0..2 {
        let (request, mut send, _recv) = server.blob_request().await;
        let wanted = format!("{request:?}").contains(&digest(&state).short());
        let bytes: &[u8] = if wanted { &state } else { COMPONENT };
        let size = bytes.len() as u64;
        send.send(&wrun_protocol::wire::worker::BlobReply::Found { size }).await.unwrap();
        send.write_raw(bytes).await.unwrap();
        send.finish().unwrap();
    }
    world.script.runs(&[(1, 0), (1, 1)]).await;
    let seen = |index| world.script.with_task(index, |task| (task.attempt, task.checkpoint.take()));
    assert_eq!(seen(0), (2, Some(Bytes::from_static(b"small"))));
    assert_eq!(seen(1), (2, Some(state.into())));
    server.quiet().await;
}

#[tokio::test]
async fn what_the_worker_cannot_know_or_hold_is_said_not_swallowed() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.assign(9, 0..1).await;
    let Report::Ended { result, .. } = server.report().await else { panic!() };
    let Outcome::Failed(Failure::Setup { message }) = result.outcome else { panic!() };
    assert!(message.contains("never said what the job is"), "{message}");
    server.job(1, &spec()).await;
    server.assign(1, 0..50_000).await;
    assert_eq!(server.report().await, Report::Returned(tasks(1, 0..50_000)));
}
