//! The gateway's clock: how long it has been there, in numbers that atomics hold.

use std::time::Duration;

use tokio::time::Instant;

/// Begins at one second, so that no instant is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begun: Instant,
}

const OFFSET_US: u64 = 1_000_000;

impl Clock {
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now() }
    }

    /// Microseconds.
    pub(crate) fn us(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begun).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX / 2) + OFFSET_US
    }

    /// Milliseconds.
    pub(crate) fn ms(self, at: Instant) -> u64 {
        self.us(at) / 1000
    }

    /// The instant of so many milliseconds.
    pub(crate) fn instant(self, ms: u64) -> Instant {
        let since = Duration::from_millis(ms.saturating_sub(OFFSET_US / 1000));
        self.begun + since
    }
}
