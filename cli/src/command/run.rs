//! `wrun run`: a job as if it were a process here. One task streams through the terminal;
//! an array shows its progress and then each task's output in order of index.

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use wrun_component::Kind;
use wrun_net::SendStream;
use wrun_protocol::job::Input;
use wrun_protocol::wire::user::{
    JobProgress, LogChunk, LogStream, RememberedTasks, Request, Response, Stdin,
};
use wrun_protocol::{JobId, JobSpec};

use super::process::Signals;
use super::{Context, Ended, logs, output, wait, workflow};
use crate::client::{Answers, Client, remembered, submit, unexpected};
use crate::console::Console;
use crate::error::Error;
use crate::exit::Exit;
use crate::plan::{self, Plan};
use crate::report::{human, json};
use crate::syntax::work::Run;
use crate::workflowfile;

/// Bytes of standard input sent in one frame.
const STDIN_CHUNK: usize = 64 << 10;

/// Submits, streams, and ends as the guest does.
pub(crate) async fn run(context: &Context, args: &Run) -> Ended {
    if let Some(workflow) = workflowfile::of_work(&args.work)? {
        return workflow::run(context, &workflow).await;
    }
    let job = plan::load(Plan::of(&args.work)?, true)?;
    let console = context.console;
    let mut client = Client::connect(context.global.credential.as_ref()).await?;
    let id = submit::submit(&mut client, console, &job).await?;
    if console.wants_json() {
        console.json(&json::Event::Submitted { job: id.0 })?;
    }
    let known = remembered::fetch(&client, id, Some(&job.spec)).await?;
    tell_remembered(console, id, &known, job.spec.count)?;
    let mut signals = Signals::listen()?;
    let ended = {
        let mut canceller = client.clone();
        let attached = async {
            if job.spec.count == 1 {
                one(&client, console, id, &job.spec, job.kind).await
            } else {
                array(&mut client.clone(), console, id, job.kind).await
            }
        };
        tokio::pin!(attached);
        tokio::select! {
            ended = &mut attached => ended,
            () = signals.next() => {
                if !console.wants_json() {
                    console.note(format_args!("cancelling job {id}; Ctrl-C again to leave at once"));
                }
                signals.unless_again(async {
                    let (_, ended) = tokio::join!(cancel(&mut canceller, id), attached);
                    ended
                }).await
            }
        }
    };
    match ended {
        Err(error) if error.is_silent() => {
            // Nobody reads the output any more, as in a pipe to `head`: the work is for nobody.
            let _ = client.done(&Request::Cancel(id)).await;
            client.close().await;
            Err(error)
        }
        Err(error) if error.exit() == Exit::Unavailable => {
            Err(error
                .todo(format_args!("the job goes on: see `wrun wait {id}` and `wrun logs {id}`")))
        }
        ended => {
            client.close().await;
            ended
        }
    }
}

/// Says what does not run.
fn tell_remembered(
    console: Console,
    job: JobId,
    known: &[RememberedTasks],
    count: u32,
) -> Result<(), Error> {
    if known.is_empty() {
        return Ok(());
    }
    if console.wants_json() {
        let remembered = known.iter().map(Into::into).collect();
        return console.json(&json::Event::Remembered { job: job.0, remembered });
    }
    let origins = remembered::origins(known);
    match (count, remembered::count(known)) {
        (1, _) => console.note(format_args!("job {job}: remembered from {origins}, not run")),
        (count, known) => {
            let what = format!("{known} of {count} tasks remembered from {origins}, not run");
            console.note(format_args!("job {job}: {what}"));
        }
    }
    Ok(())
}

async fn cancel(client: &mut Client, job: JobId) {
    // Refused where the job has just ended, which is what was wanted.
    let _ = client.done(&Request::Cancel(job)).await;
}

async fn one(client: &Client, console: Console, id: JobId, spec: &JobSpec, kind: Kind) -> Ended {
    let (stdin, answers) = client.open(&Request::Attach(id)).await?;
    let feeds = matches!(spec.input, Input::Attached);
    let reading = read_answers(console, answers);
    tokio::pin!(reading);
    let last = tokio::select! {
        last = &mut reading => last,
        stream = feed(stdin, feeds) => {
            // The stream stays open until the end: closing it says that the client left.
            let last = reading.await;
            drop(stream);
            last
        }
    };
    let last = match last {
        Err(error) if !error.is_silent() && error.exit() != Exit::Unavailable => {
            ended(client, id).await.ok_or(error)?
        }
        last => last?,
    };
    let exit = match &last.failure {
        Some(outcome) => Exit::of_outcome(outcome),
        None => wait::exit_of(last.state),
    };
    if last.state.is_terminal() && exit == Exit::Success && kind == Kind::Handler {
        output::print_task(client, console, id, 0, true).await?;
    }
    if console.wants_json() {
        wait::tell_end(console, id, &last, exit)?;
    } else if let Some(failure) = &last.failure
        && !matches!(exit, Exit::Guest(_))
    {
        let failure = crate::report::table::clean(&human::outcome(failure));
        console.error(&Error::new(exit, format!("job {id}: {failure}")));
    }
    Ok(exit)
}

/// How a job ended whose stream was refused: one that was cancelled has nothing to stream.
async fn ended(client: &Client, job: JobId) -> Option<JobProgress> {
    let detail = logs::detail(client, job).await.ok()?;
    let (state, tasks) = (detail.summary.state, detail.summary.tasks);
    state.is_terminal().then_some(JobProgress { state, tasks, failure: detail.failure })
}

/// Sends standard input until it ends or the guest wants no more of it.
async fn feed(mut stream: SendStream, feeds: bool) -> SendStream {
    if !feeds {
        return stream;
    }
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; STDIN_CHUNK];
    loop {
        // A standard input that cannot be read has ended, as for any program.
        let read = stdin.read(&mut buffer).await.unwrap_or(0);
        let frame = match buffer.get(..read) {
            Some(chunk) if !chunk.is_empty() => Stdin::Data(Bytes::copy_from_slice(chunk)),
            _ => Stdin::End,
        };
        let is_end = frame == Stdin::End;
        if stream.send(&frame).await.is_err() || is_end {
            return stream;
        }
    }
}

async fn read_answers(console: Console, mut answers: Answers) -> Result<JobProgress, Error> {
    loop {
        match answers.one().await? {
            Response::Log(chunk) => print(console, 0, None, &chunk)?,
            Response::Progress(progress) if progress.state.is_terminal() => return Ok(progress),
            Response::Progress(_) => {}
            other => return Err(unexpected(&other)),
        }
    }
}

/// A piece of the guest's output, to the stream it came from; of a service's replica with its
/// revision.
pub(crate) fn print(
    console: Console,
    task: u32,
    revision: Option<u32>,
    chunk: &LogChunk,
) -> Result<(), Error> {
    if !console.wants_json() {
        return print_raw(console, chunk);
    }
    let stream = match chunk.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    let data = chunk.data.as_ref().into();
    console.json(&json::Event::Log { task, revision, stream, data })
}

/// The same as it is.
pub(crate) fn print_raw(console: Console, chunk: &LogChunk) -> Result<(), Error> {
    match chunk.stream {
        LogStream::Stdout => console.bytes(&chunk.data),
        LogStream::Stderr => {
            console.error_bytes(&chunk.data);
            Ok(())
        }
    }
}

async fn array(client: &mut Client, console: Console, id: JobId, kind: Kind) -> Ended {
    let last = wait::follow(client, console, id).await?;
    let count = u32::try_from(human::total(&last.tasks)).unwrap_or(u32::MAX);
    for index in 0..count {
        logs::print_task(client, console, id, index, false, None).await?;
        if kind == Kind::Handler {
            output::print_task(client, console, id, index, true).await?;
        }
    }
    let exit = wait::exit_of(last.state);
    wait::tell_end(console, id, &last, exit)?;
    Ok(exit)
}
