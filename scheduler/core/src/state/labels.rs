//! Sets of labels that groups want, each with classes of nodes in the index of room: a search
//! for room that must carry labels passes over all nodes that do not.
//!
//! A node that takes tasks is of the class of those without cards or of those with. For each
//! set that it carries it is of one class more. There are classes for so many sets; what wants
//! another looks at every node, and whether one carries what it must is the caller's to check.

use std::collections::BTreeMap;

/// Sets that have classes.
const MOST: usize = 31;

/// Nodes without cards, and with; whatever their labels.
const PLAIN: u64 = 1;
const WITH_CARDS: u64 = 2;

/// Labels by name, with their values.
type Set = BTreeMap<String, String>;

/// The classes that serve who wants a set of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Of nodes without cards.
    pub(crate) plain: u64,
    pub(crate) any: u64,
    /// Every node of these classes carries the set, and no other does.
    pub(crate) exactly: bool,
}

/// Every set that has classes. Derived; none is ever forgotten.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    sets: Vec<Set>,
    /// There are more than when nodes were classed last.
    pub(crate) grown: bool,
}

impl Labels {
    /// The classes that serve who wants these labels.
    pub(crate) fn serving(&mut self, wanted: &Set) -> Serving {
        let known = self.sets.iter().position(|set| set == wanted);
        let place = known.or_else(|| {
            if wanted.is_empty() || self.sets.len() >= MOST {
                return None;
            }
            self.sets.push(wanted.clone());
            self.grown = true;
            Some(self.sets.len() - 1)
        });
        let shift = place.map_or(0, |place| 2 * (place + 1));
        let exactly = wanted.is_empty() || place.is_some();
        Serving { plain: PLAIN << shift, any: (PLAIN | WITH_CARDS) << shift, exactly }
    }

    /// The classes of a node with these labels.
    pub(crate) fn classes(&self, carried: &Set, has_cards: bool) -> u64 {
        let own = if has_cards { WITH_CARDS } else { PLAIN };
        let carries =
            |set: &Set| set.iter().all(|(label, value)| carried.get(label) == Some(value));
        let sets = self.sets.iter().zip(1..).filter(|(set, _)| carries(set));
        sets.fold(own, |classes, (_, place)| classes | own << (2 * place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[(&str, &str)]) -> Set {
        labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect()
    }

    /// Every node serves whom it carries the labels for, with and without cards.
    #[test]
    fn a_node_is_of_the_classes_that_serve_those_whose_labels_it_carries() {
        let mut labels = Labels::default();
        let sets = [
            set(&[]),
            set(&[("arch", "x86")]),
            set(&[("arch", "arm")]),
            set(&[("arch", "x86"), ("zone", "a")]),
        ];
        let serving = sets.clone().map(|wanted| labels.serving(&wanted));
        assert!(std::mem::take(&mut labels.grown));
        assert_eq!(sets.clone().map(|wanted| labels.serving(&wanted)), serving);
        assert!(!labels.grown && serving.iter().all(|serving| serving.exactly));
        for carried in &sets {
            for (wanted, serving) in sets.iter().zip(serving) {
                let carries = wanted.iter().all(|(label, value)| carried.get(label) == Some(value));
                let (plain, carded) =
                    (labels.classes(carried, false), labels.classes(carried, true));
                assert_eq!(plain & serving.plain != 0, carries);
                assert_eq!(
                    (plain & serving.any != 0, carded & serving.any != 0),
                    (carries, carries)
                );
                assert_eq!(carded & serving.plain, 0);
            }
        }
    }

    #[test]
    fn with_more_sets_than_have_classes_every_node_may_serve() {
        let mut labels = Labels::default();
        let of = |number: usize| set(&[("host", &number.to_string())]);
        let serving: Vec<Serving> =
            (0..MOST + 5).map(|number| labels.serving(&of(number))).collect();
        let classes = labels.classes(&of(MOST - 1), false);
        assert_eq!(serving.iter().filter(|serving| classes & serving.plain != 0).count(), 1 + 5);
        let (all, late) = (labels.serving(&set(&[])), serving[MOST]);
        assert_eq!((all.plain, all.any), (late.plain, late.any));
        assert!(all.exactly && serving[MOST - 1].exactly && !late.exactly);
    }
}
