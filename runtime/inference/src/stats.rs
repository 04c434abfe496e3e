//! What happened, in numbers: counters and histograms that are cheap to add to.

use std::time::Duration;

use crate::batch::axes::Batching;
use crate::engine::ModelKey;
use crate::signature::Signature;

/// How often values fell between powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket `i` counts values from `2^(i-1)` to below `2^i`; the first counts zeros.
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn add(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Counts a duration, in microseconds.
    pub fn add_time(&mut self, time: Duration) {
        self.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts what another one has counted.
    pub fn add_all(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(count, more)| *count += more);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What they add up to.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values each bucket has, from the first to the last that is not empty.
    pub fn counts(&self) -> &[u64] {
        &self.buckets
    }

    /// The buckets that are not empty: the values below which each ends, and how many it has.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let ends = (0_u32..).map(|power| 1_u64.checked_shl(power).unwrap_or(u64::MAX));
        ends.zip(self.buckets.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// A value below which at least so many thousandths of the values are; 0 without any.
    pub fn quantile(&self, thousandths: u64) -> u64 {
        let rank = self.count.saturating_mul(thousandths).div_ceil(1000);
        let mut seen = 0;
        for (end, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return end;
            }
        }
        0
    }
}

/// A loaded model.
#[derive(Clone, Debug)]
pub struct ModelStats {
    /// Which it is; `None` for one that a guest brought itself.
    pub key: Option<ModelKey>,
    /// Its name at the first load.
    pub name: String,
    /// The back end that runs it.
    pub back_end: &'static str,
    /// On what it runs.
    pub device: String,
    /// Bytes it takes, as the back end accounts for them.
    pub bytes: u64,
    /// What it takes and gives.
    pub signature: Signature,
    /// Whether its requests are merged and along which axes, or why not.
    pub batching: Batching,
    /// Handles to it that are held.
    pub users: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that run.
    pub running: usize,
    /// Requests taken so far.
    pub requests: u64,
    /// Requests refused since there was no room.
    pub refused: u64,
    /// Requests that ran into their deadline.
    pub timeouts: u64,
    /// Requests whose caller went away.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests in a run.
    pub batch_size: Histogram,
    /// Microseconds from queueing to the answer, of requests that were answered.
    pub latency: Histogram,
    /// Microseconds of these spent waiting.
    pub queueing: Histogram,
}

/// The engine as a whole.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// Models that are loaded, those of guests included.
    pub models: usize,
    /// Bytes they take, and what is reserved for those that are being loaded.
    pub model_bytes: u64,
    /// The budget of that.
    pub model_memory: u64,
    /// Bytes of inputs that wait or run.
    pub waiting_bytes: u64,
    /// Models loaded so far.
    pub loads: u64,
    /// Models evicted to make room.
    pub evictions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_between_powers_of_two() {
        let mut histogram = Histogram::default();
        [0, 1, 2, 3, 900, u64::MAX].into_iter().for_each(|value| histogram.add(value));
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(1, 1), (2, 1), (4, 2), (1024, 1), (u64::MAX, 1)]);
        assert_eq!((histogram.count(), histogram.counts().len()), (6, 65));
        assert_eq!(histogram.counts()[..3], [1, 1, 2]);
    }

    #[test]
    fn two_histograms_make_one() {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            histogram
        };
        for (one, other) in [(&[1, 2][..], &[900, 0][..]), (&[900], &[1]), (&[], &[u64::MAX])] {
            let mut sum = of(one);
            sum.add_all(&of(other));
            assert_eq!(sum, of(&[one, other].concat()));
        }
    }

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), 0);
        (0..99).for_each(|_| histogram.add(10));
        histogram.add(1000);
        assert_eq!((histogram.quantile(500), histogram.quantile(990)), (16, 16));
        assert_eq!(histogram.quantile(1000), 1024);
    }
}
