//! What is wanted of a service against what there is. Called when an event is over, for each
//! service of which something came about; what follows is facts, and the service is looked
//! at again until nothing follows any more.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::service::{ServiceId, ServiceSpec};
use wrun_protocol::wire::service::{ScaleTo, ScaledBy};
use wrun_protocol::{JobId, Timestamp};

use super::rollout::{Seen, rolling};
use crate::core::Core;
use crate::fact::Fact;
use crate::state::services::{Revision, Service};

/// When to look at services, if nothing happens before. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    by_time: BTreeSet<(Timestamp, ServiceId)>,
    of: BTreeMap<ServiceId, Timestamp>,
}

impl Looks {
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    fn set(&mut self, id: &ServiceId, at: Option<Timestamp>) {
        if let Some(before) = self.of.remove(id) {
            self.by_time.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.of.insert(id.clone(), at);
            self.by_time.insert((at, id.clone()));
        }
    }
}

impl Core {
    /// Services whose time has come are looked at when the event is over.
    pub(crate) fn look_at_services(&mut self) {
        while let Some((at, id)) = self.looks.by_time.first().cloned()
            && at <= self.now
        {
            self.looks.set(&id, None);
            self.state.services.doubt(&id);
        }
    }

    /// Looks at every service that is due, until nothing follows from anything.
    pub(crate) fn settle_services(&mut self) {
        while let Some(id) = self.state.services.due.pop_first() {
            self.settle_service(&id);
        }
    }

    /// Compares what is wanted of a service with what there is.
    ///
    /// Here planning is plugged in, which decides nothing by itself but says what should be:
    /// [`Self::number_wanted`] how many replicas in all, by what users said and by the load;
    /// [`Self::share_out`] how many of these each revision has, by how far a rollout is. Both
    /// read the state and the time, and are asked again after every event that concerns the
    /// service: what they say must come to rest while nothing happens. When it changes with
    /// time alone, [`Self::next_look`] must say when. Facts of their own (a step of a canary)
    /// are to be appended before they are asked, as [`Self::settle_number`] does; such a fact
    /// notes the service in `Services::due`, and in `Services::changed` where gateways are
    /// concerned.
    fn settle_service(&mut self, id: &ServiceId) {
        self.end_late_replicas(id);
        self.settle_number(id);
        for (revision, replicas) in self.share_out(id) {
            self.settle_revision(id, revision, replicas);
        }
        self.forget_revisions(id);
        let next = self.state.services.get(id).and_then(|service| self.next_look(service));
        self.looks.set(id, next);
    }

    fn settle_number(&mut self, id: &ServiceId) {
        let Some(service) = self.state.services.get(id) else { return };
        let Some(spec) = service.wanted().map(|revision| &revision.spec) else { return };
        let (to, why) = Self::number_wanted(service, spec);
        if to != service.number {
            self.append(Fact::ServiceScaled { at: self.now, service: id.clone(), to, why });
        }
    }

    /// How many replicas of the service are wanted, of whatever revisions, and why it is
    /// another number than before, if it is.
    fn number_wanted(service: &Service, spec: &ServiceSpec) -> (u32, ScaledBy) {
        let number = match service.scale {
            _ if service.stopping => 0,
            Some(ScaleTo::Replicas(replicas)) => replicas,
            Some(ScaleTo::Bounds { min, max }) => service.number.clamp(min, max.max(min)),
            None | Some(ScaleTo::Specified) if spec.scale.on.is_none() => spec.scale.min,
            None | Some(ScaleTo::Specified) => {
                service.number.clamp(spec.scale.min, spec.scale.max.max(spec.scale.min))
            }
        };
        (number, ScaledBy::User)
    }

    /// How many replicas of each revision are to stay, those on their way out not counted.
    pub(crate) fn share_out(&self, id: &ServiceId) -> BTreeMap<u32, u32> {
        let Some(service) = self.state.services.get(id) else { return BTreeMap::new() };
        let Some(wanted) = service.wanted() else { return BTreeMap::new() };
        let seen = |revision: &Revision| Seen {
            kept: revision.kept(),
            ready: self.ready_replicas(revision).count() as u32,
        };
        let seen = service.revisions.iter().map(|(number, of)| (*number, seen(of))).collect();
        rolling(service.wanted, service.number, &wanted.spec.rollout, &seen)
    }

    /// Ends the jobs of revisions to which nobody can go back any more.
    fn forget_revisions(&mut self, id: &ServiceId) {
        let Some(service) = self.state.services.get(id) else { return };
        let keep = match service.wanted() {
            _ if service.stopping => 0,
            Some(wanted) => wanted.spec.rollout.keep as usize,
            None => 0,
        };
        let others = service
            .revisions
            .iter()
            .rev()
            .filter(|(number, of)| {
                of.replicas.is_empty() && (service.stopping || **number != service.wanted)
            })
            .map(|(_, of)| of.job);
        let gone: Vec<JobId> = others.skip(keep).collect();
        gone.into_iter().for_each(|job| self.cancel_job(job));
    }
}
