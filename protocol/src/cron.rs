//! When something is due again and again: cron expressions, in UTC, as pure arithmetic.
//!
//! The calendar is the Gregorian one without a time zone, so that no day is longer or
//! shorter than another and nothing is due twice or never for the clocks' sake. What an
//! expression means is part of the journal's meaning, since a recovery must find the same
//! instants as the run before it: that is why it is written out here, in full view of the
//! tests, and follows no library's releases.

mod parse;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
pub use parse::CronError;

/// Longest expression, in bytes. Every minute of an hour written out takes 169.
pub const MAX_CRON: usize = 256;

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;

/// Days that are searched for the next one that fits. What fits at all does so within 40
/// years: a 29 February that is a certain day of the week, around a century without one.
const SEARCHED_DAYS: u64 = 41 * 366;

/// An expression that is due at some time, as written and as understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// At every multiple of so many milliseconds since the epoch; never zero.
    Every(u64),
    /// At the minutes that all fields hold.
    Calendar(Calendar),
}

/// One bit for each value that a field holds, by the value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Calendar {
    minutes: u64,
    hours: u64,
    /// From 1.
    days: u64,
    /// From 1.
    months: u64,
    /// From 0, a Sunday.
    weekdays: u64,
    /// Both fields of days are restricted: then a day needs to be in one of them only.
    either_day: bool,
}

impl Cron {
    /// The first instant after `at` at which it is due. `None` at the end of time.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = match &self.rule {
            Rule::Every(ms) => (at.0 / ms).checked_add(1)?.checked_mul(*ms)?,
            Rule::Calendar(calendar) => {
                let minute = at.0 / MINUTE_MS + 1;
                let (first, from) = (minute / DAY_MINUTES, minute % DAY_MINUTES);
                let mut days = first..=first.saturating_add(SEARCHED_DAYS);
                let found = days.find_map(|day| {
                    let from = if day == first { from } else { 0 };
                    calendar.minutes_of(day, from..DAY_MINUTES).next()
                });
                found?.checked_mul(MINUTE_MS)?
            }
        };
        Some(Timestamp(next))
    }

    /// The last instant up to `at`, that included, at which it was due since the epoch.
    pub fn last_until(&self, at: Timestamp) -> Option<Timestamp> {
        let last = match &self.rule {
            Rule::Every(ms) => at.0 / ms * ms,
            Rule::Calendar(calendar) => {
                let minute = at.0 / MINUTE_MS;
                let (last, until) = (minute / DAY_MINUTES, minute % DAY_MINUTES);
                let mut days = (last.saturating_sub(SEARCHED_DAYS)..=last).rev();
                let found = days.find_map(|day| {
                    let end = if day == last { until + 1 } else { DAY_MINUTES };
                    calendar.minutes_of(day, 0..end).next_back()
                });
                found?.checked_mul(MINUTE_MS)?
            }
        };
        Some(Timestamp(last))
    }

    /// The least time from one instant to the next, as if every day of the calendar fitted.
    pub fn least_gap(&self) -> Duration {
        let ms = match &self.rule {
            Rule::Every(ms) => *ms,
            Rule::Calendar(calendar) => {
                let all: Vec<u64> =
                    (0..DAY_MINUTES).filter(|minute| calendar.has_minute(*minute)).collect();
                let over_night = all.first().map(|first| first + DAY_MINUTES);
                let next = all.iter().copied().skip(1).chain(over_night);
                let gap = all.iter().zip(next).map(|(minute, next)| next - minute).min();
                gap.unwrap_or(DAY_MINUTES).saturating_mul(MINUTE_MS)
            }
        };
        Duration::from_millis(ms)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Calendar {
    /// Those minutes since the epoch that it holds, of minutes `within` a day.
    fn minutes_of(
        &self,
        day: u64,
        within: std::ops::Range<u64>,
    ) -> impl DoubleEndedIterator<Item = u64> {
        let within = if self.has_day(day) { within } else { 0..0 };
        let held = within.filter(|minute| self.has_minute(*minute));
        held.map(move |minute| day.saturating_mul(DAY_MINUTES).saturating_add(minute))
    }

    fn has_minute(&self, of_day: u64) -> bool {
        has(self.hours, of_day / 60) && has(self.minutes, of_day % 60)
    }

    fn has_day(&self, since_epoch: u64) -> bool {
        let (month, day) = month_and_day(since_epoch);
        // 1 January 1970 was a Thursday.
        let (in_month, in_week) = (has(self.days, day), has(self.weekdays, (since_epoch + 4) % 7));
        let is_day = if self.either_day { in_month || in_week } else { in_month && in_week };
        is_day && has(self.months, month)
    }
}

fn has(set: u64, value: u64) -> bool {
    set >> value & 1 == 1
}

/// The month and the day of the month, both from 1, of a day since 1 January 1970.
/// Howard Hinnant's `civil_from_days`: years are taken to begin in March, so that the leap
/// day is the last of its year, and lie in eras of 400 years, which are all alike.
fn month_and_day(since_epoch: u64) -> (u64, u64) {
    const ERA: u64 = 146_097;
    // From 1 March of the year 0.
    let of_era = (since_epoch % ERA + 719_468) % ERA;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    (if from_march < 10 { from_march + 3 } else { from_march - 9 }, day)
}

#[cfg(test)]
mod tests;
