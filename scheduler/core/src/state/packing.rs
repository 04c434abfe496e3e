//! Where a task that wants cards wastes least, and one without cards in whose way it is
//! least: an index of the nodes with devices by what they have free.
//!
//! Nodes that are alike share one entry of a log. A request keeps a heap of the entries
//! it has looked at, the cheapest first, and looks at a bounded number of new ones each
//! time; an entry without nodes is dead and is dropped where it is met. What is asked for
//! is learned from the requests that come, none of it recorded: decisions are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use wrun_protocol::Resources;
use wrun_protocol::scheduling::{GpuRequest, Request};

use super::jobs::NodeIx;
use super::waste::{Card, Demand, Take, WHOLE, slots};

/// New entries that a search looks at, if it knows one that fits.
const BUDGET: usize = 16;
/// Entries of equal cost among which the lowest node is taken.
const MAX_TIED: usize = 16;
/// The demand is looked at again when it has doubled, and after so many requests at most.
const LOOK_AFTER: u64 = 8192;
/// Costs that are remembered.
const MAX_COSTS: usize = 1 << 16;

type Labels = BTreeMap<String, String>;
/// Never iterated: its order is that of a hash.
type Hashed<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// What a node has free.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shelf {
    pub(crate) labels: u32,
    pub(crate) free: Resources,
    pub(crate) named: Vec<(String, u64)>,
    /// Sorted.
    pub(crate) cards: Vec<Card>,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) request: Request,
    /// Labels that the node carries, and that it does not.
    pub(crate) labels: Labels,
    pub(crate) refused: Labels,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) node: NodeIx,
    /// Cards as they are before.
    pub(crate) cards: Vec<Card>,
}

#[derive(Debug)]
struct Entry {
    shelf: Shelf,
    cost: i64,
    nodes: BTreeSet<NodeIx>,
}

/// What a request has looked at.
#[derive(Debug, Default)]
struct Search {
    looked_at: usize,
    /// Entries that it has stepped over.
    left: Vec<Range<usize>>,
    found: BinaryHeap<Reverse<(i64, usize)>>,
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    entries: Vec<Entry>,
    /// The entry of a shelf that has nodes.
    live: Hashed<Shelf, usize>,
    of_node: BTreeMap<NodeIx, usize>,
    searches: BTreeMap<Wanted, Search>,
    costs: Hashed<(Resources, Vec<Card>), i64>,
    demand: Demand,
    asked: BTreeMap<Request, u64>,
    /// The sum of these, and at which the demand is looked at again.
    asked_sum: u64,
    look_at: u64,
    models: Vec<String>,
    labels: Vec<Labels>,
}

impl Packing {
    pub(crate) fn is_empty(&self) -> bool {
        self.of_node.is_empty()
    }

    /// The bit of a model of card.
    pub(crate) fn model(&mut self, name: &str) -> u64 {
        let known = self.models.iter().position(|model| model == name);
        let place = known.unwrap_or_else(|| {
            self.models.push(name.to_owned());
            self.models.len() - 1
        });
        1 << place.min(63)
    }

    /// The number of a set of labels.
    pub(crate) fn labels(&mut self, labels: &Labels) -> u32 {
        let known = self.labels.iter().position(|known| known == labels);
        known.unwrap_or_else(|| {
            self.labels.push(labels.clone());
            self.labels.len() - 1
        }) as u32
    }

    fn take(&self, gpu: &GpuRequest) -> Take {
        let bit = |(model, place): (&String, usize)| {
            let serves = gpu.models.is_empty() || gpu.models.contains(model);
            u64::from(serves) << place.min(63)
        };
        let models = self.models.iter().zip(0..).map(bit).fold(0, |all, bit| all | bit);
        let (cards, milli) = ((gpu.milli / WHOLE).max(1), gpu.milli.min(WHOLE));
        Take { cards, milli, memory: gpu.memory, models }
    }

    /// Tasks are asked for.
    pub(crate) fn ask(&mut self, request: &Request, count: u32) {
        if count == 0 || request.devices.gpu.is_none() {
            return;
        }
        match self.asked.get_mut(request) {
            Some(asked) => *asked += u64::from(count),
            None => drop(self.asked.insert(request.clone(), count.into())),
        }
        self.asked_sum += u64::from(count);
        if self.asked_sum >= self.look_at {
            if self.asked_sum >= 2 * LOOK_AFTER {
                self.asked.values_mut().for_each(|asked| *asked /= 2);
                self.asked.retain(|_, asked| *asked > 0);
                self.asked_sum = self.asked.values().sum();
            }
            self.look_at = self.asked_sum + self.asked_sum.clamp(1, LOOK_AFTER);
            self.look_again();
        }
    }

    /// Weighs by what has been asked for, and forgets what was found by other weights.
    fn look_again(&mut self) {
        let asked = self.asked.iter().filter_map(|(request, count)| {
            Some((request, self.take(request.devices.gpu.as_ref()?), *count))
        });
        self.demand = Demand::of(asked);
        self.costs.clear();
        self.clear_log();
    }

    fn clear_log(&mut self) {
        self.searches.clear();
        self.live.clear();
        self.entries.retain(|entry| !entry.nodes.is_empty());
        for (entry, at) in self.entries.iter_mut().zip(0..) {
            entry.cost = self.demand.cost(&entry.shelf.free, &entry.shelf.cards);
            self.live.insert(entry.shelf.clone(), at);
            self.of_node.extend(entry.nodes.iter().map(|ix| (*ix, at)));
        }
    }

    /// What the node has free now; `None` where it takes nothing.
    pub(crate) fn set(&mut self, ix: NodeIx, shelf: Option<Shelf>) {
        if let Some(at) = self.of_node.get(&ix).copied()
            && let Some(entry) = self.entries.get_mut(at)
        {
            if shelf.as_ref() == Some(&entry.shelf) {
                return;
            }
            self.of_node.remove(&ix);
            entry.nodes.remove(&ix);
            if entry.nodes.is_empty() {
                self.live.remove(&entry.shelf);
            }
        }
        let Some(shelf) = shelf else { return };
        let at = self.live.get(&shelf).copied().unwrap_or_else(|| {
            let cost = self.demand.cost(&shelf.free, &shelf.cards);
            self.live.insert(shelf.clone(), self.entries.len());
            self.entries.push(Entry { shelf, cost, nodes: BTreeSet::new() });
            self.entries.len() - 1
        });
        if let Some(entry) = self.entries.get_mut(at) {
            entry.nodes.insert(ix);
            self.of_node.insert(ix, at);
        }
        if self.entries.len() > 64 + 4 * self.live.len() {
            self.clear_log();
        }
    }

    /// The node where a task costs least, the lowest of equal ones, of those that `takes`
    /// agrees to.
    pub(crate) fn choose(
        &mut self,
        wanted: &Wanted,
        takes: impl Fn(NodeIx) -> bool,
    ) -> Option<Chosen> {
        let mut search = self.searches.remove(wanted).unwrap_or_default();
        if search.looked_at < self.entries.len() {
            search.left.push(search.looked_at..self.entries.len());
            search.looked_at = self.entries.len();
        }
        self.look(wanted, &mut search, BUDGET);
        let mut best = self.best(&mut search, &takes);
        if best.is_none() && !search.left.is_empty() {
            self.look(wanted, &mut search, usize::MAX);
            best = self.best(&mut search, &takes);
        }
        let chosen = best.and_then(|(at, node)| {
            let shelf = self.entries.get(at)?.shelf.clone();
            let (_, cards) = self.cheapest(&shelf, &wanted.request)?;
            Some(Chosen { node, cards })
        });
        self.searches.insert(wanted.clone(), search);
        chosen
    }

    /// Looks at entries that the search has not looked at, the newest first.
    fn look(&mut self, wanted: &Wanted, search: &mut Search, mut budget: usize) {
        while let Some(mut range) = search.left.pop() {
            if budget == 0 && !search.found.is_empty() {
                search.left.push(range);
                return;
            }
            let Some(at) = range.next_back() else { continue };
            search.left.push(range);
            let Some(entry) = self
                .entries
                .get(at)
                .filter(|entry| !entry.nodes.is_empty() && self.fits(&entry.shelf, wanted))
            else {
                continue;
            };
            let (shelf, before) = (entry.shelf.clone(), entry.cost);
            budget = budget.saturating_sub(1);
            if let Some((after, _)) = self.cheapest(&shelf, &wanted.request) {
                search.found.push(Reverse((after - before, at)));
            }
        }
    }

    /// The cheapest entry that was looked at, and its node; of equal ones the lowest.
    fn best(
        &self,
        search: &mut Search,
        takes: &impl Fn(NodeIx) -> bool,
    ) -> Option<(usize, NodeIx)> {
        let mut best: Option<(i64, NodeIx, usize)> = None;
        let (mut seen, mut tied) = (Vec::new(), 0);
        while let Some(Reverse((score, at))) = search.found.peek().copied() {
            if best.is_some_and(|(least, ..)| score > least || tied >= MAX_TIED) {
                break;
            }
            search.found.pop();
            let nodes = self.entries.get(at).map(|entry| &entry.nodes);
            let Some(nodes) = nodes.filter(|nodes| !nodes.is_empty()) else { continue };
            seen.push(Reverse((score, at)));
            let Some(node) = nodes.iter().copied().find(|ix| takes(*ix)) else { continue };
            tied += 1;
            if best.is_none_or(|(_, lowest, _)| node < lowest) {
                best = Some((score, node, at));
            }
        }
        search.found.extend(seen);
        best.map(|(_, node, at)| (at, node))
    }

    fn fits(&self, shelf: &Shelf, wanted: &Wanted) -> bool {
        let Request { resources, devices } = &wanted.request;
        let labels = self.labels.get(shelf.labels as usize);
        let carries = |(label, value): (&String, &String)| {
            labels.is_some_and(|labels| labels.get(label) == Some(value))
        };
        let has = |(name, amount): (&String, &u64)| {
            shelf.named.iter().any(|(of, left)| of == name && left >= amount)
        };
        shelf.free.covers(resources)
            && devices.named.iter().all(has)
            && devices.gpu.as_ref().is_none_or(|gpu| slots(&self.take(gpu), &shelf.cards) > 0)
            && wanted.labels.iter().all(carries)
            && !wanted.refused.iter().any(carries)
    }

    /// What it costs at least to have the task there, and on which cards. The node fits.
    fn cheapest(&mut self, shelf: &Shelf, request: &Request) -> Option<(i64, Vec<Card>)> {
        let free = shelf.free.checked_sub(&request.resources)?;
        let Some(take) = request.devices.gpu.as_ref().map(|gpu| self.take(gpu)) else {
            return Some((self.cost_after(free, shelf.cards.clone()), Vec::new()));
        };
        let fitting = || shelf.cards.iter().zip(0..).filter(|(card, _)| take.fits(card));
        let choices: Vec<Vec<usize>> = if take.milli < WHOLE && take.cards == 1 {
            let mut distinct: Vec<(&Card, usize)> = fitting().collect();
            distinct.dedup_by_key(|(card, _)| **card);
            distinct.into_iter().map(|(_, at)| vec![at]).collect()
        } else {
            let first: Vec<usize> = fitting().map(|(_, at)| at).take(take.cards as usize).collect();
            if first.len() == take.cards as usize { vec![first] } else { Vec::new() }
        };
        let mut best: Option<(i64, Vec<Card>)> = None;
        for choice in choices {
            let mut cards = shelf.cards.clone();
            let mut taken = Vec::new();
            for at in choice {
                let Some(card) = cards.get_mut(at) else { continue };
                taken.push(*card);
                card.milli -= take.milli;
                card.memory -= take.memory;
            }
            cards.sort_unstable();
            let cost = self.cost_after(free, cards);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, taken));
            }
        }
        best
    }

    fn cost_after(&mut self, free: Resources, cards: Vec<Card>) -> i64 {
        if self.costs.len() >= MAX_COSTS {
            self.costs.clear();
        }
        let demand = &self.demand;
        let entry = self.costs.entry((free, cards));
        *entry.or_insert_with_key(|(free, cards)| demand.cost_after(free, cards))
    }
}
