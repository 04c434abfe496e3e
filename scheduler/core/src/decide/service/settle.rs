//! What is wanted of a service against what there is. Called when an event is over, for each
//! service of which something came about; what follows is facts, and the service is looked
//! at again until nothing follows any more.

use std::collections::{BTreeMap, BTreeSet};

use wrun_protocol::service::ServiceId;
use wrun_protocol::{JobId, Timestamp};

use crate::core::Core;

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
    /// [`Self::settle_number`] says how many replicas there are to be in all, by what users
    /// said and by the load, [`Self::settle_rollout`] how far a rollout is, and
    /// [`Self::share_out`] how many replicas each revision has by that. They are asked again
    /// after every event that concerns the service: what they say comes to rest while nothing
    /// happens.
    fn settle_service(&mut self, id: &ServiceId) {
        self.settle_number(id);
        self.settle_rollout(id);
        self.end_late_replicas(id);
        for (revision, replicas) in self.share_out(id) {
            self.settle_revision(id, revision, replicas);
        }
        self.forget_revisions(id);
        let service = self.state.services.get(id);
        let next = service.and_then(|service| {
            let planned = self.planned(id, service).and_then(|planned| planned.plan.look);
            let looks = [self.next_look(service), self.scalers.next_look(id), planned];
            looks.into_iter().flatten().min()
        });
        if service.is_none() {
            self.scalers.forget(id);
        }
        self.looks.set(id, next);
    }

    /// Ends the jobs of revisions to which nobody can go back any more.
    fn forget_revisions(&mut self, id: &ServiceId) {
        let Some(service) = self.state.services.get(id) else { return };
        let awake = service.revisions.values().any(|of| !of.replicas.is_empty());
        if service.stopping && awake {
            // The one that is wanted stands for the service until all others have gone.
            return;
        }
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
            .skip(keep)
            .filter(|(number, _)| service.stopping || !service.may_go_back_to(**number));
        let gone: Vec<JobId> = others.map(|(_, of)| of.job).collect();
        gone.into_iter().for_each(|job| self.cancel_job(job));
    }
}
