//! A number of bytes, like `64MiB` or `1G`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::{BadValue, scaled, split_number};

/// Bytes. `K`, `M`, `G`, `T` and `KiB`… count in 1024, `kB`, `MB`… in 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const WRITE: &str =
    "write a whole number of bytes, or a number with a unit like 64MiB, 1.5G, 500kB";

fn unit(text: &str) -> Option<u64> {
    Some(match text.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "t" | "ti" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| BadValue(format!("`{text}` is not a size: {why}; {WRITE}"));
        if text.trim_start().starts_with('-') {
            return Err(refused("it is negative"));
        }
        let (digits, rest) = split_number(text.trim());
        if digits.is_empty() {
            return Err(refused("it has no number"));
        }
        let unit = unit(rest.trim()).ok_or_else(|| refused("its unit is unknown"))?;
        scaled(digits, unit).map(Self).ok_or_else(|| refused("it cannot be read or is too large"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size like \"64MiB\", or a whole number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                match u64::try_from(bytes) {
                    Ok(bytes) => Ok(Size(bytes)),
                    Err(_) => bytes.to_string().parse().map_err(E::custom),
                }
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes: a whole number, or a text like \"64MiB\", \"1.5G\" (K, M, G, T and KiB… count in 1024; kB, MB… in 1000).",
            "anyOf": [{"type": "integer", "minimum": 0},
                      {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?([bB]|[kKmMgGtT]([iI]?[bB]?))?$"}]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_count_in_1024_unless_they_are_decimal() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("64m", 64 << 20),
            ("1G", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("500kB", 500_000),
            ("2 TB", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_to_write() {
        for text in ["", "-1", "MiB", "1X", "1.2.3M", "1.", "99999999999T", "64 Mi B", "1e9"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("64MiB"), "{error}");
        }
        assert!("-5G".parse::<Size>().unwrap_err().to_string().contains("negative"));
    }
}
