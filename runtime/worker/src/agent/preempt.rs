//! Attempts that are stopped for the sake of others: each is told, has its time to save a
//! checkpoint, and is stopped when that is saved or the time is over.

use std::time::Duration;

use tokio::time::Instant;
use wrun_protocol::AttemptId;
use wrun_protocol::task::Usage;
use wrun_protocol::wire::worker::Report;

use super::Agent;
use super::server::one;
use crate::executor::Executor;
use crate::slots::Stopping;

impl<E: Executor> Agent<E> {
    /// One that has not started goes back at once. One that is not here has ended, and its
    /// report is on its way.
    pub(super) fn on_preempt(&mut self, attempt: AttemptId, notice_ms: u64) {
        let wanted = one(attempt);
        let mut waiting = self.parts.floor.slots().take_queued(&[wanted]);
        waiting.extend(self.take_resuming(&[wanted]));
        if !waiting.is_empty() {
            self.give_back(waiting);
            return self.start_ready();
        }
        if notice_ms == 0 {
            return self.stop_for_another(attempt);
        }
        let stops = Instant::now() + Duration::from_millis(notice_ms);
        if self.parts.floor.slots().running().any(|running| running.is_of(&wanted)) {
            self.notices.insert(attempt, stops);
            self.parts.floor.notify(&wanted, stops.into_std());
        }
    }

    /// The server holds a checkpoint of the attempt: nothing more is gained by its running on.
    pub(super) fn on_saved_durably(&mut self, attempt: AttemptId) {
        if self.notices.contains_key(&attempt) {
            self.stop_for_another(attempt);
        }
    }

    pub(super) fn on_notices_over(&mut self, now: Instant) {
        let over: Vec<AttemptId> = self
            .notices
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(attempt, _)| *attempt)
            .collect();
        over.into_iter().for_each(|attempt| self.stop_for_another(attempt));
    }

    fn stop_for_another(&mut self, attempt: AttemptId) {
        self.notices.remove(&attempt);
        let wanted = one(attempt);
        self.parts.floor.stop(Stopping::Preempted, |running| running.is_of(&wanted));
    }

    /// It has stopped.
    pub(super) fn on_preempted(&mut self, attempt: AttemptId, usage: Usage) {
        self.notices.remove(&attempt);
        self.outbox.push(Report::Preempted { attempt, usage });
        self.on_closed(attempt.task.job, 1);
    }
}
