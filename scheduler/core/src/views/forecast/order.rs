//! What waits, task by task or gang by gang, in the order in which placement considers it:
//! by rank, and where ranks are equal tenants in turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound::{Excluded, Unbounded};

use wrun_protocol::JobId;

use crate::core::Core;
use crate::decide::promise::Unit;
use crate::state::groups::{GroupIx, Line, Rank, Standing};

/// A task or gang in its place.
pub(super) struct Ahead {
    pub(super) rank: Rank,
    pub(super) unit: Unit,
}

/// The next of a group: by rank, how often its line had its turn, age; then the group, its
/// line, and how many tasks of the job are left.
type Next = (Reverse<Rank>, u64, JobId, GroupIx, Line, u32);

/// Walks the queue. Takes a step for each task it is asked for.
pub(super) struct InOrder<'a> {
    core: &'a Core,
    heads: Box<dyn Iterator<Item = (Standing, GroupIx)> + 'a>,
    head: Option<(Standing, GroupIx)>,
    next: BinaryHeap<Reverse<Next>>,
    turns: BTreeMap<(Reverse<Rank>, Line), u64>,
}

impl<'a> InOrder<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        let mut heads = core.state.groups.in_queue();
        let head = heads.next();
        let (next, turns) = (BinaryHeap::new(), BTreeMap::new());
        Self { core, heads: Box::new(heads), head, next, turns }
    }

    /// Takes in every group whose head may come before all that is known.
    fn meet(&mut self) {
        while let Some((standing, group)) = self.head {
            let first = self.next.peek().map(|Reverse((rank, ..))| *rank);
            if first.is_some_and(|first| first < standing.rank) {
                return;
            }
            self.head = self.heads.next();
            self.push(group, standing.line, standing.head);
        }
    }

    fn push(&mut self, group: GroupIx, line: Line, job: JobId) {
        let Some(entry) = self.core.state.groups.get(group) else { return };
        let tasks = self.core.state.jobs.get(job).map_or(0, |job| job.ready_tasks());
        let left = if entry.key.gang() > 0 { 1 } else { tasks };
        let rank = Reverse(self.core.rank_of(entry, job));
        let turn = self.turn(rank, line);
        self.next.push(Reverse((rank, turn, job, group, line, left)));
    }

    fn turn(&self, rank: Reverse<Rank>, line: Line) -> u64 {
        self.turns.get(&(rank, line)).copied().unwrap_or(0)
    }
}

impl Iterator for InOrder<'_> {
    type Item = Ahead;

    fn next(&mut self) -> Option<Ahead> {
        loop {
            self.meet();
            let Reverse((rank, turn, job, group, line, left)) = self.next.pop()?;
            let turns = self.turn(rank, line);
            if turn < turns {
                self.next.push(Reverse((rank, turns, job, group, line, left)));
                continue;
            }
            if self.turns.last_key_value().is_some_and(|((before, _), _)| *before < rank) {
                self.turns.clear();
            }
            self.turns.insert((rank, line), turns + 1);
            if left > 1 {
                self.next.push(Reverse((rank, turns + 1, job, group, line, left - 1)));
            } else if let Some(entry) = self.core.state.groups.get(group)
                && let Some(following) = entry.ready.range((Excluded(job), Unbounded)).next()
            {
                self.push(group, line, *following);
            }
            let Some(unit) = self.core.unit_of(group, job) else { continue };
            return Some(Ahead { rank: rank.0, unit });
        }
    }
}
