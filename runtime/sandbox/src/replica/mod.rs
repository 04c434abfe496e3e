//! Replicas of HTTP services: requests in, answers out, each by a guest in an instance of
//! its own or in one that is reused. Who asks, from where and how often is for the gateway.

mod answer;
mod call;
mod dispatch;
mod error;
mod instance;
mod open;
mod request;
mod serve;
mod start;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use dispatch::Dispatch;
pub use error::CallError;
pub(crate) use instance::Instance;
pub(crate) use open::open;
pub use start::{ReplicaEvents, ReplicaStart, ReplicaUsage};

use crate::Body;

/// A replica that is open. Cheap to clone; when the last clone is dropped, it is stopped.
#[derive(Clone)]
pub struct Replica(Arc<Open>);

struct Open(Arc<Dispatch>);

impl Replica {
    /// Hands a request to a guest; never waits itself. The answer is there when the guest
    /// has given its head, and at the latest at `deadline`; its body follows as the guest
    /// writes and as it is read. Dropping the future, or the body before its end, stops the
    /// guest.
    ///
    /// The request's URI is absolute. Fields that are for one connection only are not
    /// passed on.
    ///
    /// # Errors
    /// Why there is no answer; a body that breaks off ends with the same error.
    pub fn call(
        &self,
        request: http::Request<Body>,
        deadline: Instant,
    ) -> impl Future<Output = Result<http::Response<Body>, CallError>> + Send + 'static {
        let taken = request::checked(request).and_then(|request| self.0.0.take(request, deadline));
        async move { taken?.await }
    }

    /// Requests that have been taken and are not over, their bodies included.
    pub fn in_flight(&self) -> u32 {
        self.0.0.in_flight()
    }

    /// Takes no more requests and waits until those that were taken are over. Dropping the
    /// future does not open it again.
    pub async fn drain(&self) {
        self.0.0.drain();
        self.0.0.vacated().await;
    }

    /// Takes no more requests and ends those that were taken, frozen or not.
    pub fn stop(&self) {
        self.0.0.stop();
    }

    /// Takes the CPU away from every instance, within 20 ms. Requests are taken and wait;
    /// their deadlines go on.
    pub fn freeze(&self) {
        self.0.0.freeze(true);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.0.0.freeze(false);
    }

    /// What it has used until now.
    pub fn usage(&self) -> ReplicaUsage {
        self.0.0.usage()
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stop();
    }
}
