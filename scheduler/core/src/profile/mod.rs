//! What is free over time: of one node ([`Profile`]), and of several at once
//! ([`earliest_start`]). Pure: knows neither jobs nor nodes, only amounts and instants.
//!
//! A profile is the one answer to three questions: does it fit now and for as long as it
//! takes (backfill), when does it fit at the earliest (promises, the start that users are
//! told), and does it end before something else begins (reservations). All intervals are
//! half open: what ends at an instant leaves room for what begins at it.

mod bench;
mod search;
#[cfg(test)]
mod tests;

pub(crate) use bench::{Bench, BenchNeed, CardNeed, Slots, lesser};
pub(crate) use search::{Ask, Beside, Sum, earliest_start, earliest_together};

use std::collections::VecDeque;

use wrun_protocol::{Resources, Timestamp};

/// After everything.
pub(crate) const FOREVER: Timestamp = Timestamp(u64::MAX);

/// Amounts that can be free.
pub(crate) trait Amounts: Clone {
    /// What asks for some of them.
    type Need;

    /// Takes `count` times `need`; where there is less, nothing is left.
    fn take(&mut self, need: &Self::Need, count: u32);

    /// How many times `need` fits.
    fn times(&self, need: &Self::Need) -> u32;
}

impl Amounts for Resources {
    type Need = Self;

    fn take(&mut self, need: &Self, count: u32) {
        let wide = u64::from(count);
        self.cpu_milli = self.cpu_milli.saturating_sub(need.cpu_milli.saturating_mul(count));
        self.memory = self.memory.saturating_sub(need.memory.saturating_mul(wide));
        self.scratch = self.scratch.saturating_sub(need.scratch.saturating_mul(wide));
        self.slots = self.slots.saturating_sub(need.slots.saturating_mul(count));
    }

    fn times(&self, need: &Self) -> u32 {
        Self::times(self, need)
    }
}

/// What is free of one node, from an instant on.
#[derive(Clone, Debug)]
pub(crate) struct Profile<A> {
    /// In order of time; the first is where the profile begins, the last goes on for ever.
    steps: Vec<Step<A>>,
}

#[derive(Clone, Debug)]
struct Step<A> {
    from: Timestamp,
    free: A,
}

/// Something that is held from the begin of a profile until `end`.
#[derive(Clone, Debug)]
pub(crate) struct Held<N> {
    pub(crate) end: Timestamp,
    pub(crate) need: N,
    pub(crate) count: u32,
}

impl<A: Amounts> Profile<A> {
    /// All of `capacity`, less what is held until its end.
    pub(crate) fn new(begin: Timestamp, capacity: A, mut held: Vec<Held<A::Need>>) -> Self {
        held.retain(|held| held.end > begin);
        held.sort_by_key(|held| std::cmp::Reverse(held.end));
        let mut steps: Vec<Step<A>> = Vec::with_capacity(held.len() + 1);
        let mut free = capacity;
        let mut ends = held.into_iter().peekable();
        // From the end of time backwards: each end met takes from all that is before it.
        while let Some(first) = ends.next() {
            if first.end < FOREVER {
                steps.push(Step { from: first.end, free: free.clone() });
            }
            free.take(&first.need, first.count);
            while let Some(same) = ends.next_if(|next| next.end == first.end) {
                free.take(&same.need, same.count);
            }
        }
        steps.push(Step { from: begin, free });
        steps.reverse();
        Self { steps }
    }

    /// Takes `count` times `need` out of `[from, to)`.
    pub(crate) fn take(&mut self, from: Timestamp, to: Timestamp, need: &A::Need, count: u32) {
        if from >= to || count == 0 {
            return;
        }
        self.split(from);
        self.split(to);
        for step in self.steps.iter_mut().filter(|step| (from..to).contains(&step.from)) {
            step.free.take(need, count);
        }
    }

    /// A step begins at `at`, unless that is before the begin or after everything.
    fn split(&mut self, at: Timestamp) {
        let next = self.steps.partition_point(|step| step.from <= at);
        let Some(step) = next.checked_sub(1).and_then(|before| self.steps.get(before)) else {
            return;
        };
        if step.from < at && at < FOREVER {
            let free = step.free.clone();
            self.steps.insert(next, Step { from: at, free });
        }
    }

    /// How many times `need` fits for the whole of `[from, to)`.
    pub(crate) fn room(&self, from: Timestamp, to: Timestamp, need: &A::Need) -> u32 {
        let first = self.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        let steps = self.steps.iter().skip(first);
        let within = steps.take_while(|step| step.from < to.max(Timestamp(from.0 + 1)));
        within.map(|step| step.free.times(need)).min().unwrap_or(0)
    }

    /// Until when, from `from` on, `need` fits at all times; `from` where it does not fit then.
    pub(crate) fn until(&self, from: Timestamp, need: &A::Need) -> Timestamp {
        let first = self.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        let mut later = self.steps.iter().skip(first);
        let short = later.find(|step| step.free.times(need) == 0);
        short.map_or(FOREVER, |step| step.from.max(from))
    }

    /// The earliest instant from which `count` times `need` fits for `duration`
    /// milliseconds.
    pub(crate) fn earliest(&self, duration: u64, need: &A::Need, count: u32) -> Option<Timestamp> {
        let mut candidate = None;
        for (step, next) in self.steps.iter().zip(self.ends()) {
            if step.free.times(need) < count {
                candidate = None;
                continue;
            }
            let from: Timestamp = *candidate.get_or_insert(step.from);
            if next == FOREVER || next.0 - from.0 >= duration {
                return Some(from);
            }
        }
        None
    }

    /// The instants at which what is free for so long may change.
    fn instants(&self, duration: u64) -> Vec<Timestamp> {
        let Some(begin) = self.steps.first().map(|step| step.from) else { return Vec::new() };
        // The first instant whose window reaches into a step.
        let sooner = |at: Timestamp| at.0.checked_sub(duration - 1).map(Timestamp);
        let steps = || self.steps.iter().map(|step| step.from);
        let mut instants: Vec<Timestamp> = steps().collect();
        instants.extend(steps().filter_map(sooner).filter(|at| *at > begin));
        instants.sort_unstable();
        instants.dedup();
        instants
    }

    /// Where each step ends.
    fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.steps.iter().skip(1).map(|step| step.from).chain([FOREVER])
    }

    /// How many times `need` fits for `duration` milliseconds, by the instant from which:
    /// the instants where that changes, in order, each with the new number.
    pub(crate) fn rooms(&self, duration: u64, need: &A::Need) -> Vec<(Timestamp, u32)> {
        let duration = duration.max(1);
        let steps: Vec<(Timestamp, Timestamp, u32)> = self
            .steps
            .iter()
            .zip(self.ends())
            .map(|(step, end)| (step.from, end, step.free.times(need)))
            .collect();
        let instants = self.instants(duration);
        let mut rooms: Vec<(Timestamp, u32)> = Vec::new();
        let mut ahead = steps.iter().peekable();
        // Steps that overlap the window, less those that a later one makes irrelevant:
        // their numbers rise from front to back.
        let mut window: VecDeque<(Timestamp, u32)> = VecDeque::new();
        for at in instants {
            let window_end = at.0.saturating_add(duration);
            while let Some((_, end, room)) = ahead.next_if(|(from, ..)| from.0 < window_end) {
                while window.pop_back_if(|(_, before)| *before >= *room).is_some() {}
                window.push_back((*end, *room));
            }
            while window.pop_front_if(|(end, _)| *end <= at).is_some() {}
            let room = window.front().map_or(0, |(_, room)| *room);
            if rooms.last().is_none_or(|(_, before)| *before != room) {
                rooms.push((at, room));
            }
        }
        rooms
    }
}
