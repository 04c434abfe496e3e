//! The two directions of a stream: frames of the codec, or raw bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{RecvError, SendError};

/// The sending direction. Dropping it finishes it.
pub struct SendStream {}

/// The receiving direction. Dropping it stops it.
pub struct RecvStream {}

impl SendStream {
    /// Sends one message as a frame; waits while the peer's window is full.
    pub async fn send<M: Serialize>(&mut self, _message: &M) -> Result<(), SendError> {
        todo!()
    }
    /// Sends messages as frames, many in one write.
    pub async fn send_all<'a, M: Serialize + 'a>(
        &mut self,
        _messages: impl IntoIterator<Item = &'a M>,
    ) -> Result<(), SendError> {
        todo!()
    }
    /// Sends raw bytes; waits while the peer's window is full.
    pub async fn write_raw(&mut self, _bytes: &[u8]) -> Result<(), SendError> {
        todo!()
    }
    /// Says that nothing more will come. The peer still gets what was sent.
    pub fn finish(&mut self) -> Result<(), SendError> {
        todo!()
    }
    /// Finishes and waits until the peer has everything, or stopped the stream.
    pub async fn finish_and_wait(&mut self) -> Result<(), SendError> {
        todo!()
    }
    /// Gives the stream up: the peer learns `code`, what is under way is lost.
    pub fn reset(&mut self, _code: u32) {
        todo!()
    }
    /// Waits until the peer stops the stream or the connection ends.
    pub async fn stopped(&mut self) -> SendError {
        todo!()
    }
}

impl RecvStream {
    /// The next message; `None` at the end of the stream. Safe to cancel: nothing is lost.
    pub async fn recv<M: DeserializeOwned>(&mut self) -> Result<Option<M>, RecvError> {
        todo!()
    }
    /// Appends the next message and all others that have arrived whole, at most `limit`;
    /// says how many; 0 at the end of the stream. Safe to cancel.
    pub async fn recv_many<M: DeserializeOwned>(
        &mut self,
        _messages: &mut Vec<M>,
        _limit: usize,
    ) -> Result<usize, RecvError> {
        todo!()
    }
    /// Reads raw bytes into `buffer`, as many as have come, at least one; 0 at the end of
    /// the stream. Bytes read ahead with frames come first.
    pub async fn read_raw(&mut self, _buffer: &mut [u8]) -> Result<usize, RecvError> {
        todo!()
    }
    /// The next raw bytes, at most `most`, without a copy where possible; `None` at the end.
    pub async fn read_chunk(&mut self, _most: usize) -> Result<Option<bytes::Bytes>, RecvError> {
        todo!()
    }
    /// Says that nothing more is wanted.
    pub fn stop(&mut self, _code: u32) {
        todo!()
    }
}
