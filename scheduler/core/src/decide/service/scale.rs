//! How many replicas of a service are wanted: as a user said, or by what gateways tell of
//! its load. The load is not recorded, what follows from it is: that another number is
//! wanted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{LoadRow, ModelLoad, ScaledBy, ServiceLoad};
use wrun_protocol::{JobId, NodeId, Timestamp};

use crate::core::Core;
use crate::fact::Fact;
use crate::scaling::{Autoscaler, Rules, Standing, Watched};
use crate::state::services::Service;

/// The least time from one look at a service's load to the next: many gateways tell one
/// after the other, and there is one decision for all. Requests that wait for a first
/// replica do not wait for this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The loads of services that have one, or had one of late. Not recorded.
#[derive(Debug, Default)]
pub(crate) struct Scalers {
    by_service: BTreeMap<ServiceId, Scaler>,
    /// Since when all load was told: since the core began, as far as it knows.
    since: Timestamp,
}

#[derive(Debug)]
struct Scaler {
    of: Autoscaler,
    looked: Timestamp,
    /// When to look again although no load was told.
    next: Option<Timestamp>,
}

impl Scaler {
    fn new(rules: Rules, since: Timestamp) -> Self {
        Self { of: Autoscaler::new(rules, since), looked: Timestamp(0), next: None }
    }
}

impl Scalers {
    pub(super) fn next_look(&self, id: &ServiceId) -> Option<Timestamp> {
        self.by_service.get(id)?.next
    }

    pub(super) fn forget(&mut self, id: &ServiceId) {
        self.by_service.remove(id);
    }

    /// A node's gateway is not heard any more.
    pub(crate) fn on_gateway_gone(&mut self, node: NodeId) {
        self.by_service.values_mut().for_each(|scaler| scaler.of.on_gateway_gone(node));
    }

    /// Answers of a revision of late, if they are counted.
    pub(super) fn watched(&self, id: &ServiceId, revision: u32, now: Timestamp) -> Watched {
        let scaler = self.by_service.get(id);
        scaler.map(|scaler| scaler.of.watched(revision, now)).unwrap_or_default()
    }

    /// The load over the last while.
    pub(crate) fn load(&self, id: &ServiceId, now: Timestamp) -> LoadRow {
        let scaler = self.by_service.get(id);
        scaler.map(|scaler| scaler.of.load(now)).unwrap_or_default()
    }
}

impl Core {
    /// The core begins to hear of loads. What was decided by those before holds until the
    /// load is known again.
    pub(crate) fn begin_scaling(&mut self) {
        let since = self.now;
        let services = self.state.services.iter().filter_map(|(id, service)| {
            let rules = Rules::new(&service.wanted()?.spec, service.scale);
            let falls = rules.fixed.is_none() && service.number > rules.min;
            falls.then(|| (id.clone(), Scaler::new(rules, since)))
        });
        self.scalers = Scalers { by_service: services.collect(), since };
    }

    pub(crate) fn on_load(&mut self, node: NodeId, loads: Vec<ServiceLoad>) {
        let now = self.now;
        for load in loads {
            let Some(service) = self.state.services.get(&load.id) else { continue };
            let Some(wanted) = service.wanted().filter(|of| of.spec.http().is_some()) else {
                continue;
            };
            if service.stopping {
                continue;
            }
            let since = self.scalers.since;
            let scaler = self
                .scalers
                .by_service
                .entry(load.id.clone())
                .or_insert_with(|| Scaler::new(Rules::new(&wanted.spec, service.scale), since));
            scaler.of.watch(service.rollout.map(|_| service.wanted));
            scaler.of.on_load(now, node, &load);
            let wakes = service.number == 0 && load.waiting > 0;
            if wakes || now >= scaler.looked.after(LOOK_INTERVAL) {
                self.state.services.doubt(&load.id);
            }
        }
    }

    /// A node tells what replicas there asked of models. Only services that are scaled on that
    /// have it counted; those of one service together, as one report covers one time.
    pub(crate) fn on_model_load(&mut self, node: NodeId, loads: Vec<ModelLoad>) {
        let mut by_service: BTreeMap<ServiceId, ModelLoad> = BTreeMap::new();
        for load in loads {
            let Some((id, _)) = self.state.services.of_job(load.job) else { continue };
            match by_service.entry(id.clone()) {
                Entry::Vacant(entry) => _ = entry.insert(load),
                Entry::Occupied(mut entry) => entry.get_mut().add(&load),
            }
        }
        let now = self.now;
        for (id, load) in by_service {
            let Some(scaler) = self.scalers.by_service.get_mut(&id) else { continue };
            scaler.of.on_model_load(now, node, &load);
            if now >= scaler.looked.after(LOOK_INTERVAL) {
                self.state.services.doubt(&id);
            }
        }
    }

    /// A replica of the revision gets ready: where it is the first, the service has its idle time
    /// from now on.
    pub(super) fn on_proven(&mut self, job: JobId) {
        let services = &self.state.services;
        if services.revision(job).is_some_and(|of| !of.proven)
            && let Some((id, _)) = services.of_job(job)
            && let Some(scaler) = self.scalers.by_service.get_mut(id)
        {
            scaler.of.keep_awake(self.now);
        }
    }

    pub(super) fn settle_number(&mut self, id: &ServiceId) {
        let Some(from) = self.state.services.get(id).map(|service| service.number) else { return };
        let Some((to, why)) = self.number_wanted(id) else { return };
        if to != from {
            self.append(Fact::ServiceScaled { at: self.now, service: id.clone(), to, why });
        }
    }

    /// How many replicas of the service are wanted, of whatever revisions, and why it is
    /// another number than before, if it is.
    ///
    /// A revision that was never ready has one replica although nobody asks for it: else one
    /// that is broken would take the place of one that is not, and be found out by the first
    /// request.
    fn number_wanted(&mut self, id: &ServiceId) -> Option<(u32, ScaledBy)> {
        let service = self.state.services.get(id)?;
        if service.stopping {
            self.scalers.forget(id);
            return Some((0, ScaledBy::User));
        }
        let wanted = service.wanted()?;
        let rules = Rules::new(&wanted.spec, service.scale);
        let tries = rules.fixed.is_none() && rules.min == 0 && !wanted.proven;
        let bounded = match rules.fixed {
            Some(fixed) => fixed,
            None => service.number.clamp(rules.min, rules.max),
        };
        let standing = Standing { wanted: service.number, ready: self.ready_of(service) };
        let said = match service.scale {
            Some(_) => ScaledBy::User,
            None => ScaledBy::Specification,
        };
        // What nobody asks for any more goes when nothing was asked for long enough.
        let falls = rules.fixed.is_none() && (bounded > rules.min || tries);
        if falls && !self.scalers.by_service.contains_key(id) {
            let scaler = Scaler::new(rules.clone(), self.now);
            self.scalers.by_service.insert(id.clone(), scaler);
        }
        let Some(scaler) = self.scalers.by_service.get_mut(id) else {
            return Some((bounded, said));
        };
        scaler.of.set_rules(self.now, rules, standing);
        if tries {
            scaler.of.keep_awake(self.now);
        }
        let decision = scaler.of.decide(self.now, standing);
        let now = self.now;
        (scaler.looked, scaler.next) = (now, decision.next.filter(|at| *at > now));
        if scaler.of.is_forgettable(self.now, decision.wanted) {
            self.scalers.forget(id);
        }
        let why = match (standing.wanted, decision.wanted) {
            (from, to) if to == bounded && to != from => said,
            (0, 1) if tries => ScaledBy::Trial,
            _ => decision.why,
        };
        Some((decision.wanted, why))
    }

    fn ready_of(&self, service: &Service) -> u32 {
        let ready = |revision| self.ready_replicas(revision).count();
        service.revisions.values().map(ready).sum::<usize>() as u32
    }
}
