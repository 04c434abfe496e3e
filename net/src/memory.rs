//! Connections without a network: the same types over bounded pipes, for tests. They wait,
//! end and fail as connections over QUIC do; they have no latency and no loss.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, mpsc, watch};

use crate::certificate::Peer;
use crate::connection::Connection;
use crate::error::Closed;

mod pipe;

pub(crate) use pipe::{Reader, Writer};

/// Streams of one side that may be open at once.
const STREAMS: usize = 1024;

/// Two ends of one connection: the first sees `b` as its peer, the second sees `a`. That
/// is, the first is held by `a`, the second by `b`.
pub fn pair(a: Peer, b: Peer) -> (Connection, Connection) {
    let (ended, _) = watch::channel(None);
    let ended = Arc::new(ended);
    let (to_b, from_a) = mpsc::channel(STREAMS);
    let (to_a, from_b) = mpsc::channel(STREAMS);
    let end = |side, outgoing, incoming| End {
        handle: Arc::new(Handle { side, ended: Arc::clone(&ended) }),
        outgoing,
        incoming: Mutex::new(incoming),
        streams: Arc::new(Semaphore::new(STREAMS)),
    };
    let (first, second) = (end(Side::A, to_b, from_b), end(Side::B, to_a, from_a));
    (Connection::in_memory(first, b), Connection::in_memory(second, a))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

/// Who ended the connection, with which code and words.
type Ended = Option<(Side, u32, String)>;

/// Keeps one side of a connection open: held by the connection and by every stream that
/// this side has opened or accepted. Dropping the last one closes it.
pub(crate) struct Handle {
    side: Side,
    ended: Arc<watch::Sender<Ended>>,
}

impl Handle {
    fn close(&self, code: u32, words: &str) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some((self.side, code, words.to_owned()));
            }
            first
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close(0, "");
    }
}

/// One side of a connection.
pub(crate) struct End {
    handle: Arc<Handle>,
    outgoing: mpsc::Sender<(Writer, Reader)>,
    incoming: Mutex<mpsc::Receiver<(Writer, Reader)>>,
    streams: Arc<Semaphore>,
}

/// What lets a pipe notice the end of its connection.
pub(crate) struct Watch {
    side: Side,
    ended: watch::Receiver<Ended>,
}

impl Watch {
    fn reason(&self) -> Option<Closed> {
        reason(self.side, &self.ended.borrow())
    }

    async fn closed(&mut self) -> Closed {
        loop {
            if let Some(closed) = self.reason() {
                return closed;
            }
            if self.ended.changed().await.is_err() {
                return Closed::Lost("both sides are gone".to_owned());
            }
        }
    }
}

fn reason(side: Side, ended: &Ended) -> Option<Closed> {
    ended.as_ref().map(|(by, code, reason)| {
        if *by == side {
            Closed::Local
        } else {
            Closed::Peer { code: *code, reason: reason.clone() }
        }
    })
}

impl End {
    fn watch(&self, side: Side) -> Watch {
        Watch { side, ended: self.handle.ended.subscribe() }
    }

    fn other(&self) -> Side {
        if self.handle.side == Side::A { Side::B } else { Side::A }
    }

    pub(crate) async fn open(&self) -> Result<(Writer, Reader), Closed> {
        let streams = Arc::clone(&self.streams);
        let permit = tokio::select! {
            biased;
            closed = self.closed() => return Err(closed),
            permit = streams.acquire_owned() => Arc::new(permit.map_err(|_| Closed::Local)?),
        };
        let (near, far) = (self.handle.side, self.other());
        let (writer, far_reader) = pipe::pipe(self.watch(near), self.watch(far), &permit);
        let (far_writer, reader) = pipe::pipe(self.watch(far), self.watch(near), &permit);
        tokio::select! {
            biased;
            closed = self.closed() => Err(closed),
            sent = self.outgoing.send((far_writer, far_reader)) => match sent {
                Ok(()) => Ok(self.keeping((writer, reader))),
                Err(_) => Err(self.closed().await),
            },
        }
    }

    pub(crate) async fn accept(&self) -> Result<(Writer, Reader), Closed> {
        let mut incoming = self.incoming.lock().await;
        tokio::select! {
            biased;
            closed = self.closed() => Err(closed),
            stream = incoming.recv() => match stream {
                Some(stream) => Ok(self.keeping(stream)),
                None => Err(self.closed().await),
            },
        }
    }

    pub(crate) async fn closed(&self) -> Closed {
        self.watch(self.handle.side).closed().await
    }

    pub(crate) fn close_reason(&self) -> Option<Closed> {
        reason(self.handle.side, &self.handle.ended.borrow())
    }

    pub(crate) fn close(&self, code: u32, words: &str) {
        self.handle.close(code, words);
    }

    /// A stream in use keeps its side of the connection open. One that nobody has accepted
    /// does not: it would keep itself.
    fn keeping(&self, (mut writer, mut reader): (Writer, Reader)) -> (Writer, Reader) {
        writer.keep(&self.handle);
        reader.keep(&self.handle);
        (writer, reader)
    }
}
