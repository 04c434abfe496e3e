//! How many requests of a service may be tried again: a share of those that came, so that a
//! service that fails is not asked twice as often for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Earned by each request, in thousandths of another try.
const EARNED: u32 = 200;

/// A try, in thousandths.
const TRY: u32 = 1000;

/// Tries that can be saved up.
const SAVED: u32 = 100 * TRY;

/// Tries that there are whatever came, a second, in thousandths a millisecond: ten.
const FLOOR: u64 = 10;

/// Tries saved up by the floor alone.
const FLOOR_SAVED: u32 = 10 * TRY;

/// A bucket of tries. Times in milliseconds of the gateway's clock.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU32,
    /// When the floor was last added.
    floored: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: AtomicU32::new(FLOOR_SAVED), floored: AtomicU64::new(0) }
    }

    /// A request came.
    pub(crate) fn earn(&self) {
        if self.left.load(Ordering::Relaxed) < SAVED {
            self.left.fetch_add(EARNED, Ordering::Relaxed);
        }
    }

    /// Whether a request may be tried again; if so, that try is spent.
    pub(crate) fn spend(&self, now: u64) -> bool {
        self.add_floor(now);
        let spent = |left: u32| left.checked_sub(TRY);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }

    fn add_floor(&self, now: u64) {
        let since = now.saturating_sub(self.floored.swap(now, Ordering::Relaxed));
        let floor = u32::try_from(since.saturating_mul(FLOOR)).unwrap_or(FLOOR_SAVED);
        let added = |left: u32| {
            let with_floor = left.saturating_add(floor).min(FLOOR_SAVED);
            (with_floor > left).then_some(with_floor)
        };
        // Enough is left without it where this fails.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &Budget, now: u64) -> u32 {
        let mut spent = 0;
        while budget.spend(now) {
            spent += 1;
        }
        spent
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again_besides_a_small_floor() {
        let budget = Budget::new();
        assert_eq!(spend_all(&budget, 0), 10);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spend_all(&budget, 0), 20);
        assert_eq!(spend_all(&budget, 500), 5);
        assert_eq!(spend_all(&budget, 60_000), 10, "the floor is not saved up for long");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = Budget::new();
        (0..100_000).for_each(|_| budget.earn());
        assert_eq!(spend_all(&budget, 0), 100);
    }
}
