//! Fewer only after fewer have been enough for a while: the most that was wanted over it.

use std::collections::VecDeque;

use wrun_protocol::Timestamp;

/// The instants that are told apart within the delay.
const STEPS: u64 = 30;

/// The most that was wanted over the last while.
#[derive(Clone, Debug)]
pub(super) struct Delay {
    length_ms: u64,
    width_ms: u64,
    /// What was wanted and in which step last, with those left out that were followed by as
    /// much or more: fewer and fewer, later and later.
    most: VecDeque<(u64, u32)>,
}

impl Delay {
    pub(super) fn new(length_ms: u64) -> Self {
        let width_ms = length_ms.div_ceil(STEPS).max(1);
        Self { length_ms, width_ms, most: VecDeque::new() }
    }

    /// Takes note of what is wanted now, and says the most of the last while.
    pub(super) fn hold(&mut self, now: Timestamp, wanted: u32) -> u32 {
        let step = now.0 / self.width_ms;
        while self.most.front().is_some_and(|(of, _)| self.end_of(*of) <= now) {
            self.most.pop_front();
        }
        while self.most.back().is_some_and(|(_, most)| *most <= wanted) {
            self.most.pop_back();
        }
        if self.most.back().is_none_or(|(of, _)| *of != step) {
            self.most.push_back((step, wanted));
        }
        self.most.front().map_or(wanted, |(_, most)| *most)
    }

    /// When what held it back last is over.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let several = self.most.len() > 1;
        self.most.front().filter(|_| several).map(|(of, _)| self.end_of(*of))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.most.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.most.clear();
    }

    /// A step counts as over when its end is.
    fn end_of(&self, step: u64) -> Timestamp {
        let end = step.saturating_add(1).saturating_mul(self.width_ms);
        Timestamp(end.saturating_add(self.length_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_the_last_while_holds_until_that_is_over() {
        let mut delay = Delay::new(30_000);
        let mut at = |seconds: u64, wanted| delay.hold(Timestamp(seconds * 1000), wanted);
        assert_eq!(at(100, 3), 3);
        assert_eq!(at(101, 8), 8);
        assert_eq!(at(110, 5), 8);
        assert_eq!(at(131, 2), 8);
        // 8 was wanted in the step that ended at 102.
        assert_eq!(at(132, 2), 5);
        assert_eq!(at(141, 2), 2);
        assert_eq!(at(141, 9), 9);
    }

    #[test]
    fn it_says_when_to_look_again_and_keeps_few_steps() {
        let mut delay = Delay::new(30_000);
        assert_eq!(delay.next(), None);
        (0..1000).for_each(|at| _ = delay.hold(Timestamp(at * 100), 10_000 - at as u32));
        assert!(delay.most.len() <= 32, "{}", delay.most.len());
        let mut calm = Delay::new(30_000);
        calm.hold(Timestamp(1000), 7);
        assert_eq!(calm.next(), None);
        calm.hold(Timestamp(2000), 3);
        assert_eq!(calm.next(), Some(Timestamp(32_000)));
    }
}
