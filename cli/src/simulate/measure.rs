//! What a simulated schedule was worth: waits, slowdowns, utilisation, fairness.

use super::series::{Levels, Series};

/// Jobs that run for a shorter time count as if they ran for this long, so that the
/// slowdown of the shortest does not drown the others', in milliseconds.
pub(crate) const THRESHOLD_MS: u64 = 10_000;

/// How one job went. Times in milliseconds from the simulation's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Which of the simulated jobs.
    pub(crate) job: usize,
    /// Whose it is.
    pub(crate) user: u32,
    /// When it was submitted.
    pub(crate) submitted: u64,
    /// When it first started.
    pub(crate) started: u64,
    /// When the last of its tasks ended.
    pub(crate) ended: u64,
    /// How long it runs when nothing disturbs it.
    pub(crate) run: u64,
    /// How often it started.
    pub(crate) starts: u32,
}

impl Outcome {
    /// The time that it was there and did not run to use.
    pub(crate) fn wait(&self) -> u64 {
        (self.ended - self.submitted).saturating_sub(self.run)
    }

    /// How many times longer it took than it would have alone, at least 1.
    pub(crate) fn bounded_slowdown(&self) -> f64 {
        let took = (self.ended - self.submitted) as f64;
        (took / self.run.max(THRESHOLD_MS) as f64).max(1.0)
    }
}

/// A distribution. Percentiles are values that occur (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of `values`; zeros where there are none.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            mean: mean(values.iter().copied()),
            median: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }
}

/// The arithmetic mean; zero of nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// How users fared against each other, by the mean bounded slowdown of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fairness {
    /// Users whose jobs ended.
    pub(crate) users: usize,
    /// Jain's index: 1 where all fared alike, one over their number where only one did.
    pub(crate) jain: f64,
    /// The user who fared worst.
    pub(crate) worst: u32,
    /// That user's mean bounded slowdown.
    pub(crate) worst_slowdown: f64,
}

impl Fairness {
    /// Over the users of `outcomes`; `None` where there is none.
    pub(crate) fn of(outcomes: &[Outcome]) -> Option<Self> {
        let mut sums: std::collections::BTreeMap<u32, (f64, f64)> = Default::default();
        for outcome in outcomes {
            let (sum, count) = sums.entry(outcome.user).or_default();
            *sum += outcome.bounded_slowdown();
            *count += 1.0;
        }
        let means: Vec<(u32, f64)> =
            sums.into_iter().map(|(user, (sum, count))| (user, sum / count)).collect();
        let (worst, worst_slowdown) = means
            .iter()
            .copied()
            .reduce(|worst, user| if user.1 > worst.1 { user } else { worst })?;
        let sum: f64 = means.iter().map(|(_, mean)| mean).sum();
        let squares: f64 = means.iter().map(|(_, mean)| mean * mean).sum();
        let jain = sum * sum / (means.len() as f64 * squares);
        Some(Self { users: means.len(), jain, worst, worst_slowdown })
    }
}

/// What a cluster has: all of its nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Capacity {
    /// Thousandths of processors.
    pub(crate) cpu: f64,
    /// Bytes; zero where memory is not counted.
    pub(crate) memory: f64,
    /// Thousandths of cards.
    pub(crate) gpu: f64,
}

/// Shares of a capacity, from 0 to 1; `None` of what the cluster has none of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    pub(crate) cpu: Option<f64>,
    pub(crate) memory: Option<f64>,
    pub(crate) gpu: Option<f64>,
}

impl Capacity {
    /// Which shares of it `levels` are.
    pub(crate) fn shares(&self, levels: &Levels) -> Shares {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        Shares {
            cpu: share(levels.cpu, self.cpu),
            memory: share(levels.memory, self.memory),
            gpu: share(levels.gpu, self.gpu),
        }
    }
}

/// The figures of one simulated schedule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    /// Jobs that ended.
    pub(crate) jobs: usize,
    /// In seconds.
    pub(crate) wait: Spread,
    pub(crate) bounded_slowdown: Spread,
    /// From the first submission to the last end, in seconds.
    pub(crate) makespan: f64,
    /// Over the makespan.
    pub(crate) utilisation: Shares,
    pub(crate) fairness: Option<Fairness>,
}

impl Figures {
    /// Of jobs that ran on a cluster of that capacity.
    pub(crate) fn of(outcomes: &[Outcome], series: &Series, capacity: &Capacity) -> Self {
        Self {
            jobs: outcomes.len(),
            wait: Spread::of(outcomes.iter().map(|job| job.wait() as f64 / 1000.0)),
            bounded_slowdown: Spread::of(outcomes.iter().map(Outcome::bounded_slowdown)),
            makespan: series.end() as f64 / 1000.0,
            utilisation: capacity.shares(&series.mean()),
            fairness: Fairness::of(outcomes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(user: u32, submitted: u64, started: u64, run: u64) -> Outcome {
        Outcome { job: 0, user, submitted, started, ended: started + run, run, starts: 1 }
    }

    #[test]
    fn slowdown_is_bounded_below_and_for_short_jobs() {
        assert_eq!(outcome(0, 0, 30_000, 60_000).bounded_slowdown(), 1.5);
        assert_eq!(outcome(0, 0, 99_000, 1_000).bounded_slowdown(), 10.0, "not 100");
        assert_eq!(outcome(0, 5, 5, 1_000).bounded_slowdown(), 1.0);
    }

    #[test]
    fn time_that_was_lost_to_others_counts_as_waiting() {
        let job = Outcome { ended: 300, starts: 2, ..outcome(0, 0, 100, 50) };
        assert_eq!(job.wait(), 250);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let spread = Spread::of((1..=200).map(f64::from));
        assert_eq!((spread.mean, spread.median), (100.5, 100.0));
        assert_eq!((spread.p90, spread.p95, spread.p99, spread.max), (180.0, 190.0, 198.0, 200.0));
        let one = Spread::of([7.0].into_iter());
        assert_eq!((one.mean, one.median, one.p99, one.max), (7.0, 7.0, 7.0, 7.0));
        assert_eq!(Spread::of(std::iter::empty()), Spread::default());
    }

    #[test]
    fn fairness_is_one_among_equals_and_names_the_worst() {
        let equal = [outcome(0, 0, 20_000, 10_000), outcome(1, 0, 20_000, 10_000)];
        let fairness = Fairness::of(&equal).unwrap();
        assert_eq!((fairness.users, fairness.jain, fairness.worst), (2, 1.0, 0));
        // 1 and 3: (1 + 3)² / (2 · (1 + 9)) = 0.8.
        let unequal = [outcome(4, 0, 0, 10_000), outcome(9, 0, 20_000, 10_000)];
        let fairness = Fairness::of(&unequal).unwrap();
        assert_eq!((fairness.worst, fairness.worst_slowdown), (9, 3.0));
        assert!((fairness.jain - 0.8).abs() < 1e-12);
        assert_eq!(Fairness::of(&[]), None);
    }

    proptest! {
        #[test]
        fn jains_index_lies_between_one_over_the_users_and_one(
            jobs in prop::collection::vec((0_u32..5, 0_u64..1_000_000, 0_u64..1_000_000), 1..50),
        ) {
            let outcomes: Vec<Outcome> =
                jobs.iter().map(|(user, wait, run)| outcome(*user, 0, *wait, *run)).collect();
            let fairness = Fairness::of(&outcomes).unwrap();
            prop_assert!(fairness.jain <= 1.0 + 1e-12);
            prop_assert!(fairness.jain >= 1.0 / fairness.users as f64 - 1e-12);
        }
    }
}
