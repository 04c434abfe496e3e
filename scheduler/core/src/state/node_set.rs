//! Sets of nodes: a bit for each, in pieces where there are any.

use std::collections::BTreeMap;

use super::jobs::NodeIx;

const WORDS: usize = 4;
/// Nodes of a piece.
const PIECE: NodeIx = 64 * WORDS as NodeIx;

/// A set of nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSet {
    pieces: BTreeMap<NodeIx, [u64; WORDS]>,
    len: usize,
}

/// Piece, word and bit.
fn place(ix: NodeIx) -> (NodeIx, usize, u64) {
    (ix / PIECE, (ix % PIECE / 64) as usize, 1 << (ix % 64))
}

impl NodeSet {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, ix: NodeIx) {
        let (piece, word, bit) = place(ix);
        if let Some(word) = self.pieces.entry(piece).or_default().get_mut(word) {
            self.len += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(crate) fn remove(&mut self, ix: NodeIx) {
        let (piece, word, bit) = place(ix);
        let Some(words) = self.pieces.get_mut(&piece) else { return };
        if let Some(word) = words.get_mut(word) {
            self.len -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
        if *words == [0; WORDS] {
            self.pieces.remove(&piece);
        }
    }

    /// Lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeIx> {
        let words = self.pieces.iter().flat_map(|(piece, words)| {
            let firsts = (piece * PIECE..).step_by(64);
            words.iter().zip(firsts)
        });
        words.flat_map(|(word, first)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.checked_ilog2().map(|_| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
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
        assert!(set.pieces.is_empty());
    }
}
