//! A permit of a replica, for one request.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Replica, Revision, Service};
use crate::upstream::{Target, UpstreamErrorKind};

/// A permit of a replica. Dropping it gives the permit to whoever waits.
#[derive(Debug)]
pub(crate) struct Lease {
    service: Arc<Service>,
    revision: Arc<Revision>,
    replica: Arc<Replica>,
}

impl Lease {
    pub(super) fn new(
        service: Arc<Service>,
        revision: Arc<Revision>,
        replica: Arc<Replica>,
    ) -> Self {
        revision.load.begin(service.clock.us(Instant::now()));
        Self { service, revision, replica }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            service: self.service.id.clone(),
            revision: self.revision.number,
            attempt: self.replica.attempt,
            node: self.replica.node,
        }
    }

    /// The replica has answered; `latency_us` since the request came.
    pub(crate) fn on_answer(&self, status: http::StatusCode, latency_us: u64) {
        let is_error = status.is_server_error();
        self.revision.load.answered(latency_us, is_error);
        self.replica.on_answer();
        let now = self.service.clock.ms(Instant::now());
        if is_error {
            self.on_failure(now);
        } else {
            self.replica.health.on_success(now);
        }
    }

    /// The request failed there, which may be the replica's fault.
    pub(crate) fn on_error(&self, error: &UpstreamErrorKind, never_begun: bool, latency_us: u64) {
        let now = self.service.clock.ms(Instant::now());
        match error {
            UpstreamErrorKind::Busy => self.replica.on_busy(now),
            UpstreamErrorKind::Draining => self.replica.on_draining(),
            // What the client sent, or how late it was, is not the replica's fault.
            UpstreamErrorKind::Request(_) | UpstreamErrorKind::Body(_) => {}
            UpstreamErrorKind::TimedOut if never_begun => {}
            UpstreamErrorKind::TimedOut
            | UpstreamErrorKind::Failed(_)
            | UpstreamErrorKind::Unreachable(_) => {
                self.revision.load.answered(latency_us, true);
                self.on_failure(now);
            }
        }
    }

    /// Its answer broke off after the head.
    pub(crate) fn on_broken(&self) {
        self.on_failure(self.service.clock.ms(Instant::now()));
    }

    fn on_failure(&self, now: u64) {
        if self.revision.on_failure(&self.replica, now) {
            tracing::warn!(
                service = %self.service.id,
                revision = self.revision.number,
                attempt = %self.replica.attempt,
                node = %self.replica.node,
                "a replica fails and gets no requests for a while"
            );
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.release();
        self.revision.load.end(self.service.clock.us(Instant::now()));
        self.service.queue.wake();
        self.revision.queue.wake();
    }
}
