//! Which guest runs next: the one that has had the least CPU for its weight. A pure
//! data structure; time comes in as CPU time that was used.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// CPU time divided by weight. Comparable between tasks of one queue only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Virtual(u64);

impl Virtual {
    /// `self` after `cpu_ns` of CPU time at a weight of `cpu_milli`.
    pub(crate) fn after(self, cpu_ns: u64, cpu_milli: u32) -> Self {
        Self(self.0.saturating_add(cpu_ns.saturating_mul(1000) / u64::from(cpu_milli.max(1))))
    }
}

struct Entry<T> {
    at: Virtual,
    turn: u64,
    item: T,
}

/// Ready guests in the order in which they run.
pub(crate) struct FairQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    floor: Virtual,
    turn: u64,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), floor: Virtual::default(), turn: 0 }
    }

    /// Queues a guest at `at`, but not before the floor: who slept saved nothing up, and a
    /// newcomer (`Virtual::default()`) starts level with who has had least. Returns its place.
    pub(crate) fn push(&mut self, at: Virtual, item: T) -> Virtual {
        let at = at.max(self.floor);
        self.requeue(at, item);
        at
    }

    /// Queues a guest that has just run and wants to go on: where it is, also below the
    /// floor, which another's turn may have raised meanwhile.
    pub(crate) fn requeue(&mut self, at: Virtual, item: T) {
        self.turn += 1;
        self.heap.push(Entry { at, turn: self.turn, item });
    }

    /// The guest whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let entry = self.heap.pop()?;
        self.floor = self.floor.max(entry.at);
        Some(entry.item)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

// The heap keeps the greatest on top: the order is reversed, and between equals the one
// that came first wins.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.turn).cmp(&(self.at, self.turn))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// One CPU, slices of 5 ms: how many each of `weights` gets of `slices`.
    fn share(weights: &[u32], slices: u32) -> Vec<u32> {
        let mut queue = FairQueue::new();
        let mut got = vec![0; weights.len()];
        for index in 0..weights.len() {
            queue.push(Virtual::default(), (index, Virtual::default()));
        }
        for _ in 0..slices {
            let (index, at) = queue.pop().unwrap();
            got[index] += 1;
            let at = at.after(5_000_000, weights[index]);
            queue.requeue(at, (index, at));
        }
        got
    }

    #[test]
    fn each_gets_cpu_by_its_weight() {
        assert_eq!(share(&[1000, 1000, 1000, 1000], 400), [100, 100, 100, 100]);
        let got = share(&[1000, 250, 750], 800);
        for (got, wanted) in got.into_iter().zip([400_i32, 100, 300]) {
            assert!((got as i32 - wanted).abs() <= 2, "{got} of {wanted}");
        }
    }

    #[test]
    fn a_newcomer_runs_before_those_who_have_run_for_long() {
        let mut queue = FairQueue::new();
        let long = Virtual::default().after(10_000_000_000, 1000);
        queue.push(long, "long");
        queue.pop();
        queue.requeue(long.after(5_000_000, 1000), "long");
        queue.push(Virtual::default(), "new");
        assert_eq!(queue.pop(), Some("new"));
    }

    #[test]
    fn who_slept_has_saved_nothing_up() {
        let mut queue = FairQueue::new();
        let late = Virtual::default().after(1_000_000_000, 1000);
        queue.push(late, "busy");
        queue.pop();
        assert_eq!(queue.push(Virtual::default(), "slept"), late);
    }
}
