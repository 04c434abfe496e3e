//! Numbers that look random and are the same for the same seed, on any machine: drawing
//! pods for a simulation is their only use.

/// SplitMix64, by Guy Steele, Doug Lea and Christine Flood.
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `items`, each as likely as the others.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        // The high half of the product is below the length, and biased by less than one
        // in 2^64 for each item.
        let place = (u128::from(self.next()) * items.len() as u128) >> 64;
        items.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn every_item_is_picked_about_as_often() {
        let mut random = Random::new(7);
        let mut counts = [0; 5];
        for _ in 0..10_000 {
            counts[*random.pick(&[0_usize, 1, 2, 3, 4]).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
