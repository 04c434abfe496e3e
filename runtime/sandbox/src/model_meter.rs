//! How much the guests of a job ask of models: what a service can be scaled on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Powers of two of microseconds that are told apart: the last one is six days.
const BUCKETS: usize = 40;

/// What was answered since it was last taken. Shared by the tasks of a job on a node, and held
/// for a few instructions by each answer.
#[derive(Debug, Default)]
pub struct ModelMeter(Mutex<ModelsAsked>);

/// What guests asked of models, over a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelsAsked {
    /// How long all that was answered took together, in microseconds.
    pub busy_us: u64,
    /// How much was answered, errors included.
    pub requests: u64,
    /// Number `i` counts what took less than `2^i` microseconds and not less than half of that.
    pub latency: Vec<u64>,
}

impl ModelMeter {
    /// A model has answered.
    pub(crate) fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = ((u64::BITS - took.leading_zeros()) as usize).min(BUCKETS - 1);
        let mut asked = self.asked();
        asked.busy_us = asked.busy_us.saturating_add(took);
        asked.requests += 1;
        if asked.latency.len() <= bucket {
            asked.latency.resize(bucket + 1, 0);
        }
        if let Some(count) = asked.latency.get_mut(bucket) {
            *count += 1;
        }
    }

    /// What came together since the last time.
    pub fn take(&self) -> ModelsAsked {
        std::mem::take(&mut *self.asked())
    }

    fn asked(&self) -> MutexGuard<'_, ModelsAsked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_how_long_they_took_until_they_are_taken() {
        let meter = ModelMeter::default();
        for us in [0, 1, 1000, 900] {
            meter.answered(Duration::from_micros(us));
        }
        meter.answered(Duration::MAX);
        let asked = meter.take();
        assert_eq!((asked.requests, asked.busy_us), (5, u64::MAX));
        assert_eq!((asked.latency.len(), asked.latency[0], asked.latency[10]), (BUCKETS, 1, 2));
        assert_eq!(meter.take(), ModelsAsked::default());
    }
}
