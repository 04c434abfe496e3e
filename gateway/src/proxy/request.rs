//! The body of a request, before a replica is asked.

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::Instant;

use super::gather::{Gathered, Gathering};
use super::memory::Held;
use super::pace::Pace;
use super::upload::Upload;
use crate::gateway::Shared;
use crate::service::{Service, Shape};
use crate::{BodyError, CallError};

/// How long a body whose length is not known is gathered: a client that sends and receives
/// at once may send the rest only when it is answered.
const OPEN_ENDED: std::time::Duration = std::time::Duration::from_millis(500);

impl Shared {
    /// Gathers the body as far as there is room; what is small is whole then, and its client
    /// holds no replica. The memory for it is held until the request is answered.
    pub(super) async fn gather<B>(
        &self,
        service: &Service,
        shape: &Shape,
        body: B,
        deadline: Instant,
    ) -> Result<(Upload<B>, Option<Held>), CallError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BodyError>,
    {
        let limit = shape.http.max_body;
        let too_large = || CallError::BodyTooLarge { service: service.id.clone(), limit };
        let declared = body.size_hint().exact();
        if declared.is_some_and(|declared| declared > limit) {
            return Err(too_large());
        }
        if body.is_end_stream() {
            let gathered = Gathered { bytes: Bytes::new(), trailers: None, rest: None };
            return Ok((Upload::new(gathered, limit, None, self.clock), None));
        }
        let wanted =
            declared.map_or(usize::MAX, |declared| usize::try_from(declared).unwrap_or(usize::MAX));
        let room = self.config.gather.min(wanted);
        let held = self.memory.hold(room);
        let mut pace = Pace::new(&self.config);
        let mut gathering = Gathering::new(body, room);
        let began = Instant::now();
        while held.is_some() && !gathering.is_over() {
            let until = pace.wait(Instant::now()).min(deadline);
            let until = if declared.is_some() { until } else { until.min(began + OPEN_ENDED) };
            match tokio::time::timeout_at(until, gathering.next()).await {
                Ok(Ok(bytes)) => pace.on_bytes(bytes, Instant::now()),
                Ok(Err(error)) => return Err(CallError::Body(error.into().to_string())),
                Err(_) if declared.is_some() => return Err(CallError::TooSlow),
                Err(_) => break,
            }
            if gathering.len() as u64 > limit {
                return Err(too_large());
            }
        }
        let pace = declared.map(|_| pace);
        Ok((Upload::new(gathering.into_gathered(), limit, pace, self.clock), held))
    }
}
