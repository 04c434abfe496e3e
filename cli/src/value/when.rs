//! A point in time, like `2026-12-24T18:00:00Z`, `2026-12-24 18:00` or `+2h`.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use wrun_protocol::Timestamp;
use wrun_protocol::time::millis;

use super::{BadValue, Span};

/// An instant, or a length of time from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At this instant.
    At(Timestamp),
    /// So long after the command is given.
    In(Span),
}

const WRITE: &str =
    "write a time in UTC like 2026-12-24T18:00:00Z or \"2026-12-24 18:00\", or +2h for from now";

impl When {
    /// The instant, for a command given at `now`.
    pub(crate) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::In(span) => now.after(span.duration()),
        }
    }
}

impl FromStr for When {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| BadValue(format!("`{text}` is not a time: {why}; {WRITE}"));
        if let Some(span) = text.strip_prefix('+') {
            return span.parse().map(Self::In).map_err(|_| refused("no length of time follows +"));
        }
        // To the minute is how people write it; the library wants seconds.
        let minutes = text.len() == "2026-12-24 18:00".len();
        let full = if minutes { Cow::from(format!("{text}:00")) } else { Cow::from(text) };
        let time =
            humantime::parse_rfc3339_weak(&full).map_err(|_| refused("it cannot be read"))?;
        let since: Duration =
            time.duration_since(UNIX_EPOCH).map_err(|_| refused("it lies before 1970"))?;
        Ok(Self::At(Timestamp(millis(since))))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for When {
    fn schema_name() -> Cow<'static, str> {
        "When".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "a time in UTC like 2026-12-24T18:00:00Z, or +2h for from now"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let eve = When::At(Timestamp(1_798_135_200_000));
        for text in ["2026-12-24T18:00:00Z", "2026-12-24 18:00:00", "2026-12-24 18:00"] {
            assert_eq!(text.parse(), Ok(eve), "{text}");
        }
        let soon: When = "+1h30m".parse().unwrap();
        assert_eq!(soon.instant(Timestamp(1000)), Timestamp(5_401_000));
    }

    #[test]
    fn what_is_no_time_is_told_what_to_write() {
        for text in ["", "tomorrow", "18:00", "+", "+x", "2026-13-01 00:00", "1969-12-31 23:59"] {
            let error = text.parse::<When>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not a time")), "{error}");
        }
    }
}
