//! The connection to the server: made, made again after a growing pause, and turned into
//! messages for the agent. Knows nothing of what the messages mean.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use wrun_net::{Closed, ConnectError, Connection, Identity, RecvStream, SendStream, close_code};
use wrun_protocol::wire::worker::{FromWorker, ToWorker};

use crate::executor::Executor;
use crate::floor::Floor;
use crate::live;

/// Messages taken off the stream at once.
const BATCH: usize = 256;

/// Batches between the connection and the agent, each way. One on the way out, so that
/// the agent gathers while the last one is being written.
pub(crate) const INWARD: usize = 16;
const OUTWARD: usize = 1;

/// Live logs and attachments served at once; further ones are turned away.
const LIVE: usize = 256;

/// The longest pause between attempts to connect: a server that is back must hear of its
/// workers well within their lease.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long the last messages may take to reach the server when the worker leaves.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(crate) type Dialing<'a> =
    Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + 'a>>;

/// How to reach the server.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A new connection.
    fn dial(&self) -> Dialing<'_>;
}

/// Over QUIC.
pub(crate) struct QuicDial {
    pub(crate) server: String,
    pub(crate) identity: Identity,
    pub(crate) authority: Vec<u8>,
}

impl Dial for QuicDial {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(wrun_net::connect(&self.server, &self.identity, &self.authority))
    }
}

/// What the agent hears of the connection, in order.
pub(crate) enum LinkEvent {
    /// There is a session; the first message is the agent's to send.
    Connected(mpsc::Sender<Vec<FromWorker>>, Connection),
    /// The server said this.
    Received(Vec<ToWorker>),
    /// The session is over.
    Lost,
}

/// Pauses that grow, with a random part so that a cluster does not come back at once.
struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        // Between half and the whole of it.
        pause / 2 + pause.mul_f64((random() % 1000) as f64 / 2000.0)
    }
}

/// A random number: what the standard library seeds its hashes with.
pub(crate) fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Keeps a session up until the agent hears no more.
pub(crate) async fn run<E: Executor>(
    dial: Box<dyn Dial>,
    first_pause: Duration,
    floor: Arc<Floor<E>>,
    events: mpsc::Sender<LinkEvent>,
    current: watch::Sender<Option<Connection>>,
) {
    let mut backoff = Backoff::new(first_pause);
    let mut told = String::new();
    while !events.is_closed() {
        match dial.dial().await {
            Ok(connection) => {
                told.clear();
                current.send_replace(Some(connection.clone()));
                if session(&connection, &floor, &events).await {
                    backoff.reset();
                }
                current.send_replace(None);
                if events.send(LinkEvent::Lost).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let text = error.to_string();
                // Once per kind of trouble, not once per attempt.
                if text != told {
                    tracing::warn!(%error, "cannot reach the server; trying again");
                    told = text;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = events.closed() => return,
        }
    }
}

/// One session. Says whether the server ever spoke on it.
async fn session<E: Executor>(
    connection: &Connection,
    floor: &Arc<Floor<E>>,
    events: &mpsc::Sender<LinkEvent>,
) -> bool {
    let Ok((send, mut recv)) = connection.open().await else { return false };
    let (outgoing, batches) = mpsc::channel(OUTWARD);
    if events.send(LinkEvent::Connected(outgoing, connection.clone())).await.is_err() {
        connection.close(close_code::GOING_AWAY, "the worker stopped");
        return false;
    }
    let writer = tokio::spawn(write(send, batches, connection.clone()));
    let streams = tokio::spawn(accept(connection.clone(), floor.clone()));
    let spoke = read(&mut recv, events, connection).await;
    streams.abort();
    // It ends once the agent has dropped its side or the connection is gone.
    connection.close(close_code::DONE, "the session is over");
    writer.abort();
    spoke
}

async fn read(
    recv: &mut RecvStream,
    events: &mpsc::Sender<LinkEvent>,
    connection: &Connection,
) -> bool {
    let mut spoke = false;
    loop {
        let mut messages = Vec::new();
        match recv.recv_many(&mut messages, BATCH).await {
            Ok(0) => {
                tracing::info!("the server ended the session");
                return spoke;
            }
            Ok(_) => spoke = true,
            Err(error) => {
                // What closed the connection says more than the stream that broke with it.
                match connection.close_reason() {
                    Some(reason @ Closed::Peer { code: close_code::DENIED, .. }) => {
                        tracing::warn!(%reason, "the server turns this node away");
                    }
                    Some(reason) => tracing::info!(%reason, "the session is over"),
                    None => tracing::warn!(%error, "the session is over"),
                }
                return spoke;
            }
        }
        if events.send(LinkEvent::Received(messages)).await.is_err() {
            return spoke;
        }
    }
}

async fn write(
    mut send: SendStream,
    mut batches: mpsc::Receiver<Vec<FromWorker>>,
    connection: Connection,
) {
    while let Some(batch) = batches.recv().await {
        if let Err(error) = send.send_all(&batch).await {
            tracing::debug!(%error, "the session can no longer be written");
            connection.close(close_code::GOING_AWAY, "the session broke");
            return;
        }
    }
    // The agent has said its last word.
    let _ = tokio::time::timeout(LAST_WORDS, send.finish_and_wait()).await;
    connection.close_and_flush(close_code::DONE, "the worker has nothing more to say").await;
}

/// Serves the streams that the server opens.
async fn accept<E: Executor>(connection: Connection, floor: Arc<Floor<E>>) {
    let places = Arc::new(Semaphore::new(LIVE));
    while let Ok((send, recv)) = connection.accept().await {
        // Dropping the streams turns the server away.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let floor = floor.clone();
        tokio::spawn(async move {
            live::serve(&floor, send, recv).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_again_after_a_session() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        for wanted in [100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = backoff.pause().as_millis();
            assert!((wanted / 2..=wanted).contains(&pause), "{pause} of {wanted}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
