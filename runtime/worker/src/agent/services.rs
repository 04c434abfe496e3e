//! What the agent does for services: hears of them for its gateway, tells of their load, and
//! of how the replicas here are.

use std::time::Duration;

use tokio::time::Instant;
use wrun_protocol::wire::service::{Endpoints, Readied};
use wrun_protocol::wire::worker::{FromWorker, Report, ToWorker};

use super::{Agent, Done};
use crate::executor::Executor;

/// How often the load is told while there is any.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Between two times that it is told because a request waits for a service that sleeps.
const TELL_AT_ONCE_EVERY: Duration = Duration::from_millis(10);

/// Services whose load is told in one message, which is far below the largest frame.
pub(super) const LOADS_AT_ONCE: usize = 256;

/// When the load was told, and is to be told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    last: Option<Instant>,
    next: Option<Instant>,
}

impl Telling {
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.next
    }
}

impl<E: Executor> Agent<E> {
    /// What gateways need to know, from the server.
    pub(super) fn on_told(&mut self, message: ToWorker) {
        self.parts.known.on_message(&message);
        match message {
            ToWorker::Services { whole, services } => self.on_services(whole, services),
            ToWorker::ServicesGone(services) => self.parts.gateway.on_gone(&services),
            ToWorker::Nodes(nodes) => self.parts.carrier.on_nodes(nodes),
            _ => {}
        }
    }

    fn on_services(&mut self, whole: bool, services: Vec<Endpoints>) {
        if !services.is_empty() {
            self.telling.next.get_or_insert(Instant::now() + TELL_EVERY);
        }
        self.parts.gateway.on_services(whole, services);
    }

    /// A request waits that nobody can take.
    pub(super) fn on_urgent_load(&mut self) {
        let now = Instant::now();
        let soonest = self.telling.last.map_or(now, |last| now.max(last + TELL_AT_ONCE_EVERY));
        self.telling.next = Some(self.telling.next.map_or(soonest, |next| next.min(soonest)));
    }

    pub(super) fn on_time_to_tell(&mut self, now: Instant) {
        if self.telling.next.is_none_or(|next| now < next) {
            return;
        }
        self.telling = Telling { last: Some(now), next: Some(now + TELL_EVERY) };
        self.tell_model_load(now);
        // Only of interest now: without a session it is dropped.
        let mut loads = self.parts.gateway.take_loads();
        if self.session.as_ref().is_none_or(|session| !session.welcomed) {
            return;
        }
        while !loads.is_empty() {
            let rest = loads.split_off(loads.len().min(LOADS_AT_ONCE));
            self.urgent.push_back(FromWorker::Load(std::mem::replace(&mut loads, rest)));
        }
    }

    /// A replica is ready, or not any more. Of one that is going, nobody needs to know.
    pub(super) fn on_readied(&mut self, token: u64, state: Readied) {
        let mut slots = self.parts.floor.slots();
        let running = slots.running_mut(token).filter(|running| running.stopping.is_none());
        let Some(running) = running else { return };
        running.readied = Some(state.clone());
        let attempt = running.job.id.task(running.index).attempt(running.attempt);
        drop(slots);
        self.outbox.push(Report::Readied { attempt, state });
    }

    /// Says again how replicas are: a server that has been started again may not know.
    pub(super) fn tell_readiness(&mut self) {
        let slots = self.parts.floor.slots();
        for running in slots.running().filter(|running| running.stopping.is_none()) {
            let Some(state) = running.readied.clone() else { continue };
            let attempt = running.job.id.task(running.index).attempt(running.attempt);
            self.outbox.push(Report::Readied { attempt, state });
        }
    }

    /// Takes no more connections; requests under way have the grace time.
    pub(super) fn close_entrance(&mut self) {
        let Some(entrance) = self.parts.entrance.take() else { return };
        let (grace, done) = (self.parts.grace, self.done.0.clone());
        self.closing = true;
        tokio::spawn(async move {
            entrance.drain(grace).await;
            // The agent may be gone; then nobody waits.
            let _ = done.send(Done::EntranceClosed).await;
        });
    }
}
