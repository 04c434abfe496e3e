//! A length of time, like `90s`, `5m` or `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{BadValue, scaled, split_number};

/// Milliseconds, written as numbers with units from `ms` to `d`, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The length in milliseconds.
    pub(crate) ms: u64,
}

const WRITE: &str = "write numbers with units from ms, s, m, h, d, like 90s, 5m or 1h30m";

fn unit(text: &str) -> Option<u64> {
    Some(match text {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

impl Span {
    /// From milliseconds.
    #[cfg(test)]
    pub(crate) fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// As the standard library has it.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| BadValue(format!("`{text}` is not a duration: {why}; {WRITE}"));
        if text.trim_start().starts_with('-') {
            return Err(refused("it is negative"));
        }
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(refused("it is empty"));
        }
        let mut total = 0u64;
        while !rest.is_empty() {
            let (digits, tail) = split_number(rest);
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (name, tail) = tail.split_at(end);
            if digits.is_empty() {
                return Err(refused("a number is missing"));
            }
            if name.is_empty() {
                return Err(refused("a number has no unit"));
            }
            let unit = unit(name).ok_or_else(|| refused("a unit is unknown"))?;
            total = scaled(digits, unit)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(|| refused("it cannot be read or is too long"))?;
            rest = tail.trim_start();
        }
        Ok(Self { ms: total })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like \"90s\" or \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: numbers with units from ms, s, m, h, d, like \"90s\" or \"1h30m\".",
            "type": "string",
            "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|min|h|d) ?)+$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, ms) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d 2h", 93_600_000),
            ("1.5s", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span::from_ms(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_to_write() {
        for text in
            ["", "90", "s", "-5s", "5x", "1h30", "1.2.3s", "99999999999999999999d", "5 m in"]
        {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("1h30m"), "{error}");
        }
    }
}
