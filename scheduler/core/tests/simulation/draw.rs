//! Small clusters, policies and lists of jobs, drawn so that many things happen at once:
//! every time is a whole number of ticks, which are seconds in some and milliseconds, the
//! least that there is, in others.

use std::collections::BTreeSet;

use wrun_protocol::policy::{Backfill, BackfillMode, Balance, Policy, QueueOrder, Weights};
use wrun_protocol::reservation::{Reservation, Reserved};
use wrun_protocol::{Resources, Timestamp};

use crate::random::Random;
use crate::timeline::{Amounts, Block, Headroom, Unit};
use crate::world::{POOL, POOL_SLOTS};

/// A job to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    /// When.
    pub(crate) at: u64,
    pub(crate) tenant: &'static str,
    /// A gang, or each of its tasks.
    pub(crate) unit: Unit,
    /// How many of these.
    pub(crate) units: u32,
    /// How long it really takes.
    pub(crate) runs: u64,
    pub(crate) priority: i32,
}

pub(crate) struct Draw {
    pub(crate) nodes: Vec<Amounts>,
    pub(crate) policy: Policy,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) reservations: Vec<Reservation>,
    /// All must have started by then.
    pub(crate) latest: u64,
}

/// Whose jobs they are.
pub(crate) const TENANTS: &[&str] = &["ann", "bob", "zoe"];

/// When each world begins, in milliseconds.
pub(crate) const BEGIN: u64 = 1_000_000;

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let tick = random.pick(&[1, 1000]);
        let devices = random.one_in(3);
        let nodes: Vec<Amounts> =
            (0..random.pick(&[1, 1, 2, 3])).map(|_| node(&mut random, devices)).collect();
        let policy = policy(&mut random, tick);
        let wide = random.one_in(2);
        let arrays = random.one_in(3);
        let tenants = if policy.weights.fair_share > 0 { TENANTS } else { &TENANTS[..1] };
        // Where all are alike the order is seen most plainly.
        let alike = random.one_in(4).then(|| unit(&mut random, tick, &nodes, wide));
        let mut at = BEGIN;
        let drafts: Vec<Draft> = (0..40)
            .map(|_| {
                at += tick * random.pick(&[0, 0, 1, 3, 10, 30]);
                let unit = alike.unwrap_or_else(|| unit(&mut random, tick, &nodes, wide));
                let part = random.pick(&[1, 1, 2, 10]);
                let runs = (unit.length / part / tick).max(1) * tick;
                let many = arrays && unit.count == 1 && random.one_in(3);
                let units = if many { 2 + random.below(3) as u32 } else { 1 };
                let (tenant, priority) = (random.pick(tenants), random.pick(&[0, 0, 1, -1]));
                Draft { at, tenant, unit, units, runs, priority }
            })
            .collect();
        let mut draw = Self { nodes, policy, drafts, reservations: Vec::new(), latest: 0 };
        if random.one_in(3) {
            draw.reserve(&mut random, tick);
        }
        draw.latest = at + 20_000 * tick;
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

    /// CPU that what runs long leaves free.
    pub(crate) fn headroom(&self) -> Option<Headroom> {
        let Backfill { headroom: part, short_ms: short, .. } = self.policy.backfill;
        (part > 0).then_some(Headroom { part, short })
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
                    // Devices are no part of what is set aside: without CPU nobody uses them.
                    let each = Amounts { plain: capacity.plain, ..Amounts::default() };
                    blocks.push(Block { node, from, to, each, slots: 0, count: 1 });
                }
            }
        }
        blocks
    }
}

fn node(random: &mut Random, devices: bool) -> Amounts {
    let cpu_milli = random.pick(&[1000, 2000, 4000]);
    let plain = Resources { cpu_milli, memory: 8 << 30, scratch: 0, slots: 64 };
    let (gpu_milli, named) = match devices {
        true => (random.pick(&[0, 1000, 1000]), random.pick(&[0, 3])),
        false => (0, 0),
    };
    Amounts { plain, gpu_milli, named }
}

/// One task, or a gang that the cluster can hold.
fn unit(random: &mut Random, tick: u64, nodes: &[Amounts], wide: bool) -> Unit {
    let cpu_milli = random.pick(&[1000, 1000, 500]);
    let memory = random.pick(&[1 << 30, 1 << 30, 3 << 30]);
    let plain = Resources { cpu_milli, memory, scratch: 0, slots: 1 };
    let mut each = Amounts { plain, ..Amounts::default() };
    let has = |what: fn(&Amounts) -> bool| nodes.iter().any(what);
    let has_devices = has(|node| node.gpu_milli > 0 || node.named > 0);
    if has(|node| node.gpu_milli > 0) && random.one_in(3) {
        each.gpu_milli = random.pick(&[300, 500, 1000]);
    } else if has(|node| node.named > 0) && random.one_in(4) {
        each.named = random.pick(&[1, 2]);
    }
    let slots = if has_devices && random.one_in(4) { random.pick(&[1, POOL_SLOTS]) } else { 0 };
    let on_nodes: u32 = nodes.iter().map(|node| node.times(&each)).sum();
    let most = on_nodes.min(POOL_SLOTS.checked_div(slots).unwrap_or(u32::MAX));
    let gang = wide && most > 1 && random.one_in(3);
    let count = if gang { 2 + random.below(most as usize - 1) as u32 } else { 1 };
    let length = tick * random.pick(&[1, 5, 20, 50, 100]);
    Unit { each, slots, count, length, aged: false }
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
    let fair_share = random.pick(&[0, 0, 10_000]);
    let weights =
        Weights { age: 0, fair_share, size: 0, qos: 0, partition: 0, ..Weights::default() };
    let headroom = random.pick(&[0, 0, 0, 250_000, 500_000]);
    let (short_ms, promises) = (tick * random.pick(&[5, 20]), random.pick(&[1, 1, 3]));
    Policy {
        order,
        fill_order: random.pick(&fill),
        age_bound_ms: random.pick(&[None, Some(30), Some(200)]).map(|bound: u64| bound * tick),
        weights,
        balance: Balance {
            patience_ms: tick * random.pick(&[50, 400]),
            full_area_ms: tick * random.pick(&[10, 100]),
        },
        half_life_ms: tick * random.pick(&[50, 1000]),
        backfill: Backfill { mode, promises, headroom, short_ms, ..Backfill::default() },
        pools: [(POOL.to_owned(), POOL_SLOTS)].into(),
        ..Policy::default()
    }
}
