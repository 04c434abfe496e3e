//! Bodies on a stream: sent as they come, and read as they are wanted.

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use wrun_net::{RecvError, RecvStream, SendError, SendStream};
use wrun_protocol::codec::append_frame;
use wrun_protocol::wire::forward::Piece;
use wrun_protocol::wire::peer::stream_code;

use super::head;
use crate::{Body, UpstreamError, UpstreamErrorKind};

/// What is there of a body is sent together, but when it has grown to this.
const BATCH: usize = 64 << 10;

/// Most bytes that are one piece.
const PIECE: usize = 1 << 20;

/// A stream that was given up unless everything was sent on it: dropping one of QUIC alone
/// would say that all is well.
pub(super) struct Sending {
    send: SendStream,
    is_whole: bool,
}

impl Sending {
    pub(super) fn new(send: SendStream) -> Self {
        Self { send, is_whole: false }
    }

    /// Sends what is in `buffer`, and nothing after it.
    pub(super) async fn last(mut self, buffer: &[u8]) -> Result<(), SendError> {
        self.send.write_raw(buffer).await?;
        self.finish()
    }

    /// Sends what is in `buffer`, and goes on with a body.
    pub(super) async fn begin(&mut self, buffer: &[u8]) -> Result<(), SendError> {
        self.send.write_raw(buffer).await
    }

    /// Sends what is in `buffer`, and the body after it. What is there already travels with
    /// what was before it, as one piece.
    pub(super) async fn all(mut self, buffer: Vec<u8>, mut body: Body) -> Result<(), SendError> {
        let mut gathered = Gathered { frames: buffer, ..Gathered::default() };
        loop {
            let frame = match body.frame().now_or_never() {
                Some(frame) => frame,
                None => {
                    self.flush(&mut gathered).await?;
                    tokio::select! {
                        frame = body.frame() => frame,
                        stopped = self.send.stopped() => return Err(stopped),
                    }
                }
            };
            let last = match frame {
                None => Piece::End,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.data(&mut gathered, data).await?;
                        continue;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Piece::Trailers(head::of_fields(&trailers)),
                        Err(_) => continue,
                    },
                },
                Some(Err(error)) => Piece::Broken { why: error.to_string() },
            };
            let mut chunks = gathered.take()?;
            let mut buffer = Vec::new();
            append_frame(&mut buffer, &last)?;
            chunks.push(buffer.into());
            self.send.write_chunks(&mut chunks).await?;
            return self.finish();
        }
    }

    fn finish(mut self) -> Result<(), SendError> {
        self.send.finish()?;
        self.is_whole = true;
        Ok(())
    }

    async fn data(&mut self, gathered: &mut Gathered, mut data: Bytes) -> Result<(), SendError> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(PIECE));
            gathered.size += part.len();
            gathered.parts.push(part);
            if gathered.size >= BATCH {
                self.flush(gathered).await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, gathered: &mut Gathered) -> Result<(), SendError> {
        self.send.write_chunks(&mut gathered.take()?).await
    }

    /// Waits until the other side wants no more.
    pub(super) async fn stopped(&mut self) -> SendError {
        self.send.stopped().await
    }

    /// The other side does what the protocol does not know.
    pub(super) fn refuse(mut self) {
        self.send.reset(stream_code::PROTOCOL);
        self.is_whole = true;
    }
}

/// What is to be sent together.
#[derive(Default)]
struct Gathered {
    /// What goes before the parts.
    frames: Vec<u8>,
    /// Parts of the body that become one piece.
    parts: Vec<Bytes>,
    /// Bytes of them, less than [`BATCH`] and one [`PIECE`].
    size: usize,
}

impl Gathered {
    fn take(&mut self) -> Result<Vec<Bytes>, SendError> {
        if self.size > 0 {
            append_frame(&mut self.frames, &Piece::Data { size: self.size as u32 })?;
        }
        self.size = 0;
        let frames = Bytes::from(std::mem::take(&mut self.frames));
        let chunks = std::iter::once(frames).chain(self.parts.drain(..));
        Ok(chunks.filter(|chunk| !chunk.is_empty()).collect())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_whole {
            self.send.reset(stream_code::OVER);
        }
    }
}

/// A body that is being read, and what must not end before it.
struct Reading<K> {
    recv: RecvStream,
    /// Bytes of the piece that have not come yet.
    left: usize,
    _keep: K,
}

/// The body that comes on the stream; dropping it before its end gives it up. What is to be
/// kept is kept until then.
pub(super) fn body<K: Send + 'static>(recv: RecvStream, keep: K) -> Body {
    let reading = Reading { recv, left: 0, _keep: keep };
    let frames = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(frame)) if frame.is_data() => Some((Ok(frame), Some(reading))),
            Ok(Some(trailers)) => Some((Ok(trailers), None)),
            Ok(None) => None,
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

impl<K> Reading<K> {
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, UpstreamError> {
        loop {
            if self.left > 0 {
                let chunk = self.recv.read_joined(self.left).await.map_err(of_recv)?;
                let chunk = chunk.ok_or_else(broken_off)?;
                self.left -= chunk.len();
                return Ok(Some(Frame::data(chunk)));
            }
            match self.recv.recv::<Piece>().await.map_err(of_recv)? {
                Some(Piece::Data { size }) => self.left = size as usize,
                Some(Piece::End) => return Ok(None),
                Some(Piece::Trailers(fields)) => {
                    let trailers = head::fields(fields);
                    let trailers = trailers.map_err(|error| failed(&error.to_string()))?;
                    return Ok(Some(Frame::trailers(trailers)));
                }
                Some(Piece::Broken { why }) => return Err(failed(&why)),
                None => return Err(broken_off()),
            }
        }
    }
}

/// What went wrong with a stream on which a request was sent.
pub(super) fn of_recv(error: RecvError) -> UpstreamError {
    let kind = match error {
        RecvError::Closed(closed) => UpstreamErrorKind::Unreachable(closed.to_string()),
        other => UpstreamErrorKind::Failed(other.to_string()),
    };
    kind.after()
}

fn failed(why: &str) -> UpstreamError {
    UpstreamErrorKind::Failed(why.to_owned()).after()
}

fn broken_off() -> UpstreamError {
    failed("the body broke off")
}
