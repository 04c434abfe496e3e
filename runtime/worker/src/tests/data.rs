//! What jobs bring with them: components, files, logs that are followed.

use bytes::Bytes;
use wrun_protocol::JobSpec;
use wrun_protocol::job::{Input, Mount};
use wrun_protocol::task::{Content, Failure, Outcome};
use wrun_protocol::wire::user::{ErrorCode, LogStream, RequestError, Stdin};
use wrun_protocol::wire::worker::{BlobReply, LiveReply, LiveRequest, Report};
use wrun_protocol::{JobId, TaskId};
use wrun_sandbox::TaskInput;

use super::scripts::*;

fn setup_failure(report: Report) -> String {
    match report {
        Report::Ended { result, .. } => match result.outcome {
            Outcome::Failed(Failure::Setup { message }) => message,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn with_input(bytes: &[u8]) -> JobSpec {
    let content = Content::Blob { digest: digest(bytes), size: bytes.len() as u64 };
    JobSpec { input: Input::Content(content), ..spec() }
}

#[tokio::test]
async fn a_blob_whose_bytes_do_not_fit_its_digest_never_runs() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.job(1, &spec()).await;
    server.assign(1, 0..2).await;
    server.answer_blob(b"something else").await;
    server.answer_blob(b"and again").await;
    let (_, reports) = server.reports().await;
    assert_eq!(reports.len(), 2, "each task is told of");
    for report in reports {
        let message = setup_failure(report);
        assert!(message.contains("do not fit this digest"), "{message}");
    }
    assert_eq!(world.script.running(), []);
    assert_eq!(std::fs::read_dir(world.dir.path().join("incoming")).unwrap().count(), 0);

    server.assign(1, 2..3).await;
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 2)]).await;
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_its_reason() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.job(1, &spec()).await;
    server.assign(1, 0..1).await;
    let (_, mut send, _recv) = server.blob_request().await;
    let error = RequestError::new(ErrorCode::NotFound, "no such blob");
    send.send(&BlobReply::Refused(error)).await.unwrap();
    let message = setup_failure(server.report().await);
    assert!(
        message.starts_with("the component: ") && message.contains("no such blob"),
        "{message}"
    );
}

#[tokio::test]
async fn a_blob_is_fetched_once_however_many_jobs_want_it() {
    let world = World::new().await;
    let mut server = world.connect().await;
    for job in 1..=2 {
        server.job(job, &spec()).await;
        server.assign(job, 0..1).await;
    }
    server.serve_blob(COMPONENT).await;
    world.script.runs(&[(1, 0), (2, 0)]).await;
    let further =
        tokio::time::timeout(std::time::Duration::from_secs(1), server.connection.accept());
    assert!(further.await.is_err(), "nothing else is asked for");
}

#[tokio::test]
async fn the_cache_drops_what_was_not_used_for_longest_and_never_what_is_in_use() {
    let world = World::with(|config, _| config.artefact_bytes = 2500).await;
    let mut server = world.assigned(0..1).await;
    let inputs: Vec<_> = (1..=4_u8).map(|fill| vec![fill; 1000]).collect();
    for (job, input) in (10..).zip(&inputs[..2]) {
        server.job(job, &with_input(input)).await;
        server.assign(job, 0..1).await;
        server.serve_blob(input).await;
    }
    world.script.runs(&[(1, 0), (10, 0)]).await;
    let cached =
        |bytes: &[u8]| world.dir.path().join("artefacts").join(digest(bytes).to_string()).exists();
    eventually(|| cached(&inputs[1])).await;
    settle().await;

    server.job(12, &with_input(&inputs[2])).await;
    server.assign(12, 0..1).await;
    let (_, mut send, _recv) = server.blob_request().await;
    send.send(&BlobReply::Found { size: 1000 }).await.unwrap();
    let mut message = None;
    while message.is_none() {
        for report in server.reports().await.1 {
            if matches!(report, Report::Ended { .. }) {
                message = Some(setup_failure(report));
            }
        }
    }
    let message = message.unwrap();
    assert!(message.contains("everything in it is in use"), "{message}");

    server.say(wrun_protocol::wire::worker::ToWorker::Stop(vec![tasks(11, 0..1)])).await;
    server.say(wrun_protocol::wire::worker::ToWorker::Forget(JobId(11))).await;
    server.assign(12, 1..2).await;
    server.serve_blob(&inputs[2]).await;
    eventually(|| cached(&inputs[2])).await;
    assert!(cached(&inputs[0]) && !cached(&inputs[1]));
}

#[tokio::test]
async fn mounted_files_and_inputs_are_on_disk_when_a_task_starts() {
    let world = World::new().await;
    let mut server = world.connect().await;
    let file = b"mounted".to_vec();
    let mut job = with_input(b"the input");
    job.mounts = vec![Mount { path: "/data/in.txt".to_owned(), digest: digest(&file), size: 7 }];
    server.job(1, &job).await;
    server.assign(1, 0..1).await;
    for _ in 0..3 {
        let (request, mut send, _recv) = server.blob_request().await;
        let asked = |bytes: &[u8]| format!("{request:?}").contains(&digest(bytes).short());
        let bytes: &[u8] = [COMPONENT, b"the input", &file].into_iter().find(|b| asked(b)).unwrap();
        send.send(&BlobReply::Found { size: bytes.len() as u64 }).await.unwrap();
        send.write_raw(bytes).await.unwrap();
        send.finish().unwrap();
    }
    settle().await;
    world.script.with_task(0, |task| {
        let [(guest, host)] = &task.job.mounts[..] else { panic!("{:?}", task.job.mounts) };
        assert_eq!(guest, "/data");
        assert_eq!(std::fs::read(host.join("in.txt")).unwrap(), file);
        let TaskInput::File(path) = &task.input else { panic!("{:?}", task.input) };
        assert_eq!(std::fs::read(path).unwrap(), b"the input");
    });
}

async fn live(
    server: &Server,
    request: LiveRequest,
) -> (wrun_net::SendStream, wrun_net::RecvStream) {
    let (mut send, recv) = server.connection.open().await.unwrap();
    send.send(&request).await.unwrap();
    (send, recv)
}

fn task(index: u32) -> TaskId {
    JobId(1).task(index)
}

async fn log_of(recv: &mut wrun_net::RecvStream) -> Option<String> {
    match recv.recv().await.unwrap() {
        Some(LiveReply::Log(chunk)) => Some(String::from_utf8_lossy(&chunk.data).into_owned()),
        Some(LiveReply::NotHere) => Some("not here".to_owned()),
        Some(LiveReply::Here) => Some("here".to_owned()),
        Some(LiveReply::Model(_)) => Some("a model".to_owned()),
        None => None,
    }
}

#[tokio::test]
async fn a_follower_gets_the_log_from_its_beginning_and_as_it_is_written() {
    let world = World::new().await;
    let server = world.assigned(0..3).await;
    let say = |index, text: &'static str| {
        world.script.act(index, |events, token| {
            events.log(token, LogStream::Stdout, Bytes::from_static(text.as_bytes()));
        });
    };
    say(0, "before ");
    let (_send, mut recv) = live(&server, LiveRequest::Follow(task(0))).await;
    assert_eq!(log_of(&mut recv).await.as_deref(), Some("before "));
    say(0, "after");
    assert_eq!(log_of(&mut recv).await.as_deref(), Some("after"));
    let (_send2, mut waiting) = live(&server, LiveRequest::Follow(task(2))).await;
    settle().await;
    world.script.succeed(0);
    assert_eq!(log_of(&mut recv).await, None, "the task has ended");
    say(2, "began later");
    assert_eq!(log_of(&mut waiting).await.as_deref(), Some("began later"));
    let (_send3, mut gone) = live(&server, LiveRequest::Follow(task(0))).await;
    assert_eq!(log_of(&mut gone).await.as_deref(), Some("not here"));
}

#[tokio::test]
async fn attached_input_reaches_the_guest_and_waits_while_it_does_not_read() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.job(1, &JobSpec { input: Input::Attached, count: 1, ..spec() }).await;
    server.assign(1, 0..1).await;
    server.serve_blob(COMPONENT).await;
    settle().await;
    let (mut send, _recv) = live(&server, LiveRequest::Attach(task(0))).await;
    let piece = Bytes::from(vec![b'i'; 256 << 10]);
    let mut sent = 0_u64;
    let blocked = loop {
        let data = Stdin::Data(piece.clone());
        let sending = send.send(&data);
        match tokio::time::timeout(std::time::Duration::from_secs(1), sending).await {
            Ok(result) => result.unwrap(),
            Err(_) => break true,
        }
        sent += piece.len() as u64;
        assert!(sent < 64 << 20, "the worker takes all of it");
    };
    assert!(blocked);
    let input = world.script.with_task(0, |task| std::mem::take(&mut task.input));
    let TaskInput::Stream(mut stream) = input else { panic!("{input:?}") };
    let mut read = 0;
    while read < sent {
        read += stream.recv().await.unwrap().len() as u64;
    }
}

#[tokio::test]
async fn the_end_of_attached_input_is_the_end_for_the_guest() {
    let world = World::new().await;
    let mut server = world.connect().await;
    server.job(1, &JobSpec { input: Input::Attached, count: 1, ..spec() }).await;
    server.assign(1, 0..1).await;
    server.serve_blob(COMPONENT).await;
    settle().await;
    let (mut send, mut recv) = live(&server, LiveRequest::Attach(task(0))).await;
    assert_eq!(log_of(&mut recv).await.as_deref(), Some("here"));
    send.send(&Stdin::Data(Bytes::from_static(b"all"))).await.unwrap();
    send.send(&Stdin::End).await.unwrap();
    let input = world.script.with_task(0, |task| std::mem::take(&mut task.input));
    let TaskInput::Stream(mut stream) = input else { panic!("{input:?}") };
    assert_eq!(stream.recv().await.as_deref(), Some(&b"all"[..]));
    assert_eq!(stream.recv().await, None);
}
