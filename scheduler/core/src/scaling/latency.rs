//! How long requests took: a count for each power of two, as gateways tell it.

/// Powers of two of a microsecond that are told apart; the last stands for nine minutes and
/// all beyond, longer than anybody scales by.
const BINS: usize = 30;

/// How many requests took how long: bin `i` counts those below `2^i` microseconds that were
/// not below half of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latencies {
    bins: [u32; BINS],
}

impl Latencies {
    /// Counts what one gateway has told. What is beyond the last bin is in it.
    pub(super) fn add_told(&mut self, told: &[u64]) {
        for (at, count) in told.iter().enumerate() {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            if let Some(bin) = self.bins.get_mut(at.min(BINS - 1)) {
                *bin = bin.saturating_add(count);
            }
        }
    }

    pub(super) fn add(&mut self, more: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(more.bins) {
            *bin = bin.saturating_add(more);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.bins.iter().copied().map(u64::from).sum()
    }

    /// How long so many thousandths of the requests took at most, in microseconds; within a
    /// bin they are taken to lie evenly. `None` if there are none.
    pub(crate) fn quantile_us(&self, thousandths: u64) -> Option<u64> {
        let count = self.count();
        let rank = count.checked_mul(thousandths)?.div_ceil(1000).max(1);
        let mut before = 0_u64;
        for (at, bin) in (0_u32..).zip(self.bins).filter(|(_, bin)| *bin > 0) {
            let here = u64::from(bin);
            if before + here >= rank {
                let end = 1_u64 << at;
                // Bin 0 is what took no whole microsecond.
                let begin = if at == 0 { 0 } else { end / 2 };
                let part = u128::from(end - begin) * u128::from(rank - before) / u128::from(here);
                return Some(begin + u64::try_from(part).unwrap_or(end - begin));
            }
            before += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bins: &[u64]) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.add_told(bins);
        latencies
    }

    #[test]
    fn a_quantile_lies_in_its_bin_as_far_as_its_rank_goes_into_it() {
        assert_eq!(told(&[]).quantile_us(500), None);
        assert_eq!(told(&[4]).quantile_us(500), Some(0));
        // A hundred between 8 and 16 µs: the 50th of them at 12.
        assert_eq!(told(&[0, 0, 0, 0, 100]).quantile_us(500), Some(12));
        assert_eq!(told(&[0, 0, 0, 0, 100]).quantile_us(1000), Some(16));
        // Ninety below 2 µs, ten between 512 and 1024.
        let mut bins = [0; 11];
        (bins[1], bins[10]) = (90, 10);
        assert_eq!(told(&bins).quantile_us(900), Some(2));
        assert_eq!(told(&bins).quantile_us(950), Some(768));
    }

    #[test]
    fn counts_beyond_all_measure_are_cut() {
        let latencies = told(&[u64::MAX; 64]);
        assert_eq!(latencies.count(), 30 * u64::from(u32::MAX));
        assert!(latencies.quantile_us(990).is_some());
    }
}
