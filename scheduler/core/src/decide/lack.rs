//! What a cluster lacks for a job that none of its nodes could ever run.

use std::fmt;

use wrun_protocol::scheduling::{Offer, Request};
use wrun_protocol::{JobSpec, Resources};

use crate::core::Core;
use crate::state::State;
use crate::state::groups::GroupKey;
use crate::state::need::Need;
use crate::state::nodes::Node;
use crate::state::stock::could_serve;

/// Why no node could hold a task, were it empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// None of the partition carries these labels, and none of those refused.
    Labels { wanted: Vec<String>, refused: Vec<String>, partition: Option<String> },
    /// None that it may go to is that large.
    Amounts { wanted: Resources, largest: Resources, partition: Option<String> },
    /// None that it may go to has such cards, or so many.
    Cards { milli: u32, memory: u64, models: Vec<String> },
    /// None that it may go to declares so much of it.
    Named { name: String, wanted: u64, most: u64 },
    /// Each has a part of what it asks for, and none has all.
    Together,
    /// The cluster has no such pool, or a smaller one.
    Pool { name: String, wanted: u32, size: Option<u32> },
}

/// What is lacking for every request of the key; `None` where one can be served, or no
/// node is known that could tell. It is said of the preferred request.
pub(crate) fn of(key: &GroupKey, state: &State) -> Option<Lack> {
    let mut lacks = key.needs().map(|need| of_need(key, &need, state));
    let first = lacks.next().flatten()?;
    lacks.all(|lack| lack.is_some()).then_some(first)
}

fn of_need(key: &GroupKey, need: &Need<'_>, state: &State) -> Option<Lack> {
    for (name, wanted) in need.devices.iter().flat_map(|devices| &devices.pools) {
        let size = state.rules.policy.pools.get(name).copied();
        if size.is_none_or(|size| size < *wanted) {
            return Some(Lack::Pool { name: name.clone(), wanted: *wanted, size });
        }
    }
    let known = || state.nodes.iter().map(|(_, node)| node).filter(|node| node.info.is_some());
    let serves = |node: &Node| {
        node.admits(key)
            && node.capacity().covers(need.resources)
            && need.devices.is_none_or(|devices| could_serve(&node.stock.offer, devices))
    };
    // Mostly one of the first does: to submit a job must not cost a look at every node.
    if known().any(serves) || known().next().is_none() {
        return None;
    }
    let text = |(label, value): (&String, &String)| format!("{label}={value}");
    let admitting = known().filter(|node| node.admits(key));
    let allowed: Vec<(Resources, &Offer)> =
        admitting.map(|node| (node.capacity(), &node.stock.offer)).collect();
    let partition = key.wishes.as_ref().and_then(|wishes| wishes.partition.clone());
    if allowed.is_empty() {
        let refused = key.wishes.as_ref().map(|wishes| &wishes.refused_labels);
        let refused = refused.map(|labels| labels.iter().map(text).collect());
        let wanted = key.labels.iter().map(text).collect();
        let refused = refused.unwrap_or_default();
        return Some(Lack::Labels { wanted, refused, partition });
    }
    let large: Vec<&Offer> = allowed
        .iter()
        .filter(|(capacity, _)| capacity.covers(need.resources))
        .map(|(_, offer)| *offer)
        .collect();
    if large.is_empty() {
        let largest = allowed.iter().map(|(capacity, _)| *capacity).max().unwrap_or_default();
        return Some(Lack::Amounts { wanted: *need.resources, largest, partition });
    }
    let devices = need.devices?;
    for (name, wanted) in &devices.named {
        let most = large.iter().filter_map(|offer| offer.named.get(name)).max().copied();
        let most = most.unwrap_or_default();
        if most < *wanted {
            return Some(Lack::Named { name: name.clone(), wanted: *wanted, most });
        }
    }
    let Some(gpu) = &devices.gpu else { return Some(Lack::Together) };
    let alone = wrun_protocol::scheduling::Devices { gpu: Some(gpu.clone()), ..Default::default() };
    if large.iter().any(|offer| could_serve(offer, &alone)) {
        return Some(Lack::Together);
    }
    Some(Lack::Cards { milli: gpu.milli, memory: gpu.memory, models: gpu.models.clone() })
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels { wanted, refused, partition } => {
                let place = of_partition(partition);
                match (wanted.is_empty(), refused.is_empty()) {
                    (true, true) => write!(f, "there is no node{place}")?,
                    (false, true) => {
                        write!(f, "no node{place} carries the labels {}", wanted.join(", "))?;
                    }
                    (true, false) => {
                        let refused = refused.join(", ");
                        write!(f, "every node{place} carries a refused label: {refused}")?;
                    }
                    (false, false) => {
                        let (wanted, refused) = (wanted.join(", "), refused.join(", "));
                        write!(
                            f,
                            "no node{place} carries the labels {wanted} and none of {refused}"
                        )?;
                    }
                }
                f.write_str(": see `wrun nodes` for those there are")
            }
            Self::Amounts { wanted, largest, partition } => write!(
                f,
                "a task takes {wanted}, and no node{} with the labels it wants is that large: the largest has {largest}; ask for less or add a larger node",
                of_partition(partition)
            ),
            Self::Cards { milli, memory, models } => {
                write!(f, "a task takes {} GPU", f64::from(*milli) / 1000.0)?;
                if *memory > 0 {
                    write!(f, " with {} memory each", wrun_protocol::resources::Bytes(*memory))?;
                }
                if !models.is_empty() {
                    write!(f, " of the models {}", models.join(", "))?;
                }
                f.write_str(
                    ", and no node it may go to has as many such cards: see `wrun nodes`, or give an alternative without them",
                )
            }
            Self::Named { name, wanted, most: 0 } => write!(
                f,
                "a task takes {wanted} of `{name}`, which no node it may go to declares: see `wrun nodes`"
            ),
            Self::Named { name, wanted, most } => write!(
                f,
                "a task takes {wanted} of `{name}`, and no node it may go to declares more than {most}"
            ),
            Self::Together => f.write_str(
                "each node has a part of what a task takes, and none has all of it: ask for less",
            ),
            Self::Pool { name, size: None, .. } => write!(
                f,
                "the cluster has no pool `{name}`: an administrator declares pools in the policy"
            ),
            Self::Pool { name, wanted, size: Some(size) } => {
                write!(f, "a task takes {wanted} slots of the pool `{name}`, which has {size}")
            }
        }
    }
}

fn of_partition(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" of partition `{name}`")).unwrap_or_default()
}

impl Core {
    /// Learns from the queue what is asked for; what was before is forgotten.
    pub(crate) fn ask_for_queued(&mut self) {
        let groups: Vec<_> = self.state.groups.in_order().collect();
        for group in groups.into_iter().filter_map(|group| self.state.groups.get(group)) {
            if group.key.wishes.as_ref().is_some_and(|wishes| wishes.devices.gpu.is_some())
                && let Some(request) = group.key.request(0)
            {
                let tasks = u32::try_from(group.ready_tasks).unwrap_or(u32::MAX);
                self.state.nodes.packing.ask(&request, tasks);
            }
        }
    }

    /// Learns what is asked for, so that cards are kept for it.
    pub(crate) fn ask_for(&mut self, spec: &JobSpec) {
        if self.state.nodes.packing.is_empty() || spec.scheduling.devices.gpu.is_none() {
            return;
        }
        let request =
            Request { resources: spec.resources, devices: spec.scheduling.devices.clone() };
        self.state.nodes.packing.ask(&request, spec.count);
    }
}
