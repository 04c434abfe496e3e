//! How many replicas a load asks for.

use wrun_protocol::service::ScaleOn;

use super::window::Sums;

/// How much of the target a load must leave free, in thousandths, before there is a replica
/// less. Kubernetes' horizontal autoscaler tolerates as much.
const SLACK_MILLI: u64 = 100;

/// Answers below which nothing is said of how long they take.
const LEAST_ANSWERS: u64 = 10;

/// How long answers take, of the target in thousandths, below which there may be fewer
/// replicas: the more is asked of each, the longer they take.
const FAST_ENOUGH_MILLI: u64 = 800;

/// How many replicas a load asks for: not fewer than `least`, and no need to be more than
/// `most`. Between the two whatever there is stays, so that noise changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) least: u32,
    pub(super) most: u32,
}

/// Load over a time, and what one replica takes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) sums: &'a Sums,
    /// What its replicas asked of models.
    pub(super) of_models: &'a Sums,
    /// Over so many milliseconds; not 0.
    pub(super) over_ms: u64,
    /// Requests that a replica handles at once.
    pub(super) capacity: u32,
}

impl Demand {
    /// Of what is aimed at for each replica. How long answers take is no such thing: for that
    /// see [`by_latency`]; here it asks for what holds the requests under way.
    pub(super) fn of(on: ScaleOn, load: Load<'_>) -> Self {
        let Load { sums, of_models, over_ms, capacity } = load;
        let capacity = u64::from(capacity.max(1)) * 1000;
        let here = u128::from(sums.busy) + u128::from(sums.waiting);
        let held = Self::by(here, capacity, over_ms);
        match on {
            ScaleOn::Concurrency { milli } => {
                Self::by(here, u64::from(milli).min(capacity), over_ms)
            }
            // Replicas that are all busy answer no more requests, however many wait.
            ScaleOn::Rate { milli } => {
                Self::by(u128::from(sums.requests) * 1000, u64::from(milli), over_ms).max(held)
            }
            // Without those that are busy there would soon be as many waiting again.
            ScaleOn::Waiting { requests } => {
                let wait = Self::by(sums.waiting.into(), u64::from(requests) * 1000, over_ms);
                Self::by(sums.busy.into(), capacity, over_ms).plus(wait)
            }
            // One that answers from elsewhere asks no model, and is not left to its requests.
            ScaleOn::ModelQueue { milli } => {
                Self::by(of_models.busy.into(), u64::from(milli), over_ms).max(held)
            }
            ScaleOn::Latency { .. } | ScaleOn::ModelLatency { .. } => held,
        }
    }

    /// Of an amount summed over a time, where a replica takes `each` of it at any time.
    fn by(amount: u128, each: u64, over_ms: u64) -> Self {
        let each = u128::from(each.max(1)) * u128::from(over_ms.max(1));
        let count =
            |amount: u128, each: u128| u32::try_from(amount.div_ceil(each)).unwrap_or(u32::MAX);
        let slack = u128::from(1000 - SLACK_MILLI);
        Self { least: count(amount, each), most: count(amount * 1000, each * slack) }
    }

    fn max(self, other: Self) -> Self {
        Self { least: self.least.max(other.least), most: self.most.max(other.most) }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }
}

/// How many replicas would be needed for requests that wait while none is ready.
pub(super) fn for_waiting(on: Option<ScaleOn>, waiting: u64, capacity: u32) -> u32 {
    let capacity = u64::from(capacity.max(1));
    let count = match on {
        None => waiting.min(1),
        Some(ScaleOn::Concurrency { milli }) => {
            let each = u64::from(milli.max(1)).min(capacity * 1000);
            waiting.saturating_mul(1000).div_ceil(each)
        }
        Some(ScaleOn::Waiting { requests }) => waiting.div_ceil(u64::from(requests.max(1))),
        Some(
            ScaleOn::Rate { .. }
            | ScaleOn::Latency { .. }
            | ScaleOn::ModelQueue { .. }
            | ScaleOn::ModelLatency { .. },
        ) => waiting.div_ceil(capacity),
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Which way the time that answers take says to go from `now`, and how far. At most to twice
/// or half of it: what more or fewer replicas do to that time is seen only afterwards.
pub(super) fn by_latency(target_ms: u32, now: u32, ready: u32, sums: &Sums) -> Option<u32> {
    if sums.latencies.count() < LEAST_ANSWERS {
        return None;
    }
    let took = u128::from(sums.latencies.quantile_us(900)?);
    let target = u128::from(target_ms.max(1)) * 1000;
    let scaled = |count: u32, target: u128| {
        u32::try_from((u128::from(count) * took).div_ceil(target.max(1))).unwrap_or(u32::MAX)
    };
    let fast = target * u128::from(FAST_ENOUGH_MILLI) / 1000;
    if took > target {
        let ready = ready.max(1);
        Some(scaled(ready, target).min(ready.saturating_mul(2)).max(now))
    } else if took < fast {
        Some(scaled(now, fast).max(now.div_ceil(2)).min(now))
    } else {
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::latency::Latencies;

    fn demand(on: ScaleOn, sums: &Sums) -> (u32, u32) {
        demand_with(on, sums, &Sums::default())
    }

    fn demand_with(on: ScaleOn, sums: &Sums, of_models: &Sums) -> (u32, u32) {
        let demand = Demand::of(on, Load { sums, of_models, over_ms: 60_000, capacity: 10 });
        (demand.least, demand.most)
    }

    #[test]
    fn what_is_asked_of_models_is_shared_and_requests_are_held_all_the_same() {
        let queue = ScaleOn::ModelQueue { milli: 4000 };
        assert_eq!(demand_with(queue, &sums(2, 0, 0), &sums(9, 0, 0)), (3, 3));
        assert_eq!(demand_with(queue, &sums(38, 0, 0), &sums(9, 0, 0)).0, 4);
        let latency = ScaleOn::ModelLatency { ms: 100 };
        assert_eq!(demand_with(latency, &sums(38, 0, 0), &sums(90, 0, 0)).0, 4);
    }

    /// So many requests under way and waiting, on average over a minute; and answers a second.
    fn sums(busy: u64, waiting: u64, rate: u64) -> Sums {
        let (busy, waiting) = (busy * 60_000_000, waiting * 60_000_000);
        Sums { busy, waiting, requests: rate * 60_000, ..Sums::default() }
    }

    #[test]
    fn each_target_is_reached_by_as_many_replicas_as_share_the_load() {
        let (concurrency, rate) =
            (ScaleOn::Concurrency { milli: 7000 }, ScaleOn::Rate { milli: 500 });
        assert_eq!(demand(concurrency, &sums(0, 0, 0)), (0, 0));
        assert_eq!(demand(concurrency, &sums(14, 0, 0)), (2, 3));
        assert_eq!(demand(concurrency, &sums(10, 5, 0)), (3, 3));
        assert_eq!(demand(rate, &sums(1, 0, 9)), (18, 20));
        assert_eq!(demand(ScaleOn::Waiting { requests: 5 }, &sums(38, 11, 0)), (4 + 3, 5 + 3));
    }

    #[test]
    fn a_target_above_what_a_replica_handles_is_what_it_handles() {
        assert_eq!(demand(ScaleOn::Concurrency { milli: 90_000 }, &sums(100, 0, 0)).0, 10);
        // Replicas that are all busy answer few requests; more are wanted nevertheless.
        assert_eq!(demand(ScaleOn::Rate { milli: 100_000 }, &sums(10, 40, 1)).0, 5);
    }

    #[test]
    fn requests_that_wait_for_the_first_replica_ask_for_as_many_as_they_need() {
        assert_eq!(for_waiting(None, 0, 10), 0);
        assert_eq!(for_waiting(None, 99, 10), 1);
        assert_eq!(for_waiting(Some(ScaleOn::Concurrency { milli: 5000 }), 99, 10), 20);
        assert_eq!(for_waiting(Some(ScaleOn::Concurrency { milli: 500_000 }), 99, 10), 10);
        assert_eq!(for_waiting(Some(ScaleOn::Rate { milli: 1 }), 1, 10), 1);
        assert_eq!(for_waiting(Some(ScaleOn::Waiting { requests: 33 }), 99, 0), 3);
    }

    #[test]
    fn slow_answers_ask_for_more_and_fast_ones_for_fewer_but_never_far() {
        // A hundred answers between 65 and 131 ms: nine of ten took at most 124.
        let mut latencies = Latencies::default();
        let mut told = [0; 18];
        told[17] = 100;
        latencies.add_told(&told);
        let sums = Sums { latencies, ..Sums::default() };
        assert_eq!(by_latency(100, 10, 10, &sums), Some(13));
        assert_eq!(by_latency(1, 10, 10, &sums), Some(20));
        // Those that are not ready yet were not seen at work.
        assert_eq!(by_latency(1, 20, 10, &sums), Some(20));
        assert_eq!(by_latency(130, 10, 10, &sums), Some(10));
        assert_eq!(by_latency(200, 10, 10, &sums), Some(8));
        assert_eq!(by_latency(10_000, 10, 10, &sums), Some(5));
        assert_eq!(by_latency(10, 10, 10, &Sums::default()), None);
    }
}
