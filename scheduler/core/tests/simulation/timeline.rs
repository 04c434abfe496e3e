//! What is free when, worked out in the most naive way: a list of what is taken from when
//! to when, summed at every instant at which any of it begins or ends.

use wrun_protocol::Resources;

/// What a node has, or one task takes of it. A node has one card at most, so that nothing
/// hangs on which card is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) plain: Resources,
    pub(crate) gpu_milli: u32,
    pub(crate) named: u64,
}

impl Amounts {
    fn checked_sub(&self, other: &Self) -> Option<Self> {
        Some(Self {
            plain: self.plain.checked_sub(&other.plain)?,
            gpu_milli: self.gpu_milli.checked_sub(other.gpu_milli)?,
            named: self.named.checked_sub(other.named)?,
        })
    }

    pub(crate) fn times(&self, each: &Self) -> u32 {
        let gpu = self.gpu_milli.checked_div(each.gpu_milli).unwrap_or(u32::MAX);
        let named = self.named.checked_div(each.named).unwrap_or(u64::MAX);
        self.plain.times(&each.plain).min(gpu).min(u32::try_from(named).unwrap_or(u32::MAX))
    }
}

/// So many requests of a node, in a span of time.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) node: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) each: Amounts,
    /// Slots of the pool that each takes.
    pub(crate) slots: u32,
    pub(crate) count: u32,
}

/// CPU that what runs long leaves free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headroom {
    /// The part of all CPU, in millionths.
    pub(crate) part: u32,
    /// What runs longer is long.
    pub(crate) short: u64,
}

/// Nodes, and what is taken of them.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) nodes: Vec<Amounts>,
    /// Slots of the pool.
    pub(crate) pool: u32,
    pub(crate) headroom: Option<Headroom>,
    pub(crate) blocks: Vec<Block>,
}

/// Tasks by node.
pub(crate) type Places = Vec<(usize, u32)>;

/// What starts at once: so many tasks, for so long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) each: Amounts,
    pub(crate) slots: u32,
    pub(crate) count: u32,
    pub(crate) length: u64,
    /// It has waited so long that it leaves no headroom.
    pub(crate) aged: bool,
}

impl Timeline {
    fn at(&self, at: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.from <= at && at < block.to)
    }

    /// What is free of the node at one instant.
    fn free(&self, node: usize, at: u64) -> Amounts {
        let mut free = self.nodes[node];
        for block in self.at(at).filter(|block| block.node == node) {
            for _ in 0..block.count {
                free = free.checked_sub(&block.each).expect("more is taken than there is");
            }
        }
        free
    }

    /// The instants of a span at which anything may become less.
    fn begins(&self, from: u64, length: u64) -> impl Iterator<Item = u64> {
        let begins = self.blocks.iter().map(|block| block.from);
        begins.filter(move |at| (from..from + length).contains(at)).chain([from])
    }

    /// How many more of `each` the node has room for in the whole of a span.
    fn room(&self, node: usize, from: u64, length: u64, each: &Amounts) -> u32 {
        let rooms = self.begins(from, length).map(|at| self.free(node, at).times(each));
        rooms.min().unwrap_or(0)
    }

    /// Slots of the pool that are left over the whole of a span.
    fn slots(&self, from: u64, length: u64) -> u32 {
        let taken = |at| self.at(at).map(|block| block.slots * block.count).sum::<u32>();
        let left = |at| self.pool.checked_sub(taken(at)).expect("more slots than there are");
        self.begins(from, length).map(left).min().unwrap_or(0)
    }

    /// Whether as much CPU is free beside the unit, all nodes together that suit it, as it
    /// must leave.
    fn leaves_headroom(&self, unit: &Unit, at: u64) -> bool {
        let Some(Headroom { part, short }) = self.headroom else { return true };
        let cpu = |amounts: &Amounts| u64::from(amounts.plain.cpu_milli);
        let suits = |node: &usize| self.nodes[*node].times(&unit.each) > 0;
        let suiting: Vec<usize> = (0..self.nodes.len()).filter(suits).collect();
        let all: u64 = suiting.iter().map(|node| cpu(&self.nodes[*node])).sum();
        let own = cpu(&unit.each) * u64::from(unit.count);
        let wanted = own + all * u64::from(part) / 1_000_000;
        if unit.aged || unit.length <= short || wanted > all {
            return true;
        }
        let least = |node| {
            let free = self.begins(at, unit.length).map(|at| cpu(&self.free(node, at)));
            free.min().unwrap_or(0)
        };
        suiting.into_iter().map(least).sum::<u64>() >= wanted
    }

    /// Where the unit fits at that instant: tasks by node, in order.
    fn places(&self, unit: &Unit, at: u64) -> Option<Places> {
        if self.slots(at, unit.length) < unit.slots * unit.count || !self.leaves_headroom(unit, at)
        {
            return None;
        }
        let mut left = unit.count;
        let mut places = Vec::new();
        for node in 0..self.nodes.len() {
            let part = self.room(node, at, unit.length, &unit.each).min(left);
            if part > 0 {
                places.push((node, part));
                left -= part;
            }
        }
        (left == 0).then_some(places)
    }

    /// The first instant from `now` on at which the unit fits until its end, and where.
    pub(crate) fn earliest(&self, unit: &Unit, now: u64) -> (u64, Places) {
        let ends = self.blocks.iter().map(|block| block.to).filter(|to| *to > now);
        let mut instants: Vec<u64> = ends.chain([now]).collect();
        instants.sort_unstable();
        let found = instants.iter().find_map(|at| Some((*at, self.places(unit, *at)?)));
        found.expect("it fits when all else is over")
    }

    pub(crate) fn take(&mut self, unit: &Unit, from: u64, places: &[(usize, u32)]) {
        let block = |(node, count): &(usize, u32)| Block {
            node: *node,
            from,
            to: from + unit.length,
            each: unit.each,
            slots: unit.slots,
            count: *count,
        };
        self.blocks.extend(places.iter().map(block));
    }

    /// Nothing is taken at that instant that is not there.
    pub(crate) fn check(&self, at: u64) {
        (0..self.nodes.len()).for_each(|node| {
            self.free(node, at);
        });
        self.slots(at, 1);
    }
}
