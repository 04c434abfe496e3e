//! Whether a replica is to get requests, judged by what became of earlier ones: outlier
//! ejection. A replica that fails is left out for a while, longer each time, and comes back
//! on probation.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Failures in a row that eject.
const IN_A_ROW: u32 = 5;

/// Failures in [`WINDOW`] that eject where they are more than half of what came.
const IN_WINDOW: u32 = 10;

/// Over which failures are compared with successes, in milliseconds.
const WINDOW: u64 = 10_000;

/// How long a replica is left out for the first time, in milliseconds; doubled each time.
const FIRST: u64 = 10_000;

/// How long at most.
const LONGEST: u64 = 300_000;

/// Answers in a row that end a probation.
const PROBATION: u32 = 3;

/// What became of the requests to a replica. Times in milliseconds of the gateway's clock,
/// which begins at 1.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Until when it is left out; on probation from then on. 0: neither.
    until: AtomicU64,
    /// Failures in a row.
    row: AtomicU32,
    succeeded: AtomicU32,
    rest: Mutex<Rest>,
}

/// What is looked at only when something fails, or on probation.
#[derive(Debug, Default)]
struct Rest {
    window: u64,
    failed: u32,
    ejections: u32,
    /// When it was last left out or came back.
    changed: u64,
    passed: u32,
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It gets requests.
    Good,
    /// It gets one at a time.
    Probation,
    /// It gets none.
    Ejected,
}

impl Health {
    pub(crate) fn standing(&self, now: u64) -> Standing {
        match self.until.load(Ordering::Relaxed) {
            0 => Standing::Good,
            until if now < until => Standing::Ejected,
            _ => Standing::Probation,
        }
    }

    pub(crate) fn on_success(&self, now: u64) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        if self.row.load(Ordering::Relaxed) > 0 {
            self.row.store(0, Ordering::Relaxed);
        }
        if self.standing(now) == Standing::Probation {
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            rest.passed += 1;
            if rest.passed >= PROBATION {
                rest.changed = now;
                self.until.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A request failed. `may_eject` says whether one more may be left out, and is asked only
    /// if this one should be. Returns whether it is left out from now on.
    pub(crate) fn on_failure(&self, now: u64, may_eject: impl FnOnce() -> bool) -> bool {
        let row = self.row.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(rest.window) > WINDOW {
            rest.window = now;
            rest.failed = 0;
            self.succeeded.store(0, Ordering::Relaxed);
        }
        rest.failed += 1;
        let mostly =
            rest.failed >= IN_WINDOW && rest.failed > self.succeeded.load(Ordering::Relaxed);
        let due = match self.standing(now) {
            Standing::Good => row >= IN_A_ROW || mostly,
            Standing::Probation => true,
            Standing::Ejected => false,
        };
        if !due || !may_eject() {
            return false;
        }
        if now.saturating_sub(rest.changed) > LONGEST {
            rest.ejections = 0;
        }
        let time = FIRST.checked_shl(rest.ejections).unwrap_or(LONGEST).min(LONGEST);
        rest.ejections = (rest.ejections + 1).min(16);
        rest.changed = now + time;
        rest.passed = 0;
        rest.failed = 0;
        self.succeeded.store(0, Ordering::Relaxed);
        self.row.store(0, Ordering::Relaxed);
        self.until.store(now + time, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(health: &Health, times: u32, now: u64) -> bool {
        (0..times).any(|_| health.on_failure(now, || true))
    }

    #[test]
    fn failures_in_a_row_eject_and_answers_in_between_do_not() {
        let health = Health::default();
        assert!(!fail(&health, 4, 1));
        health.on_success(1);
        assert!(!fail(&health, 4, 1));
        assert!(fail(&health, 1, 1));
        assert_eq!(health.standing(1), Standing::Ejected);
        assert_eq!(health.standing(10_000), Standing::Ejected);
        assert_eq!(health.standing(10_001), Standing::Probation);
    }

    #[test]
    fn failures_that_are_more_than_half_eject() {
        let health = Health::default();
        let mut ejected_after = 0;
        for round in 1..20 {
            health.on_success(1);
            if fail(&health, 2, 1) {
                ejected_after = round;
                break;
            }
        }
        assert_eq!(ejected_after, 5);
        let seldom = Health::default();
        for _ in 0..100 {
            seldom.on_success(1);
            seldom.on_success(1);
            assert!(!fail(&seldom, 1, 1));
        }
    }

    #[test]
    fn a_replica_returns_by_probation_and_is_left_out_longer_each_time() {
        let health = Health::default();
        assert!(fail(&health, 5, 1));
        assert!(fail(&health, 1, 10_001), "a failure on probation");
        assert_eq!(health.standing(30_000), Standing::Ejected);
        assert_eq!(health.standing(30_001), Standing::Probation);
        (0..3).for_each(|_| health.on_success(30_001));
        assert_eq!(health.standing(30_001), Standing::Good);
        assert!(fail(&health, 5, 30_002));
        assert_eq!(health.standing(70_001), Standing::Ejected, "it is remembered");
        assert_eq!(health.standing(70_002), Standing::Probation);
        (0..3).for_each(|_| health.on_success(70_002));
        assert!(fail(&health, 5, 500_000));
        assert_eq!(health.standing(510_000), Standing::Probation, "and forgotten in the end");
    }

    #[test]
    fn the_time_has_a_bound() {
        let health = Health::default();
        let mut now = 1;
        assert!(fail(&health, 5, now));
        for _ in 0..40 {
            while health.standing(now) == Standing::Ejected {
                now += 1000;
            }
            assert!(fail(&health, 1, now));
        }
        assert_eq!(health.standing(now + LONGEST), Standing::Probation);
    }

    #[test]
    fn a_replica_that_may_not_be_ejected_goes_on() {
        let health = Health::default();
        for _ in 0..20 {
            assert!(!health.on_failure(1, || false));
        }
        assert_eq!(health.standing(1), Standing::Good);
    }
}
