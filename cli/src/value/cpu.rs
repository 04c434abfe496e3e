//! An amount of CPU in cores, like `0.5`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{BadValue, scaled};

/// Thousandths of a core, written in cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Thousandths of a core; at least 1.
    pub(crate) milli: u32,
}

impl FromStr for Cpu {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| {
            BadValue(format!("`{text}` is not an amount of CPU: {why}; write cores like 1 or 0.5"))
        };
        if text.trim_start().starts_with('-') {
            return Err(refused("it is negative"));
        }
        let digits = text.trim();
        if digits.len() > 12 && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused("it is too large"));
        }
        let milli = scaled(digits, 1000).ok_or_else(|| refused("it is not a number"))?;
        match u32::try_from(milli) {
            Ok(0) => Err(refused("it is less than a thousandth")),
            Ok(milli) => Ok(Self { milli }),
            Err(_) => Err(refused("it is too large")),
        }
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Cpu;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of cores like 1 or 0.5")
            }
            fn visit_i64<E: de::Error>(self, cores: i64) -> Result<Cpu, E> {
                cores.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, cores: f64) -> Result<Cpu, E> {
                cores.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> Cow<'static, str> {
        "Cpu".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Cores; a component instance has one thread, so at most 1.",
            "type": "number", "exclusiveMinimum": 0, "maximum": 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_become_thousandths() {
        for (text, milli) in [("1", 1000), ("0.5", 500), ("0.001", 1), ("2", 2000)] {
            assert_eq!(text.parse(), Ok(Cpu { milli }), "{text}");
        }
    }

    #[test]
    fn nothing_less_and_nothing_else() {
        for text in ["", "0", "-1", "0.0001", "half", "NaN", "inf", "1e3", "99999999999"] {
            assert!(text.parse::<Cpu>().is_err(), "{text}");
        }
    }
}
