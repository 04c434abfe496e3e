//! Load over the last while, in a fixed number of buckets however long the while is.

use std::collections::VecDeque;

use wrun_protocol::Timestamp;

use super::latency::Latencies;

/// What a window is cut into. What falls out of it does so by that part at a time.
const BUCKETS: u64 = 30;

/// Load, as a sum. Amounts in thousandths, so that little is lost where a report is cut to
/// buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Requests under way by milliseconds, in thousandths.
    pub(crate) busy: u64,
    /// Requests that wait by milliseconds, in thousandths.
    pub(crate) waiting: u64,
    /// Requests that were answered, in thousandths.
    pub(crate) requests: u64,
    /// Of those, with a status of 500 and above; whole.
    pub(crate) errors: u64,
    /// Answers of the revision that is being watched; whole.
    pub(crate) watched: Watched,
    pub(crate) latencies: Latencies,
}

/// Answers of one revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) answers: u64,
    /// Of those, with a status of 500 and above.
    pub(crate) errors: u64,
}

/// A span of time: from `begin` until just before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// Load over the last while.
#[derive(Clone, Debug)]
pub(super) struct Window {
    length_ms: u64,
    /// Of a bucket.
    width_ms: u64,
    /// Those with something in them, by their place in time, in ascending order; never more
    /// than a window is cut into, and the one that it begins in.
    buckets: VecDeque<(u64, Sums)>,
}

impl Window {
    pub(super) fn new(length_ms: u64) -> Self {
        let length_ms = length_ms.max(1);
        Self { length_ms, width_ms: length_ms.div_ceil(BUCKETS), buckets: VecDeque::new() }
    }

    pub(super) fn length_ms(&self) -> u64 {
        self.length_ms
    }

    /// Adds what happened within a span that ends now: what is spread over time evenly, the
    /// rest at its end.
    pub(super) fn add(&mut self, span: Span, told: &Sums) {
        let last = span.end.saturating_sub(1) / self.width_ms;
        let first = (span.begin / self.width_ms).max(last.saturating_sub(BUCKETS)).min(last);
        while self.buckets.front().is_some_and(|(at, _)| last - (*at).min(last) > BUCKETS) {
            self.buckets.pop_front();
        }
        let total = span.end.saturating_sub(span.begin);
        for at in first..=last {
            let begin = span.begin.max(at.saturating_mul(self.width_ms));
            let end = span.end.min(at.saturating_add(1).saturating_mul(self.width_ms));
            let part = end.saturating_sub(begin);
            let of = |amount: u64| if total == 0 { amount } else { share(amount, part, total) };
            let Some(bucket) = self.bucket(at) else { continue };
            bucket.busy = bucket.busy.saturating_add(of(told.busy));
            bucket.waiting = bucket.waiting.saturating_add(of(told.waiting));
            bucket.requests = bucket.requests.saturating_add(of(told.requests));
            if at == last {
                bucket.errors = bucket.errors.saturating_add(told.errors);
                bucket.watched.add(&told.watched);
                bucket.latencies.add(&told.latencies);
            }
        }
    }

    /// The bucket of that place, made where there is none.
    fn bucket(&mut self, at: u64) -> Option<&mut Sums> {
        let place = self.buckets.partition_point(|(of, _)| *of < at);
        if self.buckets.get(place).is_none_or(|(of, _)| *of != at) {
            self.buckets.insert(place, (at, Sums::default()));
        }
        self.buckets.get_mut(place).map(|(_, sums)| sums)
    }

    /// What is in the window that ends now. A bucket that is in it in part counts in part.
    pub(super) fn sums(&self, now: Timestamp) -> Sums {
        let begin = now.0.saturating_sub(self.length_ms);
        let mut sums = Sums::default();
        for (at, bucket) in &self.buckets {
            let end = at.saturating_add(1).saturating_mul(self.width_ms);
            let inside = end.saturating_sub(begin).min(self.width_ms);
            let of = |amount: u64| share(amount, inside, self.width_ms);
            sums.busy = sums.busy.saturating_add(of(bucket.busy));
            sums.waiting = sums.waiting.saturating_add(of(bucket.waiting));
            sums.requests = sums.requests.saturating_add(of(bucket.requests));
            if inside > 0 {
                sums.errors = sums.errors.saturating_add(bucket.errors);
                sums.watched.add(&bucket.watched);
                sums.latencies.add(&bucket.latencies);
            }
        }
        sums
    }

    /// When the next bucket begins: what is in the window is less then.
    pub(super) fn next_bucket(&self, now: Timestamp) -> Timestamp {
        Timestamp((now.0 / self.width_ms).saturating_add(1).saturating_mul(self.width_ms))
    }

    /// When nothing is left of what is in it; `None`: nothing is in it.
    pub(super) fn empty_at(&self) -> Option<Timestamp> {
        let (last, _) = self.buckets.back()?;
        let end = last.saturating_add(1).saturating_mul(self.width_ms);
        Some(Timestamp(end.saturating_add(self.length_ms)))
    }

    pub(super) fn forget_watched(&mut self) {
        self.buckets.iter_mut().for_each(|(_, bucket)| bucket.watched = Watched::default());
    }

    /// Buckets that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.buckets.len()
    }
}

impl Watched {
    fn add(&mut self, more: &Self) {
        self.answers = self.answers.saturating_add(more.answers);
        self.errors = self.errors.saturating_add(more.errors);
    }
}

/// That part of the whole of an amount.
pub(super) fn share(amount: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(amount) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(busy: u64) -> Sums {
        Sums { busy, ..Sums::default() }
    }

    #[test]
    fn what_is_spread_over_time_is_in_the_window_as_far_as_its_time_is() {
        let mut window = Window::new(30_000);
        window.add(Span { begin: 100_000, end: 110_000 }, &busy(10_000));
        assert_eq!(window.sums(Timestamp(110_000)).busy, 10_000);
        assert_eq!(window.sums(Timestamp(130_000)).busy, 10_000);
        // A half of it is older than half a minute then; of one bucket a half.
        assert_eq!(window.sums(Timestamp(135_000)).busy, 5_000);
        assert_eq!(window.sums(Timestamp(135_500)).busy, 4_500);
        assert_eq!(window.sums(Timestamp(140_000)).busy, 0);
        assert_eq!(window.empty_at(), Some(Timestamp(140_000)));
    }

    #[test]
    fn a_window_keeps_a_fixed_number_of_buckets_whatever_it_is_told() {
        let mut window = Window::new(1);
        for end in (0..10_000).step_by(7) {
            window.add(Span { begin: 0, end }, &busy(1));
            assert!(window.kept() <= 31, "{}", window.kept());
        }
        window.add(Span { begin: u64::MAX, end: 0 }, &busy(1));
        window.add(Span { begin: 0, end: u64::MAX }, &busy(u64::MAX));
        assert!(window.kept() <= 33, "{}", window.kept());
    }
}
