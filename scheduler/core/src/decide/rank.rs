//! Where a group stands in the queue.
//!
//! Ranks are as of one instant, that of the last [`Core::rank_queue`]: a head that comes
//! later is ranked as of then too, so that all in the queue compare. Time and usage move
//! ranks; both are caught up with at the start of a placement pass, but not more often
//! than [`crate::Config::rank_interval`], and less often the longer the queue is.

use std::cmp::Reverse;

use wrun_protocol::policy::{Balance, Favour, QueueOrder};
use wrun_protocol::{JobId, Resources, Timestamp};

use crate::core::Core;
use crate::state::groups::{Group, GroupKey, Rank, Standing};
use crate::state::length::Lengths;
use crate::state::policy::Rules;
use crate::state::register::Jobs;

/// Factors are whole numbers of this part of one.
pub(crate) const MILLIONTHS: u64 = 1_000_000;

/// The rank of heads that waited beyond the age bound, less the instant of their submit:
/// above all that a sum of factors can be.
const AGED: Rank = Rank::MAX;

/// The queue is ranked again after one interval more for every so many groups and nodes.
const STEPS_PER_INTERVAL: usize = 1000;

/// What ranks depend on beside the group itself.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    /// Ranks are as of this instant.
    pub(crate) at: Timestamp,
    /// Of the jobs of each tenant, in millionths; one where it is not listed.
    pub(crate) fair_share: Vec<u32>,
    /// The largest node, and all nodes together.
    pub(crate) largest: Resources,
    pub(crate) total: Total,
    /// The policy has changed.
    pub(crate) void: bool,
}

/// A sum of resources over many nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) cpu_milli: u64,
    pub(crate) memory: u64,
}

/// The parts of a multifactor rank, in points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Points {
    pub(crate) age: i64,
    pub(crate) fair_share: i64,
    pub(crate) size: i64,
    pub(crate) qos: i64,
    pub(crate) partition: i64,
    pub(crate) user: i64,
    pub(crate) nice: i64,
}

impl Points {
    pub(crate) fn total(&self) -> i64 {
        self.age + self.fair_share + self.size + self.class()
    }

    /// What neither time nor usage changes.
    pub(crate) fn class(&self) -> i64 {
        self.qos + self.partition + self.user - self.nice
    }
}

impl Ranking {
    /// Where the group stands with that head.
    pub(crate) fn stand(
        &self,
        rules: &Rules,
        jobs: &Jobs,
        lengths: &Lengths,
        group: &Group,
        head: JobId,
    ) -> Standing {
        let submitted = jobs.get(head).map(|job| job.submitted).unwrap_or_default();
        let rank = self.rank(rules, lengths, group, submitted);
        // Only equal sums of factors leave open who is first: tenants take turns then.
        let turns = rules.policy.order == QueueOrder::Multifactor;
        let line = if turns { group.key.tenant } else { 0 };
        Standing { rank: Reverse(rank), line, head }
    }

    /// The rank of a job of the group that was submitted then.
    pub(crate) fn rank(
        &self,
        rules: &Rules,
        lengths: &Lengths,
        group: &Group,
        submitted: Timestamp,
    ) -> Rank {
        let waited = self.at.0.saturating_sub(submitted.0);
        let since = Rank::try_from(submitted.0).unwrap_or(Rank::MAX);
        if rules.policy.age_bound_ms.is_some_and(|bound| waited >= bound) {
            return AGED - since;
        }
        self.rank_in(rules.policy.order, rules, lengths, group, submitted)
    }

    /// The same in some order, in which the age bound does not count.
    pub(crate) fn rank_in(
        &self,
        order: QueueOrder,
        rules: &Rules,
        lengths: &Lengths,
        group: &Group,
        submitted: Timestamp,
    ) -> Rank {
        let waited = self.at.0.saturating_sub(submitted.0);
        let since = Rank::try_from(submitted.0).unwrap_or(Rank::MAX);
        let backfill = &rules.policy.backfill;
        let expected = || lengths.expected(group.key.length, group.length, backfill).ms;
        match order {
            QueueOrder::Multifactor => self.points(rules, &group.key, waited).total(),
            QueueOrder::Fcfs => -since,
            QueueOrder::ShortestFirst => -Rank::try_from(expected()).unwrap_or(Rank::MAX),
            QueueOrder::SmallestAreaFirst => -area(&group.key, expected()),
            QueueOrder::Balanced => {
                let balance = &rules.policy.balance;
                let area = area(&group.key, expected());
                -since.saturating_add(patience(balance, self.total.cpu_milli, area))
            }
        }
    }

    /// The factors of a job that has waited that long, in milliseconds.
    pub(crate) fn points(&self, rules: &Rules, key: &GroupKey, waited: u64) -> Points {
        let (weights, most) = (&rules.policy.weights, rules.policy.max_age_ms.max(1));
        let fair_share = self.fair_share.get(key.tenant as usize).copied().map(u64::from);
        Points {
            age: share_of(weights.age, waited.min(most), most),
            fair_share: share_of(weights.fair_share, fair_share.unwrap_or(MILLIONTHS), MILLIONTHS),
            size: share_of(weights.size, self.size(rules, key), MILLIONTHS),
            ..class_points(rules, key)
        }
    }

    /// The size factor, in millionths: the larger of the parts that it asks of CPU and of
    /// memory; a task's of the largest node, a gang's of the whole cluster.
    pub(crate) fn size(&self, rules: &Rules, key: &GroupKey) -> u64 {
        let gang = key.wishes.as_ref().map_or(0, |wishes| u64::from(wishes.gang));
        let (cpu, memory) = match gang {
            0 => (u64::from(self.largest.cpu_milli), self.largest.memory),
            _ => (self.total.cpu_milli, self.total.memory),
        };
        let part = |wanted: u64, of: u64| {
            let whole = u128::from(wanted) * u128::from(gang.max(1)) * u128::from(MILLIONTHS);
            u64::try_from(whole / u128::from(of.max(1))).unwrap_or(MILLIONTHS).min(MILLIONTHS)
        };
        let wanted = &key.wanted;
        let asked = part(wanted.cpu_milli.into(), cpu).max(part(wanted.memory, memory));
        match rules.policy.favour {
            Favour::Small => MILLIONTHS - asked,
            Favour::Large => asked,
        }
    }
}

/// The parts of a rank that neither time nor usage changes.
fn class_points(rules: &Rules, key: &GroupKey) -> Points {
    let weights = &rules.policy.weights;
    let qos = rules.qos_of(key).map_or(0, |qos| qos.priority);
    let partition = rules.partition_of(key).map_or(0, |partition| partition.priority);
    Points {
        qos: share_of(weights.qos, qos.into(), rules.top_qos.into()),
        partition: share_of(weights.partition, partition.into(), rules.top_partition.into()),
        user: i64::from(key.priority).saturating_mul(weights.user.into()),
        nice: key.wishes.as_ref().map_or(0, |wishes| wishes.nice.into()),
        ..Points::default()
    }
}

/// How urgent a group is to its user and by the policy, whatever time it waited and its
/// tenant used: what waits on a node is asked back only for a group of a higher class,
/// not for one that is a little older.
pub(crate) fn class(rules: &Rules, key: &GroupKey) -> i64 {
    match rules.policy.order {
        QueueOrder::Multifactor => class_points(rules, key).class(),
        _ => 0,
    }
}

/// Expected time by CPU, in milliseconds by thousandths; a gang's as a whole.
fn area(key: &GroupKey, expected_ms: u64) -> Rank {
    let tasks = key.wishes.as_ref().map_or(1, |wishes| wishes.gang.max(1));
    let area = u128::from(expected_ms) * u128::from(key.wanted.cpu_milli) * u128::from(tasks);
    Rank::try_from(area).unwrap_or(Rank::MAX)
}

/// How long a job of that area may stand behind newer ones on a cluster of so much CPU, in
/// milliseconds: smaller jobs are due sooner.
fn patience(balance: &Balance, cpu_milli: u64, area: Rank) -> Rank {
    let full = (i128::from(balance.full_area_ms) * i128::from(cpu_milli)).max(1);
    let patience = i128::from(balance.patience_ms);
    Rank::try_from(i128::from(area).min(full) * patience / full).unwrap_or(Rank::MAX)
}

fn share_of(weight: u32, part: u64, of: u64) -> i64 {
    let (weight, of) = (u64::from(weight), of.max(1));
    match weight.checked_mul(part) {
        Some(product) => i64::try_from(product / of).unwrap_or(i64::MAX),
        None => {
            let points = u128::from(weight) * u128::from(part) / u128::from(of);
            i64::try_from(points).unwrap_or(i64::MAX)
        }
    }
}

impl Core {
    /// Queues anew what an event changed.
    pub(crate) fn refresh_queue(&mut self) {
        let (state, ranking) = (&mut self.state, &self.ranking);
        let (rules, jobs) = (&state.rules, &state.jobs);
        state
            .groups
            .refresh(|lengths, group, head| ranking.stand(rules, jobs, lengths, group, head));
    }

    /// Queues anew what time and usage changed, if it is time to.
    pub(crate) fn rank_queue(&mut self) {
        let steps = self.state.groups.queued() + self.state.nodes.len();
        let intervals = u32::try_from(1 + steps / STEPS_PER_INTERVAL).unwrap_or(u32::MAX);
        let due = self.ranking.at.after(self.config.rank_interval.saturating_mul(intervals));
        let moves = self.ranking.void || self.state.rules.ranks_move();
        if !moves || (self.now < due && !self.ranking.void) {
            return;
        }
        self.ranking.at = self.now;
        self.ranking.void = false;
        self.measure_nodes();
        self.weigh_usage();
        let (state, ranking) = (&mut self.state, &self.ranking);
        let (rules, jobs) = (&state.rules, &state.jobs);
        state
            .groups
            .rank_again(|lengths, group, head| ranking.stand(rules, jobs, lengths, group, head));
    }

    fn weigh_usage(&mut self) {
        let policy = &self.state.rules.policy;
        if policy.order == QueueOrder::Multifactor && policy.weights.fair_share > 0 {
            self.ranking.fair_share = self.state.share_tree(self.now).factors();
        }
    }

    fn measure_nodes(&mut self) {
        let policy = &self.state.rules.policy;
        if policy.weights.size == 0 && policy.order != QueueOrder::Balanced {
            return;
        }
        (self.ranking.largest, self.ranking.total) = <_>::default();
        for (_, node) in self.state.nodes.iter() {
            let capacity = node.capacity();
            self.ranking.largest = self.ranking.largest.max(capacity);
            self.ranking.total.cpu_milli += u64::from(capacity.cpu_milli);
            self.ranking.total.memory = self.ranking.total.memory.saturating_add(capacity.memory);
        }
    }

    /// The first ready job of the group, after its head, that stands below `floor`.
    pub(crate) fn first_below(&self, group: &Group, head: JobId, floor: Rank) -> Option<JobId> {
        first_where(group, head, |job| {
            let submitted = self.state.jobs.get(job).map(|job| job.submitted);
            let lengths = &self.state.groups.lengths;
            self.ranking.rank(&self.state.rules, lengths, group, submitted.unwrap_or_default())
                < floor
        })
    }
}

/// The first ready job of the group, after its head, for which something holds that holds
/// for all younger ones too: ranks fall with the time of the submit.
pub(crate) fn first_where(
    group: &Group,
    head: JobId,
    holds: impl Fn(JobId) -> bool,
) -> Option<JobId> {
    let last = group.ready.last().filter(|last| *last > head && holds(*last))?;
    // It does not hold for `low`, and holds for `high`.
    let (mut low, mut high, mut step) = (head.0, last.0, 1);
    while high - low > 1 {
        let middle = if step < high - low { low + step } else { low + (high - low) / 2 };
        step = step.saturating_mul(2);
        match group.ready.from(JobId(middle)).next() {
            Some(job) if holds(job) => {
                // Between `middle` and `high` there may be none: it is one from beyond.
                high = if job.0 < high { job.0 } else { middle };
            }
            Some(job) => low = job.0,
            None => high = middle,
        }
    }
    group.ready.from(JobId(high)).next()
}
