//! What a node has beyond amounts: its cards and what it declares by name; how much of
//! each is free, and which attempt holds what. And the pools of the whole cluster.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};
use wrun_protocol::scheduling::{Devices, GpuRequest, Offer, Request};
use wrun_protocol::wire::worker::{Assignment, Grant};
use wrun_protocol::{IndexRange, TaskId};

use super::waste::WHOLE;
use crate::profile::Bench;

/// What an attempt holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) attempt: u32,
    pub(crate) grant: Grant,
    /// The request that the grant serves, as it was then.
    pub(crate) request: Request,
}

/// What is left of a card. Below zero where the node came back with less than is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) milli: i64,
    pub(crate) memory: i128,
}

/// A node's devices, in memory of their own: most nodes have none, and are asked often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stocked(Option<Box<Stock>>);

/// What a node without devices has.
static NONE: Stock = Stock {
    offer: Offer { gpus: Vec::new(), named: BTreeMap::new() },
    cards: Vec::new(),
    named: BTreeMap::new(),
    held: BTreeMap::new(),
};

impl Deref for Stocked {
    type Target = Stock;

    fn deref(&self) -> &Stock {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Stocked {
    fn deref_mut(&mut self) -> &mut Stock {
        self.0.get_or_insert_default()
    }
}

impl Stocked {
    /// Those of the attempts that hold something give it back.
    pub(crate) fn release(&mut self, tasks: Assignment) -> Vec<(TaskId, Holding)> {
        self.0.as_mut().map(|stock| stock.release(tasks)).unwrap_or_default()
    }
}

/// A node's devices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stock {
    pub(crate) offer: Offer,
    /// By place in the offer.
    pub(crate) cards: Vec<Left>,
    named: BTreeMap<String, i128>,
    held: BTreeMap<TaskId, Holding>,
}

impl Stock {
    /// The node has this from now on.
    pub(crate) fn set_offer(&mut self, offer: &Offer) {
        self.offer = offer.clone();
        let left = |memory: u64| Left { milli: WHOLE.into(), memory: memory.into() };
        self.cards = offer.gpus.iter().map(|gpu| left(gpu.memory)).collect();
        self.named =
            offer.named.iter().map(|(name, amount)| (name.clone(), (*amount).into())).collect();
        let held: Vec<Holding> = self.held.values().cloned().collect();
        held.iter().for_each(|held| self.count(held, -1));
    }

    fn count(&mut self, held: &Holding, sign: i64) {
        let Holding { grant, request, .. } = held;
        if let Some(gpu) = &request.devices.gpu {
            let milli = i64::from(gpu.milli.min(WHOLE));
            for card in &grant.gpus {
                if let Some(left) = self.cards.get_mut(usize::from(*card)) {
                    left.milli += sign * milli;
                    left.memory += i128::from(sign) * i128::from(gpu.memory);
                }
            }
        }
        for (name, amount) in &request.devices.named {
            if let Some(left) = self.named.get_mut(name) {
                *left += i128::from(sign) * i128::from(*amount);
            }
        }
    }

    /// An attempt takes what was granted to it.
    pub(crate) fn hold(&mut self, task: TaskId, held: Holding) {
        self.count(&held, -1);
        self.held.insert(task, held);
    }

    fn release(&mut self, tasks: Assignment) -> Vec<(TaskId, Holding)> {
        let IndexRange { first, .. } = tasks.tasks;
        let range = tasks.job.task(first)..tasks.job.task(tasks.tasks.end());
        let of_attempt = self.held.range(range).filter(|(_, held)| held.attempt == tasks.attempt);
        let leaving: Vec<TaskId> = of_attempt.map(|(task, _)| *task).collect();
        let released =
            leaving.into_iter().filter_map(|task| Some((task, self.held.remove(&task)?)));
        let released: Vec<(TaskId, Holding)> = released.collect();
        released.iter().for_each(|(_, held)| self.count(held, 1));
        released
    }

    /// What attempts hold, in order of task.
    pub(crate) fn held(&self) -> impl Iterator<Item = (TaskId, &Holding)> {
        self.held.iter().map(|(task, held)| (*task, held))
    }

    /// What an attempt of the task holds apart.
    pub(crate) fn of(&self, task: TaskId) -> Option<&Holding> {
        self.held.get(&task)
    }

    /// What is left of a resource that the node declares.
    pub(crate) fn left_of(&self, name: &str) -> u64 {
        let left = self.named.get(name).copied().unwrap_or_default();
        u64::try_from(left).unwrap_or_default()
    }

    /// What is left of everything.
    pub(crate) fn bench(&self) -> Bench {
        let left = |left: &Left| {
            let memory = u64::try_from(left.memory).unwrap_or_default();
            (u32::try_from(left.milli).unwrap_or_default(), memory)
        };
        Bench {
            cards: self.cards.iter().map(left).collect(),
            named: self.offer.named.keys().map(|name| self.left_of(name)).collect(),
        }
    }

    /// Thousandths in use of each card, in their order.
    pub(crate) fn used_cards(&self) -> impl Iterator<Item = u32> {
        let used = self.cards.iter().map(|left| i64::from(WHOLE) - left.milli);
        used.map(|used| u32::try_from(used).unwrap_or_default())
    }

    /// How many tasks what is left serves, counted up to `most`.
    pub(crate) fn room(&self, devices: &Devices, most: u32) -> u32 {
        let by_name = devices.named.iter().map(|(name, amount)| {
            let fits = self.left_of(name).checked_div(*amount).unwrap_or(u64::MAX);
            u32::try_from(fits).unwrap_or(u32::MAX)
        });
        let by_cards = devices.gpu.as_ref().map(|gpu| self.card_room(gpu));
        by_name.chain(by_cards).fold(most, u32::min)
    }

    /// The same if nothing were held.
    pub(crate) fn empty_room(&self, devices: &Devices, most: u32) -> u32 {
        let mut empty = Self::default();
        empty.set_offer(&self.offer);
        empty.room(devices, most)
    }

    fn card_room(&self, gpu: &GpuRequest) -> u32 {
        let milli = i64::from(gpu.milli.min(WHOLE));
        let serving = self.cards.iter().zip(&self.offer.gpus);
        let serving = serving.filter(|(_, card)| serves(gpu, &card.model)).map(|(left, _)| {
            let by_memory = left.memory.checked_div(gpu.memory.into()).unwrap_or(i128::MAX);
            let by_share = left.milli.checked_div(milli).unwrap_or_default();
            u32::try_from(by_memory.min(by_share.into()).max(0)).unwrap_or(u32::MAX)
        });
        match gpu.milli {
            ..WHOLE => serving.fold(0, u32::saturating_add),
            _ => serving.filter(|tasks| *tasks > 0).count() as u32 / (gpu.milli / WHOLE),
        }
    }
}

/// Whether cards of the model serve the request.
pub(crate) fn serves(gpu: &GpuRequest, model: &str) -> bool {
    gpu.models.is_empty() || gpu.models.iter().any(|wanted| wanted == model)
}

/// Whether a node that has this could serve a task if nothing of it were held.
pub(crate) fn could_serve(offer: &Offer, devices: &Devices) -> bool {
    let named = devices.named.iter().all(|(name, amount)| offer.named.get(name) >= Some(amount));
    let cards = devices.gpu.as_ref().is_none_or(|gpu| {
        let serving = offer.gpus.iter();
        let serving = serving.filter(|card| serves(gpu, &card.model) && card.memory >= gpu.memory);
        serving.count() as u32 >= gpu.milli.div_ceil(WHOLE)
    });
    named && cards
}

/// Slots that are taken, of every pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    taken: BTreeMap<String, u64>,
    /// By pool: who took how many.
    holders: BTreeMap<String, BTreeMap<TaskId, u32>>,
    /// Some were given back since the last placement. Not recorded.
    pub(crate) freed: bool,
}

impl Pools {
    pub(crate) fn take(&mut self, task: TaskId, devices: &Devices) {
        for (pool, slots) in &devices.pools {
            *self.taken.entry(pool.clone()).or_default() += u64::from(*slots);
            self.holders.entry(pool.clone()).or_default().insert(task, *slots);
        }
    }

    pub(crate) fn give_back(&mut self, task: TaskId, devices: &Devices) {
        for (pool, slots) in &devices.pools {
            self.freed = true;
            if let Some(taken) = self.taken.get_mut(pool) {
                *taken = taken.saturating_sub((*slots).into());
                if *taken == 0 {
                    self.taken.remove(pool);
                }
            }
            if let Some(holders) = self.holders.get_mut(pool) {
                holders.remove(&task);
                if holders.is_empty() {
                    self.holders.remove(pool);
                }
            }
        }
    }

    /// Who has slots of the pool, and how many.
    pub(crate) fn holders(&self, pool: &str) -> impl Iterator<Item = (TaskId, u32)> {
        let holders = self.holders.get(pool).into_iter().flatten();
        holders.map(|(task, slots)| (*task, *slots))
    }

    /// How many tasks find their slots, by how large each pool is.
    pub(crate) fn room(&self, devices: &Devices, sizes: &BTreeMap<String, u32>) -> u32 {
        let rooms = devices.pools.iter().map(|(pool, slots)| {
            let size = u64::from(sizes.get(pool).copied().unwrap_or_default());
            let left = size.saturating_sub(self.taken(pool));
            u32::try_from(left.checked_div((*slots).into()).unwrap_or(u64::MAX)).unwrap_or(u32::MAX)
        });
        rooms.fold(u32::MAX, u32::min)
    }

    /// Slots of the pool that are taken.
    pub(crate) fn taken(&self, pool: &str) -> u64 {
        self.taken.get(pool).copied().unwrap_or_default()
    }

    /// The first pool that has too little left, by how large each is.
    pub(crate) fn lacking<'a>(
        &self,
        devices: &'a Devices,
        sizes: &BTreeMap<String, u32>,
    ) -> Option<&'a str> {
        let lacks = |(pool, slots): &(&String, &u32)| {
            let size = sizes.get(*pool).copied().unwrap_or_default();
            self.taken(pool) + u64::from(**slots) > u64::from(size)
        };
        devices.pools.iter().find(lacks).map(|(pool, _)| pool.as_str())
    }
}
