//! Requests under way for the services of one tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One of them. Dropping it says that it is over.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicU32>);

impl UnderWay {
    /// One more, if there are fewer than `limit`.
    pub(crate) fn begin(count: &Arc<AtomicU32>, limit: u32) -> Option<Self> {
        // Counted first: two that come at once cannot both be the last one.
        let before = count.fetch_add(1, Ordering::Relaxed);
        let begun = Self(Arc::clone(count));
        (before < limit).then_some(begun)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_are_under_way() {
        let count = Arc::default();
        let first = UnderWay::begin(&count, 2).unwrap();
        let _second = UnderWay::begin(&count, 2).unwrap();
        assert!(UnderWay::begin(&count, 2).is_none());
        drop(first);
        assert!(UnderWay::begin(&count, 2).is_some());
    }
}
