//! Bytes that are counted against a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit and what is used of it.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: u64,
    used: AtomicU64,
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// So many bytes, if they are free.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Held { memory: Arc::clone(self), bytes })
    }
}

impl Held {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what is above `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let rest = self.bytes.saturating_sub(bytes);
        self.memory.used.fetch_sub(rest, Ordering::Relaxed);
        self.bytes -= rest;
    }

    /// Adds another part of the same memory.
    pub(crate) fn join(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_there_is_and_all_comes_back() {
        let memory = Memory::new(100);
        let mut first = memory.hold(60).unwrap();
        assert!(memory.hold(41).is_none());
        let second = memory.hold(40).unwrap();
        first.shrink(10);
        assert_eq!(memory.used(), 50);
        first.join(second);
        assert_eq!((first.bytes(), memory.used()), (50, 50));
        drop(first);
        assert_eq!(memory.used(), 0);
        assert!(memory.hold(u64::MAX).is_none());
    }
}
