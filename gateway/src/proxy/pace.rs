//! How long a client may be waited for: at a stretch no longer than a grace, and in all no
//! longer than that and the time that a least rate gives for the bytes that came. Only
//! waiting counts, so that a client pays nothing for a slow replica.

use std::time::Duration;

use tokio::time::Instant;

use crate::GatewayConfig;

/// What is left to a client for one body.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    grace: Duration,
    /// Bytes a second.
    rate: u32,
    bytes: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let (grace, rate) = (config.body_grace, config.body_rate);
        Self { grace, rate, bytes: 0, waited: Duration::ZERO, since: None }
    }

    /// The client is waited for from now on, if it was not before. Returns until when.
    pub(crate) fn wait(&mut self, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        let earned = Duration::from_millis(self.bytes * 1000 / u64::from(self.rate.max(1)));
        since + (self.grace + earned).saturating_sub(self.waited).min(self.grace)
    }

    /// The client has sent or taken so many bytes.
    pub(crate) fn on_bytes(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::NodeId;

    use super::*;

    #[test]
    fn bytes_earn_time_and_only_waiting_spends_it() {
        let mut config = GatewayConfig::new(NodeId(1));
        (config.body_grace, config.body_rate) = (Duration::from_secs(10), 1000);
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pace = Pace::new(&config);
        assert_eq!(pace.wait(at(0)), at(10));
        assert_eq!(pace.wait(at(3)), at(10), "it has been waited for since the beginning");
        pace.on_bytes(2000, at(4));
        assert_eq!(pace.wait(at(100)), at(108), "ten and two for the bytes, less four");
        pace.on_bytes(50_000, at(108));
        assert_eq!(pace.wait(at(200)), at(210), "ten at a stretch, whatever came before");
        (210..=250).step_by(10).for_each(|second| {
            pace.on_bytes(0, at(second));
            pace.wait(at(second));
        });
        assert_eq!(pace.wait(at(250)), at(250), "nothing is left");
    }
}
