//! The longest time without a byte in either direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

/// How long nothing may happen.
#[derive(Clone, Debug)]
pub(crate) struct Quiet {
    pub(crate) idle: Duration,
    pub(crate) clock: Clock,
    /// When a byte of the request came last; `None`: all of it was there from the beginning.
    pub(crate) sent: Option<Arc<AtomicU64>>,
}

impl Quiet {
    /// Until when nothing may happen, where the replica was last heard of at `heard`.
    pub(crate) fn until(&self, heard: Instant) -> Instant {
        let sent = self.sent.as_ref().map_or(0, |sent| sent.load(Ordering::Relaxed));
        self.clock.instant(sent).max(heard) + self.idle
    }

    /// Is over when nothing has happened for that long, counted from now; or at the deadline.
    pub(crate) async fn over(&self, deadline: Instant) {
        let heard = Instant::now();
        loop {
            let until = self.until(heard).min(deadline);
            tokio::time::sleep_until(until).await;
            if until == deadline || self.until(heard) <= Instant::now() {
                return;
            }
        }
    }
}
