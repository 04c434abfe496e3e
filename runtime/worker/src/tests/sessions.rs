//! Sessions: reconnection, lease, drain, a server that does not follow the protocol.

use std::time::Duration;

use wrun_protocol::JobId;
use wrun_protocol::job::OnDisconnect;
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};

use super::scripts::*;

#[tokio::test]
async fn a_reconnecting_worker_says_what_it_holds_and_stops_what_is_stale() {
    let world = World::new().await;
    let server = world.assigned(0..10).await;
    server.connection.close(0, "the server restarts");
    let (mut server, attempts) = world.accept().await;
    assert_eq!(attempts, [tasks(1, 0..10)]);
    let stale = vec![JobId(1).task(1).attempt(1), JobId(1).task(7).attempt(1)];
    server.welcome_with(stale).await;
    world.script.runs(&[(1, 0), (1, 2)]).await;
    server.quiet_for(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn when_the_lease_ends_only_tasks_that_ask_for_it_are_stopped() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    let mut strict = spec();
    strict.on_disconnect = OnDisconnect::Stop;
    server.job(2, &strict).await;
    server.assign(2, 5..8).await;
    world.script.runs(&[(1, 0), (2, 5)]).await;
    server.answers = false;
    let start = tokio::time::Instant::now();
    // The worker gives the silent session up, and the next one is not welcomed either.
    let (_server, attempts) = tokio::join!(server.quiet_for(LEASE), world.accept()).1;
    assert_eq!(attempts, [tasks(1, 0..1), tasks(2, 5..8)]);
    world.script.runs(&[(1, 0)]).await;
    assert!(start.elapsed() >= LEASE - Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn acknowledged_heartbeats_keep_the_lease() {
    let world = World::new().await;
    let mut server = world.connect().await;
    let mut strict = spec();
    strict.on_disconnect = OnDisconnect::Stop;
    server.job(1, &strict).await;
    server.assign(1, 0..1).await;
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 0)]).await;
    server.quiet_for(5 * LEASE / 2).await;
    assert_eq!(world.script.running(), [(1, 0)]);
    assert!(server.beats >= 5, "{}", server.beats);
}

#[tokio::test]
async fn a_draining_worker_hands_back_what_waits_and_lets_end_what_runs() {
    let world = World::new().await;
    let mut server = world.assigned(0..10).await;
    let World { script, worker, dir: _dir, .. } = world;
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    assert_eq!(server.report().await, Report::Returned(tasks(1, 2..10)));
    server.assign(1, 20..22).await;
    assert_eq!(server.report().await, Report::Returned(tasks(1, 20..22)), "too late");
    script.succeed(0);
    assert!(matches!(server.report().await, Report::Succeeded { .. }));
    script.succeed(1);
    let (last, reports) = server.reports().await;
    assert!(matches!(reports[..], [Report::Succeeded { .. }]));
    assert!(!drained.is_finished(), "the last report is not acknowledged");
    server.say(ToWorker::Acknowledge { report: last }).await;
    assert_eq!(server.next().await, FromWorker::Goodbye);
    server.ends().await;
    drained.await.unwrap();
}

#[tokio::test]
async fn when_the_grace_time_is_over_running_tasks_are_handed_back() {
    let world = World::with(|config, _| config.grace = Duration::from_millis(200)).await;
    let mut server = world.assigned(0..2).await;
    let World { script, worker, dir: _dir, .. } = world;
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    let (mut number, mut returned) = (0, Vec::new());
    while returned.len() < 2 {
        let (first, reports) = server.reports().await;
        number = first + reports.len() as u64 - 1;
        returned.extend(reports);
    }
    assert!(returned.contains(&Report::Returned(tasks(1, 0..1))), "{returned:?}");
    assert!(returned.contains(&Report::Returned(tasks(1, 1..2))), "{returned:?}");
    assert_eq!(script.running(), []);
    server.say(ToWorker::Acknowledge { report: number }).await;
    assert_eq!(server.next().await, FromWorker::Goodbye);
    drained.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_drains_without_a_server_still_ends() {
    let patience = Duration::from_millis(200);
    let world = World::with(|_, timing| timing.last_reports = patience).await;
    let server = world.assigned(0..1).await;
    server.connection.close(0, "gone");
    settle().await;
    world.script.succeed(0);
    let start = tokio::time::Instant::now();
    world.worker.drain().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    world.worker.ended().await.unwrap();
}

#[tokio::test]
async fn stopping_ends_guests_and_says_nothing() {
    let world = World::new().await;
    let mut server = world.assigned(0..2).await;
    world.worker.stop();
    world.worker.ended().await.unwrap();
    assert_eq!(world.script.running(), []);
    server.ends().await;
}

#[tokio::test]
async fn a_server_that_begins_with_anything_but_a_welcome_is_left() {
    let world = World::new().await;
    let (mut server, _) = world.accept().await;
    server.say(ToWorker::Forget(JobId(1))).await;
    server.ends().await;
    let mut server = world.connect().await;
    server.quiet().await;
}
