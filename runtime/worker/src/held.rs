//! What the node holds of an attempt that was started: a task's execution, or a replica.

use std::sync::Arc;
use std::time::Instant;

use crate::executor::Executor;
use crate::service::Hosted;

/// See the module.
pub(crate) enum Held<E: Executor> {
    /// An execution, which ends by itself.
    Task(E::Handle),
    /// A replica, which does not.
    Replica(Arc<Hosted<E>>),
}

impl<E: Executor> Clone for Held<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Task(handle) => Self::Task(handle.clone()),
            Self::Replica(hosted) => Self::Replica(Arc::clone(hosted)),
        }
    }
}

impl<E: Executor> Held<E> {
    /// Takes the CPU away, or gives it back.
    pub(crate) fn freeze(&self, frozen: bool) {
        match self {
            Self::Task(handle) => E::freeze(handle, frozen),
            Self::Replica(hosted) => hosted.freeze(frozen),
        }
    }

    /// It will be stopped at that instant: a guest is told, a replica takes no more requests.
    pub(crate) fn notify(&self, stops: Instant) {
        match self {
            Self::Task(handle) => E::notify(handle, stops),
            Self::Replica(hosted) => hosted.drain(),
        }
    }

    /// Ends it as cancelled.
    pub(crate) fn stop(&self) {
        match self {
            Self::Task(handle) => E::stop(handle),
            Self::Replica(hosted) => hosted.stop(),
        }
    }
}
