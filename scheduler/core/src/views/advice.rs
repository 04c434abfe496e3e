//! What would let a job start sooner, worked out from what stands in its way: a shorter time
//! limit, less of something, another label, a node more.

use std::collections::BTreeMap;

use wrun_protocol::JobId;
use wrun_protocol::resources::Bytes;

use super::survey::Survey;
use crate::core::Core;
use crate::decide::lack;
use crate::reason::{Amount, Lasting, PendingReason, thousandths};
use crate::state::groups::{Group, GroupKey};
use crate::state::jobs::Job;
use crate::state::length::Length;
use crate::state::nodes::Node;

/// The one thing that keeps a job from a node which has room for it otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hurdle {
    /// An administrator lets it take nothing.
    Drained,
    Label(String, String),
    Refused(String, String),
    Partition,
    Amount(Amount),
}

impl Core {
    /// What would let the job start sooner, the reason that holds it first in mind.
    pub(super) fn advice(&self, id: JobId, first: &PendingReason, survey: &Survey) -> Vec<String> {
        let Some(job) = self.state.jobs.get(id) else { return Vec::new() };
        let Some(group) = self.state.groups.get(job.group) else { return Vec::new() };
        match first {
            PendingReason::Held => vec![format!("release it: `wrun release {id}`")],
            PendingReason::NoNodes => vec!["add a node: `wrun token create`".to_owned()],
            PendingReason::Limit(limit) => vec![format!(
                "it goes on when others end that count for {}; an administrator can raise the limit",
                limit.scope
            )],
            PendingReason::BeyondLimit { limit, .. } => vec![format!(
                "it can start when an administrator raises the limit of {}, or as a smaller job",
                limit.scope
            )],
            PendingReason::GangBeyondNodes { gang, places } => {
                let more = u64::from(*gang).saturating_sub(*places);
                let more = places_of(u32::try_from(more).unwrap_or(u32::MAX), group);
                let mut advice =
                    vec![format!("it can start with {more} more, or as a smaller gang")];
                advice.extend(self.past_hurdles(group));
                advice
            }
            PendingReason::Begin { .. } => {
                vec![format!("it may start now without its begin: `wrun update {id} --begin none`")]
            }
            PendingReason::Deadline { deadline } => {
                let ms = deadline.0.saturating_sub(self.now.0) / 1000 * 1000;
                vec![format!(
                    "a time limit of at most {limit} would let it end in time: `wrun update {id} --time-limit {limit}`",
                    limit = Lasting(ms)
                )]
            }
            PendingReason::MaxRunning { most } => vec![format!(
                "it may run more at once: `wrun update {id} --max-running {}`",
                most.saturating_mul(2)
            )],
            PendingReason::TooLong { .. } => self.shorter(id, survey),
            PendingReason::Headroom { .. } => vec![format!(
                "with a time limit of at most {limit} it counts as short and may use them: `wrun update {id} --time-limit {limit}`",
                limit = Lasting(self.state.rules.policy.backfill.short_ms)
            )],
            PendingReason::Gang { places, of } => vec![format!(
                "{} more, or a job of at most {places} tasks, would let it start",
                places_of(*of - *places, group)
            )],
            PendingReason::NoNodeFits { .. } => {
                let lack = lack::of(&group.key, &self.state);
                lack.into_iter().map(|lack| lack.to_string()).collect()
            }
            PendingReason::NoNodeReady { .. } | PendingReason::WaitsForCapacity { .. } => {
                let mut advice = self.past_hurdles(group);
                advice.extend(self.limit_missing(job, group));
                advice
            }
            _ => Vec::new(),
        }
    }

    /// What a shorter time limit would do.
    fn shorter(&self, id: JobId, survey: &Survey) -> Vec<String> {
        let Some((ms, node)) = survey.longest.as_ref().filter(|(ms, _)| *ms >= 1000) else {
            return Vec::new();
        };
        let limit = Lasting(ms / 1000 * 1000);
        vec![format!(
            "a time limit of at most {limit} would let it start now on {node}: `wrun update {id} --time-limit {limit}`"
        )]
    }

    /// A job without a time limit is stepped over more often than need be.
    fn limit_missing(&self, job: &Job, group: &Group) -> Option<String> {
        let endless = matches!(group.key.length, Length::Like(_)) && job.ready_tasks() > 0;
        endless.then(|| {
            "give it a time limit: what is known to end in time can go before others that wait"
                .to_owned()
        })
    }

    /// For each thing that alone keeps it from nodes with room: what to change, and where it
    /// would start then.
    fn past_hurdles(&self, group: &Group) -> Vec<String> {
        let key = &group.key;
        if key.needs_grant() || key.reservation().is_some() {
            // Which of its requests to compare with what a node has left is not one question.
            return Vec::new();
        }
        // Of amounts, where most is left; else the first node by number.
        let mut found: BTreeMap<Hurdle, (u64, &str)> = BTreeMap::new();
        for (_, node) in self.state.nodes.iter() {
            let Some(hurdle) = only_hurdle(node, key) else { continue };
            let left = match hurdle {
                Hurdle::Amount(amount) => left_of(node, amount),
                _ => 1,
            };
            let best = found.entry(hurdle).or_insert((0, ""));
            if left > best.0 {
                *best = (left, &node.name);
            }
        }
        let told = found.into_iter().filter(|(_, (left, _))| *left > 0);
        told.map(|(hurdle, (left, node))| hurdle.advice(left, node)).collect()
    }
}

impl Hurdle {
    fn advice(&self, left: u64, node: &str) -> String {
        match self {
            Self::Drained => {
                format!("taking {node} back would let it start there: `wrun drain {node} --undo`")
            }
            Self::Label(label, value) => format!(
                "1 more node with the label {label}={value}, or a job that does not ask for it, would do: {node} has room"
            ),
            Self::Refused(label, value) => {
                format!("a job that does not refuse {label}={value} could start now on {node}")
            }
            Self::Partition => format!("in a partition of {node} it could start now"),
            Self::Amount(amount) => {
                let most = match amount {
                    Amount::Cpu => format!("{} CPU", thousandths(left)),
                    Amount::Memory => format!("{} memory", Bytes(left)),
                    Amount::Scratch => format!("{} scratch disk", Bytes(left)),
                    Amount::Slots => format!("{left} places"),
                };
                format!("a job whose tasks take at most {most} could start now on {node}")
            }
        }
    }
}

/// What alone keeps a task of the group from the node; `None` where nothing does, or more
/// than one thing.
fn only_hurdle(node: &Node, key: &GroupKey) -> Option<Hurdle> {
    let info = node.info.as_ref()?;
    let there = node.session.connected && !node.session.draining && !node.lost;
    if !there || node.loads.waiting > 0 {
        return None;
    }
    let carries = |(label, value): &(&String, &String)| info.labels.get(*label) == Some(value);
    let owned = |(label, value): (&String, &String)| (label.clone(), value.clone());
    let wishes = key.wishes.as_deref();
    let partition = wishes.and_then(|wishes| wishes.partition.as_ref());
    let within = partition.map_or(node.by_default, |name| node.partitions.contains(name));
    let missing = key.labels.iter().filter(|label| !carries(label)).map(owned);
    let refused = wishes.into_iter().flat_map(|wishes| &wishes.refused_labels);
    let refused = refused.filter(carries).map(owned);
    let amounts = Amount::all_lacking(&node.free(), &key.wanted).map(Hurdle::Amount);
    let mut hurdles = node
        .drain
        .then_some(Hurdle::Drained)
        .into_iter()
        .chain((!within).then_some(Hurdle::Partition))
        .chain(missing.map(|(label, value)| Hurdle::Label(label, value)))
        .chain(refused.map(|(label, value)| Hurdle::Refused(label, value)))
        .chain(amounts);
    let only = hurdles.next()?;
    hurdles.next().is_none().then_some(only)
}

fn left_of(node: &Node, amount: Amount) -> u64 {
    let free = node.free();
    match amount {
        Amount::Cpu => free.cpu_milli.into(),
        Amount::Memory => free.memory,
        Amount::Scratch => free.scratch,
        Amount::Slots => free.slots.into(),
    }
}

/// So many places, and what each is.
fn places_of(count: u32, group: &Group) -> String {
    let labels = group.key.labels.iter().map(|(label, value)| format!("{label}={value}"));
    let labels: Vec<String> = labels.collect();
    let places = if count == 1 { "place" } else { "places" };
    let on = match labels.is_empty() {
        true => String::new(),
        false => format!(" on nodes with {}", labels.join(", ")),
    };
    format!("{count} {places} of {}{on}", group.key.wanted)
}
