//! What is free when, worked out in the most naive way: a list of what is taken from when
//! to when, summed at every instant at which any of it begins or ends.

use wrun_protocol::Resources;

/// So many requests of a node, in a span of time.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) node: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) each: Resources,
    pub(crate) count: u32,
}

/// Nodes, and what is taken of them.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) nodes: Vec<Resources>,
    pub(crate) blocks: Vec<Block>,
}

/// Tasks by node.
pub(crate) type Places = Vec<(usize, u32)>;

/// What starts at once: so many tasks, for so long at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) each: Resources,
    pub(crate) count: u32,
    pub(crate) length: u64,
}

impl Timeline {
    /// How many more of `each` the node has room for at one instant.
    fn room_at(&self, node: usize, at: u64, each: &Resources) -> u32 {
        let mut free = self.nodes[node];
        for block in self.blocks.iter().filter(|block| block.node == node) {
            if block.from <= at && at < block.to {
                for _ in 0..block.count {
                    free = free.checked_sub(&block.each).expect("more is taken than there is");
                }
            }
        }
        free.times(each)
    }

    /// How many more for the whole of a span.
    fn room(&self, node: usize, from: u64, length: u64, each: &Resources) -> u32 {
        let begins = self.blocks.iter().map(|block| block.from);
        let begins = begins.filter(|at| (from..from + length).contains(at)).chain([from]);
        begins.map(|at| self.room_at(node, at, each)).min().unwrap_or(0)
    }

    /// Where the unit fits at that instant: tasks by node, in order.
    fn places(&self, unit: &Unit, at: u64) -> Option<Places> {
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
            count: *count,
        };
        self.blocks.extend(places.iter().map(block));
    }
}
