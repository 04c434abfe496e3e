//! How full a node is, counted by group: tasks that hold resources and tasks that wait
//! there for them (the backlog).
//!
//! The worker starts tasks in the order of assignment as its resources allow. Which of a
//! group's tasks have started need not be known to count what is held: when one ends,
//! the next of the group that waits takes over exactly what it held.

use std::collections::VecDeque;
use std::hint::black_box;

use serde::{Deserialize, Serialize};
use wrun_protocol::Resources;

use super::groups::{GroupIx, Groups};

/// Tasks of one group on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Tasks that hold their resources.
    pub(crate) holding: u32,
    /// Tasks that wait until others end.
    pub(crate) waiting: u32,
    /// Tasks known to have started; at most `holding`.
    pub(crate) running: u32,
}

/// Loads by group: few on most nodes, so that they stand side by side, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByGroup(Vec<(GroupIx, Load)>);

impl ByGroup {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, group: GroupIx) -> Result<usize, usize> {
        self.0.binary_search_by_key(&group, |(group, _)| *group)
    }

    pub(crate) fn get(&self, group: GroupIx) -> Option<&Load> {
        self.place(group).ok().and_then(|place| self.0.get(place)).map(|(_, load)| load)
    }

    fn get_mut(&mut self, group: GroupIx) -> Option<&mut Load> {
        let place = self.place(group).ok()?;
        self.0.get_mut(place).map(|(_, load)| load)
    }

    /// That of a group, which has none before it is entered.
    pub(crate) fn enter(&mut self, group: GroupIx) -> Option<&mut Load> {
        if let Err(place) = self.place(group) {
            self.0.insert(place, (group, Load::default()));
        }
        self.get_mut(group)
    }

    fn remove(&mut self, group: GroupIx) {
        if let Ok(place) = self.place(group) {
            self.0.remove(place);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupIx, &Load)> {
        self.0.iter().map(|(group, load)| (*group, load))
    }
}

/// Tasks of every group on one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    pub(crate) by_group: ByGroup,
    /// The waiting ones in order of assignment. Runs in the middle may have become empty.
    pub(crate) order: VecDeque<(GroupIx, u32)>,
    /// About how many of them have, so that they are cleared away in time.
    emptied: u32,
    /// What the holding ones hold.
    pub(crate) used: Resources,
    /// All that wait.
    pub(crate) waiting: u32,
}

impl Loads {
    /// Looks at both ends of what it has by group, which mostly is little.
    pub(super) fn touch(&self) {
        let group = |entry: Option<&(GroupIx, Load)>| entry.map(|(group, _)| *group);
        black_box((group(self.by_group.0.first()), group(self.by_group.0.last())));
    }

    /// What is left of `capacity`.
    pub(crate) fn free(&self, capacity: &Resources) -> Resources {
        Resources {
            cpu_milli: capacity.cpu_milli.saturating_sub(self.used.cpu_milli),
            memory: capacity.memory.saturating_sub(self.used.memory),
            scratch: capacity.scratch.saturating_sub(self.used.scratch),
            slots: capacity.slots.saturating_sub(self.used.slots),
        }
    }

    /// `count` tasks came; as many as fit hold their resources.
    pub(crate) fn add(
        &mut self,
        group: GroupIx,
        count: u32,
        capacity: &Resources,
        groups: &mut Groups,
    ) {
        let wanted = groups.get(group).filter(|_| self.waiting == 0).map(|group| group.key.wanted);
        let fits = wanted.is_some_and(|wanted| self.free(capacity).times(&wanted) >= count);
        let Some(load) = self.by_group.enter(group) else { return };
        if fits {
            load.holding += count;
            return self.hold(group, count, groups);
        }
        load.waiting += count;
        self.waiting += count;
        match self.order.back_mut().filter(|(last, _)| *last == group) {
            Some((_, waiting)) => *waiting += count,
            None => self.order.push_back((group, count)),
        }
        self.promote(capacity, groups);
    }

    /// `count` tasks of a group left, `running` of them known to have started.
    /// Returns whether the group has none left here.
    pub(crate) fn remove(
        &mut self,
        group: GroupIx,
        count: u32,
        running: u32,
        capacity: &Resources,
        groups: &mut Groups,
    ) -> bool {
        let Some(load) = self.by_group.get_mut(group) else { return false };
        load.running = load.running.saturating_sub(running);
        let from_waiting = count.min(load.waiting);
        let from_holding = (count - from_waiting).min(load.holding);
        load.waiting -= from_waiting;
        load.holding -= from_holding;
        let gone = load.holding + load.waiting == 0;
        if gone {
            self.by_group.remove(group);
        }
        self.dequeue(group, from_waiting);
        self.release(group, from_holding, groups);
        if from_holding > 0 {
            self.promote(capacity, groups);
        }
        gone
    }

    /// `count` tasks are now known to have started: they hold their resources, whatever
    /// was presumed.
    pub(crate) fn start(
        &mut self,
        group: GroupIx,
        count: u32,
        capacity: &Resources,
        groups: &mut Groups,
    ) {
        let Some(load) = self.by_group.get_mut(group) else { return };
        load.running = (load.running + count).min(load.holding + load.waiting);
        let short = load.running.saturating_sub(load.holding);
        if short == 0 {
            return;
        }
        load.waiting -= short;
        load.holding += short;
        self.dequeue(group, short);
        self.hold(group, short, groups);
        self.demote(group, capacity, groups);
    }

    /// Presumes that tasks of other groups have not started, until what is held fits.
    fn demote(&mut self, keep: GroupIx, capacity: &Resources, groups: &mut Groups) {
        let others: Vec<GroupIx> =
            self.by_group.iter().map(|(group, _)| group).filter(|g| *g != keep).collect();
        for group in others {
            while !capacity.covers(&self.used) {
                let Some(load) = self.by_group.get_mut(group) else { break };
                if load.holding <= load.running {
                    break;
                }
                load.holding -= 1;
                load.waiting += 1;
                self.waiting += 1;
                self.release(group, 1, groups);
                match self.order.front_mut().filter(|(first, _)| *first == group) {
                    Some((_, waiting)) => *waiting += 1,
                    None => self.order.push_front((group, 1)),
                }
            }
        }
    }

    /// Lets those that wait longest hold their resources, as far as these go.
    pub(crate) fn promote(&mut self, capacity: &Resources, groups: &mut Groups) {
        while let Some((group, waiting)) = self.order.front_mut() {
            let group = *group;
            let Some(wanted) = groups.get(group).map(|group| group.key.wanted) else { break };
            let fits = (*waiting).min(self.free(capacity).times(&wanted));
            if fits == 0 {
                break;
            }
            self.dequeue(group, fits);
            self.hold(group, fits, groups);
            if let Some(load) = self.by_group.get_mut(group) {
                load.waiting -= fits;
                load.holding += fits;
            }
        }
    }

    fn dequeue(&mut self, group: GroupIx, count: u32) {
        self.waiting -= count;
        let mut left = count;
        let mut emptied = false;
        for (_, waiting) in self.order.iter_mut().filter(|(of, _)| *of == group) {
            if left == 0 {
                break;
            }
            let taken = left.min(*waiting);
            *waiting -= taken;
            left -= taken;
            emptied |= *waiting == 0;
        }
        if !emptied {
            return;
        }
        while self.order.front().is_some_and(|(_, waiting)| *waiting == 0) {
            self.order.pop_front();
        }
        self.emptied += u32::from(emptied);
        if self.emptied as usize > 16 + self.order.len() / 2 {
            self.order.retain(|(_, waiting)| *waiting > 0);
            self.emptied = 0;
        }
    }

    /// The waiting ones in order of assignment, each run as long as can be.
    pub(crate) fn in_order(&self) -> Vec<(GroupIx, u32)> {
        let mut runs: Vec<(GroupIx, u32)> = Vec::new();
        for (group, waiting) in self.order.iter().filter(|(_, waiting)| *waiting > 0) {
            match runs.last_mut().filter(|(last, _)| last == group) {
                Some((_, before)) => *before += waiting,
                None => runs.push((*group, *waiting)),
            }
        }
        runs
    }

    fn hold(&mut self, group: GroupIx, count: u32, groups: &mut Groups) {
        let each = groups.hold(group, count);
        let used = &mut self.used;
        used.cpu_milli = used.cpu_milli.saturating_add(each.cpu_milli.saturating_mul(count));
        used.memory = used.memory.saturating_add(each.memory.saturating_mul(count.into()));
        used.scratch = used.scratch.saturating_add(each.scratch.saturating_mul(count.into()));
        used.slots = used.slots.saturating_add(each.slots.saturating_mul(count));
    }

    fn release(&mut self, group: GroupIx, count: u32, groups: &mut Groups) {
        let each = groups.release(group, count);
        let used = &mut self.used;
        used.cpu_milli = used.cpu_milli.saturating_sub(each.cpu_milli.saturating_mul(count));
        used.memory = used.memory.saturating_sub(each.memory.saturating_mul(count.into()));
        used.scratch = used.scratch.saturating_sub(each.scratch.saturating_mul(count.into()));
        used.slots = used.slots.saturating_sub(each.slots.saturating_mul(count));
    }

    /// `count` tasks count as those of another group that wants the same; at least `running`
    /// of them are known to have started. Returns whether the old group has none left here.
    pub(crate) fn regroup(&mut self, from: GroupIx, to: GroupIx, count: u32, running: u32) -> bool {
        let Some(load) = self.by_group.get_mut(from) else { return false };
        // Which of them wait is not known where others of the group are here as well.
        let waiting = count.saturating_sub(running).min(load.waiting);
        let holding = (count - waiting).min(load.holding);
        load.waiting -= waiting;
        load.holding -= holding;
        load.running = load.running.saturating_sub(running);
        let gone = load.holding + load.waiting == 0;
        if gone {
            self.by_group.remove(from);
        }
        let Some(load) = self.by_group.enter(to) else { return gone };
        load.waiting += waiting;
        load.holding += holding;
        load.running += running;
        let mut left = waiting;
        let mut order = VecDeque::with_capacity(self.order.len() + 1);
        while let Some((group, runs)) = self.order.pop_back() {
            let moved = if group == from { left.min(runs) } else { 0 };
            left -= moved;
            for (group, runs) in [(to, moved), (group, runs - moved)] {
                if runs > 0 {
                    order.push_front((group, runs));
                }
            }
        }
        self.order = order;
        gone
    }

    /// A task holds its resources that is not counted here.
    pub(crate) fn hold_apart(&mut self, resources: &Resources) {
        self.used = self.used.checked_add(resources).unwrap_or(self.used);
    }

    /// Such a task gives them back; others may start then.
    pub(crate) fn release_apart(
        &mut self,
        resources: &Resources,
        capacity: &Resources,
        groups: &mut Groups,
    ) {
        self.used = self.used.checked_sub(resources).unwrap_or_default();
        self.promote(capacity, groups);
    }

    /// Recomputes what is held from the counts, as recovery needs it.
    pub(crate) fn recount(&mut self, groups: &mut Groups) {
        let holding: Vec<_> = self.by_group.iter().map(|(g, load)| (g, load.holding)).collect();
        self.waiting = self.by_group.iter().map(|(_, load)| load.waiting).sum();
        self.used = Resources::default();
        for (group, count) in holding.into_iter().filter(|(_, count)| *count > 0) {
            self.hold(group, count, groups);
        }
    }
}
