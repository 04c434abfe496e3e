//! The two directions of a stream: frames of the codec, or raw bytes after them.
//!
//! Many small messages cost one write: they gather in a buffer that is kept from one call
//! to the next, and the reader decodes them out of a buffer of its own.

use bytes::{Bytes, BytesMut};
use quinn::VarInt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wrun_protocol::codec::{self, HEADER};

use crate::error::{Closed, RecvError, SendError};
use crate::memory::{Reader, Writer};

/// Frames gather up to this size before they are handed on.
const BATCH: usize = 128 << 10;

/// A buffer that grew above this for one large message is given back.
const KEEP: usize = 256 << 10;

/// Chunks (a packet's payload each) taken from the connection at a time.
const CHUNKS: usize = 64;

/// The sending direction. Dropping it finishes it.
pub struct SendStream {
    sink: Sink,
    /// Frames not yet handed on; the first `sent` bytes of them have been. A cancelled
    /// call leaves its rest here, and the next call hands that on first.
    pending: Vec<u8>,
    sent: usize,
}

enum Sink {
    Quic(quinn::SendStream),
    Memory(Writer),
}

impl SendStream {
    pub(crate) fn quic(stream: quinn::SendStream) -> Self {
        Self { sink: Sink::Quic(stream), pending: Vec::new(), sent: 0 }
    }

    pub(crate) fn memory(writer: Writer) -> Self {
        Self { sink: Sink::Memory(writer), pending: Vec::new(), sent: 0 }
    }

    /// Sends one message as a frame; waits while the peer's window is full. If the call is
    /// cancelled, the message goes out with the next one.
    pub async fn send<M: Serialize>(&mut self, message: &M) -> Result<(), SendError> {
        codec::append_frame(&mut self.pending, message)?;
        self.flush().await
    }

    /// Sends messages as frames, many in one write. Where one cannot be encoded, those before
    /// it are sent, and none after it.
    pub async fn send_all<'a, M: Serialize + 'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a M>,
    ) -> Result<(), SendError> {
        for message in messages {
            if let Err(error) = codec::append_frame(&mut self.pending, message) {
                self.flush().await?;
                return Err(error.into());
            }
            if self.pending.len() >= BATCH {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), SendError> {
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += self.sink.write(rest).await?;
        }
        self.pending.clear();
        self.sent = 0;
        if self.pending.capacity() > KEEP {
            self.pending.shrink_to(BATCH);
        }
        Ok(())
    }

    /// Sends raw bytes; waits while the peer's window is full. Not safe to cancel: some of
    /// them may have gone.
    pub async fn write_raw(&mut self, mut bytes: &[u8]) -> Result<(), SendError> {
        self.flush().await?;
        while !bytes.is_empty() {
            let written = self.sink.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends raw bytes, all of them in turn, without a copy; otherwise as [`Self::write_raw`].
    pub async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), SendError> {
        self.flush().await?;
        match &mut self.sink {
            Sink::Quic(stream) => stream.write_all_chunks(chunks).await.map_err(of_write),
            Sink::Memory(_) => {
                for chunk in chunks {
                    self.write_raw(chunk).await?;
                }
                Ok(())
            }
        }
    }

    /// Says that nothing more will come. The peer still gets what was sent.
    pub fn finish(&mut self) -> Result<(), SendError> {
        match &mut self.sink {
            Sink::Quic(stream) => stream.finish().map_err(|_| SendError::Finished),
            Sink::Memory(writer) => writer.finish(),
        }
    }

    /// Finishes and waits until the peer has received everything.
    pub async fn finish_and_wait(&mut self) -> Result<(), SendError> {
        self.flush().await?;
        self.finish()?;
        match self.sink.stopped().await? {
            None => Ok(()),
            Some(code) => Err(SendError::Stopped(code)),
        }
    }

    /// Gives the stream up: the peer learns `code`, what is under way is lost.
    pub fn reset(&mut self, code: u32) {
        match &mut self.sink {
            // One that is finished or reset already has nothing to give up.
            Sink::Quic(stream) => drop(stream.reset(VarInt::from_u32(code))),
            Sink::Memory(writer) => writer.reset(code),
        }
    }

    /// Waits until the peer wants no more: it stopped the stream, or the connection ended.
    /// Safe to cancel.
    pub async fn stopped(&mut self) -> SendError {
        match self.sink.stopped().await {
            Ok(Some(code)) => SendError::Stopped(code),
            Ok(None) => SendError::Finished,
            Err(error) => error,
        }
    }
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, SendError> {
        match self {
            Self::Quic(stream) => stream.write(bytes).await.map_err(of_write),
            Self::Memory(writer) => writer.write(bytes).await,
        }
    }

    async fn stopped(&mut self) -> Result<Option<u32>, SendError> {
        match self {
            Self::Quic(stream) => match stream.stopped().await {
                Ok(code) => Ok(code.map(number)),
                Err(quinn::StoppedError::ConnectionLost(error)) => Err(Closed::of(error).into()),
                Err(quinn::StoppedError::ZeroRttRejected) => Err(SendError::Finished),
            },
            Self::Memory(writer) => writer.stopped().await,
        }
    }
}

/// The receiving direction. Dropping it stops it.
pub struct RecvStream {
    source: Source,
    /// Received and not yet taken: less than one frame and one round of chunks.
    buffer: BytesMut,
}

enum Source {
    Quic(quinn::RecvStream),
    Memory(Reader),
}

impl RecvStream {
    pub(crate) fn quic(stream: quinn::RecvStream) -> Self {
        Self { source: Source::Quic(stream), buffer: BytesMut::new() }
    }

    pub(crate) fn memory(reader: Reader) -> Self {
        Self { source: Source::Memory(reader), buffer: BytesMut::new() }
    }

    /// The next message; `None` at the end of the stream. Safe to cancel: nothing is lost.
    pub async fn recv<M: DeserializeOwned>(&mut self) -> Result<Option<M>, RecvError> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return self.end().map(|()| None);
            }
        }
    }

    /// Appends the next message and the others that have arrived whole, at most `limit`;
    /// says how many; 0 at the end of the stream. Safe to cancel. Where a message is refused
    /// after good ones, those have been appended.
    pub async fn recv_many<M: DeserializeOwned>(
        &mut self,
        messages: &mut Vec<M>,
        limit: usize,
    ) -> Result<usize, RecvError> {
        let Some(first) = self.recv().await? else {
            return Ok(0);
        };
        messages.push(first);
        let mut count = 1;
        while count < limit {
            let Some(message) = self.take_message()? else { break };
            messages.push(message);
            count += 1;
        }
        Ok(count)
    }

    /// Decodes the frame at the front of the buffer, if it is whole.
    fn take_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, RecvError> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let size = codec::frame_size(*header)?;
        let Some(payload) = rest.get(..size) else {
            return Ok(None);
        };
        let message = codec::decode(payload);
        bytes::Buf::advance(&mut self.buffer, HEADER + size);
        self.give_back();
        Ok(Some(message?))
    }

    fn give_back(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = BytesMut::new();
        }
    }

    /// Takes what has arrived, at least something; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, RecvError> {
        match &mut self.source {
            Source::Quic(stream) => {
                let mut chunks = [const { Bytes::new() }; CHUNKS];
                let Some(count) = stream.read_chunks(&mut chunks).await.map_err(of_read)? else {
                    return Ok(false);
                };
                let came = chunks.iter().take(count);
                self.buffer.reserve(came.clone().map(Bytes::len).sum());
                for chunk in came {
                    self.buffer.extend_from_slice(chunk);
                }
                Ok(true)
            }
            Source::Memory(reader) => match reader.read(usize::MAX).await? {
                Some(chunk) => {
                    self.buffer.extend_from_slice(&chunk);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    /// At the end of the stream nothing of a frame may be left.
    fn end(&self) -> Result<(), RecvError> {
        let got = self.buffer.len();
        if got == 0 {
            return Ok(());
        }
        let wanted = match self.buffer.first_chunk::<HEADER>() {
            Some(header) => HEADER + codec::frame_size(*header)?,
            None => HEADER,
        };
        Err(RecvError::Truncated { wanted: wanted as u64, got: got as u64 })
    }

    /// Reads raw bytes into `buffer`, as many as have come, at least one; 0 at the end of
    /// the stream. Bytes that came along with frames are given first. Safe to cancel.
    pub async fn read_raw(&mut self, buffer: &mut [u8]) -> Result<usize, RecvError> {
        let chunk = self.read_chunk(buffer.len()).await?.unwrap_or_default();
        if let Some(place) = buffer.get_mut(..chunk.len()) {
            place.copy_from_slice(&chunk);
        }
        Ok(chunk.len())
    }

    /// Fills `buffer` whole with raw bytes, or fails as truncated. Not safe to cancel.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), RecvError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_raw(rest).await? {
                0 => {
                    let (wanted, got) = (buffer.len() as u64, filled as u64);
                    return Err(RecvError::Truncated { wanted, got });
                }
                read => filled += read,
            }
        }
        Ok(())
    }

    /// The next raw bytes, at most `most`, without a copy where possible; `None` at the end
    /// of the stream. Safe to cancel.
    pub async fn read_chunk(&mut self, most: usize) -> Result<Option<Bytes>, RecvError> {
        if !self.buffer.is_empty() {
            let part = self.buffer.split_to(most.min(self.buffer.len())).freeze();
            self.give_back();
            return Ok(Some(part));
        }
        match &mut self.source {
            Source::Quic(stream) => {
                let chunk = stream.read_chunk(most, true).await.map_err(of_read)?;
                Ok(chunk.map(|chunk| chunk.bytes))
            }
            Source::Memory(reader) => reader.read(most).await,
        }
    }

    /// The next raw bytes, at most `most`, those joined that have come: at the price of a copy
    /// a few large pieces instead of one for each packet. `None` at the end of the stream. Safe
    /// to cancel.
    pub async fn read_joined(&mut self, most: usize) -> Result<Option<Bytes>, RecvError> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        let part = self.buffer.split_to(most.min(self.buffer.len())).freeze();
        self.give_back();
        Ok(Some(part))
    }

    /// Says that nothing more is wanted.
    pub fn stop(&mut self, code: u32) {
        match &mut self.source {
            // One that has ended already needs no stop.
            Source::Quic(stream) => drop(stream.stop(VarInt::from_u32(code))),
            Source::Memory(reader) => reader.stop(code),
        }
    }
}

fn number(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

fn of_write(error: quinn::WriteError) -> SendError {
    match error {
        quinn::WriteError::Stopped(code) => SendError::Stopped(number(code)),
        quinn::WriteError::ConnectionLost(error) => Closed::of(error).into(),
        quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => SendError::Finished,
    }
}

fn of_read(error: quinn::ReadError) -> RecvError {
    match error {
        quinn::ReadError::Reset(code) => RecvError::Reset(number(code)),
        quinn::ReadError::ConnectionLost(error) => Closed::of(error).into(),
        quinn::ReadError::ClosedStream
        | quinn::ReadError::IllegalOrderedRead
        | quinn::ReadError::ZeroRttRejected => RecvError::Stopped,
    }
}
