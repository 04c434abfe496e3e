//! The server's clock: wall time read once, then carried on by the monotonic clock, so
//! that neither a step of the wall clock nor a restart ever moves the core's time back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wrun_protocol::{Timestamp, time};

/// Wall time that only moves forward.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that starts at the wall time, or at `least` where the wall clock is behind
    /// what the journal has recorded already.
    pub(crate) fn start(least: Timestamp) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { base: Timestamp(time::millis(wall)).max(least), started: Instant::now() }
    }

    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.base.after(self.started.elapsed())
    }

    /// When `instant` comes, for a timer, counted from the same start.
    pub(crate) fn instant(&self, instant: Timestamp) -> Instant {
        self.started + instant.since(self.base).min(Duration::from_secs(365 * 24 * 3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_starts_before_what_was_recorded() {
        let recorded = Timestamp(u64::MAX / 2);
        assert!(Clock::start(recorded).now() >= recorded);
    }

    #[test]
    fn a_timer_for_the_past_fires_at_once() {
        let clock = Clock::start(Timestamp(0));
        assert!(clock.instant(Timestamp(0)) <= Instant::now());
    }
}
