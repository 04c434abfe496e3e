//! Logs and attachments: live from the worker, then from the record.

use wrun_net::{RecvStream, SendStream};
use wrun_protocol::job::{Input, RetryPolicy};
use wrun_protocol::task::{Content, Failure, Outcome, Usage};
use wrun_protocol::wire::user::{
    ErrorCode, JobState, LogChunk, LogStream, Request, Response, Stdin,
};
use wrun_protocol::wire::worker::{LiveReply, LiveRequest, Report, TaskResult};
use wrun_protocol::{JobSpec, TaskId};

use crate::harness::*;

/// Accepts the server's request for a live log.
async fn live(worker: &Worker) -> (LiveRequest, SendStream, RecvStream) {
    let (send, mut recv) = soon("a live request", worker.connection.accept()).await.unwrap();
    let request = recv.recv().await.unwrap().unwrap();
    (request, send, recv)
}

async fn text(answers: &mut Answers, wanted: usize) -> String {
    let mut text = String::new();
    while text.len() < wanted {
        match answers.next().await {
            Some(Response::Log(LogChunk { data, .. })) => {
                text.push_str(std::str::from_utf8(&data).unwrap());
            }
            other => panic!("after `{text}`: {other:?}"),
        }
    }
    text
}

fn out(text: &str) -> LogChunk {
    chunk(LogStream::Stdout, text)
}

#[tokio::test]
async fn a_followed_log_goes_from_the_worker_into_the_record_without_a_seam() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let mut answers = client.open(&Request::Logs { job, index: 0, follow: true }).await;
    let running = attempt(worker.assigned().await);
    let (request, mut send, _recv) = live(&worker).await;
    assert_eq!(request, LiveRequest::Follow(TaskId { job, index: 0 }));
    send.send(&LiveReply::Log(out("one "))).await.unwrap();
    assert_eq!(text(&mut answers, 4).await, "one ");
    send.send(&LiveReply::Log(out("two "))).await.unwrap();
    send.finish().unwrap();
    let recorded = log(&[out("one t"), out("wo three")]);
    worker.succeed(running, Some(Content::Inline(recorded.into()))).await;
    // A further request for the live log comes if the end is not yet recorded.
    let rest = tokio::select! {
        rest = text(&mut answers, 9) => rest,
        _ = async {
            loop {
                let (_, mut send, _recv) = live(&worker).await;
                let _ = send.send(&LiveReply::NotHere).await;
            }
        } => unreachable!(),
    };
    assert_eq!(rest, "two three");
    assert_eq!(answers.next().await, Some(Response::Done));
}

#[tokio::test]
async fn an_attempt_that_was_over_too_soon_is_shown_from_its_record() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let retry = RetryPolicy { retries: 2, backoff_ms: 50, ..RetryPolicy::default() };
    let spec = JobSpec { retry, ..client.program().await };
    let job = client.submit_as(1, &spec).await.unwrap();
    let mut answers = client.open(&Request::Logs { job, index: 0, follow: true }).await;
    // It asks while each attempt runs, and hears nothing of it.
    let connection = worker.connection.clone();
    let deaf = tokio::spawn(async move {
        while let Ok((mut send, _recv)) = connection.accept().await {
            let _ = send.send(&LiveReply::NotHere).await;
        }
    });
    for (said, code) in [("one ", 7), ("two ", 7), ("three", 0)] {
        let running = attempt(worker.assigned().await);
        let outcome = match code {
            0 => Outcome::Succeeded,
            code => Outcome::Failed(Failure::Exit { code }),
        };
        let log = Some(Content::Inline(log(&[out(said)]).into()));
        let result = TaskResult { outcome, usage: Usage::default(), output: None, log };
        worker.report(vec![Report::Ended { attempt: running, result: Box::new(result) }]).await;
    }
    assert_eq!(text(&mut answers, 13).await, "one two three");
    assert_eq!(answers.next().await, Some(Response::Done));
    deaf.abort();
}

#[tokio::test]
async fn a_log_that_is_not_followed_ends_with_what_there_is() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let job = client.submit(1).await;
    let request = Request::Logs { job, index: 0, follow: false };
    let running = attempt(worker.assigned().await);
    let mut answers = client.open(&request).await;
    let (_, mut send, _recv) = live(&worker).await;
    send.send(&LiveReply::Log(out("so far"))).await.unwrap();
    assert_eq!(text(&mut answers, 6).await, "so far");
    assert_eq!(answers.next().await, Some(Response::Done));
    let recorded = log(&[out("so far"), out(" so good")]);
    worker.succeed(running, Some(Content::Inline(recorded.into()))).await;
    client.end(job).await;
    let mut answers = client.open(&request).await;
    assert_eq!(text(&mut answers, 14).await, "so far so good");
    assert_eq!(answers.next().await, Some(Response::Done));
    let error = client.refusal(Request::Logs { job, index: 1, follow: true }).await;
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
}

#[tokio::test]
async fn an_attached_client_s_input_reaches_the_task_and_its_output_the_client() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let mut worker = cluster.worker("a").await;
    let spec = JobSpec { input: Input::Attached, ..client.program().await };
    let job = client.submit_as(1, &spec).await.unwrap();
    let mut answers = client.open(&Request::Attach(job)).await;
    let running = attempt(worker.assigned().await);
    let (request, mut send, mut recv) = live(&worker).await;
    assert_eq!(request, LiveRequest::Attach(job.task(0)));
    answers.send.send(&Stdin::Data("hello".into())).await.unwrap();
    answers.send.send(&Stdin::End).await.unwrap();
    // Asked before the task came to it: what was typed is kept for the next time.
    send.send(&LiveReply::NotHere).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon("no input", recv.recv::<Stdin>()).await.unwrap(), None);
    let (_, mut send, mut recv) = live(&worker).await;
    send.send(&LiveReply::Here).await.unwrap();
    assert_eq!(soon("input", recv.recv()).await.unwrap(), Some(Stdin::Data("hello".into())));
    assert_eq!(soon("its end", recv.recv()).await.unwrap(), Some(Stdin::End));
    send.send(&LiveReply::Log(out("HELLO"))).await.unwrap();
    assert_eq!(text(&mut answers, 5).await, "HELLO");
    worker.succeed(running, Some(Content::Inline(log(&[out("HELLO")]).into()))).await;
    client.end(job).await;
    send.finish().unwrap();
    let Some(Response::Progress(last)) = answers.next().await else { panic!("no progress") };
    assert_eq!(last.state, JobState::Succeeded);
    assert_eq!(answers.next().await, None);
}

#[tokio::test]
async fn an_array_cannot_be_attached_to() {
    let cluster = Cluster::start().await;
    let client = cluster.user("lab");
    let spec = JobSpec { count: 2, ..client.program().await };
    let job = client.submit_as(1, &spec).await.unwrap();
    assert_eq!(client.refusal(Request::Attach(job)).await.code, ErrorCode::Conflict);
}
