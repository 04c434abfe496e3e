//! How bad it is to leave a node with these cards free, by what the cluster is asked for.
//!
//! After "fragmentation gradient descent" (Weng et al., USENIX ATC '23), with a measure of
//! our own: for each class of request, the part of the free cards that tasks of the class
//! could not use if they filled the node, averaged with the part on cards too small for
//! one of them. Classes weigh by how often they were asked for and how much of a card
//! they take. All in whole numbers.

use wrun_protocol::Resources;
use wrun_protocol::scheduling::Request;

/// What a whole card has, in thousandths.
pub(crate) const WHOLE: u32 = 1000;

/// What is free of a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Card {
    pub(crate) milli: u32,
    pub(crate) memory: u64,
    /// Its model, as a bit; models beyond the 63rd share the last.
    pub(crate) model: u64,
}

/// What one task takes of cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Take {
    /// How many cards.
    pub(crate) cards: u32,
    /// Of each of them.
    pub(crate) milli: u32,
    pub(crate) memory: u64,
    /// Models that serve, as bits.
    pub(crate) models: u64,
}

impl Take {
    /// Whether the card has enough for one task.
    pub(crate) fn fits(&self, card: &Card) -> bool {
        card.milli >= self.milli && card.memory >= self.memory && card.model & self.models != 0
    }

    fn total(&self) -> u32 {
        self.cards * self.milli
    }
}

/// Requests that are alike.
#[derive(Clone, Copy, Debug)]
struct Class {
    take: Take,
    cpu_milli: u32,
    memory_mib: u64,
    weight: i64,
}

/// Classes by weight, of one moment.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Those with equal takes next to each other.
    classes: Vec<Class>,
}

/// Most classes that count, the heaviest.
const MAX_CLASSES: usize = 64;
/// What all weights sum up to.
const WEIGHTS: f64 = 65_536.0;
/// What it costs to use a thousandth of a card that was free: a little, so that of equal
/// places the one is taken that leaves others whole.
const FREE: i64 = 1536;

impl Demand {
    /// From requests and how often each was asked for.
    pub(crate) fn of<'a>(asked: impl Iterator<Item = (&'a Request, Take, u64)>) -> Self {
        let mut classes: Vec<(f64, Class)> = asked
            .map(|(request, take, count)| {
                let Resources { cpu_milli, memory, .. } = request.resources;
                let cards = f64::from(take.total()) / f64::from(WHOLE);
                // To the power of seven eighths, by operations that are exact everywhere.
                let (half, quarter) = (cards.sqrt(), cards.sqrt().sqrt());
                let heft = count as f64 * half * quarter * quarter.sqrt();
                let memory_mib = (memory >> 20).max(1);
                let class = Class { take, cpu_milli: cpu_milli.max(1), memory_mib, weight: 0 };
                (heft, class)
            })
            .collect();
        classes.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        classes.truncate(MAX_CLASSES);
        let total: f64 = classes.iter().map(|(heft, _)| heft).sum();
        let weigh = |(heft, class): (f64, Class)| Class {
            weight: (heft / total * WEIGHTS).round() as i64,
            ..class
        };
        let mut classes: Vec<Class> = classes.into_iter().map(weigh).collect();
        classes.sort_by_key(|class| class.take);
        Self { classes }
    }

    /// The cost of a node that has this free. `cards` are sorted.
    pub(crate) fn cost(&self, free: &Resources, cards: &[Card]) -> i64 {
        let all: i64 = cards.iter().map(|card| i64::from(card.milli)).sum();
        if all == 0 {
            return 0;
        }
        let memory_mib = free.memory >> 20;
        let mut sum = 0;
        for alike in self.classes.chunk_by(|one, other| one.take == other.take) {
            let Some(Class { take, .. }) = alike.first() else { continue };
            let slots = slots(take, cards);
            let small = cards.iter().filter(|card| !take.fits(card));
            let misfit: i64 = small.map(|card| i64::from(card.milli)).sum();
            for class in alike {
                let by_memory = u32::try_from(memory_mib / class.memory_mib).unwrap_or(u32::MAX);
                let slots = slots.min(free.cpu_milli / class.cpu_milli).min(by_memory);
                let lost = match slots {
                    0 => all,
                    _ => (all - i64::from(slots) * i64::from(take.total()) + misfit) / 2,
                };
                sum += class.weight * lost * lost;
            }
        }
        sum / all
    }

    /// What a change costs that leaves this behind, besides what the node cost before.
    pub(crate) fn cost_after(&self, free: &Resources, cards: &[Card]) -> i64 {
        let all: i64 = cards.iter().map(|card| i64::from(card.milli)).sum();
        self.cost(free, cards) + FREE * all
    }
}

/// How many tasks the cards hold.
pub(crate) fn slots(take: &Take, cards: &[Card]) -> u32 {
    let fitting = cards.iter().filter(|card| take.fits(card));
    if take.cards > 1 || take.milli >= WHOLE {
        return fitting.count() as u32 / take.cards.max(1);
    }
    let of_card = |card: &Card| {
        let by_memory = card.memory.checked_div(take.memory).unwrap_or(u64::MAX);
        u32::try_from(by_memory).unwrap_or(u32::MAX).min(card.milli / take.milli.max(1))
    };
    fitting.map(of_card).sum()
}
