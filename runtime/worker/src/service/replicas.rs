//! The replicas that are open here, by attempt: requests name one, from this node's gateway
//! or from another's.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use http::{Request, Response};
use wrun_gateway::forward;
use wrun_net::{RecvStream, SendStream};
use wrun_protocol::AttemptId;
use wrun_protocol::wire::forward::CallFailure;
use wrun_sandbox::{Body, CallError};

use super::Hosted;
use crate::executor::Executor;

/// See the module. What is here is bounded by the node's slots.
pub(crate) struct Replicas<E: Executor>(RwLock<HashMap<AttemptId, Arc<Hosted<E>>>>);

/// Serves requests of other nodes.
pub(crate) trait Requests: Send + Sync + 'static {
    /// Serves one, whose stream is open, to its end.
    fn serve<'a>(
        &'a self,
        attempt: AttemptId,
        send: SendStream,
        recv: RecvStream,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

impl<E: Executor> Replicas<E> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(RwLock::default())
    }

    /// It is open.
    pub(crate) fn insert(&self, hosted: &Arc<Hosted<E>>) {
        let mut replicas = self.0.write().unwrap_or_else(PoisonError::into_inner);
        replicas.insert(hosted.attempt(), Arc::clone(hosted));
    }

    /// It has ended.
    pub(crate) fn remove(&self, attempt: AttemptId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
    }

    fn get(&self, attempt: AttemptId) -> Option<Arc<Hosted<E>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&attempt).map(Arc::clone)
    }

    /// Hands the request to that replica, if it is here.
    pub(crate) async fn call(
        &self,
        attempt: AttemptId,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>, CallFailure> {
        let hosted = self.get(attempt).ok_or(CallFailure::NotHere)?;
        let calling = hosted.call(request, deadline);
        // Held no longer: one that is stopped must be able to go.
        drop(hosted);
        calling.await.map_err(failure)
    }
}

impl<E: Executor> Requests for Replicas<E> {
    fn serve<'a>(
        &'a self,
        attempt: AttemptId,
        send: SendStream,
        recv: RecvStream,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(forward::serve(send, recv, move |request, deadline| {
            self.call(attempt, request, deadline)
        }))
    }
}

fn failure(error: CallError) -> CallFailure {
    match error {
        CallError::Busy { .. } => CallFailure::Busy,
        CallError::Draining => CallFailure::Draining,
        CallError::TimedOut { begun } => CallFailure::TimedOut { begun },
        CallError::Request { problem } => CallFailure::Request { problem },
        CallError::Setup { .. } => CallFailure::Setup { message: error.to_string() },
        CallError::Stopped => CallFailure::Stopped,
        guest => CallFailure::Guest { message: guest.to_string() },
    }
}
