//! What runs on a node, or is frozen there, holds of it, and until when it is expected to.

use wrun_protocol::scheduling::Devices;
use wrun_protocol::{Resources, TaskId, Timestamp};

use crate::core::Core;
use crate::profile::{Bench, BenchNeed, CardNeed, FOREVER, Held, Profile, Slots};
use crate::state::groups::Group;
use crate::state::jobs::NodeIx;
use crate::state::load::Load;
use crate::state::nodes::Node;
use crate::state::stock::{Holding, serves};
use crate::state::waste::WHOLE;

/// Runs of tasks on one node that are looked at one by one.
const MAX_RUNS: usize = 1024;
/// Ends of device tasks of one node that are told apart.
const MAX_ENDS: usize = 128;

/// A task that is frozen: its CPU is given away, the rest is not.
pub(super) struct Ice {
    pub(super) within: Option<String>,
    holds: Resources,
    /// What it has still to do, in milliseconds.
    left_ms: u64,
    /// When it is put back instead, if it may be.
    put_back: Option<Timestamp>,
}

impl Ice {
    /// Takes what it holds out of the profile: its CPU from when it finds it again.
    pub(super) fn take_from(&self, now: Timestamp, profile: &mut Profile<Resources>) {
        let cpu = Resources { cpu_milli: self.holds.cpu_milli, ..Resources::default() };
        let rest = Resources { cpu_milli: 0, ..self.holds };
        let goes_on = profile.earliest(self.left_ms, &cpu, 1).unwrap_or(FOREVER);
        match self.put_back.filter(|at| *at <= goes_on) {
            Some(put_back) => profile.take(now, put_back, &rest, 1),
            None => {
                let end = Timestamp(goes_on.0.saturating_add(self.left_ms));
                profile.take(now, end, &rest, 1);
                profile.take(goes_on, end, &cpu, 1);
            }
        }
    }
}

impl Core {
    /// What the node's tasks hold, until when they are expected to, and in which
    /// reservation. Those that are frozen are apart.
    pub(super) fn holds(&self, node: &Node) -> Vec<(Option<String>, Held<Resources>)> {
        let mut holds = Vec::new();
        // Which tasks of a group hold and which wait for them is not known: together they
        // take as long as one after the other. So do more than are worth counting.
        let many = node.tasks.runs() > MAX_RUNS;
        self.state.bring_jobs_near(node.tasks.iter().filter(|_| !many).map(|(run, _)| run.job));
        let as_one = |load: &Load| many || load.waiting > 0;
        for (run, at) in node.tasks.iter().filter(|_| !many) {
            let Some(job) = self.state.jobs.get(run.job) else { continue };
            let counts = |load: &&Load| !as_one(load);
            if node.loads.by_group.get(job.group).filter(counts).is_none() {
                continue;
            }
            let Some(group) = self.state.groups.get(job.group) else { continue };
            let (within, need) = (group.key.reservation().map(str::to_owned), group.key.wanted);
            let length = self.expected_length(group).ms;
            let mut count = run.tasks.count;
            for (task, frozen) in self.state.frozen.within(run) {
                count -= 1;
                if !frozen {
                    let lost = self.state.frozen.lost_ms(task, self.now);
                    let end = self.expected_end(at, length.saturating_add(lost));
                    holds.push((within.clone(), Held { end, need, count: 1 }));
                }
            }
            if count > 0 {
                let end = self.expected_end(at, length);
                holds.push((within, Held { end, need, count }));
            }
        }
        for (group, load) in node.loads.by_group.iter().filter(|(_, load)| as_one(load)) {
            let Some(group) = self.state.groups.get(group) else { continue };
            let rounds = u64::from((load.holding + load.waiting).div_ceil(load.holding.max(1)));
            let length = self.expected_length(group).ms.saturating_mul(rounds);
            let end = Timestamp(self.now.0.saturating_add(length));
            let within = group.key.reservation().map(str::to_owned);
            holds.push((within, Held { end, need: group.key.wanted, count: load.holding }));
        }
        for (task, holding) in node.stock.held().filter(|(task, _)| !self.state.frozen.holds(*task))
        {
            let Some((group, end)) = self.end_of(node, task) else { continue };
            let within = group.key.reservation().map(str::to_owned);
            holds.push((within, Held { end, need: holding.request.resources, count: 1 }));
        }
        holds
    }

    /// The node's frozen tasks, the longest frozen first: so they go on.
    pub(super) fn ice(&self, ix: NodeIx, node: &Node) -> Vec<Ice> {
        let most = self.state.rules.policy.preemption.max_frozen_ms;
        let tasks = self.state.frozen.on(ix).filter_map(|task| {
            let (group, end) = self.end_of(node, task)?;
            let holding = node.stock.of(task);
            let put_back = group.key.preemptible().requeue.then(|| {
                let since = self.state.frozen.since(task).unwrap_or(self.now);
                Timestamp(since.0.saturating_add(most))
            });
            Some(Ice {
                within: group.key.reservation().map(str::to_owned),
                holds: holding.map_or(group.key.wanted, |holding| holding.request.resources),
                left_ms: end.0.saturating_sub(self.now.0),
                put_back,
            })
        });
        tasks.collect()
    }

    /// When a task of the node is expected to end: later by as long as it was frozen, as its
    /// time limit is.
    pub(super) fn end_of(&self, node: &Node, task: TaskId) -> Option<(&Group, Timestamp)> {
        let group = self.state.groups.get(self.state.jobs.get(task.job)?.group)?;
        let (_, at) = node.tasks.get(task)?;
        let lost = self.state.frozen.lost_ms(task, self.now);
        let length = self.expected_length(group).ms.saturating_add(lost);
        Some((group, self.expected_end(at, length)))
    }

    /// What is free of the node's devices over time, by what runs.
    pub(super) fn bench(&self, node: &Node) -> Profile<Bench> {
        let offer = &node.stock.offer;
        let bench = Bench {
            cards: offer.gpus.iter().map(|gpu| (WHOLE, gpu.memory)).collect(),
            named: offer.named.values().copied().collect(),
        };
        let held = node.stock.held().filter_map(|(task, holding)| {
            let (_, end) = self.end_of(node, task)?;
            Some(Held { end, need: bench_need_of(node, holding)?, count: 1 })
        });
        let mut held: Vec<Held<BenchNeed>> = held.collect();
        if held.len() > MAX_ENDS {
            held.sort_by_key(|held| held.end);
            let each = held.len().div_ceil(MAX_ENDS);
            for some in held.chunks_mut(each) {
                let end = some.last().map_or(self.now, |last| last.end);
                some.iter_mut().for_each(|held| held.end = end);
            }
        }
        Profile::new(self.now, bench, held)
    }

    /// What is free of a pool over time, by what runs.
    pub(super) fn pool(&self, name: &str) -> Profile<Slots> {
        let size = self.state.rules.policy.pools.get(name).copied().unwrap_or_default();
        let held = self.state.pools.holders(name).filter_map(|(task, slots)| {
            let (_, spot) = self.state.jobs.get(task.job)?.task(task)?;
            let (_, end) = self.end_of(self.state.nodes.get(spot?.node)?, task)?;
            Some(Held { end, need: slots, count: 1 })
        });
        Profile::new(self.now, Slots(size.into()), held.collect())
    }
}

/// What a task with those wishes takes of the node; `None` where it has no such devices.
pub(super) fn bench_need(node: &Node, devices: &Devices) -> Option<BenchNeed> {
    let offer = &node.stock.offer;
    let place = |name: &String| offer.named.keys().position(|known| known == name);
    let named = devices.named.iter().map(|(name, amount)| Some((place(name)?, *amount)));
    let cards = devices.gpu.as_ref().map(|gpu| {
        let serving = offer.gpus.iter().zip(0_u16..);
        let serving = serving.filter(|(card, _)| serves(gpu, &card.model));
        CardNeed {
            count: gpu.milli.div_ceil(WHOLE) as usize,
            milli: gpu.milli.min(WHOLE),
            memory: gpu.memory,
            places: serving.map(|(_, place)| place).collect(),
        }
    });
    Some(BenchNeed { cards, named: named.collect::<Option<_>>()? })
}

/// The same of one that holds its devices.
pub(super) fn bench_need_of(node: &Node, holding: &Holding) -> Option<BenchNeed> {
    let mut need = bench_need(node, &holding.request.devices)?;
    if let Some(cards) = &mut need.cards {
        cards.places.clone_from(&holding.grant.gpus);
    }
    Some(need)
}
