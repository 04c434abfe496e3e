//! What a task holds of memory, in one sum against one limit: its linear memories, its
//! tables, and what the host holds for it. The engine asks per memory; only the sum
//! counts, so that many memories cannot pass together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// Bytes that an entry of a table takes in the engine.
const TABLE_ENTRY: u64 = 16;

/// The sum and its limit, in bytes.
pub(crate) struct Account {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
    denied: AtomicBool,
}

impl Account {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            denied: AtomicBool::new(false),
        }
    }

    /// Charges `bytes`, or notes that they were denied and charges nothing.
    pub(crate) fn charge(&self, bytes: u64) -> bool {
        let charged = self.try_charge(bytes);
        if !charged {
            self.denied.store(true, Ordering::Relaxed);
        }
        charged
    }

    /// Charges `bytes`, or nothing where the limit does not allow them: the guest has not
    /// asked for them.
    pub(crate) fn try_charge(&self, bytes: u64) -> bool {
        let sum = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        if let Ok(before) = before {
            self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        before.is_ok()
    }

    /// Gives back `bytes` that were charged.
    pub(crate) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The sum now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The highest sum at any time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Whether anything was ever denied.
    pub(crate) fn was_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }
}

/// Asked by the engine before a memory or table grows.
pub(crate) struct Limiter(pub(crate) std::sync::Arc<crate::control::Control>);

impl Limiter {
    fn grow(&self, current: usize, desired: usize, most: Option<usize>, unit: u64) -> bool {
        let more = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        if !self.0.account.charge(more) {
            return false;
        }
        // What the engine will refuse anyway must not stay charged.
        let refused = most.is_some_and(|most| desired > most);
        if refused {
            self.0.account.release(more);
        }
        !refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, TABLE_ENTRY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_stays_within_the_limit_and_its_peak_is_kept() {
        let account = Account::new(100);
        assert!(account.charge(60) && account.charge(40));
        assert!(!account.charge(1) && account.was_denied());
        account.release(50);
        assert!(account.charge(10));
        assert_eq!(account.peak(), 100);
        assert!(account.charge(40) && !account.charge(1));
        assert!(!account.charge(u64::MAX));
    }
}
