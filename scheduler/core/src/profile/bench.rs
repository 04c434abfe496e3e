//! Devices of one node over time: what is free of each card, and of what the node declares
//! by name. Cards are told apart, so that what is found free for a while is one card all
//! along and not one after the other.

use wrun_protocol::Timestamp;

use super::{Amounts, Profile};

/// A whole card, in thousandths.
const WHOLE: u32 = 1000;

/// What is free of a node's devices at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bench {
    /// Thousandths and memory of each card, by its place in the node's offer.
    pub(crate) cards: Vec<(u32, u64)>,
    /// By place among the names that the node declares.
    pub(crate) named: Vec<u64>,
}

/// What one task takes of a node's devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BenchNeed {
    pub(crate) cards: Option<CardNeed>,
    /// Place among the names, and how much.
    pub(crate) named: Vec<(usize, u64)>,
}

/// The cards that one task takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CardNeed {
    /// How many, and so much of each.
    pub(crate) count: usize,
    pub(crate) milli: u32,
    pub(crate) memory: u64,
    /// Those that serve, by place; as many as it takes where it is known which these are.
    pub(crate) places: Vec<u16>,
}

impl CardNeed {
    fn fits(&self, card: (u32, u64)) -> bool {
        card.0 >= self.milli && card.1 >= self.memory
    }

    /// The same of these cards and no others.
    fn at(&self, places: Vec<u16>) -> Self {
        Self { places, ..*self }
    }
}

impl Bench {
    fn card(&self, place: u16) -> Option<(u32, u64)> {
        self.cards.get(usize::from(place)).copied()
    }

    /// The cards for one task: those that have least beyond what it takes, the lowest of
    /// those that are alike.
    pub(crate) fn choose(&self, need: &BenchNeed) -> Option<BenchNeed> {
        let enough = |(name, amount): &(usize, u64)| self.named.get(*name) >= Some(amount);
        if !need.named.iter().all(enough) {
            return None;
        }
        let Some(cards) = &need.cards else { return Some(need.clone()) };
        let fitting = cards.places.iter().filter_map(|place| {
            self.card(*place).filter(|card| cards.fits(*card)).map(|card| (card, *place))
        });
        let mut fitting: Vec<((u32, u64), u16)> = fitting.collect();
        fitting.sort_unstable();
        fitting.truncate(cards.count);
        let chosen: Vec<u16> = fitting.into_iter().map(|(_, place)| place).collect();
        let cards = (chosen.len() == cards.count).then(|| cards.at(chosen))?;
        Some(BenchNeed { cards: Some(cards), named: need.named.clone() })
    }

    /// What a task took is free again.
    pub(crate) fn give(&mut self, need: &BenchNeed) {
        for cards in need.cards.iter() {
            for place in &cards.places {
                if let Some(card) = self.cards.get_mut(usize::from(*place)) {
                    card.0 = card.0.saturating_add(cards.milli).min(WHOLE);
                    card.1 = card.1.saturating_add(cards.memory);
                }
            }
        }
        for (name, each) in &need.named {
            if let Some(amount) = self.named.get_mut(*name) {
                *amount = amount.saturating_add(*each);
            }
        }
    }

    /// Of everything no more than the other has.
    fn meet(&mut self, other: &Self) {
        for (card, least) in self.cards.iter_mut().zip(&other.cards) {
            *card = (card.0.min(least.0), card.1.min(least.1));
        }
        for (amount, least) in self.named.iter_mut().zip(&other.named) {
            *amount = (*amount).min(*least);
        }
    }
}

impl Amounts for Bench {
    type Need = BenchNeed;

    /// Takes of all cards that are named: those of a task that holds them, or was given
    /// them by [`Bench::choose`].
    fn take(&mut self, need: &BenchNeed, count: u32) {
        if let Some(cards) = &need.cards {
            for place in &cards.places {
                if let Some(card) = self.cards.get_mut(usize::from(*place)) {
                    card.0 = card.0.saturating_sub(cards.milli.saturating_mul(count));
                    card.1 = card.1.saturating_sub(cards.memory.saturating_mul(count.into()));
                }
            }
        }
        for (name, each) in &need.named {
            if let Some(amount) = self.named.get_mut(*name) {
                *amount = amount.saturating_sub(each.saturating_mul(count.into()));
            }
        }
    }

    fn times(&self, need: &BenchNeed) -> u32 {
        let by_name = need.named.iter().map(|(name, each)| {
            let amount = self.named.get(*name).copied().unwrap_or_default();
            u32::try_from(amount.checked_div(*each).unwrap_or(u64::MAX)).unwrap_or(u32::MAX)
        });
        let by_cards = need.cards.as_ref().map(|need| {
            let cards = need.places.iter().filter_map(|place| self.card(*place));
            if need.count == 1 && need.milli < WHOLE {
                let room = cards.map(|(milli, memory)| {
                    let by_memory = memory.checked_div(need.memory).unwrap_or(u64::MAX);
                    let by_share = milli.checked_div(need.milli).unwrap_or(u32::MAX);
                    by_share.min(u32::try_from(by_memory).unwrap_or(u32::MAX))
                });
                return room.fold(0, u32::saturating_add);
            }
            let whole = cards.filter(|card| need.fits(*card)).count();
            u32::try_from(whole / need.count.max(1)).unwrap_or(u32::MAX)
        });
        by_name.chain(by_cards).fold(u32::MAX, u32::min)
    }
}

impl Profile<Bench> {
    /// What is free for the whole of `[from, to)`.
    pub(crate) fn least(&self, from: Timestamp, to: Timestamp) -> Option<Bench> {
        let first = self.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        let until = to.max(Timestamp(from.0.saturating_add(1)));
        let mut within = self
            .steps
            .iter()
            .skip(first)
            .take_while(|step| step.from < until)
            .map(|step| &step.free);
        let mut least = within.next()?.clone();
        within.for_each(|free| least.meet(free));
        Some(least)
    }

    /// Takes devices for `count` tasks that run over `[from, to)`, each the same all along.
    pub(crate) fn take_for(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        need: &BenchNeed,
        count: u32,
    ) {
        for _ in 0..count {
            let chosen = self.least(from, to).and_then(|least| least.choose(need));
            let Some(chosen) = chosen else { return };
            self.take(from, to, &chosen, 1);
        }
    }

    /// How many tasks find their devices for `duration` milliseconds, by the instant from
    /// which, as [`Profile::rooms`] says it for amounts that are all alike.
    pub(crate) fn bench_rooms(&self, duration: u64, need: &BenchNeed) -> Vec<(Timestamp, u32)> {
        let duration = duration.max(1);
        let mut rooms: Vec<(Timestamp, u32)> = Vec::new();
        for at in self.instants(duration) {
            let end = Timestamp(at.0.saturating_add(duration));
            let room = self.least(at, end).map_or(0, |least| least.times(need));
            if rooms.last().is_none_or(|(_, before)| *before != room) {
                rooms.push((at, room));
            }
        }
        rooms
    }
}

/// Slots of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots(pub(crate) u64);

impl Amounts for Slots {
    type Need = u32;

    fn take(&mut self, need: &u32, count: u32) {
        self.0 = self.0.saturating_sub(u64::from(*need) * u64::from(count));
    }

    fn times(&self, need: &u32) -> u32 {
        let times = self.0.checked_div(u64::from(*need)).unwrap_or(u64::MAX);
        u32::try_from(times).unwrap_or(u32::MAX)
    }
}

/// Of two lists of how many fit from when on, the lesser at every instant.
pub(crate) fn lesser(
    one: &[(Timestamp, u32)],
    other: &[(Timestamp, u32)],
) -> Vec<(Timestamp, u32)> {
    let mut instants: Vec<Timestamp> = one.iter().chain(other).map(|(at, _)| *at).collect();
    instants.sort_unstable();
    instants.dedup();
    let room = |of: &[(Timestamp, u32)], at: Timestamp| {
        let next = of.partition_point(|(from, _)| *from <= at);
        next.checked_sub(1).and_then(|before| of.get(before)).map_or(0, |(_, room)| *room)
    };
    let mut rooms: Vec<(Timestamp, u32)> = Vec::with_capacity(instants.len());
    for at in instants {
        let room = room(one, at).min(room(other, at));
        if rooms.last().is_none_or(|(_, before)| *before != room) {
            rooms.push((at, room));
        }
    }
    rooms
}
