//! Sets of nodes: a bit for each, in words where there are any.

use super::jobs::NodeIx;

/// A set of nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSet {
    /// Words that are not empty, by their number, in order: side by side, as most sets are
    /// looked at seldom and few at a time.
    words: Vec<(NodeIx, u64)>,
    len: usize,
}

/// Word and bit.
fn place(ix: NodeIx) -> (NodeIx, u64) {
    (ix / u64::BITS, 1 << (ix % u64::BITS))
}

impl NodeSet {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn find(&self, number: NodeIx) -> Result<usize, usize> {
        self.words.binary_search_by_key(&number, |(number, _)| *number)
    }

    pub(crate) fn insert(&mut self, ix: NodeIx) {
        let (number, bit) = place(ix);
        match self.find(number) {
            Ok(at) => {
                let Some((_, word)) = self.words.get_mut(at) else { return };
                self.len += usize::from(*word & bit == 0);
                *word |= bit;
            }
            Err(at) => {
                self.words.insert(at, (number, bit));
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, ix: NodeIx) {
        let (number, bit) = place(ix);
        let Ok(at) = self.find(number) else { return };
        let Some((_, word)) = self.words.get_mut(at) else { return };
        self.len -= usize::from(*word & bit != 0);
        *word &= !bit;
        if *word == 0 {
            self.words.remove(at);
        }
    }

    /// Lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeIx> {
        self.words.iter().flat_map(|(number, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.checked_ilog2().map(|_| left.trailing_zeros())?;
                left &= left - 1;
                Some(number * u64::BITS + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_has_what_a_set_of_numbers_has() {
        let (mut set, mut model, mut random) = (NodeSet::default(), BTreeSet::new(), 3_u32);
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let ix = (random >> 8) % 3000;
            if random >> 31 == 0 {
                set.insert(ix);
                model.insert(ix);
            } else {
                set.remove(ix);
                model.remove(&ix);
            }
            assert_eq!(set.len(), model.len());
        }
        assert!(set.iter().eq(model.iter().copied()));
        model.iter().for_each(|ix| set.remove(*ix));
        assert!(set.words.is_empty());
    }
}
