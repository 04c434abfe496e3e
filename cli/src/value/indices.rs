//! A set of task indices, like `3,7-90`.

use std::fmt;
use std::str::FromStr;

use wrun_protocol::IndexRange;

use super::BadValue;

/// Indices in ascending order, none twice, as runs that do not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indices(pub(crate) Vec<IndexRange>);

const WRITE: &str = "write indices and ranges from 0, like 3,7-90";

/// Most parts of one set: far above what a person writes, and bounded for the wire.
const MAX_PARTS: usize = 10_000;

impl FromStr for Indices {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| BadValue(format!("`{text}`: {why}; {WRITE}"));
        let number = |part: &str| part.trim().parse::<u32>().ok().filter(|n| *n < u32::MAX);
        let mut ends: Vec<(u32, u32)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(refused(&format!("`{}` is no index or range", part.trim())));
            };
            if first > last {
                return Err(refused(&format!("{first}-{last} runs backwards")));
            }
            ends.push((first, last + 1));
        }
        if ends.len() > MAX_PARTS {
            return Err(refused(&format!("{} parts; at most {MAX_PARTS}", ends.len())));
        }
        ends.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (first, end) in ends {
            match runs.last_mut().filter(|(_, before)| *before >= first) {
                Some((_, before)) => *before = end.max(*before),
                None => runs.push((first, end)),
            }
        }
        let range = |(first, end): (u32, u32)| IndexRange { first, count: end - first };
        Ok(Self(runs.into_iter().map(range).collect()))
    }
}

impl fmt::Display for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match range.count {
                1 => write!(f, "{comma}{}", range.first)?,
                _ => write!(f, "{comma}{}-{}", range.first, range.end() - 1)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_put_in_order_and_joined() {
        let indices: Indices = "7-90,3, 91 ,5-8".parse().unwrap();
        let ranges: Vec<_> = indices.0.iter().map(|range| (range.first, range.count)).collect();
        assert_eq!(ranges, [(3, 1), (5, 87)]);
        assert_eq!(indices.to_string(), "3,5-91");
    }

    #[test]
    fn what_is_no_index_is_named() {
        for text in ["", "a", "1-", "-1", "9-3", "1,,2", "4294967295", "1-2-3"] {
            assert!(text.parse::<Indices>().unwrap_err().to_string().contains(WRITE), "{text}");
        }
    }
}
