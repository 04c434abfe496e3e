//! A running attempt's log, passed on from its worker to a client as it is written, and
//! the client's standard input the other way. Either side that does not read makes the
//! other wait: nothing is kept here.

use std::time::Duration;

use tokio::sync::Notify;
use wrun_net::{RecvStream, SendStream};
use wrun_protocol::wire::user::{LogChunk, Response, Stdin};
use wrun_protocol::wire::worker::{LiveReply, LiveRequest};
use wrun_protocol::{NodeId, TaskId};

use super::Failure;
use crate::shared::Shared;

/// Bytes of log in one frame to a client.
const CHUNK: usize = 256 << 10;

/// A client's end of a log: knows how much of which attempt it has been sent, so that the
/// log can be taken up again from another source, be it the worker or the record.
pub(super) struct LogSink<'a> {
    pub(super) send: &'a mut SendStream,
    attempt: u32,
    shown: u64,
    passed: u64,
}

impl<'a> LogSink<'a> {
    pub(super) fn new(send: &'a mut SendStream) -> Self {
        Self { send, attempt: 0, shown: 0, passed: 0 }
    }

    /// A source of `attempt`'s log begins at its beginning. `false` where a later attempt
    /// has been shown already.
    pub(super) fn begin(&mut self, attempt: u32) -> bool {
        if attempt > self.attempt {
            self.attempt = attempt;
            self.shown = 0;
        }
        self.passed = 0;
        attempt == self.attempt
    }

    /// Whether an attempt before this one is being shown.
    pub(super) fn is_behind(&self, attempt: u32) -> bool {
        (1..attempt).contains(&self.attempt)
    }

    /// Sends what of `chunk` was not sent yet.
    pub(super) async fn chunk(&mut self, chunk: LogChunk) -> Result<(), Failure> {
        let LogChunk { stream, mut data } = chunk;
        let known = self.shown.saturating_sub(self.passed);
        self.passed += data.len() as u64;
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
        let _ = data.split_to(known);
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CHUNK));
            let size = piece.len() as u64;
            self.send.send(&Response::Log(LogChunk { stream, data: piece })).await?;
            self.shown += size;
        }
        Ok(())
    }
}

/// A client's standard input.
pub(super) struct StdinSource<'a> {
    pub(super) recv: &'a mut RecvStream,
    pub(super) ended: bool,
}

/// Why passing on ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LiveEnd {
    /// The attempt has ended; its result is reported, or about to be.
    Ended,
    /// The worker does not run it, or is not reached.
    NotHere,
    /// Nothing came for as long as the caller was willing to wait.
    Quiet,
}

/// Passes the log of a task's running attempt on until one of the ends.
pub(super) async fn pass_on(
    shared: &Shared,
    node: NodeId,
    task: TaskId,
    sink: &mut LogSink<'_>,
    stdin: Option<&mut StdinSource<'_>>,
    quiet: Option<Duration>,
) -> Result<LiveEnd, Failure> {
    let Some(connection) = shared.nodes.connection(node) else { return Ok(LiveEnd::NotHere) };
    let Ok((mut to_worker, mut from_worker)) = connection.open().await else {
        return Ok(LiveEnd::NotHere);
    };
    let request = match &stdin {
        Some(_) => LiveRequest::Attach(task),
        None => LiveRequest::Follow(task),
    };
    if to_worker.send(&request).await.is_err() {
        return Ok(LiveEnd::NotHere);
    }
    let here = Notify::new();
    tokio::select! {
        end = pass_log(&mut from_worker, sink, quiet, &here) => end,
        never = pass_stdin(stdin, &mut to_worker, &here) => match never {},
    }
}

async fn pass_log(
    from_worker: &mut RecvStream,
    sink: &mut LogSink<'_>,
    quiet: Option<Duration>,
    here: &Notify,
) -> Result<LiveEnd, Failure> {
    loop {
        let next = async {
            match quiet {
                None => Some(from_worker.recv::<LiveReply>().await),
                Some(longest) => tokio::time::timeout(longest, from_worker.recv()).await.ok(),
            }
        };
        let next = tokio::select! {
            next = next => next,
            _ = sink.send.stopped() => return Err(Failure::Gone),
        };
        match next {
            Some(Ok(Some(LiveReply::Log(chunk)))) => sink.chunk(chunk).await?,
            Some(Ok(Some(LiveReply::Here))) => here.notify_one(),
            Some(Ok(None)) => return Ok(LiveEnd::Ended),
            Some(Ok(Some(LiveReply::NotHere | LiveReply::Model(_))) | Err(_)) => {
                return Ok(LiveEnd::NotHere);
            }
            None => return Ok(LiveEnd::Quiet),
        }
    }
}

/// Passes standard input on to its end, then waits to be dropped. Nothing is read before
/// the worker says that the task is `here`: a worker that has not got the task yet would
/// drop it. What was read is the attempt's: a later attempt reads on from there.
async fn pass_stdin(
    stdin: Option<&mut StdinSource<'_>>,
    to_worker: &mut SendStream,
    here: &Notify,
) -> std::convert::Infallible {
    if let Some(stdin) = stdin {
        here.notified().await;
        while !stdin.ended {
            match stdin.recv.recv::<Stdin>().await {
                Ok(Some(Stdin::Data(data))) => {
                    if to_worker.send(&Stdin::Data(data)).await.is_err() {
                        break;
                    }
                }
                Ok(Some(Stdin::End) | None) | Err(_) => stdin.ended = true,
            }
        }
        if stdin.ended {
            // A worker that is gone needs no end of input.
            let _ = to_worker.send(&Stdin::End).await;
        }
    }
    std::future::pending().await
}
