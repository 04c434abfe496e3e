//! What waits, in the order in which placement considers it: by rank, where ranks are
//! equal tenants in turn or all by age. Walks as far as it is asked to: a step costs a few
//! searches in the queue, and one for each tenant where a rank begins.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use wrun_protocol::JobId;

use crate::core::Core;
use crate::decide::promise::Unit;
use crate::state::groups::{GroupIx, Line, Rank};

/// A task, gang or job in its place.
pub(super) struct Ahead {
    pub(super) rank: Rank,
    pub(super) unit: Unit,
}

/// A job of a group.
type Head = (JobId, GroupIx);

/// Who is next of a line: how often the line had its turn, and how many tasks of the job
/// are left.
type Next = (u64, Head, Line, u32);

/// Walks the queue.
pub(super) struct InOrder<'a> {
    core: &'a Core,
    /// Task by task, lines of equal rank in turn; else job by job, by age.
    by_task: bool,
    /// Which is being walked.
    rank: Option<Rank>,
    /// Lines with something of that rank.
    next: BinaryHeap<Reverse<Next>>,
    /// The head that was taken last of a line.
    taken: BTreeMap<Line, Head>,
    /// Jobs that follow in their groups on those that came, by where they stand.
    behind: BTreeMap<(Reverse<Rank>, Line), BTreeSet<Head>>,
}

impl<'a> InOrder<'a> {
    /// Task by task or gang by gang, as they are placed.
    pub(super) fn of_tasks(core: &'a Core) -> Self {
        Self::new(core, true)
    }

    /// Job by job, as they are listed.
    pub(super) fn of_jobs(core: &'a Core) -> Self {
        Self::new(core, false)
    }

    fn new(core: &'a Core, by_task: bool) -> Self {
        let (next, taken, behind) = (BinaryHeap::new(), BTreeMap::new(), BTreeMap::new());
        Self { core, by_task, rank: None, next, taken, behind }
    }

    /// Goes on to the next rank. `None`: that was all.
    fn descend(&mut self) -> Option<()> {
        let groups = &self.core.state.groups;
        let queued = groups.rank_below(self.rank);
        let behind = self.behind.first_key_value().map(|((rank, _), _)| rank.0);
        let rank = queued.max(behind)?;
        self.rank = Some(rank);
        self.taken.clear();
        let mut lines: BTreeSet<Line> = groups.lines_in_turn(rank).into_iter().collect();
        let behind = self.behind.range((Reverse(rank), Line::MIN)..=(Reverse(rank), Line::MAX));
        lines.extend(behind.map(|((_, line), _)| *line));
        lines.into_iter().for_each(|line| self.line_up(rank, line, 0));
        Some(())
    }

    /// The oldest of a line that did not come yet is next of it.
    fn line_up(&mut self, rank: Rank, line: Line, turn: u64) {
        let queued = self.core.state.groups.next_head(rank, line, self.taken.get(&line).copied());
        let place = (Reverse(rank), line);
        let behind = self.behind.get(&place).and_then(|heads| heads.first().copied());
        let Some(head) = queued.into_iter().chain(behind).min() else { return };
        if queued == Some(head) {
            self.taken.insert(line, head);
        } else if let Some(heads) = self.behind.get_mut(&place) {
            heads.remove(&head);
            if heads.is_empty() {
                self.behind.remove(&place);
            }
        }
        let tasks = if self.by_task { self.tasks_of(head) } else { 1 };
        self.next.push(Reverse((turn, head, line, tasks)));
    }

    /// How many steps a job takes.
    fn tasks_of(&self, (job, group): Head) -> u32 {
        let groups = &self.core.state.groups;
        match groups.get(group).is_some_and(|group| group.key.gang() > 0) {
            true => 1,
            false => self.core.state.jobs.get(job).map_or(0, |job| job.ready_tasks()),
        }
    }

    /// The job of the group that follows on this one takes its place, further down or not.
    fn follow(&mut self, (job, group): Head, rank: Rank, line: Line) {
        let Some(entry) = self.core.state.groups.get(group) else { return };
        if let Some(next) = entry.ready.after(job).next() {
            let rank = self.core.rank_of(entry, next).min(rank);
            self.behind.entry((Reverse(rank), line)).or_default().insert((next, group));
        }
    }
}

impl Iterator for InOrder<'_> {
    type Item = Ahead;

    fn next(&mut self) -> Option<Ahead> {
        loop {
            let Some(Reverse((turn, head, line, left))) = self.next.pop() else {
                self.descend()?;
                continue;
            };
            let rank = self.rank?;
            let turn = turn + u64::from(self.by_task);
            if left > 1 {
                self.next.push(Reverse((turn, head, line, left - 1)));
            } else {
                self.follow(head, rank, line);
                self.line_up(rank, line, turn);
            }
            let Some(unit) = self.core.unit_of(head.1, head.0) else { continue };
            return Some(Ahead { rank, unit });
        }
    }
}
