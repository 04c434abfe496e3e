//! How the worker ends: drained, with everything handed back, or at once.

use std::time::Duration;

use tokio::time::Instant;
use wrun_protocol::wire::worker::FromWorker;

use super::server::one;
use super::{Agent, Command};
use crate::executor::Executor;
use crate::slots::Stopping;

/// How long guests may take to end that were stopped.
const STOPPING: Duration = Duration::from_secs(1);

/// Of the grace time at most this is left to the last requests of replicas: long ones have had
/// the rest.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// What the worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It takes tasks.
    Serving,
    /// What runs may end by itself until then. Replicas serve until `serve_until`, so that
    /// the server can have others take their place.
    Draining { serve_until: Instant, until: Instant },
    /// The same, and replicas take no more requests.
    Ending { until: Instant },
    /// What ran was stopped or has ended; its reports may be acknowledged until then.
    Leaving { until: Instant },
    /// Everything was told, or cannot be.
    Over,
}

impl Mode {
    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Draining { serve_until: until, .. }
            | Self::Ending { until }
            | Self::Leaving { until } => Some(*until),
            Self::Serving | Self::Over => None,
        }
    }
}

impl<E: Executor> Agent<E> {
    pub(super) fn is_over(&self) -> bool {
        self.mode == Mode::Over
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.mode != Mode::Serving
    }

    pub(super) fn on_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Drain) if self.mode == Mode::Serving => self.on_drain(),
            Some(Command::Drain) => {}
            Some(Command::Stop) | None => self.mode = Mode::Over,
        }
    }

    fn on_drain(&mut self) {
        let now = Instant::now();
        let (grace, last) = (self.parts.grace, self.parts.grace.min(LAST_REQUESTS * 3) / 3);
        self.mode = Mode::Draining { serve_until: now + grace - last, until: now + grace };
        self.paused = true;
        self.close_entrance();
        if self.session.is_some() {
            self.urgent.push_back(FromWorker::Draining);
        }
        let mut returned = {
            let mut slots = self.parts.floor.slots();
            slots.pause(true);
            let queued: Vec<_> = slots.queued().map(|(_, queued)| queued).collect();
            slots.take_queued(&queued)
        };
        returned.extend(std::mem::take(&mut self.resuming).into_iter().map(one));
        tracing::info!(
            waiting = returned.iter().map(|each| u64::from(each.tasks.count)).sum::<u64>(),
            running = self.parts.floor.slots().running_count(),
            "draining: what waits is handed back, what runs may end"
        );
        self.give_back(returned);
    }

    pub(super) fn on_drain_time(&mut self, now: Instant) {
        let idle = self.parts.floor.slots().running_count() == 0
            && self.jobs.values().all(|entry| entry.open == 0)
            && !self.closing;
        match self.mode {
            Mode::Draining { .. } | Mode::Ending { .. } if idle => {
                self.mode = Mode::Leaving { until: now + self.parts.timing.last_reports };
            }
            Mode::Draining { serve_until, until } if serve_until <= now => {
                self.parts.floor.drain_replicas();
                self.mode = Mode::Ending { until };
            }
            Mode::Ending { until } if until <= now => {
                let stopped = self.parts.floor.stop(Stopping::Returned, |_| true);
                tracing::info!(stopped, "the grace time is over: what still runs is handed back");
                self.mode = Mode::Leaving { until: now + self.parts.timing.last_reports };
            }
            Mode::Leaving { until } if until <= now => {
                tracing::warn!("leaving without the server's acknowledgement of the last reports");
                self.mode = Mode::Over;
            }
            Mode::Leaving { .. } if idle && self.outbox.is_empty() => self.mode = Mode::Over,
            _ => {}
        }
    }

    /// Says goodbye if everything was told, and stops what still runs.
    pub(super) async fn leave(mut self) {
        let told = self.outbox.is_empty() && self.jobs.values().all(|entry| entry.open == 0);
        if let Some(session) = self.session.take()
            && told
        {
            self.urgent.push_back(FromWorker::Goodbye);
            // If the session breaks now, the lease ends by itself.
            let _ = session.outgoing.send(self.urgent.drain(..).collect()).await;
            drop(session.outgoing);
            let wait = session.connection.closed();
            let _ = tokio::time::timeout(STOPPING * 3, wait).await;
        } else if let Some(session) = &self.session {
            session.connection.close(wrun_net::close_code::GOING_AWAY, "the worker stops");
        }
        self.stop_guests().await;
    }

    async fn stop_guests(&mut self) {
        let floor = self.parts.floor.clone();
        floor.slots().pause(true);
        floor.stop(Stopping::Silently, |_| true);
        let end = Instant::now() + STOPPING;
        while floor.slots().running_count() > 0 && Instant::now() < end {
            let _ = tokio::time::timeout_at(end, floor.events.wait()).await;
            floor.events.drain(&mut self.events);
            self.events.clear();
        }
    }
}
