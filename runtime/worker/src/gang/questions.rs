//! Gangs of which a task here has waited long for another: the server is asked which of their
//! tasks have not ended. A task that ended on another node without having sent anything to this
//! one is known to have ended there and to the server alone.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use wrun_protocol::JobId;

/// What is to be asked; each gang once.
#[derive(Default)]
pub(crate) struct Questions {
    gangs: Mutex<BTreeSet<JobId>>,
    asked: Notify,
}

impl Questions {
    pub(super) fn ask(&self, gang: JobId) {
        self.gangs.lock().unwrap_or_else(PoisonError::into_inner).insert(gang);
        self.asked.notify_one();
    }

    /// Waits until there is something to ask.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// What is to be asked since this was last taken.
    pub(crate) fn take(&self) -> BTreeSet<JobId> {
        std::mem::take(&mut *self.gangs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
