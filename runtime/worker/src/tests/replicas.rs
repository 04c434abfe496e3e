//! Replicas of services: opened, ready or not, drained, stopped.

use std::time::Duration;

use wrun_protocol::job::OnDisconnect;
use wrun_protocol::service::{HttpService, ProgramService, Readiness, ServiceKind, ServiceSpec};
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::service::Readied;
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};
use wrun_protocol::{AttemptId, JobId, limits};
use wrun_sandbox::CallError;

use super::scripts::*;

fn attempt(index: u32) -> AttemptId {
    JobId(1).task(index).attempt(1)
}

fn readied(index: u32, state: Readied) -> Report {
    Report::Readied { attempt: attempt(index), state }
}

fn drain(index: u32, within_ms: u64) -> ToWorker {
    ToWorker::Drain { attempt: attempt(index), within_ms }
}

/// Asked every 5 ms.
fn asked(path: &str) -> HttpService {
    let readiness = Readiness {
        path: Some(path.to_owned()),
        interval_ms: 5,
        failures: 2,
        ..Readiness::default()
    };
    HttpService { readiness, ..HttpService::default() }
}

/// A server of which the worker has replicas of job 1.
async fn hosting(world: &World, http: HttpService, replicas: std::ops::Range<u32>) -> Server {
    let mut server = world.connect().await;
    server.service(1, &service_spec(http)).await;
    server.assign(1, replicas.clone()).await;
    server.serve_blob(SERVICE).await;
    let wanted: Vec<_> = replicas.map(|index| (1, index, 1)).collect();
    world.script.opens(&wanted).await;
    server
}

/// The same with one replica, which is ready.
async fn ready(world: &World, http: HttpService) -> Server {
    let mut server = hosting(world, http, 0..1).await;
    assert_eq!(server.report().await, readied(0, Readied::Ready));
    server
}

fn is_preempted(report: &Report) -> bool {
    let Report::Preempted { attempt: of, usage: Usage { cpu_us: 7, .. } } = report else {
        return false;
    };
    *of == attempt(0)
}

#[tokio::test]
async fn replicas_hold_a_slot_for_each_instance_and_are_ready_once_they_are_open() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.service(1, &service_spec(HttpService::default())).await;
    server.assign(1, 0..3).await;
    server.serve_blob(SERVICE).await;
    world.script.opens(&[(1, 0, 1), (1, 1, 1)]).await;
    let mut reports = Vec::new();
    while reports.len() < 2 {
        reports.extend(server.reports().await.1);
    }
    assert!(reports.contains(&readied(0, Readied::Ready)), "{reports:?}");
    assert!(reports.contains(&readied(1, Readied::Ready)), "{reports:?}");
    settle().await;
    assert_eq!(world.script.replicas().len(), 2, "eight slots");
    let spec = service_spec(HttpService::default());
    let memory = world.script.with_replica(0, |replica| replica.memory_of_instance);
    assert_eq!(memory, spec.memory_of_instance());
    server.say(ToWorker::Stop(vec![tasks(1, 0..1)])).await;
    world.script.opens(&[(1, 1, 1), (1, 2, 1)]).await;
    assert_eq!(server.report().await, readied(2, Readied::Ready));
    server.quiet().await;
}

#[tokio::test]
async fn a_replica_with_a_path_is_ready_when_it_says_so_and_no_longer_when_it_fails() {
    let world = World::new().await;
    world.script.answers(Ok(503));
    let mut server = hosting(&world, asked("/health"), 0..1).await;
    eventually(|| world.script.asked("/health") > 3).await;
    server.quiet().await;
    world.script.answers(Ok(204));
    assert_eq!(server.report().await, readied(0, Readied::Ready));
    world.script.answers(Err(CallError::Trap { message: "unreachable".to_owned() }));
    let why = not_ready("the guest trapped: unreachable");
    assert_eq!(server.report().await, readied(0, why));
    world.script.answers(Ok(399));
    assert_eq!(server.report().await, readied(0, Readied::Ready));
}

#[tokio::test]
async fn a_replica_that_changes_all_the_time_is_told_of_once_a_second() {
    let world = World::new().await;
    let mut server = ready(&world, asked("/health")).await;
    for _ in 0..10 {
        let before = world.script.asked("/health");
        world.script.answers(Ok(500));
        eventually(|| world.script.asked("/health") > before + 3).await;
        let before = world.script.asked("/health");
        world.script.answers(Ok(200));
        eventually(|| world.script.asked("/health") > before + 1).await;
    }
    world.script.answers(Ok(500));
    let mut told = 0;
    // At the latest when a second is over it is told how it stayed.
    while server.report().await != readied(0, not_ready("status 500 Internal Server Error")) {
        told += 1;
    }
    assert!(told <= 4, "{told} changes");
}

fn not_ready(why: &str) -> Readied {
    Readied::NotReady { why: why.to_owned() }
}

#[tokio::test]
async fn a_replica_whose_job_asks_for_it_ends_with_the_lease() {
    let world = World::new().await;
    let mut server = world.connect().await;
    let mut spec = service_spec(HttpService::default());
    spec.on_disconnect = OnDisconnect::Stop;
    server.service(1, &spec).await;
    server.assign(1, 0..1).await;
    server.serve_blob(SERVICE).await;
    world.script.opens(&[(1, 0, 1)]).await;
    server.connection.close(0, "gone");
    world.script.opens(&[]).await;
}

#[tokio::test]
async fn a_replica_that_has_its_hands_full_stays_ready() {
    let world = World::new().await;
    let mut server = ready(&world, asked("/health")).await;
    world.script.answers(Err(CallError::Busy { concurrency: 4 }));
    let before = world.script.asked("/health");
    eventually(|| world.script.asked("/health") > before + 4).await;
    server.quiet().await;
}

#[tokio::test]
async fn a_frozen_replica_is_not_asked() {
    let world = World::new().await;
    let mut server = ready(&world, asked("/health")).await;
    server.say(ToWorker::Freeze { attempt: attempt(0), frozen: true }).await;
    eventually(|| world.script.frozen() == [true]).await;
    settle().await;
    let before = world.script.asked("/health");
    settle().await;
    assert_eq!(world.script.asked("/health"), before);
    server.say(ToWorker::Freeze { attempt: attempt(0), frozen: false }).await;
    eventually(|| world.script.asked("/health") > before).await;
    server.quiet().await;
}

#[tokio::test]
async fn a_replica_that_is_not_ready_in_time_fails_and_its_log_says_why() {
    let world = World::new().await;
    world.script.answers(Ok(500));
    let mut http = asked("/health");
    http.readiness.start_ms = 50;
    let mut server = hosting(&world, http, 0..1).await;
    let Report::Ended { attempt: of, result } = server.report().await else { panic!() };
    assert_eq!(of, attempt(0));
    let Outcome::Failed(Failure::Setup { message }) = result.outcome else { panic!() };
    assert!(message.contains("not ready within 50 ms: GET /health: status 500"), "{message}");
    let log = format!("{:?}", result.log.expect("a log"));
    assert!(log.contains("not ready yet: GET /health"), "{log}");
    world.script.opens(&[]).await;
}

#[tokio::test]
async fn how_replicas_are_is_told_again_on_a_new_session() {
    let world = World::new().await;
    let mut server = ready(&world, HttpService::default()).await;
    server.say(ToWorker::Acknowledge { report: 1 }).await;
    server.connection.close(0, "gone");
    let (mut server, attempts) = world.accept().await;
    assert_eq!(attempts, [tasks(1, 0..1)]);
    server.welcome().await;
    assert_eq!(server.report().await, readied(0, Readied::Ready));
    assert_eq!(world.script.replicas(), [(1, 0, 1)]);
}

#[tokio::test]
async fn a_replica_that_drains_ends_when_its_requests_have() {
    let world = World::new().await;
    world.script.release(1);
    let mut server = ready(&world, asked("/held")).await;
    // The next question is under way and holds it.
    eventually(|| world.script.asked("/held") > 1).await;
    server.say(drain(0, 60_000)).await;
    server.quiet().await;
    assert_eq!(world.script.replicas(), [(1, 0, 1)]);
    world.script.release(1);
    let report = server.report().await;
    assert!(is_preempted(&report), "{report:?}");
    assert_eq!(world.script.replicas(), []);
}

#[tokio::test]
async fn a_replica_that_has_written_something_leaves_its_log_when_it_goes() {
    let world = World::new().await;
    world.script.answers(Ok(503));
    let mut server = hosting(&world, asked("/health"), 0..1).await;
    // That it is not ready yet stands in its log.
    eventually(|| world.script.asked("/health") > 0).await;
    world.script.answers(Ok(200));
    assert_eq!(server.report().await, readied(0, Readied::Ready));
    server.say(drain(0, 60_000)).await;
    let Report::Ended { attempt: of, result } = server.report().await else {
        panic!("no log");
    };
    assert_eq!((of, &result.outcome), (attempt(0), &Outcome::Failed(Failure::Cancelled)));
    let Some(Content::Inline(log)) = &result.log else { panic!("{result:?}") };
    let log = String::from_utf8_lossy(log);
    assert!(log.contains("not ready yet: GET /health: status 503"), "{log}");
}

#[tokio::test]
async fn a_replica_whose_requests_take_too_long_is_stopped() {
    let world = World::new().await;
    world.script.release(1);
    let mut server = ready(&world, asked("/held")).await;
    eventually(|| world.script.asked("/held") > 1).await;
    server.say(drain(0, 150)).await;
    let report = server.report().await;
    assert!(is_preempted(&report), "{report:?}");
    assert_eq!(world.script.replicas(), []);
}

#[tokio::test]
async fn an_idle_replica_drains_at_once_and_one_that_waits_is_given_back() {
    let world = World::new().await;
    let mut server = ready(&world, HttpService::default()).await;
    server.assign(1, 1..4).await;
    assert_eq!(server.report().await, readied(1, Readied::Ready));
    server.say(drain(3, 60_000)).await;
    assert_eq!(server.report().await, Report::Returned(tasks(1, 3..4)));
    server.say(drain(0, 60_000)).await;
    let mut reports = server.reports().await.1;
    while reports.len() < 2 {
        reports.extend(server.reports().await.1);
    }
    assert!(reports.iter().any(is_preempted), "{reports:?}");
    assert!(reports.contains(&readied(2, Readied::Ready)), "its slots are free: {reports:?}");
}

#[tokio::test]
async fn of_a_stopped_replica_nothing_is_reported() {
    let world = World::new().await;
    let mut server = ready(&world, HttpService::default()).await;
    server.say(ToWorker::Stop(vec![tasks(1, 0..1)])).await;
    world.script.opens(&[]).await;
    server.quiet().await;
}

#[tokio::test]
async fn replicas_go_on_without_a_server() {
    let world = World::new().await;
    let server = ready(&world, asked("/health")).await;
    server.connection.close(0, "gone");
    let before = world.script.asked("/health");
    eventually(|| world.script.asked("/health") > before + 10).await;
    assert_eq!(world.script.replicas(), [(1, 0, 1)]);
}

#[tokio::test]
async fn what_guests_write_and_how_they_fail_is_the_log_of_the_replica() {
    let world = World::new().await;
    world.script.answers(Ok(500));
    let mut http = asked("/health");
    http.readiness.start_ms = 400;
    let mut server = hosting(&world, http, 0..1).await;
    world.script.act_as_replica(0, |events, token| {
        events.log(token, LogStream::Stdout, "hello\n".into());
        for _ in 0..3 {
            events.failed(token, &CallError::NoResponse);
        }
    });
    let Report::Ended { result, .. } = server.report().await else { panic!() };
    let log = format!("{:?}", result.log.expect("a log"));
    assert!(log.contains("hello"), "{log}");
    assert_eq!(log.matches("a request failed").count(), 1, "one line a second: {log}");
}

#[tokio::test]
async fn a_draining_worker_serves_until_the_server_has_moved_its_replicas() {
    let world = World::new().await;
    let mut server = ready(&world, asked("/health")).await;
    let World { script, worker, dir: _dir, .. } = world;
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    let before = script.asked("/health");
    eventually(|| script.asked("/health") > before + 4).await;
    server.say(drain(0, 60_000)).await;
    let (last, reports) = server.reports().await;
    assert!(is_preempted(&reports[0]), "{reports:?}");
    server.say(ToWorker::Acknowledge { report: last }).await;
    assert_eq!(server.next().await, FromWorker::Goodbye);
    drained.await.unwrap();
}

#[tokio::test]
async fn replicas_that_nobody_has_moved_drain_before_the_grace_time_is_over() {
    let world = World::with(|config, _| config.grace = Duration::from_millis(600)).await;
    let mut server = ready(&world, HttpService::default()).await;
    let World { script, worker, dir: _dir, .. } = world;
    let begun = tokio::time::Instant::now();
    let drained = tokio::spawn(async move { worker.drain().await });
    assert_eq!(server.next().await, FromWorker::Draining);
    let (last, reports) = server.reports().await;
    assert_eq!(reports, [Report::Returned(tasks(1, 0..1))]);
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(script.replicas(), []);
    server.say(ToWorker::Acknowledge { report: last }).await;
    assert_eq!(server.next().await, FromWorker::Goodbye);
    drained.await.unwrap();
}

#[tokio::test]
async fn a_program_that_stays_has_its_ports_and_is_ready_after_a_while() {
    let world = World::new().await;
    let mut server = world.connect().await;
    let mut spec = spec();
    (spec.name, spec.count) = ("consumer".to_owned(), limits::MAX_REPLICAS);
    let program = ProgramService { ports: vec![7000], ready_after_ms: 100 };
    spec.service = Some(Box::new(ServiceSpec::new(ServiceKind::Program(program))));
    server.job(1, &spec).await;
    server.assign(1, 0..1).await;
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 0)]).await;
    world.script.with_task(0, |task| {
        assert_eq!(task.job.listen, [7000]);
        assert_eq!(task.job.limits.log_bytes, u64::MAX, "it goes on");
    });
    assert_eq!(server.report().await, readied(0, Readied::Ready));
    server.say(drain(0, 100)).await;
    let report = server.report().await;
    assert!(matches!(report, Report::Preempted { .. }), "{report:?}");
    assert_eq!(world.script.notices(), 1, "it was told");
}
