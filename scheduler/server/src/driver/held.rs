//! Effects that wait until the facts before them are durable.

use std::collections::VecDeque;
use std::sync::Arc;

use wrun_core::workflow::Preparation;
use wrun_core::{Answer, RequestId};
use wrun_protocol::JobId;
use wrun_protocol::wire::user::RequestError;
use wrun_protocol::wire::worker::ToWorker;

use super::Tell;
use crate::outbox::Outbox;

/// An effect of the core, bound to the session it was meant for: a session that began
/// later must not get what was decided for the one before.
pub(super) enum Held {
    Send { outbox: Arc<Outbox>, message: ToWorker },
    Reply { request: RequestId, answer: Result<Answer, RequestError> },
    Changed(JobId),
    Prepare(Box<Preparation>),
    LookUp(JobId),
    Tell(Tell),
}

/// Two queues in order of sequence: effects wait for the journal; what was seen by a
/// view waits besides until the history has it.
#[derive(Default)]
pub(super) struct HeldQueue {
    effects: VecDeque<(u64, Held)>,
    views: VecDeque<(u64, Tell)>,
}

impl HeldQueue {
    /// Holds `effect` until fact `after` is durable.
    pub(super) fn hold(&mut self, after: u64, effect: Held) {
        self.effects.push_back((after, effect));
    }

    /// Holds what a view saw until fact `after` is in the history.
    pub(super) fn hold_view(&mut self, after: u64, tell: Tell) {
        self.views.push_back((after, tell));
    }

    /// The next effect that may leave.
    pub(super) fn release(&mut self, durable: u64) -> Option<Held> {
        if self.effects.front()?.0 > durable {
            return None;
        }
        self.effects.pop_front().map(|(_, effect)| effect)
    }

    /// Tells every view that may be told.
    pub(super) fn tell_views(&mut self, recorded: u64) {
        while self.views.front().is_some_and(|(after, _)| *after <= recorded) {
            if let Some((_, tell)) = self.views.pop_front() {
                tell();
            }
        }
    }

    /// How many effects wait.
    pub(super) fn len(&self) -> usize {
        self.effects.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.views.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_leave_in_order_and_never_before_their_facts() {
        let mut queue = HeldQueue::default();
        queue.hold(1, Held::Changed(JobId(1)));
        queue.hold(1, Held::Changed(JobId(2)));
        queue.hold(3, Held::Changed(JobId(3)));
        assert!(queue.release(0).is_none());
        assert!(matches!(queue.release(2), Some(Held::Changed(JobId(1)))));
        assert!(matches!(queue.release(2), Some(Held::Changed(JobId(2)))));
        assert!(queue.release(2).is_none());
        assert!(matches!(queue.release(3), Some(Held::Changed(JobId(3)))));
        assert!(queue.is_empty());
    }
}
