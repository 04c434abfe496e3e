//! What is held and what waits, over time, in bounded memory: means over stretches of
//! equal length. When there are too many of them, neighbours become one.

/// Most stretches; between half as many and all of them are in use.
const MAX_STRETCHES: usize = 2048;

/// Length of a stretch at the beginning, in milliseconds.
const FIRST_LENGTH: u64 = 1000;

/// Amounts at an instant, or their means or integrals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Levels {
    /// Thousandths of processors that are held.
    pub(crate) cpu: f64,
    /// Bytes that are held.
    pub(crate) memory: f64,
    /// Thousandths of cards that are held.
    pub(crate) gpu: f64,
    /// Jobs that wait.
    pub(crate) waiting: f64,
}

impl Levels {
    /// Adds `other`, taken `factor` times.
    pub(crate) fn add(&mut self, other: &Self, factor: f64) {
        self.cpu += other.cpu * factor;
        self.memory += other.memory * factor;
        self.gpu += other.gpu * factor;
        self.waiting += other.waiting * factor;
    }

    fn times(mut self, factor: f64) -> Self {
        let whole = self;
        self = Self::default();
        self.add(&whole, factor);
        self
    }
}

/// Means over time.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    length: u64,
    /// Integrals over each stretch.
    stretches: Vec<Levels>,
    /// Up to where it is known, in milliseconds from its beginning.
    at: u64,
    /// Since then.
    level: Levels,
    /// Over all of it.
    integral: Levels,
}

impl Series {
    /// Nothing, from the beginning on.
    pub(crate) fn new() -> Self {
        Self {
            length: FIRST_LENGTH,
            stretches: Vec::new(),
            at: 0,
            level: Levels::default(),
            integral: Levels::default(),
        }
    }

    /// From `at` on the levels are these. What is before the last such instant stays.
    pub(crate) fn set(&mut self, at: u64, level: Levels) {
        self.advance(at);
        self.level = level;
    }

    /// The levels stay as they are up to `at`.
    pub(crate) fn advance(&mut self, at: u64) {
        while self.at < at {
            let mut place = self.at / self.length;
            while place >= MAX_STRETCHES as u64 {
                self.halve();
                place = self.at / self.length;
            }
            let end = at.min((place + 1).saturating_mul(self.length));
            let time = (end - self.at) as f64;
            // Below MAX_STRETCHES.
            let place = place as usize;
            if self.stretches.len() <= place {
                self.stretches.resize(place + 1, Levels::default());
            }
            if let Some(stretch) = self.stretches.get_mut(place) {
                stretch.add(&self.level, time);
            }
            self.integral.add(&self.level, time);
            self.at = end;
        }
    }

    fn halve(&mut self) {
        let joined = self.stretches.chunks(2).map(|pair| {
            pair.iter().fold(Levels::default(), |mut sum, part| {
                sum.add(part, 1.0);
                sum
            })
        });
        self.stretches = joined.collect();
        self.length = self.length.saturating_mul(2);
    }

    /// How long it is, in milliseconds.
    pub(crate) fn end(&self) -> u64 {
        self.at
    }

    /// The mean over all of it.
    pub(crate) fn mean(&self) -> Levels {
        if self.at == 0 { Levels::default() } else { self.integral.times(1.0 / self.at as f64) }
    }

    /// Each stretch's beginning and end in milliseconds, and the mean in it.
    pub(crate) fn means(&self) -> impl Iterator<Item = (u64, u64, Levels)> {
        self.stretches.iter().enumerate().filter_map(|(place, sum)| {
            let start = place as u64 * self.length;
            let end = (start + self.length).min(self.at);
            (end > start).then(|| (start, end, sum.times(1.0 / (end - start) as f64)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(amount: f64) -> Levels {
        Levels { cpu: amount, ..Levels::default() }
    }

    #[test]
    fn the_mean_weighs_levels_by_their_time() {
        let mut series = Series::new();
        series.set(0, cpu(4.0));
        series.set(500, cpu(1.0));
        series.advance(2000);
        assert_eq!(series.mean().cpu, (4.0 * 500.0 + 1500.0) / 2000.0);
        let means: Vec<(u64, u64, f64)> =
            series.means().map(|(start, end, mean)| (start, end, mean.cpu)).collect();
        assert_eq!(means, [(0, 1000, 2.5), (1000, 2000, 1.0)]);
    }

    #[test]
    fn a_long_time_takes_no_more_room_and_loses_nothing() {
        let mut series = Series::new();
        let year = 365 * 24 * 3_600_000;
        for day in 0..365 {
            series.set(day * year / 365, cpu(if day % 2 == 0 { 2.0 } else { 0.0 }));
        }
        series.advance(year);
        assert!(series.stretches.len() <= MAX_STRETCHES && series.stretches.len() > 1000);
        assert!((series.mean().cpu - 2.0 * 183.0 / 365.0).abs() < 1e-9);
        let sum: f64 =
            series.means().map(|(start, end, mean)| mean.cpu * (end - start) as f64).sum();
        assert!((sum / year as f64 - series.mean().cpu).abs() < 1e-9);
        assert_eq!(series.means().last().unwrap().1, year);
    }

    #[test]
    fn an_instant_has_no_mean() {
        let mut series = Series::new();
        series.set(0, cpu(4.0));
        assert_eq!((series.mean(), series.means().count()), (Levels::default(), 0));
    }
}
