//! Reports: joined, numbered, sent again, bounded.

use std::time::Duration;

use bytes::Bytes;
use wrun_protocol::JobId;
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::user::LogStream;
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};

use super::scripts::*;
use crate::log::chunks;

#[tokio::test]
async fn plain_successes_of_an_array_are_reported_as_ranges() {
    let world = World::new().await;
    world.script.ends_at_once();
    let mut server = world.assigned(0..1000).await;
    let mut next = 0;
    while next < 1000 {
        for report in server.reports().await.1 {
            let Report::Succeeded { tasks, usage: used } = report else { panic!("{report:?}") };
            assert_eq!((tasks.job, tasks.attempt, tasks.tasks.first), (JobId(1), 1, next));
            assert_eq!(used.cpu_us, u64::from(tasks.tasks.count) * usage().cpu_us);
            next = tasks.tasks.end();
        }
    }
    assert_eq!(next, 1000);
    server.quiet().await;
}

#[tokio::test]
async fn a_handler_that_returned_no_bytes_has_nothing_to_tell() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    world.script.end_with(0, Outcome::Succeeded, Some(b""));
    assert!(matches!(server.report().await, Report::Succeeded { .. }));
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_after_a_reconnection() {
    let world = World::new().await;
    let mut server = world.assigned(0..3).await;
    world.script.succeed(0);
    let (first, reports) = server.reports().await;
    assert_eq!((first, reports.len()), (1, 1));
    world.script.end_with(1, Outcome::Failed(Failure::Exit { code: 3 }), None);
    let (second, told) = server.reports().await;
    assert_eq!(second, 2);
    server.say(ToWorker::Acknowledge { report: 1 }).await;
    settle().await;
    server.connection.close(0, "the server restarts");

    let (mut server, mut attempts) = world.accept().await;
    attempts.sort_unstable_by_key(|each| each.tasks.first);
    assert_eq!(attempts, [tasks(1, 1..3)], "task 1 has ended, but who knows what was heard");
    assert_eq!(server.reports().await, (2, told), "before the welcome");
    server.welcome().await;
    world.script.succeed(2);
    assert_eq!(server.reports().await.0, 3);
    server.say(ToWorker::Acknowledge { report: 3 }).await;
    settle().await;
    server.connection.close(0, "again");

    let (mut server, attempts) = world.accept().await;
    assert_eq!(attempts, []);
    server.welcome().await;
    server.quiet().await;
}

#[tokio::test]
async fn a_task_is_told_of_once_when_it_runs_for_long() {
    let world = World::with(|_, timing| timing.sweep = Duration::from_millis(50)).await;
    let mut server = world.assigned(0..1).await;
    assert_eq!(server.report().await, Report::Started(tasks(1, 0..1)));
    server.quiet_for(Duration::from_millis(400)).await;
    world.script.succeed(0);
    assert!(matches!(server.report().await, Report::Succeeded { .. }));
}

#[tokio::test]
async fn without_acknowledgements_the_worker_stops_starting_tasks() {
    let world = World::new().await;
    let mut server = world.assigned(0..20_000).await;
    // They fail, so that nothing can be joined.
    let mut ended = 0;
    while let Some((_, index)) = world.script.running().first().copied() {
        world.script.end_with(index, Outcome::Failed(Failure::Exit { code: 1 }), None);
        ended += 1;
        if ended % 256 == 0 || ended > 16_300 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert!((16_384..17_000).contains(&ended), "{ended}");
    let mut heard = 0;
    while heard < ended {
        let (first, reports) = server.reports().await;
        heard = first + reports.len() as u64 - 1;
    }
    server.say(ToWorker::Acknowledge { report: heard }).await;
    let next = ended as u32;
    world.script.runs(&[(1, next), (1, next + 1)]).await;
}

#[tokio::test]
async fn a_small_log_travels_in_the_result() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    world.script.act(0, |events, token| {
        events.log(token, LogStream::Stdout, Bytes::from_static(b"hello "));
        events.log(token, LogStream::Stdout, Bytes::from_static(b"world"));
        events.log(token, LogStream::Stderr, Bytes::from_static(b"!"));
    });
    world.script.end_with(0, Outcome::Succeeded, Some(b"out"));
    let Report::Ended { result, .. } = server.report().await else { panic!() };
    assert_eq!(result.output, Some(Content::Inline(Bytes::from_static(b"out"))));
    let Some(Content::Inline(log)) = result.log else { panic!() };
    let (chunks, _) = chunks(&log);
    assert_eq!(chunks.len(), 2);
    assert_eq!(&chunks[0].data[..], b"hello world");
}

#[tokio::test]
async fn large_outputs_and_logs_are_uploaded_before_the_result_is_told() {
    let world = World::new().await;
    let mut server = world.assigned(0..1).await;
    let line = vec![b'x'; 10_000];
    world.script.act(0, |events, token| {
        for _ in 0..40 {
            events.log(token, LogStream::Stdout, line.clone().into());
        }
    });
    world.script.end_with(0, Outcome::Succeeded, Some(&line));
    let (output, bytes) = server.take_blob().await;
    assert_eq!(bytes, line);
    let (log, bytes) = server.take_blob().await;
    let logged: usize = chunks(&bytes).0.iter().map(|chunk| chunk.data.len()).sum();
    assert_eq!(logged, 400_000);
    let Report::Ended { result, .. } = server.report().await else { panic!() };
    assert_eq!(result.output, Some(Content::Blob { digest: output, size: 10_000 }));
    assert_eq!(result.log, Some(Content::Blob { digest: log, size: bytes.len() as u64 }));
}

#[tokio::test]
async fn an_upload_that_breaks_is_made_again_on_the_next_session() {
    let world = World::new().await;
    let server = world.assigned(0..1).await;
    world.script.end_with(0, Outcome::Succeeded, Some(&[7; 100_000]));
    let (request, ..) = server.blob_request().await;
    server.connection.close(0, "the server dies");
    let (mut server, attempts) = world.accept().await;
    assert_eq!(attempts, [tasks(1, 0..1)], "ended, but not reported");
    server.welcome().await;
    let (output, bytes) = server.take_blob().await;
    assert!(format!("{request:?}").contains(&output.short()));
    assert_eq!(bytes, [7; 100_000]);
    let Report::Ended { result, .. } = server.report().await else { panic!() };
    assert!(result.outcome.is_success());
}

#[tokio::test]
async fn only_the_last_word_on_progress_is_passed_on() {
    let world = World::with(|_, timing| timing.sweep = Duration::from_millis(100)).await;
    let mut server = world.assigned(0..1).await;
    for permille in 0..=500 {
        world.script.act(0, |events, token| events.progress(token, permille, "half way"));
    }
    let attempt = JobId(1).task(0).attempt(1);
    let wanted = FromWorker::Progress { attempt, permille: 500, message: "half way".to_owned() };
    let (a, b) = (server.next().await, server.next().await);
    assert!(a == wanted || b == wanted, "{a:?} {b:?}");
    server.quiet().await;
}
