//! What is recorded of rollouts: which revision is to be replaced, and how far that is.

use serde::{Deserialize, Serialize};
use wrun_protocol::Timestamp;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{RolledBackBy, ServiceHappened};

use super::{Service, Services};
use crate::rollout::Progress;

/// A rollout of the revision that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moving {
    /// The revision that was in place before, to go back to.
    pub(crate) from: u32,
    pub(crate) progress: Progress,
}

impl Service {
    /// Another revision is wanted than before.
    pub(super) fn begin_rollout(&mut self) {
        let from = match &self.rollout {
            // What was on its way was never in place.
            Some(moving) if !moving.progress.back => moving.from,
            _ => self.wanted,
        };
        self.rollout = Some(Moving { from, progress: Progress::default() });
    }

    /// The revision to which the service goes back when nobody names one.
    pub(crate) fn revision_before(&self) -> Option<u32> {
        let known = |number: &u32| *number != self.wanted && self.revisions.contains_key(number);
        match &self.rollout {
            Some(moving) => Some(moving.from).filter(known),
            None => self
                .before
                .filter(known)
                .or_else(|| self.revisions.range(..self.wanted).next_back().map(|(at, _)| *at)),
        }
    }

    /// Whether the service may go back to that revision without a user who names it.
    pub(crate) fn may_go_back_to(&self, number: u32) -> bool {
        self.before == Some(number)
            || self.rollout.as_ref().is_some_and(|moving| moving.from == number)
    }
}

impl Services {
    /// How far a rollout is, and whether it goes further.
    pub(super) fn move_on(&mut self, id: &ServiceId, progress: Progress) {
        let Some(moving) = self.live.get_mut(id).and_then(|of| of.rollout.as_mut()) else {
            return;
        };
        moving.progress = Progress { back: moving.progress.back, ..progress };
        self.due.insert(id.clone());
        self.changed.insert(id.clone());
    }

    /// The revision that is wanted is in place.
    pub(super) fn roll_out(&mut self, at: Timestamp, id: &ServiceId) {
        let Some(service) = self.live.get_mut(id) else { return };
        // Whoever goes back once more wants to be further back, not where he came from.
        let moving = service.rollout.take().filter(|moving| !moving.progress.back);
        service.before = moving.map(|moving| moving.from);
        service.note(at, ServiceHappened::RolledOut { revision: service.wanted });
        self.due.insert(id.clone());
        self.changed.insert(id.clone());
    }

    /// An earlier revision is wanted again.
    pub(super) fn roll_back(&mut self, at: Timestamp, id: &ServiceId, to: u32, why: RolledBackBy) {
        let Some(service) = self.live.get_mut(id) else { return };
        let from = std::mem::replace(&mut service.wanted, to);
        let progress = Progress { back: true, ..Progress::default() };
        service.rollout = Some(Moving { from, progress });
        service.note(at, ServiceHappened::RolledBack { from, to, why });
        self.due.insert(id.clone());
        self.changed.insert(id.clone());
    }
}
