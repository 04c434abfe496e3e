//! Live logs and attachments: streams that the server opens while a task runs, or waits to. And
//! what there is to tell of a model, at the time that it is asked for.

use std::sync::Arc;

use wrun_net::{RecvStream, SendStream};
use wrun_protocol::TaskId;
use wrun_protocol::wire::user::{LogChunk, LogStream, Stdin};
use wrun_protocol::wire::worker::{LiveReply, LiveRequest};

use crate::blobs::{blocking, read_at};
use crate::executor::Executor;
use crate::floor::Floor;
use crate::log::{Piece, chunks};
use crate::models;
use crate::streams::Streams;

/// Serves one stream to its end.
pub(crate) async fn serve<E: Executor>(
    floor: &Floor<E>,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let (task, attached) = match recv.recv().await {
        Ok(Some(LiveRequest::Follow(task))) => (task, false),
        Ok(Some(LiveRequest::Attach(task))) => (task, true),
        Ok(Some(LiveRequest::Model { owner, version })) => {
            let engine = floor.executor().inference();
            let told = engine.and_then(|engine| models::told(engine, &owner, &version));
            // If the server is gone, there is nobody to tell.
            let _ = send.send(&LiveReply::Model(told.map(Box::new))).await;
            let _ = send.finish();
            return;
        }
        Ok(None) | Err(_) => return,
    };
    let Some(streams) = find(floor, task) else {
        // If the server is gone, there is nobody to tell.
        let _ = send.send(&LiveReply::NotHere).await;
        let _ = send.finish();
        return;
    };
    if attached && !admit(&streams, &mut send).await {
        return;
    }
    let follow = follow(&streams, &mut send);
    if attached {
        let feed = feed(&streams, &mut recv);
        tokio::pin!(follow);
        tokio::select! {
            () = &mut follow => return,
            () = feed => {}
        }
        follow.await;
    } else {
        follow.await;
    }
}

fn find<E: Executor>(floor: &Floor<E>, task: TaskId) -> Option<Arc<Streams>> {
    floor.slots().streams_of(task)
}

/// Says that input is taken, once there is a guest to take it: a task that waits may yet be
/// recalled, and what had been fed to it would be lost. `false` if the server left.
async fn admit(streams: &Streams, send: &mut SendStream) -> bool {
    tokio::select! {
        () = streams.stdin_taken() => {}
        // It has written, or ended without having started.
        () = streams.log.changed_at(0) => {}
        _ = send.stopped() => return false,
    }
    send.send(&LiveReply::Here).await.is_ok()
}

/// Sends the log from its beginning until the task has ended or the server wants no more.
async fn follow(streams: &Streams, send: &mut SendStream) {
    let mut position = 0;
    loop {
        let bytes = match streams.log.read(position) {
            Piece::Memory(bytes) => bytes,
            Piece::File { file, at, size } => {
                let read = blocking(move || read_at(&file, at, size as usize)).await;
                let Ok(Ok(bytes)) = read else { return send.reset(0) };
                bytes
            }
            Piece::Lost(next) => {
                let gone = format!("[wrun: {} older bytes are not kept]\n", next - position);
                let notice = LogChunk { stream: LogStream::Stderr, data: gone.into() };
                position = next;
                if send.send(&LiveReply::Log(notice)).await.is_err() {
                    return;
                }
                continue;
            }
            Piece::Wait => {
                tokio::select! {
                    () = streams.log.changed_at(position) => {}
                    _ = send.stopped() => return,
                }
                continue;
            }
            Piece::End => {
                let _ = send.finish();
                return;
            }
        };
        let (chunks, used) = chunks(&bytes);
        if used == 0 {
            return send.reset(0);
        }
        position += used as u64;
        let replies: Vec<_> = chunks.into_iter().map(LiveReply::Log).collect();
        if send.send_all(&replies).await.is_err() {
            return;
        }
    }
}

/// Feeds standard input. While the guest does not read, nothing is read here, and the
/// stream's own flow control makes the client wait.
async fn feed(streams: &Streams, recv: &mut RecvStream) {
    let Some(stdin) = streams.stdin() else { return };
    loop {
        match recv.recv().await {
            Ok(Some(Stdin::Data(bytes))) => {
                if stdin.send(bytes).await.is_err() {
                    // The guest reads no more.
                    return recv.stop(0);
                }
            }
            Ok(Some(Stdin::End) | None) => return streams.end_stdin(),
            // The connection broke: the client may attach again.
            Err(_) => return,
        }
    }
}
