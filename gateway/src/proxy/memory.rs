//! The bytes that a gateway gathers of bodies, in all requests together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be gathered.
#[derive(Debug)]
pub(crate) struct Memory {
    left: AtomicUsize,
}

/// Bytes set aside. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    /// Sets so many aside; `None`: there are not as many left.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Held { memory: Arc::clone(self), bytes })
    }
}

impl Held {
    /// Gives back what is more than so many.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.memory.left.fetch_add(less, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_held_again() {
        let memory = Arc::new(Memory::new(10));
        let mut first = memory.hold(8).unwrap();
        assert!(memory.hold(3).is_none());
        first.shrink(5);
        first.shrink(7);
        let second = memory.hold(5).unwrap();
        assert!(memory.hold(1).is_none());
        drop((first, second));
        assert!(memory.hold(10).is_some());
    }
}
