//! A queue with a clock that tests turn by hand. Payloads are the requests' own numbers.

use std::time::{Duration, Instant};

use super::super::*;

pub(super) const MS: Duration = Duration::from_millis(1);

/// At most 4 rows, held for 2 ms, one run at a time.
pub(super) const SETTINGS: Settings = Settings {
    max_batch: 4,
    max_delay: Duration::from_millis(2),
    places: 1,
    waiting: 1000,
    waiting_per_tenant: 1000,
};

pub(super) struct Env {
    pub(super) queue: Queue<u8, u64>,
    pub(super) now: Instant,
    pushed: u64,
}

/// What a test says of a request; the rest is alike.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) tenant: &'static str,
    pub(super) weight: u32,
    pub(super) key: Option<u8>,
    pub(super) rows: u32,
    pub(super) cost: u64,
    pub(super) time: Duration,
}

/// A request of `tenant` that may run with others.
pub(super) fn of(tenant: &'static str) -> Given {
    Given { tenant, weight: 1, key: Some(0), rows: 1, cost: 100, time: 1000 * MS }
}

impl Env {
    pub(super) fn new(settings: Settings) -> Self {
        Self { queue: Queue::new(settings), now: Instant::now(), pushed: 0 }
    }

    pub(super) fn push(&mut self, given: Given) -> RequestId {
        self.try_push(given).unwrap()
    }

    pub(super) fn push_all(&mut self, count: usize, given: &Given) -> Vec<RequestId> {
        (0..count).map(|_| self.push(given.clone())).collect()
    }

    pub(super) fn try_push(&mut self, given: Given) -> Result<RequestId, Refused> {
        let Given { tenant, weight, key, rows, cost, time } = given;
        let request = Request {
            tenant: tenant.parse().unwrap(),
            weight,
            key,
            rows,
            cost,
            deadline: self.now + time,
            payload: self.pushed + 1,
        };
        let id = self.queue.push(self.now, request).map_err(|(refused, _)| refused)?;
        self.pushed += 1;
        Ok(id)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Starts a run and gives it with its requests' numbers.
    pub(super) fn start(&mut self) -> Option<(RunId, Vec<u64>)> {
        let Started { run, requests } = self.queue.start(self.now)?;
        Some((run, requests.into_iter().map(|(_, payload)| payload).collect()))
    }

    pub(super) fn end(&mut self, run: RunId) -> Vec<RequestId> {
        self.queue.ended(self.now, run)
    }

    /// The numbers of the requests of a run that starts now and ends at once.
    pub(super) fn run(&mut self) -> Vec<u64> {
        let Some((run, requests)) = self.start() else { return Vec::new() };
        assert_eq!(self.end(run).len(), requests.len());
        requests
    }

    /// What so many runs have run, one after the other.
    pub(super) fn runs(&mut self, count: usize) -> Vec<u64> {
        (0..count).flat_map(|_| self.run()).collect()
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.queue.poll(self.now)
    }

    /// When the queue wants to be looked at again, from now.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.queue.poll_timeout().map(|at| at.saturating_duration_since(self.now))
    }
}
