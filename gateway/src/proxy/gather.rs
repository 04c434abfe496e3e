//! The beginning of a body, gathered in memory: all of it where it is small.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};

/// The beginning of a body.
#[derive(Debug)]
pub(crate) struct Gathered<B> {
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// What follows; `None`: that was all.
    pub(crate) rest: Option<B>,
}

/// A body that is being gathered. [`Self::next`] can be given up at any time.
#[derive(Debug)]
pub(crate) struct Gathering<B> {
    body: B,
    first: Bytes,
    /// In use when there is more than one piece.
    joined: BytesMut,
    trailers: Option<HeaderMap>,
    limit: usize,
    has_ended: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Gathering<B> {
    /// Gathers up to `limit` bytes, and what the last piece has above it.
    pub(crate) fn new(body: B, limit: usize) -> Self {
        let has_ended = body.is_end_stream();
        let (first, joined) = (Bytes::new(), BytesMut::new());
        Self { body, first, joined, trailers: None, limit, has_ended }
    }

    pub(crate) fn len(&self) -> usize {
        if self.joined.is_empty() { self.first.len() } else { self.joined.len() }
    }

    /// Whether there is nothing more to gather, or no room for it.
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended || self.len() > self.limit
    }

    /// Gathers one more piece; returns its size.
    pub(crate) async fn next(&mut self) -> Result<usize, B::Error> {
        let Some(frame) = self.body.frame().await else {
            self.has_ended = true;
            return Ok(0);
        };
        let before = self.len();
        match frame?.into_data().map_err(Frame::into_trailers) {
            Ok(data) => self.add(data),
            Err(trailers) => self.trailers = trailers.ok(),
        }
        self.has_ended = self.body.is_end_stream();
        Ok(self.len() - before)
    }

    /// What was gathered, and what follows.
    pub(crate) fn into_gathered(self) -> Gathered<B> {
        let bytes = if self.joined.is_empty() { self.first } else { self.joined.freeze() };
        let rest = (!self.has_ended).then_some(self.body);
        Gathered { bytes, trailers: self.trailers, rest }
    }

    fn add(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        // Copied, so that pieces of a byte each do not hold a buffer each.
        if self.joined.is_empty() {
            self.joined.put(std::mem::take(&mut self.first));
        }
        self.joined.put(data);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, stream};
    use http_body_util::StreamBody;

    use super::*;

    fn body(
        pieces: &[&'static str],
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
        let frames =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))
    }

    fn gather(pieces: &[&'static str], limit: usize) -> (Bytes, bool) {
        let mut gathering = Gathering::new(body(pieces), limit);
        while !gathering.is_over() {
            gathering.next().now_or_never().unwrap().unwrap();
        }
        let gathered = gathering.into_gathered();
        (gathered.bytes, gathered.rest.is_none())
    }

    #[test]
    fn a_small_body_is_gathered_whole_and_a_large_one_up_to_the_limit() {
        assert_eq!(gather(&[], 4), (Bytes::new(), true));
        assert_eq!(gather(&["abcd"], 4), (Bytes::from("abcd"), true));
        assert_eq!(gather(&["ab", "", "cd"], 4), (Bytes::from("abcd"), true));
        assert_eq!(gather(&["ab", "cde", "f"], 4), (Bytes::from("abcde"), false));
    }
}
