//! Sets of nodes: a bit for each, in words.
//!
//! Of a few nodes of many only the words that are not empty are kept, of more all of them:
//! then a node is found without a search.

use std::hint::black_box;

use super::jobs::NodeIx;

/// A set of nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSet {
    words: Words,
    len: usize,
}

#[derive(Clone, Debug)]
enum Words {
    /// Those that are not empty, by their number, in order.
    Few(Vec<(NodeIx, u64)>),
    /// All up to the last that was ever not empty.
    All(Vec<u64>),
}

/// Fewer than this many words are searched soon enough.
const FEW: usize = 8;
/// All words are kept where at least one in so many is not empty, so that they take at most
/// twice the memory.
const DENSE: usize = 4;
/// Fewer nodes than one for so many words are few again.
const SPARSE: usize = 16;

impl Default for Words {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Word and bit.
fn place(ix: NodeIx) -> (NodeIx, u64) {
    (ix / u64::BITS, 1 << (ix % u64::BITS))
}

fn find(words: &[(NodeIx, u64)], number: NodeIx) -> Result<usize, usize> {
    words.binary_search_by_key(&number, |(number, _)| *number)
}

impl NodeSet {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Looks where a node stands, or would.
    pub(super) fn touch(&self, ix: NodeIx) {
        match &self.words {
            Words::Few(words) => _ = black_box(words.first()),
            Words::All(words) => _ = black_box(words.get(place(ix).0 as usize).copied()),
        }
    }

    pub(crate) fn insert(&mut self, ix: NodeIx) {
        let (number, bit) = place(ix);
        let word = match &mut self.words {
            Words::Few(words) => match find(words, number) {
                Ok(at) => words.get_mut(at).map(|(_, word)| word),
                Err(at) => {
                    words.insert(at, (number, bit));
                    self.len += 1;
                    self.spread();
                    return;
                }
            },
            Words::All(words) => {
                let slot = number as usize;
                if words.len() <= slot {
                    words.resize(slot + 1, 0);
                }
                words.get_mut(slot)
            }
        };
        if let Some(word) = word {
            self.len += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(crate) fn remove(&mut self, ix: NodeIx) {
        let (number, bit) = place(ix);
        match &mut self.words {
            Words::Few(words) => {
                let Ok(at) = find(words, number) else { return };
                let Some((_, word)) = words.get_mut(at) else { return };
                self.len -= usize::from(*word & bit != 0);
                *word &= !bit;
                if *word == 0 {
                    words.remove(at);
                }
            }
            Words::All(words) => {
                let Some(word) = words.get_mut(number as usize) else { return };
                self.len -= usize::from(*word & bit != 0);
                *word &= !bit;
                if self.len * SPARSE < words.len() {
                    self.words = Words::Few(present(&[], words).collect());
                }
            }
        }
    }

    /// Keeps all words if so many are not empty.
    fn spread(&mut self) {
        let Words::Few(few) = &self.words else { return };
        let all = few.last().map_or(0, |(number, _)| *number as usize + 1);
        if few.len() < FEW || few.len() * DENSE < all {
            return;
        }
        let mut words = vec![0; all];
        for (number, word) in few {
            if let Some(place) = words.get_mut(*number as usize) {
                *place = *word;
            }
        }
        self.words = Words::All(words);
    }

    /// Lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeIx> {
        let words = match &self.words {
            Words::Few(few) => present(few, &[]),
            Words::All(all) => present(&[], all),
        };
        words.flat_map(|(number, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.checked_ilog2().map(|_| left.trailing_zeros())?;
                left &= left - 1;
                Some(number * u64::BITS + bit)
            })
        })
    }
}

/// The words that are not empty, by their number, however they are kept.
fn present(few: &[(NodeIx, u64)], all: &[u64]) -> impl Iterator<Item = (NodeIx, u64)> {
    let all = (0..).zip(all.iter().copied()).filter(|(_, word)| *word != 0);
    few.iter().copied().chain(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_has_what_a_set_of_numbers_has() {
        let (mut set, mut model, mut random) = (NodeSet::default(), BTreeSet::new(), 3_u32);
        let (mut few, mut all) = (0, 0);
        for step in 0..40_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let ix = (random >> 8) % 3000;
            // It grows and shrinks, more than once.
            let comes = random >> 29 < if (step / 8000).is_multiple_of(2) { 7 } else { 1 };
            if comes {
                set.insert(ix);
                model.insert(ix);
            } else {
                let gone = model.range(ix..).next().copied().unwrap_or(ix);
                set.remove(gone);
                model.remove(&gone);
            }
            assert_eq!(set.len(), model.len());
            if step.is_multiple_of(64) {
                assert!(set.iter().eq(model.iter().copied()));
            }
            match &set.words {
                Words::Few(_) => few += 1,
                Words::All(_) => all += 1,
            }
        }
        assert!(few > 1000 && all > 1000, "{few} {all}");
        model.iter().for_each(|ix| set.remove(*ix));
        assert_eq!((set.len(), set.iter().next()), (0, None));
        assert!(matches!(set.words, Words::Few(words) if words.is_empty()));
    }

    #[test]
    fn a_few_nodes_of_many_take_little_and_more_of_them_are_found_without_a_search() {
        let mut set = NodeSet::default();
        [5, 60_000, 90_000].into_iter().for_each(|ix| set.insert(ix));
        assert!(matches!(&set.words, Words::Few(words) if words.len() == 3));
        (0..100_000).step_by(100).for_each(|ix| set.insert(ix));
        assert!(matches!(&set.words, Words::All(words) if words.len() == 1561));
    }
}
