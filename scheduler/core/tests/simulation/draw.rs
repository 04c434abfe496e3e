//! Small clusters, policies and lists of jobs, drawn so that many things happen at once:
//! every time is a whole number of ticks, which are seconds in some and milliseconds, the
//! least that there is, in others.

use std::collections::BTreeSet;

use wrun_protocol::policy::{Backfill, BackfillMode, Balance, Policy, QueueOrder, Weights};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::{Resources, Timestamp};

use crate::random::Random;
use crate::timeline::{Block, Unit};

/// A job to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    /// When.
    pub(crate) at: u64,
    pub(crate) unit: Unit,
    /// How long it really takes.
    pub(crate) runs: u64,
    pub(crate) priority: i32,
}

pub(crate) struct Draw {
    pub(crate) nodes: Vec<Resources>,
    pub(crate) policy: Policy,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) reservations: Vec<Reservation>,
    /// All must have started by then.
    pub(crate) latest: u64,
}

/// When each world begins, in milliseconds.
pub(crate) const BEGIN: u64 = 1_000_000;

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let tick = random.pick(&[1, 1000]);
        let nodes: Vec<Resources> =
            (0..random.pick(&[1, 1, 2, 3])).map(|_| node(&mut random)).collect();
        let policy = policy(&mut random, tick);
        let wide = random.one_in(2);
        // Where all are alike the order is seen most plainly.
        let alike = random.one_in(4).then(|| unit(&mut random, tick, &nodes, wide));
        let mut at = BEGIN;
        let drafts: Vec<Draft> = (0..40)
            .map(|_| {
                at += tick * random.pick(&[0, 0, 1, 3, 10, 30]);
                let unit = alike.unwrap_or_else(|| unit(&mut random, tick, &nodes, wide));
                let part = random.pick(&[1, 1, 2, 10]);
                let runs = (unit.length / part / tick).max(1) * tick;
                Draft { at, unit, runs, priority: random.pick(&[0, 0, 1, -1]) }
            })
            .collect();
        let mut draw = Self { nodes, policy, drafts, reservations: Vec::new(), latest: 0 };
        if random.one_in(3) {
            draw.reserve(&mut random, tick);
        }
        draw.latest = at + 10_000 * tick;
        draw
    }

    /// Maintenance of a node or of all.
    fn reserve(&mut self, random: &mut Random, tick: u64) {
        let mut start = BEGIN;
        for nth in 0..3 {
            start += tick * random.pick(&[100, 150, 400]);
            let end = start + tick * random.pick(&[1, 50, 90]);
            let one: BTreeSet<String> =
                [format!("node-{}", 1 + random.below(self.nodes.len()))].into();
            let what = if random.one_in(2) { Reserved::All } else { Reserved::Nodes(one) };
            self.reservations.push(Reservation {
                name: format!("maintenance-{nth}"),
                start: Timestamp(start),
                end: Timestamp(end),
                every_ms: None,
                what,
                tenants: BTreeSet::new(),
            });
            start = end;
        }
    }

    /// What the reservations take.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        for Reservation { start, end, what, .. } in &self.reservations {
            for (node, capacity) in self.nodes.iter().enumerate() {
                let named = match what {
                    Reserved::Nodes(names) => names.contains(&format!("node-{}", node + 1)),
                    _ => true,
                };
                if named {
                    let (from, to) = (start.0, end.0);
                    blocks.push(Block { node, from, to, each: *capacity, count: 1 });
                }
            }
        }
        blocks
    }
}

fn node(random: &mut Random) -> Resources {
    let cpu_milli = random.pick(&[1000, 2000, 4000]);
    Resources { cpu_milli, memory: 8 << 30, scratch: 0, slots: 64 }
}

/// One task, or a gang that the cluster can hold.
fn unit(random: &mut Random, tick: u64, nodes: &[Resources], wide: bool) -> Unit {
    let cpu_milli = random.pick(&[1000, 1000, 500]);
    let memory = random.pick(&[1 << 30, 1 << 30, 3 << 30]);
    let each = Resources { cpu_milli, memory, scratch: 0, slots: 1 };
    let most: u32 = nodes.iter().map(|node| node.times(&each)).sum();
    let gang = wide && most > 1 && random.one_in(3);
    let count = if gang { 2 + random.below(most as usize - 1) as u32 } else { 1 };
    Unit { each, count, length: tick * random.pick(&[1, 5, 20, 50, 100]) }
}

fn policy(random: &mut Random, tick: u64) -> Policy {
    let order = random.pick(&[
        QueueOrder::Multifactor,
        QueueOrder::Fcfs,
        QueueOrder::Fcfs,
        QueueOrder::ShortestFirst,
        QueueOrder::SmallestAreaFirst,
        QueueOrder::Balanced,
    ]);
    let fill = [None, None, Some(QueueOrder::ShortestFirst), Some(QueueOrder::SmallestAreaFirst)];
    let mode = random.pick(&[
        BackfillMode::Off,
        BackfillMode::Easy,
        BackfillMode::Easy,
        BackfillMode::Conservative,
    ]);
    let weights =
        Weights { age: 0, fair_share: 0, size: 0, qos: 0, partition: 0, ..Weights::default() };
    Policy {
        order,
        fill_order: random.pick(&fill),
        age_bound_ms: random.pick(&[None, Some(30), Some(200)]).map(|bound: u64| bound * tick),
        weights,
        balance: Balance {
            patience_ms: tick * random.pick(&[50, 400]),
            full_area_ms: tick * random.pick(&[10, 100]),
        },
        backfill: Backfill { mode, ..Backfill::default() },
        ..Policy::default()
    }
}
