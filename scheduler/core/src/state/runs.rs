//! A map by task that stays small nearly everywhere: a node has some tasks, an array some runs
//! of them. Few entries stand side by side, where all are seen at one place in memory; many
//! stand in a tree, so that a map which is large after all costs no more than it must.

use std::collections::BTreeMap;
use std::hint::black_box;

use wrun_protocol::TaskId;

/// Most entries that stand side by side.
const MOST: usize = 64;
/// A tree that has no more than so many entries left is given up.
const FEW: usize = MOST / 4;

/// Values by task, in order.
#[derive(Clone, Debug)]
pub(super) enum Runs<V> {
    Few(Vec<(TaskId, V)>),
    Many(BTreeMap<TaskId, V>),
}

impl<V> Default for Runs<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

fn place<V>(few: &[(TaskId, V)], at: TaskId) -> Result<usize, usize> {
    few.binary_search_by_key(&at, |(task, _)| *task)
}

impl<V: Copy> Runs<V> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Looks at some, few as they mostly are.
    pub(super) fn touch(&self) {
        if let Self::Few(few) = self {
            let task = |entry: Option<&(TaskId, V)>| entry.map(|(task, _)| *task);
            black_box((task(few.first()), task(few.get(few.len() / 2)), task(few.last())));
        }
    }

    pub(super) fn get(&self, at: TaskId) -> Option<V> {
        match self {
            Self::Few(few) => few.get(place(few, at).ok()?).map(|(_, value)| *value),
            Self::Many(many) => many.get(&at).copied(),
        }
    }

    /// Puts a value there, in place of any that was.
    pub(super) fn insert(&mut self, at: TaskId, value: V) {
        match self {
            Self::Few(few) => match place(few, at) {
                Ok(place) => _ = few.get_mut(place).map(|entry| entry.1 = value),
                Err(place) => {
                    few.insert(place, (at, value));
                    if few.len() > MOST {
                        *self = Self::Many(few.drain(..).collect());
                    }
                }
            },
            Self::Many(many) => _ = many.insert(at, value),
        }
    }

    pub(super) fn remove(&mut self, at: TaskId) -> Option<V> {
        match self {
            Self::Few(few) => place(few, at).ok().map(|place| few.remove(place).1),
            Self::Many(many) => {
                let gone = many.remove(&at);
                if many.len() <= FEW {
                    *self = Self::Few(std::mem::take(many).into_iter().collect());
                }
                gone
            }
        }
    }

    /// The last before `at`.
    pub(super) fn before(&self, at: TaskId) -> Option<(TaskId, V)> {
        match self {
            Self::Few(few) => {
                let before = few.partition_point(|(task, _)| *task < at);
                few.get(before.checked_sub(1)?).copied()
            }
            Self::Many(many) => many.range(..at).next_back().map(|(task, value)| (*task, *value)),
        }
    }

    /// Those that are not before `from`, in order.
    pub(super) fn from(&self, from: TaskId) -> impl DoubleEndedIterator<Item = (TaskId, V)> {
        let (few, many) = match self {
            Self::Few(few) => {
                let first = few.partition_point(|(task, _)| *task < from);
                (few.get(first..).unwrap_or_default(), None)
            }
            Self::Many(many) => (&[][..], Some(many.range(from..))),
        };
        let many = many.into_iter().flatten().map(|(task, value)| (*task, *value));
        few.iter().copied().chain(many)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (TaskId, V)> {
        let (few, many) = match self {
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => (&[][..], Some(many)),
        };
        let many = many.into_iter().flatten().map(|(task, value)| (*task, *value));
        few.iter().copied().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use wrun_protocol::JobId;

    use super::*;

    #[test]
    fn it_has_what_a_tree_has_whatever_comes_and_goes() {
        let (mut runs, mut model, mut random) = (Runs::default(), BTreeMap::new(), 9_u32);
        let mut draw = move |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        let (mut few, mut many) = (0, 0);
        for step in 0..40_000_u32 {
            let at = JobId(u64::from(draw(6))).task(draw(40));
            // It grows and shrinks, more than once.
            if draw(8) < if (step / 4000).is_multiple_of(2) { 6 } else { 0 } {
                runs.insert(at, step);
                model.insert(at, step);
            } else {
                assert_eq!(runs.remove(at), model.remove(&at));
            }
            let at = JobId(u64::from(draw(6))).task(draw(40));
            assert_eq!((runs.len(), runs.get(at)), (model.len(), model.get(&at).copied()));
            let before = model.range(..at).next_back().map(|(at, value)| (*at, *value));
            assert_eq!(runs.before(at), before);
            if step.is_multiple_of(16) {
                let all = model.range(at..).map(|(at, value)| (*at, *value));
                assert!(runs.from(at).eq(all.clone()) && runs.from(at).rev().eq(all.rev()));
                assert!(runs.iter().eq(model.iter().map(|(at, value)| (*at, *value))));
            }
            match runs {
                Runs::Few(_) => few += 1,
                Runs::Many(_) => many += 1,
            }
        }
        assert!(few > 1000 && many > 1000, "{few} {many}");
    }
}
