//! What one gateway sees of a revision's load.

use std::sync::{Mutex, MutexGuard, PoisonError};

use wrun_protocol::wire::service::RevisionLoad;

/// Powers of two of microseconds that are told apart: the last one is six days.
const BUCKETS: usize = 40;

/// The load of a revision since it was last taken. Instants are microseconds of the gateway's
/// clock. Held for a few dozen instructions, twice a request, by the requests of one revision.
#[derive(Debug, Default)]
pub(crate) struct Load(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    in_flight: u32,
    /// Up to when `busy_us` is summed.
    summed: u64,
    busy_us: u64,
    requests: u64,
    errors: u64,
    latency: [u64; BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Self { in_flight: 0, summed: 0, busy_us: 0, requests: 0, errors: 0, latency: [0; BUCKETS] }
    }
}

impl Load {
    /// A request was given to a replica.
    pub(crate) fn begin(&self, now: u64) {
        let mut counts = self.counts();
        counts.sum(now);
        counts.in_flight += 1;
    }

    /// A replica is done with a request.
    pub(crate) fn end(&self, now: u64) {
        let mut counts = self.counts();
        counts.sum(now);
        counts.in_flight = counts.in_flight.saturating_sub(1);
    }

    /// A request was answered after so many microseconds.
    pub(crate) fn answered(&self, latency_us: u64, is_error: bool) {
        let bucket = (u64::BITS - latency_us.leading_zeros()) as usize;
        let mut counts = self.counts();
        counts.requests += 1;
        counts.errors += u64::from(is_error);
        if let Some(count) = counts.latency.get_mut(bucket.min(BUCKETS - 1)) {
            *count += 1;
        }
    }

    /// What came together since the last time; `None`: nothing, and nothing is under way.
    pub(crate) fn take(&self, revision: u32, now: u64) -> Option<RevisionLoad> {
        let mut counts = self.counts();
        counts.sum(now);
        if counts.in_flight == 0 && counts.requests == 0 && counts.busy_us == 0 {
            return None;
        }
        let in_flight = counts.in_flight;
        let rest = counts.busy_us % 1000;
        let fresh = Counts { in_flight, summed: counts.summed, busy_us: rest, ..Counts::default() };
        let taken = std::mem::replace(&mut *counts, fresh);
        if in_flight == 0 {
            // What is left is less than a millisecond, and would be told for ever.
            counts.busy_us = 0;
        }
        let used = taken.latency.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        Some(RevisionLoad {
            revision,
            in_flight,
            busy_ms: taken.busy_us / 1000,
            requests: taken.requests,
            errors: taken.errors,
            latency: taken.latency.into_iter().take(used).collect(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn sum(&mut self, now: u64) {
        // Instants of two threads may come the wrong way round.
        self.busy_us += u64::from(self.in_flight) * now.saturating_sub(self.summed);
        self.summed = self.summed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_summed_over_requests_and_over_calls() {
        let load = Load::default();
        load.begin(1_000_000);
        load.begin(1_500_000);
        load.end(2_000_000);
        let first = load.take(3, 2_500_000).unwrap();
        assert_eq!((first.revision, first.in_flight, first.busy_ms), (3, 1, 2000));
        load.end(3_000_000);
        let second = load.take(3, 9_000_000).unwrap();
        assert_eq!((second.in_flight, second.busy_ms), (0, 500));
        assert_eq!(load.take(3, 10_000_000), None);
    }

    #[test]
    fn latencies_are_counted_by_powers_of_two() {
        let load = Load::default();
        for (us, error) in [(0, false), (1, false), (1000, true), (1023, false), (1024, false)] {
            load.answered(us, error);
        }
        let taken = load.take(1, 0).unwrap();
        assert_eq!((taken.requests, taken.errors), (5, 1));
        assert_eq!(taken.latency, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
        load.answered(u64::MAX, false);
        assert_eq!(load.take(1, 0).unwrap().latency.len(), BUCKETS);
    }
}
