//! A part of a whole, from 0 to below 1.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{BadValue, scaled};

/// Millionths, written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// From 0 to 999,999.
    pub(crate) millionths: u32,
}

impl FromStr for Part {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let millionths = scaled(text.trim(), 1_000_000).filter(|part| *part < 1_000_000);
        match millionths.and_then(|part| u32::try_from(part).ok()) {
            Some(millionths) => Ok(Self { millionths }),
            None => Err(BadValue(format!("`{text}`: write a part from 0 to below 1, like 0.05"))),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Part;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part from 0 to below 1")
            }
            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Part, E> {
                whole.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, part: f64) -> Result<Part, E> {
                part.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Part {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_below_one() {
        let part = |text: &str| text.parse::<Part>().map(|part| part.millionths).ok();
        assert_eq!(
            (part("0"), part("0.0625"), part("0.999999")),
            (Some(0), Some(62_500), Some(999_999))
        );
        for text in ["", "1", "-0.1", "x", "2.5", "nan"] {
            assert_eq!(part(text), None, "{text}");
        }
    }
}
