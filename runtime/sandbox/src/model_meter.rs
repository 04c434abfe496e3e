//! How much the guests of a job ask of models: what a service can be scaled on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wrun_inference::Histogram;

/// What was answered since it was last taken, errors included, by microseconds. Shared by the
/// tasks of a job on a node, and held for a few instructions by each answer.
#[derive(Debug, Default)]
pub struct ModelMeter(Mutex<Histogram>);

impl ModelMeter {
    /// A model has answered.
    pub(crate) fn answered(&self, took: Duration) {
        self.answers().add_time(took);
    }

    /// What came together since the last time.
    pub fn take(&self) -> Histogram {
        std::mem::take(&mut *self.answers())
    }

    fn answers(&self) -> MutexGuard<'_, Histogram> {
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
        let answers = meter.take();
        assert_eq!((answers.count(), answers.sum()), (4, 1901));
        assert_eq!(answers.counts(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(meter.take(), Histogram::default());
    }
}
