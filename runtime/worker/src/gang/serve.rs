//! Reading what the tasks of a gang on another node send to those here. Whoever reads never
//! waits for a task: what comes was allowed, and there is room for it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use wrun_net::{RecvError, RecvStream, SendStream};
use wrun_protocol::wire::peer::{FromPeer, ToPeer, stream_code};
use wrun_protocol::{JobId, NodeId};
use wrun_sandbox::GangError;

use super::attempt::Gang;
use super::registry::Gangs;

/// Why reading has ended.
enum End {
    Over,
    Lost(String),
}

/// Serves one stream that `node` has opened for an attempt of a gang, to its end.
pub(crate) async fn serve(
    gangs: &Gangs,
    node: NodeId,
    (job, attempt): (JobId, u32),
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let gang = match gangs.opened(node, job, attempt) {
        Ok(gang) => gang,
        Err(refusal) => {
            tracing::debug!(%job, attempt, %node, ?refusal, "refused a stream of a gang");
            // If the other side has gone, there is nobody to tell.
            let _ = send.send(&ToPeer::Refused(refusal)).await;
            return drop(send.finish_and_wait().await);
        }
    };
    let wake = gang.begin_replies(node);
    if send.send(&ToPeer::Opened).await.is_err() {
        // Nothing was sent yet: the other side opens another stream.
        return;
    }
    let end = tokio::select! {
        end = read(&gang, node, &mut recv) => end,
        end = answer(&gang, node, &wake, &mut send) => end,
        () = gang.until_over() => End::Over,
    };
    send.reset(stream_code::OVER);
    recv.stop(stream_code::OVER);
    match end {
        End::Over => gang.close(GangError::Stopping),
        End::Lost(why) => gang.lose(node, &why),
    }
}

async fn read(gang: &Arc<Gang>, node: NodeId, recv: &mut RecvStream) -> End {
    loop {
        let frame = match recv.recv::<FromPeer>().await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(RecvError::Reset(stream_code::OVER)) => return End::Over,
            Err(error) => return End::Lost(error.to_string()),
        };
        let content = match gang.admit(node, &frame) {
            Ok(None) => Bytes::new(),
            Ok(Some((size, taken))) => match content(recv, size, taken).await {
                Ok(content) => content,
                Err(RecvError::Reset(stream_code::OVER)) => return End::Over,
                Err(error) => return End::Lost(error.to_string()),
            },
            Err(violation) => return End::Lost(violation.to_owned()),
        };
        if let Err(violation) = gang.on_frame(node, frame, content) {
            return End::Lost(violation.to_owned());
        }
    }
}

/// The bytes of a message; of one that nobody takes, none are kept.
async fn content(recv: &mut RecvStream, size: u32, taken: bool) -> Result<Bytes, RecvError> {
    let size = size as usize;
    if taken {
        let mut content = vec![0; size];
        recv.read_exact(&mut content).await?;
        return Ok(content.into());
    }
    let mut left = size;
    while left > 0 {
        match recv.read_chunk(left).await? {
            Some(chunk) => left -= chunk.len(),
            None => return Err(RecvError::Truncated { wanted: size as u64, got: 0 }),
        }
    }
    Ok(Bytes::new())
}

async fn answer(gang: &Gang, node: NodeId, wake: &Arc<Notify>, send: &mut SendStream) -> End {
    loop {
        let Some(replies) = gang.take_replies(node, wake) else {
            return End::Lost("it has opened a second stream".to_owned());
        };
        if replies.is_empty() {
            wake.notified().await;
        } else if let Err(error) = send.send_all(&replies).await {
            return End::Lost(error.to_string());
        }
    }
}
