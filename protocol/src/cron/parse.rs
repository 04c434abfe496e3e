//! Reading an expression: five fields, a nickname, or `@every` with a length of time.

use std::str::FromStr;

use super::{Calendar, Cron, MAX_CRON, Rule};
use crate::{Timestamp, limits};

/// Why a text is no cron expression. Says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is longer than [`MAX_CRON`].
    #[error("the cron expression takes {0} bytes; at most {MAX_CRON} are allowed")]
    TooLong(usize),
    /// It has another number of fields than five.
    #[error(
        "`{text}` has {count} fields; write five: minute, hour, day of the month, month, day of the week, like `0 3 * * *`"
    )]
    Fields {
        /// The expression.
        text: String,
        /// How many it has.
        count: usize,
    },
    /// A part of a field cannot be.
    #[error("`{part}` in the field {field}: {problem}")]
    Part {
        /// The field.
        field: &'static str,
        /// The part between commas.
        part: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// An unknown word after `@`.
    #[error(
        "`{0}` is unknown: use @hourly, @daily, @weekly, @monthly, @yearly, or @every with a time like `@every 90m`"
    )]
    Nickname(String),
    /// A length of time after `@every` that cannot be.
    #[error(
        "`{0}`: write a whole number with one unit of s, m, h or d after @every, up to 366d, like `@every 90m`"
    )]
    Every(String),
    /// There is no such day.
    #[error("`{0}` is never due: no month of those has such a day")]
    Never(String),
}

/// A field: its name, its lowest and highest value, and names of values from the lowest on.
struct Field {
    name: &'static str,
    lowest: u32,
    highest: u32,
    words: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", lowest: 0, highest: 59, words: &[] };
const HOUR: Field = Field { name: "hour", lowest: 0, highest: 23, words: &[] };
const DAY: Field = Field { name: "day of the month", lowest: 1, highest: 31, words: &[] };
const MONTH: Field = Field {
    name: "month",
    lowest: 1,
    highest: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 7 is a Sunday, as 0 is.
const WEEKDAY: Field = Field {
    name: "day of the week",
    lowest: 0,
    highest: 7,
    words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        if text.len() > MAX_CRON {
            return Err(CronError::TooLong(text.len()));
        }
        let text = text.trim();
        let rule = match text.strip_prefix("@every ") {
            Some(span) => Rule::Every(every(text, span.trim())?),
            None => Rule::Calendar(calendar(text)?),
        };
        let cron = Self { text: text.to_owned(), rule };
        match cron.next_after(Timestamp(0)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(cron.text)),
        }
    }
}

impl TryFrom<String> for Cron {
    type Error = CronError;

    fn try_from(text: String) -> Result<Self, CronError> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

fn every(text: &str, span: &str) -> Result<u64, CronError> {
    let refused = || CronError::Every(text.to_owned());
    let end = span.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = span.split_at(end);
    let unit = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    let ms = number.checked_mul(unit).filter(|ms| (1..=limits::MAX_TIME_MS).contains(ms));
    ms.ok_or_else(refused)
}

fn calendar(text: &str) -> Result<Calendar, CronError> {
    let spelt = match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ if text.starts_with('@') => return Err(CronError::Nickname(text.to_owned())),
        _ => text,
    };
    let fields: Vec<&str> = spelt.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(CronError::Fields { text: text.to_owned(), count: fields.len() });
    };
    let weekdays = WEEKDAY.read(weekday)?;
    Ok(Calendar {
        minutes: MINUTE.read(minute)?,
        hours: HOUR.read(hour)?,
        days: DAY.read(day)?,
        months: MONTH.read(month)?,
        weekdays: weekdays | weekdays >> 7 & 1,
        // As cron has always had it, a field that begins with `*` restricts nothing.
        either_day: !day.starts_with('*') && !weekday.starts_with('*'),
    })
}

impl Field {
    /// The values that the parts between commas name, one bit each.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.read_part(part)?))
    }

    fn read_part(&self, part: &str) -> Result<u64, CronError> {
        let refused =
            |problem: String| CronError::Part { field: self.name, part: part.to_owned(), problem };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.lowest, self.highest),
            Some((first, last)) => {
                (self.value(first).map_err(refused)?, self.value(last).map_err(refused)?)
            }
            None => {
                let value = self.value(range).map_err(refused)?;
                (value, value)
            }
        };
        if first > last {
            let two = format!("{first}-{},{}-{last}", self.highest, self.lowest);
            return Err(refused(format!("the range runs backwards; write it as two, like {two}")));
        }
        let step = match step {
            None => 1,
            Some(_) if first == last => {
                let from = format!("{first}-{}", self.highest);
                return Err(refused(format!(
                    "a step needs a range; write `*` or {from} before it"
                )));
            }
            Some(step) => match step.parse() {
                Ok(step) if step > 0 => step,
                _ => return Err(refused("a step is a whole number from 1".to_owned())),
            },
        };
        Ok((first..=last).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let word = self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        let number = match word {
            Some(place) => u32::try_from(place).ok().map(|place| self.lowest + place),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number.filter(|value| (self.lowest..=self.highest).contains(value)).ok_or_else(|| {
            let Self { lowest, highest, words, .. } = self;
            match (words.first(), words.last()) {
                (Some(first), Some(last)) => {
                    format!("use {lowest} to {highest}, or {first} to {last}")
                }
                _ => format!("use {lowest} to {highest}"),
            }
        })
    }
}
