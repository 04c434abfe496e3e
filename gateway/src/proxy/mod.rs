//! A request to a service: gathered, brought to a replica, tried elsewhere where that is
//! safe, and its answer on the way back.
//!
//! A replica's permit is taken when as much of the request is there as is gathered, and given
//! back when the replica has written the whole of its answer: a small request or answer costs
//! it no time of a slow client, a large one as much as [`pace`] lets the client have.

mod acquire;
mod answer;
mod attempt;
mod fields;
mod gather;
mod memory;
mod pace;
mod quiet;
mod request;
mod under_way;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, request::Parts};
use hyper::body::Body;
use tokio::time::Instant;
use wrun_protocol::{AttemptId, NodeId};

pub(crate) use answer::AnswerBody;
pub(crate) use fields::strip;
pub(crate) use memory::Memory;
pub(crate) use under_way::UnderWay;

use crate::gateway::Shared;
use crate::service::{Lease, Picked, Service, Shape};
use crate::upstream::{UpstreamError, UpstreamErrorKind};
use crate::{BodyError, CallError};
use attempt::Attempt;
use upload::{Upload, UploadError};

/// A request for a service. Its URI is absolute, its fields are such as may go further.
#[derive(Debug)]
pub(crate) struct Ask<B> {
    pub(crate) parts: Parts,
    pub(crate) body: B,
    pub(crate) arrived: Instant,
}

/// Who handled a request last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    pub(crate) revision: u32,
    pub(crate) attempt: AttemptId,
    pub(crate) node: NodeId,
}

impl Shared {
    /// Brings a request to a replica of the service. `handler` is told who got it, also where
    /// that came to nothing.
    pub(crate) async fn forward<B>(
        &self,
        service: &Arc<Service>,
        ask: Ask<B>,
        handler: &mut Option<Handler>,
    ) -> Result<Response<AnswerBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let limit = self.config.requests_per_tenant;
        let Some(under_way) = UnderWay::begin(&service.under_way, limit) else {
            return Err(CallError::TenantBusy { tenant: service.id.tenant.clone(), limit });
        };
        let shape = service.shape();
        let deadline = ask.arrived + Duration::from_millis(shape.http.timeout_ms);
        let (upload, _held) = self.gather(service, &shape, ask.body, deadline).await?;
        let mut tries = Tries {
            shared: self,
            service,
            shape: &shape,
            upload: &upload,
            begun: Instant::now(),
            deadline,
            tried: Vec::new(),
        };
        let mut response = tries.run(ask.parts, handler).await?;
        response.body_mut().under_way = Some(under_way);
        Ok(response)
    }
}

/// The tries of one request.
struct Tries<'a, B> {
    shared: &'a Shared,
    service: &'a Arc<Service>,
    shape: &'a Shape,
    upload: &'a Upload<B>,
    begun: Instant,
    deadline: Instant,
    /// Where it failed.
    tried: Vec<AttemptId>,
}

impl<B> Tries<'_, B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    async fn run(
        &mut self,
        head: Parts,
        handler: &mut Option<Handler>,
    ) -> Result<Response<AnswerBody>, CallError> {
        self.service.budget.earn();
        let mut failed = None;
        loop {
            let fields = &head.headers;
            let lease = match failed.take() {
                None => self.first(fields).await?,
                Some(error) => self.another(fields).ok_or(error)?,
            };
            *handler = Some(Handler::of(&lease));
            let attempt = lease.target().attempt;
            // A copy: it may be needed again.
            let sent = head.clone();
            let begun = Attempt::begin(self.shared, self.shape, self.upload, sent, self.deadline);
            let error = match begun.run(lease, self.begun).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let refused = self.refusal(&error);
            if !self.upload.is_whole() {
                return Err(refused);
            }
            match error.kind {
                // It has another place to go, or waits for one; nothing has failed.
                UpstreamErrorKind::Busy | UpstreamErrorKind::Draining => {}
                _ if !may_repeat(&error, &head.method) => return Err(refused),
                _ if self.tried.len() >= self.shape.http.retries as usize => return Err(refused),
                _ => {
                    self.tried.push(attempt);
                    failed = Some(refused);
                }
            }
        }
    }

    /// A replica, at once or in turn. All waiting together is as long as one wait may be.
    async fn first(&self, fields: &HeaderMap) -> Result<Lease, CallError> {
        let wait = Duration::from_millis(self.shape.http.wait_ms);
        let until = (self.begun + wait).min(self.deadline);
        acquire::acquire(self.service, self.shape, fields, until, &self.shared.urgent).await
    }

    /// A replica other than those that failed, if there is one free and the budget allows.
    fn another(&self, fields: &HeaderMap) -> Option<Lease> {
        let now = self.service.clock.ms(Instant::now());
        let shape = self.service.shape();
        let pinned = shape.pinned(fields);
        match self.service.pick(&shape, pinned, &self.tried, now) {
            Picked::Lease(lease) if self.service.budget.spend(now) => Some(lease),
            _ => None,
        }
    }

    /// What the client is told: what it did itself comes first.
    fn refusal(&self, error: &UpstreamError) -> CallError {
        let service = self.service.id.clone();
        match self.upload.failed() {
            Some(UploadError::TooLarge(limit)) => {
                return CallError::BodyTooLarge { service, limit };
            }
            Some(UploadError::TooSlow) => return CallError::TooSlow,
            Some(UploadError::Broken(why)) => return CallError::Body(why),
            None => {}
        }
        match &error.kind {
            UpstreamErrorKind::TimedOut => {
                let timeout = Duration::from_millis(self.shape.http.timeout_ms);
                CallError::TimedOut { service, timeout }
            }
            _ => CallError::Failed { service, error: error.clone() },
        }
    }
}

/// Whether a request may be given to another replica: no guest has seen it, or the same
/// again does no harm (RFC 9110, 9.2.2).
fn may_repeat(error: &UpstreamError, method: &Method) -> bool {
    match error.kind {
        UpstreamErrorKind::Request(_) | UpstreamErrorKind::Body(_) => false,
        UpstreamErrorKind::TimedOut => error.never_begun,
        _ => error.never_begun || method.is_idempotent(),
    }
}

impl Handler {
    fn of(lease: &Lease) -> Self {
        let target = lease.target();
        Self { revision: target.revision, attempt: target.attempt, node: target.node }
    }
}
