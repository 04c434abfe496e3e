//! Replicas of HTTP services: requests in, answers out, each by a guest in an instance of
//! its own or in one that is reused. Who asks, from where and how often is for the gateway.

mod error;
mod start;

use std::future::Future;
use std::time::Instant;

pub use error::CallError;
pub use start::{ReplicaEvents, ReplicaStart, ReplicaUsage};

use crate::Body;

/// A replica that is open. Cheap to clone; when the last clone is dropped, it is stopped.
#[derive(Clone, Debug)]
pub struct Replica(());

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
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn call(
        &self,
        request: http::Request<Body>,
        deadline: Instant,
    ) -> impl Future<Output = Result<http::Response<Body>, CallError>> + Send + 'static {
        let _ = (request, deadline);
        async { todo!() }
    }

    /// Requests that have been taken and are not over, their bodies included.
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn in_flight(&self) -> u32 {
        todo!()
    }

    /// Takes no more requests and waits until those that were taken are over. Dropping the
    /// future does not open it again.
    #[expect(clippy::todo, clippy::unused_async, reason = "skeleton")]
    pub async fn drain(&self) {
        todo!()
    }

    /// Takes no more requests and ends those that were taken, frozen or not.
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn stop(&self) {
        todo!()
    }

    /// Takes the CPU away from every instance, within 20 ms. Requests are taken and wait;
    /// their deadlines go on.
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn freeze(&self) {
        todo!()
    }

    /// Lets it go on.
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn thaw(&self) {
        todo!()
    }

    /// What it has used until now.
    #[expect(clippy::todo, reason = "skeleton")]
    pub fn usage(&self) -> ReplicaUsage {
        todo!()
    }
}
