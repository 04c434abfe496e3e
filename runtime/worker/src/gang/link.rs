//! Writing to one node what the tasks of a gang here send to those there: opens the stream,
//! writes what may leave, and hears what the other side has room for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use wrun_net::{RecvError, RecvStream, SendError, SendStream};
use wrun_protocol::NodeId;
use wrun_protocol::codec::append_frame;
use wrun_protocol::wire::peer::{FromPeer, Refusal, ToPeer, stream_code};
use wrun_sandbox::GangError;

use super::attempt::Gang;
use super::flow::Leaving;
use crate::peers::InUse;

/// How long a node may take to be reached and to know of the gang: it was told when this
/// one was.
const OPEN_FOR: Duration = Duration::from_secs(10);

/// How long one attempt to open may take: the node may have been started again meanwhile,
/// and its old connection not be known to be dead.
const TRY_FOR: Duration = Duration::from_secs(3);

/// Pauses between attempts to open, which double.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Messages from this size on are written without being copied together with others.
const ALONE: usize = 16 << 10;

/// Why a stream has ended.
enum End {
    /// The gang is over, here or there.
    Over,
    /// The node cannot be reached, or does not do as it should.
    Lost(String),
}

/// An open stream.
type Opened = (SendStream, RecvStream, InUse);

/// Serves the gang's tasks here that send to `node`, until it is over.
pub(super) async fn run(gang: Arc<Gang>, node: NodeId, wake: Arc<Notify>) {
    let served = async {
        let (mut send, mut recv, _connection) = open(&gang, node).await?;
        let end = tokio::select! {
            end = write(&gang, node, &wake, &mut send) => end,
            end = hear(&gang, node, &mut recv) => end,
            () = gang.until_over() => End::Over,
        };
        send.reset(stream_code::OVER);
        Err::<(), End>(end)
    };
    match served.await {
        Ok(()) => {}
        Err(End::Over) => gang.close(GangError::Stopping),
        Err(End::Lost(why)) => gang.lose(node, &why),
    }
}

/// Opens the stream; tries again for a while, since nothing was sent yet.
async fn open(gang: &Gang, node: NodeId) -> Result<Opened, End> {
    let until = Instant::now() + OPEN_FOR;
    let mut pause = FIRST_PAUSE;
    loop {
        let tried = tokio::select! {
            tried = timeout(TRY_FOR, try_open(gang, node)) => tried,
            () = gang.until_over() => return Err(End::Over),
        };
        let problem = match tried {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(OpenError::Refused(Refusal::Stale { .. }))) => return Err(End::Over),
            Ok(Err(OpenError::Refused(refusal))) => format!("it refuses: {refusal:?}"),
            Ok(Err(OpenError::Failed(problem))) => problem,
            Err(_) => {
                if let Some(peers) = gang.peers() {
                    peers.avoid(node).await;
                }
                "it does not answer".to_owned()
            }
        };
        if Instant::now() + pause >= until {
            return Err(End::Lost(problem));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum OpenError {
    Refused(Refusal),
    Failed(String),
}

impl OpenError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn try_open(gang: &Gang, node: NodeId) -> Result<Opened, OpenError> {
    let peers = gang.peers().ok_or_else(|| OpenError::of("this node reaches no others"))?;
    let address = gang.address(node);
    let address = address.ok_or_else(|| OpenError::of("it has not said where it listens"))?;
    let connection = peers.connection(node, address).await.map_err(OpenError::of)?;
    let (mut send, mut recv) = connection.open().await.map_err(OpenError::of)?;
    let first = FromPeer::Open { job: gang.job, attempt: gang.attempt };
    send.send(&first).await.map_err(OpenError::of)?;
    match recv.recv::<ToPeer>().await {
        Ok(Some(ToPeer::Opened)) => Ok((send, recv, connection)),
        Ok(Some(ToPeer::Refused(refusal))) => Err(OpenError::Refused(refusal)),
        Ok(_) => Err(OpenError::of("it answers what was not asked")),
        Err(error) => Err(OpenError::of(error)),
    }
}

async fn write(gang: &Gang, node: NodeId, wake: &Notify, send: &mut SendStream) -> End {
    loop {
        let leaving = gang.leaving(node);
        if leaving.is_empty() {
            wake.notified().await;
            continue;
        }
        match write_batch(leaving, send).await {
            Ok(()) => {}
            Err(SendError::Stopped(stream_code::OVER)) => return End::Over,
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}

async fn write_batch(leaving: Vec<Leaving>, send: &mut SendStream) -> Result<(), SendError> {
    let mut buffer = Vec::new();
    for (frame, message) in leaving {
        append_frame(&mut buffer, &frame)?;
        let Some(message) = message else { continue };
        if message.content.len() < ALONE {
            buffer.extend_from_slice(&message.content);
            continue;
        }
        send.write_raw(&buffer).await?;
        buffer.clear();
        let content = message.content.clone();
        // The message stays charged to its sender until it was written.
        send.write_chunks(&mut [content]).await?;
    }
    send.write_raw(&buffer).await
}

async fn hear(gang: &Arc<Gang>, node: NodeId, recv: &mut RecvStream) -> End {
    loop {
        match recv.recv::<ToPeer>().await {
            Ok(Some(reply)) => {
                if let Err(violation) = gang.on_reply(node, reply) {
                    return End::Lost(violation.to_owned());
                }
            }
            Ok(None) => return End::Over,
            Err(RecvError::Reset(stream_code::OVER)) => return End::Over,
            Err(error) => return End::Lost(error.to_string()),
        }
    }
}
